//! What stands around the classes, whatever policies there are: where packets come in, and where
//! they end.

use std::sync::Arc;

use model::{Direction, Family, Protocol};
use plan::policy::{CONDEMNED_CT_MARK, Held, PolicyIntent};

use super::super::node::{base, goto, jump, plain};
use super::super::set::Place;
use super::super::{
    Chain, ChainId, ChainType, Content, CtState, Data, ElementId, Field, Hook, Options, Part, Rule,
    SetId, SetName, Statement, Value, Verdict, names,
};
use super::sets::PolicySet;
use super::{LOGGED, deny};

/// Behind the translation to an endpoint, and behind what a firewall of the host says at 0.
const BEHIND_FILTER: i32 = 5;
/// The port of DNS.
const DNS: u16 = 53;
/// For how long an unknown address that was held back is remembered behind its last connection.
const REMEMBERED: u32 = 3_600;

/// Whether anything could be denied: nothing is rendered otherwise.
pub(super) fn is_needed(intent: &PolicyIntent) -> bool {
    !intent.classes.is_empty() || intent.held.is_some()
}

/// The chains and sets around the classes, with the elements that do not come and go with Pods.
pub(super) fn frame(intent: &PolicyIntent, options: &Options) -> Part {
    let mut part = Part::default();
    if !is_needed(intent) {
        return part;
    }
    // Classes are sorted by direction, ingress first.
    let judges_egress =
        intent.classes.last_key_value().is_some_and(|(key, _)| key.direction == Direction::Egress);
    for family in Family::ALL {
        let mut frame = Frame { intent, options, family, part: &mut part };
        frame.chains(judges_egress);
        frame.sets();
    }
    part
}

/// The elements that say which addresses of the node's blocks are known.
pub(super) fn known(intent: &PolicyIntent) -> Vec<ElementId> {
    let Some(held) = &intent.held else { return Vec::new() };
    let element = |family, set, value| {
        let set = SetName::Policy(set);
        ElementId { family, set, key: vec![value] }
    };
    let blocks = held
        .blocks
        .iter()
        .map(|block| element(Family::of_cidr(block), PolicySet::PodBlocks, Value::Block(*block)));
    let known = held.known.iter().map(|address| {
        let value = Value::Address(*address);
        element(Family::of(*address), PolicySet::KnownAddresses, value)
    });
    blocks.chain(known).collect()
}

struct Frame<'a> {
    intent: &'a PolicyIntent,
    options: &'a Options,
    family: Family,
    part: &'a mut Part,
}

fn within(key: Vec<Field>, set: PolicySet) -> Statement {
    Statement::In { key, inverted: false, set: SetName::Policy(set) }
}

fn end(direction: Direction) -> Field {
    match direction {
        Direction::Ingress => Field::DestinationAddress,
        Direction::Egress => Field::SourceAddress,
    }
}

fn verdict(verdict: Verdict) -> Statement {
    Statement::Verdict(verdict)
}

fn noted(mut rule: Rule, comment: &str) -> Rule {
    rule.push(Statement::Comment(comment.into()));
    rule
}

impl Frame<'_> {
    fn chain(&mut self, name: impl Into<Arc<str>>, chain: Chain) {
        let id = ChainId { family: self.family, name: name.into() };
        self.part.chains.insert(id, chain);
    }

    fn held(&self, direction: Direction) -> Option<&Held> {
        self.intent.held.as_ref().filter(|held| match direction {
            Direction::Ingress => held.ingress,
            Direction::Egress => held.egress,
        })
    }

    fn chains(&mut self, judges_egress: bool) {
        let filter = |hook, rules| base(ChainType::Filter, hook, BEHIND_FILTER, rules);
        let forward = self.forward();
        self.chain(names::POLICY_FORWARD, filter(Hook::Forward, forward));
        if judges_egress || self.held(Direction::Egress).is_some() {
            let mut rules = self.let_through();
            rules.extend(self.dns(verdict(Verdict::Accept)));
            rules.extend(self.judge(Direction::Egress));
            self.chain(names::POLICY_INPUT, filter(Hook::Input, rules));
        }
        let ingress = self.judge(Direction::Ingress);
        self.chain(names::POLICY_INGRESS, plain(ingress));
        let midstream = [Direction::Egress, Direction::Ingress].map(|direction| {
            let subject = within(vec![end(direction)], PolicySet::Subjects);
            vec![subject, Statement::Counter, verdict(Verdict::Drop)]
        });
        self.chain(names::POLICY_MIDSTREAM, plain(midstream.into()));
        for direction in Direction::ALL {
            let drop = vec![Statement::Counter, verdict(Verdict::Drop)];
            self.chain(deny(direction), plain(vec![drop]));
            if let Some(held) = self.held(direction) {
                let chain = self.hold(direction, held.seconds);
                self.chain(held_chain(direction), chain);
            }
        }
    }

    /// What is never judged: packets of connections that were let through, and what IPv6 cannot do
    /// without. A connection that a change of policies condemned is no longer one of the former.
    fn let_through(&self) -> Vec<Rule> {
        let condemned =
            vec![Statement::CtMark(CONDEMNED_CT_MARK), Statement::Counter, verdict(Verdict::Drop)];
        let accept = |condition| vec![condition, verdict(Verdict::Accept)];
        let mut rules = vec![
            noted(condemned, "condemned by a change of policies"),
            accept(Statement::CtState(CtState::Established)),
        ];
        if self.family == Family::V6 {
            rules.push(accept(Statement::NeighbourDiscovery));
        }
        rules
    }

    fn forward(&self) -> Vec<Rule> {
        let mut rules = self.let_through();
        // Connection tracking takes a stream up in the middle, in whichever direction it sees a
        // packet first: a server's answer to a client that may not ask it would open the way back.
        rules.push(vec![
            Statement::CtState(CtState::New),
            Statement::NotSyn,
            jump(names::POLICY_MIDSTREAM),
        ]);
        let ends = vec![Field::SourceAddress, Field::DestinationAddress];
        rules.push(vec![within(ends, PolicySet::Itself), verdict(Verdict::Accept)]);
        rules.extend(self.dns(goto(names::POLICY_INGRESS)));
        rules.extend(self.judge(Direction::Egress));
        rules.push(vec![goto(names::POLICY_INGRESS)]);
        rules
    }

    fn dns(&self, then: Statement) -> Option<Rule> {
        let listens = |address: &std::net::IpAddr| Family::of(*address) == self.family;
        let any = self.intent.dns_listeners.iter().any(listens);
        any.then(|| vec![within(Place::Address.key(), PolicySet::DnsListeners), then])
    }

    /// The class of the address, or what holds it back. Whoever returns was let through.
    fn judge(&self, direction: Direction) -> Vec<Rule> {
        let key = || vec![end(direction)];
        let map = SetName::Policy(PolicySet::Classes(direction));
        let mut rules = vec![vec![Statement::Dispatch { key: key(), map }]];
        if self.held(direction).is_some() {
            let known = SetName::Policy(PolicySet::KnownAddresses);
            rules.push(vec![
                within(key(), PolicySet::PodBlocks),
                Statement::In { key: key(), inverted: true, set: known },
                jump(&held_chain(direction)),
            ]);
        }
        rules
    }

    /// Drops until the time is over that began with the first packet.
    fn hold(&self, direction: Direction, seconds: u32) -> Chain {
        let key = || vec![end(direction)];
        let keep = |set, seconds| {
            let set = SetName::Policy(set);
            Statement::Keep { key: key(), set, seconds }
        };
        let (held, before) = (PolicySet::Held(direction), PolicySet::HeldBefore(direction));
        let remembered = seconds.saturating_add(REMEMBERED);
        let drop = || vec![Statement::Counter, verdict(Verdict::Drop)];
        let mut rules = vec![
            [vec![within(key(), held.clone())], drop()].concat(),
            vec![
                within(key(), before.clone()),
                keep(before.clone(), remembered),
                verdict(Verdict::Return),
            ],
            // In this order: who is in the second set is in the first, or has been.
            vec![keep(held, seconds)],
            vec![keep(before, remembered)],
        ];
        if let Some(group) = self.options.policy_log {
            let prefix = format!("pointsman:{}:unknown", held_chain(direction)).into();
            let limit = Statement::Limit { per_second: LOGGED };
            rules.push(vec![limit, Statement::Log { prefix, group }]);
        }
        rules.push(drop());
        plain(rules)
    }

    fn sets(&mut self) {
        let mut sets = vec![PolicySet::Subjects, PolicySet::Itself];
        sets.extend(Direction::ALL.map(PolicySet::Classes));
        for direction in Direction::ALL {
            if self.held(direction).is_some() {
                sets.extend([PolicySet::Held(direction), PolicySet::HeldBefore(direction)]);
            }
        }
        if self.intent.held.is_some() {
            sets.extend([PolicySet::PodBlocks, PolicySet::KnownAddresses]);
        }
        let family = self.family;
        let own = self.intent.dns_listeners.iter().filter(|ip| Family::of(**ip) == family);
        for listener in own {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let set = SetName::Policy(PolicySet::DnsListeners);
                let key = [Value::Address(*listener), Value::Protocol(protocol), Value::Port(DNS)];
                let id = ElementId { family, set, key: key.into() };
                let content = Content { data: Data::Nothing, comment: None };
                self.part.elements.insert(id, content);
                sets.push(PolicySet::DnsListeners);
            }
        }
        let sets = sets.into_iter().map(|set| SetId { family, name: SetName::Policy(set) });
        self.part.sets.extend(sets);
    }
}

fn held_chain(direction: Direction) -> String {
    format!("policy-held-{direction}")
}
