//! Bytes that nobody should send.

use std::sync::OnceLock;

use dns::ServerConfig;
use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::{Name, RecordType};
use proptest::prelude::*;

use crate::cluster::zone;
use crate::served::{Served, question, receive, with_edns};

/// One server for all cases: what one of them broke, the next would find.
fn served() -> &'static Served {
    static SERVED: OnceLock<Served> = OnceLock::new();
    SERVED.get_or_init(|| Served::start(zone(), ServerConfig::default()))
}

/// Sends bytes and then a good question; whatever comes back must be an answer, and the good
/// question must be answered.
fn survives(bytes: &[u8]) {
    let socket = served().client();
    socket.send(bytes).unwrap();
    let good = question("my-service.default.svc.cluster.local.", RecordType::A);
    socket.send(&good.to_vec().unwrap()).unwrap();
    for _ in 0..2 {
        let answer = Message::from_vec(&receive(&socket)).unwrap();
        assert_eq!(answer.message_type, MessageType::Response);
        if answer.queries == good.queries && answer.answers.len() == 1 && answer.id == good.id {
            return;
        }
    }
    panic!("no answer to the good question after {bytes:?}");
}

fn names() -> impl Strategy<Value = String> {
    let texts = prop_oneof![
        "[a-z0-9_-]{1,12}(\\.[a-z0-9_-]{1,12}){0,3}\\.(svc|pod|dns)\\.cluster\\.local\\.",
        "([0-9a-f]{1,3}\\.){0,33}(in-addr|ip6)\\.arpa\\.",
        Just("_pg._tcp.sts.db.svc.cluster.local.".to_owned()),
        Just("sts.db.svc.cluster.local.".to_owned()),
    ];
    texts.prop_filter("the library's own rules for text", |text| Name::from_ascii(text).is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        survives(&bytes);
    }

    #[test]
    fn random_bytes_after_a_good_header(
        counts in prop::array::uniform8(0..4_u8),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let mut message = vec![1, 2, 1, 0];
        message.extend(counts);
        message.extend(bytes);
        survives(&message);
    }

    #[test]
    fn changed_questions(
        name in names(),
        record_type in any::<u16>(),
        payload in prop::option::of(any::<u16>()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut message = question(&name, RecordType::from(record_type));
        if let Some(payload) = payload {
            message = with_edns(message, payload);
        }
        let mut bytes = message.to_vec().unwrap();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        survives(&bytes);
    }

    #[test]
    fn every_name_and_type_has_an_answer(name in names(), record_type in any::<u16>()) {
        let name = Name::from_ascii(name).unwrap();
        let zone = zone_once();
        let reply = dns::answer(zone, &name, RecordType::from(record_type), usize::MAX);
        if let dns::Reply::Here(answer) = reply {
            prop_assert!(!answer.answers.is_empty() || answer.authorities.len() == 1);
        }
    }
}

fn zone_once() -> &'static dns::Zone {
    static ZONE: OnceLock<dns::Zone> = OnceLock::new();
    ZONE.get_or_init(zone)
}

#[test]
fn a_connection_that_sends_nonsense_harms_only_itself() {
    use std::io::{Read, Write};
    let address = served().address;
    for bytes in [&[0, 0][..], &[0xff, 0xff, 1, 2, 3], &[0, 1, 9], &[0; 64], &[0xff; 4096]] {
        let connect = || std::net::TcpStream::connect(address).unwrap();
        let mut stream = served().namespace.run(connect).unwrap();
        stream.write_all(bytes).unwrap();
        drop(stream.shutdown(std::net::Shutdown::Write));
        drop(stream.read_to_end(&mut Vec::new()));
        let answer = served().ask_tcp("my-service.default.svc.cluster.local.", RecordType::A);
        assert_eq!(answer.answers.len(), 1);
    }
}
