//! The dataplanes behind one trait: an Intent in, packets routed. Each joins a renderer (pure) to
//! a writer (the kernel).

mod iptables;
mod nftables;

use std::collections::{BTreeMap, BTreeSet};

use model::{Family, Owner};
use plan::Intent;
use plan::policy::PolicyChanges;
use render::iptables::Table;
use sync::iptables::Written;
use sync::watch::Heard;

pub(crate) use iptables::IptablesDataplane;
pub(crate) use nftables::NftablesDataplane;

/// What a write came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Netlink messages that were sent; none if the kernel held everything already.
    pub(crate) messages: usize,
    /// Their bytes.
    pub(crate) bytes: usize,
    /// Owners whose rules the kernel would not take.
    pub(crate) refused: Vec<(Owner, sync::Error)>,
    /// The rules of each table of iptables; nothing in nftables mode.
    pub(crate) rules: BTreeMap<(Family, Table), RuleCount>,
}

/// How many rules a table has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuleCount {
    /// Ours that the kernel holds, without jumps from built-in chains, as kube-proxy counts.
    pub(crate) total: usize,
    /// Those that were sent now.
    pub(crate) written: usize,
}

impl From<Written> for Outcome {
    fn from(written: Written) -> Self {
        let Written { messages, bytes, refused, .. } = written;
        Self { messages, bytes, refused, rules: BTreeMap::new() }
    }
}

/// How an Intent reaches the kernel.
pub(crate) trait Dataplane {
    /// Makes the kernel hold exactly this Intent, whatever it held of ours before.
    fn reconcile(&mut self, intent: &Intent) -> Result<Outcome, sync::Error>;

    /// Goes from one accepted Intent to the next by what differs for these owners, and by what
    /// differs of the policies. `accepted.policy` is empty: a second copy of it would be as large as
    /// the first, so `policy` alone says what the kernel does not hold yet of `next.policy`.
    fn apply(
        &mut self,
        accepted: &Intent,
        next: &Intent,
        owners: &BTreeSet<Owner>,
        policy: &PolicyChanges,
    ) -> Result<Outcome, sync::Error>;

    /// The netlink ports that our own writes come from.
    ///
    /// # Errors
    /// What the system says.
    fn ports(&mut self) -> Result<Vec<u32>, sync::Error>;

    /// Whether somebody changed something of ours that the kernel announces to nobody; says what.
    /// Asked time and again, so it is cheap.
    fn unannounced(&mut self) -> Result<Option<String>, sync::Error> {
        Ok(None)
    }

    /// Whether something that others changed is ours, or leads to what is ours; says what.
    fn touched(&mut self, heard: &Heard, accepted: &Intent) -> Result<Option<String>, sync::Error>;
}
