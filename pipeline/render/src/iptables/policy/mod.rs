//! What network policies ask of iptables: chains in `filter` that drop what is forbidden and let
//! everything else go on, and the sets that they look addresses up in.
//!
//! The chains stand ahead of everything that accepts. A packet of an address that no policy judges
//! pays one look into a set for each direction; one of a judged address goes to the rules of its
//! class. Only the families that judged addresses have get chains at all.

mod change;
mod classes;
mod fixed;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use model::{Direction, Family};
use plan::policy::{
    ClassKey, ClassRule, Held, PeerMatch, PodPort, PolicyIntent, PortMatch, Subject,
};

pub use change::{MemberChange, PolicyChange, Standing};

use super::ipset::{Content, IpSet, IpSets, Member, SetHeader, SetKind};
use super::{ChainId, Jump, Match, Options, Rule, Table, Target, names};
use classes::ClassRules;
use fixed::Fixed;

/// All that policies ask of iptables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyRules {
    /// Chains of ours with all their rules.
    pub chains: BTreeMap<ChainId, Vec<Rule>>,
    /// Chains of which each rule leads to another chain, by whose name it is kept. A packet meets
    /// one of the rules at most, so their order does not matter.
    pub dispatch: BTreeMap<ChainId, BTreeMap<Arc<str>, Rule>>,
    /// Rules of built-in chains that lead to ours; each must stand ahead of those of
    /// [`Part::jumps`](super::Part::jumps), for these lead to what accepts.
    pub jumps: Vec<Jump>,
    /// The sets that the rules name.
    pub sets: IpSets,
}

impl PolicyRules {
    /// Every chain with its rules in order.
    pub(super) fn all_chains(&self) -> impl Iterator<Item = (&ChainId, Vec<&Rule>)> {
        let plain = self.chains.iter().map(|(chain, rules)| (chain, rules.iter().collect()));
        let dispatch = self.dispatch.iter().map(|(chain, rules)| (chain, rules.values().collect()));
        plain.chain(dispatch)
    }
}

/// What an Intent asks of iptables for its policies.
#[must_use]
pub fn policy(intent: &PolicyIntent, options: &Options) -> PolicyRules {
    Standing::of(intent, options).1
}

/// Whether a rule looks addresses or ports up in a set.
#[must_use]
pub fn names_set(rule: &ClassRule, set: &str) -> bool {
    rule.matches.iter().any(|way| {
        let peers = match &way.peer {
            PeerMatch::Set(key) => Some(key),
            PeerMatch::Anybody | PeerMatch::Ranges(_) => None,
        };
        let named = match &way.ports {
            PortMatch::AnyOf { named, .. } => named.as_slice(),
            PortMatch::Any => &[],
        };
        Family::ALL.into_iter().any(|family| {
            peers.is_some_and(|key| *names::peers(key, family) == *set)
                || named.iter().any(|key| *names::ports(key, family) == *set)
        })
    })
}

/// The families that have judged addresses, or blocks whose unknown addresses are held back.
fn families(intent: &PolicyIntent) -> BTreeSet<Family> {
    // IPv4 addresses are sorted before IPv6 ones.
    let (first, last) = (intent.subjects.first_key_value(), intent.subjects.last_key_value());
    let judged = first.into_iter().chain(last).map(|(address, _)| Family::of(*address));
    let held = intent.held.iter().flat_map(|held| &held.blocks).map(Family::of_cidr);
    judged.chain(held).collect()
}

/// The chain of a name in `filter`.
fn chain(family: Family, name: impl Into<Arc<str>>) -> ChainId {
    ChainId::new(family, Table::Filter, name)
}

/// The rule that leads the addresses of a class to its rules.
fn dispatch_rule(key: &ClassKey, family: Family) -> Rule {
    let class = names::class(key);
    let set = names::set(&class, family);
    let words = classes::cut(key.to_string());
    let found = Match::Set { inverted: false, set, lookup: classes::own(key.direction) };
    Rule::to(Target::Goto(class)).comment(&words).matching(found)
}

/// The set of a direction's judged addresses, which stands before the classes.
fn gate(direction: Direction, family: Family) -> Arc<str> {
    names::set(&names::judge(direction), family)
}

/// The sets that an address is judged by.
fn sets_of(subject: &Subject, family: Family) -> BTreeSet<Arc<str>> {
    let directions = Direction::ALL.into_iter();
    let keys = directions.filter_map(|direction| subject.class(direction));
    keys.flat_map(|key| [gate(key.direction, family), names::set(&names::class(key), family)])
        .collect()
}

/// The elements of one family in a set of addresses.
fn addresses<'a>(all: impl IntoIterator<Item = &'a IpAddr>, family: Family) -> BTreeSet<Member> {
    let own = all.into_iter().filter(|address| Family::of(**address) == family);
    own.map(|address| Member::Address(*address)).collect()
}

/// The elements of one family in a set of ports.
fn ports<'a>(all: impl IntoIterator<Item = &'a PodPort>, family: Family) -> BTreeSet<Member> {
    let own = all.into_iter().filter(|port| Family::of(port.address) == family);
    own.map(|port| Member::Port(port.address, port.protocol, port.port)).collect()
}

/// Everything for one family.
fn whole(
    intent: &PolicyIntent,
    family: Family,
    classes: &[(&ClassKey, ClassRules)],
) -> PolicyRules {
    let mut rules = PolicyRules::default();
    for direction in Direction::ALL {
        let of = classes.iter().filter(|(key, _)| key.direction == direction);
        for (key, _) in of {
            let chain = chain(family, names::classes(direction));
            let leads = rules.dispatch.entry(chain).or_default();
            leads.insert(names::class(key), dispatch_rule(key, family));
            for set in [gate(direction, family), names::set(&names::class(key), family)] {
                let empty = || IpSet::of(SetKind::Addresses, family, BTreeSet::new());
                rules.sets.entry(set).or_insert_with(empty);
            }
        }
    }
    for (address, subject) in &intent.subjects {
        if Family::of(*address) != family {
            continue;
        }
        for set in sets_of(subject, family) {
            if let Some(IpSet { content: Content::Exactly(members), .. }) = rules.sets.get_mut(&set)
            {
                members.insert(Member::Address(*address));
            }
        }
    }
    for (key, members) in &intent.sets {
        let members = addresses(&**members, family);
        let set = IpSet::of(SetKind::Addresses, family, members);
        rules.sets.insert(names::peers(key, family), set);
    }
    for (key, members) in &intent.named_ports {
        let set = IpSet::of(SetKind::Ports, family, ports(&**members, family));
        rules.sets.insert(names::ports(key, family), set);
    }
    for (_, class) in classes {
        rules.chains.extend(class.chains.clone());
        rules.sets.extend(class.blocks.clone());
    }
    rules
}

/// The sets that hold addresses of a family back.
fn hold_sets(held: &Held, family: Family) -> IpSets {
    if !held.blocks.iter().any(|block| Family::of_cidr(block) == family) {
        return IpSets::new();
    }
    let known = addresses(&held.known, family);
    let by_packets = |timeout| IpSet {
        header: SetHeader { kind: SetKind::Addresses, family, timeout },
        content: Content::ByPackets { never: known.clone() },
    };
    IpSets::from([
        (names::set(names::PM_HELD, family), by_packets(Some(held.seconds))),
        (names::set(names::PM_SEEN, family), by_packets(None)),
        (names::set(names::PM_KNOWN, family), IpSet::of(SetKind::Addresses, family, known.clone())),
    ])
}
