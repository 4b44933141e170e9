//! The answer from the plan: what a dataplane must do, step by step.

use std::net::IpAddr;
use std::sync::Arc;

use model::{Direction, Family, PolicyAction, PolicyName, Protocol};
use plan::policy::{ClassKey, ClassRule, PeerMatch, PodPort, PolicyClass, PolicyIntent, PortMatch};
use serde::Serialize;

use super::{DNS, NEIGHBOUR_DISCOVERY, Path, PolicyPacket, Traffic, Why};

/// The answer of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ruling {
    /// What decides for the source.
    pub egress: Why,
    /// What decides for the destination; `None` where the packet was dropped before.
    pub ingress: Option<Why>,
}

impl Ruling {
    /// Whether the packet passes.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.ingress.as_ref().is_some_and(Why::passes)
    }
}

/// What a node with this intent does with a packet. Where policies are not enforced, everything
/// passes; a Pod that no policy applies to is told from no Pod by nobody here.
#[must_use]
pub fn evaluate(intent: &PolicyIntent, packet: &PolicyPacket) -> Ruling {
    let pass = |why: Why| Ruling { egress: why.clone(), ingress: Some(why) };
    if packet.established {
        return pass(Why::Established);
    }
    if is_neighbour_discovery(packet) {
        return pass(Why::NeighbourDiscovery);
    }
    if packet.source == packet.destination {
        return pass(Why::Itself);
    }
    if packet.path == Path::FromNode {
        return pass(Why::FromNode);
    }
    let egress = if is_dns(intent, packet) {
        Why::Dns
    } else {
        direction(intent, packet, Direction::Egress)
    };
    if !egress.passes() {
        return Ruling { egress, ingress: None };
    }
    let ingress = match packet.path {
        Path::ToNode => Why::ToNode,
        _ => direction(intent, packet, Direction::Ingress),
    };
    Ruling { egress, ingress: Some(ingress) }
}

fn is_neighbour_discovery(packet: &PolicyPacket) -> bool {
    match packet.traffic {
        Traffic::Icmp { kind } => {
            Family::of(packet.destination) == Family::V6 && NEIGHBOUR_DISCOVERY.contains(&kind)
        }
        _ => false,
    }
}

fn is_dns(intent: &PolicyIntent, packet: &PolicyPacket) -> bool {
    let Traffic::Port { protocol, port } = packet.traffic else { return false };
    port == DNS && protocol != Protocol::Sctp && intent.dns_listeners.contains(&packet.destination)
}

fn direction(intent: &PolicyIntent, packet: &PolicyPacket, direction: Direction) -> Why {
    let (own, other) = match direction {
        Direction::Egress => (packet.source, packet.destination),
        Direction::Ingress => (packet.destination, packet.source),
    };
    let subject = intent.subjects.get(&own);
    let key = subject.and_then(|subject| subject.class(direction));
    let class = key.and_then(|key| Some((key, intent.classes.get(key)?)));
    match class {
        Some((key, class)) => by_class(intent, key, class, packet, other),
        None if intent.held.as_ref().is_some_and(|held| held.holds(own, direction)) => Why::Held,
        None => Why::NoPolicy,
    }
}

fn by_class(
    intent: &PolicyIntent,
    key: &ClassKey,
    class: &PolicyClass,
    packet: &PolicyPacket,
    other: IpAddr,
) -> Why {
    let first = |rules: &[Arc<ClassRule>]| {
        rules.iter().find(|rule| matches(intent, rule, packet, other)).cloned()
    };
    let decided = |rule: Option<Arc<ClassRule>>| {
        rule.filter(|rule| rule.action != PolicyAction::Pass).map(|rule| Why::Rule {
            policy: rule.policy.clone(),
            index: rule.index,
            name: rule.name.clone(),
            action: rule.action,
        })
    };
    if let Some(why) = decided(first(&class.admin)) {
        return why;
    }
    if let Some(rules) = &class.network {
        return decided(first(rules)).unwrap_or_else(|| {
            let isolating = key.policies.iter().filter(|it| matches!(it, PolicyName::Network(_)));
            Why::Isolated { by: isolating.cloned().collect() }
        });
    }
    decided(first(&class.baseline)).unwrap_or(Why::NoPolicy)
}

fn matches(intent: &PolicyIntent, rule: &ClassRule, packet: &PolicyPacket, other: IpAddr) -> bool {
    rule.matches.iter().any(|way| {
        let peer = match &way.peer {
            PeerMatch::Anybody => true,
            PeerMatch::Set(key) => intent.sets.get(key).is_some_and(|set| set.contains(&other)),
            PeerMatch::Ranges(ranges) => ranges.iter().any(|range| range.contains(other)),
        };
        peer && ports_match(intent, &way.ports, packet)
    })
}

fn ports_match(intent: &PolicyIntent, ports: &PortMatch, packet: &PolicyPacket) -> bool {
    let (ranges, named) = match ports {
        PortMatch::Any => return true,
        PortMatch::AnyOf { ranges, named } => (ranges, named),
    };
    let Traffic::Port { protocol, port } = packet.traffic else { return false };
    let mut numbers = ranges.get(&protocol).into_iter().flatten();
    let element = PodPort { address: packet.destination, protocol, port };
    let mut named = named.iter().filter_map(|key| intent.named_ports.get(key));
    numbers.any(|range| (range.first..=range.last).contains(&port))
        || named.any(|set| set.contains(&element))
}
