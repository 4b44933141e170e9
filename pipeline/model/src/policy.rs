//! NetworkPolicies and ClusterNetworkPolicies, normalised: what may be left out in an object is
//! explicit here, and both kinds have rules of one form.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::{Cidr, LabelSelector, Labels, NamespacedName, Protocol};

/// Which side of a Pod's traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Direction {
    /// What comes to the Pod.
    Ingress,
    /// What the Pod sends.
    Egress,
}

impl Direction {
    /// Both, in printing order.
    pub const ALL: [Direction; 2] = [Direction::Ingress, Direction::Egress];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        })
    }
}

/// In which namespaces Pods are selected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Namespaces {
    /// In this one: a `podSelector` alone means the policy's own.
    Named(Arc<str>),
    /// In those whose labels match.
    Selected(LabelSelector),
}

/// A choice of Pods: those whose labels match, in certain namespaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PodSelection {
    /// The namespaces.
    pub namespaces: Namespaces,
    /// The Pods in them.
    pub pods: LabelSelector,
}

impl PodSelection {
    /// Every Pod of every namespace.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            namespaces: Namespaces::Selected(LabelSelector::default()),
            pods: LabelSelector::default(),
        }
    }

    /// Whether a Pod with these labels, in a namespace with that name and those labels, is chosen.
    #[must_use]
    pub fn matches(&self, namespace: &str, of_namespace: &Labels, of_pod: &Labels) -> bool {
        let inside = match &self.namespaces {
            Namespaces::Named(name) => **name == *namespace,
            Namespaces::Selected(selector) => selector.matches(of_namespace),
        };
        inside && self.pods.matches(of_pod)
    }
}

impl fmt::Display for PodSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespaces {
            Namespaces::Named(name) => write!(f, "pods {} of namespace {name}", self.pods),
            Namespaces::Selected(of) => write!(f, "pods {} of namespaces {of}", self.pods),
        }
    }
}

/// An `ipBlock`, or one of `networks`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct IpBlock {
    /// The block.
    pub cidr: Cidr,
    /// Parts of it that do not count. That takes them from this block alone: another peer may hold
    /// them.
    pub except: Vec<Cidr>,
}

impl fmt::Display for IpBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cidr)?;
        if self.except.is_empty() {
            return Ok(());
        }
        let except: Vec<String> = self.except.iter().map(ToString::to_string).collect();
        write!(f, " except {}", except.join(","))
    }
}

/// One entry of `from` or `to`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Peer {
    /// Pods with addresses of their own.
    Pods(PodSelection),
    /// Addresses, whoever has them; Pods too.
    Block(IpBlock),
    /// The addresses of Nodes whose labels match.
    Nodes(LabelSelector),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Pods(selection) => write!(f, "{selection}"),
            Peer::Block(block) => write!(f, "addresses {block}"),
            Peer::Nodes(selector) => write!(f, "nodes {selector}"),
        }
    }
}

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Peers {
    /// Everybody, inside the cluster and outside.
    Anybody,
    /// Whom one of the entries names; nobody where there is none.
    AnyOf(Vec<Peer>),
}

/// One entry of `ports` or `protocols`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum PolicyPort {
    /// Destination ports of a protocol, both ends included; 0 to 65535 is every port.
    Range {
        /// The protocol.
        protocol: Protocol,
        /// The first.
        first: u16,
        /// The last.
        last: u16,
    },
    /// What the destination Pod calls so.
    Named {
        /// The name.
        name: Arc<str>,
        /// The protocol that the Pod must declare with it; `None` is any.
        protocol: Option<Protocol>,
    },
}

impl fmt::Display for PolicyPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicyPort::Range { protocol, first: 0, last: u16::MAX } => write!(f, "{protocol}"),
            PolicyPort::Range { protocol, first, last } if first == last => {
                write!(f, "{protocol} {first}")
            }
            PolicyPort::Range { protocol, first, last } => write!(f, "{protocol} {first}-{last}"),
            PolicyPort::Named { name, protocol: Some(protocol) } => write!(f, "{protocol} {name}"),
            PolicyPort::Named { name, protocol: None } => write!(f, "{name}"),
        }
    }
}

/// Which traffic with a peer a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Ports {
    /// Any port of any protocol, ICMP and unknown ones included.
    Any,
    /// What one of the entries names; nothing where there is none.
    AnyOf(Vec<PolicyPort>),
}

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum PolicyAction {
    /// Lets it through in this direction.
    Accept,
    /// Drops it.
    Deny,
    /// Ends the tier: the next one decides.
    Pass,
}

impl fmt::Display for PolicyAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One rule of one direction. It matches traffic of its ports with its peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyRule {
    /// `name`, which rules of ClusterNetworkPolicies may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// What it does; a rule of a NetworkPolicy always accepts.
    pub action: PolicyAction,
    /// Whom it is about.
    pub peers: Peers,
    /// Which traffic it is about.
    pub ports: Ports,
    /// Whether the object says more, or something else, than could be read. Such a rule is closed:
    /// it accepts nothing, or denies everything.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
}

impl PolicyRule {
    /// What stands in the place of a rule that could not be read, given what it was to do: a rule
    /// that accepts matches nobody, one that denies or passes denies everything.
    #[must_use]
    pub fn closed(name: Option<Arc<str>>, action: PolicyAction) -> Self {
        let (action, peers) = match action {
            PolicyAction::Accept => (PolicyAction::Accept, Peers::AnyOf(Vec::new())),
            PolicyAction::Deny | PolicyAction::Pass => (PolicyAction::Deny, Peers::Anybody),
        };
        Self { name, action, peers, ports: Ports::Any, closed: true }
    }
}

/// A NetworkPolicy (`networking.k8s.io/v1`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetworkPolicy {
    /// Namespace and name.
    pub name: NamespacedName,
    /// `spec.podSelector`: the Pods of its namespace that it isolates.
    pub pods: LabelSelector,
    /// What may come in; `None` where the policy says nothing of ingress, an empty list where
    /// nothing may.
    pub ingress: Option<Vec<PolicyRule>>,
    /// What may go out, likewise.
    pub egress: Option<Vec<PolicyRule>>,
}

impl NetworkPolicy {
    /// The rules of a direction; `None` where the policy does not isolate in it.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> Option<&[PolicyRule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }

    /// The Pods that it applies to.
    #[must_use]
    pub fn subject(&self) -> PodSelection {
        let namespaces = Namespaces::Named(self.name.namespace.clone());
        PodSelection { namespaces, pods: self.pods.clone() }
    }
}

/// `spec.tier` of a ClusterNetworkPolicy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Tier {
    /// Decides before NetworkPolicies.
    Admin,
    /// Decides what NetworkPolicies leave open.
    Baseline,
}

/// A ClusterNetworkPolicy (`policy.networking.k8s.io/v1alpha2`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterNetworkPolicy {
    /// The object's name, which also decides between equal priorities.
    pub name: Arc<str>,
    /// Before or behind NetworkPolicies.
    pub tier: Tier,
    /// 0 to 1000; the lower comes first.
    pub priority: u16,
    /// The Pods that it applies to.
    pub subject: PodSelection,
    /// Its ingress rules, of which the first that matches decides.
    pub ingress: Vec<PolicyRule>,
    /// Its egress rules, likewise.
    pub egress: Vec<PolicyRule>,
}

impl ClusterNetworkPolicy {
    /// The rules of a direction; without any, the policy has no effect in it.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> &[PolicyRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// A policy of either kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyName {
    /// A ClusterNetworkPolicy.
    Cluster(Arc<str>),
    /// A NetworkPolicy.
    Network(NamespacedName),
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicyName::Cluster(name) => write!(f, "ClusterNetworkPolicy {name}"),
            PolicyName::Network(name) => write!(f, "NetworkPolicy {name}"),
        }
    }
}

impl Serialize for PolicyName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
