//! The iptables dataplane: the chains, names, comments, marks and rule order of kube-proxy's
//! iptables mode, so that everything that reads those goes on working.
//!
//! [`node`] and [`owner`] say one owner's share of an Intent in rules, [`ruleset`] all of it,
//! [`diff`] what differs between two states of an owner, and [`Ruleset::to_text`] prints what
//! `iptables-save` would. [`policy`] does the same for network policies, of which kube-proxy has
//! none: their chains and sets are ours alone.

pub mod bpf;
mod diff;
pub mod ipset;
pub mod names;
mod node;
mod options;
mod owner;
pub mod policy;
mod rule;
mod ruleset;
mod text;

pub use diff::diff;
pub use node::node;
pub use options::Options;
pub use owner::{owner, probability};
pub use rule::{CtStates, Inverted, Lookup, Match, PORT_SLOTS, Recent, Rule, Target};
pub use ruleset::{ChainId, Change, Jump, Part, RuleKey, Ruleset, SharedRule, Table};

pub use plan::policy::PortRange;

use model::Owner;
use plan::Intent;
use policy::Standing;

/// Everything that an Intent asks of iptables.
#[must_use]
pub fn ruleset(intent: &Intent, options: &Options) -> Ruleset {
    ruleset_and_standing(intent, options).0
}

/// The same, with what is to be remembered of its policies to write only what differs later.
#[must_use]
pub fn ruleset_and_standing(intent: &Intent, options: &Options) -> (Ruleset, Standing) {
    let services = intent.servers.iter().map(|(name, servers)| {
        (Owner::Service(name.clone()), owner(&intent.node, servers, options))
    });
    let parts = services.chain([(Owner::Node, node(&intent.node, options))]).collect();
    let (standing, policy) = Standing::of(&intent.policy, options);
    (Ruleset { parts, policy }, standing)
}
