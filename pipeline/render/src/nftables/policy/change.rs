//! What differs between two states of the policies.

use std::collections::BTreeMap;

use plan::policy::{ClassKey, Delta, PolicyChanges, PolicyIntent};

use super::super::{Chain, ChainId, Change, Content, ElementId, Options, SetId};
use super::class::{Class, class};
use super::sets::PolicySet;
use super::{address, both, frame, of_content, plain_element, port, subject};

/// What the kernel holds of the policies, as far as the next change has to know it: whose classes
/// there are, but nothing of what is in their sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// Without its sets.
    intent: PolicyIntent,
    /// How many classes need each of the sets that are named by their content.
    contents: BTreeMap<SetId, usize>,
}

type Chains = BTreeMap<ChainId, Chain>;
type Elements = BTreeMap<ElementId, Content>;

fn class_of(intent: &PolicyIntent, key: &ClassKey, options: &Options) -> Class {
    let rules = intent.classes.get(key);
    rules.map(|rules| class(key, rules, options)).unwrap_or_default()
}

impl Rendered {
    /// What the kernel holds that took all of an Intent.
    #[must_use]
    pub fn of(intent: &PolicyIntent, options: &Options) -> Self {
        let mut rendered = Self::default();
        let everything = PolicyChanges {
            subjects: intent.subjects.keys().copied().collect(),
            classes: intent.classes.keys().cloned().collect(),
            held: true,
            ..PolicyChanges::default()
        };
        rendered.advance(intent, &everything, options);
        rendered
    }

    /// Takes a change in that the kernel took.
    pub fn advance(&mut self, new: &PolicyIntent, changes: &PolicyChanges, options: &Options) {
        for key in &changes.classes {
            for set in class_of(&self.intent, key, options).sets.into_keys() {
                match self.contents.get_mut(&set) {
                    Some(count) if *count > 1 => *count -= 1,
                    _ => drop(self.contents.remove(&set)),
                }
            }
            for set in class_of(new, key, options).sets.into_keys() {
                *self.contents.entry(set).or_default() += 1;
            }
            match new.classes.get(key) {
                Some(rules) => drop(self.intent.classes.insert(key.clone(), rules.clone())),
                None => drop(self.intent.classes.remove(key)),
            }
        }
        for address in &changes.subjects {
            match new.subjects.get(address) {
                Some(subject) => drop(self.intent.subjects.insert(*address, subject.clone())),
                None => drop(self.intent.subjects.remove(address)),
            }
        }
        if changes.held {
            self.intent.held.clone_from(&new.held);
        }
        // These two never change while an agent runs.
        self.intent.enforced = new.enforced;
        self.intent.dns_listeners.clone_from(&new.dns_listeners);
    }

    /// The least that leads to another state. What it costs depends on what `changes` names, not on
    /// how much there is: of `new`, nothing else is looked at but the addresses of this node's own
    /// blocks, where some are held back and others are new.
    #[must_use]
    pub fn change(&self, new: &PolicyIntent, changes: &PolicyChanges, options: &Options) -> Change {
        let mut step = Step { old: self, new, options, change: Change::default() };
        if changes.held || !changes.classes.is_empty() {
            step.frame(changes.held);
        }
        step.classes(changes);
        for (key, delta) in &changes.sets {
            let set = PolicySet::of_key(key);
            step.set(&set, delta, new.sets.contains_key(key), |it| address(&set, *it));
        }
        for (key, delta) in &changes.named_ports {
            let set = PolicySet::of_named_ports(key);
            step.set(&set, delta, new.named_ports.contains_key(key), |it| port(&set, it));
        }
        for address in &changes.subjects {
            step.elements(subject(&self.intent, *address), subject(new, *address));
        }
        let mut change = step.change;
        // What is in a set goes with it.
        let dead = &change.dead_sets;
        change.remove.retain(|id| {
            let set = SetId { family: id.family, name: id.set.clone() };
            !dead.contains(&set)
        });
        change
    }
}

struct Step<'a> {
    old: &'a Rendered,
    new: &'a PolicyIntent,
    options: &'a Options,
    change: Change,
}

impl Step<'_> {
    fn frame(&mut self, held: bool) {
        let (before, after) = (&self.old.intent, self.new);
        let of = |intent| frame::frame(intent, self.options);
        let (old, new) = (of(before), of(after));
        self.change.new_sets.extend(new.sets.difference(&old.sets).cloned());
        self.change.dead_sets.extend(old.sets.difference(&new.sets).cloned());
        self.chains(&old.chains, &new.chains);
        self.elements(old.elements, new.elements);
        if held {
            let known =
                |intent| frame::known(intent).into_iter().map(|id| (id, plain_element())).collect();
            self.elements(known(before), known(after));
        }
    }

    fn chains(&mut self, old: &Chains, new: &Chains) {
        for (id, chain) in new {
            if old.get(id) != Some(chain) {
                if !old.contains_key(id) && chain.base.is_none() {
                    self.change.fresh.insert(id.clone());
                }
                self.change.write.insert(id.clone(), chain.clone());
            }
        }
        let gone = old.keys().filter(|id| !new.contains_key(*id));
        self.change.delete.extend(gone.cloned());
    }

    fn elements(&mut self, old: Elements, new: Elements) {
        for (id, content) in &old {
            if new.get(id) != Some(content) {
                self.change.remove.insert(id.clone());
            }
        }
        let fresh = new.into_iter().filter(|(id, content)| old.get(id) != Some(content));
        self.change.add.extend(fresh);
    }

    fn classes(&mut self, changes: &PolicyChanges) {
        let mut contents = BTreeMap::new();
        let mut more: BTreeMap<SetId, (usize, usize)> = BTreeMap::new();
        for key in &changes.classes {
            let old = class_of(&self.old.intent, key, self.options);
            let new = class_of(self.new, key, self.options);
            self.chains(&old.chains, &new.chains);
            for set in old.sets.into_keys() {
                more.entry(set).or_default().0 += 1;
            }
            for (set, keys) in new.sets {
                more.entry(set.clone()).or_default().1 += 1;
                contents.insert(set, keys);
            }
        }
        for (set, (fewer, more)) in more {
            let before = self.old.contents.get(&set).copied().unwrap_or_default();
            let after = (before + more).saturating_sub(fewer);
            if before > 0 && after == 0 {
                self.change.dead_sets.insert(set);
            } else if before == 0 && after > 0 {
                let part = contents.get(&set).map(|keys| of_content(&set, keys));
                self.change.add.extend(part.unwrap_or_default().elements);
                self.change.new_sets.insert(set);
            }
        }
    }

    fn set<T: Ord>(
        &mut self,
        set: &PolicySet,
        delta: &Delta<T>,
        is_there: bool,
        element: impl Fn(&T) -> ElementId,
    ) {
        match (delta.existed, is_there) {
            (false, false) => return,
            (true, false) => return self.change.dead_sets.extend(both(set)),
            (false, true) => self.change.new_sets.extend(both(set)),
            (true, true) => self.change.remove.extend(delta.removed.iter().map(&element)),
        }
        let added = delta.added.iter().map(|it| (element(it), plain_element()));
        self.change.add.extend(added);
    }
}
