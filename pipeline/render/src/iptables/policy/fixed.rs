//! The chains that are the same whatever the policies say in particular.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{Direction, Family, Protocol};
use plan::policy::{CONDEMNED_CT_MARK, Held, PolicyIntent};

use super::classes::own;
use super::{ChainId, Jump, Match, Rule, Target, chain, gate, names};
use crate::iptables::{CtStates, Inverted, Lookup};

/// The port of DNS.
const DNS: u16 = 53;
/// Router and neighbour solicitations and advertisements, and redirects (RFC 4861).
const NEIGHBOUR_DISCOVERY: std::ops::RangeInclusive<u8> = 133..=137;

/// What decides which of these chains there are and what they say.
pub(super) struct Fixed<'i> {
    family: Family,
    /// The directions in which addresses are judged.
    judged: Vec<Direction>,
    /// What is held back, if some block of the family is.
    held: Option<&'i Held>,
    dns: Vec<IpAddr>,
}

impl<'i> Fixed<'i> {
    pub(super) fn new(intent: &'i PolicyIntent, family: Family) -> Self {
        let judged = |direction: &Direction| {
            intent.classes.keys().any(|class| class.direction == *direction)
        };
        let of_family =
            |held: &&Held| held.blocks.iter().any(|block| Family::of_cidr(block) == family);
        let dns = intent.dns_listeners.iter().copied();
        Self {
            family,
            judged: Direction::ALL.into_iter().filter(judged).collect(),
            held: intent.held.as_ref().filter(of_family),
            dns: dns.filter(|address| Family::of(*address) == family).collect(),
        }
    }

    fn holds(&self, direction: Direction) -> Option<&Held> {
        self.held.filter(|held| match direction {
            Direction::Ingress => held.ingress,
            Direction::Egress => held.egress,
        })
    }

    /// Whether anything is asked in a direction.
    fn asks(&self, direction: Direction) -> bool {
        self.judged.contains(&direction) || self.holds(direction).is_some()
    }

    /// The chains with their rules.
    pub(super) fn chains(&self) -> BTreeMap<ChainId, Vec<Rule>> {
        let mut chains = BTreeMap::new();
        let mut put = |name: &str, rules| chains.insert(chain(self.family, name), rules);
        put(names::PM_FORWARD, self.entrance(&[Direction::Egress, Direction::Ingress]));
        if self.asks(Direction::Egress) {
            put(names::PM_INPUT, self.entrance(&[Direction::Egress]));
        }
        if !self.judged.is_empty() {
            put(names::PM_LOOSE, self.loose());
        }
        for direction in Direction::ALL {
            if !self.asks(direction) {
                continue;
            }
            put(&names::judge(direction), self.judge(direction));
            if self.judged.contains(&direction) {
                let words = format!("policies forbid the {direction}");
                put(&names::deny(direction), vec![Rule::to(Target::Drop).comment(&words)]);
            }
            if self.holds(direction).is_some() {
                put(&names::hold(direction), self.hold(direction));
            }
        }
        chains
    }

    /// The ways into the chains.
    pub(super) fn jumps(&self) -> Vec<Jump> {
        let jump = |from, to: &str| Jump {
            chain: chain(self.family, from),
            rule: Rule::to(Target::Jump(to.into())).comment("network policies"),
        };
        let forward = jump("FORWARD", names::PM_FORWARD);
        let input = self.asks(Direction::Egress).then(|| jump("INPUT", names::PM_INPUT));
        [forward].into_iter().chain(input).collect()
    }

    /// What is asked of every packet, then the directions.
    fn entrance(&self, directions: &[Direction]) -> Vec<Rule> {
        let bit = CONDEMNED_CT_MARK;
        let known = CtStates { related: true, established: true, ..CtStates::default() };
        let mut rules = vec![
            Rule::to(Target::Drop)
                .comment("connections that policies have come to forbid")
                .matching(Match::ConnMark { value: bit, mask: bit }),
            Rule::to(Target::Return).comment("connections that were let through").state(known),
        ];
        if self.family == Family::V6 {
            rules.extend(NEIGHBOUR_DISCOVERY.map(|kind| {
                Rule::to(Target::Return)
                    .comment("neighbour discovery")
                    .matching(Match::Icmpv6Type(kind))
            }));
        }
        rules.push(
            Rule::to(Target::Return)
                .comment("whoever reaches itself may")
                .matching(Match::SourceIsDestination),
        );
        if !self.judged.is_empty() {
            let new = CtStates { new: true, ..CtStates::default() };
            rules.push(
                Rule {
                    protocol: Some(Protocol::Tcp),
                    ..Rule::to(Target::Jump(names::PM_LOOSE.into()))
                        .comment("TCP amid a connection that is not known")
                        .matching(Match::NotSyn)
                }
                .state(new),
            );
        }
        let asked = directions.iter().filter(|direction| self.asks(**direction));
        rules.extend(asked.map(|direction| Rule::to(Target::Jump(names::judge(*direction)))));
        rules
    }

    /// Of judged addresses, what is amid an unknown connection is dropped either way: the kernel
    /// would take it for the beginning of one, by whoever happens to send first.
    fn loose(&self) -> Vec<Rule> {
        let both = [Lookup::Source, Lookup::Destination];
        let all = self.judged.iter().flat_map(|direction| {
            both.map(|lookup| {
                let set = gate(*direction, self.family);
                Rule::to(Target::Drop)
                    .comment("amid a connection that is not known")
                    .matching(Match::Set { inverted: false, set, lookup })
            })
        });
        all.collect()
    }

    fn judge(&self, direction: Direction) -> Vec<Rule> {
        let mut rules = Vec::new();
        if direction == Direction::Egress {
            for (address, protocol) in
                self.dns.iter().flat_map(|to| [(to, Protocol::Udp), (to, Protocol::Tcp)])
            {
                rules.push(Rule {
                    destination: Some(Inverted::is(IpNet::from(*address))),
                    protocol: Some(protocol),
                    ..Rule::to(Target::Return)
                        .comment("DNS of the node")
                        .matching(Match::DestinationPort(protocol, DNS))
                });
            }
        }
        if self.judged.contains(&direction) {
            let set = gate(direction, self.family);
            rules.push(
                Rule::to(Target::Goto(names::classes(direction)))
                    .comment("addresses that policies judge")
                    .matching(Match::Set { inverted: false, set, lookup: own(direction) }),
            );
        }
        let blocks = self.holds(direction).into_iter().flat_map(|held| &held.blocks);
        for block in blocks.filter(|block| Family::of_cidr(block) == self.family) {
            let set = names::set(names::PM_KNOWN, self.family);
            let within = Some(Inverted::is(*block));
            let mut rule = Rule::to(Target::Goto(names::hold(direction)))
                .comment("addresses that are not known yet")
                .matching(Match::Set { inverted: true, set, lookup: own(direction) });
            match direction {
                Direction::Ingress => rule.destination = within,
                Direction::Egress => rule.source = within,
            }
            rules.push(rule);
        }
        rules
    }

    /// From its first packet on, an address is held back for a time, once.
    fn hold(&self, direction: Direction) -> Vec<Rule> {
        let lookup = own(direction);
        let (held, seen) =
            (names::set(names::PM_HELD, self.family), names::set(names::PM_SEEN, self.family));
        let found = |set| Match::Set { inverted: false, set, lookup };
        vec![
            Rule::to(Target::Drop).comment("held back").matching(found(held.clone())),
            Rule::to(Target::Return).comment("held back long enough").matching(found(seen.clone())),
            Rule::to(Target::AddToSet { set: seen, lookup }),
            Rule::to(Target::AddToSet { set: held, lookup }),
            Rule::to(Target::Drop).comment("held back from now on"),
        ]
    }
}
