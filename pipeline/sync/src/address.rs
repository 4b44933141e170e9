//! An address of the node's own, on the loopback interface of the calling thread's network
//! namespace.
//!
//! The convention of node-local DNS is a dummy interface; loopback does without the kernel's module
//! for it, and every interface's packets to a local address are accepted alike.

use std::net::IpAddr;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

use crate::Error;
use crate::netlink::{ACK, CREATE, REQUEST};

/// `RTM_NEWADDR`
const NEW_ADDRESS: u16 = 20;
/// `IFA_ADDRESS` and `IFA_LOCAL`
const ATTRIBUTES: [u16; 2] = [1, 2];
/// `IFA_F_NODAD`: usable at once, as nobody else is on this interface.
const NO_DETECTION: u8 = 0x02;
/// `RT_SCOPE_HOST`: never the source of a packet that somebody else is to answer. IPv6 addresses
/// have no scope but their own: they are deprecated instead, which means the same.
const SCOPE_HOST: u8 = 254;
/// `IFA_CACHEINFO`: preferred for no time, valid for ever, and two stamps that the kernel makes.
const LIFETIMES: (u16, [u32; 4]) = (6, [0, u32::MAX, 0, 0]);
/// Length of `struct nlmsghdr`, behind which an acknowledgement has its error number.
const HEADER: usize = 16;

/// Gives the loopback interface an address, for one host. One that is there already stays as it is.
///
/// # Errors
/// [`Error::System`] without CAP_NET_ADMIN, or if the kernel refuses for another reason.
pub fn add_to_loopback(address: IpAddr) -> Result<(), Error> {
    let what = || format!("add {address} to the loopback interface");
    let failed = |errno: Errno| Error::system(what(), errno);
    let index = if_nametoindex("lo").map_err(failed)?;
    let kind = (SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute);
    let fd = socket(AddressFamily::Netlink, kind.0, kind.1, kind.2).map_err(failed)?;
    send(fd.as_raw_fd(), &message(address, index), MsgFlags::empty()).map_err(failed)?;
    let mut answer = [0; 4096];
    let length = recv(fd.as_raw_fd(), &mut answer, MsgFlags::empty()).map_err(failed)?;
    let error = answer[..length].get(HEADER..HEADER + 4).unwrap_or(&[0xff; 4]);
    let error = error.try_into().map_or(-1, i32::from_ne_bytes);
    match Errno::from_raw(error.saturating_neg()) {
        _ if error == 0 => Ok(()),
        Errno::EEXIST => Ok(()),
        errno => Err(failed(errno)),
    }
}

fn message(address: IpAddr, interface: u32) -> Vec<u8> {
    let (family, flags, bytes) = match address {
        IpAddr::V4(v4) => (libc::AF_INET, 0, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6, NO_DETECTION, v6.octets().to_vec()),
    };
    // Both constants are below 256, and no address has more than 16 bytes.
    let byte = |number: i32| u8::try_from(number).unwrap_or_default();
    let short = |number: usize| u16::try_from(number).unwrap_or_default();
    let mut body = vec![byte(family), byte(i32::from(short(bytes.len() * 8))), flags, SCOPE_HOST];
    body.extend(interface.to_ne_bytes());
    for kind in ATTRIBUTES {
        body.extend(short(4 + bytes.len()).to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(&bytes);
    }
    if address.is_ipv6() {
        let (kind, times) = LIFETIMES;
        body.extend(short(4 + 16).to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(times.iter().flat_map(|time| time.to_ne_bytes()));
    }
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(u32::from(short(HEADER + body.len())).to_ne_bytes());
    message.extend(NEW_ADDRESS.to_ne_bytes());
    message.extend((REQUEST | ACK | CREATE).to_ne_bytes());
    // Sequence number and port: one question, one answer.
    message.extend([0; 8]);
    message.extend(body);
    message
}
