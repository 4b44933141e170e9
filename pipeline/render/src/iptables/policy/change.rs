//! What differs between two states of the policies.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use model::{Direction, Family};
use plan::policy::{ClassKey, Delta, Held, PolicyChanges, PolicyIntent, Subject};

use super::classes::{self, ClassRules};
use super::{
    ChainId, Content, Fixed, IpSet, IpSets, Jump, Member, Options, PolicyRules, Rule, SetKind,
    addresses, chain, dispatch_rule, families, gate, hold_sets, names, ports, sets_of, whole,
};

/// What comes to a set and what leaves it. Either may be so already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberChange {
    /// New elements.
    pub add: BTreeSet<Member>,
    /// Elements that are gone.
    pub remove: BTreeSet<Member>,
}

/// What differs. The kernel takes it in this order: sets are made and filled, elements added; then,
/// at once, chains are made and filled, what leads to them is added, what leads to others is taken
/// away, and these are deleted; then elements leave, and sets are destroyed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyChange {
    /// Sets to make, with all their elements.
    pub make: IpSets,
    /// Elements of sets that stay.
    pub members: BTreeMap<Arc<str>, MemberChange>,
    /// Chains to fill anew, with all their rules.
    pub write: BTreeMap<ChainId, Vec<Rule>>,
    /// Rules to put into chains whose order does not matter.
    pub lead: BTreeMap<ChainId, BTreeMap<Arc<str>, Rule>>,
    /// Rules of such chains to take out, by the chain that they lead to.
    pub mislead: BTreeMap<ChainId, BTreeSet<Arc<str>>>,
    /// Chains to empty and delete.
    pub delete: BTreeSet<ChainId>,
    /// Jumps to put first where they are missing.
    pub jumps: Vec<Jump>,
    /// Jumps to take away.
    pub no_jumps: Vec<Jump>,
    /// Sets to destroy.
    pub destroy: BTreeSet<Arc<str>>,
}

impl PolicyChange {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn member(&mut self, set: Arc<str>) -> &mut MemberChange {
        self.members.entry(set).or_default()
    }
}

/// Of what was asked of iptables for policies, as much as it takes to say what differs next time:
/// nothing of the sets that rules look peers up in, for [`PolicyChanges`] says what differs there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    families: BTreeSet<Family>,
    subjects: BTreeMap<IpAddr, Subject>,
    /// The chains of each class, and the sets of blocks that they name.
    classes: BTreeMap<ClassKey, Named>,
    /// By how many classes each set of blocks is named.
    blocks: BTreeMap<Arc<str>, usize>,
    fixed: BTreeMap<ChainId, Vec<Rule>>,
    jumps: Vec<Jump>,
    held: Option<Held>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Named {
    chains: BTreeSet<ChainId>,
    blocks: BTreeSet<Arc<str>>,
}

impl Named {
    fn of(rules: &[ClassRules]) -> Self {
        Self {
            chains: rules.iter().flat_map(|it| it.chains.keys().cloned()).collect(),
            blocks: rules.iter().flat_map(|it| it.blocks.keys().cloned()).collect(),
        }
    }
}

impl Standing {
    /// All that an Intent asks for, and what to remember of it.
    #[must_use]
    pub fn of(intent: &PolicyIntent, options: &Options) -> (Self, PolicyRules) {
        let mut standing = Self {
            families: families(intent),
            subjects: intent.subjects.clone(),
            held: intent.held.clone(),
            ..Self::default()
        };
        let mut all = PolicyRules::default();
        for &family in &standing.families {
            let render = |(key, it)| (key, classes::class(key, it, family, options));
            let classes: Vec<_> =
                intent.classes.iter().map(|(k, v)| (k, &**v)).map(render).collect();
            for (key, rules) in &classes {
                let named = standing.classes.entry((*key).clone()).or_default();
                let new = Named::of(std::slice::from_ref(rules));
                for set in &new.blocks {
                    *standing.blocks.entry(set.clone()).or_default() += 1;
                }
                named.chains.extend(new.chains);
                named.blocks.extend(new.blocks);
            }
            let mut rules = whole(intent, family, &classes);
            let fixed = Fixed::new(intent, family);
            standing.fixed.extend(fixed.chains());
            standing.jumps.extend(fixed.jumps());
            if let Some(held) = &intent.held {
                rules.sets.extend(hold_sets(held, family));
            }
            all.chains.extend(rules.chains);
            all.dispatch.extend(rules.dispatch);
            all.sets.extend(rules.sets);
        }
        all.chains.extend(standing.fixed.clone());
        all.jumps = standing.jumps.clone();
        (standing, all)
    }

    /// The rules of built-in chains that lead to ours.
    pub fn jumps(&self) -> impl Iterator<Item = &Jump> {
        self.jumps.iter()
    }

    /// What an Intent asks for that differs from what stands, given what differs between it and the
    /// one that stands. `None` where everything is to be compared instead: a family comes or goes.
    ///
    /// What stands counts as changed from here on; if the kernel does not take the change, begin
    /// again with [`Standing::of`].
    #[must_use]
    pub fn change(
        &mut self,
        intent: &PolicyIntent,
        changes: &PolicyChanges,
        options: &Options,
    ) -> Option<PolicyChange> {
        if self.families != families(intent) {
            return None;
        }
        let mut change = PolicyChange::default();
        if changes.is_empty() || self.families.is_empty() {
            return Some(change);
        }
        for key in &changes.classes {
            self.class(key, intent, options, &mut change);
        }
        self.subjects(intent, changes, &mut change);
        self.sets(intent, changes, &mut change);
        if changes.held {
            self.hold(intent, &mut change);
        }
        if changes.held || !changes.classes.is_empty() {
            self.fixed(intent, &mut change);
        }
        self.prune(&mut change);
        Some(change)
    }

    fn class(
        &mut self,
        key: &ClassKey,
        intent: &PolicyIntent,
        options: &Options,
        change: &mut PolicyChange,
    ) {
        let old = self.classes.remove(key);
        let new = intent.classes.get(key).map(|class| {
            let each = self.families.iter();
            each.map(|family| classes::class(key, class, *family, options)).collect::<Vec<_>>()
        });
        let named = new.as_deref().map(Named::of);
        let name = names::class(key);
        for &family in &self.families {
            let set = names::set(&name, family);
            let from = chain(family, names::classes(key.direction));
            match (&old, &new) {
                (None, Some(_)) => {
                    let empty = IpSet::of(SetKind::Addresses, family, BTreeSet::new());
                    change.make.insert(set, empty);
                    let lead = change.lead.entry(from).or_default();
                    lead.insert(name.clone(), dispatch_rule(key, family));
                }
                (Some(_), None) => {
                    change.destroy.insert(set);
                    change.mislead.entry(from).or_default().insert(name.clone());
                }
                _ => {}
            }
        }
        let (old, named) = (old.unwrap_or_default(), named.unwrap_or_default());
        for rules in new.into_iter().flatten() {
            change.write.extend(rules.chains);
            for (set, content) in rules.blocks {
                // Whoever is the first to name it makes it; a name stands for its content.
                if !self.blocks.contains_key(&set) {
                    change.make.insert(set, content);
                }
            }
        }
        change.delete.extend(old.chains.difference(&named.chains).cloned());
        for set in named.blocks.difference(&old.blocks) {
            *self.blocks.entry(set.clone()).or_default() += 1;
        }
        for set in old.blocks.difference(&named.blocks) {
            let count = self.blocks.entry(set.clone()).or_default();
            *count = count.saturating_sub(1);
        }
        if intent.classes.contains_key(key) {
            self.classes.insert(key.clone(), named);
        }
    }

    fn subjects(
        &mut self,
        intent: &PolicyIntent,
        changes: &PolicyChanges,
        change: &mut PolicyChange,
    ) {
        for address in &changes.subjects {
            let family = Family::of(*address);
            let new = intent.subjects.get(address);
            let old = match new {
                Some(new) => self.subjects.insert(*address, new.clone()),
                None => self.subjects.remove(address),
            };
            let sets = |subject: Option<&Subject>| {
                subject.map(|subject| sets_of(subject, family)).unwrap_or_default()
            };
            let (old, new) = (sets(old.as_ref()), sets(new));
            let member = Member::Address(*address);
            for set in new.difference(&old) {
                change.member(set.clone()).add.insert(member);
            }
            for set in old.difference(&new) {
                change.member(set.clone()).remove.insert(member);
            }
        }
    }

    /// The sets that rules look peers up in.
    fn sets(&self, intent: &PolicyIntent, changes: &PolicyChanges, change: &mut PolicyChange) {
        for &family in &self.families {
            for (key, delta) in &changes.sets {
                let parts = [&delta.added, &delta.removed].map(|part| addresses(part, family));
                let there = intent.sets.contains_key(key);
                let name = names::peers(key, family);
                apply(delta, parts, there, (name, SetKind::Addresses, family), change);
            }
            for (key, delta) in &changes.named_ports {
                let parts = [&delta.added, &delta.removed].map(|part| ports(part, family));
                let there = intent.named_ports.contains_key(key);
                let name = names::ports(key, family);
                apply(delta, parts, there, (name, SetKind::Ports, family), change);
            }
        }
    }

    fn hold(&mut self, intent: &PolicyIntent, change: &mut PolicyChange) {
        let new = intent.held.clone();
        let old = std::mem::replace(&mut self.held, new.clone());
        for &family in &self.families {
            let sets = |held: &Option<Held>| {
                held.as_ref().map(|held| hold_sets(held, family)).unwrap_or_default()
            };
            let (made, gone) = (sets(&new), sets(&old));
            for set in gone.keys().filter(|set| !made.contains_key(*set)) {
                change.destroy.insert(set.clone());
            }
            for (name, set) in made {
                match gone.get(&name) {
                    Some(old) if old.header == set.header => {
                        let (add, remove) = differences(&old.content, &set.content);
                        let member = change.member(name);
                        member.add.extend(add);
                        member.remove.extend(remove);
                    }
                    _ => drop(change.make.insert(name, set)),
                }
            }
        }
    }

    /// The chains that depend on which directions are judged or held back, and the sets before the
    /// classes.
    fn fixed(&mut self, intent: &PolicyIntent, change: &mut PolicyChange) {
        let (mut chains, mut jumps) = (BTreeMap::new(), Vec::new());
        for &family in &self.families {
            let fixed = Fixed::new(intent, family);
            chains.extend(fixed.chains());
            jumps.extend(fixed.jumps());
        }
        for (chain, rules) in &chains {
            if self.fixed.get(chain) != Some(rules) {
                change.write.insert(chain.clone(), rules.clone());
            }
        }
        change.delete.extend(self.fixed.keys().filter(|it| !chains.contains_key(*it)).cloned());
        change.jumps.extend(jumps.iter().filter(|it| !self.jumps.contains(it)).cloned());
        change.no_jumps.extend(self.jumps.iter().filter(|it| !jumps.contains(it)).cloned());
        for (family, direction) in
            self.families.iter().flat_map(|family| Direction::ALL.map(|it| (*family, it)))
        {
            let deny = chain(family, names::deny(direction));
            let set = gate(direction, family);
            match (self.fixed.contains_key(&deny), chains.contains_key(&deny)) {
                (false, true) => {
                    let empty = IpSet::of(SetKind::Addresses, family, BTreeSet::new());
                    change.make.insert(set, empty);
                }
                (true, false) => {
                    change.destroy.insert(set);
                    change.delete.insert(chain(family, names::classes(direction)));
                }
                _ => {}
            }
        }
        (self.fixed, self.jumps) = (chains, jumps);
    }

    /// Sets of blocks that nobody names any more go; elements go into sets as they are made, and
    /// need not leave what is destroyed.
    fn prune(&mut self, change: &mut PolicyChange) {
        let idle: Vec<_> = self
            .blocks
            .iter()
            .filter(|(_, count)| **count == 0)
            .map(|(set, _)| set.clone())
            .collect();
        for set in idle {
            self.blocks.remove(&set);
            if change.make.remove(&set).is_none() {
                change.destroy.insert(set);
            }
        }
        for (name, set) in &mut change.make {
            if let Some(members) = change.members.remove(name)
                && let Content::Exactly(content) = &mut set.content
            {
                content.extend(members.add);
            }
        }
        let PolicyChange { members, destroy, delete, mislead, lead, .. } = change;
        members.retain(|set, it| {
            let says_nothing = it.add.is_empty() && it.remove.is_empty();
            !says_nothing && !destroy.contains(set)
        });
        // A chain that goes takes its rules along.
        mislead.retain(|chain, _| !delete.contains(chain));
        lead.retain(|chain, _| !delete.contains(chain));
    }
}

/// What comes and what leaves. Should an address that became known be unknown again one day, it is
/// held back again: what must not be there leaves.
fn differences(old: &Content, new: &Content) -> (Vec<Member>, Vec<Member>) {
    let without = |these: &BTreeSet<Member>, others| these.difference(others).copied().collect();
    match (old, new) {
        (Content::Exactly(old), Content::Exactly(new)) => (without(new, old), without(old, new)),
        (Content::ByPackets { never: old }, Content::ByPackets { never: new }) => {
            (Vec::new(), without(new, old))
        }
        _ => (Vec::new(), Vec::new()),
    }
}

fn apply<T>(
    delta: &Delta<T>,
    [add, remove]: [BTreeSet<Member>; 2],
    there: bool,
    (name, kind, family): (Arc<str>, SetKind, Family),
    change: &mut PolicyChange,
) {
    match (delta.existed, there) {
        (false, true) => drop(change.make.insert(name, IpSet::of(kind, family, add))),
        (true, false) => drop(change.destroy.insert(name)),
        (true, true) => {
            let members = change.member(name);
            members.add.extend(add);
            members.remove.extend(remove);
        }
        (false, false) => {}
    }
}
