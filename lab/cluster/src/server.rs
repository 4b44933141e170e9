//! What runs in a Pod: servers that say who they are, where, and whom they saw.
//!
//! TCP ports speak HTTP to who begins with a request, and one line of text to who waits.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lab::Namespace;
use lab_api::Store;
use model::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};
use tracing::warn;

use crate::image::{Behaviour, Port};

/// How long a TCP client may hold back its request before it is taken for one that has none.
const HESITATION: Duration = Duration::from_millis(100);

/// How long a client may take for a request that it has begun.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest request head that is read.
const HEAD: usize = 64 * 1024;

/// Who answers.
#[derive(Debug)]
struct Face {
    name: String,
    node: String,
    delay: Duration,
    log: PodLog,
}

/// Where a Pod's lines go.
#[derive(Clone, Debug)]
pub(crate) struct PodLog {
    pub(crate) store: Store,
    pub(crate) uid: String,
}

impl PodLog {
    fn say(&self, line: String) {
        self.store.say(&self.uid, line);
    }
}

/// The servers of one Pod. Dropping it closes their ports and their connections.
#[derive(Debug)]
pub(crate) struct Servers {
    tasks: Vec<JoinHandle<()>>,
    // A kernel with SCTP serves it from a thread of its own.
    _sctp: Vec<lab::Server>,
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Servers {
    /// Starts a Pod's servers at its addresses. What cannot listen is told and left out.
    pub(crate) fn start(
        runtime: &Handle,
        at: &Namespace,
        (name, node): (&str, &str),
        addresses: &[IpAddr],
        behaviour: &Behaviour,
        own_network: bool,
        log: PodLog,
    ) -> Self {
        let delay = behaviour.delay;
        let face = Arc::new(Face { name: name.to_owned(), node: node.to_owned(), delay, log });
        let mut servers = Self { tasks: Vec::new(), _sctp: Vec::new() };
        if behaviour.refusing {
            return servers;
        }
        for port in &behaviour.ports {
            for address in addresses {
                // In a network of its own a Pod also answers on its loopback interface.
                let listened = match address {
                    IpAddr::V4(_) if own_network => Ipv4Addr::UNSPECIFIED.into(),
                    other => *other,
                };
                let started = servers.listen(runtime, at, &face, *port, (listened, *address));
                let Port { number, protocol } = port;
                match started {
                    Ok(()) => face.log.say(format!("listening on {address} {number}/{protocol}")),
                    Err(error) => {
                        face.log.say(format!("cannot listen on {number}/{protocol}: {error}"));
                        warn!(pod = name, "port {number}/{protocol}: {error}");
                    }
                }
            }
        }
        servers
    }

    fn listen(
        &mut self,
        runtime: &Handle,
        at: &Namespace,
        face: &Arc<Face>,
        port: Port,
        (listened, own): (IpAddr, IpAddr),
    ) -> io::Result<()> {
        let address = SocketAddr::new(listened, port.number);
        let face = Arc::clone(face);
        let _reactor = runtime.enter();
        match port.protocol {
            Protocol::Tcp => {
                let socket = at.run(|| std::net::TcpListener::bind(address));
                let socket = socket.map_err(io::Error::other)??;
                socket.set_nonblocking(true)?;
                let socket = TcpListener::from_std(socket)?;
                self.tasks.push(runtime.spawn(connections(socket, face)));
            }
            Protocol::Udp => {
                let socket = at.run(|| std::net::UdpSocket::bind(address));
                let socket = socket.map_err(io::Error::other)??;
                socket.set_nonblocking(true)?;
                let socket = UdpSocket::from_std(socket)?;
                let own = SocketAddr::new(own, port.number);
                self.tasks.push(runtime.spawn(datagrams(socket, own, face)));
            }
            Protocol::Sctp => {
                let own = SocketAddr::new(own, port.number);
                let server = lab::serve(at, &face.name, Protocol::Sctp, own);
                self._sctp.push(server.map_err(io::Error::other)?);
            }
        }
        Ok(())
    }
}

async fn datagrams(socket: UdpSocket, own: SocketAddr, face: Arc<Face>) {
    let socket = Arc::new(socket);
    let mut answers = JoinSet::new();
    let mut buffer = [0; 2048];
    loop {
        // An ICMP error for an earlier answer is read here and concerns nobody.
        let Ok((_, client)) = socket.recv_from(&mut buffer).await else { continue };
        let (socket, face) = (Arc::clone(&socket), Arc::clone(&face));
        while answers.try_join_next().is_some() {}
        answers.spawn(async move {
            tokio::time::sleep(face.delay).await;
            face.log.say(format!("UDP {client} -> {own}"));
            // A client that is gone already gets no answer, and needs none.
            let _ = socket.send_to(face.line(own, client).as_bytes(), client).await;
        });
    }
}

async fn connections(listener: TcpListener, face: Arc<Face>) {
    let mut open = JoinSet::new();
    loop {
        let Ok((stream, client)) = listener.accept().await else {
            // Out of descriptors, perhaps; some connection will end.
            tokio::time::sleep(HESITATION).await;
            continue;
        };
        while open.try_join_next().is_some() {}
        let face = Arc::clone(&face);
        open.spawn(async move {
            // A client that broke off has no use for the error.
            let _ = answer(stream, client, &face).await;
        });
    }
}

async fn answer(mut stream: TcpStream, client: SocketAddr, face: &Face) -> io::Result<()> {
    let own = stream.local_addr()?;
    let mut first = [0; 2048];
    let speaks_http = match tokio::time::timeout(HESITATION, stream.read(&mut first)).await {
        Ok(count) => {
            let seen = first[..count?].to_vec();
            let head = tokio::time::timeout(PATIENCE, is_request(&mut stream, seen)).await;
            head.map_err(|_| io::ErrorKind::TimedOut)??
        }
        Err(_elapsed) => false,
    };
    tokio::time::sleep(face.delay).await;
    face.log.say(format!("{} {client} -> {own}", if speaks_http { "HTTP" } else { "TCP" }));
    if speaks_http {
        let body = face.page(own, client);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await?;
    } else {
        stream.write_all(face.line(own, client).as_bytes()).await?;
    }
    stream.shutdown().await
}

/// Whether what the client says is an HTTP request; reads its head to the end if it is.
async fn is_request(stream: &mut TcpStream, mut seen: Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 2048];
    loop {
        if seen.windows(4).any(|window| window == b"\r\n\r\n") {
            return Ok(true);
        }
        // The first line of a request says that it is one; anything else is one line.
        let line = seen.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let is_line = seen.contains(&b'\n') && !line.windows(5).any(|window| window == b"HTTP/");
        if seen.is_empty() || is_line || seen.len() > HEAD {
            return Ok(false);
        }
        match stream.read(&mut buffer).await? {
            0 => return Ok(false),
            count => seen.extend_from_slice(&buffer[..count]),
        }
    }
}

impl Face {
    /// `NAME SERVER_ADDRESS CLIENT_ADDRESS`, as [`lab::probe`] reads it.
    fn line(&self, own: SocketAddr, client: SocketAddr) -> String {
        format!("{} {own} {client}\n", self.name)
    }

    fn page(&self, own: SocketAddr, client: SocketAddr) -> String {
        format!("Hostname: {}\nNode: {}\nServer: {own}\nClient: {client}\n", self.name, self.node)
    }
}
