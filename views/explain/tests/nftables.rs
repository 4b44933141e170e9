//! The way of packets through nftables rules: those of whole clusters, and hand-made ones.

#![allow(clippy::unwrap_used, clippy::panic)]

#[allow(dead_code)]
mod fixture;

use std::collections::BTreeSet;

use explain::nftables::{Step, Then, Trace, TraceError};
use explain::{Enters, Mode, Packet, Verdict, trace_nftables};
use fixture::{
    ALT_NODE, BLOCKED, CLIENT, NODE, NODE_V6, POD, World, cidr, config, everywhere, ip, port,
    service, slice,
};
use model::{
    Affinity, Change, Family, NamespacedName, Owner, Protocol, ServiceCidr, TrafficPolicy,
};
use plan::{Config, NodePortAddresses};
use render::nftables::{
    self, Base, Chain, ChainId, ChainType, Content, Data, ElementId, End, Field, Hook, Options,
    Part, Place, Rule, Ruleset, SetName, Statement, Value, names, ruleset,
};

const VIP: &str = "172.30.0.41";

fn world(changes: impl IntoIterator<Item = Change>) -> World {
    world_with(config(), changes)
}

fn world_with(config: Config, changes: impl IntoIterator<Item = Change>) -> World {
    let cidrs = ["172.30.0.0/16", "fd00:172:30::/112"].map(cidr).into();
    let cidrs = Change::ServiceCidr(ServiceCidr { name: "all".into(), cidrs });
    World::new(config, changes.into_iter().chain([cidrs]))
}

fn rules(world: &World) -> Ruleset {
    let (ruleset, left_out) = ruleset(&world.intent, &Options::default());
    assert!(left_out.is_empty(), "{left_out:?}");
    ruleset
}

fn packet(world: &World, from: &str, to: &str, port: u16) -> Packet {
    let source = ip(from);
    let enters = match world.cluster.host().owns(source) {
        true => Enters::Output,
        false => Enters::Interface("eth0".into()),
    };
    Packet { protocol: Protocol::Tcp, source, destination: ip(to), port, enters }
}

fn follow(world: &World, from: &str, to: &str, port: u16) -> Trace {
    let packet = packet(world, from, to, port);
    trace_nftables(&rules(world), world.cluster.host(), &packet).unwrap()
}

/// Holds the Intent and the rules to each verdict.
#[track_caller]
fn check(world: &World, rows: &[(&str, &str, u16, &str)]) {
    for (from, to, port, verdict) in rows {
        let question = format!("tcp {from} -> {to} {port}");
        assert_eq!(world.ask_in(Mode::Nftables, &question), *verdict, "intent: {question}");
        let trace = follow(world, from, to, *port);
        assert_eq!(trace.verdict.to_string(), *verdict, "rules: {question}\n{:#?}", trace.steps);
    }
}

#[test]
fn steps_tell_the_way_and_name_the_service() {
    let world = world([
        Change::Service(service("web", VIP)),
        slice("web", 8080, &["10.180.0.1@here R", "10.180.1.1@there R"]),
    ]);
    let trace = follow(&world, CLIENT, VIP, 80);
    let seen: Vec<String> = trace
        .steps
        .iter()
        .map(|Step { chain, element, then, .. }| {
            format!("{chain} {} {then:?}", element.as_deref().unwrap_or("-"))
        })
        .collect();
    let guard = r#"source-ranges-prerouting - Jump("source-ranges")"#;
    assert_eq!(seen[0], guard);
    assert_eq!(seen[1], r#"nat-prerouting - Jump("services")"#);
    let chain = "lb-2-masquerade-unless-pod";
    assert_eq!(
        seen[2],
        format!(r#"services {VIP} . tcp . 80 comment "ns/web:tcp" : goto {chain} Goto("{chain}")"#)
    );
    assert_eq!(seen[3], format!(r#"{chain} - Jump("mark-unless-pod")"#));
    assert_eq!(seen[4], "mark-unless-pod - Nothing");
    let to = |index: u8, backend: &str| {
        let element = format!("{VIP} . tcp . 80 . {index} : {}", backend.replace(':', " . "));
        format!("{chain} {element} Dnat({backend})")
    };
    assert_eq!(seen[5], to(0, "10.180.0.1:8080"));
    assert_eq!(seen[6], to(1, "10.180.1.1:8080"));
    assert_eq!(seen.last().unwrap(), "to-node-address - Masquerade");
    let first = &trace.steps[0];
    assert_eq!(first.rule, "ct state new jump source-ranges");
}

#[test]
fn what_no_frontend_takes_of_the_cluster_network_is_refused() {
    let world = world([
        Change::Service(service("web", VIP)),
        slice("web", 80, &["10.180.0.1@here R"]),
        Change::Service(service("six", "fd00:172:30::41")),
        slice("six", 80, &["fd00:10::1@here R"]),
    ]);
    for from in [POD, NODE, CLIENT] {
        check(
            &world,
            &[
                (from, VIP, 81, "REJECT"),
                (from, "172.30.0.99", 80, "DROP"),
                (from, "1.2.3.4", 80, "PASS"),
            ],
        );
    }
    check(
        &world,
        &[
            (NODE_V6, "fd00:172:30::41", 80, "DELIVER [fd00:10::1]:80+masquerade"),
            (NODE_V6, "fd00:172:30::41", 81, "REJECT"),
            (NODE_V6, "fd00:172:30::42", 80, "DROP"),
            ("fd00:10::1", "fd00:172:30::41", 80, "DELIVER [fd00:10::1]:80+masquerade"),
        ],
    );
}

/// Where an address of the node is in a ServiceCIDR, what comes in for it is the node's affair.
#[test]
fn addresses_of_the_node_are_no_strays() {
    let here = cidr("192.168.0.0/16");
    let cidrs = ServiceCidr { name: "here".into(), cidrs: [here].into() };
    let world = world([
        Change::Service(service("web", VIP)),
        slice("web", 80, &[]),
        Change::ServiceCidr(cidrs),
    ]);
    check(&world, &[(CLIENT, NODE, 22, "PASS"), (NODE, ALT_NODE, 22, "DROP")]);
}

#[test]
fn refusals_hold_for_everybody_at_every_kind_of_address() {
    let mut object = everywhere("web", VIP, "1.2.3.4", 3001);
    object.external_ips = vec![ip("192.168.99.22")];
    let world = world([Change::Service(object), slice("web", 80, &[])]);
    for from in [POD, NODE, CLIENT] {
        for (to, port) in [(VIP, 80), ("192.168.99.22", 80), ("1.2.3.4", 80), (NODE, 3001)] {
            check(&world, &[(from, to, port, "REJECT")]);
        }
    }
    check(&world, &[("127.0.0.1", "127.0.0.1", 3001, "PASS")]);
}

/// Ranges are held against the address asked for, before anything else and without endpoints too.
#[test]
fn source_ranges_come_first() {
    let mut object = everywhere("web", VIP, "1.2.3.4", 3001);
    object.source_ranges = vec![cidr("203.0.113.0/25"), cidr("203.0.113.64/26")];
    for endpoints in [&[][..], &["10.180.0.1@there R"]] {
        let world = world([Change::Service(object.clone()), slice("web", 8080, endpoints)]);
        let met = match endpoints {
            [] => "REJECT",
            _ => "DELIVER 10.180.0.1:8080+masquerade",
        };
        check(
            &world,
            &[
                (CLIENT, "1.2.3.4", 80, met),
                (BLOCKED, "1.2.3.4", 80, "DROP"),
                (NODE, "1.2.3.4", 80, "DROP"),
                (POD, "1.2.3.4", 80, "DROP"),
                (BLOCKED, "1.2.3.4", 81, "PASS"),
                (BLOCKED, NODE, 3001, met),
            ],
        );
    }
}

/// C1, kubernetes#131765: without endpoints here, Pods and the node still reach the others.
#[test]
fn external_traffic_policy_local() {
    let mut object = everywhere("web", VIP, "1.2.3.4", 3001);
    object.external_traffic_policy = TrafficPolicy::Local;
    let both = ["10.180.0.1@here R", "10.180.1.1@there R"];
    let full = world([Change::Service(object.clone()), slice("web", 8080, &both)]);
    let far = world([Change::Service(object), slice("web", 8080, &both[1..])]);
    for (to, port) in [("1.2.3.4", 80), (NODE, 3001)] {
        check(
            &full,
            &[
                (POD, to, port, "DELIVER 10.180.0.1:8080 10.180.1.1:8080"),
                (CLIENT, to, port, "DELIVER 10.180.0.1:8080"),
                (NODE, to, port, "DELIVER 10.180.0.1:8080+masquerade 10.180.1.1:8080+masquerade"),
            ],
        );
        check(
            &far,
            &[
                (POD, to, port, "DELIVER 10.180.1.1:8080"),
                (CLIENT, to, port, "DROP"),
                (NODE, to, port, "DELIVER 10.180.1.1:8080+masquerade"),
            ],
        );
    }
}

/// A listed loopback address is none that NodePorts answer on.
#[test]
fn node_ports_answer_where_they_are_told_but_never_on_loopback() {
    let listed = NodePortAddresses::Cidrs(vec![cidr("127.0.0.0/8"), cidr("192.168.0.0/24")]);
    for (addresses, second) in
        [(NodePortAddresses::All, true), (NodePortAddresses::Primary, false), (listed, false)]
    {
        let mut object = service("web", VIP);
        object.service_type = model::ServiceType::NodePort;
        object.ports = vec![port(Protocol::Tcp, 80, Some(3001))];
        let config = Config { node_port_addresses: addresses, ..config() };
        let changes = [Change::Service(object), slice("web", 80, &["10.180.0.1@there R"])];
        let world = world_with(config, changes);
        let delivered = "DELIVER 10.180.0.1:80+masquerade";
        check(
            &world,
            &[
                (CLIENT, NODE, 3001, delivered),
                (NODE, NODE, 3001, delivered),
                (CLIENT, ALT_NODE, 3001, if second { delivered } else { "PASS" }),
                ("127.0.0.1", "127.0.0.1", 3001, "PASS"),
                (CLIENT, "192.168.7.7", 3001, "PASS"),
            ],
        );
    }
}

#[test]
fn affinity_without_a_past_reaches_every_endpoint() {
    let mut object = service("web", VIP);
    object.affinity = Affinity::ClientIP { timeout_seconds: 60 };
    let many: Vec<String> = (1..=20).map(|number| format!("10.180.3.{number}@there R")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let world = world([Change::Service(object), slice("web", 80, &many)]);
    let Verdict::Deliver(backends) = follow(&world, POD, VIP, 80).verdict else { panic!() };
    assert_eq!(backends.len(), 20);
    assert!(backends.values().all(|masqueraded| !masqueraded));
}

/// A slice may name a cluster IP: translated once, the packet leads nowhere and is told so.
#[test]
fn a_cluster_ip_is_nobodys_endpoint() {
    let world = world([
        Change::Service(service("web", VIP)),
        slice("web", 80, &["172.30.0.42@there R"]),
        Change::Service(service("other", "172.30.0.42")),
        slice("other", 80, &["10.180.0.1@there R"]),
    ]);
    check(&world, &[(POD, VIP, 80, "REJECT"), (NODE, VIP, 80, "REJECT")]);
}

#[test]
fn families_do_not_mix_and_no_rules_let_everything_pass() {
    let world = world([Change::Service(service("web", VIP)), slice("web", 80, &[])]);
    let mixed = packet(&world, NODE_V6, VIP, 80);
    let host = world.cluster.host();
    let nothing = Trace { verdict: Verdict::Pass, steps: vec![] };
    assert_eq!(trace_nftables(&rules(&world), host, &mixed).unwrap(), nothing);
    let empty = Ruleset {
        parts: Default::default(),
        policy: Default::default(),
        options: Options::default(),
    };
    for from in [POD, NODE, CLIENT] {
        let packet = packet(&world, from, VIP, 80);
        assert_eq!(trace_nftables(&empty, host, &packet).unwrap(), nothing);
    }
}

/// Rules of a test's own in place of what `services`, or another chain, holds for `ns/web`.
struct Made {
    world: World,
    ruleset: Ruleset,
}

impl Made {
    fn new() -> Self {
        let both = ["10.180.0.1@here R", "10.180.1.1@there R"];
        let world = world([Change::Service(service("web", VIP)), slice("web", 80, &both)]);
        let ruleset = rules(&world);
        Self { world, ruleset }
    }

    fn part(&mut self, owner: &Owner) -> &mut Part {
        self.ruleset.parts.get_mut(owner).unwrap()
    }

    /// Puts a rule at the head of a chain of the node's.
    fn head(mut self, chain: &str, rule: Rule) -> Self {
        let id = ChainId { family: Family::V4, name: chain.into() };
        self.part(&Owner::Node).chains.get_mut(&id).unwrap().rules.insert(0, rule);
        self
    }

    fn add(mut self, chain: &str, base: Option<Base>, rule: Rule) -> Self {
        let id = ChainId { family: Family::V4, name: chain.into() };
        self.part(&Owner::Node).chains.insert(id, Chain { base, rules: vec![rule] });
        self
    }

    fn element(mut self, set: SetName, key: Vec<Value>, data: Data) -> Self {
        let id = ElementId { family: Family::V4, set, key };
        self.part(&Owner::Node).elements.insert(id, Content { data, comment: None });
        self
    }

    fn from(&self, source: &str) -> Result<Trace, TraceError> {
        let packet = packet(&self.world, source, VIP, 80);
        trace_nftables(&self.ruleset, self.world.cluster.host(), &packet)
    }
}

fn to(verdict: nftables::Verdict) -> Statement {
    Statement::Verdict(verdict)
}

fn jump(chain: &str) -> Rule {
    vec![to(nftables::Verdict::Jump(chain.into()))]
}

fn dnat(modulus: u32) -> Rule {
    let key = [Place::Address.key(), vec![Field::RandomIndex { modulus }]].concat();
    vec![Statement::Dnat { key, map: SetName::Endpoints(Place::Address, plan::PoolName::Cluster) }]
}

#[test]
fn defects_of_rules_are_errors() {
    let missing = Made::new().head("services", jump("nowhere")).from(POD).unwrap_err();
    assert!(missing.to_string().contains("nowhere"), "{missing}");
    let base = Made::new().head("services", jump("nat-output")).from(POD).unwrap_err();
    assert!(matches!(base, TraceError::MissingChain { .. }), "{base}");
    let looped = Made::new().head("services", jump("services")).from(POD).unwrap_err();
    assert!(matches!(looped, TraceError::TooDeep { .. }), "{looped}");
    // An index without an element leaves the packet to the rules after.
    let chain = "lb-2-masquerade-unless-pod";
    let mut half = Made::new();
    let web = Owner::Service(NamespacedName::new("ns", "web"));
    let id = ChainId { family: Family::V4, name: chain.into() };
    half.part(&web).chains.get_mut(&id).unwrap().rules = vec![dnat(3)];
    let error = half.from(POD).unwrap_err();
    assert_eq!(error, TraceError::Divided { fates: "delivered, rejected".into() });
    let masquerade = Statement::Masquerade { first: 1024, last: 65_535 };
    let marked = Made::new()
        .head("nat-postrouting", vec![masquerade.clone()])
        .head("services", vec![to(nftables::Verdict::Goto("out".into()))])
        .add("out", None, vec![Statement::CtState(nftables::CtState::Invalid)])
        .head("filter-forward", vec![Statement::Protocol(Protocol::Udp)]);
    // It still carries the cluster IP, so forward refuses it before it could be masqueraded.
    assert_eq!(marked.from(POD).unwrap().verdict, Verdict::Reject);
    let mut open = marked;
    let cluster_ip = Owner::Service(NamespacedName::new("ns", "web"));
    open.part(&cluster_ip).elements.retain(|id, _| id.set != SetName::ClusterIps);
    open.part(&Owner::Node).elements.retain(|id, _| id.set != SetName::ServiceCidrs);
    assert_eq!(open.from(POD).unwrap_err(), TraceError::MasqueradedPass);
}

#[test]
fn rules_that_the_kernel_would_refuse_are_errors() {
    let masquerade = || Statement::Masquerade { first: 1024, last: 65_535 };
    let source =
        |block: &str| Statement::Address { end: End::Source, inverted: true, block: cidr(block) };
    let reject = || to(nftables::Verdict::Reject);
    let dispatch = SetName::Dispatch(Place::Address, nftables::Clients::All);
    let address = Place::Address.key();
    let affinity = || SetName::Affinity.declaration(1).key;
    let wrong: Vec<(&str, Rule, &str)> = vec![
        ("services", vec![masquerade()], "sources are translated"),
        ("filter-forward", dnat(2), "destinations are translated"),
        ("nat-postrouting", dnat(2), "destinations are translated"),
        ("nat-postrouting", vec![reject()], "nothing can be refused"),
        ("services", vec![reject(), reject()], "nothing can follow"),
        ("services", vec![source("fd00::/8")], "other family"),
        ("services", dnat(0), "below zero"),
        (
            "nat-postrouting",
            vec![Statement::InInterface { inverted: true, name: "eth0".into() }],
            "where it leaves",
        ),
        (
            "services",
            vec![Statement::Dispatch { key: Place::NodePort.key(), map: dispatch.clone() }],
            "other keys",
        ),
        (
            "services",
            vec![Statement::In { key: address.clone(), inverted: false, set: dispatch }],
            "something else",
        ),
        (
            "services",
            vec![Statement::Remember { key: address, map: SetName::Guarded, seconds: 1 }],
            "something else",
        ),
        (
            "services",
            vec![Statement::Dispatch { key: affinity(), map: SetName::Affinity }],
            "something else",
        ),
        (
            "services",
            vec![Statement::Forget {
                key: [Place::Address.key(), vec![Field::EndpointId]].concat(),
                map: SetName::StickyEndpoints(Place::Address, plan::PoolName::Cluster),
            }],
            "something else",
        ),
    ];
    for (chain, rule, why) in wrong {
        let error = Made::new().head(chain, rule.clone()).from(POD).unwrap_err();
        assert!(matches!(error, TraceError::Shape { .. }), "{rule:?}: {error}");
        assert!(error.to_string().contains(why), "{rule:?}: {error}");
    }
}

#[test]
fn elements_that_hold_the_wrong_thing_are_errors() {
    let key = || vec![Value::Address(ip(VIP)), Value::Protocol(Protocol::Tcp), Value::Port(80)];
    let outside = SetName::Dispatch(Place::Address, nftables::Clients::Outside);
    for (data, why) in [
        (Data::Verdict(nftables::Verdict::Reject), "cannot reject"),
        (Data::Nothing, "holds no verdict"),
    ] {
        let made = Made::new().element(outside.clone(), key(), data);
        let error = made.from(CLIENT).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(made.from(POD).is_ok(), "a Pod is not asked there");
    }
    let mut slot = key();
    slot.push(Value::Index(0));
    let six = vec![Value::Address(ip("fd00:10::1")), Value::Port(80)];
    let endpoints = SetName::Endpoints(Place::Address, plan::PoolName::Cluster);
    let mut made = Made::new();
    let web = Owner::Service(NamespacedName::new("ns", "web"));
    made.part(&web).elements.remove(&ElementId {
        family: Family::V4,
        set: endpoints.clone(),
        key: slot.clone(),
    });
    let error = made.element(endpoints, slot, Data::Values(six)).from(POD).unwrap_err();
    assert!(error.to_string().contains("of this family"), "{error}");
}

/// `goto` does not come back, `jump` does, and what a rule did before it ended stays done.
#[test]
fn verdicts_lead_as_the_kernel_has_it() {
    let drop = || to(nftables::Verdict::Drop);
    let nothing = || vec![Statement::CtState(nftables::CtState::Invalid), drop()];
    let there = |how: nftables::Verdict| {
        Made::new()
            .head("services", vec![drop()])
            .head("services", vec![to(how)])
            .add("there", None, nothing())
            .from(POD)
            .unwrap()
            .verdict
    };
    assert_eq!(there(nftables::Verdict::Jump("there".into())), Verdict::Drop);
    assert_eq!(there(nftables::Verdict::Goto("there".into())), Verdict::Reject);
    let stays = Made::new().head("services", vec![Statement::CtMark(0x8000), drop()]).head(
        "services",
        vec![Statement::AddCtMark(0x8000), Statement::CtState(nftables::CtState::Invalid)],
    );
    assert_eq!(stays.from(POD).unwrap().verdict, Verdict::Drop);
}

/// The chain with the lower number comes first, and a second nat chain is not asked about what the
/// first translated.
#[test]
fn base_chains_are_walked_by_priority() {
    let base = |chain_type, priority| Base { chain_type, hook: Hook::Prerouting, priority };
    let made =
        Made::new().add("late", Some(base(ChainType::Nat, -90)), vec![to(nftables::Verdict::Drop)]);
    assert!(matches!(made.from(POD).unwrap().verdict, Verdict::Deliver(_)));
    let early = Made::new().add(
        "early",
        Some(base(ChainType::Nat, -101)),
        vec![to(nftables::Verdict::Drop)],
    );
    assert_eq!(early.from(POD).unwrap().verdict, Verdict::Drop);
    let filtered = Made::new().add(
        "after",
        Some(base(ChainType::Filter, -90)),
        vec![Statement::Translated, to(nftables::Verdict::Drop)],
    );
    assert_eq!(filtered.from(POD).unwrap().verdict, Verdict::Drop);
    let hooks: BTreeSet<_> = filtered
        .ruleset
        .merged()
        .chains
        .values()
        .filter_map(|one| one.base)
        .map(|b| b.hook)
        .collect();
    assert_eq!(hooks.len(), 5, "every hook has a chain: {hooks:?} {}", names::TABLE);
}

/// What the node sends to itself meets the source ranges twice, and is translated once.
#[test]
fn loopback_comes_back_through_prerouting() {
    let world = world([Change::Service(service("web", VIP)), slice("web", 80, &[])]);
    let chains: Vec<String> =
        follow(&world, NODE, NODE, 22).steps.iter().map(|step| step.chain.to_string()).collect();
    assert_eq!(
        chains,
        [
            names::SOURCE_RANGES_OUTPUT,
            names::NAT_OUTPUT,
            names::FILTER_OUTPUT,
            names::SOURCE_RANGES_PREROUTING
        ]
    );
    let then: Vec<Then> =
        follow(&world, NODE, VIP, 80).steps.into_iter().map(|step| step.then).collect();
    assert_eq!(then.last(), Some(&Then::Reject));
}
