//! The messages of one owner: what is taken or refused as one.

use std::ops::Range;

use model::{Family, Owner};
use render::iptables::{ChainId, Jump, Rule, RuleKey, Table};

use super::encode::{check_chain, to, write_rule};
use super::state::State;
use crate::Error;
use crate::netlink::{Encoder, Socket};
use crate::nftables::{Hook, Place};

/// What holds once the kernel took a unit.
#[derive(Debug)]
pub(super) enum Effect {
    Table(Family, Table),
    Chain(ChainId),
    Gone(ChainId),
    Inserted { chain: ChainId, key: RuleKey, sequence: u32 },
    Removed { chain: ChainId, key: RuleKey },
}

/// Where the messages of an owner are in the buffer, and what follows from them.
#[derive(Debug)]
pub(super) struct Unit {
    /// Whose; `None` for leftovers of nobody.
    pub(super) owner: Option<Owner>,
    /// Whether nothing else makes sense without it.
    pub(super) essential: bool,
    pub(super) bytes: Range<usize>,
    /// The first and the last sequence number.
    pub(super) sequences: (u32, u32),
    /// Places at which it may be cut where it is too long for one batch, such that no chain is
    /// half filled and nothing leads to what comes later.
    pub(super) cuts: Vec<usize>,
    pub(super) effects: Vec<Effect>,
}

/// Writes the messages of one unit.
pub(super) struct UnitWriter<'a> {
    pub(super) out: &'a mut Encoder,
    pub(super) socket: &'a mut Socket,
    pub(super) state: &'a State,
    /// Whether the kernel is to tell the handles of shared rules.
    pub(super) echo: bool,
    pub(super) cuts: Vec<usize>,
    pub(super) effects: Vec<Effect>,
}

impl UnitWriter<'_> {
    /// Makes a table unless it is known to be there.
    pub(super) fn table(&mut self, family: Family, table: Table) {
        if !self.state.tables.contains(&(family, table)) {
            let chain = ChainId::new(family, table, "");
            to(&chain, self.socket.next_sequence()).new_table(self.out);
            self.effects.push(Effect::Table(family, table));
        }
    }

    /// Makes a built-in chain unless it is known to be there.
    pub(super) fn base_chain(&mut self, chain: &ChainId) -> Result<(), Error> {
        if self.state.chains.contains(chain) {
            return Ok(());
        }
        let hook = hook(chain).ok_or_else(|| Error::Unwritable {
            object: chain.to_string(),
            what: "this table has no built-in chain of that name to jump from".into(),
        })?;
        let sequence = self.socket.next_sequence();
        to(chain, sequence).new_base_chain(self.out, &chain.name, hook);
        self.effects.push(Effect::Chain(chain.clone()));
        Ok(())
    }

    /// Makes a chain unless it is known to be there. True if it is made.
    pub(super) fn chain(&mut self, chain: &ChainId) -> Result<bool, Error> {
        if self.state.chains.contains(chain) {
            return Ok(false);
        }
        check_chain(chain)?;
        to(chain, self.socket.next_sequence()).new_chain(self.out, &chain.name);
        self.effects.push(Effect::Chain(chain.clone()));
        Ok(true)
    }

    /// Makes chains where they are missing, then fills each anew.
    pub(super) fn write<'r>(
        &mut self,
        chains: impl Iterator<Item = (&'r ChainId, &'r Vec<Rule>)>,
    ) -> Result<(), Error> {
        let mut made = Vec::new();
        for (chain, rules) in chains {
            made.push((chain, rules, self.chain(chain)?));
        }
        for (chain, rules, new) in made {
            if !new {
                to(chain, self.socket.next_sequence()).flush_chain(self.out, &chain.name);
            }
            for rule in rules {
                let sequence = self.socket.next_sequence();
                let place = (Place::Last, false);
                write_rule(self.out, chain, sequence, place, rule, &self.state.sets)?;
            }
            self.cuts.push(self.out.len());
        }
        Ok(())
    }

    /// Puts a rule into a shared chain, before the next one that is known there. Within a batch the
    /// keys of a chain must come in rising order.
    pub(super) fn insert(
        &mut self,
        chain: &ChainId,
        key: RuleKey,
        rule: &Rule,
    ) -> Result<(), Error> {
        self.chain(chain)?;
        let place = self.state.handle_from(chain, &key).map_or(Place::Last, Place::Before);
        let sequence = self.socket.next_sequence();
        write_rule(self.out, chain, sequence, (place, self.echo), rule, &self.state.sets)?;
        self.effects.push(Effect::Inserted { chain: chain.clone(), key, sequence });
        Ok(())
    }

    /// Takes a rule of ours out of a shared chain.
    pub(super) fn remove(&mut self, chain: &ChainId, key: RuleKey) -> Result<(), Error> {
        let handle = self.state.handle(chain, &key).ok_or_else(|| Error::OutOfStep {
            why: format!("no rule {} of {:?} is known in {chain}", key.index, key.owner),
        })?;
        self.remove_handle(chain, handle);
        self.effects.push(Effect::Removed { chain: chain.clone(), key });
        Ok(())
    }

    /// Takes a rule out of any chain.
    pub(super) fn remove_handle(&mut self, chain: &ChainId, handle: u64) {
        to(chain, self.socket.next_sequence()).delete_rule(self.out, &chain.name, handle);
    }

    /// Empties a chain.
    pub(super) fn flush(&mut self, chain: &ChainId) {
        to(chain, self.socket.next_sequence()).flush_chain(self.out, &chain.name);
    }

    /// Deletes a chain with its rules. Nothing may lead to it any more.
    pub(super) fn delete(&mut self, chain: &ChainId) {
        to(chain, self.socket.next_sequence()).delete_chain(self.out, &chain.name);
        self.effects.push(Effect::Gone(chain.clone()));
    }

    /// Puts a rule last in a chain whose order does not matter.
    pub(super) fn append(&mut self, chain: &ChainId, rule: &Rule) -> Result<(), Error> {
        let sequence = self.socket.next_sequence();
        let place = (Place::Last, false);
        write_rule(self.out, chain, sequence, place, rule, &self.state.sets)
    }

    /// Puts a jump first in a built-in chain, or behind another rule.
    pub(super) fn jump(&mut self, jump: &Jump, behind: Option<u64>) -> Result<(), Error> {
        let sequence = self.socket.next_sequence();
        let place = (behind.map_or(Place::First, Place::After), false);
        write_rule(self.out, &jump.chain, sequence, place, &jump.rule, &self.state.sets)
    }
}

/// Where iptables hooks its built-in chains in.
fn hook(chain: &ChainId) -> Option<Hook> {
    let number = match &*chain.name {
        "PREROUTING" => 0,
        "INPUT" => 1,
        "FORWARD" => 2,
        "OUTPUT" => 3,
        "POSTROUTING" => 4,
        _ => return None,
    };
    match (chain.table, number) {
        (Table::Filter, 1..=3) => Some(Hook { kind: "filter", number, priority: 0 }),
        (Table::Nat, 0 | 3) => Some(Hook { kind: "nat", number, priority: -100 }),
        (Table::Nat, 1 | 4) => Some(Hook { kind: "nat", number, priority: 100 }),
        _ => None,
    }
}

/// The order in which chains can be deleted with their rules, so that none is deleted while
/// another leads to it.
pub(super) fn deletion_rank(chain: &ChainId) -> (u8, &ChainId) {
    use render::iptables::names;
    let name = &*chain.name;
    let rank = match name {
        names::KUBE_NODEPORTS => 1,
        name if name.starts_with("KUBE-FW-") => 2,
        name if name.starts_with("KUBE-EXT-") => 3,
        name if name.starts_with("KUBE-SVC-") || name.starts_with("KUBE-SVL-") => 4,
        name if name.starts_with("KUBE-SEP-") => 5,
        names::KUBE_MARK_MASQ => 6,
        name if name.starts_with(names::POLICY_PREFIX) => policy_rank(name),
        _ => 0,
    };
    (rank, chain)
}

/// The same among chains of policies: what leads to classes, the classes, their further tiers, and
/// what these lead to.
fn policy_rank(name: &str) -> u8 {
    use render::iptables::names::is_of_class;
    /// Prefix and hash of a class's first chain.
    const FIRST_TIER: usize = 21;
    match name {
        "PM-FORWARD" | "PM-INPUT" => 1,
        "PM-EGRESS" | "PM-INGRESS" => 2,
        name if name.ends_with("-CLASSES") => 3,
        name if is_of_class(name) && name.len() == FIRST_TIER => 4,
        name if is_of_class(name) => 5,
        _ => 6,
    }
}
