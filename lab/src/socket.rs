//! Sockets by protocol and family.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use model::Protocol;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, setsockopt, socket, sockopt,
};

use crate::error::LabError;

/// A non-blocking socket of the protocol, in the calling thread's namespace.
///
/// # Errors
/// [`LabError::Unsupported`] if the kernel has none, [`LabError::System`] otherwise.
pub(crate) fn open(protocol: Protocol, address: SocketAddr) -> Result<OwnedFd, LabError> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SockType::Stream, SockProtocol::Tcp),
        Protocol::Udp => (SockType::Datagram, SockProtocol::Udp),
        Protocol::Sctp => (SockType::Stream, SockProtocol::Sctp),
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, kind, flags, number).map_err(|error| match error {
        Errno::EPROTONOSUPPORT | Errno::ESOCKTNOSUPPORT => LabError::Unsupported(protocol),
        other => LabError::system("open a socket", other),
    })?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)
            .map_err(|error| LabError::system("keep an IPv6 socket to IPv6", error))?;
    }
    Ok(fd)
}

/// The address as system calls take it.
pub(crate) fn raw(address: SocketAddr) -> SockaddrStorage {
    SockaddrStorage::from(address)
}

/// The address as the standard library has it; `None` for a family other than IP.
pub(crate) fn std_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(SocketAddr::new(v4.ip().into(), v4.port())),
        (_, Some(v6)) => Some(SocketAddr::new(v6.ip().into(), v6.port())),
        _ => None,
    }
}
