//! One netlink socket of netfilter: requests, dumps and batches, in the calling thread.
//!
//! The kernel works a request off within the call that sends it, so answers are there when the call
//! returns: nothing here waits for anything but the kernel's own work.

mod batch;
mod decode;
mod encode;
mod fault;
mod options;
mod stream;
mod subscription;

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvmsg, sendmsg,
    socket,
};

pub use batch::{BatchReply, Failure};
pub use decode::{Attribute, Attributes, Message, Messages, c_text, read_u16, read_u32};
pub use encode::{Encoder, Header, Open};
pub use fault::{Call, Fault};
pub use subscription::{Reading, Subscription, Wake};

use crate::Error;
use fault::Faults;

/// `NLM_F_REQUEST`: every message to the kernel carries it.
pub const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`: answer even where nothing went wrong.
pub const ACK: u16 = 0x4;
/// `NLM_F_ECHO`: tell back what was made, with its handle.
pub const ECHO: u16 = 0x8;
/// `NLM_F_DUMP`: all of them.
pub const DUMP: u16 = 0x300;
/// `NLM_F_EXCL`: refuse what is there already.
pub const EXCL: u16 = 0x200;
/// `NLM_F_CREATE`: make what is not there.
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`: put behind, not before.
pub const APPEND: u16 = 0x800;

/// What a batch costs besides its content: a header each for its begin and end.
const BATCH_FRAME: usize = 40;
/// The kernel keeps this much of the send buffer for itself.
const RESERVED: usize = 32;
/// What is asked for; the kernel doubles it for its own accounting.
const WISHED_BUFFER: usize = 16 << 20;
/// Longer than any single reply: the kernel sends at most 32 KiB at a time.
const RECEIVE: usize = 1 << 18;
/// How much memory a buffer keeps for the next use.
pub(crate) const KEPT_MEMORY: usize = 1 << 20;
/// How often a dump is made again when the tables change under it.
const DUMP_ATTEMPTS: u32 = 100;

/// How much the kernel is to take at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SendBudget {
    /// As much as it grants, past `net.core.wmem_max` where the process may.
    #[default]
    Forced,
    /// As much as it grants to anybody: `net.core.wmem_max`.
    Granted,
    /// At most so many bytes, and hardly any room for answers: for tests of the splitting and of
    /// lost answers.
    Bytes(usize),
}

/// A socket of `NETLINK_NETFILTER` in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    budget: usize,
    sequence: u32,
    receive: Vec<u8>,
    dumped: Vec<u8>,
    /// The messages of each batch that was sent, while somebody wants to know.
    recorded: Option<Vec<Vec<u8>>>,
    faults: Faults,
}

impl Socket {
    /// Opens a socket.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the kernel has no netfilter netlink at all.
    pub fn open(budget: SendBudget) -> Result<Self, Error> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )
        .map_err(|errno| match errno {
            Errno::EPROTONOSUPPORT => Error::Unsupported {
                feature: "netlink interface of netfilter",
                module: "nfnetlink",
                option: "CONFIG_NETFILTER_NETLINK",
            },
            errno => Error::system("open a netlink socket for netfilter", errno),
        })?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))
            .map_err(|errno| Error::system("bind a netlink socket", errno))?;
        options::tell_errors_in_words(&fd)?;
        let force = budget != SendBudget::Granted;
        let receive = if matches!(budget, SendBudget::Bytes(_)) { 0 } else { WISHED_BUFFER };
        let granted = options::size_buffers(&fd, WISHED_BUFFER, receive, force)?;
        let granted = granted.saturating_sub(RESERVED + BATCH_FRAME);
        let budget = match budget {
            SendBudget::Bytes(limit) => granted.min(limit),
            SendBudget::Forced | SendBudget::Granted => granted,
        };
        Ok(Self {
            fd,
            budget,
            sequence: 1,
            receive: vec![0; RECEIVE],
            dumped: Vec::new(),
            recorded: None,
            faults: Faults::default(),
        })
    }

    /// For tests: what goes wrong from now on, until nothing does (`None`).
    pub fn fail_by(&mut self, fault: Option<Fault>) {
        self.faults.set(fault);
    }

    /// How many bytes of messages one batch may hold.
    #[must_use]
    pub fn budget(&self) -> usize {
        self.budget
    }

    /// A sequence number that was not used before (in four thousand million messages).
    pub fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.checked_add(1).unwrap_or(1);
        self.sequence
    }

    /// Keeps the messages of every batch from now on, so that a benchmark can send the same to a
    /// bare kernel; [`Socket::recorded`] hands them out.
    pub fn record(&mut self) {
        self.recorded = Some(Vec::new());
    }

    /// The messages of each batch since [`Socket::record`], which ends here.
    pub fn recorded(&mut self) -> Vec<Vec<u8>> {
        self.recorded.take().unwrap_or_default()
    }

    /// Sends one request and hands every answer to a function.
    ///
    /// # Errors
    /// [`Error::Refused`] with the kernel's error number; `what` names the request in it.
    pub fn request(
        &mut self,
        what: &str,
        message: &Encoder,
        mut answer: impl FnMut(&Message<'_>),
    ) -> Result<(), Error> {
        self.drain();
        self.send(what, &[IoSlice::new(message.bytes())])?;
        let mut failed = None;
        // The last answer is the acknowledgement or the error: both are of this kind.
        while failed.is_none() {
            self.receive(MsgFlags::empty(), |reply| match reply.error() {
                Some(0) => failed = Some(Ok(())),
                Some(errno) => {
                    failed = Some(Err(refusal(what, errno, reply.error_text().map(str::to_owned))));
                }
                None => answer(reply),
            })
            .map_err(|errno| Error::system(what, errno))?;
        }
        failed.unwrap_or(Ok(()))
    }

    /// Dumps: sends one request and hands every object to a function, once the dump is complete and
    /// nobody has changed the tables in between.
    ///
    /// # Errors
    /// [`Error::Unsettled`] if they change each time, [`Error::Refused`] if the kernel refuses.
    pub fn dump(
        &mut self,
        what: &'static str,
        message: &Encoder,
        mut take: impl FnMut(&Message<'_>),
    ) -> Result<(), Error> {
        let mut dumped = std::mem::take(&mut self.dumped);
        let mut settled = false;
        for _ in 0..DUMP_ATTEMPTS {
            dumped.clear();
            settled = self.dump_once(what, message, &mut dumped)?;
            if settled {
                break;
            }
        }
        if settled {
            Messages(&dumped).for_each(|message| take(&message));
        }
        dumped.clear();
        dumped.shrink_to(KEPT_MEMORY);
        self.dumped = dumped;
        settled.then_some(()).ok_or(Error::Unsettled { what, times: DUMP_ATTEMPTS })
    }

    /// Copies the answers, and reads none of them: the less time passes until the last one, the
    /// less likely somebody disturbs. False if somebody did.
    fn dump_once(
        &mut self,
        what: &'static str,
        message: &Encoder,
        dumped: &mut Vec<u8>,
    ) -> Result<bool, Error> {
        self.drain();
        self.send(what, &[IoSlice::new(message.bytes())])?;
        let (mut done, mut interrupted) = (None, false);
        while done.is_none() {
            let received = self.receive_bytes(MsgFlags::empty(), |bytes| {
                dumped.extend_from_slice(bytes);
                for reply in Messages(bytes) {
                    interrupted |= reply.is_interrupted();
                    done = done.or(reply.error());
                }
            });
            match received {
                Ok(()) => {}
                Err(Errno::ENOBUFS) => interrupted = true,
                Err(errno) => return Err(Error::system(format!("read {what}"), errno)),
            }
        }
        match done {
            None | Some(0) => Ok(!interrupted),
            Some(libc::EINTR | libc::EAGAIN) => Ok(false),
            Some(errno) => Err(refusal(&format!("list {what}"), errno, None)),
        }
    }

    fn send(&mut self, what: &str, slices: &[IoSlice<'_>]) -> Result<(), Error> {
        let kernel = NetlinkAddr::new(0, 0);
        loop {
            let sent = self.faults.meet(Call::Send).and_then(|()| {
                let fd = self.fd.as_raw_fd();
                sendmsg(fd, slices, &[], MsgFlags::empty(), Some(&kernel))
            });
            match sent {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::system(what, errno)),
            }
        }
    }

    /// Forgets answers that nobody waits for any more.
    fn drain(&mut self) {
        loop {
            match self.receive(MsgFlags::MSG_DONTWAIT, |_| {}) {
                Ok(()) | Err(Errno::ENOBUFS) => {}
                Err(_) => return,
            }
        }
    }

    fn receive(
        &mut self,
        flags: MsgFlags,
        mut take: impl FnMut(&Message<'_>),
    ) -> Result<(), Errno> {
        self.receive_bytes(flags, |bytes| Messages(bytes).for_each(|message| take(&message)))
    }

    fn receive_bytes(&mut self, flags: MsgFlags, take: impl FnOnce(&[u8])) -> Result<(), Errno> {
        let (length, from_kernel) = loop {
            let mut slices = [IoSliceMut::new(&mut self.receive)];
            let received = self.faults.meet(Call::Receive).and_then(|()| {
                recvmsg::<NetlinkAddr>(self.fd.as_raw_fd(), &mut slices, None, flags)
            });
            match received {
                Ok(got) => {
                    if got.flags.contains(MsgFlags::MSG_TRUNC) {
                        return Err(Errno::EMSGSIZE);
                    }
                    break (got.bytes, got.address.is_some_and(|address| address.pid() == 0));
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        };
        // Another process may write to our socket; the kernel's own port is 0.
        if from_kernel {
            take(self.receive.get(..length).unwrap_or_default());
        }
        Ok(())
    }
}

/// The error for an error number; not being allowed to is one of its own.
pub(crate) fn refusal(what: &str, errno: i32, text: Option<String>) -> Error {
    if errno == libc::EPERM {
        return Error::NotPermitted;
    }
    Error::Refused { what: what.into(), source: std::io::Error::from_raw_os_error(errno), text }
}
