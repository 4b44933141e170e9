//! Conversations between Pods that nobody ends, and how far they have come.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lab::Lab;
use model::Protocol;

/// How often a side says something.
const PAUSE: Duration = Duration::from_millis(10);

/// Who says something; both listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Talkers {
    Both,
    Client,
    Server,
}

impl Talkers {
    fn client(self) -> bool {
        self != Talkers::Server
    }

    fn server(self) -> bool {
        self != Talkers::Client
    }
}

/// A connection over which somebody talks until its value goes. It is never closed before.
pub(super) struct Talk {
    name: String,
    talkers: Talkers,
    /// Bytes that reached the client, and the server.
    heard: [Arc<AtomicU32>; 2],
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What a conversation goes over.
pub(super) trait Line: Send + 'static {
    fn say(&mut self);
    /// How many bytes came; 0 if none came for a while.
    fn listen(&mut self) -> usize;
}

impl Line for TcpStream {
    fn say(&mut self) {
        let _ = self.write(b"word");
    }

    fn listen(&mut self) -> usize {
        self.read(&mut [0; 4096]).unwrap_or(0)
    }
}

impl Line for UdpSocket {
    fn say(&mut self) {
        let _ = self.send(b"word");
    }

    fn listen(&mut self) -> usize {
        self.recv(&mut [0; 4096]).unwrap_or(0)
    }
}

impl Talk {
    /// Begins: `server` listens at an address of its own, and `client` asks at `to`.
    pub(super) fn begin(
        lab: &Lab,
        protocol: Protocol,
        talkers: Talkers,
        (client, to): (&str, &str),
        (server, at): (&str, &str),
    ) -> Self {
        let (to, at): (SocketAddr, SocketAddr) = (to.parse().unwrap(), at.parse().unwrap());
        let mut talk = Self {
            name: format!("{protocol} {client} -> {server}, {talkers:?} talking"),
            talkers,
            heard: Default::default(),
            ended: Arc::default(),
            threads: Vec::new(),
        };
        let (client, server) = (lab.at(client).unwrap(), lab.at(server).unwrap());
        match protocol {
            Protocol::Tcp => {
                let listener = server.run(move || TcpListener::bind(at).unwrap()).unwrap();
                let asks = client.run(move || TcpStream::connect(to).unwrap()).unwrap();
                let (answers, _) = listener.accept().unwrap();
                for line in [&asks, &answers] {
                    line.set_nodelay(true).unwrap();
                    line.set_read_timeout(Some(PAUSE)).unwrap();
                }
                let pair = (asks.try_clone().unwrap(), answers.try_clone().unwrap());
                talk.go((asks, pair.0), (answers, pair.1));
            }
            Protocol::Udp => {
                let answers = server.run(move || UdpSocket::bind(at).unwrap()).unwrap();
                let asks = client
                    .run(move || {
                        let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
                        socket.connect(to).unwrap();
                        socket.send(b"first").unwrap();
                        socket
                    })
                    .unwrap();
                let (_, from) = answers.recv_from(&mut [0; 16]).unwrap();
                answers.connect(from).unwrap();
                for line in [&asks, &answers] {
                    line.set_read_timeout(Some(PAUSE)).unwrap();
                }
                let pair = (asks.try_clone().unwrap(), answers.try_clone().unwrap());
                talk.go((asks, pair.0), (answers, pair.1));
            }
            Protocol::Sctp => panic!("std has no sockets of SCTP"),
        }
        talk
    }

    fn go<L: Line>(&mut self, client: (L, L), server: (L, L)) {
        let ends = [(client, self.talkers.client()), (server, self.talkers.server())];
        for (((mut says, mut listens), talks), heard) in ends.into_iter().zip(self.heard.clone()) {
            let ended = self.ended.clone();
            self.threads.push(thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    let came = u32::try_from(listens.listen()).unwrap();
                    heard.fetch_add(came, Ordering::Relaxed);
                }
            }));
            let ended = self.ended.clone();
            self.threads.push(thread::spawn(move || {
                // Who does not talk holds the connection open all the same.
                while !ended.load(Ordering::Relaxed) {
                    if talks {
                        says.say();
                    }
                    thread::sleep(PAUSE);
                }
            }));
        }
    }

    /// How many bytes reached the client, and the server.
    pub(super) fn heard(&self) -> [u32; 2] {
        self.heard.each_ref().map(|heard| heard.load(Ordering::Relaxed))
    }

    /// Whether everything that is said is heard, since then.
    pub(super) fn goes_on_since(&self, [client, server]: [u32; 2]) -> bool {
        let [now_client, now_server] = self.heard();
        (!self.talkers.server() || now_client > client)
            && (!self.talkers.client() || now_server > server)
    }
}

impl std::fmt::Display for Talk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
