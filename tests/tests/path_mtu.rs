//! The way back of ICMP errors: a client behind a translation learns of a smaller path.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use lab::Lab;
use model::{Change, Cluster, Family};
use pointsman_tests::{HostSettings, Settings, shapes};
use render::iptables::{self, Options};
use sync::iptables::Iptables;

/// Less than a full Ethernet frame.
const NARROW: u32 = 1300;
/// More than fits in one packet of either size.
const LENGTH: usize = 200_000;

#[test]
fn a_packet_too_big_behind_a_service_is_reported_to_the_client() {
    let client = lab::pod_address(1, 9, Family::V4);
    let server = lab::pod_address(2, 4, Family::V4);
    let lab = Lab::star(["alpha", "beta"])
        .pod("client", "alpha", [client])
        .pod("server", "beta", [server])
        .build()
        .unwrap();
    let node = lab.at("alpha").unwrap();
    narrow(node, "to-beta");
    let virtual_ip = IpAddr::V4(Ipv4Addr::new(10, 88, 0, 30));
    program(node, virtual_ip, server);

    let listener = lab.at("server").unwrap().run(|| TcpListener::bind((server, 8080)));
    let listener = listener.unwrap().unwrap();
    let received = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).map(|_| all.len())
    });
    let to = SocketAddr::new(virtual_ip, 80);
    let place = lab.at("client").unwrap();
    let stream = place.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(5)));
    let mut stream = stream.unwrap().unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(&vec![7; LENGTH]).unwrap();
    drop(stream);
    assert_eq!(received.join().unwrap().unwrap(), LENGTH);

    // The client holds the smaller path for the address that it knows, the Service's.
    let route = place.command("ip").args(["route", "get", &virtual_ip.to_string()]).output();
    let route = String::from_utf8(route.unwrap().stdout).unwrap();
    assert!(route.contains(&format!("mtu {NARROW}")), "{route}");
}

fn narrow(node: &lab::Namespace, link: &str) {
    let mtu = NARROW.to_string();
    let status = node.command("ip").args(["link", "set", link, "mtu", &mtu]).status().unwrap();
    assert!(status.success());
}

fn program(node: &lab::Namespace, virtual_ip: IpAddr, server: IpAddr) {
    let mut cluster = Cluster::default();
    let service = shapes::service("web", virtual_ip);
    let slice = shapes::slice("web-1", &service, vec![shapes::endpoint(server, "beta")]);
    cluster.apply(Change::Host(HostSettings::default().host("alpha")));
    cluster.apply(Change::Slice(slice));
    cluster.apply(Change::Service(service));
    let (intent, _) = plan::plan(&cluster, &Settings::default().config("alpha"));
    let ruleset = iptables::ruleset(&intent, &Options::default());
    let mut kernel = node.run(Iptables::open).unwrap().unwrap();
    assert!(kernel.reconcile(&ruleset).unwrap().refused.is_empty());
}
