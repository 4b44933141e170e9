//! What a packet's fields meet in a set.

use std::collections::BTreeSet;
use std::net::IpAddr;

use model::Protocol;
use render::nftables::{Content, ElementId, Field, SetName, Value, element_text};

use super::flight::Flight;
use super::walk::Walk;
use crate::policy::Traffic;

/// What is wrong with a statement where it stands.
pub(super) type Why = &'static str;

impl Walk<'_> {
    /// The transport protocol, if it has ports.
    pub(super) fn protocol(&self) -> Option<Protocol> {
        match self.traffic {
            Traffic::Port { protocol, .. } => Some(protocol),
            Traffic::Icmp { .. } | Traffic::Other { .. } => None,
        }
    }

    /// What the keys meet: something, or (`None`) nothing, or both by chance.
    pub(super) fn find_elements(
        &self,
        set: &SetName,
        keys: &[Vec<Value>],
    ) -> BTreeSet<Option<Element<'_>>> {
        if keys.is_empty() {
            return BTreeSet::from([None]);
        }
        keys.iter().map(|key| self.find_element(set, key)).collect()
    }

    /// Every key that these fields may make of a packet; none where the packet lacks a field, or has
    /// a protocol that no set of ours holds.
    pub(super) fn keys(&self, fields: &[Field], flight: &Flight) -> Result<Vec<Vec<Value>>, Why> {
        let mut keys = vec![Vec::new()];
        for field in fields {
            let values: Vec<Value> = match field {
                Field::SourceAddress => vec![Value::Address(source(flight)?)],
                Field::DestinationAddress => vec![Value::Address(flight.destination.ip())],
                Field::Protocol => self.protocol().map(Value::Protocol).into_iter().collect(),
                Field::DestinationPort => vec![Value::Port(flight.destination.port())],
                Field::RandomIndex { modulus: 0 } => return Err("a random number below zero"),
                Field::RandomIndex { modulus } => (0..*modulus).map(Value::Index).collect(),
                Field::EndpointId => vec![Value::EndpointId(flight.priority)],
            };
            let with = |key: &Vec<Value>| {
                let mut all = Vec::with_capacity(values.len());
                all.extend(values.iter().map(|value| [key.as_slice(), &[*value]].concat()));
                all
            };
            keys = keys.iter().flat_map(with).collect();
        }
        Ok(keys)
    }

    /// The element that a key meets; none in a set that packets fill.
    pub(super) fn find_element(&self, set: &SetName, key: &[Value]) -> Option<Element<'_>> {
        let (elements, family) = (&self.table.elements, self.family);
        let declared = set.declaration(self.affinity_size);
        if declared.dynamic.is_some() {
            return None;
        }
        let found = if declared.interval {
            let start = ElementId { family, set: set.clone(), key: Vec::new() };
            let mut own =
                elements.range(start..).take_while(|(id, _)| id.family == family && id.set == *set);
            own.find(|(id, _)| covers(&id.key, key))
        } else {
            elements.get_key_value(&ElementId { family, set: set.clone(), key: key.to_vec() })
        };
        found.map(|(&id, &content)| Element { id, content })
    }
}

/// An element of a set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) id: &'a ElementId,
    pub(super) content: &'a Content,
}

impl Element<'_> {
    pub(super) fn text(self) -> String {
        element_text(self.id, self.content)
    }
}

impl PartialOrd for Element<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Element<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.id.cmp(other.id)
    }
}

pub(super) fn source(flight: &Flight) -> Result<IpAddr, Why> {
    flight.source.ok_or("the source is not known where masquerading chose it")
}

/// Whether a key lies within an element of a set of intervals.
fn covers(element: &[Value], key: &[Value]) -> bool {
    let within = |(element, value): (&Value, &Value)| match (element, value) {
        (Value::Block(block), Value::Address(address)) => block.contains(address),
        (Value::Addresses(range), Value::Address(address)) => range.contains(*address),
        (Value::Ports(ports), Value::Port(port)) => (ports.first..=ports.last).contains(port),
        (one, other) => one == other,
    };
    element.len() == key.len() && element.iter().zip(key).all(within)
}
