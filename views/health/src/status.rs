//! What the agent reported of itself, and what follows from it. No clock is read here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Family, Node};

use crate::moment::Moment;

/// The taint by which the cluster autoscaler announces that it removes a node
/// (autoscaler, `utils/taints`; kube-proxy reads it since kubernetes#116470).
pub const TO_BE_DELETED_TAINT: &str = "ToBeDeletedByClusterAutoscaler";

/// How patient the judgement is, and what it may expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectations {
    /// The families that are written.
    pub families: Vec<Family>,
    /// A change that waited so long for the kernel makes its family unhealthy. kube-proxy: twice
    /// `syncPeriod`.
    pub sync_timeout: Duration,
    /// A watch that heard nothing for so long is stale. Servers send a bookmark about every minute,
    /// and a connection that is silent for 90 s is replaced; one more minute lets that succeed.
    pub watch_silence: Duration,
    /// Whether there should be a Node object. Where there need not be one (manifests from a
    /// folder), the node counts as eligible without it.
    pub node_object: bool,
}

impl Default for Expectations {
    fn default() -> Self {
        Self {
            families: Family::ALL.to_vec(),
            sync_timeout: Duration::from_secs(60),
            watch_silence: Duration::from_secs(150),
            node_object: true,
        }
    }
}

/// How the watch of one kind fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Whether the server answers it now.
    pub connected: bool,
    /// Whether the kind was delivered completely at least once.
    pub listed: bool,
    /// When the server last said anything, bookmarks included.
    pub last_event: Option<Instant>,
    /// What went wrong last, until something goes well again.
    pub failure: Option<String>,
    /// How often the kind was listed from nothing.
    pub lists: u64,
    /// How often a watch ended at once without an event (kubernetes#73324).
    pub short_watches: u64,
    /// Whether routing goes on without it, so that its silence leaves the agent ready.
    pub optional: bool,
}

/// Whether network policies are enforced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Whether they are.
    pub enforced: bool,
    /// Why, in words for the operator.
    pub because: String,
}

/// The last sync that failed, until one succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When it failed last.
    pub at: Moment,
    /// Why.
    pub cause: String,
}

/// How one family fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FamilySync {
    /// The last time when the kernel was known to hold what was planned.
    pub last_success: Option<Moment>,
    /// Since when the oldest change waits that the kernel does not hold.
    pub oldest_queued: Option<Moment>,
    /// The last failure, until a success.
    pub failure: Option<Failure>,
    /// How many objects of the kernel differed from the plan when they were last compared and not
    /// yet repaired.
    pub drift: u64,
}

/// How many sockets answer for `healthCheckNodePort`s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounts {
    /// Open ones.
    pub listening: usize,
    /// Those that could not be opened, and are tried again.
    pub failed: usize,
}

/// Whether the own Node object is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeObject {
    /// Nothing was heard yet.
    Unknown,
    Present,
    Missing,
}

/// Why the agent is not ready. The words are stable: answers and metrics carry them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unready {
    /// Nothing was written yet: the kernel goes on with what it held.
    NotSynced,
    /// The last write failed.
    SyncFailed,
    /// A change has waited too long for the kernel.
    SyncLate,
    /// A watch heard nothing for too long: the cluster may have moved on (kubernetes#76338).
    WatchStale,
    /// There is no Node object of this node's name (kubernetes#83791).
    NodeMissing,
    /// The kernel does not hold what was written to it.
    Drift,
}

impl Unready {
    /// All reasons, in the order in which they are told.
    pub const ALL: [Unready; 6] = [
        Unready::NotSynced,
        Unready::SyncFailed,
        Unready::SyncLate,
        Unready::WatchStale,
        Unready::NodeMissing,
        Unready::Drift,
    ];

    /// The stable word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Unready::NotSynced => "not-synced",
            Unready::SyncFailed => "sync-failed",
            Unready::SyncLate => "sync-late",
            Unready::WatchStale => "watch-stale",
            Unready::NodeMissing => "node-missing",
            Unready::Drift => "drift",
        }
    }
}

/// Everything that was reported, and the judgement of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    expectations: Expectations,
    started: Moment,
    families: BTreeMap<Family, FamilySync>,
    watches: BTreeMap<Arc<str>, Watch>,
    node: NodeObject,
    /// What the last copy of the Node object said; a Node that vanished leaves it as it was.
    eligible: bool,
    sockets: PortCounts,
    network_policy: Option<NetworkPolicy>,
}

impl Status {
    /// The status of an agent that has just started. Like kube-proxy's, it is healthy until a change
    /// waits for too long; it is not ready before its first write.
    #[must_use]
    pub fn new(expectations: Expectations, started: Moment) -> Self {
        let families = expectations.families.iter().map(|&family| (family, FamilySync::default()));
        Self {
            families: families.collect(),
            started,
            watches: BTreeMap::new(),
            node: NodeObject::Unknown,
            sockets: PortCounts::default(),
            network_policy: None,
            eligible: !expectations.node_object,
            expectations,
        }
    }

    /// A change waits for the kernel. The oldest one counts.
    pub fn queued(&mut self, family: Family, at: Moment) {
        if let Some(state) = self.families.get_mut(&family) {
            state.oldest_queued.get_or_insert(at);
        }
    }

    /// The kernel holds what was planned.
    pub fn synced(&mut self, family: Family, at: Moment) {
        if let Some(state) = self.families.get_mut(&family) {
            state.last_success = Some(at);
            state.oldest_queued = None;
            state.failure = None;
        }
    }

    /// A write failed: what it should have brought waits on.
    pub fn failed(&mut self, family: Family, at: Moment, cause: impl Into<String>) {
        if let Some(state) = self.families.get_mut(&family) {
            state.failure = Some(Failure { at, cause: cause.into() });
            state.oldest_queued.get_or_insert(at);
        }
    }

    /// How many objects of the kernel differed from what was written, when they were last compared;
    /// 0 after a repair.
    pub fn drift(&mut self, family: Family, objects: u64) {
        if let Some(state) = self.families.get_mut(&family) {
            state.drift = objects;
        }
    }

    /// How the watch of a kind fares now.
    pub fn watch(&mut self, kind: impl Into<Arc<str>>, watch: Watch) {
        self.watches.insert(kind.into(), watch);
    }

    /// What is known of the own Node; `None` once it is certain that there is none. A Node that
    /// vanishes keeps the eligibility that its last copy had, as with kube-proxy: its removal from
    /// the load balancers is the cloud controller's to do.
    pub fn node(&mut self, node: Option<&Node>) {
        if !self.expectations.node_object && node.is_none() {
            (self.node, self.eligible) = (NodeObject::Unknown, true);
            return;
        }
        self.node = if node.is_some() { NodeObject::Present } else { NodeObject::Missing };
        if let Some(node) = node {
            let leaving = node.taints.iter().any(|taint| *taint.key == *TO_BE_DELETED_TAINT);
            self.eligible = !node.deleting && !leaving;
        }
    }

    /// It was decided whether network policies are enforced.
    pub fn decided(&mut self, policy: NetworkPolicy) {
        self.network_policy = Some(policy);
    }

    /// Whether network policies are enforced; `None` until that is decided.
    #[must_use]
    pub fn network_policy(&self) -> Option<&NetworkPolicy> {
        self.network_policy.as_ref()
    }

    /// How many sockets answer for `healthCheckNodePort`s now.
    pub(crate) fn health_check_sockets(&mut self, counts: PortCounts) {
        self.sockets = counts;
    }

    /// How many sockets answer for `healthCheckNodePort`s.
    #[must_use]
    pub fn sockets(&self) -> PortCounts {
        self.sockets
    }

    /// A watch is stale after another time than [`Expectations::watch_silence`] said.
    pub fn set_watch_silence(&mut self, silence: Duration) {
        self.expectations.watch_silence = silence;
    }

    /// The operator expects changes to be written within another time.
    pub fn set_sync_timeout(&mut self, timeout: Duration) {
        self.expectations.sync_timeout = timeout;
    }

    /// What is expected.
    #[must_use]
    pub fn expectations(&self) -> &Expectations {
        &self.expectations
    }

    /// When the agent started.
    #[must_use]
    pub fn started(&self) -> Moment {
        self.started
    }

    /// How each family fares.
    #[must_use]
    pub fn families(&self) -> &BTreeMap<Family, FamilySync> {
        &self.families
    }

    /// How each watch fares, by the kind's name.
    #[must_use]
    pub fn watches(&self) -> &BTreeMap<Arc<str>, Watch> {
        &self.watches
    }

    /// Whether the node may get new connections from load balancers: its Node object is known, not
    /// being deleted and not about to be removed by the autoscaler (KEP-3836).
    #[must_use]
    pub fn node_eligible(&self) -> bool {
        self.eligible
    }

    /// Whether a family keeps up: nothing waits for the kernel longer than the sync timeout. A
    /// family that is not written is healthy.
    #[must_use]
    pub fn healthy(&self, family: Family, now: Moment) -> bool {
        let queued = self.families.get(&family).and_then(|state| state.oldest_queued);
        queued.is_none_or(|queued| now.since(queued) < self.expectations.sync_timeout)
    }

    /// Whether every family keeps up.
    #[must_use]
    pub fn all_healthy(&self, now: Moment) -> bool {
        self.families.keys().all(|&family| self.healthy(family, now))
    }

    /// When a family was last known to be right: its last good write, or the start before the first.
    #[must_use]
    pub fn last_updated(&self, family: Family) -> Moment {
        let state = self.families.get(&family);
        state.and_then(|state| state.last_success).unwrap_or(self.started)
    }

    /// How long a watch has heard nothing; counted from the start where it never heard anything.
    #[must_use]
    pub fn watch_age(&self, watch: &Watch, now: Moment) -> Duration {
        now.steady.saturating_duration_since(watch.last_event.unwrap_or(self.started.steady))
    }

    /// Why the agent is not ready, with one sentence for each; nothing if it is.
    #[must_use]
    pub fn unready(&self, now: Moment) -> Vec<(Unready, String)> {
        let mut reasons = Vec::new();
        for (&family, state) in &self.families {
            self.judge_family(family, state, now, &mut reasons);
        }
        for (kind, watch) in self.watches.iter().filter(|(_, watch)| !watch.optional) {
            let age = self.watch_age(watch, now);
            if age > self.expectations.watch_silence {
                let why = watch.failure.as_deref().map(|why| format!(": {why}"));
                let (why, age) = (why.unwrap_or_default(), age.as_secs());
                let text = format!("nothing heard of {kind} for {age} s{why}");
                reasons.push((Unready::WatchStale, text));
            }
        }
        if self.node == NodeObject::Missing {
            let text = "no Node object of this node's name is known; topology hints by zone, pod \
                        CIDR and the node's own addresses are not used";
            reasons.push((Unready::NodeMissing, text.into()));
        }
        reasons.sort();
        reasons
    }

    fn judge_family(
        &self,
        family: Family,
        state: &FamilySync,
        now: Moment,
        reasons: &mut Vec<(Unready, String)>,
    ) {
        if state.last_success.is_none() {
            let text = format!("{family}: nothing written yet, the kernel keeps what it held");
            reasons.push((Unready::NotSynced, text));
        }
        if let Some(failure) = &state.failure {
            let (ago, why) = (now.since(failure.at).as_secs(), &failure.cause);
            let text = format!("{family}: the last write failed {ago} s ago: {why}");
            reasons.push((Unready::SyncFailed, text));
        }
        if !self.healthy(family, now) {
            let waits = state.oldest_queued.map_or(0, |queued| now.since(queued).as_secs());
            let text = format!("{family}: a change has waited {waits} s for the kernel");
            reasons.push((Unready::SyncLate, text));
        }
        if state.drift > 0 {
            let count = state.drift;
            let text = format!("{family}: {count} objects of the kernel differ from the plan");
            reasons.push((Unready::Drift, text));
        }
    }
}
