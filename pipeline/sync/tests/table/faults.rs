//! What goes wrong between us and the kernel at every single call: afterwards the kernel holds what
//! is wanted, whatever came of the write itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use sync::netlink::{Call, SendBudget, Socket};
use sync::table::Nftables;

use crate::changes::{Memory, part};
use crate::fixture::{Kind, World, plain, ruleset, same};
use crate::namespace::within;

/// More calls than any of these writes makes.
const CALLS: u32 = 400;

/// Fails one call, the `nth` of its kind; counts them.
fn fail(socket: &mut Socket, call: Call, errno: Errno, nth: u32) -> Arc<AtomicU32> {
    let count = Arc::new(AtomicU32::new(0));
    let counted = count.clone();
    socket.fail_by(Some(Box::new(move |met| {
        let hit = met == call && counted.fetch_add(1, Ordering::Relaxed) == nth;
        hit.then_some(errno)
    })));
    count
}

/// Writes with the `nth` call failing; says how many calls there were.
fn write(world: &World, whole: bool, call: Call, errno: Errno, nth: u32, harmless: bool) -> u32 {
    let before = ruleset(world);
    let mut memory = Memory::of(&before);
    let change = memory.take([part(1, Some(&plain(1, 5))), part(2, None)]);
    let after = memory.ruleset();
    // Small batches: a write can fail in the middle.
    let mut nftables = Nftables::open_with(SendBudget::Bytes(5_000)).unwrap();
    nftables.reconcile(&before).unwrap();
    let count = fail(nftables.socket(), call, errno, nth);
    let written = if whole { nftables.reconcile(&after) } else { nftables.apply(&change) };
    assert!(!harmless || written.is_ok(), "{call:?} {nth}: {written:?}");
    let made = count.load(Ordering::Relaxed);
    nftables.socket().fail_by(None);
    if written.as_ref().map_or(true, |written| !written.refused.is_empty()) {
        nftables.reconcile(&after).unwrap();
    }
    same(&Nftables::open().unwrap().read().unwrap().part, &after.merged());
    made
}

/// Fails each call of a kind in turn, in a change and in a reconciliation. `harmless` says that
/// nobody may notice.
fn at_every_call(call: Call, errno: Errno, harmless: bool) {
    let sticky = Kind { sticky: Some(90), outside: true, local: 1, ..plain(3, 2) };
    let world = World::from([(1, plain(1, 3)), (2, plain(2, 1)), (3, sticky)]);
    for whole in [false, true] {
        let mut nth = 0;
        while {
            let world = world.clone();
            within(move || write(&world, whole, call, errno, nth, harmless)) > nth
        } {
            nth += 1;
            assert!(nth < CALLS, "the writes of this test make {nth} calls and more");
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
