//! From a policy to rules that name sets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{
    ClusterNetworkPolicy, Direction, NetworkPolicy, Notice, ObjectRef, Peer, Peers, PodSelection,
    PolicyAction, PolicyName, PolicyPort, PolicyRule, Ports, Protocol, Reason, Tier,
};

use super::intent::{ClassRule, NamedPortsKey, PeerMatch, PortMatch, RuleMatch, SetKey};
use super::ranges::{self, PortRange};
use crate::config::PolicyOptions;

/// A policy, ready to become part of classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Compiled {
    /// The tier and the priority of a ClusterNetworkPolicy; `None` for a NetworkPolicy.
    pub(super) tier: Option<(Tier, u16)>,
    pub(super) subject: Arc<PodSelection>,
    /// `None` where the policy has no say in the direction.
    ingress: Option<Vec<Arc<ClassRule>>>,
    egress: Option<Vec<Arc<ClassRule>>>,
    pub(super) notices: Vec<Notice>,
}

impl Compiled {
    pub(super) fn rules(&self, direction: Direction) -> Option<&Vec<Arc<ClassRule>>> {
        match direction {
            Direction::Ingress => self.ingress.as_ref(),
            Direction::Egress => self.egress.as_ref(),
        }
    }

    /// Whether something could be denied by the policy in a direction.
    pub(super) fn may_deny(&self, direction: Direction) -> bool {
        let Some(rules) = self.rules(direction) else { return false };
        self.tier.is_none() || rules.iter().any(|rule| rule.action == PolicyAction::Deny)
    }
}

pub(super) fn network(policy: &NetworkPolicy, options: &PolicyOptions) -> Compiled {
    let mut compiler = Compiler {
        policy: PolicyName::Network(policy.name.clone()),
        subject: Arc::new(policy.subject()),
        options,
        notices: Vec::new(),
    };
    let mut rules =
        |direction| policy.rules(direction).map(|rules| compiler.rules(rules, direction));
    let (ingress, egress) = (rules(Direction::Ingress), rules(Direction::Egress));
    let Compiler { subject, notices, .. } = compiler;
    Compiled { tier: None, subject, ingress, egress, notices }
}

pub(super) fn cluster(policy: &ClusterNetworkPolicy, options: &PolicyOptions) -> Compiled {
    let mut compiler = Compiler {
        policy: PolicyName::Cluster(policy.name.clone()),
        subject: Arc::new(policy.subject.clone()),
        options,
        notices: Vec::new(),
    };
    let mut rules = |direction| {
        let rules = policy.rules(direction);
        (!rules.is_empty()).then(|| compiler.rules(rules, direction))
    };
    let (ingress, egress) = (rules(Direction::Ingress), rules(Direction::Egress));
    let Compiler { subject, notices, .. } = compiler;
    Compiled { tier: Some((policy.tier, policy.priority)), subject, ingress, egress, notices }
}

struct Compiler<'o> {
    policy: PolicyName,
    subject: Arc<PodSelection>,
    options: &'o PolicyOptions,
    notices: Vec<Notice>,
}

impl Compiler<'_> {
    fn rules(&mut self, rules: &[PolicyRule], direction: Direction) -> Vec<Arc<ClassRule>> {
        let numbered = rules.iter().enumerate();
        numbered.map(|(index, rule)| Arc::new(self.rule(index, rule, direction))).collect()
    }

    fn rule(&mut self, index: usize, rule: &PolicyRule, direction: Direction) -> ClassRule {
        let of_nodes = |peer: &Peer| matches!(peer, Peer::Nodes(_));
        let unresolved = !self.options.all_nodes
            && matches!(&rule.peers, Peers::AnyOf(peers) if peers.iter().any(of_nodes));
        let closed;
        let rule = if unresolved {
            self.notices.push(Notice {
                object: match &self.policy {
                    PolicyName::Cluster(name) => ObjectRef::new("ClusterNetworkPolicy", name),
                    PolicyName::Network(name) => ObjectRef::new("NetworkPolicy", name),
                },
                reason: Reason::Unsupported,
                message: format!(
                    "spec.{direction}[{index}] names nodes, which are not all known here; its rule \
                     accepts nothing, or denies everything"
                ),
            });
            closed = PolicyRule::closed(rule.name.clone(), rule.action);
            &closed
        } else {
            rule
        };
        ClassRule {
            policy: self.policy.clone(),
            index,
            name: rule.name.clone(),
            action: rule.action,
            matches: self.matches(rule, direction),
        }
    }

    fn matches(&self, rule: &PolicyRule, direction: Direction) -> Vec<RuleMatch> {
        let mut matches = Vec::new();
        for peer in peers(&rule.peers) {
            let named = match (&peer, direction) {
                (_, Direction::Ingress) => self.subject.clone(),
                (PeerMatch::Set(SetKey::Pods(pods)), Direction::Egress) => pods.clone(),
                (_, Direction::Egress) => Arc::new(PodSelection::everything()),
            };
            let ports = ports(&rule.ports, &named);
            matches.push(RuleMatch { peer, ports });
        }
        matches
    }
}

/// The peers of a rule: every selection once, then all blocks together.
fn peers(peers: &Peers) -> Vec<PeerMatch> {
    let list = match peers {
        Peers::Anybody => return vec![PeerMatch::Anybody],
        Peers::AnyOf(list) => list,
    };
    let keys: BTreeSet<SetKey> = list
        .iter()
        .filter_map(|peer| match peer {
            Peer::Pods(selection) => Some(SetKey::Pods(Arc::new(selection.clone()))),
            Peer::Nodes(selector) => Some(SetKey::Nodes(selector.clone())),
            Peer::Block(_) => None,
        })
        .collect();
    let blocks = ranges::union(list.iter().filter_map(|peer| match peer {
        Peer::Block(block) => Some(block),
        Peer::Pods(_) | Peer::Nodes(_) => None,
    }));
    let blocks = (!blocks.is_empty()).then_some(PeerMatch::Ranges(blocks));
    keys.into_iter().map(PeerMatch::Set).chain(blocks).collect()
}

fn ports(ports: &Ports, pods: &Arc<PodSelection>) -> PortMatch {
    let list = match ports {
        Ports::Any => return PortMatch::Any,
        Ports::AnyOf(list) => list,
    };
    let mut found: BTreeMap<Protocol, Vec<PortRange>> = BTreeMap::new();
    let mut named = BTreeSet::new();
    for port in list {
        match port {
            PolicyPort::Range { protocol, first, last } => {
                found.entry(*protocol).or_default().push(PortRange { first: *first, last: *last });
            }
            PolicyPort::Named { name, protocol } => {
                let (pods, name) = (pods.clone(), name.clone());
                named.insert(NamedPortsKey { pods, name, protocol: *protocol });
            }
        }
    }
    let merged = found.into_iter().map(|(protocol, found)| (protocol, ranges::ports(found)));
    PortMatch::AnyOf { ranges: merged.collect(), named: named.into_iter().collect() }
}
