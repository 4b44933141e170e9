//! Marks of tracked connections.

use super::entry::attribute;
use super::{Conntrack, Entry, message};
use crate::Error;
use crate::netlink::{ACK, Encoder};

/// What became of an attempt to mark an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marking {
    /// It carries the mark.
    Done,
    /// It is gone.
    Gone,
}

impl Conntrack {
    /// Gives the bits of `mask` in an entry's mark the values that they have in `bits`; all others
    /// stay. The entry is found by its original direction: if another connection has taken the
    /// place of the one that was read, that one is marked.
    ///
    /// # Errors
    /// [`Error::Refused`] with what the kernel says.
    pub fn mark(&mut self, entry: &Entry, bits: u32, mask: u32) -> Result<Marking, Error> {
        let mut request = Encoder::default();
        let message = request.message(self.header(message::NEW, ACK, entry.family()));
        entry.write_identity(&mut request);
        request.be32(attribute::MARK, bits & mask);
        request.be32(attribute::MARK_MASK, mask);
        request.end(message);
        match self.socket.request("mark a tracked connection", &request, |_| {}) {
            Ok(()) => Ok(Marking::Done),
            Err(error) if error.number() == Some(libc::ENOENT) => Ok(Marking::Gone),
            Err(error) => Err(error),
        }
    }
}
