//! Rules to write.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use model::{Family, NamespacedName, Owner, PortName, Protocol};
use plan::{
    Backend, Frontend, FrontendKind, Intent, LocalTraffic, NodeIntent, NodePortAccept, PerFamily,
    PoolName, Refusal, Refuse, Route, Routes, VirtualServer,
};
use render::iptables::{
    ChainId, CtStates, Inverted, Match, Options, Part, Recent, Rule, Ruleset, Table, Target,
};

/// Every match and every target, in one family.
pub(crate) fn every_rule(family: Family) -> Vec<Rule> {
    let (net, host, odd, to) = match family {
        Family::V4 => ("10.244.0.0/16", "10.96.0.50/32", "10.9.16.0/20", "10.244.1.2:8080"),
        Family::V6 => ("fd01::/56", "fd00::50/128", "fd00::/12", "[fd01::2]:8080"),
    };
    let jump = || Rule::to(Target::Jump("KUBE-MARK-MASQ".into()));
    let mut rules = vec![
        Rule { source: Some(Inverted::is(net.parse().unwrap())), ..jump() },
        Rule { source: Some(Inverted::is_not(odd.parse().unwrap())), ..jump() },
        Rule { destination: Some(Inverted::is(odd.parse().unwrap())), ..jump() },
        Rule { destination: Some(Inverted::is_not(host.parse().unwrap())), ..jump() },
        Rule { in_interface: Some(Inverted::is("cbr0".into())), ..jump() },
        Rule { in_interface: Some(Inverted::is_not("abcdefghijklmno".into())), ..jump() },
        Rule { in_interface: Some(Inverted::is("cali+".into())), ..jump() },
        Rule { in_interface: Some(Inverted::is_not("veth+".into())), ..jump() },
        Rule::default(),
        Rule::default().comment("other traffic to ns/svc will be dropped by KUBE-PROXY-FIREWALL"),
        Rule::to(Target::Return).comment(&"x".repeat(255)),
        Rule::to(Target::Return).comment("quote\" back\\slash 'single'"),
        Rule::to(Target::Masquerade { random_fully: true }),
        Rule::to(Target::Masquerade { random_fully: false }).comment("plain"),
        Rule::to(Target::Mark { value: 0x4000, mask: 0x4000 }),
        Rule::to(Target::Mark { value: 0x4000, mask: 0 }),
        jump().matching(Match::SourceLocal),
        jump().matching(Match::DestinationLocal),
        jump().matching(Match::Recent {
            list: "KUBE-SEP-SXIVWICOYRO3J4NJ".into(),
            action: Recent::Check { seconds: 10800 },
        }),
        jump().matching(Match::Recent { list: "KUBE-SEP-A".into(), action: Recent::Set }),
        jump().matching(Match::Random(1 << 30)),
        jump().matching(Match::Random(715_827_883)),
        jump().matching(Match::Nfacct("localhost_nps_accepted_pkts".into())),
    ];
    for (inverted, value, mask) in
        [(false, 0x4000, 0x4000), (true, 0x4000, 0x4000), (false, 7, u32::MAX), (true, 0, 0xff)]
    {
        rules.push(Rule::to(Target::Return).matching(Match::Mark { inverted, value, mask }));
    }
    for protocol in Protocol::ALL {
        let of = |target| Rule { protocol: Some(protocol), ..Rule::to(target) };
        rules.push(
            Rule { destination: Some(Inverted::is(host.parse().unwrap())), ..of(Target::Return) }
                .comment("ns/svc:p cluster IP")
                .matching(Match::DestinationPort(protocol, 80)),
        );
        rules.push(of(Target::Return).matching(Match::Bare(protocol)));
        rules.push(
            of(Target::Dnat(to.parse().unwrap()))
                .comment("ns/svc:p")
                .matching(Match::Recent { list: "KUBE-SEP-B".into(), action: Recent::Set })
                .matching(Match::Bare(protocol)),
        );
    }
    rules
}

/// What only the filter table allows.
pub(crate) fn every_filter_rule() -> Vec<Rule> {
    let states = |set: fn(&mut CtStates)| {
        let mut states = CtStates::default();
        set(&mut states);
        states
    };
    let mut rules = vec![
        Rule::to(Target::Reject),
        Rule { protocol: Some(Protocol::Udp), ..Rule::to(Target::Reject) }
            .comment("ns/svc has no endpoints")
            .matching(Match::DestinationPort(Protocol::Udp, 53)),
        Rule::to(Target::Accept),
        Rule::to(Target::Drop),
        Rule::to(Target::Drop).state(states(|s| s.invalid = true)),
        Rule::to(Target::Accept).state(states(|s| s.new = true)),
        Rule::to(Target::Accept).state(states(|s| (s.related, s.established) = (true, true))),
    ];
    let states = states(|s| (s.related, s.established, s.dnat) = (true, true, true));
    rules.push(Rule::to(Target::Drop).matching(Match::CtState { inverted: true, states }));
    rules
}

/// A name for a test's Service.
pub(crate) fn name(number: usize) -> NamespacedName {
    NamespacedName::new("ns", format!("svc{number}"))
}

/// The owner of a test's Service.
pub(crate) fn owner(number: usize) -> Owner {
    Owner::Service(name(number))
}

fn address(family: Family, block: u8, number: usize) -> IpAddr {
    let number = u16::try_from(number).unwrap();
    let [high, low] = number.to_be_bytes();
    match family {
        Family::V4 => IpAddr::from([10, block, high, low]),
        Family::V6 => IpAddr::from([0xfd00, 0, 0, block.into(), 0, 0, 0, number]),
    }
}

/// A Service of one port with a cluster IP and, for every tenth, everything else.
pub(crate) fn server(family: Family, number: usize, endpoints: &[usize]) -> VirtualServer {
    let backends = |endpoints: &[usize]| -> Arc<[Backend]> {
        let all = endpoints.iter().map(|&endpoint| Backend {
            address: SocketAddr::new(address(family, 244, endpoint), 8080),
            local: true,
            unplaced: false,
        });
        all.collect()
    };
    let deliver = |masquerade| Route::Deliver { pool: PoolName::Cluster, masquerade };
    let refused = Route::Refuse { why: Refusal::NoEndpoints, with: Refuse::Reject };
    let inside = if endpoints.is_empty() { refused } else { deliver(false) };
    let outside = if endpoints.is_empty() { refused } else { deliver(true) };
    let front = |kind, address: Option<IpAddr>, port, route| Frontend {
        kind,
        address,
        port,
        sources: None,
        routes: Routes::all(route),
    };
    let cluster_ip = Some(address(family, 96, number));
    let mut frontends = vec![front(FrontendKind::ClusterIP, cluster_ip, 80, inside)];
    if number.is_multiple_of(10) {
        let external = Some(address(family, 97, number));
        frontends.push(front(FrontendKind::ExternalIP, external, 80, outside));
        let balancer = Some(address(family, 98, number));
        frontends.push(front(FrontendKind::LoadBalancerIP, balancer, 80, outside));
        let port = 30_000 + u16::try_from(number).unwrap();
        frontends.push(front(FrontendKind::NodePort, None, port, outside));
    }
    VirtualServer {
        name: PortName { service: name(number), port: "p".into(), protocol: Protocol::Tcp },
        family,
        frontends,
        cluster: backends(endpoints),
        local: backends(&[]),
        affinity_seconds: number.is_multiple_of(7).then_some(10_800),
        health_check_node_port: None,
    }
}

/// Services by number, with their endpoints.
pub(crate) type World = BTreeMap<usize, Vec<usize>>;

/// An Intent for both families from Services and their endpoints.
pub(crate) fn intent(services: &World) -> Intent {
    let node = NodeIntent {
        node: "node".into(),
        local_traffic: PerFamily::of(|family| {
            LocalTraffic::Source(match family {
                Family::V4 => "10.244.0.0/16".parse().unwrap(),
                Family::V6 => "fd00:0:0:f4::/64".parse().unwrap(),
            })
        }),
        node_ports: PerFamily::of(|family| NodePortAccept::AnyLocal {
            loopback: family == Family::V4,
        }),
        localhost_node_ports: true,
        drop_invalid: true,
        service_cidrs: PerFamily::of(|_| BTreeSet::new()),
    };
    let servers = services.iter().map(|(&number, endpoints)| {
        let both = Family::ALL.map(|family| server(family, number, endpoints));
        (name(number), Arc::from(both))
    });
    Intent { node: Arc::new(node), servers: servers.collect(), policy: Default::default() }
}

/// So many Services with so many endpoints each.
pub(crate) fn services(count: usize, endpoints: usize) -> World {
    (0..count)
        .map(|number| (number, (0..endpoints).map(|n| number * endpoints + n).collect()))
        .collect()
}

/// Their rules.
pub(crate) fn ruleset(services: &World) -> Ruleset {
    render::iptables::ruleset(&intent(services), &Options::default())
}

/// The node's rules, and chains that hold every rule there is.
pub(crate) fn everything() -> Ruleset {
    let mut ruleset = ruleset(&services(3, 2));
    let mut part = Part::default();
    for family in Family::ALL {
        let chain = ChainId::new(family, Table::Nat, "KUBE-SVC-EVERYTHING");
        part.chains.insert(chain, every_rule(family));
        let chain = ChainId::new(family, Table::Filter, "KUBE-EVERYTHING");
        part.chains.insert(chain, every_filter_rule());
    }
    ruleset.parts.insert(owner(1000), part);
    ruleset
}
