//! The loop: what came in → Cluster → Intent → rules → kernel.
//!
//! Nothing is written before every list is complete. What the kernel accepted is remembered, and
//! only then: after a failure the next step compares with the kernel itself. So it does when
//! somebody else changed our rules.

mod inputs;
mod look;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use intake::Delivery;
use intake::api::PolicyDecision;
use model::{Change, Cluster, Family, NamespacedName, Owner};
use plan::policy::PolicyChanges;
use plan::{Config, Intent, Planner};
use sync::nflog::Logged;
use sync::watch::Heard;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

pub(crate) use self::inputs::{Inputs, Order};
use crate::asked::Snapshot;
use crate::dataplane::{Dataplane, Outcome};
use crate::denied::Denied;
use crate::existing::Existing;
use crate::flows::StaleFlows;
use crate::left_out::LeftOut;
use crate::pace::{Backoff, Complaint};
use crate::repair::{Cause, Repair};
use crate::totals::{self, Totals};
use crate::triggers::triggers;
use crate::views::{Changes, Synced, View};

/// One node's agent.
pub(crate) struct Agent<D> {
    /// Shared with whoever asked a moment ago.
    cluster: Arc<Cluster>,
    config: Config,
    planner: Planner,
    dataplane: D,
    flows: StaleFlows,
    existing: Existing,
    views: Vec<Box<dyn View>>,
    /// Owners that changed since the planner last looked.
    pending: BTreeSet<Owner>,
    /// Owners whose Intent the kernel has not accepted yet.
    unwritten: BTreeSet<Owner>,
    /// What the kernel holds, but for the policies: they are written by what differs. `None` before
    /// the first write and after a failed one.
    accepted: Option<Intent>,
    /// How much that is.
    totals: Totals,
    /// Owners whose rules the kernel would not take, and why. They are tried again when they change,
    /// and now and then.
    refused: BTreeMap<Owner, String>,
    repair: Repair,
    /// What others did to our rules since they were last compared.
    deed: Option<String>,
    /// When a failed write is tried again.
    retry: Option<Instant>,
    /// The least time between the end of a write and the next.
    rest: Duration,
    rested: Instant,
    backoff: Backoff,
    complaint: Complaint,
    complete: bool,
    /// Looks at the cluster once every list is complete; nothing is written if it objects.
    check: Option<Check>,
    left_out: LeftOut,
}

/// See [`Agent::checked_by`].
type Check = Box<dyn FnOnce(&Cluster) -> Result<()>>;

impl<D: Dataplane> Agent<D> {
    pub(crate) fn new(
        config: Config,
        dataplane: D,
        views: Vec<Box<dyn View>>,
        rest: Duration,
        existing: Existing,
    ) -> Self {
        Self {
            cluster: Arc::default(),
            planner: Planner::new(config.clone()),
            config,
            dataplane,
            flows: StaleFlows::open(),
            existing,
            views,
            pending: BTreeSet::new(),
            unwritten: BTreeSet::new(),
            accepted: None,
            totals: Totals::default(),
            refused: BTreeMap::new(),
            repair: Repair::new(Instant::now()),
            deed: None,
            retry: None,
            rest,
            rested: Instant::now(),
            backoff: Backoff::new(),
            complaint: Complaint::default(),
            complete: false,
            check: None,
            left_out: LeftOut::default(),
        }
    }

    /// Before the first write, this looks at the cluster; its error ends the agent.
    pub(crate) fn checked_by(
        mut self,
        check: impl FnOnce(&Cluster) -> Result<()> + 'static,
    ) -> Self {
        self.check = Some(Box::new(check));
        self
    }

    /// Works until the source ends; `once` ends it after the first write.
    pub(crate) async fn run(&mut self, inputs: Inputs, once: bool) -> Result<()> {
        let Inputs {
            deliveries: mut source,
            mut foreign,
            mut orders,
            decision,
            mut denied,
            mut asked,
        } = inputs;
        let mut glance = look::glances();
        loop {
            let wake = self.retry.unwrap_or_else(|| self.repair.next());
            tokio::select! {
                delivery = source.recv() => match delivery {
                    Some(delivery) => self.take(delivery, &decision),
                    None => return Ok(()),
                },
                Some(heard) = foreign.recv() => self.hear(&heard),
                Some(asked) = asked.recv(), if self.complete => asked.answer(self.snapshot()),
                Some(order) = orders.recv() => self.follow(order),
                Some(packet) = denied.recv() => {
                    self.tell(&packet);
                    continue;
                }
                _ = glance.tick() => if !self.look() { continue },
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            if self.complete {
                tokio::time::sleep_until(self.rested.into()).await;
            }
            // Whatever else is there already goes into the same write.
            while let Ok(more) = source.try_recv() {
                self.take(more, &decision);
            }
            while let Ok(more) = foreign.try_recv() {
                self.hear(&more);
            }
            if !self.complete {
                continue;
            }
            if let Some(check) = self.check.take() {
                check(&self.cluster)?;
            }
            let start = Instant::now();
            let synced = self.sync();
            self.rested = Instant::now() + self.rest;
            match synced {
                Ok(()) if once => return Ok(()),
                Ok(()) => {
                    self.backoff.reset();
                    self.complaint.reset();
                    self.retry = None;
                }
                Err(failure) if once => return Err(failure.into()),
                Err(failure) => self.fail(&failure, start.elapsed()),
            }
        }
    }

    /// A write failed as a whole. What comes in meanwhile waits for the next try too.
    fn fail(&mut self, failure: &sync::Error, took: Duration) {
        let (now, wait) = (Instant::now(), self.backoff.wait(took));
        let what = failure.to_string();
        if self.complaint.is_due(&what, now) {
            error!("{what}; the kernel keeps what it had, next try in {wait:?}");
        } else {
            debug!("{what}; next try in {wait:?}");
        }
        self.retry = Some(now + wait);
        self.rested = self.rested.max(now + wait);
    }

    fn take(&mut self, delivery: Delivery, decision: &watch::Receiver<Option<PolicyDecision>>) {
        self.left_out.take(&delivery);
        let mut changes = Changes::default();
        for change in delivery.changes {
            match &change {
                Change::Service(_) | Change::ServiceGone(_) => changes.services += 1,
                Change::Slice(_) | Change::SliceGone(_) => changes.endpoints += 1,
                Change::Services(list) => changes.services += list.len() as u64,
                Change::Slices(list) => changes.endpoints += list.len() as u64,
                _ => {}
            }
            // What the first lists say is from before the start, and says nothing of our speed.
            if self.complete {
                changes.triggers.extend(triggers(&self.cluster, &change));
            }
            self.pending.extend(Arc::make_mut(&mut self.cluster).apply(change));
        }
        if !self.pending.is_empty() {
            self.views.iter_mut().for_each(|view| view.queued(&changes));
        }
        if delivery.complete && !self.complete {
            self.complete = true;
            if let Some(decision) = &*decision.borrow() {
                self.decide(decision);
            }
            info!(services = self.cluster.services().len(), "every list is complete");
        }
    }

    /// Policies are enforced from now on, or are not; nothing was planned before.
    fn decide(&mut self, decision: &PolicyDecision) {
        let policy = &mut self.config.network_policy;
        policy.enforce = decision.enforce;
        // DNS that is answered at every address is answered at each of the node's own.
        let everywhere: Vec<_> = Family::ALL
            .into_iter()
            .filter(|family| policy.dns_listeners.remove(&family.any().network()))
            .collect();
        let own = self.cluster.host().addresses.iter().map(|own| own.address);
        policy.dns_listeners.extend(own.filter(|own| everywhere.contains(&Family::of(*own))));
        self.planner = Planner::new(self.config.clone());
        self.views.iter_mut().for_each(|view| view.decided(decision));
    }

    /// Plans everything anew if routing is to be another; what differs is then written.
    fn follow(&mut self, order: Order) {
        if let Some(rest) = order.rest {
            self.rest = rest;
        }
        let Some(routing) = order.routing else { return };
        // What was decided of policies holds until the process ends.
        let network_policy = self.config.network_policy.clone();
        self.config = Config { network_policy, ..routing };
        self.planner = Planner::new(self.config.clone());
        self.pending.extend(plan::owners(&self.cluster));
        let service = |name: &NamespacedName| Owner::Service(name.clone());
        if self.config.network_policy.enforce {
            // A new planner says what differs from nothing, and the kernel holds more than that.
            self.accepted = None;
            self.existing.suspect();
        }
        // The new planner has never asked for these, so it will not say that they are gone.
        let written = self.accepted.iter().flat_map(|accepted| accepted.servers.keys());
        self.unwritten.extend(written.map(service));
        self.unwritten.insert(Owner::Node);
    }

    /// Policies denied a packet.
    fn tell(&mut self, packet: &Logged) {
        let intent = &self.planner.intent().policy;
        if let Some(denied) = Denied::of(packet, &self.cluster, intent) {
            self.views.iter_mut().for_each(|view| view.denied(&denied));
        }
    }

    /// Somebody else changed something in nf_tables.
    fn hear(&mut self, heard: &Heard) {
        let Some(accepted) = &self.accepted else { return };
        let touched = self.dataplane.touched(heard, accepted);
        self.suspect(touched);
    }

    /// What is known now, at the price of a reference each.
    fn snapshot(&self) -> Snapshot {
        let (cluster, intent) = (self.cluster.clone(), self.planner.snapshot());
        Snapshot { cluster, intent, config: self.config.clone() }
    }

    /// Brings the kernel to what is known now.
    fn sync(&mut self) -> Result<(), sync::Error> {
        let start = Instant::now();
        let mut concerned = std::mem::take(&mut self.pending);
        let policy = self.plan(&concerned);
        let compare = self.repair.due(start);
        let idle = self.unwritten.is_empty() && policy.is_empty() && concerned.is_empty();
        if idle && compare.is_none() && self.accepted.is_some() {
            return Ok(());
        }
        let policy_refused = self.refused.keys().any(|owner| matches!(owner, Owner::Policy(_)));
        let again = self.refused.keys().any(|owner| self.unwritten.contains(owner))
            || policy_refused && !policy.is_empty();
        if compare.is_some() || again {
            // What the kernel holds may not be what was accepted: only a comparison tells.
            self.accepted = None;
        }
        let full = self.accepted.is_none();
        let outcome = self.write(&policy).inspect_err(|failure| {
            let took = start.elapsed();
            self.existing.suspect();
            self.views.iter_mut().for_each(|view| view.failed(failure, full, took));
        })?;
        concerned.extend(std::mem::take(&mut self.unwritten));
        concerned.retain(|owner| !self.refused.contains_key(owner));
        let took = start.elapsed();
        let deed = if full { self.deed.take() } else { None };
        if full {
            self.repair.compared(Instant::now(), took, self.refused.is_empty());
        } else if !self.refused.is_empty() {
            self.repair.refused();
        }
        let (messages, bytes) = (outcome.messages, outcome.bytes);
        match compare.filter(|_| messages > 0) {
            Some(Cause::Refused) => info!(messages, "offered again what the kernel had refused"),
            Some(cause) => warn!(?cause, messages, ?took, "repaired what others had changed"),
            None => {}
        }
        debug!(messages, bytes, ?took, "written");
        let Some(intent) = &self.accepted else { return Ok(()) };
        let forgotten = self.flows.forget(&self.cluster, intent, &concerned);
        let planned = &self.planner.intent().policy;
        let judged = self.existing.judge(self.cluster.host(), planned, &policy);
        let synced = Synced {
            cluster: &self.cluster,
            intent,
            totals: self.totals,
            owners: &concerned,
            outcome: &outcome,
            refused: &self.refused,
            full,
            repaired: outcome.messages > 0 && compare == Some(Cause::Foreign),
            foreign: deed.as_deref(),
            drifted: outcome.messages > 0 && compare == Some(Cause::Audit),
            took,
            forgotten,
            judged,
        };
        self.views.iter_mut().for_each(|view| view.synced(&synced));
        Ok(())
    }

    /// Plans what these owners decide. What differs of the policies is said once, whether the kernel
    /// takes it or not: after a failure everything is compared with it.
    fn plan(&mut self, concerned: &BTreeSet<Owner>) -> PolicyChanges {
        self.views.iter_mut().for_each(|view| view.known(&self.cluster, concerned));
        self.unwritten.extend(self.planner.update(&self.cluster, concerned));
        let differ = self.planner.take_notices_differ();
        if let Some(notices) = self.left_out.update(differ, self.planner.notices()) {
            self.views.iter_mut().for_each(|view| view.left_out(notices));
        }
        self.planner.take_policy_changes()
    }

    /// Writes what is unwritten, and remembers what the kernel accepted of it.
    fn write(&mut self, policy: &PolicyChanges) -> Result<Outcome, sync::Error> {
        let (next, full) = (self.planner.intent(), self.accepted.is_none());
        // Taken out first: if the write fails, nothing counts as accepted any more.
        let (outcome, mut accepted) = match self.accepted.take() {
            Some(accepted) => {
                (self.dataplane.apply(&accepted, next, &self.unwritten, policy)?, accepted)
            }
            None => {
                self.unwritten.extend(next.servers.keys().cloned().map(Owner::Service));
                self.totals = Totals::default();
                (self.dataplane.reconcile(next)?, totals::nothing(next))
            }
        };
        let now: BTreeMap<Owner, String> =
            outcome.refused.iter().map(|(owner, why)| (owner.clone(), why.to_string())).collect();
        for (owner, why) in now.iter().filter(|(owner, why)| self.refused.get(*owner) != Some(*why))
        {
            error!(?owner, "the kernel refused this owner's rules, all others are in place: {why}");
        }
        for owner in self.unwritten.iter().filter(|owner| !now.contains_key(*owner)) {
            self.totals.accept(&mut accepted, next, owner);
        }
        if full {
            self.refused.clear();
        }
        // Nobody else's refusal was lifted by this.
        self.refused.extend(now);
        self.accepted = Some(accepted);
        Ok(outcome)
    }
}

#[cfg(test)]
mod costs;
#[cfg(test)]
mod fault_tests;
