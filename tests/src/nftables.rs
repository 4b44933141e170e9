//! An agent's nftables rules, change by change, and what a kernel would hold of them.

use std::collections::{BTreeMap, BTreeSet};

use model::Owner;
use plan::Intent;
use plan::policy::{PolicyChanges, PolicyIntent};
use render::nftables::policy::Rendered;
use render::nftables::{
    self, ChainId, Change, Data, Options, Part, Ruleset, SetId, SetName, Statement, Uses, Verdict,
};

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
            ruleset: Ruleset {
                parts: BTreeMap::new(),
                policy: Part::default(),
                options: Options::default(),
            },
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

/// The rules that policies ask for, as an agent lives through them.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    rendered: Rendered,
    memory: Part,
    last: Change,
}

impl Policies {
    /// Renders what differs of the policies.
    ///
    /// # Panics
    /// If the change asks for what a kernel would refuse.
    pub fn update(&mut self, intent: &PolicyIntent, changes: &PolicyChanges, options: &Options) {
        self.last = self.rendered.change(intent, changes, options);
        self.rendered.advance(intent, changes, options);
        take(&mut self.memory, &self.last);
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

    /// What the next change is compared with.
    #[must_use]
    pub fn rendered(&self) -> &Rendered {
        &self.rendered
    }
}

/// The rules of policies alone.
#[must_use]
pub fn of_policies(policy: Part, options: Options) -> Ruleset {
    Ruleset { parts: BTreeMap::new(), policy, options }
}

/// Takes one change in, in the order in which the kernel does.
fn take(held: &mut Part, change: &Change) {
    for id in &change.new_sets {
        assert!(held.sets.insert(id.clone()), "{id:?} is there already");
    }
    held.chains.extend(change.write.clone());
    for id in &change.remove {
        assert!(held.elements.remove(id).is_some(), "{id:?} is not there to remove");
    }
    for (id, content) in &change.add {
        if let SetName::Policy(_) = id.set {
            let set = SetId { family: id.family, name: id.set.clone() };
            assert!(held.sets.contains(&set), "{id:?} has no set");
        }
        let before = held.elements.insert(id.clone(), content.clone());
        assert_eq!(before, None, "{id:?} is there already");
    }
    for id in &change.delete {
        assert!(held.chains.remove(id).is_some(), "{id:?} is not there to delete");
    }
    for id in &change.dead_sets {
        assert!(held.sets.remove(id), "{id:?} is not there to delete");
        held.elements.retain(|one, _| one.family != id.family || one.set != id.name);
    }
    check(held);
}

/// What the kernel would not have taken: rules and elements that lead nowhere.
fn check(held: &Part) {
    let there = |family, verdict: &Verdict| match verdict {
        Verdict::Jump(name) | Verdict::Goto(name) => {
            held.chains.contains_key(&ChainId { family, name: name.clone() })
        }
        _ => true,
    };
    for (id, content) in &held.elements {
        if let Data::Verdict(verdict) = &content.data {
            assert!(there(id.family, verdict), "{id:?} leads to {verdict:?}");
        }
    }
    for (id, chain) in &held.chains {
        for statement in chain.rules.iter().flatten() {
            let set = match statement {
                Statement::Verdict(verdict) => {
                    assert!(there(id.family, verdict), "{id:?} leads to {verdict:?}");
                    continue;
                }
                Statement::In { set, .. } | Statement::Keep { set, .. } => set,
                Statement::Dispatch { map, .. } => map,
                _ => continue,
            };
            if let SetName::Policy(_) = set {
                let set = SetId { family: id.family, name: set.clone() };
                assert!(held.sets.contains(&set), "{id:?} asks {set:?}, which is not there");
            }
        }
    }
}
