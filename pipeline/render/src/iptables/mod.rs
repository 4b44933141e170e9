//! The iptables dataplane: the chains, names, comments, marks and rule order of kube-proxy's
//! iptables mode, so that everything that reads those goes on working.
//!
//! [`node`] and [`owner`] say one owner's share of an Intent in rules, [`ruleset`] all of it,
//! [`diff`] what differs between two states of an owner, and [`Ruleset::to_text`] prints what
//! `iptables-save` would.

mod diff;
pub mod names;
mod node;
mod options;
mod owner;
mod rule;
mod ruleset;
mod text;

pub use diff::diff;
pub use node::node;
pub use options::Options;
pub use owner::{owner, probability};
pub use rule::{CtStates, Inverted, Match, Recent, Rule, Target};
pub use ruleset::{ChainId, Change, Jump, Part, RuleKey, Ruleset, SharedRule, Table};

use model::Owner;
use plan::Intent;

/// Everything that an Intent asks of iptables.
#[must_use]
pub fn ruleset(intent: &Intent, options: &Options) -> Ruleset {
    let services = intent.servers.iter().map(|(name, servers)| {
        (Owner::Service(name.clone()), owner(&intent.node, servers, options))
    });
    let parts = services.chain([(Owner::Node, node(&intent.node, options))]).collect();
    Ruleset { parts }
}
