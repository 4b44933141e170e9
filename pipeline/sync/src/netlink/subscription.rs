//! A socket that hears what netfilter announces to everybody.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvmsg, sendmsg,
    socket,
};

use super::{Encoder, Message, Messages, RECEIVE, options, refusal};
use crate::Error;

/// What waiting led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// There is something to read.
    Announcement,
    /// The time is over.
    Silence,
    /// The other file descriptor woke us.
    Stop,
}

/// What reading led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Messages were handed over.
    Messages,
    /// There was nothing to read.
    Nothing,
    /// The kernel had more to say than fitted, and threw it away.
    Overrun,
}

/// A socket that hears one group of announcements of its network namespace.
#[derive(Debug)]
pub struct Subscription {
    fd: OwnedFd,
    receive: Vec<u8>,
}

impl Subscription {
    /// Subscribes to a group (`NFNLGRP_…`, at most 32) in the calling thread's network namespace.
    /// `buffer` is how many bytes of announcements may wait to be read. Nothing is heard of what
    /// sockets with these ports do ([`Socket::port`](super::Socket::port)), and it takes no room
    /// in the buffer.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] without CAP_NET_ADMIN, or [`Error::System`].
    pub fn open(group: u32, buffer: usize, deaf_to: &[u32]) -> Result<Self, Error> {
        let groups = 1u32.checked_shl(group.wrapping_sub(1)).unwrap_or_default();
        Self::bound(groups, buffer, deaf_to)
    }

    /// A socket that hears no group: what is told to it alone, after a
    /// [`request`](Self::request).
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn open_alone(buffer: usize) -> Result<Self, Error> {
        Self::bound(0, buffer, &[])
    }

    fn bound(groups: u32, buffer: usize, deaf_to: &[u32]) -> Result<Self, Error> {
        let failed = |errno| Error::system("listen to the announcements of netfilter", errno);
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )
        .map_err(failed)?;
        options::size_receive_buffer(&fd, buffer)?;
        // Before anything can be heard.
        options::be_deaf_to(&fd, deaf_to)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups)).map_err(|errno| match errno {
            Errno::EPERM => Error::NotPermitted,
            errno => failed(errno),
        })?;
        Ok(Self { fd, receive: vec![0; RECEIVE] })
    }

    /// Asks the kernel for something that it answers by an acknowledgement alone, before anything is
    /// told to this socket.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] without CAP_NET_ADMIN, [`Error::Refused`] with what the kernel says.
    pub fn request(&mut self, what: &str, message: &Encoder) -> Result<(), Error> {
        let (kernel, slices) = (NetlinkAddr::new(0, 0), [IoSlice::new(message.bytes())]);
        let fd = self.fd.as_raw_fd();
        sendmsg(fd, &slices, &[], MsgFlags::empty(), Some(&kernel))
            .map_err(|errno| Error::system(what, errno))?;
        // The kernel has answered when the call returns.
        let mut refused = None;
        while self.read(|reply| refused = refused.or(reply.error()))? == Reading::Messages {
            match refused {
                Some(0) => return Ok(()),
                Some(errno) => return Err(refusal(what, errno, None)),
                None => {}
            }
        }
        Err(Error::Unreadable { what: what.into(), why: "the kernel did not answer".into() })
    }

    /// Waits for announcements, for a time, or until `stop` can be read or is closed at its other
    /// end.
    ///
    /// # Errors
    /// [`Error::System`] if the system cannot wait.
    pub fn wait(&self, stop: BorrowedFd<'_>, timeout: PollTimeout) -> Result<Wake, Error> {
        let mut both =
            [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN), PollFd::new(stop, PollFlags::POLLIN)];
        loop {
            match poll(&mut both, timeout) {
                Ok(0) => return Ok(Wake::Silence),
                Ok(_) if both[1].any().unwrap_or(true) => return Ok(Wake::Stop),
                Ok(_) => return Ok(Wake::Announcement),
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    return Err(Error::system("wait for announcements of netfilter", errno));
                }
            }
        }
    }

    /// Reads what is there, at most one datagram of the kernel. Never waits.
    ///
    /// # Errors
    /// [`Error::System`] if the socket is of no use any more.
    pub fn read(&mut self, mut take: impl FnMut(&Message<'_>)) -> Result<Reading, Error> {
        let (length, from_kernel) = loop {
            let mut slices = [IoSliceMut::new(&mut self.receive)];
            let flags = MsgFlags::MSG_DONTWAIT;
            match recvmsg::<NetlinkAddr>(self.fd.as_raw_fd(), &mut slices, None, flags) {
                Ok(got) if got.flags.contains(MsgFlags::MSG_TRUNC) => return Ok(Reading::Overrun),
                Ok(got) => break (got.bytes, got.address.is_some_and(|from| from.pid() == 0)),
                Err(Errno::EAGAIN) => return Ok(Reading::Nothing),
                Err(Errno::ENOBUFS) => return Ok(Reading::Overrun),
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    return Err(Error::system("read an announcement of netfilter", errno));
                }
            }
        };
        if from_kernel {
            let bytes = self.receive.get(..length).unwrap_or_default();
            Messages(bytes).for_each(|message| take(&message));
        }
        Ok(Reading::Messages)
    }
}
