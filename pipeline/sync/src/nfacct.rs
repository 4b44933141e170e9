//! The kernel's named packet counters (nfnetlink_acct).

use crate::Error;
use crate::netlink::{ACK, CREATE, Encoder, Header, Message, REQUEST, SendBudget, Socket};

/// `NFNL_SUBSYS_ACCT`
const SUBSYSTEM: u16 = 7;
/// `NFNL_MSG_ACCT_NEW`
const NEW: u16 = 0;
/// `NFNL_MSG_ACCT_GET`
const GET: u16 = 1;
/// `NFACCT_NAME`
const NAME: u16 = 1;
/// `NFACCT_PKTS`
const PACKETS: u16 = 2;

fn ask(
    socket: &mut Socket,
    what: u16,
    flags: u16,
    name: &str,
    reply: impl FnMut(&Message<'_>),
) -> Result<(), Error> {
    let mut request = Encoder::default();
    let message = request.message(Header {
        kind: SUBSYSTEM << 8 | what,
        flags: REQUEST | ACK | flags,
        sequence: socket.next_sequence(),
        family: 0,
        resource: 0,
    });
    request.text(NAME, name);
    request.end(message);
    let deed = if what == NEW { "make" } else { "read" };
    socket.request(&format!("{deed} the packet counter {name}"), &request, reply)
}

/// How many packets a counter has counted; `None` if there is none of that name.
///
/// # Errors
/// What the kernel says.
pub fn packets(name: &str) -> Result<Option<u64>, Error> {
    let mut socket = Socket::open(SendBudget::Granted)?;
    let mut counted = None;
    let asked = ask(&mut socket, GET, 0, name, |reply| {
        counted = reply.attributes().be64(PACKETS).or(counted);
    });
    match asked {
        Err(error) if error.number() == Some(libc::ENOENT) => Ok(None),
        asked => asked.map(|()| counted),
    }
}

/// Whether the kernel has named packet counters. Nothing is written.
///
/// # Errors
/// Whatever keeps the question from being asked, such as [`Error::NotPermitted`].
pub fn supported() -> Result<bool, Error> {
    let mut socket = Socket::open(SendBudget::Granted)?;
    match ask(&mut socket, GET, 0, "IMayExist", |_| {}) {
        Ok(()) => Ok(true),
        Err(error) => match error.number() {
            Some(libc::ENOENT) => Ok(true),
            Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT) => Ok(false),
            _ => Err(error),
        },
    }
}

/// Makes counters where they are missing. Those that are there go on counting.
///
/// # Errors
/// [`Error::Unwritable`] for a name that is empty or longer than 31 bytes, or what the kernel says.
pub fn ensure<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
    let mut socket = Socket::open(SendBudget::Granted)?;
    for name in names {
        if name.is_empty() || name.len() >= crate::xt::NFACCT_NAME || name.contains('\0') {
            let what = "a counter's name must have 1 to 31 bytes and no NUL".into();
            return Err(Error::Unwritable { object: name.into(), what });
        }
        match ask(&mut socket, GET, 0, name, |_| {}) {
            Err(error) if error.number() == Some(libc::ENOENT) => {}
            other => {
                other?;
                continue;
            }
        }
        match ask(&mut socket, NEW, CREATE, name, |_| {}) {
            // Somebody was quicker.
            Err(error) if error.number() == Some(libc::EBUSY) => {}
            other => other?,
        }
    }
    Ok(())
}
