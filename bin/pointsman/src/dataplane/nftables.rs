//! A table of our own, written by netlink.

use std::collections::{BTreeMap, BTreeSet};

use model::Owner;
use plan::Intent;
use plan::policy::PolicyChanges;
use render::nftables::policy::{self, Rendered};
use render::nftables::{Change, Options, Part, Uses, diff, names};
use sync::table::Nftables;
use sync::watch::Heard;
use tracing::{info, warn};

use super::{Dataplane, Outcome};

/// Maps keyed by frontend, as nft lists them.
pub(crate) struct NftablesDataplane {
    kernel: Nftables,
    options: Options,
    /// What the accepted Intent needs of what owners share.
    uses: Uses,
    /// What it asks for of the policies.
    policy: Rendered,
    /// The rules of iptables mode (or of kube-proxy) are still to go, once ours stand.
    others_due: bool,
}

impl NftablesDataplane {
    pub(crate) fn new(kernel: Nftables, options: Options) -> Self {
        let (uses, policy) = (Uses::default(), Rendered::default());
        Self { kernel, options, uses, policy, others_due: true }
    }

    /// New rules stand before old ones go: a packet always meets one of the two.
    fn remove_others(&mut self) {
        if !self.others_due {
            return;
        }
        let removed = || -> Result<(), sync::Error> {
            let cleaned = sync::iptables::remove()?;
            if !cleaned.chains.is_empty() {
                info!("removed the rules of iptables mode: {} chains", cleaned.chains.len());
            }
            let left = sync::kube_proxy::remove_leftovers()?;
            if !left.is_empty() {
                info!("removed what kube-proxy had left: {left}");
            }
            Ok(())
        };
        match removed() {
            Ok(()) => self.others_due = false,
            Err(error) => warn!("{error}; rules of iptables mode stay until the next change"),
        }
    }
}

/// What one owner contributes under an Intent; `None` where it asks for nothing.
fn part(intent: &Intent, owner: &Owner, options: &Options) -> Result<Option<Part>, sync::Error> {
    match owner {
        Owner::Node => Ok(Some(render::nftables::node(&intent.node, options))),
        Owner::Service(name) => intent
            .servers
            .get(name)
            .map(|servers| render::nftables::owner(&intent.node, servers, options))
            .transpose()
            .map_err(|error| sync::Error::Unwritable {
                object: format!("Service {name}"),
                what: error.to_string(),
            }),
        // Not by owner, but by what the plan says that differs.
        Owner::Policy(_) => Ok(None),
    }
}

impl Dataplane for NftablesDataplane {
    fn reconcile(&mut self, intent: &Intent) -> Result<Outcome, sync::Error> {
        let services = intent.servers.keys().cloned().map(Owner::Service);
        let owners: BTreeSet<Owner> = services.chain([Owner::Node]).collect();
        let mut unsayable: BTreeMap<Owner, sync::Error> = BTreeMap::new();
        let (options, mut uses) = (self.options, Uses::default());
        // One owner's part at a time, and once: all of them together would be most of the agent's
        // memory, and to render them is a good part of the time.
        let written = self.kernel.reconcile_parts(&options, &mut |take| {
            uses = Uses::default();
            for owner in &owners {
                match part(intent, owner, &options) {
                    Ok(Some(part)) => {
                        uses.gain(&part);
                        take(owner, &part);
                    }
                    Ok(None) => {}
                    Err(error) => drop(unsayable.insert(owner.clone(), error)),
                }
            }
            // Of the policies nothing can be left out: the rest would let through what they deny.
            policy::parts(&intent.policy, &options, &mut |part| take(&Owner::Node, part));
        })?;
        for (owner, _) in &written.refused {
            if let Ok(Some(part)) = part(intent, owner, &options) {
                uses.lose(&part);
            }
        }
        self.uses = uses;
        self.policy = Rendered::of(&intent.policy, &self.options);
        self.remove_others();
        let mut outcome = Outcome::from(written);
        outcome.refused.extend(unsayable);
        Ok(outcome)
    }

    fn apply(
        &mut self,
        accepted: &Intent,
        next: &Intent,
        owners: &BTreeSet<Owner>,
        policy: &PolicyChanges,
    ) -> Result<Outcome, sync::Error> {
        // Elements of every owner depend on how Pods are recognised.
        if owners.contains(&Owner::Node) && accepted.node.local_traffic != next.node.local_traffic {
            return self.reconcile(next);
        }
        let mut refused = Vec::new();
        let mut parts = Vec::new();
        for owner in owners {
            let of = |intent| part(intent, owner, &self.options);
            match (of(accepted), of(next)) {
                (Ok(old), Ok(new)) => parts.push((old, new)),
                (_, Err(error)) | (Err(error), _) => refused.push((owner.clone(), error)),
            }
        }
        let pairs = parts.iter().map(|(old, new)| (old.as_ref(), new.as_ref()));
        let mut change: Change = diff(&self.uses, pairs);
        change.join(self.policy.change(&next.policy, policy, &self.options));
        if change.is_empty() {
            self.uses.advance(&change);
            self.policy.advance(&next.policy, policy, &self.options);
            return Ok(Outcome { refused, ..Outcome::default() });
        }
        let written = match self.kernel.apply(&change) {
            Err(error @ sync::Error::OutOfStep { .. }) => {
                warn!("{error}; comparing with the kernel");
                return self.reconcile(next);
            }
            written => written?,
        };
        self.uses.advance(&change);
        self.policy.advance(&next.policy, policy, &self.options);
        self.remove_others();
        let mut outcome = Outcome::from(written);
        outcome.refused.extend(refused);
        Ok(outcome)
    }

    fn ports(&mut self) -> Result<Vec<u32>, sync::Error> {
        Ok(vec![self.kernel.socket().port()?])
    }

    fn touched(&mut self, heard: &Heard, _: &Intent) -> Result<Option<String>, sync::Error> {
        if heard.overrun {
            return Ok(Some("others changed more than could be heard".into()));
        }
        let ours = heard.changes.iter().find(|change| change.table == names::TABLE);
        Ok(ours.map(ToString::to_string))
    }
}
