//! Connection tracking after a write: flows that lead to where nobody is any more must find the
//! new rules.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use model::{Cluster, Owner};
use plan::{Flows, Intent, PerFamily};
use sync::conntrack::Conntrack;
use tracing::{debug, warn};

/// Forgets stale flows, where the kernel lets us.
pub(crate) struct StaleFlows {
    flows: Flows,
    conntrack: Option<Conntrack>,
}

impl StaleFlows {
    pub(crate) fn open() -> Self {
        let conntrack = Conntrack::open()
            .inspect_err(|error| warn!("{error}; flows to endpoints that left go on as they are"))
            .ok();
        Self { flows: Flows::default(), conntrack }
    }

    /// Deletes what the rules that the kernel now holds make stale; says how many entries of each
    /// family, and how long it took.
    pub(crate) fn forget(
        &mut self,
        cluster: &Cluster,
        intent: &Intent,
        owners: &BTreeSet<Owner>,
    ) -> PerFamily<Forgotten> {
        let stale = self.flows.update(cluster, intent, owners);
        PerFamily::of(|family| {
            let start = Instant::now();
            let of_family: Vec<_> =
                stale.iter().filter(|flows| flows.family == family).cloned().collect();
            let Some(conntrack) = self.conntrack.as_mut().filter(|_| !of_family.is_empty()) else {
                return Forgotten { entries: 0, took: start.elapsed() };
            };
            let entries = match conntrack.remove(&of_family) {
                Ok(removed) => {
                    debug!(%family, deleted = removed.deleted, read = removed.transferred, "stale flows");
                    removed.deleted
                }
                Err(error) => {
                    warn!("{error}; some {family} flows may go on to endpoints that left");
                    0
                }
            };
            Forgotten { entries, took: start.elapsed() }
        })
    }
}

/// What was forgotten of one family.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Forgotten {
    pub(crate) entries: usize,
    pub(crate) took: Duration,
}
