//! An agent's nftables rules, change by change, and what a kernel would hold of them.

use std::collections::{BTreeMap, BTreeSet};

use model::Owner;
use plan::Intent;
use render::nftables::{self, Change, Options, Part, Ruleset, Uses};

/// The rules of nftables mode as an agent lives through them.
#[derive(Clone, Debug)]
pub struct Nftables {
    ruleset: Ruleset,
    uses: Uses,
    memory: Part,
    last: Change,
}

impl Default for Nftables {
    fn default() -> Self {
        Self {
            ruleset: Ruleset { parts: BTreeMap::new(), options: Options::default() },
            uses: Uses::default(),
            memory: Part::default(),
            last: Change::default(),
        }
    }
}

impl Nftables {
    /// Renders the owners that changed.
    ///
    /// # Panics
    /// If an owner cannot be rendered, or the change asks for what a kernel would refuse.
    pub fn update(&mut self, intent: &Intent, changed: &BTreeSet<Owner>) {
        let parts: Vec<(Owner, Option<Part>)> = changed
            .iter()
            .map(|owner| (owner.clone(), render(intent, owner, &self.ruleset.options)))
            .collect();
        let pairs = parts.iter().map(|(owner, new)| (self.ruleset.parts.get(owner), new.as_ref()));
        self.last = nftables::diff(&self.uses, pairs);
        self.uses.advance(&self.last);
        for (owner, part) in parts {
            match part {
                Some(part) => drop(self.ruleset.parts.insert(owner, part)),
                None => drop(self.ruleset.parts.remove(&owner)),
            }
        }
        take(&mut self.memory, &self.last);
    }

    /// The rules now.
    #[must_use]
    pub fn ruleset(&self) -> &Ruleset {
        &self.ruleset
    }

    /// What was sent to the kernel last.
    #[must_use]
    pub fn last(&self) -> &Change {
        &self.last
    }

    /// What a kernel would hold that took in every change so far.
    #[must_use]
    pub fn memory(&self) -> &Part {
        &self.memory
    }
}

fn render(intent: &Intent, owner: &Owner, options: &Options) -> Option<Part> {
    let Owner::Service(name) = owner else { return Some(nftables::node(&intent.node, options)) };
    let servers = intent.servers.get(name)?;
    Some(
        nftables::owner(&intent.node, servers, options)
            .unwrap_or_else(|error| panic!("{name}: {error}")),
    )
}

/// Takes one change in, in the order in which the kernel does.
fn take(held: &mut Part, change: &Change) {
    held.chains.extend(change.write.clone());
    for id in &change.remove {
        assert!(held.elements.remove(id).is_some(), "{id:?} is not there to remove");
    }
    for (id, content) in &change.add {
        let before = held.elements.insert(id.clone(), content.clone());
        assert_eq!(before, None, "{id:?} is there already");
    }
    for id in &change.delete {
        assert!(held.chains.remove(id).is_some(), "{id:?} is not there to delete");
    }
}
