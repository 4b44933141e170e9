//! Batches: taken whole or not at all.

use std::io::IoSlice;

use nix::errno::Errno;
use nix::sys::socket::MsgFlags;

use super::{Call, Encoder, Header, Messages, REQUEST, Socket};
use crate::Error;

/// `NFNL_MSG_BATCH_BEGIN`
const BATCH_BEGIN: u16 = 0x10;
/// `NFNL_MSG_BATCH_END`
const BATCH_END: u16 = 0x11;
/// What the kernel said to a batch.
#[derive(Debug, Default)]
pub struct BatchReply {
    /// Errors by sequence number, in order. If there are any, nothing of the batch was taken.
    pub errors: Vec<Failure>,
    /// What was made, by sequence number, with its handle.
    pub handles: Vec<(u32, u64)>,
    /// Whether the kernel had more to say than fitted: handles are missing.
    pub lost: bool,
}

/// One error.
#[derive(Debug)]
pub struct Failure {
    /// The message's sequence number.
    pub sequence: u32,
    /// The error number.
    pub errno: i32,
    /// What the kernel says about it.
    pub text: Option<String>,
}

impl Socket {
    /// Sends parts of one batch between its frame, and gathers what the kernel says to it.
    ///
    /// # Errors
    /// [`Error::System`] if the batch did not reach the kernel. What the kernel refuses is in the
    /// reply.
    pub fn batch(&mut self, subsystem: u16, parts: &[&[u8]]) -> Result<BatchReply, Error> {
        self.transact(subsystem, parts, true)
    }

    /// Like [`Socket::batch`], but nothing is ever taken: the kernel looks at everything and then
    /// forgets it, for the end of the batch is missing.
    ///
    /// # Errors
    /// As [`Socket::batch`].
    pub fn rehearse(&mut self, subsystem: u16, parts: &[&[u8]]) -> Result<BatchReply, Error> {
        self.transact(subsystem, parts, false)
    }

    fn transact(
        &mut self,
        subsystem: u16,
        parts: &[&[u8]],
        commit: bool,
    ) -> Result<BatchReply, Error> {
        self.drain();
        let mut frame = Encoder::default();
        for kind in [BATCH_BEGIN, BATCH_END] {
            let sequence = self.next_sequence();
            let message = frame.message(Header {
                kind,
                flags: REQUEST,
                sequence,
                family: 0,
                resource: subsystem,
            });
            frame.end(message);
        }
        if let Err(errno) = self.faults.meet(Call::Batch) {
            return Ok(refused_at_first(parts, errno));
        }
        let (begin, end) = frame.bytes().split_at(frame.len() / 2);
        let mut slices = vec![IoSlice::new(begin)];
        slices.extend(parts.iter().map(|part| IoSlice::new(part)));
        if commit {
            slices.push(IoSlice::new(end));
        }
        self.send("send a batch", &slices)?;
        if let Some(recorded) = self.recorded.as_mut().filter(|_| commit) {
            recorded.push(parts.concat());
        }
        self.replies()
    }

    fn replies(&mut self) -> Result<BatchReply, Error> {
        /// `NFTA_RULE_HANDLE`; the replies asked for are rules.
        const RULE_HANDLE: u16 = 3;
        let mut replies = BatchReply::default();
        loop {
            let received = self.receive(MsgFlags::MSG_DONTWAIT, |reply| match reply.error() {
                Some(0) => {}
                Some(errno) => replies.errors.push(Failure {
                    sequence: reply.sequence,
                    errno,
                    text: reply.error_text().map(str::to_owned),
                }),
                None => {
                    let handle = reply.attributes().be64(RULE_HANDLE);
                    replies.handles.extend(handle.map(|handle| (reply.sequence, handle)));
                }
            });
            match received {
                Ok(()) => {}
                Err(Errno::EAGAIN) => return Ok(replies),
                // What was queued before the overflow is still there. Errors come before anything
                // else, so their absence says that the batch was taken.
                Err(Errno::ENOBUFS) => replies.lost = true,
                Err(errno) => return Err(Error::system("read the answers to a batch", errno)),
            }
        }
    }
}

/// What the kernel says that objects to the first message of a batch.
fn refused_at_first(parts: &[&[u8]], errno: Errno) -> BatchReply {
    let first = parts.iter().flat_map(|part| Messages(part)).next();
    let sequence = first.map_or(0, |message| message.sequence);
    BatchReply {
        errors: vec![Failure { sequence, errno: errno as i32, text: None }],
        ..BatchReply::default()
    }
}
