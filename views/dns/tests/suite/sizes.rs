//! UDP and TCP, sizes, EDNS, and what is no question.

use dns::{ServerConfig, Zone};
use hickory_proto::op::{Edns, Message, OpCode, ResponseCode};
use hickory_proto::rr::RecordType::{A, AXFR, IXFR, SRV, TXT};
use hickory_proto::rr::{DNSClass, RecordType};
use model::{Change, Cluster, Family, Protocol};

use crate::ask::words;
use crate::cluster::{config, endpoint, headless, slice, slice_port, with, zone};
use crate::served::{Served, question, with_edns};

const LARGE: &str = "large.db.svc.cluster.local.";

/// A headless Service with so many endpoints.
fn large(endpoints: u32) -> Zone {
    let mut cluster = Cluster::default();
    cluster.apply(Change::Service(headless("db/large")));
    let all = (0..endpoints)
        .map(|number| {
            let address = std::net::Ipv4Addr::from(0x0a01_0000 + number).to_string();
            endpoint(&address, Some(&format!("host-{number}")), true)
        })
        .collect();
    let slice = slice_port(slice("db/large", "a", Family::V4), "pg", Protocol::Tcp, 5432);
    cluster.apply(Change::Slice(with(slice, all)));
    Zone::new(config(), &cluster)
}

fn asked(served: &Served, message: &Message) -> (Message, usize) {
    let bytes = served.udp(&message.to_vec().unwrap());
    (Message::from_vec(&bytes).unwrap(), bytes.len())
}

#[test]
fn an_answer_over_udp_keeps_to_512_bytes_without_edns() {
    let served = Served::start(large(100), ServerConfig::default());
    let (answer, length) = asked(&served, &question(LARGE, A));
    assert!(answer.truncation);
    assert!(length <= 512, "{length}");
    // As many as fit: a client that never falls back to TCP has something to use.
    assert!((28..=29).contains(&answer.answers.len()), "{}", answer.answers.len());
    assert_eq!(answer.response_code, ResponseCode::NoError);
    assert_eq!(served.counters.read().truncated, 1);
}

#[test]
fn edns_allows_more() {
    let served = Served::start(large(100), ServerConfig::default());
    for (payload, all) in [(512, false), (1232, false), (2048, true), (4096, true), (65535, true)] {
        let (answer, length) = asked(&served, &with_edns(question(LARGE, A), payload));
        assert!(length <= usize::from(payload), "{length} of {payload}");
        assert_eq!((answer.answers.len() == 100, answer.truncation), (all, !all), "{payload}");
        let edns = answer.edns.expect("a question with EDNS is answered with EDNS, cut or not");
        assert_eq!((edns.version(), edns.max_payload()), (0, 1232));
    }
    let (answer, _) = asked(&served, &with_edns(question(LARGE, A), 100));
    assert!(answer.answers.len() > 20, "less than 512 counts as 512");
}

#[test]
fn the_servers_own_limit_holds_against_larger_ones() {
    let served = Served::start(large(1000), ServerConfig::default());
    let (answer, length) = asked(&served, &with_edns(question(LARGE, A), 65535));
    assert!(answer.truncation && length <= 4096, "{length}");
}

#[test]
fn tcp_gives_everything() {
    let served = Served::start(large(1000), ServerConfig::default());
    let answer = served.ask_tcp(LARGE, A);
    assert_eq!((answer.answers.len(), answer.truncation), (1000, false));
    assert_eq!(served.counters.read().tcp, 1);
    // Targets of SRV records are not compressed (RFC 2782): not even TCP holds all of these.
    let srv = served.ask_tcp(LARGE, SRV);
    assert!(srv.truncation && srv.answers.len() > 800);
}

#[test]
fn additional_records_give_way_before_answers_do() {
    let served = Served::start(large(8), ServerConfig::default());
    let full = served.ask_tcp(LARGE, SRV);
    assert_eq!((full.answers.len(), full.additionals.len()), (8, 8));
    let (cut, length) = asked(&served, &question(LARGE, SRV));
    assert!(length <= 512);
    assert_eq!((cut.answers.len(), cut.additionals.len(), cut.truncation), (8, 0, false));
}

#[test]
fn one_connection_carries_many_questions() {
    let served = Served::start(zone(), ServerConfig::default());
    let questions: Vec<_> = ["my-service.default", "nothing.default", "sts.db"]
        .map(|name| question(&format!("{name}.svc.cluster.local."), A))
        .into();
    let bytes: Vec<_> = questions.iter().map(|question| question.to_vec().unwrap()).collect();
    let answers: Vec<_> =
        served.tcp(&bytes).iter().map(|bytes| Message::from_vec(bytes).unwrap()).collect();
    let seen: Vec<_> = answers.iter().map(|answer| (answer.id, answer.answers.len())).collect();
    let expected: Vec<_> = questions.iter().map(|one| one.id).zip([1, 0, 2]).collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_silent_connection_makes_room_for_the_next() {
    let config = ServerConfig {
        tcp_connections: 1,
        tcp_idle: std::time::Duration::from_millis(200),
        ..ServerConfig::default()
    };
    let served = Served::start(zone(), config);
    let address = served.address;
    let connect = || std::net::TcpStream::connect(address).unwrap();
    let silent = served.namespace.run(connect).unwrap();
    let answer = served.ask_tcp("my-service.default.svc.cluster.local.", A);
    assert_eq!(answer.answers.len(), 1);
    drop(silent);
}

#[test]
fn headers_say_who_answers() {
    let served = Served::start(zone(), ServerConfig::default());
    let answer = served.ask("my-service.default.svc.cluster.local.", A);
    assert!(answer.authoritative && answer.recursion_desired && !answer.authentic_data);
    assert!(answer.edns.is_none(), "a question without EDNS is answered without");
    let mut quiet = question("my-service.default.svc.cluster.local.", A);
    quiet.metadata.recursion_desired = false;
    let (answer, _) = asked(&served, &quiet);
    assert!(!answer.recursion_desired);
    let mut edns = Edns::new();
    edns.set_dnssec_ok(true);
    let mut secure = question("my-service.default.svc.cluster.local.", A);
    secure.set_edns(edns);
    let (answer, _) = asked(&served, &secure);
    assert!(answer.edns.unwrap().flags().dnssec_ok, "RFC 3225: the bit is copied");
}

#[test]
fn what_we_do_not_do_is_said_so() {
    let served = Served::start(zone(), ServerConfig::default());
    let name = "cluster.local.";
    for transfer in [AXFR, IXFR] {
        let (answer, _) = asked(&served, &question(name, transfer));
        assert_eq!(answer.response_code, ResponseCode::Refused, "{transfer}");
    }
    let mut chaos = question("version.bind.", TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(asked(&served, &chaos).0.response_code, ResponseCode::Refused);
    for op_code in [OpCode::Status, OpCode::Notify, OpCode::Update] {
        let mut other = question(name, A);
        other.metadata.op_code = op_code;
        let (answer, _) = asked(&served, &other);
        assert_eq!((answer.response_code, answer.op_code), (ResponseCode::NotImp, op_code));
    }
    let mut future = Edns::new();
    future.set_version(1);
    let mut message = question(name, A);
    message.set_edns(future);
    let (answer, _) = asked(&served, &message);
    // The library reads 16 as its other meaning, of TSIG.
    assert_eq!(u16::from(answer.response_code), u16::from(ResponseCode::BADVERS));
    assert_eq!(answer.edns.unwrap().version(), 0);
}

#[test]
fn malformed_questions_are_told_so_or_ignored() {
    let served = Served::start(zone(), ServerConfig::default());
    let good = question("my-service.default.svc.cluster.local.", A).to_vec().unwrap();
    let mut two = good.clone();
    two[5] = 2;
    let mut none = good[..12].to_vec();
    none[5] = 0;
    let cut = good[..good.len() - 3].to_vec();
    let mut many = good.clone();
    many[10..12].copy_from_slice(&[0xff, 0xff]);
    let mut circle = good[..12].to_vec();
    circle.extend([0xc0, 12, 0, 1, 0, 1]);
    for bad in [two, none, cut, many, circle] {
        let answer = Message::from_vec(&served.udp(&bad)).unwrap();
        assert_eq!(answer.response_code, ResponseCode::FormErr, "{bad:?}");
        assert_eq!(answer.id.to_be_bytes(), good[..2]);
    }
    // An answer that was answered would be answered in turn, for ever.
    let mut answer = good.clone();
    answer[2] |= 0x80;
    let socket = served.client();
    for ignored in [&answer[..], &[], &[0], &good[..11]] {
        socket.send(ignored).unwrap();
    }
    socket.send(&good).unwrap();
    let only = Message::from_vec(&crate::served::receive(&socket)).unwrap();
    assert_eq!(words(&only.answers), ["A 10.96.0.80"]);
    assert_eq!(served.counters.read().malformed, 9);
    let unknown = served.ask("my-service.default.svc.cluster.local.", RecordType::Unknown(65280));
    assert_eq!((unknown.response_code, unknown.answers.len()), (ResponseCode::NoError, 0));
}
