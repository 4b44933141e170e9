//! The rules of a class: tier by tier, in the order in which they decide.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{Cidr, Direction, Family, PolicyAction, PolicyName, Protocol};
use plan::policy::{
    AddressRange, ClassKey, ClassRule, PeerMatch, PolicyClass, PortMatch, PortRange, RuleMatch,
};

use super::{ChainId, Match, Options, Rule, Target, chain, names};
use crate::iptables::ipset::{IpSet, IpSets, Member, SetKind};
use crate::iptables::{Inverted, Lookup, rule::PORT_SLOTS};

/// How many bytes of a comment iptables takes.
const COMMENT: usize = 255;
/// How many forbidden packets of a rule are told of in a second, and at once.
const LOG_RATE: (u64, u32) = (10, 20);

/// What one class comes to in one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClassRules {
    pub(super) chains: BTreeMap<ChainId, Vec<Rule>>,
    /// The blocks that its rules name.
    pub(super) blocks: IpSets,
}

/// Where the judged address stands in a packet.
pub(super) fn own(direction: Direction) -> Lookup {
    match direction {
        Direction::Ingress => Lookup::Destination,
        Direction::Egress => Lookup::Source,
    }
}

/// Where the other side's stands.
fn other(direction: Direction) -> Lookup {
    match direction {
        Direction::Ingress => Lookup::Source,
        Direction::Egress => Lookup::Destination,
    }
}

/// A comment no longer than iptables takes.
pub(super) fn cut(mut words: String) -> String {
    if words.len() > COMMENT {
        let end = (0..=COMMENT - 3).rev().find(|end| words.is_char_boundary(*end));
        words.truncate(end.unwrap_or_default());
        words.push_str("...");
    }
    words
}

/// Writes a class for a family.
pub(super) fn class(
    key: &ClassKey,
    class: &PolicyClass,
    family: Family,
    options: &Options,
) -> ClassRules {
    let name = names::class(key);
    let mut writer =
        Writer { key, family, options, name: &name, blocks: IpSets::new(), rules: Vec::new() };
    let mut chains = BTreeMap::new();
    let next = match (&class.network, class.baseline.is_empty()) {
        (Some(_), _) => Some("N"),
        (None, false) => Some("B"),
        (None, true) => None,
    };
    // A rule that passes leads to the next tier, which is then a chain of its own.
    let passes = class.admin.iter().any(|rule| rule.action == PolicyAction::Pass);
    let second: Option<Arc<str>> =
        next.filter(|_| passes).map(|suffix| format!("{name}-{suffix}").into());
    let pass = second.clone().map_or(Target::Return, Target::Goto);
    class.admin.iter().for_each(|rule| writer.rule(rule, &pass));
    let mut last = name.clone();
    if let Some(second) = second {
        let end =
            Rule::to(Target::Goto(second.clone())).comment("no rule of the Admin tier decides");
        writer.rules.push(end);
        chains.insert(chain(family, name.clone()), std::mem::take(&mut writer.rules));
        last = second;
    }
    match &class.network {
        Some(rules) => {
            rules.iter().for_each(|rule| writer.rule(rule, &Target::Return));
            writer.isolated();
        }
        None => class.baseline.iter().for_each(|rule| writer.rule(rule, &Target::Return)),
    }
    chains.insert(chain(family, last), writer.rules);
    ClassRules { chains, blocks: writer.blocks }
}

struct Writer<'a> {
    key: &'a ClassKey,
    family: Family,
    options: &'a Options,
    name: &'a str,
    blocks: IpSets,
    rules: Vec<Rule>,
}

impl Writer<'_> {
    /// One rule of a policy: a rule of ours for every way to be matched.
    fn rule(&mut self, rule: &ClassRule, pass: &Target) {
        let direction = self.key.direction;
        let name = rule.name.iter().map(|name| format!(" ({name})")).collect::<String>();
        let number = rule.index + 1;
        let words = format!("{}, {direction} rule {number}{name}", rule.policy);
        for way in &rule.matches {
            let words = match &way.peer {
                PeerMatch::Set(key) => format!("{words}: {key}"),
                PeerMatch::Anybody | PeerMatch::Ranges(_) => words.clone(),
            };
            for conditions in self.conditions(way) {
                let conditions = first(Match::Comment(cut(words.clone()).into()), conditions);
                match rule.action {
                    PolicyAction::Accept => self.push(conditions, Target::Return),
                    PolicyAction::Pass => self.push(conditions, pass.clone()),
                    PolicyAction::Deny => self.deny(conditions),
                }
            }
        }
    }

    /// What no rule of the NetworkPolicies lets through is dropped.
    fn isolated(&mut self) {
        let isolating = |it: &&PolicyName| matches!(it, PolicyName::Network(_));
        let by = self.key.policies.iter().filter(isolating).map(ToString::to_string);
        let words = format!("isolated by {}", by.collect::<Vec<_>>().join(", "));
        self.deny(Rule::default().comment(&cut(words)));
    }

    fn push(&mut self, conditions: Rule, target: Target) {
        self.rules.push(Rule { target: Some(target), ..conditions });
    }

    fn deny(&mut self, conditions: Rule) {
        if let Some(group) = self.options.policy_log {
            let (rate, burst) = LOG_RATE;
            let prefix = format!("pointsman:{}", self.name).into();
            let limited = conditions.clone().matching(Match::Limit { rate, burst });
            self.push(limited, Target::NfLog { group, prefix });
        }
        self.push(conditions, Target::Goto(names::deny(self.key.direction)));
    }

    /// The conditions of one way to be matched, each enough by itself; none where no packet of the
    /// family can meet them.
    fn conditions(&mut self, way: &RuleMatch) -> Vec<Rule> {
        let Some(peer) = self.peer(&way.peer) else { return Vec::new() };
        let (ranges, named) = match &way.ports {
            PortMatch::Any => return vec![peer],
            PortMatch::AnyOf { ranges, named } => (ranges, named),
        };
        let numbered = ranges.iter().flat_map(|(protocol, ranges)| numbers(*protocol, ranges));
        let named = named.iter().map(|key| {
            Rule::default().matching(Match::Set {
                inverted: false,
                set: names::ports(key, self.family),
                lookup: Lookup::DestinationPort,
            })
        });
        let both = |ports: Rule| {
            let mut rule = peer.clone();
            rule.protocol = ports.protocol;
            rule.matches.extend(ports.matches);
            rule
        };
        numbered.chain(named).map(both).collect()
    }

    /// The condition on the other side.
    fn peer(&mut self, peer: &PeerMatch) -> Option<Rule> {
        let lookup = other(self.key.direction);
        let of_set = |set| Rule::default().matching(Match::Set { inverted: false, set, lookup });
        match peer {
            PeerMatch::Anybody => Some(Rule::default()),
            PeerMatch::Set(key) => Some(of_set(names::peers(key, self.family))),
            PeerMatch::Ranges(ranges) => {
                let own = || ranges.iter().filter(|range| range.family() == self.family);
                if own().any(AddressRange::is_everything) {
                    return Some(Rule::default());
                }
                let blocks: Vec<Cidr> = own().flat_map(AddressRange::blocks).collect();
                match *blocks.as_slice() {
                    [] => None,
                    [only] => {
                        let within = Some(Inverted::is(only));
                        Some(match lookup {
                            Lookup::Source => Rule { source: within, ..Rule::default() },
                            _ => Rule { destination: within, ..Rule::default() },
                        })
                    }
                    _ => Some(of_set(self.name_blocks(blocks))),
                }
            }
        }
    }

    fn name_blocks(&mut self, blocks: Vec<Cidr>) -> Arc<str> {
        let words: Vec<String> = blocks.iter().map(ToString::to_string).collect();
        let name = names::blocks(&words.join(" "), self.family);
        let members: BTreeSet<Member> = blocks.into_iter().map(Member::Block).collect();
        let set = IpSet::of(SetKind::Blocks, self.family, members);
        self.blocks.insert(name.clone(), set);
        name
    }
}

/// Puts a match before the others.
fn first(one: Match, mut rule: Rule) -> Rule {
    rule.matches.insert(0, one);
    rule
}

/// The conditions on ports of one protocol.
fn numbers(protocol: Protocol, ranges: &[PortRange]) -> Vec<Rule> {
    let of = |matches| Rule { protocol: Some(protocol), matches, ..Rule::default() };
    if ranges.iter().any(|range| range.is_everything()) {
        return vec![of(Vec::new())];
    }
    let mut rules = Vec::new();
    let mut rest = ranges;
    while !rest.is_empty() {
        let mut slots = 0;
        let fits = rest.iter().take_while(|range| {
            slots += if range.first == range.last { 1 } else { 2 };
            slots <= PORT_SLOTS
        });
        let (some, others) = rest.split_at(fits.count());
        rest = others;
        rules.push(of(vec![match *some {
            [PortRange { first, last }] if first == last => Match::DestinationPort(protocol, first),
            _ => Match::DestinationPorts(some.to_vec()),
        }]));
    }
    rules
}
