//! A packet's way through rendered rules, as the kernel would walk them.
//!
//! Nothing here knows what the rules are meant to do: the tracer reads rules alone, so that it can
//! contradict the Intent that they were made from.

mod flight;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use model::{Family, Host};
use render::iptables::{ChainId, Match, Rule, Ruleset, Table, Target};
use serde::Serialize;
use thiserror::Error;

use crate::fate::{Fates, Mixed};
use crate::policy::{Path, PolicyPacket, Traffic};
use crate::{Enters, Packet, Verdict};
pub(crate) use flight::{Flight, Lasting, Meets, Surroundings};
use walk::{Hook, Walk};

/// What becomes of a packet, and by which rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// What becomes of it.
    pub verdict: Verdict,
    /// Every rule that met the packet, in the order of the walk. Where chance decides, all ways are
    /// walked, so the rules of each follow one another.
    pub steps: Vec<Step>,
}

/// One rule that met the packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The table.
    pub table: Table,
    /// The chain.
    pub chain: Arc<str>,
    /// The rule, as `iptables-save` prints it after `-A CHAIN `.
    pub rule: String,
    /// What followed.
    pub then: Then,
}

/// What a rule did with a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Then {
    /// Nothing: the rule has no target.
    Nothing,
    /// The packet went into another chain.
    Jump(Arc<str>),
    /// The packet went into another chain, not to come back here.
    Goto(Arc<str>),
    /// An address of it was put into a set.
    Remember(Arc<str>),
    /// A process was told of it.
    Tell,
    /// It went back to the chain before, or met the policy of the built-in chain, which accepts.
    Return,
    /// It left this hook.
    Accept,
    /// It vanished.
    Drop,
    /// It was refused by an ICMP error.
    Reject,
    /// It got another destination, and left this hook.
    Dnat(SocketAddr),
    /// It got another source, and left this hook.
    Masquerade,
    /// Its mark changed, and it went on.
    Mark,
}

/// Why a packet cannot be followed. Each is a defect of the rules: say which packet and which
/// ruleset it was.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TraceError {
    /// A rule leads to a chain that is not there.
    #[error("{chain} leads to {target}, which is not there; render the chain or drop the jump")]
    MissingChain {
        /// Where the rule is.
        chain: ChainId,
        /// Where it leads.
        target: Arc<str>,
    },
    /// A rule looks something up in a set that is not there.
    #[error("{chain} names the set {set}, which is not there; render the set or drop the rule")]
    MissingSet {
        /// Where the rule is.
        chain: ChainId,
        /// The set.
        set: Arc<str>,
    },
    /// The kernel follows at most sixteen jumps.
    #[error("jumps nest too deep at {chain}; look for a loop")]
    TooDeep {
        /// Where the next jump would be.
        chain: ChainId,
    },
    /// A rule that the kernel refuses where it stands, or that the tracer does not know.
    #[error("{chain} holds a rule that cannot stand there ({why}): {rule}")]
    Shape {
        /// Where the rule is.
        chain: ChainId,
        /// The rule.
        rule: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Chance decides between fates that differ by more than the backend.
    #[error("the packet's fate depends on chance: {fates}; look for a cascade without an end")]
    Divided {
        /// The fates.
        fates: String,
    },
    /// A packet that nothing translated is masqueraded all the same.
    #[error("the packet is masqueraded but not translated; look for a mark without a translation")]
    MasqueradedPass,
}

/// Follows the first packet of a connection: `nat` PREROUTING or OUTPUT, then `filter` INPUT,
/// FORWARD or OUTPUT by the destination that it has by then, then `nat` POSTROUTING where it leaves
/// the node. What the node sends to itself goes through OUTPUT, POSTROUTING and INPUT. Every way
/// that chance can choose is followed. No client is remembered yet (`recent`), and the connection is
/// NEW.
///
/// A backend of the node itself keeps the client's address however the packet is marked, unless the
/// node is the client: what comes in for an address of the node never meets POSTROUTING.
///
/// A packet whose source and destination are of different families passes.
///
/// # Errors
/// [`TraceError`] where the rules cannot be followed.
pub fn trace_iptables(
    ruleset: &Ruleset,
    host: &Host,
    packet: &Packet,
) -> Result<Trace, TraceError> {
    let family = Family::of(packet.destination);
    if Family::of(packet.source) != family {
        return Ok(Trace { verdict: Verdict::Pass, steps: Vec::new() });
    }
    let chains = all_chains(ruleset)?;
    let sets = &ruleset.policy.sets;
    let (steps, lasting) = (Vec::new(), Lasting::of(packet));
    let mut walk = Walk { chains: &chains, family, host, sets, packet: lasting, steps };
    let mut ended = Fates::default();
    let destination = SocketAddr::new(packet.destination, packet.port);
    let first = BTreeSet::from([Flight::to(destination)]);
    let arrived = match &packet.enters {
        Enters::Output => sent(&mut walk, first, &mut ended)?,
        Enters::Interface(name) => received(&mut walk, name, first, &mut ended)?,
    };
    for Flight { destination, translated, masqueraded, .. } in arrived {
        ended.arrived(destination, translated, masqueraded);
    }
    let verdict = ended.verdict().map_err(|mixed| match mixed {
        Mixed::Divided(fates) => TraceError::Divided { fates },
        Mixed::MasqueradedPass => TraceError::MasqueradedPass,
    })?;
    Ok(Trace { verdict, steps: walk.steps })
}

/// What the rules do with a packet of any kind that is judged by policies, and by which of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyTrace {
    /// Whether it passes.
    pub passes: bool,
    /// Every rule that met it, in the order of the walk.
    pub steps: Vec<Step>,
}

/// Follows a packet through the hook of `filter` where policies judge it: its addresses are those
/// behind any translation to an endpoint, and it is unmarked. Nobody was held back before.
///
/// # Errors
/// [`TraceError`] where the rules cannot be followed.
pub fn trace_iptables_policy(
    ruleset: &Ruleset,
    packet: &PolicyPacket,
) -> Result<PolicyTrace, TraceError> {
    let chains = all_chains(ruleset)?;
    let (host, sets) = (Host::default(), &ruleset.policy.sets);
    let lasting =
        Lasting { source: packet.source, traffic: packet.traffic, established: packet.established };
    let port = match packet.traffic {
        Traffic::Port { port, .. } => port,
        Traffic::Icmp { .. } | Traffic::Other { .. } => 0,
    };
    let name = match packet.path {
        Path::FromNode => "OUTPUT",
        Path::Forwarded => "FORWARD",
        Path::ToNode => "INPUT",
    };
    let family = Family::of(packet.destination);
    let (mut ended, steps) = (Fates::default(), Vec::new());
    let mut walk = Walk { chains: &chains, family, host: &host, sets, packet: lasting, steps };
    let first = BTreeSet::from([Flight::to(SocketAddr::new(packet.destination, port))]);
    let hook = Hook { table: Table::Filter, name, interface: None };
    let left = walk.hook(&hook, first, &mut ended)?;
    let steps = walk.steps;
    match (left.is_empty(), ended.dropped || ended.rejected) {
        (false, true) => Err(TraceError::Divided { fates: "passes, or is refused".into() }),
        (_, refused) => Ok(PolicyTrace { passes: !refused, steps }),
    }
}

/// Every chain, once it is sure that all sets are there.
fn all_chains(ruleset: &Ruleset) -> Result<BTreeMap<ChainId, Vec<&Rule>>, TraceError> {
    let mut chains = ruleset.chains();
    chains.extend(ruleset.built_in());
    for (chain, rule) in
        chains.iter().flat_map(|(chain, rules)| rules.iter().map(move |it| (chain, it)))
    {
        let matched = rule.matches.iter().filter_map(|one| match one {
            Match::Set { set, .. } => Some(set),
            _ => None,
        });
        let added = rule.target.iter().filter_map(|target| match target {
            Target::AddToSet { set, .. } => Some(set),
            _ => None,
        });
        for set in matched.chain(added) {
            if !ruleset.policy.sets.contains_key(set) {
                return Err(TraceError::MissingSet { chain: chain.clone(), set: set.clone() });
            }
        }
    }
    Ok(chains)
}

/// A packet that a process of the node sends.
fn sent(
    walk: &mut Walk<'_>,
    first: BTreeSet<Flight>,
    ended: &mut Fates,
) -> Result<BTreeSet<Flight>, TraceError> {
    let out = Hook { table: Table::Nat, name: "OUTPUT", interface: None };
    let translated = walk.hook(&out, first, ended)?;
    let filtered = walk.hook(&Hook { table: Table::Filter, ..out }, translated, ended)?;
    let left = walk.hook(&POSTROUTING, filtered, ended)?;
    let host = walk.host;
    let (own, others) = left.into_iter().partition(|flight| flight.is_for(host));
    // The kernel does not translate a second time what comes back by the loopback interface.
    let input = Hook { table: Table::Filter, name: "INPUT", interface: Some("lo") };
    let mut arrived = walk.hook(&input, own, ended)?;
    arrived.extend::<BTreeSet<Flight>>(others);
    Ok(arrived)
}

/// A packet that comes in by an interface.
fn received(
    walk: &mut Walk<'_>,
    interface: &str,
    first: BTreeSet<Flight>,
    ended: &mut Fates,
) -> Result<BTreeSet<Flight>, TraceError> {
    let hook = |table, name| Hook { table, name, interface: Some(interface) };
    let translated = walk.hook(&hook(Table::Nat, "PREROUTING"), first, ended)?;
    let host = walk.host;
    let (own, others) = translated.into_iter().partition(|flight| flight.is_for(host));
    let mut arrived = walk.hook(&hook(Table::Filter, "INPUT"), own, ended)?;
    let forwarded = walk.hook(&hook(Table::Filter, "FORWARD"), others, ended)?;
    arrived.extend(walk.hook(&POSTROUTING, forwarded, ended)?);
    Ok(arrived)
}

const POSTROUTING: Hook<'static> = Hook { table: Table::Nat, name: "POSTROUTING", interface: None };
