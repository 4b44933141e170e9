//! What the kernel's routing says of a packet, without sending one: the reverse-path filter and
//! forwarding included.

use std::io::{IoSlice, IoSliceMut};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvmsg, sendmsg,
    socket,
};

use crate::Error;
use crate::netlink::{Messages, REQUEST, read_u16, read_u32};

/// `RTM_GETROUTE`
const GET_ROUTE: u16 = 26;
/// `RTM_NEWROUTE`
const NEW_ROUTE: u16 = 24;
/// The length of `struct nlmsghdr`, and of `struct rtmsg` behind it.
const HEADER: usize = 16;
const ROUTE: usize = 12;
/// `RTA_DST`, `RTA_SRC`, `RTA_IIF`, `RTA_OIF`
const DESTINATION: u16 = 1;
const SOURCE: u16 = 2;
const IN_INTERFACE: u16 = 3;
const OUT_INTERFACE: u16 = 4;

/// Where the kernel sends a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routed {
    /// On.
    To {
        /// The interface that it leaves by; `lo` for the host itself.
        interface: String,
    },
    /// Nowhere.
    Refused(Refusal),
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The reverse-path filter drops it: answers would leave by another interface.
    ReversePath {
        /// `rp_filter` as it counts for the interface: 1 strict, 2 loose.
        filter: u8,
        /// Where answers would leave, if anywhere.
        back: Option<String>,
    },
    /// The host does not forward.
    NotForwarding,
    /// There is no route.
    NoRoute,
    /// The kernel refuses for another reason, which it does not tell.
    Other(String),
}

/// Asks where the host itself would send a packet. The calling thread's network namespace counts.
///
/// # Errors
/// [`Error::System`] if the kernel cannot be asked.
pub fn output(to: IpAddr) -> Result<Routed, Error> {
    match ask(to, None)? {
        Ok(interface) => Ok(Routed::To { interface }),
        Err(Errno::ENETUNREACH) => Ok(Routed::Refused(Refusal::NoRoute)),
        Err(errno) => Ok(Routed::Refused(Refusal::Other(errno.desc().into()))),
    }
}

/// Asks what becomes of a packet that comes in by an interface, once its destination is translated.
///
/// # Errors
/// As [`output`]; and where there is no such interface.
pub fn input(from: IpAddr, to: IpAddr, interface: &str) -> Result<Routed, Error> {
    let index = if_nametoindex(interface)
        .map_err(|errno| Error::system(format!("find the interface {interface}"), errno))?;
    match ask(to, Some((from, index)))? {
        Ok(interface) => Ok(Routed::To { interface }),
        // Kernels before Linux 6.14 tell the reverse-path filter by EXDEV; later ones tell
        // nothing but EINVAL, so that its settings have to be looked at.
        Err(errno) => Ok(Routed::Refused(why(from, to, interface, errno)?)),
    }
}

fn why(from: IpAddr, to: IpAddr, interface: &str, errno: Errno) -> Result<Refusal, Error> {
    let back = match output(from)? {
        Routed::To { interface } => Some(interface),
        Routed::Refused(_) => None,
    };
    let filter = reverse_path_filter(from, interface);
    let strayed = match filter {
        1 => back.as_deref() != Some(interface),
        2 => back.is_none(),
        _ => false,
    };
    if strayed {
        return Ok(Refusal::ReversePath { filter, back });
    }
    let own = matches!(output(to)?, Routed::To { interface } if interface == "lo");
    if !own && !forwards(to, interface) {
        return Ok(Refusal::NotForwarding);
    }
    Ok(match errno {
        Errno::ENETUNREACH | Errno::EHOSTUNREACH => Refusal::NoRoute,
        _ if matches!(output(to)?, Routed::Refused(Refusal::NoRoute)) => Refusal::NoRoute,
        errno => Refusal::Other(errno.desc().into()),
    })
}

/// `rp_filter` as it counts for an interface: the greater of its own and that of all. IPv6 has none.
#[must_use]
pub fn reverse_path_filter(from: IpAddr, interface: &str) -> u8 {
    if from.is_ipv6() {
        return 0;
    }
    let read = |name: &str| {
        let text = crate::sysctl::read(&format!("net/ipv4/conf/{name}/rp_filter"));
        text.ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    read("all").max(read(interface))
}

/// Whether packets that come in by an interface are forwarded.
#[must_use]
pub fn forwards(to: IpAddr, interface: &str) -> bool {
    let name = if to.is_ipv4() {
        format!("net/ipv4/conf/{interface}/forwarding")
    } else {
        "net/ipv6/conf/all/forwarding".to_owned()
    };
    crate::sysctl::read(&name).is_ok_and(|value| value != "0")
}

/// The name of the interface by which a packet would leave, or the kernel's refusal.
fn ask(to: IpAddr, coming: Option<(IpAddr, u32)>) -> Result<Result<String, Errno>, Error> {
    let failed = |errno| Error::system("ask for a route", errno);
    let fd: OwnedFd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )
    .map_err(failed)?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(failed)?;
    let request = request(to, coming);
    let kernel = NetlinkAddr::new(0, 0);
    let sent = [IoSlice::new(&request)];
    sendmsg(fd.as_raw_fd(), &sent, &[], MsgFlags::empty(), Some(&kernel)).map_err(failed)?;
    let mut buffer = vec![0; 8192];
    let length = {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::empty();
        recvmsg::<NetlinkAddr>(fd.as_raw_fd(), &mut slices, None, flags).map_err(failed)?.bytes
    };
    let reply = buffer.get(..length).unwrap_or_default();
    let Some(message) = Messages(reply).next() else {
        return Err(failed(Errno::EBADMSG));
    };
    if let Some(errno) = message.error().filter(|&errno| errno != 0) {
        return Ok(Err(Errno::from_raw(errno)));
    }
    if message.kind != NEW_ROUTE {
        return Err(failed(Errno::EBADMSG));
    }
    let index = attribute(reply.get(HEADER + ROUTE..).unwrap_or_default(), OUT_INTERFACE)
        .and_then(|value| read_u32(value, 0))
        .unwrap_or_default();
    Ok(Ok(interface_name(index)))
}

/// The name of an interface by its number.
#[must_use]
pub fn interface_name(index: u32) -> String {
    let names = nix::net::if_::if_nameindex();
    let found = names.as_ref().ok().and_then(|names| {
        names.iter().find(|one| one.index() == index).map(|one| one.name().to_string_lossy().into())
    });
    found.unwrap_or_else(|| format!("interface {index}"))
}

fn request(to: IpAddr, coming: Option<(IpAddr, u32)>) -> Vec<u8> {
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let bits: u8 = if to.is_ipv4() { 32 } else { 128 };
    let from = coming.map(|(from, _)| from);
    let mut body = vec![
        u8::try_from(family).unwrap_or_default(),
        bits,
        if from.is_some() { bits } else { 0 },
        0,
        0,
        0,
        0,
        0,
    ];
    body.extend(0u32.to_ne_bytes());
    put(&mut body, DESTINATION, &octets(to));
    if let Some((from, index)) = coming {
        put(&mut body, SOURCE, &octets(from));
        put(&mut body, IN_INTERFACE, &index.to_ne_bytes());
    }
    let length = u32::try_from(HEADER + body.len()).unwrap_or_default();
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(length.to_ne_bytes());
    message.extend(GET_ROUTE.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend(1u32.to_ne_bytes());
    message.extend(0u32.to_ne_bytes());
    message.extend(body);
    message
}

fn put(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or_default();
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(read_u16(bytes, 0)?);
        let kind = read_u16(bytes, 2)?;
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}
