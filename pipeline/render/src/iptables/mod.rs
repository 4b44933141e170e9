//! The iptables dataplane: the chains, names, comments, marks and rule order of kube-proxy's
//! iptables mode, so that everything that reads those goes on working.

mod rule;
mod ruleset;

pub use rule::{CtStates, Inverted, Match, Recent, Rule, Target};
pub use ruleset::{Change, ChainId, Jump, Part, RuleKey, Ruleset, SharedRule, Table};
