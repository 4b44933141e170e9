//! A packet's way through rendered nftables rules, as the kernel would walk them.
//!
//! Nothing here knows what the rules are meant to do: the tracer reads chains and elements alone, so
//! that it can contradict the Intent that they were made from.

mod flight;
mod lookup;
mod policy;
mod rule;
mod walk;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use model::{Family, Host};
use render::nftables::{Hook, Ruleset};
use serde::Serialize;
use thiserror::Error;

use crate::fate::{Fates, Mixed};
use crate::policy::Traffic;
use crate::{Enters, Packet, Verdict};
use flight::Flight;
use walk::{Passage, Table, Walk};

pub use policy::{PolicyTrace, trace_policy};

/// What becomes of a packet, and by which rules and elements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// What becomes of it.
    pub verdict: Verdict,
    /// Every rule that met the packet, in the order of the walk. Where chance decides, all ways are
    /// walked, so a rule stands once for each element that it may choose.
    pub steps: Vec<Step>,
}

/// One rule that met the packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Step {
    /// The chain.
    pub chain: Arc<str>,
    /// The rule, as nft lists it.
    pub rule: String,
    /// The element that decided, where the rule asked a map: its comment names the Service.
    pub element: Option<String>,
    /// What followed.
    pub then: Then,
}

/// What a rule did with a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Then {
    /// It went on to the next rule: marked, remembered, or as it was.
    Nothing,
    /// It went into another chain, and comes back from there.
    Jump(Arc<str>),
    /// It went into another chain for good.
    Goto(Arc<str>),
    /// It left this base chain; nothing more was asked there.
    Accept,
    /// It went back to where it had come from by a jump.
    Return,
    /// It vanished.
    Drop,
    /// It was refused by an ICMP error.
    Reject,
    /// It got another destination, and left this base chain.
    Dnat(SocketAddr),
    /// It got another source, and left this base chain.
    Masquerade,
}

/// Why a packet cannot be followed. Each is a defect of the rules: say which packet and which
/// ruleset it was.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TraceError {
    /// A rule or an element leads to a chain that is not there.
    #[error(
        "{chain} leads to {target}, which is not there; render the chain or drop what leads to it"
    )]
    MissingChain {
        /// Where the rule is.
        chain: Arc<str>,
        /// Where it leads.
        target: Arc<str>,
    },
    /// The kernel follows at most sixteen jumps.
    #[error("jumps nest too deep at {chain}; look for a loop")]
    TooDeep {
        /// Where the next jump would lead.
        chain: Arc<str>,
    },
    /// A rule that the kernel refuses where it stands, or that the tracer does not know.
    #[error("{chain} holds a rule that cannot stand there ({why}): {rule}")]
    Shape {
        /// Where the rule is.
        chain: Arc<str>,
        /// The rule.
        rule: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Chance decides between fates that differ by more than the backend.
    #[error("the packet's fate depends on chance: {fates}; look for an index without an element")]
    Divided {
        /// The fates.
        fates: String,
    },
    /// A packet that nothing translated is masqueraded all the same.
    #[error("the packet is masqueraded but not translated; look for a mark without a translation")]
    MasqueradedPass,
}

/// Follows the first packet of a connection through the base chains of each hook, by their priority:
/// prerouting, then input or forward by the destination that it has by then, then postrouting where
/// it leaves the node; or output and postrouting. What the node sends to itself comes back by the
/// loopback interface, through prerouting and input, and is not translated a second time. Every
/// index that chance can choose is followed. Nobody is remembered yet (no map that packets fill has
/// an element), the connection is new, and its mark and the packet's priority are zero.
///
/// A backend of the node itself keeps the client's address however the connection is marked, unless
/// the node is the client: what comes in for an address of the node never meets postrouting.
///
/// A packet whose source and destination are of different families passes.
///
/// # Errors
/// [`TraceError`] where the rules cannot be followed.
pub fn trace_nftables(
    ruleset: &Ruleset,
    host: &Host,
    packet: &Packet,
) -> Result<Trace, TraceError> {
    let family = Family::of(packet.destination);
    if Family::of(packet.source) != family {
        return Ok(Trace { verdict: Verdict::Pass, steps: Vec::new() });
    }
    let table = Table::of(ruleset, family);
    let mut walk = Walk {
        table: &table,
        affinity_size: ruleset.options.affinity_size,
        family,
        host,
        traffic: Traffic::Port { protocol: packet.protocol, port: packet.port },
        established: false,
        steps: Vec::new(),
        fates: Fates::default(),
    };
    let first = BTreeSet::from([Flight::new(packet)]);
    let arrived = match &packet.enters {
        Enters::Output => sent(&mut walk, first)?,
        Enters::Interface(name) => received(&mut walk, name, first)?,
    };
    let Walk { mut fates, steps, .. } = walk;
    for Flight { destination, translated, masqueraded, .. } in arrived {
        fates.arrived(destination, translated, masqueraded);
    }
    let verdict = fates.verdict().map_err(|mixed| match mixed {
        Mixed::Divided(fates) => TraceError::Divided { fates },
        Mixed::MasqueradedPass => TraceError::MasqueradedPass,
    })?;
    Ok(Trace { verdict, steps })
}

/// A packet that a process of the node sends.
fn sent(walk: &mut Walk<'_>, first: BTreeSet<Flight>) -> Result<BTreeSet<Flight>, TraceError> {
    let out = |hook| Passage { hook, interface: None, translates: true };
    let sent = walk.hook(&out(Hook::Output), first)?;
    let left = walk.hook(&out(Hook::Postrouting), sent)?;
    let host = walk.host;
    let (own, mut arrived) = apart(left, host);
    // Connection tracking knows what comes back by the loopback interface, as new still.
    let back = |hook| Passage { hook, interface: Some("lo"), translates: false };
    let own = walk.hook(&back(Hook::Prerouting), own)?;
    arrived.extend(walk.hook(&back(Hook::Input), own)?);
    Ok(arrived)
}

/// A packet that comes in by an interface.
fn received(
    walk: &mut Walk<'_>,
    interface: &str,
    first: BTreeSet<Flight>,
) -> Result<BTreeSet<Flight>, TraceError> {
    let by = |hook| Passage { hook, interface: Some(interface), translates: true };
    let translated = walk.hook(&by(Hook::Prerouting), first)?;
    let host = walk.host;
    let (own, others) = apart(translated, host);
    let mut arrived = walk.hook(&by(Hook::Input), own)?;
    let forwarded = walk.hook(&by(Hook::Forward), others)?;
    arrived.extend(walk.hook(&by(Hook::Postrouting), forwarded)?);
    Ok(arrived)
}

/// Those for the node itself, and the others.
fn apart(flights: BTreeSet<Flight>, host: &Host) -> (BTreeSet<Flight>, BTreeSet<Flight>) {
    flights.into_iter().partition(|flight| host.owns(flight.destination.ip()))
}
