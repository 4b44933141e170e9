//! Reading single chains, whosever they are.

use render::iptables::{ChainId, Rule, Target};

use super::{HeldRule, probe, read};
use crate::Error;
use crate::ipset;
use crate::netlink::{SendBudget, Socket};

/// Reads the iptables of one network namespace; writes nothing and asks for nothing that only
/// writing needs.
#[derive(Debug)]
pub struct Reader {
    socket: Socket,
}

impl Reader {
    /// Opens the iptables of the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] without CAP_NET_ADMIN, [`Error::Unsupported`] without nf_tables.
    pub fn open() -> Result<Self, Error> {
        let mut socket = Socket::open(SendBudget::Granted)?;
        probe::nf_tables(&mut socket)?;
        Ok(Self { socket })
    }

    /// The rules of a chain, in order; `None` for one that no rule of ours can be. A policy that
    /// drops is one more rule at the end. A chain that is not there has none.
    ///
    /// # Errors
    /// [`Error::Unsettled`] if somebody keeps changing it.
    pub fn chain(&mut self, id: &ChainId) -> Result<Vec<Option<Rule>>, Error> {
        let sets = ipset::numbers(&mut self.socket)?;
        let held: Vec<HeldRule> = read::chain(&mut self.socket, id, &sets)?;
        let mut rules: Vec<Option<Rule>> = held.into_iter().map(|held| held.rule).collect();
        if read::drops_by_policy(&mut self.socket, id)? {
            rules.push(Some(Rule::to(Target::Drop).comment("policy DROP")));
        }
        Ok(rules)
    }
}
