//! What users of cluster DNS have reported, by its upstream number.

use dns::{ServerConfig, Zone};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType::{A, AAAA};
use lab::Namespace;
use model::{Change, Cluster, Family};

use crate::ask::{no_name, say, words};
use crate::cluster::{config, endpoint, headless, slice, with, zone};
use crate::served::{Served, question, receive};
use crate::upstream::{Manner, Upstream};

const DB: &str = "db.shop.svc.cluster.local.";

fn database(endpoints: Vec<model::Endpoint>) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.apply(Change::Service(headless("shop/db")));
    cluster.apply(Change::Slice(with(slice("shop/db", "a", Family::V4), endpoints)));
    cluster
}

/// coredns#4594, kubernetes/dns#472: a headless Service answered with Pods that were not ready.
#[test]
fn j1_only_ready_pods_are_in_a_headless_answer() {
    let mut leaving = endpoint("10.1.0.3", Some("db-2"), false);
    (leaving.serving, leaving.terminating) = (true, true);
    let cluster = database(vec![
        endpoint("10.1.0.1", Some("db-0"), true),
        endpoint("10.1.0.2", Some("db-1"), false),
        leaving,
    ]);
    let zone = Zone::new(config(), &cluster);
    assert_eq!(say(&zone, DB, A), ["A 10.1.0.1"]);
    no_name(&zone, "db-1.db.shop.svc.cluster.local.");
    no_name(&zone, "db-2.db.shop.svc.cluster.local.");
}

/// coredns#5159, coredns#4765, coredns#6210: without a ready Pod the name does not exist; clients
/// know it so from CoreDNS. The Service is found again as soon as a Pod is ready.
#[test]
fn j2_a_headless_service_without_ready_pods_is_no_name() {
    let mut cluster = database(vec![endpoint("10.1.0.1", None, false)]);
    let mut zone = Zone::new(config(), &cluster);
    no_name(&zone, DB);
    let ready = with(slice("shop/db", "a", Family::V4), vec![endpoint("10.1.0.1", None, true)]);
    let owners = cluster.apply(Change::Slice(ready));
    zone.update(&cluster, &owners);
    assert_eq!(say(&zone, DB, A), ["A 10.1.0.1"]);
}

/// kubernetes#92559, kubernetes#58662: with publishNotReadyAddresses a Pod was found late, because
/// its absence was remembered for 30 seconds. Absence may be remembered for 5, by the record that
/// says so, and the answer changes with the snapshot.
#[test]
fn j3_absence_is_not_remembered_for_long() {
    let mut cluster = database(Vec::new());
    let served = Served::start(Zone::new(config(), &cluster), ServerConfig::default());
    let absent = served.ask("db-0.db.shop.svc.cluster.local.", A);
    assert_eq!(absent.response_code, ResponseCode::NXDomain);
    assert_eq!(absent.authorities[0].ttl, 5);
    // The EndpointSlice controller says `ready` of all Pods of such a Service.
    let published =
        with(slice("shop/db", "a", Family::V4), vec![endpoint("10.1.0.1", Some("db-0"), true)]);
    let owners = cluster.apply(Change::Slice(published));
    served.zone.update(&cluster, &owners);
    let present = served.ask("db-0.db.shop.svc.cluster.local.", A);
    assert_eq!(words(&present.answers), ["A 10.1.0.1"]);
}

/// coredns#7212, coredns#4513: `ndots:5` turns one name into four under the search domains. Those
/// of the cluster are denied here, at once, and never reach upstream; the host's is denied once.
#[test]
fn j4_the_storm_of_search_domains_stays_here() {
    let namespace = Namespace::new().unwrap();
    let upstream = Upstream::start(&namespace, Manner::Deny);
    let served = Served::forwarding(&namespace, &[upstream.address]);
    for _ in 0..10 {
        for domain in ["default.svc.cluster.local.", "svc.cluster.local.", "cluster.local."] {
            for record_type in [A, AAAA] {
                let answer = served.ask(&format!("api.github.com.{domain}"), record_type);
                assert_eq!(answer.response_code, ResponseCode::NXDomain, "{domain}");
                assert_eq!(answer.authorities[0].ttl, 5);
            }
        }
        served.ask("api.github.com.corp.example.", A);
    }
    assert_eq!(upstream.names(), ["api.github.com.corp.example."]);
    assert_eq!(served.counters.read().local_missing, 60);
}

/// kubernetes#56903: A and AAAA sent at once from one socket, one answer lost, five seconds of
/// waiting. Here both arrive, from the address that was asked.
#[test]
fn j5_a_and_aaaa_from_one_socket_are_both_answered() {
    let served = Served::start(zone(), ServerConfig::default());
    for _ in 0..200 {
        let socket = served.client();
        let name = "dual.default.svc.cluster.local.";
        for record_type in [A, AAAA] {
            socket.send(&question(name, record_type).to_vec().unwrap()).unwrap();
        }
        let mut seen: Vec<_> = (0..2)
            .flat_map(|_| words(&Message::from_vec(&receive(&socket)).unwrap().answers))
            .collect();
        seen.sort();
        assert_eq!(seen, ["A 10.96.0.81", "AAAA fd00:96::81"]);
    }
}

/// cilium#48096: clients keep their socket to the resolver for ever. One socket goes on being
/// answered, with new answers, while the snapshot changes.
#[test]
fn j6_a_client_keeps_its_socket_across_snapshots() {
    let mut cluster = database(vec![endpoint("10.1.0.0", None, true)]);
    let served = Served::start(Zone::new(config(), &cluster), ServerConfig::default());
    let socket = served.client();
    for last in 1..50_u8 {
        let moved = endpoint(&format!("10.1.0.{last}"), None, true);
        let slice = with(slice("shop/db", "a", Family::V4), vec![moved]);
        let owners = cluster.apply(Change::Slice(slice));
        served.zone.update(&cluster, &owners);
        socket.send(&question(DB, A).to_vec().unwrap()).unwrap();
        let answer = Message::from_vec(&receive(&socket)).unwrap();
        assert_eq!(words(&answer.answers), [format!("A 10.1.0.{last}")]);
    }
}
