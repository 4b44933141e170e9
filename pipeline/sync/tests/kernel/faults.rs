//! What goes wrong between us and the kernel at every single call: afterwards the kernel holds what
//! is wanted, whatever came of the write itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use sync::iptables::Iptables;
use sync::netlink::{Call, SendBudget, Socket};

use crate::fixture::{ruleset, services};
use crate::namespace::within;
use crate::owners::{changes, saved, text};

/// More calls than any of these writes makes.
const CALLS: u32 = 400;

/// Fails one call, the `nth` of its kind; says how many there were.
fn fail(socket: &mut Socket, call: Call, errno: Errno, nth: u32) -> Arc<AtomicU32> {
    let count = Arc::new(AtomicU32::new(0));
    let counted = count.clone();
    socket.fail_by(Some(Box::new(move |met| {
        let hit = met == call && counted.fetch_add(1, Ordering::Relaxed) == nth;
        hit.then_some(errno)
    })));
    count
}

/// Fails each call of a kind in turn, during a change and during the reconciliation after it.
/// `harmless` says that nobody may notice.
fn at_every_call(call: Call, errno: Errno, harmless: bool) {
    let mut world = services(4, 2);
    let old = ruleset(&world);
    world.get_mut(&3).unwrap().push(60);
    world.remove(&2);
    let new = ruleset(&world);
    for first in [false, true] {
        let mut nth = 0;
        loop {
            let (old, new) = (old.clone(), new.clone());
            let made = within(move || {
                // Small batches: a write can fail in the middle.
                let mut iptables = Iptables::open_with(SendBudget::Bytes(4_000)).unwrap();
                iptables.reconcile(&old).unwrap();
                let count = fail(iptables.socket(), call, errno, nth);
                let written = match first {
                    true => iptables.reconcile(&new),
                    false => iptables.apply(&changes(&old, &new)),
                };
                assert!(!harmless || written.is_ok(), "{call:?} {nth}: {written:?}");
                let made = count.load(Ordering::Relaxed);
                iptables.socket().fail_by(None);
                let refused = written.as_ref().is_ok_and(|written| !written.refused.is_empty());
                if written.is_err() || refused {
                    iptables.reconcile(&new).unwrap();
                }
                assert_eq!(saved(), text(&new), "{errno} at {call:?} {nth}: {written:?}");
                made
            });
            if made <= nth {
                break;
            }
            nth += 1;
            assert!(nth < CALLS, "the writes of this test make {made} calls and more");
        }
        assert!(nth > 0, "nothing was failed");
    }
}

#[test]
fn a_call_that_is_interrupted_is_made_again() {
    at_every_call(Call::Send, Errno::EINTR, true);
    at_every_call(Call::Receive, Errno::EINTR, true);
}

#[test]
fn a_kernel_without_memory_for_what_is_sent_is_asked_again() {
    at_every_call(Call::Send, Errno::ENOBUFS, false);
}

#[test]
fn answers_that_are_lost_are_asked_for_again() {
    at_every_call(Call::Receive, Errno::ENOBUFS, false);
}

#[test]
fn an_object_that_somebody_took_away_is_made_again() {
    at_every_call(Call::Batch, Errno::ENOENT, false);
}
