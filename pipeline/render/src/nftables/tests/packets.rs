//! Real packets: a namespace that is node, client and endpoint at once, with every Pod address on
//! its loopback interface, and a table of the test's own that notes where each connection ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

use lab::Namespace;
use model::Family;
use plan::{Backend, PoolName, Routes, VirtualServer};

use super::super::{Change, Options, SetName, Uses, diff};
use super::fixture::{
    cluster_ip, cluster_policy, deliver, ip, node_port, rendered, server, sticky, udp, with,
};
use super::kernel::nft;

/// Notes new connections for this node, then drops them: nobody has to listen.
const WITNESS: &str = "table ip witness {
    set seen {
        typeof ip saddr . th sport . ip daddr . th dport
        size 1000000
        flags dynamic
        counter
    }
    chain input {
        type filter hook input priority 10; policy accept;
        ct state new update @seen { ip saddr . th sport . ip daddr . th dport } drop
    }
}
";

/// A connection as its server would see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    client: SocketAddr,
    backend: SocketAddr,
}

struct World {
    namespace: Namespace,
}

impl World {
    fn new(servers: Vec<VirtualServer>) -> Self {
        let world = Self { namespace: Namespace::new().unwrap() };
        let script = "ip addr add 192.168.56.101/32 dev lo; ip addr add 10.244.0.0/16 dev lo
            ip route add 10.96.0.0/16 dev lo";
        world.command("sh", &["-ec", script], "");
        world.load(WITNESS);
        let mut ruleset = rendered(servers);
        let all = ruleset.merged();
        ruleset.parts.values_mut().for_each(|part| part.elements.clear());
        world.load(&ruleset.to_text(Family::V4));
        world.load_elements(&diff(&Uses::default(), [(None, Some(&all))]));
        world
    }

    /// In pieces that fit the send buffer of who may not enlarge it.
    fn load_elements(&self, change: &Change) {
        let text = change.to_text(Family::V4);
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(" element ")).collect();
        lines.chunks(1_000).for_each(|piece| self.load(&(piece.join("\n") + "\n")));
    }

    fn command(&self, program: &str, arguments: &[&str], input: &str) -> String {
        use std::io::Write;
        use std::process::Stdio;
        let mut command = self.namespace.command(program);
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.args(arguments).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {why}\n{input}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn load(&self, text: &str) {
        self.command(&nft(), &["-f", "-"], text);
    }

    /// Replaces everything but what clients are remembered.
    fn replace(&self, old: &VirtualServer, new: &VirtualServer) {
        let old = rendered(vec![old.clone()]).merged();
        let new = rendered(vec![new.clone()]).merged();
        let mut change = diff(&Uses::default(), [(Some(&old), Some(&new))]);
        // With nothing counted yet every hairpin looks new; they stand already.
        change.add.retain(|id, _| id.set != SetName::Hairpin);
        self.load_elements(&change);
    }

    /// Sends a datagram from each client.
    fn send(&self, clients: &[SocketAddr], to: SocketAddr) {
        self.namespace
            .run(|| {
                for client in clients {
                    let socket = UdpSocket::bind(client).unwrap();
                    socket.send_to(b"hello", to).unwrap();
                }
            })
            .unwrap();
    }

    /// Where connections ended since the last look, with how many there were of each.
    fn seen(&self) -> Vec<Seen> {
        let text = self.command(&nft(), &["list", "set", "ip", "witness", "seen"], "");
        self.command(&nft(), &["flush", "set", "ip", "witness", "seen"], "");
        let (_, elements) = text.split_once("elements = {").unwrap_or_default();
        let elements = elements.split(',').filter_map(|element| element.split_once(" counter"));
        elements
            .map(|(key, _)| {
                let fields: Vec<&str> = key.trim().split(" . ").collect();
                let at =
                    |address: &str, port: &str| SocketAddr::new(ip(address), port.parse().unwrap());
                Seen { client: at(fields[0], fields[1]), backend: at(fields[2], fields[3]) }
            })
            .collect()
    }

    /// The backend of each client, by the client's address.
    fn backends(&self, clients: &[SocketAddr], to: SocketAddr) -> BTreeMap<IpAddr, IpAddr> {
        self.send(clients, to);
        let seen = self.seen();
        assert_eq!(seen.len(), clients.len(), "every datagram arrived");
        seen.into_iter().map(|one| (one.client.ip(), one.backend.ip())).collect()
    }

    fn remembered(&self) -> usize {
        let text = self.command(&nft(), &["list", "map", "ip", "pointsman", "affinity"], "");
        text.matches(" expires ").count()
    }
}

fn pods(count: u32) -> Vec<Backend> {
    let address = |index: u32| Ipv4Addr::from(0x0af4_0001 + index);
    (0..count)
        .map(|index| Backend {
            address: (address(index), 8080).into(),
            local: false,
            unplaced: false,
        })
        .collect()
}

/// Clients with addresses of their own, none of them an endpoint's.
fn clients(count: u32, port: u16) -> Vec<SocketAddr> {
    let address = |index: u32| Ipv4Addr::from(0x0af4_8000 + index % 0x4000);
    let ports = |index: u32| port + u16::try_from(index / 0x4000).unwrap();
    (0..count).map(|index| (address(index), ports(index)).into()).collect()
}

fn to(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(address), port)
}

/// Pearson's test: the sum of squared deviations lies within six standard deviations of its mean
/// where every endpoint is as likely as the next.
#[test]
fn every_endpoint_gets_its_share() {
    for (count, connections) in [(3, 3_000), (320, 16_000), (5_000, 60_000)] {
        let mut web = udp(server("web", &["10.244.0.1:8080"]));
        web.cluster = pods(count).into();
        let world = World::new(vec![with(web, cluster_ip("10.96.0.10", cluster_policy()))]);
        world.send(&clients(connections, 20_000), to("10.96.0.10", 80));
        let seen = world.seen();
        assert_eq!(seen.len(), connections as usize);
        let mut hits: BTreeMap<SocketAddr, f64> = BTreeMap::new();
        for one in seen {
            *hits.entry(one.backend).or_default() += 1.0;
        }
        let expected = f64::from(connections) / f64::from(count);
        let missing = f64::from(count) - hits.len() as f64;
        let squares: f64 = hits.values().map(|hit| (hit - expected).powi(2)).sum();
        let chi = (squares + missing * expected.powi(2)) / expected;
        let freedom = f64::from(count - 1);
        let bound = 6.0 * (2.0 * freedom).sqrt();
        assert!((chi - freedom).abs() < bound, "{count} endpoints: {chi} is far from {freedom}");
    }
}

/// A client whose endpoint left chooses anew, at once and for good; the others stay.
#[test]
fn affinity_never_leads_to_an_endpoint_that_left() {
    let with_pods = |pods: &[&str]| {
        let one = udp(sticky(server("pinned", pods), 10_800));
        with(one, cluster_ip("10.96.0.50", cluster_policy()))
    };
    let four = ["10.244.0.1:80", "10.244.0.2:80", "10.244.0.3:80", "10.244.0.4:80"];
    let (old, new) = (with_pods(&four), with_pods(&four[1..]));
    // The chain of the three is there from the start, for nft cannot add it later.
    let mut spare = with_pods(&["10.244.1.1:80", "10.244.1.2:80", "10.244.1.3:80"]);
    spare.name.service.name = "spare".into();
    spare.frontends[0].address = Some(ip("10.96.0.51"));
    let world = World::new(vec![old.clone(), spare]);
    let vip = to("10.96.0.50", 80);
    let before = world.backends(&clients(200, 20_000), vip);
    assert_eq!(before.values().collect::<BTreeSet<_>>().len(), 4, "all endpoints are chosen");
    assert_eq!(world.backends(&clients(200, 21_000), vip), before, "every client stays");
    world.replace(&old, &new);
    let after = world.backends(&clients(200, 22_000), vip);
    let left = ip("10.244.0.1");
    for (client, backend) in &after {
        assert_ne!(*backend, left, "{client} was sent to an endpoint that left");
        assert!(before[client] == left || before[client] == *backend, "{client} moved for nothing");
    }
    assert_eq!(world.backends(&clients(200, 23_000), vip), after, "the new choice stays");
    assert_eq!(world.remembered(), 200);
}

#[test]
fn only_new_connections_start_the_time_of_affinity_anew() {
    let two = ["10.244.0.1:80", "10.244.0.2:80"];
    let one = udp(sticky(server("pinned", &two), 3));
    let world = World::new(vec![with(one, cluster_ip("10.96.0.50", cluster_policy()))]);
    // Without the witness connections stay.
    world.load("delete table ip witness\n");
    let vip = to("10.96.0.50", 80);
    let client = |port| [SocketAddr::new(ip("10.244.128.1"), port)];
    let other = [SocketAddr::new(ip("10.244.128.2"), 20_000)];
    let listeners = two.map(|pod| world.namespace.run(|| UdpSocket::bind(pod).unwrap()).unwrap());
    world.send(&[client(20_000), other].concat(), vip);
    assert_eq!(world.remembered(), 2);
    sleep(Duration::from_millis(1_700));
    // A new connection of the one, a further packet of the other's old one.
    world.send(&[client(20_001), other].concat(), vip);
    sleep(Duration::from_millis(1_700));
    assert_eq!(world.remembered(), 1, "the one that connected again is remembered");
    sleep(Duration::from_millis(1_700));
    assert_eq!(world.remembered(), 0);
    drop(listeners);
}

/// The mark is set before the choice, with affinity and without, and the source port is taken from
/// beyond NodePorts.
#[test]
fn masquerading_takes_the_nodes_address_and_a_port_beyond_node_ports() {
    let everybody = Routes::all(deliver(PoolName::Cluster, true));
    let two = ["10.244.0.1:80", "10.244.0.2:80"];
    let plain = with(udp(server("plain", &two)), node_port(30_080, everybody));
    let plain = with(plain, cluster_ip("10.96.0.60", cluster_policy()));
    let pinned = with(udp(sticky(server("pinned", &two), 60)), node_port(30_081, everybody));
    let world = World::new(vec![plain, pinned]);
    let (first, last) = Options::default().masquerade_ports;
    for (index, port) in (0..).zip([30_080, 30_081, 30_081]) {
        let clients = clients(300, 20_000 + index);
        world.send(&clients, to("192.168.56.101", port));
        let seen = world.seen();
        assert_eq!(seen.len(), 300);
        for one in &seen {
            assert!(!clients.iter().any(|client| client.ip() == one.client.ip()), "{one:?}");
            assert!((first..=last).contains(&one.client.port()), "{one:?}");
        }
        let backends = seen.iter().map(|one| one.backend.ip()).collect::<BTreeSet<_>>();
        assert_eq!(backends.len(), 2);
    }
    // To the cluster IP a Pod keeps its address, unless it is sent to itself.
    let itself: Vec<SocketAddr> =
        (0..40).map(|index| SocketAddr::new(ip("10.244.0.1"), 25_000 + index)).collect();
    world.send(&itself, to("10.96.0.60", 80));
    let seen = world.seen();
    assert_eq!(seen.len(), 40);
    let hairpins = seen.iter().filter(|one| one.backend.ip() == itself[0].ip()).count();
    assert!(hairpins > 0 && hairpins < 40, "both endpoints are chosen");
    for one in &seen {
        let is_hairpin = one.backend.ip() == itself[0].ip();
        assert_eq!(one.client.ip() != itself[0].ip(), is_hairpin, "{one:?}");
    }
}
