//! What the node itself contributes: the fixed chains, and how packets get into them.

use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use model::Family;
use plan::{NodeIntent, NodePortAccept};

use super::names::{
    INVALID_COUNTER, KUBE_EXTERNAL_SERVICES, KUBE_FIREWALL, KUBE_FORWARD, KUBE_MARK_MASQ,
    KUBE_NODEPORTS, KUBE_POSTROUTING, KUBE_PROXY_FIREWALL, KUBE_SERVICES, SHARED,
};
use super::{ChainId, CtStates, Inverted, Jump, Match, Options, Part, Rule, Table, Target};

/// The node's part: the fixed chains with their static rules, the way to NodePorts that ends
/// `KUBE-SERVICES`, and the jumps from the built-in chains.
#[must_use]
pub fn node(intent: &NodeIntent, options: &Options) -> Part {
    let mut part = Part::default();
    for family in Family::ALL {
        for (table, name) in SHARED {
            part.shared.insert(ChainId::new(family, table, name), Vec::new());
        }
        let services = ChainId::new(family, Table::Nat, KUBE_SERVICES);
        part.shared.insert(services, node_port_rules(&intent.node_ports[family], family));
        let mut chain = |table, name, rules| {
            part.chains.insert(ChainId::new(family, table, name), rules);
        };
        chain(Table::Nat, KUBE_POSTROUTING, postrouting(options));
        chain(Table::Nat, KUBE_MARK_MASQ, mark_masq(options));
        chain(Table::Filter, KUBE_FORWARD, forward(intent.drop_invalid, options));
        let firewall = intent.localhost_node_ports && family == Family::V4;
        if firewall {
            chain(Table::Filter, KUBE_FIREWALL, vec![block_localnet()]);
        }
        part.jumps.extend(jumps(family, firewall));
    }
    part
}

/// The block of IPv4 loopback addresses.
pub(super) fn loopback_block(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8)),
        Family::V6 => IpNet::from(family.loopback()),
    }
}

fn postrouting(options: &Options) -> Vec<Rule> {
    let mark = options.mark();
    vec![
        Rule::to(Target::Return).matching(Match::Mark { inverted: true, value: mark, mask: mark }),
        // The mark has done its work: flipped off, it cannot leak into an encapsulated packet that
        // passes here again.
        Rule::to(Target::Mark { value: mark, mask: 0 }),
        Rule::to(Target::Masquerade { random_fully: options.random_fully })
            .comment("kubernetes service traffic requiring SNAT"),
    ]
}

fn mark_masq(options: &Options) -> Vec<Rule> {
    vec![Rule::to(Target::Mark { value: options.mark(), mask: options.mark() })]
}

fn forward(drop_invalid: bool, options: &Options) -> Vec<Rule> {
    let mut rules = Vec::new();
    if drop_invalid {
        let mut rule =
            Rule::to(Target::Drop).state(CtStates { invalid: true, ..CtStates::default() });
        if options.nfacct {
            rule = rule.matching(Match::Nfacct(INVALID_COUNTER.into()));
        }
        rules.push(rule);
    }
    let mark = options.mark();
    rules.push(
        Rule::to(Target::Accept).comment("kubernetes forwarding rules").matching(Match::Mark {
            inverted: false,
            value: mark,
            mask: mark,
        }),
    );
    rules.push(
        Rule::to(Target::Accept).comment("kubernetes forwarding conntrack rule").state(CtStates {
            related: true,
            established: true,
            ..CtStates::default()
        }),
    );
    rules
}

/// With `route_localnet` on, only packets that a rule translated, or answers to those of this node,
/// may reach loopback addresses from another host (CVE-2020-8558).
fn block_localnet() -> Rule {
    let loopback = loopback_block(Family::V4);
    let states = CtStates { related: true, established: true, dnat: true, ..CtStates::default() };
    Rule {
        source: Some(Inverted::is_not(loopback)),
        destination: Some(Inverted::is(loopback)),
        ..Rule::to(Target::Drop)
    }
    .comment("block incoming localnet connections")
    .matching(Match::CtState { inverted: true, states })
}

fn node_port_rules(accept: &NodePortAccept, family: Family) -> Vec<Rule> {
    let rule = Rule::to(Target::Jump(KUBE_NODEPORTS.into()))
        .comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain");
    match accept {
        NodePortAccept::AnyLocal { loopback } => {
            let mut rule = rule.matching(Match::DestinationLocal);
            if !loopback {
                rule.destination = Some(Inverted::is_not(loopback_block(family)));
            }
            vec![rule]
        }
        NodePortAccept::Addresses(addresses) => addresses
            .iter()
            .map(|&address| Rule {
                destination: Some(Inverted::is(IpNet::from(address))),
                ..rule.clone()
            })
            .collect(),
    }
}

/// The jumps, in the order in which kube-proxy puts each of them first.
fn jumps(family: Family, firewall: bool) -> Vec<Jump> {
    use Table::{Filter, Nat};
    let new = || Some(CtStates { new: true, ..CtStates::default() });
    let external = "kubernetes externally-visible service portals";
    let portals = "kubernetes service portals";
    let balancer = "kubernetes load balancer firewall";
    let jump = |table, from: &str, to: &str, states: Option<CtStates>, comment: Option<&str>| {
        let mut rule = Rule::to(Target::Jump(Arc::from(to)));
        rule = states.into_iter().fold(rule, Rule::state);
        rule = comment.into_iter().fold(rule, Rule::comment);
        Jump { chain: ChainId::new(family, table, from), rule }
    };
    let mut jumps = vec![
        jump(Filter, "INPUT", KUBE_EXTERNAL_SERVICES, new(), Some(external)),
        jump(Filter, "FORWARD", KUBE_EXTERNAL_SERVICES, new(), Some(external)),
        jump(Filter, "INPUT", KUBE_NODEPORTS, None, Some("kubernetes health check service ports")),
        jump(Filter, "FORWARD", KUBE_SERVICES, new(), Some(portals)),
        jump(Filter, "OUTPUT", KUBE_SERVICES, new(), Some(portals)),
        jump(Filter, "FORWARD", KUBE_FORWARD, None, Some("kubernetes forwarding rules")),
        jump(Filter, "INPUT", KUBE_PROXY_FIREWALL, new(), Some(balancer)),
        jump(Filter, "OUTPUT", KUBE_PROXY_FIREWALL, new(), Some(balancer)),
        jump(Filter, "FORWARD", KUBE_PROXY_FIREWALL, new(), Some(balancer)),
        jump(Nat, "OUTPUT", KUBE_SERVICES, None, Some(portals)),
        jump(Nat, "PREROUTING", KUBE_SERVICES, None, Some(portals)),
        jump(Nat, "POSTROUTING", KUBE_POSTROUTING, None, Some("kubernetes postrouting rules")),
    ];
    if firewall {
        jumps.push(jump(Filter, "INPUT", KUBE_FIREWALL, None, None));
        jumps.push(jump(Filter, "OUTPUT", KUBE_FIREWALL, None, None));
    }
    jumps
}
