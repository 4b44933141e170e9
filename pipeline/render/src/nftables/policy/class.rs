//! The chains of a class: one for each tier.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Direction, Family, PolicyAction};
use plan::policy::{AddressRange, ClassKey, ClassRule, PeerMatch, PolicyClass, PortMatch};

use super::super::owner::comment;
use super::super::set::Place;
use super::super::{
    Chain, ChainId, End, Field, Options, Rule, SetId, SetName, Statement, Value, Verdict,
};
use super::sets::{self, PolicySet};
use super::{LOGGED, deny};

/// What a class needs besides the sets that its rules name.
#[derive(Default)]
pub(super) struct Class {
    pub(super) chains: BTreeMap<ChainId, Chain>,
    /// Sets that are named by their content, with it.
    pub(super) sets: BTreeMap<SetId, Vec<Vec<Value>>>,
}

/// The name of the chain in which a class begins.
#[must_use]
pub fn class_chain(key: &ClassKey) -> Arc<str> {
    // The name behind the word for its kind.
    let first = key.policies.first().map(ToString::to_string).unwrap_or_default();
    let first = first.rsplit(' ').next().unwrap_or_default();
    let more = match key.policies.len() {
        0 | 1 => String::new(),
        several => format!("{}-more-", several - 1),
    };
    let prefix = format!("{}-{more}", key.direction);
    sets::name(&prefix, first, &key.to_string())
}

/// Renders a class in both families.
pub(super) fn class(key: &ClassKey, class: &PolicyClass, options: &Options) -> Class {
    let mut all = Class::default();
    for family in Family::ALL {
        let chain = class_chain(key);
        let direction = key.direction;
        let tiers = tiers(class);
        let mut names = vec![chain.clone()];
        names.extend(tiers.iter().skip(1).map(|tier| format!("{chain}-{}", tier.word()).into()));
        for (place, tier) in tiers.iter().enumerate() {
            let next = names.get(place + 1).cloned();
            let mut writer =
                Writer { family, direction, chain: &chain, options, next, all: &mut all };
            let rules = writer.tier(tier);
            let Some(name) = names.get(place) else { continue };
            let id = ChainId { family, name: name.clone() };
            all.chains.insert(id, Chain { base: None, rules });
        }
    }
    all
}

/// A tier that has a say.
enum Tier<'c> {
    Admin(&'c [Arc<ClassRule>]),
    Network(&'c [Arc<ClassRule>]),
    Baseline(&'c [Arc<ClassRule>]),
}

impl Tier<'_> {
    fn word(&self) -> &'static str {
        match self {
            Tier::Admin(_) => "admin",
            Tier::Network(_) => "network",
            Tier::Baseline(_) => "baseline",
        }
    }
}

/// The tiers of a class in their order. NetworkPolicies leave nothing open for what is behind them.
/// One without rules is left out, unless there is no other.
fn tiers(class: &PolicyClass) -> Vec<Tier<'_>> {
    let mut tiers = Vec::new();
    if !class.admin.is_empty() {
        tiers.push(Tier::Admin(&class.admin));
    }
    match &class.network {
        Some(rules) => tiers.push(Tier::Network(rules)),
        None if class.baseline.is_empty() && !tiers.is_empty() => {}
        None => tiers.push(Tier::Baseline(&class.baseline)),
    }
    tiers
}

struct Writer<'a> {
    family: Family,
    direction: Direction,
    /// Where the class begins.
    chain: &'a str,
    options: &'a Options,
    /// The chain of the next tier.
    next: Option<Arc<str>>,
    all: &'a mut Class,
}

impl Writer<'_> {
    fn tier(&mut self, tier: &Tier<'_>) -> Vec<Rule> {
        let mut out = Vec::new();
        let (Tier::Admin(rules) | Tier::Network(rules) | Tier::Baseline(rules)) = tier;
        for rule in *rules {
            self.rule(rule, &mut out);
        }
        let end = match tier {
            Tier::Network(_) => {
                out.extend(self.log("isolated").map(|log| log.to_vec()));
                Some(deny(self.direction))
            }
            _ => self.next.clone(),
        };
        out.extend(end.map(|chain| vec![Statement::Verdict(Verdict::Goto(chain))]));
        out
    }

    /// A rule of a policy: one for each way in which it matches.
    fn rule(&mut self, rule: &ClassRule, out: &mut Vec<Rule>) {
        let verdict = match (rule.action, &self.next) {
            (PolicyAction::Accept, _) | (PolicyAction::Pass, None) => Verdict::Return,
            (PolicyAction::Pass, Some(next)) => Verdict::Goto(next.clone()),
            (PolicyAction::Deny, _) => Verdict::Goto(deny(self.direction)),
        };
        let log = match rule.action {
            PolicyAction::Deny => self.log(&format!("{}:{}", rule.policy, rule.index + 1)),
            _ => None,
        };
        let words = words(rule);
        for way in &rule.matches {
            let Some(peer) = self.peer(&way.peer) else { continue };
            for ports in self.ports(&way.ports) {
                let conditions = [peer.clone(), ports].concat();
                if let Some(log) = &log {
                    out.push([&conditions[..], log].concat());
                }
                let end = [Statement::Verdict(verdict.clone()), Statement::Comment(words.clone())];
                out.push([conditions, end.to_vec()].concat());
            }
        }
    }

    /// What holds where the peer is one of these; `None` where none of them is of the family.
    fn peer(&mut self, peer: &PeerMatch) -> Option<Vec<Statement>> {
        let (end, field) = match self.direction {
            Direction::Ingress => (End::Source, Field::SourceAddress),
            Direction::Egress => (End::Destination, Field::DestinationAddress),
        };
        let within =
            |set| Statement::In { key: vec![field], inverted: false, set: SetName::Policy(set) };
        Some(match peer {
            PeerMatch::Anybody => Vec::new(),
            PeerMatch::Set(key) => vec![within(PolicySet::of_key(key))],
            PeerMatch::Ranges(ranges) => {
                let own = ranges.iter().filter(|range| range.family() == self.family);
                let own: Vec<AddressRange> = own.copied().collect();
                match own.as_slice() {
                    [] => return None,
                    [all] if all.is_everything() => Vec::new(),
                    [one] if one.blocks().len() == 1 => {
                        let blocks = one.blocks().into_iter();
                        let is = |block| Statement::Address { end, inverted: false, block };
                        blocks.map(is).collect()
                    }
                    several => {
                        let set = PolicySet::of_ranges(self.family, several);
                        let keys = several.iter().map(|range| vec![Value::of_addresses(*range)]);
                        self.content(&set, keys.collect());
                        vec![within(set)]
                    }
                }
            }
        })
    }

    /// What holds for each way in which the traffic may match.
    fn ports(&mut self, ports: &PortMatch) -> Vec<Vec<Statement>> {
        let (ranges, named) = match ports {
            PortMatch::Any => return vec![Vec::new()],
            PortMatch::AnyOf { ranges, named } => (ranges, named),
        };
        let pairs = || ranges.iter().flat_map(|(of, all)| all.iter().map(|one| (*of, *one)));
        let mut ways = Vec::new();
        let mut first_two = pairs();
        match (first_two.next(), first_two.next()) {
            (None, _) => {}
            (Some((protocol, ports)), None) if ports.is_everything() => {
                ways.push(vec![Statement::Protocol(protocol)]);
            }
            (Some((protocol, ports)), None) => {
                ways.push(vec![Statement::DestinationPorts { protocol, ports }]);
            }
            _ => {
                let key =
                    |(protocol, ports)| vec![Value::Protocol(protocol), Value::of_ports(ports)];
                let keys: Vec<Vec<Value>> = pairs().map(key).collect();
                let set = PolicySet::of_ports(&keys);
                self.content(&set, keys);
                let key = vec![Field::Protocol, Field::DestinationPort];
                ways.push(vec![Statement::In { key, inverted: false, set: SetName::Policy(set) }]);
            }
        }
        ways.extend(named.iter().map(|key| {
            let set = SetName::Policy(PolicySet::of_named_ports(key));
            vec![Statement::In { key: Place::Address.key(), inverted: false, set }]
        }));
        ways
    }

    fn content(&mut self, set: &PolicySet, keys: Vec<Vec<Value>>) {
        let id = SetId { family: self.family, name: SetName::Policy(set.clone()) };
        self.all.sets.insert(id, keys);
    }

    fn log(&self, why: &str) -> Option<[Statement; 2]> {
        let group = self.options.policy_log?;
        let mut prefix = clean(&format!("pointsman:{}:{why}", self.chain));
        prefix.truncate(Statement::LOG_PREFIX);
        let log = Statement::Log { prefix: prefix.into(), group };
        Some([Statement::Limit { per_second: LOGGED }, log])
    }
}

/// What a rule's comment says: where it stands.
fn words(rule: &ClassRule) -> Arc<str> {
    let name = rule.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    comment(&clean(&format!("{}, rule {}{name}", rule.policy, rule.index + 1)))
}

/// Only what nft loads between quotes.
fn clean(text: &str) -> String {
    let loads = |letter: char| (' '..='~').contains(&letter) && letter != '"' && letter != '\\';
    text.chars().map(|letter| if loads(letter) { letter } else { '?' }).collect()
}
