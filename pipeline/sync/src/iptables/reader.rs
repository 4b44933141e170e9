//! Reading single chains, whosever they are.

use std::net::IpAddr;

use model::Family;
use render::iptables::{ChainId, Rule, Target};

use super::{counters, decode, probe, read};
use crate::Error;
use crate::ipset;
use crate::netlink::{SendBudget, Socket};
use crate::nftables::RuleSeen;
use crate::table::FrontendCounter;

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
        self.rules(id, |_| true)
    }

    /// The same without the rules that are for the address of somebody else than these: a chain that
    /// has one for each address is then read in a fraction of the time.
    ///
    /// # Errors
    /// As [`Reader::chain`].
    pub fn chain_for(
        &mut self,
        id: &ChainId,
        addresses: &[IpAddr],
    ) -> Result<Vec<Option<Rule>>, Error> {
        self.rules(id, |seen| decode::may_be_for(id.family, seen, addresses))
    }

    fn rules(
        &mut self,
        id: &ChainId,
        wanted: impl Fn(&RuleSeen<'_>) -> bool,
    ) -> Result<Vec<Option<Rule>>, Error> {
        let sets = ipset::numbers(&mut self.socket)?;
        let mut rules = Vec::new();
        read::rules(&mut self.socket, id, |seen| {
            if wanted(seen) {
                rules.push(decode::read_rule(id.family, seen, &sets));
            }
        })?;
        if read::drops_by_policy(&mut self.socket, id)? {
            rules.push(Some(Rule::to(Target::Drop).comment("policy DROP")));
        }
        Ok(rules)
    }

    /// The counters of the rules by which packets reach a family's Services, in kube-proxy's chains:
    /// one for each frontend that has endpoints. Empty where there are no such chains.
    ///
    /// # Errors
    /// As [`Reader::chain`].
    pub fn counters(&mut self, family: Family) -> Result<Vec<FrontendCounter>, Error> {
        counters::counters(&mut self.socket, family)
    }
}
