//! What the machine says of itself: its addresses, and a conntrack switch.
//!
//! Everything is read in the network namespace of the calling thread.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use model::{Change, Host, HostAddress};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, SockaddrStorage, bind,
    recv, socket,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::Sender;

use crate::{Delivery, Error};

/// `net.netfilter.nf_conntrack_tcp_be_liberal`; absent while the conntrack module is not loaded.
const BE_LIBERAL: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal";

/// The rtnetlink groups that tell of addresses and of interfaces (renamed ones, too): `RTMGRP_LINK`,
/// `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR` of linux/rtnetlink.h.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

/// How long a burst of announcements may last before the machine is read again: an interface that
/// comes up announces itself and each of its addresses.
const BURST: Duration = Duration::from_millis(20);

/// Reads every address of every interface, loopback included, and the conntrack switch.
///
/// # Errors
/// [`Error::Host`] if the kernel does not list the addresses, or the switch is there but cannot be
/// read.
pub fn read_host() -> Result<Host, Error> {
    let listed =
        getifaddrs().map_err(|errno| host_error("list the interfaces' addresses", errno.into()))?;
    let addresses = listed.filter_map(|entry| {
        let address = ip_of(&entry.address?)?;
        // An IPv4 address may carry a label such as eth0:1 in place of its interface's name.
        let interface = entry.interface_name.split(':').next().unwrap_or_default().into();
        Some(HostAddress { address, interface })
    });
    let addresses: BTreeSet<_> = addresses.collect();
    Ok(Host { addresses, conntrack_be_liberal: be_liberal(fs::read_to_string(BE_LIBERAL))? })
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

fn be_liberal(text: io::Result<String>) -> Result<bool, Error> {
    match text {
        Ok(text) => Ok(text.trim() != "0"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(host_error("read net.netfilter.nf_conntrack_tcp_be_liberal", error)),
    }
}

/// Sends what [`read_host`] says whenever that is something else than what is `known`, which has been
/// sent already. Returns when nobody listens any more.
///
/// # Errors
/// [`Error::Host`] if the kernel gives no announcements or cannot be read.
pub async fn watch_host(mut known: Host, deliveries: Sender<Delivery>) -> Result<(), Error> {
    // Subscribed before the first comparison, so that nothing falls between the two.
    let announcements = subscribe()?;
    loop {
        let host = read_host()?;
        if known != host {
            known = host.clone();
            let delivery = Delivery {
                changes: vec![Change::Host(host)],
                notices: Vec::new(),
                complete: false,
            };
            if deliveries.send(delivery).await.is_err() {
                return Ok(());
            }
        }
        tokio::select! {
            heard = wait(&announcements) => heard?,
            () = deliveries.closed() => return Ok(()),
        }
    }
}

/// Opens a socket on which the kernel announces addresses and interfaces.
fn subscribe() -> Result<AsyncFd<OwnedFd>, Error> {
    let fd = open()?;
    // SAFETY: the descriptor is owned by what is registered, which yields the same one until it is
    // dropped, and is deregistered before that.
    #[allow(unsafe_code)]
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    registered.map_err(|error| host_error("wait for address announcements", error.into()))
}

fn open() -> Result<OwnedFd, Error> {
    let failed = |errno: Errno| host_error("subscribe to address announcements", errno.into());
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, Some(SockProtocol::NetlinkRoute))
        .map_err(failed)?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, GROUPS)).map_err(failed)?;
    Ok(fd)
}

/// Waits for an announcement and the end of its burst. What they say is not read: the machine is.
async fn wait(announcements: &AsyncFd<OwnedFd>) -> Result<(), Error> {
    let failed = |error| host_error("wait for address announcements", error);
    announcements.readable().await.map_err(failed)?.retain_ready();
    tokio::time::sleep(BURST).await;
    let mut ready = announcements.readable().await.map_err(failed)?;
    drain(announcements.get_ref().as_fd().as_raw_fd()).map_err(failed)?;
    ready.clear_ready();
    Ok(())
}

/// Throws away all that is queued. An overrun says that something changed, like any announcement.
fn drain(fd: std::os::fd::RawFd) -> io::Result<()> {
    let mut buffer = [0; 8192];
    loop {
        match recv(fd, &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn host_error(action: &'static str, source: io::Error) -> Error {
    Error::Host { action, source }
}

#[cfg(test)]
mod tests;
