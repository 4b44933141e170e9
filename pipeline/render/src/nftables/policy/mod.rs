//! What policies ask of nftables.
//!
//! A packet whose addresses belong to no Pod that policies apply to leaves after a few lookups that
//! find nothing. The address of one that they do apply to leads, through a map of verdicts, to the
//! chain of its class; the rules there look the other end up in sets, which all classes share. So a
//! Pod more is an element more in the sets that it is in, whatever there is beside it.
//!
//! Chains of classes return for what they let through, and send on to a chain that drops what they
//! do not: nothing is accepted over the head of other tables. Nothing at all is rendered while
//! nothing could be denied.
//!
//! Where address and destination are the same, [`explain::evaluate`] lets every packet pass; these
//! rules know that only of addresses that policies apply to, for one rule cannot compare two fields.
//! An address that is held back is held back from itself as well.
//!
//! [`explain::evaluate`]: https://docs.rs/pointsman-explain

mod change;
mod class;
mod frame;
mod sets;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use model::{Direction, Family};
use plan::policy::{PodPort, PolicyIntent};

use super::{Content, Data, ElementId, Options, Part, SetId, SetName, Value, Verdict, names};
use class::class;

pub use change::Rendered;
pub use class::class_chain;
pub use sets::PolicySet;

/// How many dropped packets a second each place hands to the log.
const LOGGED: u32 = 10;

/// Where what a direction denies ends.
fn deny(direction: Direction) -> Arc<str> {
    Arc::from(names::policy_deny(direction))
}

fn plain_element() -> Content {
    Content { data: Data::Nothing, comment: None }
}

fn id(family: Family, set: &PolicySet, key: Vec<Value>) -> ElementId {
    ElementId { family, set: SetName::Policy(set.clone()), key }
}

fn both(set: &PolicySet) -> [SetId; 2] {
    Family::ALL.map(|family| SetId { family, name: SetName::Policy(set.clone()) })
}

fn address(set: &PolicySet, address: IpAddr) -> ElementId {
    id(Family::of(address), set, vec![Value::Address(address)])
}

fn port(set: &PolicySet, port: &PodPort) -> ElementId {
    let PodPort { address, protocol, port } = *port;
    let key = vec![Value::Address(address), Value::Protocol(protocol), Value::Port(port)];
    id(Family::of(address), set, key)
}

/// Everything that policies ask for, in one piece.
#[must_use]
pub fn part(intent: &PolicyIntent, options: &Options) -> Part {
    let mut all = Part::default();
    parts(intent, options, &mut |part| {
        all.sets.extend(part.sets.iter().cloned());
        all.chains.extend(part.chains.iter().map(|(id, chain)| (id.clone(), chain.clone())));
        let elements = part.elements.iter();
        all.elements.extend(elements.map(|(id, content)| (id.clone(), content.clone())));
    });
    all
}

/// Hands out everything that policies ask for, set by set: all of it at once could be most of the
/// agent's memory. No element is in two of the parts.
pub fn parts(intent: &PolicyIntent, options: &Options, take: &mut dyn FnMut(&Part)) {
    let mut frame = frame::frame(intent, options);
    frame.elements.extend(frame::known(intent).into_iter().map(|id| (id, plain_element())));
    for address in intent.subjects.keys() {
        frame.elements.extend(subject(intent, *address));
    }
    let mut contents = BTreeMap::new();
    for (key, rules) in &intent.classes {
        let class = class(key, rules, options);
        frame.chains.extend(class.chains);
        contents.extend(class.sets);
    }
    take(&frame);
    for (id, keys) in contents {
        take(&of_content(&id, &keys));
    }
    for (key, addresses) in &intent.sets {
        let set = PolicySet::of_key(key);
        take(&whole(&set, addresses.iter().map(|it| address(&set, *it))));
    }
    for (key, ports) in &intent.named_ports {
        let set = PolicySet::of_named_ports(key);
        take(&whole(&set, ports.iter().map(|it| port(&set, it))));
    }
}

fn whole(set: &PolicySet, elements: impl Iterator<Item = ElementId>) -> Part {
    Part {
        sets: both(set).into(),
        elements: elements.map(|id| (id, plain_element())).collect(),
        ..Part::default()
    }
}

fn of_content(set: &SetId, keys: &[Vec<Value>]) -> Part {
    let element = |key: &Vec<Value>| {
        let id = ElementId { family: set.family, set: set.name.clone(), key: key.clone() };
        (id, plain_element())
    };
    let elements = keys.iter().map(element).collect();
    Part { sets: [set.clone()].into(), elements, ..Part::default() }
}

/// The elements that lead an address to its classes.
fn subject(intent: &PolicyIntent, own: IpAddr) -> BTreeMap<ElementId, Content> {
    let Some(subject) = intent.subjects.get(&own) else { return BTreeMap::new() };
    let itself = vec![Value::Address(own); 2];
    let mut elements = BTreeMap::from([
        (address(&PolicySet::Subjects, own), plain_element()),
        (id(Family::of(own), &PolicySet::Itself, itself), plain_element()),
    ]);
    for direction in Direction::ALL {
        let key = subject.class(direction).filter(|key| intent.classes.contains_key(key));
        if let Some(key) = key {
            let data = Data::Verdict(Verdict::Jump(class_chain(key)));
            let element = address(&PolicySet::Classes(direction), own);
            elements.insert(element, Content { data, comment: None });
        }
    }
    elements
}
