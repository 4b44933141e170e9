//! What reads along with the agent. A view never writes back into the path.

pub(crate) mod dns;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod policy_log;
pub(crate) mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use intake::api::PolicyDecision;
use model::{Cluster, Notice, Owner};
use plan::{Intent, PerFamily};

use crate::dataplane::Outcome;
use crate::denied::Denied;
use crate::existing::Judged;
use crate::flows::Forgotten;
use crate::totals::Totals;
use crate::triggers::Trigger;

/// How many facts changed at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) services: u64,
    pub(crate) endpoints: u64,
    /// When those of endpoints began, where that is known.
    pub(crate) triggers: Vec<Trigger>,
}

/// A write that the kernel accepted, or found nothing to write for.
pub(crate) struct Synced<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) intent: &'a Intent,
    /// How much `intent` has.
    pub(crate) totals: Totals,
    /// Whose part may be different now.
    pub(crate) owners: &'a BTreeSet<Owner>,
    pub(crate) outcome: &'a Outcome,
    /// Whose rules the kernel would not take, of this write or of an earlier one, and why.
    pub(crate) refused: &'a BTreeMap<Owner, String>,
    /// Whether everything was compared with the kernel.
    pub(crate) full: bool,
    /// Whether somebody else had changed our rules.
    pub(crate) repaired: bool,
    /// What they did, if that is known.
    pub(crate) foreign: Option<&'a str>,
    /// Whether an audit found that the kernel held something else.
    pub(crate) drifted: bool,
    pub(crate) took: Duration,
    /// What connection tracking had to forget.
    pub(crate) forgotten: PerFamily<Forgotten>,
    /// What became of connections that policies were asked about again.
    pub(crate) judged: Judged,
}

/// A reader of the path. Each method has nothing to do unless a view says otherwise.
pub(crate) trait View {
    /// Something came in that the kernel does not hold yet.
    fn queued(&mut self, _changes: &Changes) {}

    /// Policies are enforced from now on, or are not.
    fn decided(&mut self, _decision: &PolicyDecision) {}

    /// Every list is complete, and these owners' facts are new or different.
    fn known(&mut self, _cluster: &Cluster, _owners: &BTreeSet<Owner>) {}

    /// All that is left out now.
    fn left_out(&mut self, _notices: &BTreeSet<Notice>) {}

    /// The kernel holds what is known.
    fn synced(&mut self, _synced: &Synced<'_>) {}

    /// A packet was denied by policies.
    fn denied(&mut self, _denied: &Denied) {}

    /// The kernel holds what it held before.
    fn failed(&mut self, _failure: &sync::Error, _full: bool, _took: Duration) {}
}
