//! What differs between two states of one owner.

use model::Owner;

use super::names::KUBE_FIREWALL;
use super::{ChainId, Change, Part, Rule, RuleKey, SharedRule};

/// The least that makes the rules of one owner from `old` to `new`: chains that are equal, and
/// rules of shared chains that are equal at the same place, are left alone. `None` is an owner
/// without rules.
///
/// `KUBE-FIREWALL` is never deleted, for kubelet relies on a chain of that name; nor are jumps
/// taken back.
#[must_use]
pub fn diff(owner: &Owner, old: Option<&Part>, new: Option<&Part>) -> Change {
    let none = Part::default();
    let (old, new) = (old.unwrap_or(&none), new.unwrap_or(&none));
    let mut change = Change::default();
    for (chain, rules) in &new.chains {
        if old.chains.get(chain) != Some(rules) {
            change.write.insert(chain.clone(), rules.clone());
        }
    }
    let gone = old.chains.keys().filter(|chain| !new.chains.contains_key(*chain));
    change.delete = gone.filter(|chain| &*chain.name != KUBE_FIREWALL).cloned().collect();
    for (chain, rules) in &new.shared {
        let known = old.shared.get(chain).map(Vec::as_slice).unwrap_or_default();
        change.insert.extend(without(owner, chain, rules, known));
    }
    for (chain, rules) in &old.shared {
        let wanted = new.shared.get(chain).map(Vec::as_slice).unwrap_or_default();
        change.remove.extend(without(owner, chain, rules, wanted));
    }
    change.jumps = new.jumps.iter().filter(|jump| !old.jumps.contains(jump)).cloned().collect();
    change
}

/// The rules that do not stand at the same place among the others.
fn without<'a>(
    owner: &'a Owner,
    chain: &'a ChainId,
    rules: &'a [Rule],
    others: &'a [Rule],
) -> impl Iterator<Item = SharedRule> + 'a {
    let places = (0..).zip(rules).zip(others.iter().map(Some).chain(std::iter::repeat(None)));
    places.filter(|((_, rule), other)| *other != Some(*rule)).map(|((index, rule), _)| SharedRule {
        chain: chain.clone(),
        key: RuleKey { owner: owner.clone(), index },
        rule: rule.clone(),
    })
}
