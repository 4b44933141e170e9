//! The nftables dataplane: one table of our own for each family, with a few maps keyed by frontend
//! and no chain, set or rule for a Service or an endpoint.
//!
//! A packet's frontend is looked up in a map of verdicts, whose element carries the Service's name
//! and a counter. It leads to a chain that depends on the number of endpoints alone; that chain
//! chooses a number at random and looks the backend up in a map of data. So a frontend or backend
//! more is an element more, and costs the same whether there are ten or ten thousand.
//!
//! [`node`] and [`owner`] say one owner's share of an Intent, [`policy`] that of policies, [`ruleset`] all of it, [`diff`] what
//! differs between two states, and [`Ruleset::to_text`] and [`Change::to_text`] print what
//! `nft -f` loads.

mod balance;
mod error;
pub mod names;
mod node;
mod options;
mod owner;
pub mod policy;
mod rule;
mod ruleset;
mod set;
mod text;

#[cfg(test)]
mod tests;

pub use error::Error;
pub use node::node;
pub use options::Options;
pub use owner::owner;
pub use plan::policy::{AddressRange, PortRange};
pub use rule::{Base, Chain, ChainType, CtState, End, Field, Hook, Rule, Statement, Verdict};
pub use ruleset::{ChainId, Change, ElementId, Part, Ruleset, SetId, Uses, diff};
pub use set::{Clients, Content, Data, Holds, Place, Set, SetName, Value};
pub use text::{element_text, rule_text};

use std::collections::BTreeMap;

use model::{NamespacedName, Owner};
use plan::Intent;

/// Everything that an Intent asks of nftables, and the owners that are left out, with the reason.
#[must_use]
pub fn ruleset(intent: &Intent, options: &Options) -> (Ruleset, BTreeMap<NamespacedName, Error>) {
    let mut parts = BTreeMap::from([(Owner::Node, node(&intent.node, options))]);
    let mut left_out = BTreeMap::new();
    for (name, servers) in &intent.servers {
        match owner(&intent.node, servers, options) {
            Ok(part) => {
                parts.insert(Owner::Service(name.clone()), part);
            }
            Err(error) => {
                left_out.insert(name.clone(), error);
            }
        }
    }
    let policy = policy::part(&intent.policy, options);
    (Ruleset { parts, policy, options: *options }, left_out)
}
