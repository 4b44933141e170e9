//! A UDP socket that answers from the address it was asked at.
//!
//! A socket of one address does so by itself. One of all addresses (`0.0.0.0`, `::`) would answer
//! from whatever address the route back prefers, and a client that asked another would not know the
//! answer for its own: there the kernel is asked for each question's address, and told for each
//! answer.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo, in6_pktinfo};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// A UDP socket of one address or of all.
#[derive(Debug)]
pub(crate) struct Socket {
    udp: UdpSocket,
    all: bool,
}

/// Whom an answer goes to, and from where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    asked: Option<Asked>,
}

/// The address that was asked.
#[derive(Clone, Copy, Debug)]
enum Asked {
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

impl Socket {
    /// Takes a bound socket over.
    pub(crate) fn new(udp: UdpSocket) -> io::Result<Self> {
        let local = udp.local_addr()?;
        let all = local.ip().is_unspecified();
        if all {
            match local {
                SocketAddr::V4(_) => setsockopt(&udp, Ipv4PacketInfo, &true)?,
                SocketAddr::V6(_) => setsockopt(&udp, Ipv6RecvPacketInfo, &true)?,
            }
        }
        Ok(Self { udp, all })
    }

    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.udp.readable().await
    }

    /// The next datagram, if one is there.
    pub(crate) fn try_receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Client)> {
        if self.all {
            return self.udp.try_io(Interest::READABLE, || receive(&self.udp, buffer));
        }
        let (length, address) = self.udp.try_recv_from(buffer)?;
        Ok((length, Client { address, asked: None }))
    }

    pub(crate) async fn send(&self, answer: &[u8], client: Client) -> io::Result<usize> {
        match client.asked {
            None => self.udp.send_to(answer, client.address).await,
            Some(asked) => {
                let send = || send(&self.udp, answer, client.address, &asked);
                self.udp.async_io(Interest::WRITABLE, send).await
            }
        }
    }
}

fn receive(udp: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Client)> {
    let mut parts = [IoSliceMut::new(buffer)];
    let mut space = nix::cmsg_space!(in_pktinfo, in6_pktinfo);
    let descriptor = udp.as_raw_fd();
    let received =
        recvmsg::<SockaddrStorage>(descriptor, &mut parts, Some(&mut space), MsgFlags::empty())?;
    let asked = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(Asked::V4(info)),
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(Asked::V6(info)),
        _ => None,
    });
    let address = received.address.as_ref().and_then(plain).ok_or(Errno::EAFNOSUPPORT)?;
    Ok((received.bytes, Client { address, asked }))
}

fn send(udp: &UdpSocket, answer: &[u8], to: SocketAddr, asked: &Asked) -> io::Result<usize> {
    let parts = [IoSlice::new(answer)];
    let to = SockaddrStorage::from(to);
    let send = |message: ControlMessage<'_>| {
        sendmsg(udp.as_raw_fd(), &parts, &[message], MsgFlags::empty(), Some(&to))
    };
    // The way back may lead through another interface than the question took.
    let sent = match *asked {
        Asked::V4(info) => {
            let none = in_addr { s_addr: 0 };
            send(ControlMessage::Ipv4PacketInfo(&in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: info.ipi_spec_dst,
                ipi_addr: none,
            }))
        }
        Asked::V6(mut info) => {
            // Only a link-local address means nothing without its interface.
            if info.ipi6_addr.s6_addr.first_chunk() != Some(&[0xfe, 0x80]) {
                info.ipi6_ifindex = 0;
            }
            send(ControlMessage::Ipv6PacketInfo(&info))
        }
    };
    Ok(sent?)
}

fn plain(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
}
