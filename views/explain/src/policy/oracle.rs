//! The answer from the objects themselves, in the plainest words: every question goes through all
//! objects. It must not know how the plan answers.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use model::{
    Cluster, ClusterNetworkPolicy, Direction, Family, NetworkPolicy, Peer, Peers, Pod,
    PodSelection, PolicyAction, PolicyName, PolicyPort, PolicyRule, Ports, Protocol, Tier,
};
use plan::PolicyOptions;
use serde::Serialize;

use super::{DNS, NEIGHBOUR_DISCOVERY, Path, PolicyPacket, Traffic, Why};

/// The first condition of a rule that a packet did not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Failed {
    /// The rule could not be read, so it matches nothing.
    Closed,
    /// The other side is none of its peers.
    Peers,
    /// The traffic is none of its ports.
    Ports,
}

/// A rule that might have decided and did not match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missed {
    /// The policy that it stands in.
    pub policy: PolicyName,
    /// Its place in the list of its direction, from 0.
    pub index: usize,
    /// What it would have done.
    pub action: PolicyAction,
    /// Why it did not match.
    pub failed: Failed,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = match self.failed {
            Failed::Closed => "it could not be read",
            Failed::Peers => "the other side is none of its peers",
            Failed::Ports => "the traffic is none of its ports",
        };
        write!(f, "{}, rule {} ({}): {failed}", self.policy, self.index + 1, self.action)
    }
}

/// The answer in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What decided.
    pub why: Why,
    /// The rules that were asked before and did not match, in order.
    pub missed: Vec<Missed>,
}

impl From<Why> for Finding {
    fn from(why: Why) -> Self {
        Self { why, missed: Vec::new() }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// By the policies of the source.
    pub egress: Finding,
    /// By the policies of the destination.
    pub ingress: Finding,
}

impl Judgement {
    /// Whether both sides let the packet through.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.egress.why.passes() && self.ingress.why.passes()
    }
}

/// Judges a packet by the policies of a cluster: those of the Pods of one node, as that node
/// enforces them, or of all Pods where `node` is `None`.
#[must_use]
pub fn judge(
    cluster: &Cluster,
    options: &PolicyOptions,
    node: Option<&str>,
    packet: &PolicyPacket,
) -> Judgement {
    let both = |why: Why| Judgement { egress: why.clone().into(), ingress: why.into() };
    if packet.established {
        return both(Why::Established);
    }
    if let Traffic::Icmp { kind } = packet.traffic
        && Family::of(packet.source) == Family::V6
        && NEIGHBOUR_DISCOVERY.contains(&kind)
    {
        return both(Why::NeighbourDiscovery);
    }
    if packet.source == packet.destination {
        return both(Why::Itself);
    }
    if packet.path == Path::FromNode {
        return both(Why::FromNode);
    }
    let court = Court { cluster, options, node, packet };
    let asks_dns = matches!(
        packet.traffic,
        Traffic::Port { protocol: Protocol::Tcp | Protocol::Udp, port: DNS }
    );
    let egress = if asks_dns && options.dns_listeners.contains(&packet.destination) {
        Why::Dns.into()
    } else {
        court.direction(Direction::Egress)
    };
    let ingress = match packet.path {
        Path::ToNode => Why::ToNode.into(),
        _ => court.direction(Direction::Ingress),
    };
    Judgement { egress, ingress }
}

struct Court<'a> {
    cluster: &'a Cluster,
    options: &'a PolicyOptions,
    node: Option<&'a str>,
    packet: &'a PolicyPacket,
}

impl Court<'_> {
    /// The Pod that has an address.
    fn pod(&self, address: IpAddr) -> Option<&Arc<Pod>> {
        let all = self.cluster.pods().values();
        let claiming = all.filter(|pod| pod.counts() && pod.ips.contains(&address));
        claiming.max_by(|a, b| a.claim(b))
    }

    fn selects(&self, selection: &PodSelection, pod: &Pod) -> bool {
        let namespace = &pod.name.namespace;
        selection.matches(namespace, &self.cluster.namespace_labels(namespace), &pod.labels)
    }

    fn direction(&self, direction: Direction) -> Finding {
        let address = match direction {
            Direction::Egress => self.packet.source,
            Direction::Ingress => self.packet.destination,
        };
        let pod = self.pod(address);
        let judged = pod.filter(|pod| self.node.is_none() || pod.node.as_deref() == self.node);
        match judged {
            Some(pod) => self.tiers(pod, direction),
            None if self.is_held(address, direction) => Why::Held.into(),
            None => Why::NoPod.into(),
        }
    }

    fn is_held(&self, address: IpAddr, direction: Direction) -> bool {
        let own = self.node.and_then(|name| self.cluster.node(name));
        let in_block =
            own.is_some_and(|node| node.pod_cidrs.iter().any(|it| it.contains(&address)));
        let of_host = self.cluster.host().addresses.iter().any(|own| own.address == address);
        let isolates = |policy: &Arc<NetworkPolicy>| policy.rules(direction).is_some();
        let denies = |policy: &Arc<ClusterNetworkPolicy>| {
            let rules = policy.rules(direction).iter();
            rules.map(|rule| self.meant(rule)).any(|rule| rule.action == PolicyAction::Deny)
        };
        let wanted = self.options.hold_unknown_seconds.is_some();
        let denied = self.cluster.network_policies().values().any(isolates)
            || self.cluster.cluster_network_policies().values().any(denies);
        wanted && in_block && !of_host && denied
    }

    fn tiers(&self, pod: &Pod, direction: Direction) -> Finding {
        let mut missed = Vec::new();
        let tier = |tier, missed: &mut Vec<Missed>| self.tier(tier, pod, direction, missed);
        let why = tier(Tier::Admin, &mut missed)
            .or_else(|| self.network_policies(pod, direction, &mut missed))
            .or_else(|| tier(Tier::Baseline, &mut missed))
            .unwrap_or(Why::NoPolicy);
        Finding { why, missed }
    }

    /// The ClusterNetworkPolicies of a tier, by priority, then by name; the first rule that matches
    /// decides, unless it passes.
    fn tier(
        &self,
        tier: Tier,
        pod: &Pod,
        direction: Direction,
        missed: &mut Vec<Missed>,
    ) -> Option<Why> {
        let all = self.cluster.cluster_network_policies().values();
        let mut policies: Vec<_> = all
            .filter(|policy| policy.tier == tier && self.selects(&policy.subject, pod))
            .collect();
        policies.sort_by_key(|policy| (policy.priority, policy.name.clone()));
        for policy in policies {
            let name = PolicyName::Cluster(policy.name.clone());
            let found = self.first(&name, policy.rules(direction), direction, missed);
            if let Some(why) = found {
                let passed = matches!(why, Why::Rule { action: PolicyAction::Pass, .. });
                return (!passed).then_some(why);
            }
        }
        None
    }

    /// The NetworkPolicies that isolate a Pod; they always decide, if there is one.
    fn network_policies(
        &self,
        pod: &Pod,
        direction: Direction,
        missed: &mut Vec<Missed>,
    ) -> Option<Why> {
        let all = self.cluster.network_policies().values();
        let isolating = all.filter(|policy| {
            policy.name.namespace == pod.name.namespace && policy.pods.matches(&pod.labels)
        });
        let mut by = Vec::new();
        for policy in isolating {
            let Some(rules) = policy.rules(direction) else { continue };
            let name = PolicyName::Network(policy.name.clone());
            if let Some(why) = self.first(&name, rules, direction, missed) {
                return Some(why);
            }
            by.push(name);
        }
        (!by.is_empty()).then_some(Why::Isolated { by })
    }

    fn first(
        &self,
        policy: &PolicyName,
        rules: &[PolicyRule],
        direction: Direction,
        missed: &mut Vec<Missed>,
    ) -> Option<Why> {
        for (index, rule) in rules.iter().enumerate() {
            let (policy, rule) = (policy.clone(), self.meant(rule));
            let (name, action) = (rule.name.clone(), rule.action);
            match self.failed(&rule, direction) {
                None => return Some(Why::Rule { policy, index, name, action }),
                Some(failed) => missed.push(Missed { policy, index, action, failed }),
            }
        }
        None
    }

    /// What a rule comes to: one that names Nodes is closed where not all Nodes are known.
    fn meant(&self, rule: &PolicyRule) -> PolicyRule {
        match &rule.peers {
            Peers::AnyOf(peers) if !self.options.all_nodes => {
                match peers.iter().any(|peer| matches!(peer, Peer::Nodes(_))) {
                    true => PolicyRule::closed(rule.name.clone(), rule.action),
                    false => rule.clone(),
                }
            }
            _ => rule.clone(),
        }
    }

    fn failed(&self, rule: &PolicyRule, direction: Direction) -> Option<Failed> {
        let other = match direction {
            Direction::Egress => self.packet.destination,
            Direction::Ingress => self.packet.source,
        };
        let is_peer = match &rule.peers {
            Peers::Anybody => true,
            Peers::AnyOf(peers) => peers.iter().any(|peer| self.is_peer(peer, other)),
        };
        let is_port = match &rule.ports {
            Ports::Any => true,
            Ports::AnyOf(ports) => ports.iter().any(|port| self.is_port(port)),
        };
        match (is_peer, is_port) {
            (true, true) => None,
            (false, _) if rule.closed => Some(Failed::Closed),
            (false, _) => Some(Failed::Peers),
            (true, false) => Some(Failed::Ports),
        }
    }

    fn is_peer(&self, peer: &Peer, address: IpAddr) -> bool {
        match peer {
            Peer::Pods(selection) => {
                self.pod(address).is_some_and(|pod| self.selects(selection, pod))
            }
            Peer::Block(block) => {
                block.cidr.contains(&address)
                    && !block.except.iter().any(|except| except.contains(&address))
            }
            Peer::Nodes(selector) => self.cluster.nodes().any(|node| {
                let has =
                    node.internal_ips.contains(&address) || node.external_ips.contains(&address);
                has && selector.matches(&node.labels)
            }),
        }
    }

    fn is_port(&self, wanted: &PolicyPort) -> bool {
        let Traffic::Port { protocol, port } = self.packet.traffic else { return false };
        match wanted {
            PolicyPort::Range { protocol: wanted, first, last } => {
                *wanted == protocol && (*first..=*last).contains(&port)
            }
            PolicyPort::Named { name, protocol: wanted } => {
                let Some(pod) = self.pod(self.packet.destination) else { return false };
                pod.ports.iter().any(|declared| {
                    declared.name == *name
                        && wanted.is_none_or(|wanted| wanted == declared.protocol)
                        && declared.protocol == protocol
                        && declared.port == port
                })
            }
        }
    }
}
