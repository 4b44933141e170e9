//! Packets through rendered rules, by hand-made rules and by rules of a whole Intent.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../pipeline/render/tests/fixture/mod.rs"]
mod fixture;

use std::collections::BTreeSet;

use explain::{
    Enters, Mode, Packet, Then, Trace, TraceError, Verdict, decide, source_class, trace_iptables,
};
use fixture::{
    backends, deliver, external_cluster, external_local, frontend, intent, internal, many,
    no_endpoints, node, refuse, server,
};
use model::{Family, Host, HostAddress, Owner, Protocol};
use plan::{
    FrontendKind, Intent, LocalTraffic, NodeIntent, NodePortAccept, PerFamily, PoolName, Refusal,
    Refuse, Routes, SourceClass, VirtualServer,
};
use render::iptables::{
    ChainId, Inverted, Match, Options, Part, Rule, Ruleset, Table, Target, ruleset,
};

const POD: &str = "10.77.1.9";
const REMOTE_POD: &str = "10.77.2.9";
const NODE: &str = "10.9.0.1";
const SECOND: &str = "192.0.2.9";
const LOCALHOST: &str = "127.0.0.1";
const CLIENT: &str = "198.51.100.7";
const CLUSTER_IP: &str = "10.88.0.30";
const EXTERNAL_IP: &str = "203.0.113.9";
const BALANCER: &str = "203.0.113.8";

fn host() -> Host {
    let on = |interface: &str, ip: &str| HostAddress {
        address: ip.parse().unwrap(),
        interface: interface.into(),
    };
    let addresses = [
        on("lo", LOCALHOST),
        on("eth0", NODE),
        on("eth0", SECOND),
        on("eth0", "fd09::1"),
        on("lo", "::1"),
    ];
    Host { addresses: addresses.into(), conntrack_be_liberal: false }
}

fn packet(from: &str, to: &str, port: u16) -> Packet {
    let source = from.parse().unwrap();
    let enters = if host().owns(source) {
        Enters::Output
    } else if from == POD {
        Enters::Interface("cali1".into())
    } else {
        Enters::Interface("eth0".into())
    };
    let destination = to.parse().unwrap();
    Packet { protocol: Protocol::Tcp, source, destination, port, enters }
}

fn follow(intent: &Intent, packet: &Packet) -> Trace {
    trace_iptables(&ruleset(intent, &Options::default()), &host(), packet).unwrap()
}

fn fate(intent: &Intent, from: &str, to: &str, port: u16) -> String {
    follow(intent, &packet(from, to, port)).verdict.to_string()
}

/// Two endpoints of the cluster, the first of them on this node, with every kind of frontend.
fn web(inner: Routes, outer: Routes) -> VirtualServer {
    let mut web = server("ns/web", Family::V4);
    web.cluster = backends(&["10.77.1.9:8080", "10.77.2.4:8080"]);
    web.local = backends(&["10.77.1.9:8080"]);
    web.frontends = vec![
        frontend(FrontendKind::ClusterIP, CLUSTER_IP, 80, inner),
        frontend(FrontendKind::ExternalIP, EXTERNAL_IP, 80, outer),
        frontend(FrontendKind::LoadBalancerIP, BALANCER, 80, outer),
        frontend(FrontendKind::NodePort, "", 30080, outer),
    ];
    web
}

fn with(inner: Routes, outer: Routes) -> Intent {
    intent(node(), vec![web(inner, outer)])
}

#[test]
fn cluster_ip_and_hairpin() {
    let all = with(internal(PoolName::Cluster), external_cluster());
    // The Pod may meet itself, and then only masquerading brings the answer back by here.
    assert_eq!(fate(&all, POD, CLUSTER_IP, 80), "DELIVER 10.77.1.9:8080+masquerade 10.77.2.4:8080");
    assert_eq!(fate(&all, REMOTE_POD, CLUSTER_IP, 80), "DELIVER 10.77.1.9:8080 10.77.2.4:8080");
    for outside in [NODE, CLIENT] {
        assert_eq!(
            fate(&all, outside, CLUSTER_IP, 80),
            "DELIVER 10.77.1.9:8080+masquerade 10.77.2.4:8080+masquerade"
        );
    }
    assert_eq!(fate(&all, POD, CLUSTER_IP, 81), "PASS");
    assert_eq!(fate(&all, POD, "10.88.0.31", 80), "PASS");
    let mut udp = packet(POD, CLUSTER_IP, 80);
    udp.protocol = Protocol::Udp;
    assert_eq!(follow(&all, &udp).verdict, Verdict::Pass);
}

#[test]
fn steps_tell_the_way() {
    let all = with(internal(PoolName::Cluster), external_cluster());
    let trace = follow(&all, &packet(CLIENT, CLUSTER_IP, 80));
    let way: Vec<String> = trace
        .steps
        .iter()
        .map(|step| format!("{} {} {:?}", step.table, step.chain.get(..9).unwrap_or(""), step.then))
        .collect();
    let svc = render::iptables::names::svc(&web(no_endpoints(), no_endpoints()).name);
    let expected = [
        "nat PREROUTIN Jump(\"KUBE-SERVICES\")".to_owned(),
        format!("nat KUBE-SERV Jump(\"{svc}\")"),
        "nat KUBE-SVC- Jump(\"KUBE-MARK-MASQ\")".to_owned(),
        "nat KUBE-MARK Mark".to_owned(),
    ];
    assert_eq!(way[..4], expected, "{way:#?}");
    let dnat = trace.steps.iter().filter(|step| matches!(step.then, Then::Dnat(_))).count();
    assert_eq!(dnat, 2, "both ways of the cascade are walked");
    assert_eq!(way.last().unwrap(), "nat KUBE-POST Masquerade");
    assert!(trace.steps[1].rule.starts_with("-d 10.88.0.30/32 -p tcp -m comment"));
}

#[test]
fn node_ports() {
    let all = with(internal(PoolName::Cluster), external_cluster());
    let both = "DELIVER 10.77.1.9:8080+masquerade 10.77.2.4:8080+masquerade";
    for from in [POD, REMOTE_POD, NODE, CLIENT] {
        assert_eq!(fate(&all, from, NODE, 30080), both, "{from}");
        assert_eq!(fate(&all, from, SECOND, 30080), both, "{from}");
    }
    assert_eq!(fate(&all, LOCALHOST, LOCALHOST, 30080), both);
    assert_eq!(fate(&all, CLIENT, NODE, 80), "PASS");
    assert_eq!(fate(&all, CLIENT, CLIENT, 30080), "PASS");

    let elsewhere = NodeIntent {
        node_ports: PerFamily::of(|_| NodePortAccept::AnyLocal { loopback: false }),
        localhost_node_ports: false,
        ..node()
    };
    let servers = vec![web(internal(PoolName::Cluster), external_cluster())];
    let off = intent(elsewhere, servers.clone());
    assert_eq!(fate(&off, LOCALHOST, LOCALHOST, 30080), "PASS");
    assert_eq!(fate(&off, CLIENT, NODE, 30080), both);

    let listed = NodePortAccept::Addresses([NODE.parse().unwrap()].into());
    let listed = NodeIntent { node_ports: PerFamily::of(|_| listed.clone()), ..node() };
    let listed = intent(listed, servers);
    assert_eq!(fate(&listed, CLIENT, NODE, 30080), both);
    assert_eq!(fate(&listed, CLIENT, SECOND, 30080), "PASS");
}

#[test]
fn loopback_is_kept_from_neighbours() {
    let all = with(internal(PoolName::Cluster), external_cluster());
    assert_eq!(fate(&all, CLIENT, LOCALHOST, 22), "DROP");
    assert_eq!(fate(&all, LOCALHOST, LOCALHOST, 22), "PASS");
}

#[test]
fn source_ranges() {
    let mut fenced = web(internal(PoolName::Cluster), external_cluster());
    fenced.frontends[2].sources = Some(vec!["198.51.100.0/25".parse().unwrap()].into());
    let fenced = intent(node(), vec![fenced]);
    let both = "DELIVER 10.77.1.9:8080+masquerade 10.77.2.4:8080+masquerade";
    assert_eq!(fate(&fenced, CLIENT, BALANCER, 80), both);
    for refused in ["198.51.100.200", POD, NODE] {
        assert_eq!(fate(&fenced, refused, BALANCER, 80), "DROP", "{refused}");
    }
    assert_eq!(fate(&fenced, "198.51.100.200", NODE, 30080), both, "NodePorts have no ranges");
    assert_eq!(fate(&fenced, "198.51.100.200", EXTERNAL_IP, 80), both);
    assert_eq!(fate(&fenced, "198.51.100.200", BALANCER, 81), "PASS");
}

#[test]
fn external_traffic_policy_local() {
    let here = with(internal(PoolName::Cluster), external_local(true));
    let away = with(internal(PoolName::Cluster), external_local(false));
    for to in [EXTERNAL_IP, BALANCER] {
        for intent in [&here, &away] {
            let pods = "DELIVER 10.77.1.9:8080 10.77.2.4:8080";
            assert_eq!(fate(intent, REMOTE_POD, to, 80), pods);
            let own = "DELIVER 10.77.1.9:8080+masquerade 10.77.2.4:8080+masquerade";
            assert_eq!(fate(intent, NODE, to, 80), own);
        }
        assert_eq!(fate(&here, CLIENT, to, 80), "DELIVER 10.77.1.9:8080");
        assert_eq!(fate(&away, CLIENT, to, 80), "DROP");
    }
    assert_eq!(fate(&here, CLIENT, NODE, 30080), "DELIVER 10.77.1.9:8080");
    assert_eq!(fate(&away, CLIENT, NODE, 30080), "DROP");
}

#[test]
fn refusals() {
    let none = with(no_endpoints(), no_endpoints());
    for from in [POD, CLIENT] {
        for to in [CLUSTER_IP, EXTERNAL_IP, BALANCER] {
            assert_eq!(fate(&none, from, to, 80), "REJECT", "{from} to {to}");
        }
        assert_eq!(fate(&none, from, NODE, 30080), "REJECT", "{from}");
    }
    assert_eq!(fate(&none, NODE, CLUSTER_IP, 80), "REJECT");
    assert_eq!(fate(&none, NODE, NODE, 30080), "REJECT");
    // kube-proxy's rules have nothing in OUTPUT for these.
    assert_eq!(fate(&none, NODE, BALANCER, 80), "PASS");
    let silent = Routes::all(refuse(Refusal::NoLocalEndpoints, Refuse::Drop));
    let silent = with(silent, external_cluster());
    assert_eq!(fate(&silent, POD, CLUSTER_IP, 80), "DROP");
    assert_eq!(fate(&silent, NODE, CLUSTER_IP, 80), "DROP");
}

#[test]
fn every_endpoint_of_a_long_cascade_is_found() {
    let mut big = web(internal(PoolName::Cluster), external_cluster());
    big.cluster = many(1000);
    let Verdict::Deliver(found) =
        follow(&intent(node(), vec![big]), &packet(CLIENT, CLUSTER_IP, 80)).verdict
    else {
        panic!("not delivered");
    };
    assert_eq!(found.len(), 1000);
}

#[test]
fn session_affinity_without_a_past_reaches_every_endpoint() {
    let mut sticky = web(internal(PoolName::Cluster), external_cluster());
    sticky.affinity_seconds = Some(60);
    let sticky = intent(node(), vec![sticky]);
    assert_eq!(fate(&sticky, REMOTE_POD, CLUSTER_IP, 80), "DELIVER 10.77.1.9:8080 10.77.2.4:8080");
}

/// What comes in for the node's own address goes to INPUT and never meets POSTROUTING.
#[test]
fn a_backend_on_the_nodes_own_address_sees_the_client() {
    let mut own = web(internal(PoolName::Cluster), external_cluster());
    own.cluster = backends(&["10.9.0.1:8080"]);
    let own = intent(node(), vec![own]);
    assert_eq!(fate(&own, CLIENT, NODE, 30080), "DELIVER 10.9.0.1:8080");
    assert_eq!(fate(&own, NODE, CLUSTER_IP, 80), "DELIVER 10.9.0.1:8080+masquerade");
}

#[test]
fn ipv6() {
    let mut six = server("ns/six", Family::V6);
    six.cluster = backends(&["[fd77::1]:80"]);
    six.frontends = vec![
        frontend(FrontendKind::ClusterIP, "fd88::1", 80, internal(PoolName::Cluster)),
        frontend(FrontendKind::NodePort, "", 30080, external_cluster()),
    ];
    let six = intent(node(), vec![six]);
    assert_eq!(fate(&six, "fd77::1", "fd88::1", 80), "DELIVER [fd77::1]:80+masquerade");
    assert_eq!(fate(&six, "fd77::2", "fd88::1", 80), "DELIVER [fd77::1]:80");
    assert_eq!(fate(&six, "2001:db8::7", "fd09::1", 30080), "DELIVER [fd77::1]:80+masquerade");
    assert_eq!(fate(&six, "::1", "::1", 30080), "PASS");
    let mixed = Packet { source: CLIENT.parse().unwrap(), ..packet("fd77::1", "fd88::1", 80) };
    assert_eq!(follow(&six, &mixed).verdict, Verdict::Pass);
}

/// The way of a packet where hand-made rules head `nat` KUBE-SERVICES.
fn made(rules: Vec<Rule>) -> Result<Trace, TraceError> {
    let mut part = render::iptables::node(&node(), &Options::default());
    part.shared.get_mut(&nat("KUBE-SERVICES")).unwrap().splice(0..0, rules);
    let ruleset = Ruleset { parts: [(Owner::Node, part)].into(), ..Ruleset::default() };
    trace_iptables(&ruleset, &host(), &packet(CLIENT, CLUSTER_IP, 80))
}

fn nat(name: &str) -> ChainId {
    ChainId::new(Family::V4, Table::Nat, name)
}

#[test]
fn defects_of_rules_are_errors() {
    let dnat = || Target::Dnat("10.77.1.1:80".parse().unwrap());
    let tcp = |target| Rule { protocol: Some(Protocol::Tcp), ..Rule::to(target) };
    let missing = made(vec![Rule::to(Target::Jump("NOWHERE".into()))]).unwrap_err();
    assert!(missing.to_string().contains("NOWHERE"), "{missing}");
    let looped = made(vec![Rule::to(Target::Jump("KUBE-SERVICES".into()))]).unwrap_err();
    assert!(matches!(looped, TraceError::TooDeep { .. }), "{looped}");
    let half = made(vec![tcp(dnat()).matching(Match::Random(1 << 30))]).unwrap_err();
    assert_eq!(half, TraceError::Divided { fates: "delivered, passed".into() });
    let marked = made(vec![Rule::to(Target::Jump("KUBE-MARK-MASQ".into()))]).unwrap_err();
    assert_eq!(marked, TraceError::MasqueradedPass);
    let six = Target::Dnat("[fd77::1]:80".parse().unwrap());
    for wrong in [
        Rule::to(Target::Drop),
        Rule::to(Target::Masquerade { random_fully: true }),
        Rule::to(dnat()),
        tcp(six),
        Rule::to(Target::Return).matching(Match::Bare(Protocol::Tcp)),
        Rule {
            destination: Some(Inverted::is_not("fd00::/8".parse().unwrap())),
            ..Rule::to(Target::Return)
        },
    ] {
        let error = made(vec![wrong.clone()]).unwrap_err();
        assert!(matches!(error, TraceError::Shape { .. }), "{wrong}: {error}");
    }
    let fine = made(vec![tcp(dnat()).matching(Match::Random(1 << 31))]).unwrap();
    assert_eq!(fine.verdict.to_string(), "DELIVER 10.77.1.1:80");
    let never = made(vec![tcp(dnat()).matching(Match::Random(0))]).unwrap();
    assert_eq!(never.verdict, Verdict::Pass);
}

#[test]
fn no_rules_let_everything_pass() {
    let empty = Ruleset { parts: [(Owner::Node, Part::default())].into(), ..Ruleset::default() };
    for from in [POD, NODE, CLIENT] {
        let trace = trace_iptables(&empty, &host(), &packet(from, CLUSTER_IP, 80)).unwrap();
        assert_eq!(trace, Trace { verdict: Verdict::Pass, steps: vec![] });
    }
}

/// The Intent's answer and the rules' are the same, for every class of client at every kind of
/// frontend under every policy and way to tell Pods.
#[test]
fn the_intent_and_the_rules_agree() {
    let silent = |with| Routes::all(refuse(Refusal::NoLocalEndpoints, with));
    let inner = [
        internal(PoolName::Cluster),
        internal(PoolName::Local),
        Routes::all(deliver(PoolName::Cluster, false)),
        Routes::all(deliver(PoolName::Local, true)),
        silent(Refuse::Drop),
        silent(Refuse::Reject),
    ];
    let outer = [external_cluster(), external_local(true), external_local(false)];
    let mut pairs: Vec<_> =
        inner.iter().flat_map(|inner| outer.iter().map(|outer| (*inner, *outer))).collect();
    pairs.push((no_endpoints(), no_endpoints()));
    let ways = [
        LocalTraffic::Source("10.77.0.0/16".parse().unwrap()),
        LocalTraffic::Interface("cali1".into()),
        LocalTraffic::InterfacePrefix("cali".into()),
        LocalTraffic::Unknown,
    ];
    let accepts = [
        NodePortAccept::AnyLocal { loopback: true },
        NodePortAccept::AnyLocal { loopback: false },
        NodePortAccept::Addresses([SECOND.parse().unwrap()].into()),
    ];
    let mut verdicts = BTreeSet::new();
    let mut classes = BTreeSet::new();
    for (inner, outer) in &pairs {
        for (way, accept) in ways.iter().flat_map(|way| accepts.iter().map(move |a| (way, a))) {
            for fenced in [false, true] {
                let mut web = web(*inner, *outer);
                if fenced {
                    let ranges =
                        ["198.51.100.0/25".parse().unwrap(), "10.9.0.0/24".parse().unwrap()];
                    web.frontends[2].sources = Some(ranges.into());
                }
                let node = NodeIntent {
                    local_traffic: PerFamily::of(|_| way.clone()),
                    node_ports: PerFamily::of(|_| accept.clone()),
                    ..node()
                };
                let intent = intent(node, vec![web]);
                let rules = ruleset(&intent, &Options::default());
                for packet in packets() {
                    let traced = trace_iptables(&rules, &host(), &packet).unwrap().verdict;
                    if is_refused_where_nothing_answers(&packet, *outer, accept) {
                        assert_eq!(traced, Verdict::Drop, "{packet}");
                        continue;
                    }
                    let decided = decide(&intent, &host(), &packet, Mode::Iptables);
                    assert_eq!(traced, decided, "{packet}\n{intent:#?}");
                    verdicts.insert(traced.to_string());
                    classes.insert(source_class(&intent, &host(), &packet));
                }
            }
        }
    }
    assert!(verdicts.len() >= 8, "{verdicts:#?}");
    let every = [SourceClass::Pod, SourceClass::Node, SourceClass::Outside];
    assert_eq!(classes, every.into());
}

/// kube-proxy refuses a NodePort on every address of the node, even where it does not answer, and
/// whoever asks. [`decide`] has the refusal of the client's own class there, and a Pod or the node
/// itself has none: left out of the comparison, since the rules are as they should be.
fn is_refused_where_nothing_answers(
    packet: &Packet,
    outer: Routes,
    accept: &NodePortAccept,
) -> bool {
    let answers = match accept {
        NodePortAccept::AnyLocal { loopback } => *loopback || !packet.destination.is_loopback(),
        NodePortAccept::Addresses(addresses) => addresses.contains(&packet.destination),
    };
    let kept_away = packet.destination.is_loopback() && !packet.source.is_loopback();
    packet.port == 30080 && outer == external_local(false) && !answers && !kept_away
}

fn packets() -> Vec<Packet> {
    let from = [POD, REMOTE_POD, NODE, SECOND, LOCALHOST, CLIENT, "198.51.100.200"];
    let to = [
        (CLUSTER_IP, 80),
        (CLUSTER_IP, 81),
        (EXTERNAL_IP, 80),
        (BALANCER, 80),
        (BALANCER, 81),
        (NODE, 30080),
        (SECOND, 30080),
        (SECOND, 22),
        (LOCALHOST, 30080),
    ];
    from.iter().flat_map(|from| to.iter().map(|(ip, port)| packet(from, ip, *port))).collect()
}
