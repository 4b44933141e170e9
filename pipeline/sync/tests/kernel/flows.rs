//! What happens to connections that are under way when their Service changes: real packets between
//! real sockets, through rules as we write them. The names of the tests name the reports that they
//! keep from coming back.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use lab::{Lab, OUTSIDE};
use model::{
    AddressType, Change, Cluster, Endpoint, EndpointPort, EndpointSlice, Family, Host, HostAddress,
    IngressMode, LoadBalancerIngress, NamespacedName, Owner, Protocol, Service, ServicePort,
    ServiceType,
};
use plan::{Config, DetectLocal, Flows, Planner};
use render::iptables::Options;
use sync::conntrack::{Conntrack, Entry, Filter, ProtocolState, Removed};
use sync::iptables::Iptables;

/// How long a packet may take; what has not come by then was lost.
const PATIENCE: Duration = Duration::from_millis(300);

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 9);
const A: &str = "10.77.2.5";
const B: &str = "10.77.2.6";
const A6: &str = "fd77:2::5";
const B6: &str = "fd77:2::6";
const CLUSTER_IP: &str = "10.88.0.25";
const CLUSTER_IP6: &str = "fd88::25";
const EXTERNAL_IP: &str = "192.0.2.7";
const BALANCER_IP: &str = "203.0.113.9";
const NODE_IP: &str = "10.9.0.1";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Alpha with a client, beta with the Pods A and B, and everything between API and kernel on alpha.
struct Stage {
    lab: Lab,
    iptables: Iptables,
    conntrack: Conntrack,
    cluster: Cluster,
    planner: Planner,
    flows: Flows,
}

impl Stage {
    fn new(protocol: Protocol, endpoints: &[&str]) -> Self {
        let mut stage = Self::without_service();
        stage.take([service(protocol), slice(protocol, endpoints)]);
        stage
    }

    /// The node's own rules alone.
    fn without_service() -> Self {
        let lab = Lab::star(["alpha", "beta"])
            .pod("client", "alpha", [CLIENT.into(), ip("fd77:1::9")])
            .pod("a", "beta", [ip(A), ip(A6)])
            .pod("b", "beta", [ip(B), ip(B6)])
            .build()
            .unwrap();
        let alpha = lab.at("alpha").unwrap();
        let (iptables, conntrack) =
            alpha.run(|| (Iptables::open().unwrap(), Conntrack::open().unwrap())).unwrap();
        let config = Config {
            detect_local: DetectLocal::ClusterCidr(vec![
                "10.77.0.0/16".parse().unwrap(),
                "fd77::/16".parse().unwrap(),
            ]),
            ..Config::new("alpha")
        };
        let mut stage = Self {
            iptables,
            conntrack,
            cluster: Cluster::default(),
            planner: Planner::new(config),
            flows: Flows::default(),
            lab,
        };
        stage.take([host(&[NODE_IP, "127.0.0.1"])]);
        stage
    }

    /// Plans and writes the rules; connections stay as they are.
    fn write(&mut self, changes: impl IntoIterator<Item = Change>) -> BTreeSet<Owner> {
        let mut owners = BTreeSet::new();
        for change in changes {
            owners.extend(self.cluster.apply(change));
        }
        owners.extend(self.planner.update(&self.cluster, &owners));
        let ruleset = render::iptables::ruleset(self.planner.intent(), &Options::default());
        let alpha = self.lab.at("alpha").unwrap();
        let written = alpha.run(|| self.iptables.reconcile(&ruleset).unwrap()).unwrap();
        assert!(written.refused.is_empty(), "{:?}", written.refused);
        owners
    }

    /// Takes out what is stale under the rules that were written.
    fn clean(&mut self, owners: &BTreeSet<Owner>) -> Removed {
        let stale = self.flows.update(&self.cluster, self.planner.intent(), owners);
        self.conntrack.remove(&stale).unwrap()
    }

    fn take(&mut self, changes: impl IntoIterator<Item = Change>) -> Removed {
        let owners = self.write(changes);
        self.clean(&owners)
    }

    /// A UDP socket in a place, with one peer if it is to have one.
    fn udp(&self, place: &str, port: u16, peer: Option<(&str, u16)>) -> UdpSocket {
        let open = || {
            // Takes IPv4 too; a socket with an IPv4 peer has no use for IPv6.
            let any: IpAddr = match peer {
                Some((address, _)) if ip(address).is_ipv4() => Ipv4Addr::UNSPECIFIED.into(),
                _ => Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, port)).unwrap();
            if let Some((address, port)) = peer {
                socket.connect((ip(address), port)).unwrap();
            }
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        };
        self.lab.at(place).unwrap().run(open).unwrap()
    }

    fn servers(&self) -> (UdpSocket, UdpSocket) {
        (self.udp("a", 8125, None), self.udp("b", 8125, None))
    }

    /// The entries with this original destination.
    fn entries(&mut self, protocol: Protocol, to: &str) -> Vec<Entry> {
        let filter = Filter {
            protocol: Some(protocol.number()),
            destination: Some(ip(to)),
            ..Filter::family(Family::of(ip(to)))
        };
        let mut all = BTreeMap::new();
        self.conntrack
            .list(&filter, |entry| {
                all.insert(entry.original, *entry);
            })
            .unwrap();
        all.into_values().collect()
    }
}

fn host(addresses: &[&str]) -> Change {
    let own = |text: &&str| HostAddress { address: ip(text), interface: "eth0".into() };
    let addresses = addresses.iter().map(own).collect();
    Change::Host(Host { addresses, conntrack_be_liberal: false })
}

/// `ns/statsd` at port 8125 of a cluster IP, an external IP and a load balancer, NodePort 30125.
fn service(protocol: Protocol) -> Change {
    let port = ServicePort {
        name: "".into(),
        protocol,
        port: 8125,
        target_port: None,
        node_port: Some(30125),
    };
    Change::Service(Service {
        created: Some(0),
        service_type: ServiceType::LoadBalancer,
        cluster_ips: vec![ip(CLUSTER_IP), ip(CLUSTER_IP6)],
        ip_families: Family::ALL.to_vec(),
        ports: vec![port],
        external_ips: vec![ip(EXTERNAL_IP)],
        ingress: vec![LoadBalancerIngress { ip: ip(BALANCER_IP), mode: IngressMode::VIP }],
        ..Service::new(NamespacedName::new("ns", "statsd"))
    })
}

/// Its endpoints at beta, `ADDRESS FLAG`: `R` ready, `N` not ready, `T` terminating and serving, `X`
/// terminating and not serving.
fn slice(protocol: Protocol, endpoints: &[&str]) -> Change {
    let endpoint = |text: &&str| {
        let (address, flag) = text.split_once(' ').unwrap();
        Endpoint {
            ready: flag == "R",
            serving: matches!(flag, "R" | "T"),
            terminating: matches!(flag, "T" | "X"),
            node: Some("beta".into()),
            ..Endpoint::new(ip(address))
        }
    };
    let port = EndpointPort { name: Some("".into()), protocol, port: Some(8125) };
    let endpoints: Vec<Endpoint> = endpoints.iter().map(endpoint).collect();
    let family = endpoints.first().map_or(Family::V4, |endpoint| Family::of(endpoint.address));
    Change::Slice(EndpointSlice {
        name: NamespacedName::new("ns", format!("statsd-{family}")),
        service: Some(NamespacedName::new("ns", "statsd")),
        version: 1,
        last_change_trigger: None,
        address_type: AddressType::Ip(family),
        ports: vec![port],
        endpoints,
    })
}

/// Whether a datagram arrives; whatever arrived before is forgotten.
fn arrives(client: &UdpSocket, server: &UdpSocket) -> bool {
    let mut buffer = [0; 16];
    server.set_nonblocking(true).unwrap();
    while server.recv(&mut buffer).is_ok() {}
    server.set_nonblocking(false).unwrap();
    // An ICMP error for an earlier datagram is told at the next call.
    while client.send(b"x").is_err() {}
    match server.recv_from(&mut buffer) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}

/// Whether the client is told that nobody takes its datagram.
fn is_rejected(client: &UdpSocket) -> bool {
    while client.send(b"x").is_err() {}
    let mut buffer = [0; 16];
    matches!(client.recv(&mut buffer), Err(error) if error.kind() == ErrorKind::ConnectionRefused)
}

const UDP: Protocol = Protocol::Udp;
const TCP: Protocol = Protocol::Tcp;
const SCTP: Protocol = Protocol::Sctp;

#[test]
fn a1_zero_endpoints_end_a_one_way_udp_flow() {
    let mut stage = Stage::new(UDP, &["10.77.2.5 R"]);
    let (a, _b) = stage.servers();
    let client = stage.udp("client", 4001, Some((CLUSTER_IP, 8125)));
    assert!(arrives(&client, &a));
    let owners = stage.write([slice(UDP, &[])]);
    assert!(arrives(&client, &a), "the rules alone do not end the flow");
    assert_eq!(stage.clean(&owners).deleted, 1);
    assert!(!arrives(&client, &a));
    assert!(is_rejected(&client));
}

#[test]
fn a2_a_deleted_service_ends_its_udp_flows() {
    let mut stage = Stage::new(UDP, &["10.77.2.5 R"]);
    let (a, _b) = stage.servers();
    let client = stage.udp("client", 4001, Some((CLUSTER_IP, 8125)));
    assert!(arrives(&client, &a));
    let owners = stage.write([Change::ServiceGone(NamespacedName::new("ns", "statsd"))]);
    assert!(arrives(&client, &a), "the rules alone do not end the flow");
    assert_eq!(stage.clean(&owners).deleted, 1);
    assert!(!arrives(&client, &a));
}

#[test]
fn a3_a_flow_that_began_before_the_rules_finds_them() {
    let mut stage = Stage::without_service();
    let (a, _b) = stage.servers();
    let client = stage.udp("client", 5353, Some((CLUSTER_IP, 8125)));
    assert!(!arrives(&client, &a));
    let untranslated = stage.entries(UDP, CLUSTER_IP);
    assert_eq!(untranslated.len(), 1);
    assert_eq!(untranslated[0].reply.source, SocketAddr::new(ip(CLUSTER_IP), 8125));
    let owners = stage.write([service(UDP), slice(UDP, &["10.77.2.5 R"])]);
    assert!(!arrives(&client, &a), "the rules alone do not take the flow");
    assert_eq!(stage.clean(&owners).deleted, 1);
    assert!(arrives(&client, &a));
}

#[test]
fn a4_a_restart_keeps_the_flows_that_are_right() {
    let mut stage = Stage::new(UDP, &["10.77.2.5 R", "10.77.2.6 R"]);
    let (a, b) = stage.servers();
    // Enough clients that both endpoints have some.
    let clients: Vec<UdpSocket> =
        (0..16).map(|n| stage.udp("client", 4001 + n, Some((CLUSTER_IP, 8125)))).collect();
    let to_a: Vec<bool> = clients.iter().map(|client| arrives(client, &a)).collect();
    assert!(to_a.contains(&true) && to_a.contains(&false));
    let before = stage.entries(UDP, CLUSTER_IP);
    stage.flows = Flows::default();
    let everybody = [Owner::Node, Owner::Service(NamespacedName::new("ns", "statsd"))].into();
    assert_eq!(stage.clean(&everybody).deleted, 0);
    let ids = |entries: &[Entry]| -> Vec<u32> { entries.iter().map(|entry| entry.id).collect() };
    assert_eq!(ids(&stage.entries(UDP, CLUSTER_IP)), ids(&before));
    // While nobody ran, one of the endpoints went away.
    stage.flows = Flows::default();
    stage.write([slice(UDP, &["10.77.2.6 R"])]);
    let stale = to_a.iter().filter(|to_a| **to_a).count();
    assert_eq!(stage.clean(&everybody).deleted, stale);
    assert!(clients.iter().all(|client| arrives(client, &b)));
}

#[test]
fn a6_every_kind_of_frontend_leaves_a_gone_endpoint() {
    let mut stage = Stage::new(UDP, &["10.77.2.5 R"]);
    let (a, b) = stage.servers();
    let places = [(CLUSTER_IP, 8125), (EXTERNAL_IP, 8125), (BALANCER_IP, 8125), (NODE_IP, 30125)];
    let clients: Vec<UdpSocket> = (9000..)
        .zip(places)
        .map(|(port, place)| {
            let from = if place.0 == CLUSTER_IP { "client" } else { OUTSIDE };
            stage.udp(from, port, Some(place))
        })
        .collect();
    assert!(clients.iter().all(|client| arrives(client, &a)));
    let owners = stage.write([slice(UDP, &["10.77.2.6 R"])]);
    assert!(clients.iter().all(|client| !arrives(client, &b)), "the rules alone do not help");
    assert_eq!(stage.clean(&owners).deleted, 4);
    for (client, place) in clients.iter().zip(places) {
        assert!(arrives(client, &b), "{place:?}");
    }
}

/// The kernel compares IPv6 addresses the wrong way round, so these take another way.
#[test]
fn a6_ipv6_leaves_a_gone_endpoint_too() {
    let mut stage = Stage::new(UDP, &["fd77:2::5 R"]);
    let (a, b) = stage.servers();
    let client = stage.udp("client", 4001, Some((CLUSTER_IP6, 8125)));
    let direct = stage.udp("client", 4002, Some((A6, 8125)));
    assert!(arrives(&client, &a) && arrives(&direct, &a));
    let owners = stage.write([slice(UDP, &["fd77:2::6 R"])]);
    assert!(!arrives(&client, &b), "the rules alone do not help");
    assert_eq!(stage.clean(&owners).deleted, 1);
    assert!(arrives(&client, &b));
    assert_eq!(stage.entries(UDP, A6).len(), 1, "straight to the Pod");
}

/// Other hosts have ports of that number too.
#[test]
fn a6_the_port_number_of_a_node_port_at_another_host_is_not_ours() {
    let mut stage = Stage::new(UDP, &["10.77.2.5 R"]);
    let other = stage.udp("beta", 30125, None);
    let client = stage.udp("client", 4001, Some(("10.9.0.2", 30125)));
    assert!(arrives(&client, &other));
    let before = stage.entries(UDP, "10.9.0.2");
    assert_eq!(before.len(), 1);
    assert_eq!(stage.take([slice(UDP, &[])]).deleted, 0);
    assert_eq!(stage.entries(UDP, "10.9.0.2")[0].id, before[0].id);
}

/// A terminating Pod that still serves keeps the UDP flows that it has, and gets no new ones.
#[test]
fn a_draining_endpoint_keeps_its_udp_flows_while_it_serves() {
    let mut stage = Stage::new(UDP, &["10.77.2.5 R"]);
    let (a, b) = stage.servers();
    let client = stage.udp("client", 4001, Some((CLUSTER_IP, 8125)));
    assert!(arrives(&client, &a));
    assert_eq!(stage.take([slice(UDP, &["10.77.2.5 T", "10.77.2.6 R"])]).deleted, 0);
    assert!(arrives(&client, &a));
    let new = stage.udp("client", 4002, Some((CLUSTER_IP, 8125)));
    assert!(arrives(&new, &b));
    assert_eq!(stage.take([slice(UDP, &["10.77.2.5 X", "10.77.2.6 R"])]).deleted, 1);
    assert!(arrives(&client, &b));
}

/// A node address that appears takes the NodePort flows that began before.
#[test]
fn an_address_that_appears_is_cleaned() {
    let mut stage = Stage::new(UDP, &["10.77.2.5 R"]);
    let (a, _b) = stage.servers();
    // Sent on to where the address is not, as long as alpha does not have it.
    let client = stage.udp(OUTSIDE, 9000, Some(("10.9.7.7", 30125)));
    assert!(!arrives(&client, &a));
    assert_eq!(stage.entries(UDP, "10.9.7.7").len(), 1);
    let alpha = stage.lab.at("alpha").unwrap();
    let added = alpha.command("ip").args(["address", "add", "10.9.7.7/32", "dev", "lo"]).status();
    assert!(added.unwrap().success());
    assert_eq!(stage.take([host(&[NODE_IP, "127.0.0.1", "10.9.7.7"])]).deleted, 1);
    assert!(arrives(&client, &a));
}

fn states(entries: &[Entry]) -> Vec<Option<ProtocolState>> {
    entries.iter().map(|entry| entry.state).collect()
}

#[test]
fn a8_a_half_open_tcp_connection_leaves_a_gone_endpoint() {
    // Nobody is at .99, and beta says nothing of it.
    let mut stage = Stage::new(TCP, &["10.77.2.99 R"]);
    let beta = stage.lab.at("beta").unwrap();
    let blackhole = ["route", "add", "blackhole", "10.77.2.99/32"];
    assert!(beta.command("ip").args(blackhole).status().unwrap().success());
    let listen = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8125)).unwrap();
    let server = stage.lab.at("a").unwrap().run(listen).unwrap();
    let client = stage.lab.at("client").unwrap().clone();
    let connecting = std::thread::spawn(move || {
        let to = SocketAddr::new(ip(CLUSTER_IP), 8125);
        client.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(10))).unwrap()
    });
    let deadline = Instant::now() + Duration::from_secs(2);
    while stage.entries(TCP, CLUSTER_IP).is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(states(&stage.entries(TCP, CLUSTER_IP)), [Some(ProtocolState::Tcp(1))]);
    assert_eq!(stage.take([slice(TCP, &["10.77.2.5 R"])]).deleted, 1);
    // The client knows nothing of it: its next SYN finds the Pod that is there.
    let mut connected = connecting.join().unwrap().expect("the connection that was half-open");
    let (mut accepted, _) = server.accept().unwrap();
    accepted.write_all(b"hello").unwrap();
    let mut buffer = [0; 5];
    connected.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"hello");
}

#[test]
fn a8_an_established_tcp_connection_drains() {
    let mut stage = Stage::new(TCP, &["10.77.2.5 R"]);
    let listen = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8125)).unwrap();
    let server = stage.lab.at("a").unwrap().run(listen).unwrap();
    let to = SocketAddr::new(ip(CLUSTER_IP), 8125);
    let connect = || TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap();
    let mut client = stage.lab.at("client").unwrap().run(connect).unwrap();
    let (mut accepted, _) = server.accept().unwrap();
    let removed = [
        stage.take([slice(TCP, &["10.77.2.5 T", "10.77.2.6 R"])]),
        stage.take([slice(TCP, &["10.77.2.6 R"])]),
        stage.take([Change::ServiceGone(NamespacedName::new("ns", "statsd"))]),
    ];
    assert!(removed.iter().all(|removed| removed.deleted == 0), "{removed:?}");
    let mut buffer = [0; 3];
    client.write_all(b"bye").unwrap();
    accepted.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"bye");
}

/// This kernel may lack SCTP sockets, but it tracks associations: `conntrack` makes one.
#[test]
fn a8_an_sctp_association_goes_with_its_endpoint_and_not_before() {
    let mut stage = Stage::new(SCTP, &["10.77.2.5 R", "10.77.2.6 R"]);
    let alpha = stage.lab.at("alpha").unwrap();
    for (port, endpoint) in [("36412", A), ("36413", B)] {
        let script = format!(
            "conntrack -I -p sctp -s 198.51.100.7 -d {BALANCER_IP} -r {endpoint} -q 198.51.100.7 \
             --orig-port-src {port} --orig-port-dst 8125 --reply-port-src 8125 \
             --reply-port-dst {port} --state ESTABLISHED --orig-vtag 1 --reply-vtag 2 -t 300"
        );
        let status = alpha.command("sh").args(["-c", &script]).status().unwrap();
        assert!(status.success());
    }
    let both = stage.entries(SCTP, BALANCER_IP);
    assert_eq!(states(&both), [Some(ProtocolState::Sctp(4)); 2]);
    for flags in [["10.77.2.5 T", "10.77.2.6 R"], ["10.77.2.5 X", "10.77.2.6 R"]] {
        assert_eq!(stage.take([slice(SCTP, &flags)]).deleted, 0, "{flags:?}");
    }
    assert_eq!(stage.take([slice(SCTP, &["10.77.2.6 R"])]).deleted, 1);
    let left = stage.entries(SCTP, BALANCER_IP);
    assert_eq!(left.iter().map(|entry| entry.reply.source.ip()).collect::<Vec<_>>(), [ip(B)]);
}

/// Flows that have nothing to do with the change are not even looked at.
#[test]
fn a_change_asks_for_its_own_destinations_alone() {
    let mut stage = Stage::new(UDP, &["10.77.2.5 R"]);
    let (a, _b) = stage.servers();
    // Straight to the Pod, by no Service.
    let direct: Vec<UdpSocket> =
        (0..20).map(|n| stage.udp("client", 5000 + n, Some((A, 8125)))).collect();
    assert!(direct.iter().all(|client| arrives(client, &a)));
    let client = stage.udp("client", 4001, Some((CLUSTER_IP, 8125)));
    assert!(arrives(&client, &a));
    let removed = stage.take([slice(UDP, &["10.77.2.6 R"])]);
    assert_eq!((removed.deleted, removed.transferred), (1, 1));
    assert_eq!(stage.entries(UDP, A).len(), 20);
    let nothing = stage.take([slice(UDP, &["10.77.2.6 R", "10.77.2.5 R"])]);
    assert_eq!(nothing, Removed::default(), "a new endpoint: no question at all");
}
