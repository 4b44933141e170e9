//! A lab carries what it should and tells apart what happens to the rest.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lab::{
    Lab, LabBuilder, Namespace, OUTSIDE, Outcome, SILENCE, node_address, pod_address, probe,
};
use model::{Family, Protocol};

fn both(node: u8, pod: u8) -> [IpAddr; 2] {
    Family::ALL.map(|family| pod_address(node, pod, family))
}

fn with_pods(lab: LabBuilder) -> Lab {
    let mut lab = lab;
    for (node, name) in ["alpha", "beta", "gamma"].into_iter().enumerate() {
        let number = u8::try_from(node + 1).unwrap();
        lab = lab.pod(format!("one-{name}"), name, both(number, 11));
        lab = lab.pod(format!("two-{name}"), name, both(number, 12));
    }
    lab.build().unwrap()
}

fn star() -> Lab {
    with_pods(Lab::star(["alpha", "beta", "gamma"]))
}

/// Every place with its two addresses.
fn addresses() -> Vec<(String, IpAddr)> {
    let mut all = Vec::new();
    for family in Family::ALL {
        all.push((OUTSIDE.to_owned(), lab::outside_address(family)));
        for (number, name) in (1u8..).zip(["alpha", "beta", "gamma"]) {
            all.push((name.to_owned(), node_address(number, family)));
            all.push((format!("one-{name}"), pod_address(number, 11, family)));
            all.push((format!("two-{name}"), pod_address(number, 12, family)));
        }
    }
    all
}

fn run(at: &Namespace, line: &str) -> String {
    let mut words = line.split_whitespace();
    let output = at.command(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Everybody reaches everybody by both protocols, and is seen with its own address.
fn all_reach_all(lab: &Lab) {
    let addresses = addresses();
    let mut servers = Vec::new();
    for (place, address) in &addresses {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            servers.push(lab.serve(place, protocol, SocketAddr::new(*address, 8080)).unwrap());
        }
    }
    let mut answers = 0;
    for (from, own) in &addresses {
        for (to, address) in addresses.iter().filter(|(_, to)| to.is_ipv4() == own.is_ipv4()) {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let target = SocketAddr::new(*address, 8080);
                let outcome = lab.probe(from, protocol, target).unwrap();
                assert!(outcome.answer().is_some(), "{from} to {to} {target}: {outcome}");
                let answer = outcome.answer().unwrap();
                assert_eq!((&answer.server, answer.server_address), (to, target), "from {from}");
                assert_eq!(answer.seen_client.ip(), *own, "{from} to {to}");
                answers += 1;
            }
        }
    }
    assert_eq!(answers, 2 * 2 * 10 * 10);
    assert_eq!(servers.iter().map(lab::Server::taken).sum::<u64>(), answers);
}

#[test]
fn a_star_connects_all() {
    all_reach_all(&star());
}

#[test]
fn a_star_with_a_pod_bridge_connects_all() {
    let lab = with_pods(Lab::star(["alpha", "beta", "gamma"]).pod_bridge("cbr0"));
    assert!(run(lab.at("alpha").unwrap(), "ip -o link show master cbr0").contains("veth1"));
    all_reach_all(&lab);
}

#[test]
fn a_full_lab_connects_all() {
    all_reach_all(&with_pods(Lab::full(["alpha", "beta", "gamma"]).gateway("beta")));
}

#[test]
fn everything_in_a_star_passes_the_first_node_and_in_a_full_lab_it_does_not() {
    let target = SocketAddr::new(pod_address(3, 11, Family::V4), 8080);
    for (lab, passes) in
        [(star(), true), (with_pods(Lab::full(["alpha", "beta", "gamma"]).gateway("beta")), false)]
    {
        let _server = lab.serve("one-gamma", Protocol::Tcp, target).unwrap();
        run(lab.at("alpha").unwrap(), "iptables -A FORWARD -j DROP");
        for from in ["beta", "one-beta", OUTSIDE] {
            let outcome = lab.probe(from, Protocol::Tcp, target).unwrap();
            assert_eq!(outcome.is_dropped(), passes, "from {from}: {outcome}");
        }
    }
}

#[test]
fn a_full_lab_routes_strange_addresses_of_outside_by_its_gateway() {
    let service: IpAddr = "10.96.0.10".parse().unwrap();
    let lab =
        Lab::full(["alpha", "beta"]).gateway("beta").address("beta", service).build().unwrap();
    let target = SocketAddr::new(service, 80);
    let _server = lab.serve("beta", Protocol::Tcp, target).unwrap();
    assert_eq!(lab.probe(OUTSIDE, Protocol::Tcp, target).unwrap().server(), Some("beta"));
}

#[test]
fn refusal_rejection_and_silence_are_told_apart() {
    let lab = star();
    let alpha = lab.at("alpha").unwrap();
    for (tool, family) in [("iptables", Family::V4), ("ip6tables", Family::V6)] {
        let prohibited = ["icmp-admin-prohibited", "icmp6-adm-prohibited"];
        for chain in ["FORWARD", "INPUT", "OUTPUT"] {
            for protocol in ["tcp", "udp"] {
                let rule = format!("{tool} -A {chain} -p {protocol} --dport");
                run(alpha, &format!("{rule} 1 -j REJECT"));
                run(alpha, &format!("{rule} 2 -j DROP"));
                let with = prohibited[usize::from(family == Family::V6)];
                run(alpha, &format!("{rule} 3 -j REJECT --reject-with {with}"));
            }
            run(
                alpha,
                &format!("{tool} -A {chain} -p tcp --dport 4 -j REJECT --reject-with tcp-reset"),
            );
        }
        let pod = pod_address(2, 11, family);
        let node = node_address(1, family);
        let (kind, code) = if family == Family::V4 { (3, 13) } else { (1, 1) };
        // Forwarded, to the node itself, and from the node itself.
        for (from, to) in [("one-alpha", pod), ("one-alpha", node), (OUTSIDE, pod), ("alpha", pod)]
        {
            let ask =
                |protocol, port| lab.probe(from, protocol, SocketAddr::new(to, port)).unwrap();
            let place = format!("{from} to {to}");
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                assert_eq!(ask(protocol, 1), Outcome::Unreachable, "{place} {protocol}");
                assert_eq!(
                    ask(protocol, 3),
                    Outcome::OtherIcmp { kind, code },
                    "{place} {protocol}"
                );
                let own_udp = from == "alpha" && protocol == Protocol::Udp;
                let dropped = if own_udp { Outcome::Blocked } else { Outcome::Silence };
                assert_eq!(ask(protocol, 2), dropped, "{place} {protocol}");
            }
            assert_eq!(ask(Protocol::Tcp, 4), Outcome::Refused, "{place}");
            // No rule, and nobody who listens.
            assert_eq!(ask(Protocol::Tcp, 5), Outcome::Refused, "{place}");
            assert_eq!(ask(Protocol::Udp, 5), Outcome::Unreachable, "{place}");
        }
    }
}

#[test]
fn rejections_are_not_rate_limited() {
    let lab = Lab::star(["alpha"]).build().unwrap();
    for family in Family::ALL {
        let target = SocketAddr::new(node_address(1, family), 9);
        for turn in 0..60 {
            let outcome = lab.probe(OUTSIDE, Protocol::Udp, target).unwrap();
            assert_eq!(outcome, Outcome::Unreachable, "{family}, probe {turn}");
        }
    }
}

#[test]
fn a_client_can_choose_its_address_and_port() {
    let more: IpAddr = "198.51.100.8".parse().unwrap();
    let lab = Lab::star(["alpha"]).address(OUTSIDE, more).build().unwrap();
    let target = SocketAddr::new(node_address(1, Family::V4), 8080);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let _server = lab.serve("alpha", protocol, target).unwrap();
        let source = SocketAddr::new(more, 40_000);
        let outside = lab.at(OUTSIDE).unwrap();
        let outcome = probe(outside, Some(source), protocol, target, SILENCE).unwrap();
        assert_eq!(outcome.answer().unwrap().seen_client, source);
    }
}

#[test]
fn http_servers_answer_lab_clients_and_curl() {
    let lab = Lab::star(["alpha"]).pod("my-app-1", "alpha", both(1, 11)).build().unwrap();
    for family in Family::ALL {
        let target = SocketAddr::new(pod_address(1, 11, family), 8080);
        let server = lab::serve_http(lab.at("my-app-1").unwrap(), "my-app-1", target).unwrap();
        let outside = lab.at(OUTSIDE).unwrap();
        let outcome = lab::probe_http(outside, None, target, SILENCE).unwrap();
        assert_eq!(outcome.server(), Some("my-app-1"), "{outcome}");
        assert_eq!(server.taken(), 1);
        let page = run(outside, &format!("curl -sS --max-time 5 http://{target}/"));
        let client = lab::outside_address(family);
        let client = SocketAddr::new(client, 0).to_string().replace(":0", ":");
        assert!(page.starts_with("Hostname: my-app-1\n"), "{page}");
        assert!(page.contains(&format!("Client: {client}")) || family == Family::V6, "{page}");
    }
}

#[test]
fn sctp_is_used_or_reported_as_missing() {
    let lab = Lab::star(["alpha"]).build().unwrap();
    let target = SocketAddr::new(node_address(1, Family::V4), 8080);
    match lab.serve("alpha", Protocol::Sctp, target) {
        Ok(_server) => {
            let outcome = lab.probe(OUTSIDE, Protocol::Sctp, target).unwrap();
            assert_eq!(outcome.server(), Some("alpha"), "{outcome}");
        }
        Err(lab::LabError::Unsupported(protocol)) => {
            assert_eq!(protocol, Protocol::Sctp);
            let outcome = lab.probe(OUTSIDE, Protocol::Sctp, target).unwrap();
            assert_eq!(outcome, Outcome::Unsupported(Protocol::Sctp));
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_dropped_server_closes_its_port_at_once() {
    let lab = Lab::star(["alpha"]).build().unwrap();
    // Children between fork and exec hold copies of every socket of this process.
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) && start.elapsed() < Duration::from_secs(60) {
                run(lab.at("alpha").unwrap(), "true");
            }
        });
        for (turn, family) in (0..60).zip(Family::ALL.into_iter().cycle()) {
            let target = SocketAddr::new(node_address(1, family), 8080);
            for (protocol, closed) in
                [(Protocol::Tcp, Outcome::Refused), (Protocol::Udp, Outcome::Unreachable)]
            {
                let server = lab.serve("alpha", protocol, target).unwrap();
                let outcome = lab.probe(OUTSIDE, protocol, target).unwrap();
                assert_eq!(outcome.server(), Some("alpha"), "turn {turn}");
                drop(server);
                assert_eq!(lab.probe(OUTSIDE, protocol, target).unwrap(), closed, "turn {turn}");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_taken_port_and_a_strange_address_are_errors() {
    let lab = Lab::star(["alpha"]).build().unwrap();
    let target = SocketAddr::new(node_address(1, Family::V4), 8080);
    let strange = SocketAddr::new(node_address(2, Family::V4), 8080);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let _server = lab.serve("alpha", protocol, target).unwrap();
        let message = lab.serve("alpha", protocol, target).unwrap_err().to_string();
        assert!(
            message.starts_with("cannot listen on 10.9.0.1:8080: Address already"),
            "{message}"
        );
        let message = lab.serve("alpha", protocol, strange).unwrap_err().to_string();
        assert!(message.contains("Cannot assign requested address"), "{message}");
    }
}

#[test]
fn a_lab_is_quick_to_build() {
    // The best of three: other tests run at the same time on the same processors.
    let best = (0..3).map(|_| {
        let start = Instant::now();
        drop(star());
        start.elapsed()
    });
    let best = best.min().unwrap();
    println!("3 nodes, outside, 6 Pods: {best:?}");
    assert!(best < Duration::from_millis(400), "{best:?}");
}

/// What `ip` and `nft` say about the namespace that the tests were started in, without what moves
/// by itself (lifetimes of addresses, counters).
fn machine() -> String {
    let commands =
        ["ip -o link", "ip -br addr", "ip route show table all", "nft --stateless list ruleset"];
    commands.map(|line| run(&Namespace::current().unwrap(), line)).join("\n--\n")
}

#[test]
fn the_surroundings_stay_as_they_are_and_nothing_is_left_behind() {
    let settings = "grep -r . /proc/sys/net/ipv4/conf /proc/sys/net/ipv4/ip_forward \
                    /proc/sys/net/ipv6/conf";
    let settings = || Command::new("sh").args(["-c", settings]).output().unwrap().stdout;
    let (before, settings_before) = (machine(), settings());
    let lab = star();
    run(lab.at("alpha").unwrap(), "iptables -A FORWARD -j DROP");
    // A link to a namespace vanishes with that namespace, so its end here tells when that happens.
    let witness = Namespace::new().unwrap();
    let mut links = 0;
    for place in lab.places() {
        let path = lab.at(place).unwrap().path();
        let path = path.display();
        run(&witness, &format!("ip link add name w{links} type veth peer name w netns {path}"));
        links += 1;
    }
    let count = || run(&witness, "ip -o link show type veth").lines().count();
    assert_eq!((count(), links), (10, 10));
    drop(lab);
    let start = Instant::now();
    while count() > 0 {
        assert!(start.elapsed() < Duration::from_secs(20), "{} namespaces remain", count());
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(before, machine());
    assert_eq!(settings_before, settings());
}

#[test]
fn a_contradictory_description_is_refused() {
    let error = |lab: LabBuilder| lab.build().unwrap_err().to_string();
    assert!(error(Lab::star(["a", "a"])).contains("another place"));
    assert!(error(Lab::star(["a"]).pod("a", "a", [])).contains("another place"));
    assert!(error(Lab::star(["a"]).pod("p", "b", [])).contains("a Pod names this node"));
    assert!(error(Lab::star([OUTSIDE])).contains("another place"));
    assert!(error(Lab::star(Vec::<String>::new())).contains("needs a node"));
    assert!(error(Lab::full(["a"]).gateway("b")).contains("no node of this name"));
    let twice = [pod_address(1, 1, Family::V4); 2];
    let message = error(Lab::star(["a"]).pod("p", "a", twice));
    assert!(message.contains("route add 10.77.1.1/32"), "{message}");
}

#[test]
fn pods_come_and_go_while_the_lab_stands() {
    for builder in [Lab::full(["alpha", "beta"]), Lab::full(["alpha", "beta"]).pod_bridge("cbr0")] {
        let mut lab = builder.pod("client", "alpha", both(1, 11)).build().unwrap();
        // An address is free again at once.
        for round in ["first", "second"] {
            lab.add_pod(round, "beta", &both(2, 12)).unwrap();
            for address in both(2, 12) {
                let to = SocketAddr::new(address, 8080);
                let _server = lab.serve(round, Protocol::Tcp, to).unwrap();
                let outcome = lab.probe("client", Protocol::Tcp, to).unwrap();
                assert_eq!(outcome.server(), Some(round), "{outcome}");
            }
            let beta = lab.at("beta").unwrap().clone();
            assert!(run(&beta, "ip -o route").contains("10.77.2.12"));
            lab.remove_pod(round).unwrap();
            assert!(!run(&beta, "ip -o route").contains("10.77.2.12"));
            assert!(lab.at(round).is_err());
            lab.remove_pod(round).unwrap_err();
        }
        lab.add_pod("client", "alpha", &both(1, 12)).unwrap_err();
        lab.add_pod("lost", "gamma", &both(1, 12)).unwrap_err();
        // Refused by the system half-way: nothing is left of it.
        lab.add_pod("twin", "alpha", &both(1, 11)).unwrap_err();
        assert!(lab.at("twin").is_err());
        let links = run(lab.at("alpha").unwrap(), "ip -o link");
        assert_eq!(links.matches("veth").count(), 1, "{links}");
    }
}
