//! Servers that say who they are and whom they saw.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use model::Protocol;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    Backlog, Shutdown, SockaddrStorage, bind, connect, getsockname, listen, setsockopt, shutdown,
    sockopt,
};

use crate::error::LabError;
use crate::namespace::Namespace;
use crate::socket;

/// How long a server waits for one client's bytes before it turns to the next.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a port may stay taken after its server has left it.
const LINGER: Duration = Duration::from_millis(200);

/// A running server. Dropping it closes its port before the drop returns.
#[derive(Debug)]
pub struct Server {
    name: Arc<str>,
    address: SocketAddr,
    taken: Arc<AtomicU64>,
    // Closing this end wakes the thread.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// The name that it answers with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens; the port is a real one even if 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections or datagrams it has taken in. Counted before the answer leaves, so a
    /// client that has its answer is in the number.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by then and concerns no client.
            drop(thread.join());
        }
    }
}

/// Starts a server in a namespace that answers each connection or datagram with one line:
/// `NAME SERVER_ADDRESS CLIENT_ADDRESS`.
///
/// # Errors
/// [`LabError::Unsupported`] if the kernel lacks the protocol, [`LabError::Socket`] if the address
/// is not there or taken.
pub fn serve(
    at: &Namespace,
    name: &str,
    protocol: Protocol,
    address: SocketAddr,
) -> Result<Server, LabError> {
    let work = match protocol {
        Protocol::Udp => datagrams,
        Protocol::Tcp | Protocol::Sctp => lines,
    };
    start(at, name, protocol, address, work)
}

/// [`serve`] for TCP.
///
/// # Errors
/// As [`serve`].
pub fn serve_tcp(at: &Namespace, name: &str, address: SocketAddr) -> Result<Server, LabError> {
    serve(at, name, Protocol::Tcp, address)
}

/// [`serve`] for UDP.
///
/// # Errors
/// As [`serve`].
pub fn serve_udp(at: &Namespace, name: &str, address: SocketAddr) -> Result<Server, LabError> {
    serve(at, name, Protocol::Udp, address)
}

/// Starts an HTTP/1.1 server that answers every request with three lines of text: `Hostname:` and
/// its name, `Server:` and its address, `Client:` and the address that it saw.
///
/// # Errors
/// As [`serve`].
pub fn serve_http(at: &Namespace, name: &str, address: SocketAddr) -> Result<Server, LabError> {
    start(at, name, Protocol::Tcp, address, pages)
}

/// What a server's thread works with.
struct Desk {
    name: Arc<str>,
    socket: OwnedFd,
    stop: UnixStream,
    taken: Arc<AtomicU64>,
}

impl Desk {
    /// Waits until somebody knocks; `false` when the server shall end.
    fn next(&self) -> bool {
        loop {
            let mut watched = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut watched, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                Err(_) => return false,
                Ok(_) => return !watched[1].any().unwrap_or(true),
            }
        }
    }

    fn count(&self) {
        self.taken.fetch_add(1, Ordering::Release);
    }
}

impl Drop for Desk {
    /// Closing the socket alone would leave the port open for as long as another thread of this
    /// process is between fork and exec, since its child holds a copy.
    fn drop(&mut self) {
        let socket = self.socket.as_raw_fd();
        // Each works for one kind of socket and does no harm to the other: a listener stops
        // listening, and a datagram socket connected to itself hears nobody else.
        let _ = shutdown(socket, Shutdown::Both);
        if let Ok(own) = getsockname::<SockaddrStorage>(socket) {
            let _ = connect(socket, &own);
        }
    }
}

fn start(
    at: &Namespace,
    name: &str,
    protocol: Protocol,
    address: SocketAddr,
    work: fn(Desk),
) -> Result<Server, LabError> {
    let socket = at.run(|| listener(protocol, address))??;
    let address = bound_address(&socket, address)?;
    let (ours, theirs) =
        UnixStream::pair().map_err(|source| LabError::system("open a socket pair", source))?;
    let name: Arc<str> = name.into();
    let taken = Arc::new(AtomicU64::new(0));
    let desk = Desk { name: Arc::clone(&name), socket, stop: theirs, taken: Arc::clone(&taken) };
    let thread = thread::Builder::new()
        .name(format!("serve {name}"))
        .spawn(move || work(desk))
        .map_err(|source| LabError::system("start a thread", source))?;
    Ok(Server { name, address, taken, stop: Some(ours), thread: Some(thread) })
}

fn listener(protocol: Protocol, address: SocketAddr) -> Result<OwnedFd, LabError> {
    let fd = socket::open(protocol, address)?;
    let listening = || -> Result<(), Errno> {
        if protocol != Protocol::Udp {
            setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        }
        bind_patiently(&fd, address)?;
        if protocol != Protocol::Udp {
            listen(&fd, Backlog::new(1024)?)?;
        }
        Ok(())
    };
    listening().map_err(|errno| LabError::Socket {
        action: "listen on",
        address,
        source: errno.into(),
    })?;
    Ok(fd)
}

/// Binds. A port that a server has just left may be held a moment longer, by the copy of a child
/// between fork and exec.
fn bind_patiently(fd: &OwnedFd, address: SocketAddr) -> Result<(), Errno> {
    let start = Instant::now();
    loop {
        match bind(fd.as_raw_fd(), &socket::raw(address)) {
            Err(Errno::EADDRINUSE) if start.elapsed() < LINGER => {
                thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}

fn bound_address(fd: &OwnedFd, wanted: SocketAddr) -> Result<SocketAddr, LabError> {
    let found = getsockname(fd.as_raw_fd())
        .map_err(|error| LabError::system("read a socket's address", error))?;
    Ok(socket::std_address(&found).unwrap_or(wanted))
}

fn datagrams(desk: Desk) {
    let Ok(socket) = desk.socket.try_clone().map(UdpSocket::from) else { return };
    let mut buffer = [0; 2048];
    while desk.next() {
        while let Ok((_, client)) = socket.recv_from(&mut buffer) {
            desk.count();
            let Ok(own) = socket.local_addr() else { continue };
            let line = format!("{} {own} {client}\n", desk.name);
            // A client that is gone already gets no answer, and needs none.
            let _ = socket.send_to(line.as_bytes(), client);
        }
    }
}

fn lines(desk: Desk) {
    connections(&desk, |mut stream, own, client| {
        stream.write_all(format!("{} {own} {client}\n", desk.name).as_bytes())
    });
}

fn pages(desk: Desk) {
    connections(&desk, |mut stream, own, client| {
        read_request(stream)?;
        let body = format!("Hostname: {}\nServer: {own}\nClient: {client}\n", desk.name);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes())
    });
}

fn connections(desk: &Desk, answer: impl Fn(&TcpStream, SocketAddr, SocketAddr) -> io::Result<()>) {
    let Ok(listener) = desk.socket.try_clone().map(TcpListener::from) else { return };
    while desk.next() {
        while let Ok((stream, client)) = listener.accept() {
            desk.count();
            let serve = || {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                answer(&stream, stream.local_addr()?, client)?;
                stream.shutdown(std::net::Shutdown::Write)
            };
            // A client that broke off has no use for the error.
            let _: io::Result<()> = serve();
        }
    }
}

/// Reads up to the blank line that ends a request without a body.
fn read_request(mut stream: &TcpStream) -> io::Result<()> {
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if seen.len() > 64 * 1024 => return Err(io::ErrorKind::InvalidData.into()),
            count => seen.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(())
}
