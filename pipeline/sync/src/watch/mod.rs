//! Hearing of it when somebody else changes nf_tables: `iptables -F`, `nft flush ruleset`, a
//! firewall that reloads.
//!
//! In: the kernel's announcements, on a thread and a socket of their own. Out: what changed, where,
//! and by whom, a moment after it did. Whether it has to be repaired is the caller's to decide.
//! Legacy iptables and ipsets announce nothing: only reading them tells.

mod announcement;
mod heard;

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::PollTimeout;

pub use heard::{Change, Heard, Process, TableFamily};

use crate::Error;
use crate::netlink::{ACK, Encoder, Header, REQUEST, Reading, Socket, Subscription, Wake};
use crate::nftables::SUBSYSTEM;
use announcement::{GET_GENERATION, Gathered, read_generation};

/// `NFNLGRP_NFTABLES`
const GROUP: u32 = 7;
/// How many bytes of announcements may wait: a ruleset of some 100,000 rules that is flushed.
const BUFFER: usize = 32 << 20;
/// Changes that follow each other this closely are told together.
const SETTLE: Duration = Duration::from_millis(10);
/// Nothing waits longer than this to be told, however much follows.
const PATIENCE: Duration = Duration::from_millis(100);
/// Except for the end of a transaction, which says who made it.
const PATIENCE_WITHIN: Duration = Duration::from_millis(500);

/// Asks for the number of the generation that is in force: each transaction of anybody makes a new
/// one, with a number unlike those before it (until it wraps around).
///
/// # Errors
/// What the kernel says.
pub fn generation(socket: &mut Socket) -> Result<u32, Error> {
    let mut request = Encoder::default();
    let message = request.message(Header {
        kind: SUBSYSTEM << 8 | GET_GENERATION,
        flags: REQUEST | ACK,
        sequence: socket.next_sequence(),
        family: 0,
        resource: 0,
    });
    request.end(message);
    let what = "tell the generation of nf_tables";
    let mut number = None;
    socket.request(what, &request, |reply| {
        number = number.or(read_generation(reply.attributes()).map(|found| found.number));
    })?;
    number.ok_or_else(|| Error::Unreadable {
        what: "the generation of nf_tables".into(),
        why: "it has no number".into(),
    })
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Watch {
    // Closing this end wakes the thread.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Listens in the calling thread's network namespace, from now on. Nothing is told of what
    /// sockets with the ports `own` do ([`Socket::port`]): whoever opens another socket to write
    /// with starts another watch.
    ///
    /// What was heard is handed to `deliver`, on the thread that listens, at most some ten times a
    /// second. While `deliver` works, announcements wait; if they become too many, the next
    /// [`Heard`] says so. When it returns false, listening ends.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] without CAP_NET_ADMIN, [`Error::System`] if no thread can be
    /// started.
    pub fn start(
        own: &[u32],
        deliver: impl FnMut(Heard) -> bool + Send + 'static,
    ) -> Result<Self, Error> {
        Self::start_with(own, BUFFER, deliver)
    }

    /// Like [`Watch::start`], with a say in how many bytes of announcements may wait.
    ///
    /// # Errors
    /// As [`Watch::start`].
    pub fn start_with(
        own: &[u32],
        buffer: usize,
        deliver: impl FnMut(Heard) -> bool + Send + 'static,
    ) -> Result<Self, Error> {
        let subscription = Subscription::open(GROUP, buffer, own)?;
        let failed = |error| Error::system("start listening to nf_tables", error);
        let (stop, stopped) = UnixStream::pair().map_err(failed)?;
        let thread = thread::Builder::new()
            .name("nf_tables-watch".into())
            .spawn(move || {
                if let Err(error) = listen(subscription, &stopped, deliver) {
                    tracing::error!(%error, "changes by others are not heard of any more");
                }
            })
            .map_err(failed)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    /// Whether somebody still listens; false after `deliver` returned false, or if the socket
    /// failed.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic was printed by the thread; there is nothing to add here.
            let _ = thread.join();
        }
    }
}

fn listen(
    mut subscription: Subscription,
    stop: &UnixStream,
    mut deliver: impl FnMut(Heard) -> bool,
) -> Result<(), Error> {
    loop {
        if subscription.wait(stop.as_fd(), PollTimeout::NONE)? == Wake::Stop {
            return Ok(());
        }
        let first = Instant::now();
        let mut gathered = Gathered::default();
        loop {
            match subscription.read(|message| gathered.take(message))? {
                Reading::Messages => {}
                Reading::Overrun => gathered.overrun = true,
                Reading::Nothing => {
                    let settle = PollTimeout::try_from(SETTLE).unwrap_or(PollTimeout::ZERO);
                    match subscription.wait(stop.as_fd(), settle)? {
                        Wake::Stop => return Ok(()),
                        Wake::Announcement => {}
                        Wake::Silence => break,
                    }
                }
            }
            let patience = if gathered.is_within() { PATIENCE_WITHIN } else { PATIENCE };
            if first.elapsed() >= patience {
                break;
            }
        }
        if let Some(heard) = gathered.finish()
            && !deliver(heard)
        {
            return Ok(());
        }
    }
}
