//! Packets that rules log to a group (`nfnetlink_log`): read by one listener, a sample of what was
//! denied.
//!
//! How many packets are logged is for the rules to limit; what nobody reads in time is dropped by the
//! kernel, and the packets themselves are never kept waiting.

mod packet;

use std::os::fd::BorrowedFd;

use nix::poll::PollTimeout;

pub use packet::Logged;

use crate::Error;
use crate::netlink::{ACK, Encoder, Header, REQUEST, Reading, Subscription, Wake};

/// `NFNL_SUBSYS_ULOG`
const SUBSYSTEM: u16 = 4;
/// `NFULNL_MSG_PACKET`
const PACKET: u16 = 0;
/// `NFULNL_MSG_CONFIG`
const CONFIG: u16 = 1;
/// About a thousand packets may wait to be read.
const BUFFER: usize = 1 << 20;
/// How much of a packet is told: its headers, the longest of IPv6 with options.
const HEADERS: u32 = 128;
/// How long the kernel gathers packets before it tells them, in hundredths of a second.
const GATHER: u32 = 10;

/// `NFULA_CFG_…`
mod attribute {
    pub(super) const COMMAND: u16 = 1;
    pub(super) const MODE: u16 = 2;
    pub(super) const TIMEOUT: u16 = 4;
}

/// Listens to a group.
#[derive(Debug)]
pub struct Nflog(Subscription);

impl Nflog {
    /// Listens to a group in the calling thread's network namespace. A group has one listener.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the kernel has no `nfnetlink_log`, [`Error::Refused`] without
    /// CAP_NET_ADMIN or if another process listens to the group.
    pub fn open(group: u16) -> Result<Self, Error> {
        /// `NFULNL_CFG_CMD_BIND`
        const BIND: u8 = 1;
        /// `NFULNL_COPY_PACKET`
        const COPY_PACKET: u8 = 2;
        let mut log = Self(Subscription::open_alone(BUFFER)?);
        log.configure(group, |out| out.raw(attribute::COMMAND, &[BIND])).map_err(|error| {
            // What is not there is refused as an unknown subsystem.
            match (&error, error.number()) {
                (_, Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT)) => {
                    Error::Unsupported {
                        feature: "log of packets by netlink",
                        module: "nfnetlink_log",
                        option: "CONFIG_NETFILTER_NETLINK_LOG",
                    }
                }
                // So the kernel says it where a right is missing, and where the group is taken.
                (Error::NotPermitted, _) => Error::Refused {
                    what: format!("listen to packets logged to group {group}"),
                    source: std::io::Error::from_raw_os_error(libc::EPERM),
                    text: Some("another process may be listening to it".into()),
                },
                _ => error,
            }
        })?;
        log.configure(group, |out| {
            let mut mode = [0; 6];
            let (range, how) = mode.split_at_mut(4);
            range.copy_from_slice(&HEADERS.to_be_bytes());
            how.copy_from_slice(&[COPY_PACKET, 0]);
            out.raw(attribute::MODE, &mode);
            out.be32(attribute::TIMEOUT, GATHER);
        })?;
        Ok(log)
    }

    fn configure(&mut self, group: u16, say: impl FnOnce(&mut Encoder)) -> Result<(), Error> {
        let mut request = Encoder::default();
        let message = request.message(Header {
            kind: SUBSYSTEM << 8 | CONFIG,
            flags: REQUEST | ACK,
            sequence: 1,
            family: 0,
            resource: group,
        });
        say(&mut request);
        request.end(message);
        self.0.request("listen to a group of logged packets", &request)
    }

    /// Waits for a packet, for a time, or until `stop` can be read.
    ///
    /// # Errors
    /// [`Error::System`] if the system cannot wait.
    pub fn wait(&self, stop: BorrowedFd<'_>, timeout: PollTimeout) -> Result<Wake, Error> {
        self.0.wait(stop, timeout)
    }

    /// Hands every packet that was logged by now to a function. Never waits. False if there were
    /// more than could be kept.
    ///
    /// # Errors
    /// [`Error::System`] if the socket is of no use any more.
    pub fn read(&mut self, mut take: impl FnMut(Logged)) -> Result<bool, Error> {
        let mut complete = true;
        loop {
            let reading = self.0.read(|message| {
                let logged = message.kind == (SUBSYSTEM << 8 | PACKET);
                if let Some(packet) = logged.then(|| packet::read(message)).flatten() {
                    take(packet);
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
