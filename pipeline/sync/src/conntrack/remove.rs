//! Taking stale flows out of the table.

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::{Cut, Family, FlowDestination, Protocol, StaleFlows};

use super::{Conntrack, Deletion, Entry, Filter, Filtering};
use crate::Error;

/// Each question makes the kernel walk through its whole table, whatever the filter lets through.
/// For more destinations of one protocol than this, one question for all of them is cheaper.
const QUESTIONS: usize = 8;

/// What became of stale flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Entries that were deleted.
    pub deleted: usize,
    /// Entries that the kernel would not let go, for they are offloaded.
    pub offloaded: usize,
    /// How often the kernel was asked.
    pub questions: usize,
    /// How many entries it transferred.
    pub transferred: usize,
}

/// Stale flows by the address, or by none for NodePorts, and the port.
type Index<'a> = BTreeMap<(Option<IpAddr>, u16), Vec<&'a StaleFlows>>;

impl Conntrack {
    /// Deletes the entries of stale flows, and no others. To be called after the rules are in
    /// force, or the next packet makes an equal entry again.
    ///
    /// # Errors
    /// What keeps entries from being read or deleted; those deleted before stay deleted, and the
    /// same list may be given again.
    pub fn remove(&mut self, stale: &[StaleFlows]) -> Result<Removed, Error> {
        let mut removed = Removed::default();
        let mut groups: BTreeMap<(Family, Protocol), Vec<&StaleFlows>> = BTreeMap::new();
        for flows in stale {
            groups.entry((flows.family, flows.protocol)).or_default().push(flows);
        }
        for ((family, protocol), flows) in groups {
            let mut found = BTreeMap::new();
            let index = index(&flows);
            for filter in questions(family, protocol, &index, self.filtering()) {
                removed.questions += 1;
                removed.transferred += self.list(&filter, |entry| {
                    if is_stale(&index, entry) {
                        found.insert((entry.zone, entry.original), *entry);
                    }
                })?;
            }
            for entry in found.values() {
                match self.delete(entry)? {
                    Deletion::Done => removed.deleted += 1,
                    Deletion::Offloaded => removed.offloaded += 1,
                    Deletion::Gone => {}
                }
            }
        }
        Ok(removed)
    }
}

fn index<'a>(flows: &[&'a StaleFlows]) -> Index<'a> {
    let mut index = Index::new();
    for flows in flows {
        let address = match &flows.destination {
            FlowDestination::Address(address) => Some(*address),
            FlowDestination::NodePort(_) => None,
        };
        index.entry((address, flows.port)).or_default().push(flows);
    }
    index
}

fn is_stale(index: &Index<'_>, entry: &Entry) -> bool {
    let Some(flow) = entry.flow() else { return false };
    let (address, port) = (flow.destination.ip(), flow.destination.port());
    let candidates = [Some(address), None].into_iter().filter_map(|key| index.get(&(key, port)));
    candidates.flatten().any(|flows| flows.hold(&flow))
}

/// What to ask the kernel for.
fn questions(
    family: Family,
    protocol: Protocol,
    index: &Index<'_>,
    filtering: Filtering,
) -> Vec<Filter> {
    let only_half_open = index
        .values()
        .flatten()
        .all(|flows| flows.translated != Cut::All && flows.untranslated != Cut::All);
    let of_protocol = Filter {
        protocol: Some(protocol.number()),
        // SCTP's half-open entries may be assured.
        not_assured: only_half_open && protocol == Protocol::Tcp,
        ..Filter::family(family)
    };
    if index.len() > QUESTIONS || filtering == Filtering::Here {
        return vec![of_protocol];
    }
    let one =
        |&(destination, port): &(_, u16)| Filter { destination, port: Some(port), ..of_protocol };
    index.keys().map(one).collect()
}
