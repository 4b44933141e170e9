//! The walk through one hook's chains.

use std::collections::{BTreeMap, BTreeSet};

use model::{Family, Host};
use render::iptables::ipset::IpSets;
use render::iptables::{ChainId, Match, PORT_SLOTS, PortRange, Rule, Table, Target};

use super::flight::{Flight, Lasting, Meets, Surroundings};
use super::{Step, Then, TraceError};
use crate::fate::Fates;

/// The kernel's own limit (`NFT_JUMP_STACK_SIZE`).
const DEEPEST: usize = 16;

/// A built-in chain.
#[derive(Clone, Copy)]
pub(super) struct Hook<'a> {
    pub(super) table: Table,
    pub(super) name: &'static str,
    /// The interface that packets came in by, where the hook knows one.
    pub(super) interface: Option<&'a str>,
}

/// What a walk needs to know, and what it has seen.
pub(super) struct Walk<'a> {
    pub(super) chains: &'a BTreeMap<ChainId, Vec<&'a Rule>>,
    pub(super) family: Family,
    pub(super) host: &'a Host,
    pub(super) sets: &'a IpSets,
    pub(super) packet: Lasting,
    pub(super) steps: Vec<Step>,
}

/// Where a walk is.
struct Place<'a, 'b> {
    hook: &'b Hook<'a>,
    chain: ChainId,
    depth: usize,
}

impl Walk<'_> {
    /// Sends packets through a hook and gives back those that leave it, changed as they are.
    pub(super) fn hook(
        &mut self,
        hook: &Hook<'_>,
        flights: BTreeSet<Flight>,
        ended: &mut Fates,
    ) -> Result<BTreeSet<Flight>, TraceError> {
        let chain = ChainId::new(self.family, hook.table, hook.name);
        // A built-in chain without a rule of ours; its policy is not ours to judge.
        if !self.chains.contains_key(&chain) {
            return Ok(flights);
        }
        let mut left = BTreeSet::new();
        let place = Place { hook, chain, depth: 0 };
        let through = self.chain(&place, flights, &mut left, ended)?;
        left.extend(through);
        Ok(left)
    }

    /// Sends packets through a chain and gives back those that come out at its end; those that
    /// leave the hook are put into `left`.
    fn chain(
        &mut self,
        place: &Place<'_, '_>,
        flights: BTreeSet<Flight>,
        left: &mut BTreeSet<Flight>,
        ended: &mut Fates,
    ) -> Result<BTreeSet<Flight>, TraceError> {
        let chains = self.chains;
        let rules = chains.get(&place.chain).map(Vec::as_slice).unwrap_or_default();
        let mut returned = BTreeSet::new();
        let mut live = flights;
        for rule in rules {
            if live.is_empty() {
                break;
            }
            let (met, missed) = self.sort(rule, place, live);
            live = missed;
            if met.is_empty() {
                continue;
            }
            check(rule, place)?;
            self.note(rule, place);
            match &rule.target {
                None => live.extend(met),
                Some(Target::Jump(to)) => {
                    live.extend(self.jump(to, place, met, left, ended)?);
                }
                Some(Target::Goto(to)) => {
                    returned.extend(self.jump(to, place, met, left, ended)?);
                }
                Some(Target::AddToSet { .. } | Target::NfLog { .. }) => live.extend(met),
                Some(Target::Return) => returned.extend(met),
                Some(Target::Accept) => left.extend(met),
                Some(Target::Drop) => ended.dropped = true,
                Some(Target::Reject) => ended.rejected = true,
                Some(Target::Dnat(to)) => left.extend(met.into_iter().map(|flight| Flight {
                    destination: *to,
                    translated: true,
                    ..flight
                })),
                Some(Target::Masquerade { .. }) => left
                    .extend(met.into_iter().map(|flight| Flight { masqueraded: true, ..flight })),
                Some(Target::Mark { value, mask }) => live.extend(
                    met.into_iter()
                        .map(|flight| Flight { mark: (flight.mark & !mask) ^ value, ..flight }),
                ),
            }
        }
        live.extend(returned);
        Ok(live)
    }

    fn jump(
        &mut self,
        to: &std::sync::Arc<str>,
        place: &Place<'_, '_>,
        flights: BTreeSet<Flight>,
        left: &mut BTreeSet<Flight>,
        ended: &mut Fates,
    ) -> Result<BTreeSet<Flight>, TraceError> {
        let chain = ChainId { name: to.clone(), ..place.chain.clone() };
        if !self.chains.contains_key(&chain) {
            let target = to.clone();
            return Err(TraceError::MissingChain { chain: place.chain.clone(), target });
        }
        let depth = place.depth + 1;
        if depth > DEEPEST {
            return Err(TraceError::TooDeep { chain });
        }
        self.chain(&Place { hook: place.hook, chain, depth }, flights, left, ended)
    }

    /// Those that a rule meets, and those that it misses; where chance decides, both.
    fn sort(
        &self,
        rule: &Rule,
        place: &Place<'_, '_>,
        flights: BTreeSet<Flight>,
    ) -> (BTreeSet<Flight>, BTreeSet<Flight>) {
        let around = Surroundings {
            packet: &self.packet,
            host: self.host,
            sets: self.sets,
            interface: place.hook.interface,
        };
        let mut met = BTreeSet::new();
        let mut missed = BTreeSet::new();
        for flight in flights {
            let meets = flight.meets(rule, &around);
            if meets != Meets::No {
                met.insert(flight.clone());
            }
            if meets != Meets::Yes {
                missed.insert(flight);
            }
        }
        (met, missed)
    }

    fn note(&mut self, rule: &Rule, place: &Place<'_, '_>) {
        self.steps.push(Step {
            table: place.chain.table,
            chain: place.chain.name.clone(),
            rule: rule.display(self.family).to_string(),
            then: match &rule.target {
                None => Then::Nothing,
                Some(Target::Jump(to)) => Then::Jump(to.clone()),
                Some(Target::Goto(to)) => Then::Goto(to.clone()),
                Some(Target::AddToSet { set, .. }) => Then::Remember(set.clone()),
                Some(Target::NfLog { .. }) => Then::Tell,
                Some(Target::Return) => Then::Return,
                Some(Target::Accept) => Then::Accept,
                Some(Target::Drop) => Then::Drop,
                Some(Target::Reject) => Then::Reject,
                Some(Target::Dnat(to)) => Then::Dnat(*to),
                Some(Target::Masquerade { .. }) => Then::Masquerade,
                Some(Target::Mark { .. }) => Then::Mark,
            },
        });
    }
}

fn port_slots(ranges: &[PortRange]) -> usize {
    ranges.iter().map(|range| if range.first == range.last { 1 } else { 2 }).sum()
}

/// Refuses rules that the kernel or the tool would refuse where they stand.
fn check(rule: &Rule, place: &Place<'_, '_>) -> Result<(), TraceError> {
    let family = place.chain.family;
    let (table, hook) = (place.hook.table, place.hook.name);
    let wrong = |why| {
        let rule = rule.display(family).to_string();
        Err(TraceError::Shape { chain: place.chain.clone(), rule, why })
    };
    for one in &rule.matches {
        if let Match::DestinationPort(protocol, _) | Match::Bare(protocol) = one
            && rule.protocol != Some(*protocol)
        {
            return wrong("a protocol's match without -p of that protocol");
        }
        if let Match::DestinationPorts(ranges) = one
            && (rule.protocol.is_none() || port_slots(ranges) > PORT_SLOTS)
        {
            return wrong("ports without -p, or too many of them");
        }
    }
    let blocks = [&rule.source, &rule.destination].into_iter().flatten();
    if blocks.into_iter().any(|block| Family::of_cidr(&block.value) != family) {
        return wrong("an address of the other family");
    }
    if rule.in_interface.is_some() && hook == "POSTROUTING" {
        return wrong("-i where a packet leaves");
    }
    match &rule.target {
        Some(Target::Drop | Target::Reject) if table != Table::Filter => {
            wrong("packets are refused in the filter table")
        }
        Some(Target::Dnat(to)) if Family::of(to.ip()) != family => {
            wrong("a destination of the other family")
        }
        Some(Target::Dnat(_)) if rule.protocol.is_none() => wrong("a port without a protocol"),
        Some(Target::Dnat(_))
            if table != Table::Nat || !["PREROUTING", "OUTPUT"].contains(&hook) =>
        {
            wrong("destinations are translated in nat, PREROUTING or OUTPUT")
        }
        Some(Target::Masquerade { .. }) if table != Table::Nat || hook != "POSTROUTING" => {
            wrong("sources are translated in nat, POSTROUTING")
        }
        _ => Ok(()),
    }
}
