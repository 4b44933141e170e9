//! Connections that policies let through once: after a change, those that they would not let through
//! any more are condemned.
//!
//! An entry is not deleted, for the next packet of the answering side would make a new one that looks
//! as if that side had begun. It gets a mark, and the first rule of the policies drops what carries
//! it. A later change that lets the connection through again takes the mark away. Entries of which
//! the verdict is the same are not touched.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::ExistingConnections;
use explain::policy::{Path, PolicyPacket, Ruling, Traffic, Why, evaluate};
use model::{Family, Host, PolicyAction, Protocol};
use plan::policy::{
    CONDEMNED_CT_MARK, ClassRule, NamedPortsKey, PeerMatch, PolicyChanges, PolicyIntent, PortMatch,
    RuleMatch, SetKey,
};
use sync::conntrack::{Conntrack, Entry, Filter, Marking};
use tracing::{debug, warn};

/// Each question makes the kernel walk through its whole table, whatever the filter lets through.
/// For more addresses than this, reading it once is cheaper than asking twice for each.
const ADDRESSES: usize = 4;
/// As long as something may be condemned, more has to be asked for; so long at most until everything
/// is looked at once, and it shows whether that is still so.
const LOOK: Duration = Duration::from_secs(600);

/// What was done to connections after a change of the policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Entries that no packet passes by any more.
    pub(crate) condemned: usize,
    /// Entries that were condemned and are let through again.
    pub(crate) pardoned: usize,
    /// Entries that the kernel told for it.
    pub(crate) read: usize,
}

/// Judges connections again where policies changed.
pub(crate) struct Existing {
    conntrack: Option<Conntrack>,
    /// What was judged last may not be what policies say now: everything is to be judged.
    everything: bool,
    /// Whether some entry may carry the mark.
    condemned: bool,
    /// When everything was judged last.
    judged: Instant,
}

impl Existing {
    /// Nothing is ever judged again if connections are to be kept.
    pub(crate) fn open(what: ExistingConnections) -> Self {
        let conntrack = match what {
            ExistingConnections::Keep => None,
            ExistingConnections::Cut => Conntrack::open()
                .inspect_err(|error| {
                    warn!("{error}; connections that policies forbid go on until they end");
                })
                .ok(),
        };
        Self { conntrack, everything: true, condemned: true, judged: Instant::now() }
    }

    /// What changed since the last judgement is not known.
    pub(crate) fn suspect(&mut self) {
        self.everything = true;
    }

    /// Judges what the rules that the kernel now holds may have changed.
    pub(crate) fn judge(
        &mut self,
        host: &Host,
        intent: &PolicyIntent,
        changes: &PolicyChanges,
    ) -> Judged {
        let Some(conntrack) = self.conntrack.as_mut().filter(|_| intent.enforced) else {
            return Judged::default();
        };
        let scope = match self.everything {
            true => None,
            false => Some(affected(intent, changes, self.condemned)),
        };
        if scope.as_ref().is_some_and(BTreeSet::is_empty) {
            return Judged::default();
        }
        let look = self.condemned && self.judged.elapsed() >= LOOK;
        let scope = scope.filter(|_| !look);
        if scope.is_none() {
            self.judged = Instant::now();
        }
        let judged = judge(conntrack, host, intent, scope.as_ref()).inspect_err(|error| {
            warn!("{error}; connections that policies forbid go on until the next change");
        });
        self.everything = judged.is_err();
        let (judged, left) = judged.unwrap_or((Judged::default(), true));
        // What another address is concerned with may still be condemned.
        self.condemned = left || self.condemned && scope.is_some();
        if judged != Judged::default() {
            debug!(?judged, "connections were judged again");
        }
        judged
    }
}

/// Asks for the entries of these addresses, or for all, and marks those whose verdict is another
/// now. Says too whether some are condemned.
fn judge(
    conntrack: &mut Conntrack,
    host: &Host,
    intent: &PolicyIntent,
    scope: Option<&BTreeSet<IpAddr>>,
) -> Result<(Judged, bool), sync::Error> {
    let own: BTreeSet<IpAddr> = host.addresses.iter().map(|own| own.address).collect();
    let (mut judged, mut left) = (Judged::default(), false);
    let mut wrong: BTreeMap<_, (Entry, bool)> = BTreeMap::new();
    for filter in questions(scope) {
        judged.read += conntrack.list(&filter, |entry| {
            let Some(forbidden) = forbidden(intent, &own, entry) else { return };
            let marked = entry.mark & CONDEMNED_CT_MARK != 0;
            left |= forbidden;
            if forbidden != marked {
                wrong.insert((entry.zone, entry.protocol, entry.original), (*entry, forbidden));
            }
        })?;
    }
    for (entry, forbidden) in wrong.values() {
        let bits = if *forbidden { CONDEMNED_CT_MARK } else { 0 };
        match (conntrack.mark(entry, bits, CONDEMNED_CT_MARK)?, forbidden) {
            (Marking::Done, true) => judged.condemned += 1,
            (Marking::Done, false) => judged.pardoned += 1,
            (Marking::Gone, _) => {}
        }
    }
    Ok((judged, left))
}

fn questions(scope: Option<&BTreeSet<IpAddr>>) -> Vec<Filter> {
    let Some(scope) = scope else { return Family::ALL.map(Filter::family).to_vec() };
    let of = |family| scope.iter().copied().filter(move |address| Family::of(*address) == family);
    let mut questions = Vec::new();
    for family in Family::ALL {
        let filter = Filter::family(family);
        if of(family).count() > ADDRESSES {
            questions.push(filter);
            continue;
        }
        for address in of(family) {
            questions.push(Filter { source: Some(address), ..filter });
            questions.push(Filter { answers_from: Some(address), ..filter });
        }
    }
    questions
}

/// Whether policies would not let the connection through if it began now; `None` where that is not
/// for them to say.
fn forbidden(intent: &PolicyIntent, own: &BTreeSet<IpAddr>, entry: &Entry) -> Option<bool> {
    let (source, destination) = (entry.original.source.ip(), entry.reply.source.ip());
    let protocol = Protocol::ALL.into_iter().find(|one| one.number() == entry.protocol);
    let traffic = match (protocol, entry.protocol, Family::of(source)) {
        (Some(protocol), ..) => Traffic::Port { protocol, port: entry.reply.source.port() },
        // Of ICMP, only questions make an entry: no neighbour discovery.
        (None, 1, Family::V4) => Traffic::Icmp { kind: 8 },
        (None, 58, Family::V6) => Traffic::Icmp { kind: 128 },
        (None, protocol, _) => Traffic::Other { protocol },
    };
    let path = path(|address| own.contains(address), source, destination);
    let packet = PolicyPacket { source, destination, traffic, path, established: false };
    let ruling = evaluate(intent, &packet);
    let Ruling { egress, ingress } = &ruling;
    // An address is held back for a while alone, and only before it has said anything.
    let held = *egress == Why::Held || *ingress == Some(Why::Held);
    (!held).then(|| !ruling.passes())
}

/// How a packet between two addresses goes, of which some are the node's own.
pub(crate) fn path(is_own: impl Fn(&IpAddr) -> bool, source: IpAddr, destination: IpAddr) -> Path {
    match (is_own(&source), is_own(&destination)) {
        (true, _) => Path::FromNode,
        (false, true) => Path::ToNode,
        (false, false) => Path::Forwarded,
    }
}

/// The addresses whose connections a change may forbid; if some are condemned, those too whose it may
/// let through again.
fn affected(intent: &PolicyIntent, changes: &PolicyChanges, condemned: bool) -> BTreeSet<IpAddr> {
    let mut affected = BTreeSet::new();
    let applies = |address: &&IpAddr| condemned || intent.subjects.contains_key(*address);
    affected.extend(changes.subjects.iter().filter(applies));
    if !changes.classes.is_empty() {
        for (address, subject) in &intent.subjects {
            let of = [&subject.ingress, &subject.egress].into_iter().flatten();
            if of.into_iter().any(|class| changes.classes.contains(class)) {
                affected.insert(*address);
            }
        }
    }
    // Of a set that comes or goes, the classes that name it are among the changes.
    for (key, delta) in &changes.sets {
        if delta.existed && intent.sets.contains_key(key) {
            affected.extend(&delta.removed);
            if condemned || narrows(intent, |way| names_set(way, key)) {
                affected.extend(&delta.added);
            }
        }
    }
    for (key, delta) in &changes.named_ports {
        if delta.existed && intent.named_ports.contains_key(key) {
            affected.extend(delta.removed.iter().map(|port| port.address));
            if condemned || narrows(intent, |way| names_ports(way, key)) {
                affected.extend(delta.added.iter().map(|port| port.address));
            }
        }
    }
    affected
}

/// Whether some rule that does anything but accept has such a match: it may deny more the more it
/// matches.
fn narrows(intent: &PolicyIntent, is_such: impl Fn(&RuleMatch) -> bool) -> bool {
    let rules = intent.classes.values().flat_map(|class| class.rules());
    let accepts = |rule: &&Arc<ClassRule>| rule.action != PolicyAction::Accept;
    rules.filter(accepts).any(|rule| rule.matches.iter().any(&is_such))
}

fn names_set(way: &RuleMatch, key: &SetKey) -> bool {
    matches!(&way.peer, PeerMatch::Set(set) if set == key)
}

fn names_ports(way: &RuleMatch, key: &NamedPortsKey) -> bool {
    matches!(&way.ports, PortMatch::AnyOf { named, .. } if named.contains(key))
}

#[cfg(test)]
mod tests;
