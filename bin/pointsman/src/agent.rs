//! The loop: what came in → Cluster → Intent → rules → kernel.
//!
//! Nothing is written before every list is complete. What the kernel accepted is remembered, and
//! only then: after a failure the next step compares with the kernel itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::Result;
use intake::Delivery;
use model::{Cluster, Notice, Owner};
use plan::{Config, Intent, Planner};
use tokio::sync::mpsc::Receiver;
use tracing::{debug, error, info, warn};

use crate::dataplane::Dataplane;
use crate::pace::Backoff;
use crate::views::View;

/// One node's agent.
pub(crate) struct Agent<D> {
    cluster: Cluster,
    planner: Planner,
    dataplane: D,
    views: Vec<Box<dyn View>>,
    /// Owners that changed since the planner last looked.
    pending: BTreeSet<Owner>,
    /// Owners whose Intent the kernel has not accepted yet.
    unwritten: BTreeSet<Owner>,
    /// What the kernel holds; `None` before the first write and after a failed one.
    accepted: Option<Intent>,
    /// Owners whose rules the kernel would not take; they are tried again when they change.
    refused: BTreeSet<Owner>,
    complete: bool,
    said: BTreeSet<Notice>,
}

impl<D: Dataplane> Agent<D> {
    pub(crate) fn new(config: Config, dataplane: D, views: Vec<Box<dyn View>>) -> Self {
        Self {
            cluster: Cluster::default(),
            planner: Planner::new(config),
            dataplane,
            views,
            pending: BTreeSet::new(),
            unwritten: BTreeSet::new(),
            accepted: None,
            refused: BTreeSet::new(),
            complete: false,
            said: BTreeSet::new(),
        }
    }

    /// Works until the source ends; `once` ends it after the first write.
    pub(crate) async fn run(&mut self, mut source: Receiver<Delivery>, once: bool) -> Result<()> {
        let mut backoff = Backoff::new();
        let mut retry = None;
        loop {
            let delivery = match retry {
                None => source.recv().await,
                Some(wait) => match tokio::time::timeout(wait, source.recv()).await {
                    Ok(delivery) => delivery,
                    Err(_elapsed) => Some(Delivery::default()),
                },
            };
            let Some(delivery) = delivery else { return Ok(()) };
            self.take(delivery);
            // Whatever else is there already goes into the same write.
            while let Ok(more) = source.try_recv() {
                self.take(more);
            }
            if !self.complete {
                continue;
            }
            retry = match self.sync() {
                Ok(()) if once => return Ok(()),
                Ok(()) => {
                    backoff.reset();
                    None
                }
                Err(failure) if once => return Err(failure.into()),
                Err(failure) => {
                    let wait = backoff.wait();
                    error!("{failure}; the kernel keeps what it had, next try in {wait:?}");
                    Some(wait)
                }
            };
        }
    }

    fn take(&mut self, delivery: Delivery) {
        delivery.notices.iter().for_each(say);
        for change in delivery.changes {
            self.pending.extend(self.cluster.apply(change));
        }
        if delivery.complete && !self.complete {
            self.complete = true;
            info!(services = self.cluster.services().len(), "every list is complete");
        }
    }

    /// Brings the kernel to what is known now.
    fn sync(&mut self) -> Result<(), sync::Error> {
        let start = Instant::now();
        let pending = std::mem::take(&mut self.pending);
        self.views.iter_mut().for_each(|view| view.known(&self.cluster, &pending));
        self.unwritten.extend(self.planner.update(&self.cluster, &pending));
        name_once(self.planner.notices(), &mut self.said);
        if self.accepted.is_some() && self.unwritten.is_empty() {
            return Ok(());
        }
        if !self.refused.is_disjoint(&self.unwritten) {
            // What the kernel holds of these is not what was accepted: only a comparison tells.
            self.accepted = None;
        }
        let next = self.planner.intent();
        // Taken out first: if the write fails, nothing counts as accepted any more.
        let (written, mut accepted) = match self.accepted.take() {
            Some(accepted) => (self.dataplane.apply(&accepted, next, &self.unwritten)?, accepted),
            None => {
                self.unwritten.extend(next.servers.keys().cloned().map(Owner::Service));
                let nothing = Intent { node: next.node.clone(), servers: BTreeMap::new() };
                (self.dataplane.reconcile(next)?, nothing)
            }
        };
        let refused: BTreeSet<Owner> =
            written.refused.iter().map(|(owner, _)| owner.clone()).collect();
        for (owner, refusal) in &written.refused {
            error!(
                ?owner,
                "the kernel refused this owner's rules, all others are in place: {refusal}"
            );
        }
        for owner in std::mem::take(&mut self.unwritten) {
            if !refused.contains(&owner) {
                accept(&mut accepted, next, &owner);
            }
        }
        self.accepted = Some(accepted);
        self.refused = refused;
        let (messages, bytes, took) = (written.messages, written.bytes, start.elapsed());
        debug!(messages, bytes, ?took, "written");
        Ok(())
    }
}

/// The kernel said yes to one owner's part.
fn accept(accepted: &mut Intent, next: &Intent, owner: &Owner) {
    match owner {
        Owner::Node => accepted.node = next.node.clone(),
        Owner::Service(name) => match next.servers.get(name) {
            Some(servers) => drop(accepted.servers.insert(name.clone(), servers.clone())),
            None => drop(accepted.servers.remove(name)),
        },
        // No rules come of these yet.
        Owner::Policy(_) => {}
    }
}

/// Names what is left out when it first is; what is no longer left out may be named again later.
fn name_once<'a>(notices: impl Iterator<Item = &'a Notice>, said: &mut BTreeSet<Notice>) {
    let now: BTreeSet<Notice> = notices.cloned().collect();
    for notice in now.difference(said) {
        say(notice);
    }
    *said = now;
}

fn say(notice: &Notice) {
    warn!(object = %notice.object, reason = ?notice.reason, "{}", notice.message);
}
