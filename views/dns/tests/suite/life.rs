//! Starting, stopping, and what cannot be listened on.

use dns::{DnsError, DnsServer, ServerConfig, SharedZone, Zone};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType::A;
use lab::Namespace;

use crate::ask::words;
use crate::cluster::{config, example, zone};
use crate::served::Served;

const NAME: &str = "my-service.default.svc.cluster.local.";

#[test]
fn a_stopped_server_leaves_its_port_to_the_next() {
    let first = Served::start(zone(), ServerConfig::default());
    assert_eq!(first.ask_tcp(NAME, A).answers.len(), 1);
    let (namespace, address) = (first.namespace.clone(), first.address.to_string());
    first.stop().unwrap();
    let second = Served::at(namespace, &address, zone(), ServerConfig::default());
    assert_eq!(second.ask(NAME, A).answers.len(), 1);
}

#[test]
fn an_address_that_is_not_there_is_named() {
    let namespace = Namespace::new().unwrap();
    let refused = |address: &str| {
        let address = address.parse().unwrap();
        let told = namespace.run(|| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { DnsServer::bind(&[address], ServerConfig::default()) })
        });
        told.unwrap().unwrap_err()
    };
    let error = refused("169.254.20.10:53");
    assert!(matches!(error, DnsError::Bind { protocol: "UDP", .. }));
    assert!(error.to_string().contains("169.254.20.10:53 (UDP)"), "{error}");
    assert!(error.to_string().contains("must be on an interface"), "{error}");
    let port = "127.0.0.1:5353".parse::<std::net::SocketAddr>().unwrap();
    let taken = namespace.run(|| std::net::TcpListener::bind(port).unwrap()).unwrap();
    let error = refused("127.0.0.1:5353");
    assert!(matches!(error, DnsError::Bind { protocol: "TCP", .. }), "{error}");
    drop(taken);
}

#[test]
fn a_server_that_starts_before_the_snapshot_fails_softly_and_then_answers() {
    let served = Served::start(Zone::unsynced(config()), ServerConfig::default());
    let early = served.ask(NAME, A);
    assert_eq!(early.response_code, ResponseCode::ServFail);
    assert!(!early.authoritative, "nothing that may be kept");
    served.zone.update(&example(), &std::collections::BTreeSet::new());
    assert_eq!(words(&served.ask(NAME, A).answers), ["A 10.96.0.80"]);
}

#[test]
fn questions_are_answered_from_the_address_they_were_sent_to() {
    let namespace = Namespace::new().unwrap();
    for listen in ["0.0.0.0:53", "[::]:53"] {
        let served = Served::at(namespace.clone(), listen, zone(), ServerConfig::default());
        // Every address of 127.0.0.0/8 is the host's; an answer from another one would not reach
        // a connected socket.
        for last in [1, 2, 77] {
            let to = format!("127.0.0.{last}:53").parse().unwrap();
            assert_eq!(words(&served.ask_at(to, NAME, A).answers), ["A 10.96.0.80"], "{listen}");
        }
        if listen.starts_with('[') {
            let to = "[::1]:53".parse().unwrap();
            assert_eq!(words(&served.ask_at(to, NAME, A).answers), ["A 10.96.0.80"]);
        }
    }
}

#[test]
fn a_zone_is_shared_by_its_handles() {
    let one = SharedZone::new(Zone::unsynced(config()));
    let other = one.clone();
    one.store(zone());
    assert!(other.load().is_synced());
}
