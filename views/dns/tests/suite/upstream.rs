//! Name servers that do what a test wants.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record};
use lab::Namespace;

/// What an upstream does with a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Answers `192.0.2.1` with a time to live of 60 seconds.
    Answer,
    /// Says nothing.
    Silent,
    /// Answers after a while.
    Slow(Duration),
    /// Fails.
    Fail(ResponseCode),
    /// Denies the name.
    Deny,
    /// Truncates over UDP; over TCP gives this many addresses.
    Truncate(u8),
    /// Does not know EDNS.
    WithoutEdns,
    /// First sends forged answers, then the true one.
    Forged,
    /// Sends bytes that are no message, then the true answer.
    Garbage,
}

/// An upstream within a namespace. It stops with the namespace's last holder at the latest; its
/// threads wait for questions until the test's process ends.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    udp: Arc<AtomicUsize>,
    tcp: Arc<AtomicUsize>,
    names: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    pub(crate) fn start(namespace: &Namespace, manner: Manner) -> Self {
        let bind = || {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            let tcp = TcpListener::bind(udp.local_addr().unwrap()).unwrap();
            (udp, tcp)
        };
        let (udp_socket, listener) = namespace.run(bind).unwrap();
        let upstream = Self {
            address: udp_socket.local_addr().unwrap(),
            manner: Arc::new(Mutex::new(manner)),
            udp: Arc::default(),
            tcp: Arc::default(),
            names: Arc::default(),
        };
        let (manner, count, names) =
            (upstream.manner.clone(), upstream.udp.clone(), upstream.names.clone());
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, client)) = udp_socket.recv_from(&mut buffer) {
                count.fetch_add(1, Ordering::SeqCst);
                let question = Message::from_vec(&buffer[..length]).unwrap();
                names.lock().unwrap().push(question.queries[0].name().to_string());
                let manner = *manner.lock().unwrap();
                let socket = udp_socket.try_clone().unwrap();
                thread::spawn(move || {
                    for answer in answers(manner, &question, false) {
                        socket.send_to(&answer, client).unwrap();
                    }
                });
            }
        });
        let (manner, count) = (upstream.manner.clone(), upstream.tcp.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut question).unwrap();
                let question = Message::from_vec(&question).unwrap();
                for answer in answers(*manner.lock().unwrap(), &question, true) {
                    let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                    stream.write_all(&[&length[..], &answer].concat()).unwrap();
                }
            }
        });
        upstream
    }

    pub(crate) fn set(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// How many questions came over UDP, and how many over TCP.
    pub(crate) fn asked(&self) -> (usize, usize) {
        (self.udp.load(Ordering::SeqCst), self.tcp.load(Ordering::SeqCst))
    }

    /// The names that were asked for over UDP, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.names.lock().unwrap().clone()
    }
}

fn answers(manner: Manner, question: &Message, tcp: bool) -> Vec<Vec<u8>> {
    let name = question.queries[0].name().clone();
    let mut answer = Message::response(question.id, question.op_code);
    answer.metadata.recursion_available = true;
    answer.add_query(question.queries[0].clone());
    let address = |last| {
        let data = RData::A(A([192, 0, 2, last].into()));
        Record::from_rdata(name.clone(), 60, data)
    };
    match manner {
        Manner::Silent => return Vec::new(),
        Manner::Slow(time) => {
            thread::sleep(time);
            answer.add_answer(address(1));
        }
        Manner::Answer => drop(answer.add_answer(address(1))),
        Manner::Fail(code) => answer.metadata.response_code = code,
        Manner::Deny => {
            answer.metadata.response_code = ResponseCode::NXDomain;
            let zone = Name::from_ascii("example.").unwrap();
            let soa = SOA::new(zone.clone(), zone.clone(), 1, 1, 1, 1, 30);
            answer.add_authority(Record::from_rdata(zone, 30, RData::SOA(soa)));
        }
        Manner::Truncate(_) if !tcp => answer.metadata.truncation = true,
        Manner::Truncate(count) => drop(answer.add_answers((0..count).map(address))),
        Manner::WithoutEdns if question.edns.is_some() => {
            answer.metadata.response_code = ResponseCode::FormErr;
            answer.queries.clear();
        }
        Manner::WithoutEdns => drop(answer.add_answer(address(1))),
        Manner::Forged => {
            let mut wrong_id = answer.clone();
            wrong_id.metadata.id = question.id.wrapping_add(1);
            wrong_id.add_answer(address(66));
            let mut wrong_name = answer.clone();
            let mut other = question.queries[0].clone();
            other.set_name(Name::from_ascii("forged.example.").unwrap());
            wrong_name.queries = vec![other];
            wrong_name.add_answer(address(67));
            let mut question_again = answer.clone();
            question_again.metadata.message_type = hickory_proto::op::MessageType::Query;
            answer.add_answer(address(1));
            let all = [wrong_id, wrong_name, question_again, answer];
            return all.iter().map(|message| message.to_vec().unwrap()).collect();
        }
        Manner::Garbage => {
            answer.add_answer(address(1));
            let good = answer.to_vec().unwrap();
            let cut = good[..good.len() - 3].to_vec();
            return vec![vec![], vec![0; 3], cut, vec![0xff; 600], good];
        }
    }
    vec![answer.to_vec().unwrap()]
}
