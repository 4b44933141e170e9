//! What this node must enforce, in words that both dataplanes understand.
//!
//! A Pod of this node that policies apply to is a subject. Subjects with the same policies share a
//! [`PolicyClass`]; its rules name peers by sets of addresses, which all classes share.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use model::{Cidr, Direction, LabelSelector, PodSelection, PolicyAction, PolicyName, Protocol};
use serde::{Serialize, Serializer};

use super::ranges::{AddressRange, PortRange};

/// One class of subjects: a direction, and the policies that have a say in it, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClassKey {
    /// The direction.
    pub direction: Direction,
    /// The policies.
    pub policies: Arc<[PolicyName]>,
}

impl fmt::Display for ClassKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.direction)?;
        for (index, policy) in self.policies.iter().enumerate() {
            let before = if index == 0 { ": " } else { ", " };
            write!(f, "{before}{policy}")?;
        }
        Ok(())
    }
}

/// Whose addresses a set holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetKey {
    /// Pods'.
    Pods(Arc<PodSelection>),
    /// Nodes', those of their `status.addresses`.
    Nodes(LabelSelector),
}

impl fmt::Display for SetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetKey::Pods(selection) => write!(f, "{selection}"),
            SetKey::Nodes(selector) => write!(f, "nodes {selector}"),
        }
    }
}

/// Which ports a set holds: what Pods call by a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedPortsKey {
    /// The Pods.
    pub pods: Arc<PodSelection>,
    /// The name of the port.
    pub name: Arc<str>,
    /// The protocol that goes with it; `None` is any.
    pub protocol: Option<Protocol>,
}

impl fmt::Display for NamedPortsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}", self.name)?;
        if let Some(protocol) = self.protocol {
            write!(f, "/{protocol}")?;
        }
        write!(f, " of {}", self.pods)
    }
}

macro_rules! printed {
    ($($key:ty),*) => {
        $(impl Serialize for $key {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        })*
    };
}

printed!(ClassKey, SetKey, NamedPortsKey);

/// A port of a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PodPort {
    /// The Pod's address.
    pub address: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The number.
    pub port: u16,
}

/// Whom a rule's match is about: the source for ingress, the destination for egress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum PeerMatch {
    /// Everybody.
    Anybody,
    /// Who has an address of this set.
    Set(SetKey),
    /// Who has an address in one of these ranges, which are sorted and apart, IPv4 first.
    Ranges(Vec<AddressRange>),
}

/// Which traffic a rule's match is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum PortMatch {
    /// Any, of any protocol.
    Any,
    /// What one of the two lists holds.
    AnyOf {
        /// Destination ports by protocol, sorted and apart.
        ranges: BTreeMap<Protocol, Vec<PortRange>>,
        /// Sets that hold destination address, protocol and destination port.
        named: Vec<NamedPortsKey>,
    },
}

/// One way to be matched by a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleMatch {
    /// Whom.
    pub peer: PeerMatch,
    /// With which traffic.
    pub ports: PortMatch,
}

/// A rule, ready to be enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassRule {
    /// The policy that it stands in.
    pub policy: PolicyName,
    /// Its place in the policy's list of the direction, from 0.
    pub index: usize,
    /// Its own name, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// What it does.
    pub action: PolicyAction,
    /// It matches what one of these matches; nothing where there is none.
    pub matches: Vec<RuleMatch>,
}

/// The rules of a class. A packet is judged by the tiers in turn; what none decides is accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PolicyClass {
    /// Admin tier: the first rule that matches decides; one that passes leaves the tier.
    pub admin: Vec<Arc<ClassRule>>,
    /// NetworkPolicies: what no rule accepts is denied. `None` where none isolates in the direction.
    pub network: Option<Vec<Arc<ClassRule>>>,
    /// Baseline tier, as the Admin tier.
    pub baseline: Vec<Arc<ClassRule>>,
}

impl PolicyClass {
    /// All rules, tier by tier.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<ClassRule>> {
        self.admin.iter().chain(self.network.iter().flatten()).chain(&self.baseline)
    }
}

/// The classes of an address; no class means that every packet passes in the direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// For what comes to the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<ClassKey>,
    /// For what it sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<ClassKey>,
}

impl Subject {
    /// The class of a direction.
    #[must_use]
    pub fn class(&self, direction: Direction) -> Option<&ClassKey> {
        match direction {
            Direction::Ingress => self.ingress.as_ref(),
            Direction::Egress => self.egress.as_ref(),
        }
    }
}

/// Addresses that a Pod of this node may just have been given, before anybody could tell which Pod:
/// those of its blocks that are not known. What a policy might deny is dropped until they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The node's Pod blocks.
    pub blocks: Vec<Cidr>,
    /// The addresses in them that are known: those of its Pods, and the node's own.
    pub known: BTreeSet<IpAddr>,
    /// Whether what comes to unknown addresses is dropped.
    pub ingress: bool,
    /// Whether what unknown addresses send is dropped.
    pub egress: bool,
    /// For how long an unknown address is held back at most, from its first packet on, in seconds:
    /// it may belong to something that is no Pod.
    pub seconds: u32,
}

impl Held {
    /// Whether an address is held back in a direction.
    #[must_use]
    pub fn holds(&self, address: IpAddr, direction: Direction) -> bool {
        let asked = match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        };
        asked
            && self.blocks.iter().any(|block| block.contains(&address))
            && !self.known.contains(&address)
    }
}

/// What this node must enforce. The packets of a connection that was accepted, neighbour discovery,
/// what the node itself sends and what a Pod sends to itself are never judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PolicyIntent {
    /// Whether policies are enforced at all; everything else is empty if not.
    pub enforced: bool,
    /// The addresses of this node's Pods that policies apply to.
    pub subjects: BTreeMap<IpAddr, Subject>,
    /// The classes of the subjects.
    pub classes: BTreeMap<ClassKey, Arc<PolicyClass>>,
    /// The addresses that rules of the classes name.
    pub sets: BTreeMap<SetKey, Arc<BTreeSet<IpAddr>>>,
    /// The ports that rules of the classes name.
    pub named_ports: BTreeMap<NamedPortsKey, Arc<BTreeSet<PodPort>>>,
    /// Addresses that are held back.
    pub held: Option<Held>,
    /// Where the node itself answers DNS: whatever policies say, Pods reach port 53 of these
    /// addresses by UDP and TCP.
    pub dns_listeners: BTreeSet<IpAddr>,
}

impl PolicyIntent {
    /// Whether policies are not enforced.
    #[must_use]
    pub fn is_off(&self) -> bool {
        !self.enforced
    }
}

/// What came to a set and what left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta<T> {
    /// Whether the set was there before. If not, all its elements are named.
    pub existed: bool,
    /// New elements.
    pub added: BTreeSet<T>,
    /// Elements that are gone.
    pub removed: BTreeSet<T>,
}

impl<T: Ord> Delta<T> {
    pub(super) fn new(existed: bool) -> Self {
        Self { existed, added: BTreeSet::new(), removed: BTreeSet::new() }
    }

    pub(super) fn add(&mut self, element: T) {
        if !self.removed.remove(&element) {
            self.added.insert(element);
        }
    }

    pub(super) fn remove(&mut self, element: T) {
        if !self.added.remove(&element) {
            self.removed.insert(element);
        }
    }

    /// Whether the set, which is there now or not, is as it was.
    fn says_nothing(&self, there: bool) -> bool {
        self.existed == there && self.added.is_empty() && self.removed.is_empty()
    }
}

/// What differs in a [`PolicyIntent`] since the last time that somebody asked. A key that the intent
/// no longer has is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyChanges {
    /// Addresses whose classes may differ.
    pub subjects: BTreeSet<IpAddr>,
    /// Classes that are new, gone, or have other rules.
    pub classes: BTreeSet<ClassKey>,
    /// Sets that are new, gone, or have other elements.
    pub sets: BTreeMap<SetKey, Delta<IpAddr>>,
    /// The same for ports.
    pub named_ports: BTreeMap<NamedPortsKey, Delta<PodPort>>,
    /// Whether [`PolicyIntent::held`] differs.
    pub held: bool,
}

impl PolicyChanges {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Forgets sets that came out as they were.
    pub(super) fn settle(&mut self, intent: &PolicyIntent) {
        self.sets.retain(|key, delta| !delta.says_nothing(intent.sets.contains_key(key)));
        self.named_ports
            .retain(|key, delta| !delta.says_nothing(intent.named_ports.contains_key(key)));
    }
}
