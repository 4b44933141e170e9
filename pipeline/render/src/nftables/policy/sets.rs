//! The sets that policies need: how they are called, what they hold.

use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use model::{Direction, Family, Namespaces};
use plan::policy::{AddressRange, NamedPortsKey, SetKey};
use sha2::{Digest, Sha256};

use super::super::set::Place;
use super::super::{Field, Holds, Set, Value};

/// How many unknown addresses are told apart while they are held back; further ones stay held.
const UNKNOWN: u32 = 65_536;

/// A set or map that policies need. Their order is that of [`super::super::SetName`]: what packets
/// enter by comes last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicySet {
    /// Addresses that policies apply to.
    Subjects,
    /// The same, each with itself.
    Itself,
    /// Where the node answers DNS: address, protocol and port.
    DnsListeners,
    /// The node's Pod blocks.
    PodBlocks,
    /// Addresses within them that are known.
    KnownAddresses,
    /// Unknown addresses that are held back in a direction, filled by packets.
    Held(Direction),
    /// Unknown addresses that are or were held back, filled by packets.
    HeldBefore(Direction),
    /// Addresses of Pods or Nodes, by the set's name.
    Addresses(Arc<str>),
    /// Ranges of addresses, by the set's name.
    Ranges(Arc<str>),
    /// Protocols with ranges of ports, by the set's name.
    Ports(Arc<str>),
    /// Address, protocol and port of what Pods call by a name, by the set's name.
    NamedPorts(Arc<str>),
    /// Address to the chain of its class.
    Classes(Direction),
}

const PODS: &str = "pods-";
const NODES: &str = "nodes-";
const RANGES: &str = "ranges-";
const PORTS: &str = "ports-";
const NAMED_PORTS: &str = "named-ports-";

impl PolicySet {
    /// Those whose name does not depend on what is in them.
    fn fixed() -> Vec<Self> {
        let mut all = vec![
            Self::Subjects,
            Self::Itself,
            Self::DnsListeners,
            Self::PodBlocks,
            Self::KnownAddresses,
        ];
        all.extend(Direction::ALL.map(Self::Held));
        all.extend(Direction::ALL.map(Self::HeldBefore));
        all.extend(Direction::ALL.map(Self::Classes));
        all
    }

    /// The set of a name.
    pub(in super::super) fn named(name: &str) -> Option<Self> {
        let is = |prefix: &str| name.starts_with(prefix);
        if is(PODS) || is(NODES) {
            Some(Self::Addresses(name.into()))
        } else if is(RANGES) {
            Some(Self::Ranges(name.into()))
        } else if is(PORTS) {
            Some(Self::Ports(name.into()))
        } else if is(NAMED_PORTS) {
            Some(Self::NamedPorts(name.into()))
        } else {
            Self::fixed().into_iter().find(|set| set.to_string() == name)
        }
    }

    pub(in super::super) fn declaration(&self) -> Set {
        let ports = || vec![Field::Protocol, Field::DestinationPort];
        let (key, holds) = match self {
            Self::Subjects
            | Self::PodBlocks
            | Self::KnownAddresses
            | Self::Held(_)
            | Self::HeldBefore(_)
            | Self::Addresses(_)
            | Self::Ranges(_) => (vec![Field::DestinationAddress], Holds::Nothing),
            Self::Itself => (vec![Field::SourceAddress, Field::DestinationAddress], Holds::Nothing),
            Self::DnsListeners | Self::NamedPorts(_) => (Place::Address.key(), Holds::Nothing),
            Self::Ports(_) => (ports(), Holds::Nothing),
            Self::Classes(_) => (vec![Field::DestinationAddress], Holds::Verdict),
        };
        Set {
            key,
            holds,
            interval: matches!(self, Self::PodBlocks | Self::Ranges(_) | Self::Ports(_)),
            counter: false,
            dynamic: matches!(self, Self::Held(_) | Self::HeldBefore(_)).then_some(UNKNOWN),
        }
    }

    /// The set of some Pods or Nodes.
    pub(super) fn of_key(key: &SetKey) -> Self {
        let (prefix, readable) = match key {
            SetKey::Pods(selection) => (PODS, selected(&selection.namespaces, &selection.pods)),
            SetKey::Nodes(selector) => (NODES, selector.to_string()),
        };
        Self::Addresses(name(prefix, &readable, &key.to_string()))
    }

    /// The set of what Pods call by a name.
    pub(super) fn of_named_ports(key: &NamedPortsKey) -> Self {
        let pods = selected(&key.pods.namespaces, &key.pods.pods);
        Self::NamedPorts(name(NAMED_PORTS, &format!("{}-{pods}", key.name), &key.to_string()))
    }

    /// The set of some ranges of one family, which is named by them.
    pub(super) fn of_ranges(family: Family, ranges: &[AddressRange]) -> Self {
        let text: Vec<String> =
            ranges.iter().map(|range| format!("{}-{}", range.first, range.last)).collect();
        let first = ranges.first().map(|range| Value::of_addresses(*range).to_string());
        let readable = format!("{}-{}", first.unwrap_or_default(), ranges.len());
        Self::Ranges(name(RANGES, &readable, &format!("{family} {}", text.join(","))))
    }

    /// The set of some protocols with ports, which is named by them.
    pub(super) fn of_ports(ports: &[Vec<Value>]) -> Self {
        let text: Vec<String> = ports
            .iter()
            .map(|key| key.iter().map(ToString::to_string).collect::<Vec<_>>().join("-"))
            .collect();
        let text = text.join("-");
        Self::Ports(name(PORTS, &text, &text))
    }
}

fn selected(namespaces: &Namespaces, pods: &model::LabelSelector) -> String {
    match namespaces {
        Namespaces::Named(name) => format!("{name}-{pods}"),
        Namespaces::Selected(selector) => format!("{selector}-{pods}"),
    }
}

/// A name that tells what is meant, and that nothing else has: what can be read of it is cut short,
/// and a hash of the whole follows.
pub(super) fn name(prefix: &str, readable: &str, whole: &str) -> Arc<str> {
    /// How much is readable.
    const READABLE: usize = 40;
    /// How many bytes of the hash: among ten thousand names, two are the same once in 10¹¹ clusters.
    const HASH: usize = 8;
    let mut text = String::from(prefix);
    for letter in readable.chars() {
        if text.len() >= prefix.len() + READABLE {
            break;
        }
        match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' => text.push(letter),
            // Everything is a word too.
            '{' => text.push_str("all"),
            '}' => {}
            _ if text.ends_with('-') => {}
            _ => text.push('-'),
        }
    }
    if !text.ends_with('-') {
        text.push('-');
    }
    let hash = Sha256::digest(whole.as_bytes());
    text.push_str(&HEXLOWER.encode(hash.get(..HASH).unwrap_or_default()));
    text.into()
}

impl fmt::Display for PolicySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subjects => f.write_str("policy-subjects"),
            Self::Itself => f.write_str("policy-itself"),
            Self::DnsListeners => f.write_str("dns-listeners"),
            Self::PodBlocks => f.write_str("pod-blocks"),
            Self::KnownAddresses => f.write_str("known-addresses"),
            Self::Held(direction) => write!(f, "held-{direction}"),
            Self::HeldBefore(direction) => write!(f, "held-before-{direction}"),
            Self::Addresses(name)
            | Self::Ranges(name)
            | Self::Ports(name)
            | Self::NamedPorts(name) => f.write_str(name),
            Self::Classes(Direction::Ingress) => f.write_str("ingress-isolated"),
            Self::Classes(Direction::Egress) => f.write_str("egress-isolated"),
        }
    }
}
