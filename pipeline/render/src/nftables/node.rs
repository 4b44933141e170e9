//! The node's share: the chains that are always there.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{Ipv4Net, Ipv6Net};
use model::{Cidr, Family, Protocol};
use plan::{LocalTraffic, NodeIntent, NodePortAccept};

use super::set::client_and_frontend;
use super::{
    Base, Chain, ChainId, ChainType, Clients, Content, CtState, Data, ElementId, End, Field, Hook,
    Options, Part, Place, Rule, SetName, Statement, Value, Verdict, names,
};

const LOOPBACK_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
const LOOPBACK_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128);

/// Before any translation of destinations, so that the ranges are held against the address that the
/// client asked for.
const BEFORE_DNAT: i32 = -110;
const DNAT: i32 = -100;
const FILTER: i32 = 0;
const SNAT: i32 = 100;

/// What the node as a whole asks for: every chain but those that balance or refuse, the addresses
/// that NodePorts answer on, and the blocks of cluster IPs.
///
/// NodePorts never answer on loopback in this mode, whatever the Intent says: it would take a
/// setting of the kernel that opens loopback to the node's neighbours (CVE-2020-8558).
#[must_use]
pub fn node(node: &NodeIntent, options: &Options) -> Part {
    let mut part = Part::default();
    for family in Family::ALL {
        let chains = [
            source_ranges(),
            translation(family, node),
            stray(family, node),
            masquerading(options),
        ];
        for (name, chain) in chains.into_iter().flatten() {
            part.chains.insert(ChainId { family, name: Arc::from(name) }, chain);
        }
        mark_unless_pod(&mut part, family, node, options);
        let addresses = match &node.node_ports[family] {
            NodePortAccept::Addresses(addresses) => addresses.iter().collect(),
            NodePortAccept::AnyLocal { .. } => Vec::new(),
        };
        let addresses = addresses.into_iter().filter(|ip| !ip.is_loopback());
        let addresses = addresses.map(|&ip| (SetName::NodeIps, Value::Address(ip)));
        let blocks: Vec<Cidr> = node.service_cidrs[family].iter().copied().collect();
        let blocks = Cidr::aggregate(&blocks).into_iter();
        let blocks = blocks.map(|block| (SetName::ServiceCidrs, Value::Block(block)));
        let nothing = || Content { data: Data::Nothing, comment: None };
        part.elements.extend(
            addresses
                .chain(blocks)
                .map(|(set, value)| (ElementId { family, set, key: vec![value] }, nothing())),
        );
    }
    part
}

type Chains = BTreeMap<&'static str, Chain>;

pub(super) fn base(chain_type: ChainType, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain { base: Some(Base { chain_type, hook, priority }), rules }
}

pub(super) fn plain(rules: Vec<Rule>) -> Chain {
    Chain { base: None, rules }
}

pub(super) fn jump(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Jump(Arc::from(chain)))
}

pub(super) fn goto(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Goto(Arc::from(chain)))
}

fn to(set: SetName) -> Statement {
    Statement::In { key: vec![Field::DestinationAddress], inverted: false, set }
}

/// New connections to a guarded frontend from a source that it does not allow are dropped, the
/// node's own as well.
fn source_ranges() -> Chains {
    let new = || vec![vec![Statement::CtState(CtState::New), jump(names::SOURCE_RANGES)]];
    let hook = |hook| base(ChainType::Filter, hook, BEFORE_DNAT, new());
    let guarded =
        Statement::In { key: Place::Address.key(), inverted: false, set: SetName::Guarded };
    let allowed =
        Statement::In { key: client_and_frontend(), inverted: true, set: SetName::AllowedSources };
    BTreeMap::from([
        (names::SOURCE_RANGES_PREROUTING, hook(Hook::Prerouting)),
        (names::SOURCE_RANGES_OUTPUT, hook(Hook::Output)),
        (
            names::SOURCE_RANGES,
            plain(vec![vec![guarded, allowed, Statement::Verdict(Verdict::Drop)]]),
        ),
    ])
}

/// Finds the frontend: by address before NodePorts, and each time first, for outsiders, among those
/// that treat them otherwise.
fn translation(family: Family, node: &NodeIntent) -> Chains {
    let hook = |hook| base(ChainType::Nat, hook, DNAT, vec![vec![jump(names::SERVICES)]]);
    let outsider = || {
        let mut conditions = not_pod(&node.local_traffic[family]);
        conditions.push(Statement::Local { end: End::Source, inverted: true });
        conditions
    };
    let by = |place: Place, clients| {
        vec![Statement::Dispatch { key: place.key(), map: SetName::Dispatch(place, clients) }]
    };
    let here = || to_node(family, &node.node_ports[family]);
    let services = vec![
        [outsider(), by(Place::Address, Clients::Outside)].concat(),
        by(Place::Address, Clients::All),
        [here(), outsider(), by(Place::NodePort, Clients::Outside)].concat(),
        [here(), by(Place::NodePort, Clients::All)].concat(),
    ];
    BTreeMap::from([
        (names::NAT_PREROUTING, hook(Hook::Prerouting)),
        (names::NAT_OUTPUT, hook(Hook::Output)),
        (names::SERVICES, plain(services)),
    ])
}

/// The conditions under which a packet goes to an address that NodePorts answer on.
fn to_node(family: Family, accept: &NodePortAccept) -> Rule {
    match accept {
        NodePortAccept::Addresses(_) => vec![to(SetName::NodeIps)],
        NodePortAccept::AnyLocal { .. } => vec![
            Statement::Local { end: End::Destination, inverted: false },
            Statement::Address {
                end: End::Destination,
                inverted: true,
                block: match family {
                    Family::V4 => Cidr::V4(LOOPBACK_V4),
                    Family::V6 => Cidr::V6(LOOPBACK_V6),
                },
            },
        ],
    }
}

/// The conditions under which a packet is not a Pod's.
fn not_pod(local: &LocalTraffic) -> Rule {
    by_origin(local, true)
}

/// The condition under which a packet is a Pod's, or (inverted) is not; none where that is unknown.
fn by_origin(local: &LocalTraffic, inverted: bool) -> Rule {
    match local {
        LocalTraffic::Source(block) => {
            vec![Statement::Address { end: End::Source, inverted, block: *block }]
        }
        LocalTraffic::Interface(name) => {
            vec![Statement::InInterface { inverted, name: name.clone() }]
        }
        LocalTraffic::InterfacePrefix(prefix) => {
            vec![Statement::InInterface { inverted, name: format!("{prefix}*").into() }]
        }
        LocalTraffic::Unknown => Vec::new(),
    }
}

fn mark_unless_pod(part: &mut Part, family: Family, node: &NodeIntent, options: &Options) {
    let mut rule = not_pod(&node.local_traffic[family]);
    rule.push(Statement::AddCtMark(options.mark()));
    let name = Arc::from(names::MARK_UNLESS_POD);
    part.chains.insert(ChainId { family, name }, plain(vec![rule]));
}

/// What still carries a cluster IP as its destination here was taken by no frontend. Only new
/// connections are judged: a node-local DNS cache listens on a cluster IP, behind rules that keep
/// its packets from being tracked.
///
/// A packet for this node to an address within the blocks is left alone, for somebody gave the node
/// that address.
fn stray(family: Family, node: &NodeIntent) -> Chains {
    let reject = || vec![to(SetName::ClusterIps), Statement::Verdict(Verdict::Reject)];
    let drop = vec![to(SetName::ServiceCidrs), Statement::Verdict(Verdict::Drop)];
    let hook = |hook, rules| base(ChainType::Filter, hook, FILTER, rules);
    let new = |then: Rule| [vec![Statement::CtState(CtState::New)], then].concat();
    let mut forward = vec![new(vec![jump(names::STRAY)])];
    if node.drop_invalid {
        forward.extend(invalid(&node.local_traffic[family]));
    }
    BTreeMap::from([
        (names::FILTER_INPUT, hook(Hook::Input, vec![new(reject())])),
        (names::FILTER_FORWARD, hook(Hook::Forward, forward)),
        (names::FILTER_OUTPUT, hook(Hook::Output, vec![new(vec![jump(names::STRAY)])])),
        (names::STRAY, plain(vec![reject(), drop])),
    ])
}

/// Segments that connection tracking takes for no connection's keep their source: the answer of an
/// endpoint would reach its client from an address that this never asked, and end the connection
/// (kubernetes#74839). What may be such an answer is dropped: what comes from an endpoint of this node,
/// and from a Pod, as far as Pods can be told. Others may take paths of which this node sees one
/// direction alone, and are none of our business (kubernetes#94861).
fn invalid(local: &LocalTraffic) -> Vec<Rule> {
    let key = vec![Field::SourceAddress, Field::SourceAddress];
    let endpoint = vec![Statement::In { key, inverted: false, set: SetName::Hairpin }];
    let origins =
        [endpoint, by_origin(local, false)].into_iter().filter(|origin| !origin.is_empty());
    let drop = |origin: Rule| {
        let (invalid, drop) = (CtState::Invalid, Verdict::Drop);
        [vec![Statement::CtState(invalid)], origin, vec![Statement::Verdict(drop)]].concat()
    };
    origins.map(drop).collect()
}

/// A backend that is its own client, and what was marked on the way.
fn masquerading(options: &Options) -> Chains {
    let key = vec![Field::SourceAddress, Field::DestinationAddress];
    let itself = Statement::In { key, inverted: false, set: SetName::Hairpin };
    let rules = [itself, Statement::CtMark(options.mark())]
        .map(|condition| vec![Statement::Translated, condition, goto(names::TO_NODE_ADDRESS)]);
    let (first, last) = options.masquerade_ports;
    // A rule for each protocol: nft takes a range of ports only after one.
    let masquerade = Protocol::ALL
        .map(|protocol| vec![Statement::Protocol(protocol), Statement::Masquerade { first, last }]);
    BTreeMap::from([
        (names::NAT_POSTROUTING, base(ChainType::Nat, Hook::Postrouting, SNAT, rules.to_vec())),
        (names::TO_NODE_ADDRESS, plain(masquerade.to_vec())),
    ])
}
