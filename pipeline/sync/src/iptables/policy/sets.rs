//! The sets that rules of policies name: filled before, destroyed after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use render::iptables::ipset::{Content, IpSet, Member};
use render::iptables::names::POLICY_PREFIX;
use render::iptables::policy::{PolicyChange, PolicyRules};

use super::super::{Iptables, RefusedMember, Written};
use crate::Error;
use crate::ipset::{SeenSet, Sets};

/// The set that another's elements are gathered in before they take its place.
const SPARE: &str = "PM-SPARE";

/// What is known of sets.
#[derive(Debug, Default)]
pub(in super::super) struct KnownSets {
    /// How many elements each must have; `None` where packets decide.
    pub(in super::super) counts: BTreeMap<Arc<str>, Option<usize>>,
    /// Sets that nobody wants, but that the kernel would not destroy yet.
    pub(in super::super) doomed: BTreeSet<Arc<str>>,
}

fn expected(set: &IpSet) -> Option<usize> {
    match &set.content {
        Content::Exactly(members) => Some(members.len()),
        Content::ByPackets { .. } => None,
    }
}

/// Makes the sets that are missing, and puts the elements in that are; says which elements are too
/// many, which leave only after the rules have changed.
pub(super) fn fill(
    sets: &mut Sets<'_>,
    wanted: &PolicyRules,
    seen: &BTreeMap<Arc<str>, SeenSet>,
    written: &mut Written,
) -> Result<BTreeMap<Arc<str>, Vec<Member>>, Error> {
    let mut too_many = BTreeMap::new();
    if seen.contains_key(SPARE) {
        sets.destroy(SPARE)?;
    }
    for (name, set) in &wanted.sets {
        let there = seen.get(name);
        let same = there.filter(|there| there.header == Some(set.header));
        match (same, &set.content) {
            (Some(there), Content::Exactly(members)) => {
                let (missing, surplus) = there.differences(members);
                add(sets, name, &missing, written)?;
                if !surplus.is_empty() {
                    too_many.insert(name.clone(), surplus);
                }
            }
            (Some(there), Content::ByPackets { never }) => {
                let surplus: Vec<Member> = there.members.intersection(never).copied().collect();
                if !surplus.is_empty() {
                    too_many.insert(name.clone(), surplus);
                }
            }
            (None, _) if there.is_some() => {
                // Rules name it by now: another takes its name, with the elements in.
                sets.make(SPARE, set)?;
                let members: Vec<Member> = set.members().copied().collect();
                let refused = sets.add(SPARE, &members)?;
                note(name, refused, written);
                sets.swap(SPARE, name)?;
                sets.destroy(SPARE)?;
            }
            (None, _) => make(sets, name, set, written)?,
        }
    }
    Ok(too_many)
}

pub(super) fn make(
    sets: &mut Sets<'_>,
    name: &Arc<str>,
    set: &IpSet,
    written: &mut Written,
) -> Result<(), Error> {
    sets.make(name, set)?;
    let members: Vec<Member> = set.members().copied().collect();
    add(sets, name, &members, written)
}

pub(super) fn add<'m>(
    sets: &mut Sets<'_>,
    name: &Arc<str>,
    members: impl IntoIterator<Item = &'m Member>,
    written: &mut Written,
) -> Result<(), Error> {
    let refused = sets.add(name, members)?;
    note(name, refused, written);
    Ok(())
}

fn note(set: &Arc<str>, refused: Vec<(Member, Error)>, written: &mut Written) {
    for (member, error) in refused {
        tracing::warn!(%set, %member, %error, "not put in");
        written.refused_members.push(RefusedMember { set: set.clone(), member, error });
    }
}

/// Takes note of what there is after everything was compared.
pub(super) fn take_stock(
    known: &mut KnownSets,
    wanted: &PolicyRules,
    seen: BTreeMap<Arc<str>, SeenSet>,
    written: &Written,
) {
    known.doomed = seen.into_keys().filter(|name| !wanted.sets.contains_key(name)).collect();
    let counts = wanted.sets.iter().map(|(name, set)| {
        let refused = written.refused_members.iter().filter(|it| it.set == *name).count();
        (name.clone(), expected(set).map(|count| count - refused.min(count)))
    });
    known.counts = counts.collect();
}

/// How many elements there are now.
pub(super) fn remember(iptables: &mut Iptables, change: &PolicyChange, written: &Written) {
    let known = &mut iptables.state.known_sets;
    let refused = |set: &Arc<str>| {
        written.refused_members.iter().filter(|refused| refused.set == *set).count()
    };
    for (name, set) in &change.make {
        let count = expected(set).map(|count| count - refused(name).min(count));
        known.counts.insert(name.clone(), count);
    }
    for (name, members) in &change.members {
        if let Some(Some(count)) = known.counts.get_mut(name) {
            *count += members.add.len() - refused(name).min(members.add.len());
            *count -= members.remove.len().min(*count);
        }
    }
    for name in &change.destroy {
        known.counts.remove(name);
        known.doomed.insert(name.clone());
    }
}

/// Destroys what is doomed, as far as the kernel lets it go.
pub(in super::super) fn bury(iptables: &mut Iptables, written: &mut Written) -> Result<(), Error> {
    let Iptables { socket, state, .. } = iptables;
    let mut sets = Sets::new(socket);
    let mut left = BTreeSet::new();
    for name in std::mem::take(&mut state.known_sets.doomed) {
        if sets.destroy(&name)? {
            state.sets.remove(&name);
        } else {
            left.insert(name);
        }
    }
    count(&sets, written);
    state.known_sets.doomed = left;
    Ok(())
}

/// Whether the sets have as many elements as they must; says which has not.
pub(in super::super) fn disturbed(iptables: &mut Iptables) -> Result<Option<String>, Error> {
    if iptables.state.known_sets.counts.is_empty() {
        return Ok(None);
    }
    let seen = Sets::new(&mut iptables.socket).list(POLICY_PREFIX, false)?;
    for (name, count) in &iptables.state.known_sets.counts {
        match (seen.get(name), count) {
            (None, _) => return Ok(Some(format!("somebody destroyed the set {name}"))),
            (Some(there), Some(count)) if there.count != *count => {
                let there = there.count;
                let what =
                    format!("the set {name} has {there} elements, where {count} were put in");
                return Ok(Some(what));
            }
            _ => {}
        }
    }
    Ok(None)
}

pub(super) fn count(sets: &Sets<'_>, written: &mut Written) {
    written.messages += sets.sent.messages;
    written.bytes += sets.sent.bytes;
}
