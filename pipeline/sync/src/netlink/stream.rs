//! Long lists, read as they come, and who is who among sockets.

use std::io::IoSlice;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, NetlinkAddr, getsockname};

use super::{DUMP_ATTEMPTS, Encoder, Message, Socket, refusal};
use crate::Error;

impl Socket {
    /// Dumps objects that come and go all the time, so that no moment's whole can be had: each is
    /// handed on as it comes, and nothing is kept. Where the kernel breaks off, the dump starts
    /// again, so an object may come twice.
    ///
    /// # Errors
    /// [`Error::Unsettled`] if the kernel breaks off each time, [`Error::Refused`] if it refuses.
    pub fn stream(
        &mut self,
        what: &'static str,
        message: &Encoder,
        mut take: impl FnMut(&Message<'_>),
    ) -> Result<(), Error> {
        for _ in 0..DUMP_ATTEMPTS {
            self.drain();
            self.send(what, &[IoSlice::new(message.bytes())])?;
            let (mut done, mut interrupted) = (None, false);
            while done.is_none() {
                let received = self.receive(MsgFlags::empty(), |reply| {
                    interrupted |= reply.is_interrupted();
                    match reply.error() {
                        Some(errno) => done = Some((errno, reply.error_text().map(str::to_owned))),
                        None => take(reply),
                    }
                });
                match received {
                    Ok(()) => {}
                    Err(Errno::ENOBUFS) => interrupted = true,
                    Err(errno) => return Err(Error::system(format!("read {what}"), errno)),
                }
            }
            match done {
                Some((0, _)) if !interrupted => return Ok(()),
                None | Some((0 | libc::EINTR | libc::EAGAIN, _)) => {}
                Some((errno, text)) => return Err(refusal(&format!("list {what}"), errno, text)),
            }
        }
        Err(Error::Unsettled { what, times: DUMP_ATTEMPTS })
    }

    /// The number by which the kernel tells this socket from others of its network namespace; what
    /// it changes is announced to everybody with this number.
    ///
    /// # Errors
    /// [`Error::System`] if the kernel does not tell.
    pub fn port(&self) -> Result<u32, Error> {
        getsockname::<NetlinkAddr>(self.fd.as_raw_fd())
            .map(|address| address.pid())
            .map_err(|errno| Error::system("ask for the address of a netlink socket", errno))
    }
}
