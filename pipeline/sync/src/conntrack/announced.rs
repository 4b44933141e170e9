//! New connections, as the kernel announces them.

use std::os::fd::BorrowedFd;

use nix::poll::PollTimeout;

use super::{Entry, SUBSYSTEM, entry, message};
use crate::Error;
use crate::netlink::{Reading, Subscription, Wake};

/// `NFNLGRP_CONNTRACK_NEW`
const GROUP: u32 = 1;
/// About 100,000 announcements may wait to be read.
const BUFFER: usize = 32 << 20;

/// Hears of every connection once it is translated and its first packet has passed. Costs the kernel
/// nothing while nobody listens, and one small message for each connection while somebody does,
/// unless `net.netfilter.nf_conntrack_events` is 0: then nothing is announced.
#[derive(Debug)]
pub struct Announced(Subscription);

impl Announced {
    /// Listens in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] without CAP_NET_ADMIN.
    pub fn open() -> Result<Self, Error> {
        Subscription::open(GROUP, BUFFER, &[]).map(Self)
    }

    /// Waits for a new connection, for a time, or until `stop` can be read.
    ///
    /// # Errors
    /// [`Error::System`] if the system cannot wait.
    pub fn wait(&self, stop: BorrowedFd<'_>, timeout: PollTimeout) -> Result<Wake, Error> {
        self.0.wait(stop, timeout)
    }

    /// Hands every connection that was announced by now to a function. Never waits. False if there
    /// were more than could be kept.
    ///
    /// # Errors
    /// [`Error::System`] if the socket is of no use any more.
    pub fn read(&mut self, mut take: impl FnMut(&Entry)) -> Result<bool, Error> {
        let mut complete = true;
        loop {
            let reading = self.0.read(|message| {
                let new = message.kind == (SUBSYSTEM << 8 | message::NEW);
                if let Some(entry) = new.then(|| entry::read(message)).flatten() {
                    take(&entry);
                }
            })?;
            match reading {
                Reading::Nothing => return Ok(complete),
                Reading::Overrun => complete = false,
                Reading::Messages => {}
            }
        }
    }
}
