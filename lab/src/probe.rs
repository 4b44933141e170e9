//! Clients that report what they learned, down to the kind of refusal.

use std::fmt;
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use model::Protocol;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, bind, connect, getsockopt, recv, recvmsg, send,
    setsockopt, sockopt,
};

use crate::error::LabError;
use crate::namespace::Namespace;
use crate::socket;

/// How long a client waits before it calls the other side silent. A dropped SYN is sent again only
/// after a second, so within this time each probe is one packet with one fate.
pub const SILENCE: Duration = Duration::from_millis(300);

/// What a server said about itself and the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The server's name.
    pub server: String,
    /// The address that the server was reached at, after every translation.
    pub server_address: SocketAddr,
    /// The client's address as the server saw it.
    pub seen_client: SocketAddr,
}

/// What a client learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A server answered.
    Answer(Answer),
    /// A TCP reset: nobody listens there, or a rule rejects with `tcp-reset`.
    Refused,
    /// ICMP (or ICMPv6) port unreachable: what `-j REJECT` sends, and what a closed UDP port does.
    Unreachable,
    /// Another ICMP or ICMPv6 error.
    OtherIcmp {
        /// The ICMP type.
        kind: u8,
        /// The ICMP code.
        code: u8,
    },
    /// Nothing came back within the time.
    Silence,
    /// A rule of the client's own host dropped the packet, and the kernel told the sender (UDP
    /// only; a dropped SYN is [`Outcome::Silence`]).
    Blocked,
    /// This kernel has no sockets of the protocol: nothing was tried.
    Unsupported(Protocol),
    /// Anything else: the text says what.
    Failed(String),
}

impl Outcome {
    /// The answer, if there was one.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Outcome::Answer(answer) => Some(answer),
            _ => None,
        }
    }

    /// The answering server's name, if there was an answer.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        self.answer().map(|answer| answer.server.as_str())
    }

    /// Whether the packet vanished, wherever the rule stood that dropped it.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        matches!(self, Outcome::Silence | Outcome::Blocked)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Answer(Answer { server, server_address, seen_client }) => {
                write!(f, "{server} at {server_address} answered, it saw {seen_client}")
            }
            Outcome::Refused => f.write_str("connection refused (TCP reset)"),
            Outcome::Unreachable => f.write_str("rejected (ICMP port unreachable)"),
            Outcome::OtherIcmp { kind, code } => write!(f, "ICMP error, type {kind} code {code}"),
            Outcome::Silence => f.write_str("no answer"),
            Outcome::Blocked => f.write_str("dropped by a rule on the client's host"),
            Outcome::Unsupported(protocol) => write!(f, "not tried: no {protocol} sockets here"),
            Outcome::Failed(text) => f.write_str(text),
        }
    }
}

/// Sends one packet (UDP) or opens one connection (TCP, SCTP) from a namespace and waits for the
/// line that a [`Server`](crate::Server) answers. `source` fixes the client's address or, with the
/// unspecified address, its port alone. Nothing is tried twice.
///
/// # Errors
/// [`LabError`] if the probe could not be made at all; whatever the network does is an [`Outcome`].
pub fn probe(
    from: &Namespace,
    source: Option<SocketAddr>,
    protocol: Protocol,
    to: SocketAddr,
    timeout: Duration,
) -> Result<Outcome, LabError> {
    let request: &[u8] = if protocol == Protocol::Udp { b"who\n" } else { b"" };
    let client = Client { source, protocol, to, request };
    from.run(|| client.ask(timeout))?.map(|reply| reply.unwrap_or_else(|text| read_line(&text)))
}

/// Sends one HTTP request as `curl http://TO/` does, to a server of
/// [`serve_http`](crate::serve_http).
///
/// # Errors
/// As [`probe`].
pub fn probe_http(
    from: &Namespace,
    source: Option<SocketAddr>,
    to: SocketAddr,
    timeout: Duration,
) -> Result<Outcome, LabError> {
    let request = format!("GET / HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
    let client = Client { source, protocol: Protocol::Tcp, to, request: request.as_bytes() };
    from.run(|| client.ask(timeout))?.map(|reply| reply.unwrap_or_else(|text| read_page(&text)))
}

struct Client<'a> {
    source: Option<SocketAddr>,
    protocol: Protocol,
    to: SocketAddr,
    request: &'a [u8],
}

/// Either what the network did instead of answering, or the bytes of an answer.
type Reply = Result<Outcome, Vec<u8>>;

impl Client<'_> {
    fn ask(&self, timeout: Duration) -> Result<Reply, LabError> {
        let deadline = Instant::now() + timeout;
        let fd = match socket::open(self.protocol, self.to) {
            Ok(fd) => fd,
            Err(LabError::Unsupported(protocol)) => return Ok(Ok(Outcome::Unsupported(protocol))),
            Err(other) => return Err(other),
        };
        if let Some(source) = self.source {
            bind(fd.as_raw_fd(), &socket::raw(source)).map_err(|errno| LabError::Socket {
                action: "send from",
                address: source,
                source: errno.into(),
            })?;
        }
        // Without this the kernel folds a TCP reset and an ICMP error into the same ECONNREFUSED.
        let asked = if self.to.is_ipv4() {
            setsockopt(&fd, sockopt::Ipv4RecvErr, &true)
        } else {
            setsockopt(&fd, sockopt::Ipv6RecvErr, &true)
        };
        asked.map_err(|error| LabError::system("ask for ICMP errors", error))?;
        Ok(match self.exchange(&fd, deadline) {
            Ok(answer) => Err(answer),
            Err(errno) => Ok(self.outcome(&fd, errno)),
        })
    }

    /// Connects, sends, and reads the whole answer; `ETIMEDOUT` at the deadline.
    fn exchange(&self, fd: &OwnedFd, deadline: Instant) -> Result<Vec<u8>, Errno> {
        match connect(fd.as_raw_fd(), &socket::raw(self.to)) {
            Ok(()) => {}
            Err(Errno::EINPROGRESS) => wait(fd, PollFlags::POLLOUT, deadline)?,
            Err(errno) => return Err(errno),
        }
        if !self.request.is_empty() {
            send(fd.as_raw_fd(), self.request, MsgFlags::MSG_NOSIGNAL)?;
        }
        let mut answer = Vec::new();
        let mut buffer = [0; 2048];
        loop {
            wait(fd, PollFlags::POLLIN, deadline)?;
            match recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(0) => return Ok(answer),
                Ok(count) => answer.extend_from_slice(&buffer[..count]),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
            if self.protocol == Protocol::Udp {
                return Ok(answer);
            }
        }
    }

    fn outcome(&self, fd: &OwnedFd, errno: Errno) -> Outcome {
        if let Some((kind, code)) = icmp_error(fd) {
            let port_unreachable = if self.to.is_ipv4() { (3, 3) } else { (1, 4) };
            if (kind, code) == port_unreachable {
                return Outcome::Unreachable;
            }
            return Outcome::OtherIcmp { kind, code };
        }
        match errno {
            Errno::ECONNREFUSED => Outcome::Refused,
            Errno::ETIMEDOUT => Outcome::Silence,
            Errno::EPERM => Outcome::Blocked,
            other => Outcome::Failed(other.to_string()),
        }
    }
}

/// Waits for readiness or a pending error, which becomes the result.
fn wait(fd: &OwnedFd, ready: PollFlags, deadline: Instant) -> Result<(), Errno> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, or the last millisecond would be spent spinning.
        let timeout =
            PollTimeout::try_from(left + Duration::from_micros(999)).map_err(|_| Errno::EINVAL)?;
        let mut watched = [PollFd::new(fd.as_fd(), ready)];
        match poll(&mut watched, timeout) {
            Ok(0) => return Err(Errno::ETIMEDOUT),
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno),
            Ok(_) => {}
        }
        let found = watched[0].revents().unwrap_or(PollFlags::POLLERR);
        if found.contains(PollFlags::POLLERR) {
            let pending = getsockopt(fd, sockopt::SocketError)?;
            // No error number but an entry in the error queue: the entry decides.
            return Err(if pending == 0 { Errno::EIO } else { Errno::from_raw(pending) });
        }
        return Ok(());
    }
}

/// Type and code of the ICMP error in the socket's error queue, if there is one.
fn icmp_error(fd: &OwnedFd) -> Option<(u8, u8)> {
    // On the heap, where it is aligned as the headers in it have to be.
    let mut control = vec![0; 512];
    let mut payload = [0; 512];
    let mut parts = [IoSliceMut::new(&mut payload)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message =
        recvmsg::<SockaddrStorage>(fd.as_raw_fd(), &mut parts, Some(&mut control), flags).ok()?;
    message.cmsgs().ok()?.find_map(|part| match part {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _)
            if [libc::SO_EE_ORIGIN_ICMP, libc::SO_EE_ORIGIN_ICMP6].contains(&error.ee_origin) =>
        {
            Some((error.ee_type, error.ee_code))
        }
        _ => None,
    })
}

/// Reads `NAME SERVER_ADDRESS CLIENT_ADDRESS`.
fn read_line(text: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(text);
    let parts: Vec<&str> = text.split_whitespace().collect();
    let answer = match parts[..] {
        [server, own, client] => read_answer(server, own, client),
        _ => None,
    };
    answer.unwrap_or_else(|| Outcome::Failed(format!("not the answer of a lab server: {text:?}")))
}

/// Reads the page of an HTTP server of the lab.
fn read_page(text: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(text);
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or("")
    };
    read_answer(field("Hostname"), field("Server"), field("Client"))
        .unwrap_or_else(|| Outcome::Failed(format!("not the page of a lab server: {text:?}")))
}

fn read_answer(server: &str, own: &str, client: &str) -> Option<Outcome> {
    Some(Outcome::Answer(Answer {
        server: server.to_owned(),
        server_address: own.parse().ok()?,
        seen_client: client.parse().ok()?,
    }))
}
