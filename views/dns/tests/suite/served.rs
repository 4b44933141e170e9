//! A server in a namespace of its own, and clients beside it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dns::{Counters, DnsError, DnsServer, ForwardConfig, ServerConfig, SharedZone};
use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::{Name, RecordType};
use lab::Namespace;
use tokio::sync::oneshot;

/// A running server; it stops when dropped.
pub(crate) struct Served {
    pub(crate) namespace: Namespace,
    pub(crate) address: SocketAddr,
    pub(crate) zone: SharedZone,
    pub(crate) counters: Arc<Counters>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), DnsError>>>,
}

impl Served {
    pub(crate) fn start(zone: dns::Zone, config: ServerConfig) -> Self {
        Self::at(Namespace::new().unwrap(), "127.0.0.1:0", zone, config)
    }

    pub(crate) fn at(
        namespace: Namespace,
        address: &str,
        zone: dns::Zone,
        config: ServerConfig,
    ) -> Self {
        let zone = SharedZone::new(zone);
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let address: SocketAddr = address.parse().unwrap();
        let (inside, served) = (namespace.clone(), zone.clone());
        // The whole server runs inside, as its sockets to upstream must.
        let thread = thread::spawn(move || {
            inside
                .run(|| {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async {
                        let server = DnsServer::bind(&[address], config)?;
                        tell.send((server.addresses()[0], server.counters())).unwrap();
                        server.serve(served, async { drop(stopped.await) }).await
                    })
                })
                .unwrap()
        });
        let (address, counters) = told.recv_timeout(Duration::from_secs(10)).unwrap();
        Self { namespace, address, zone, counters, stop: Some(stop), thread: Some(thread) }
    }

    /// A server that forwards to these upstreams, quickly tired of waiting.
    pub(crate) fn forwarding(namespace: &Namespace, upstreams: &[SocketAddr]) -> Self {
        let mut forward = ForwardConfig::new(upstreams.iter().copied());
        forward.timeout = Duration::from_millis(300);
        forward.deadline = Duration::from_millis(1500);
        Self::with_forward(namespace, forward)
    }

    pub(crate) fn with_forward(namespace: &Namespace, forward: ForwardConfig) -> Self {
        let config = ServerConfig { forward: Some(forward), ..ServerConfig::default() };
        Self::at(namespace.clone(), "127.0.0.1:0", crate::cluster::zone(), config)
    }

    pub(crate) fn client(&self) -> UdpSocket {
        let socket = self.namespace.run(|| UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        socket.connect(self.address).unwrap();
        socket
    }

    /// Sends bytes over UDP and reads one answer.
    pub(crate) fn udp(&self, bytes: &[u8]) -> Vec<u8> {
        let socket = self.client();
        socket.send(bytes).unwrap();
        receive(&socket)
    }

    /// Sends messages over one TCP connection and reads as many answers.
    pub(crate) fn tcp(&self, messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let address = self.address;
        let mut stream = self.namespace.run(|| TcpStream::connect(address).unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        for message in messages {
            let length = u16::try_from(message.len()).unwrap().to_be_bytes();
            stream.write_all(&[&length[..], message].concat()).unwrap();
        }
        let mut read = || {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer).unwrap();
            answer
        };
        messages.iter().map(|_| read()).collect()
    }

    pub(crate) fn ask(&self, name: &str, record_type: RecordType) -> Message {
        let question = question(name, record_type);
        let answer = Message::from_vec(&self.udp(&question.to_vec().unwrap())).unwrap();
        assert_eq!((answer.id, &answer.queries), (question.id, &question.queries));
        answer
    }

    /// Asks another address of the server than the one it was told to listen on.
    pub(crate) fn ask_at(&self, to: SocketAddr, name: &str, record_type: RecordType) -> Message {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = self.namespace.run(|| UdpSocket::bind(any).unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        socket.connect(to).unwrap();
        socket.send(&question(name, record_type).to_vec().unwrap()).unwrap();
        Message::from_vec(&receive(&socket)).unwrap()
    }

    pub(crate) fn ask_tcp(&self, name: &str, record_type: RecordType) -> Message {
        let question = question(name, record_type);
        Message::from_vec(&self.tcp(&[question.to_vec().unwrap()])[0]).unwrap()
    }

    pub(crate) fn stop(mut self) -> Result<(), DnsError> {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

pub(crate) fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65535];
    let length = socket.recv(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

pub(crate) fn question(name: &str, record_type: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    message
}

pub(crate) fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    message.set_edns(edns);
    message
}
