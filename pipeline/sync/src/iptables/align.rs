//! Which rules of a shared chain can stay where they are.

use std::collections::{BTreeMap, VecDeque};

use render::iptables::{Match, Rule};

/// For each desired rule the held one that already stands in its place: the longest run of equal
/// rules in the same order, ends first.
pub(super) fn align(held: &[Option<Rule>], desired: &[&Rule]) -> Vec<Option<usize>> {
    let equal = |(held, desired): &(&Option<Rule>, &&Rule)| held.as_ref() == Some(**desired);
    let mut kept = vec![None; desired.len()];
    let head = held.iter().zip(desired).take_while(equal).count();
    let rest = held.len().min(desired.len()) - head;
    let tail = held.iter().rev().zip(desired.iter().rev()).take(rest).take_while(equal).count();
    for (place, index) in kept.iter_mut().zip(0..head) {
        *place = Some(index);
    }
    for (place, index) in kept.iter_mut().rev().zip((0..held.len()).rev()).take(tail) {
        *place = Some(index);
    }
    let middle = desired.get(head..desired.len() - tail).unwrap_or_default();
    let mut places: BTreeMap<String, VecDeque<usize>> = BTreeMap::new();
    for (index, rule) in middle.iter().enumerate() {
        places.entry(identity(rule)).or_default().push_back(head + index);
    }
    let pairs = held
        .iter()
        .enumerate()
        .take(held.len() - tail)
        .skip(head)
        .filter_map(|(index, rule)| {
            let place = places.get_mut(&identity(rule.as_ref()?))?.pop_front()?;
            Some((index, place))
        })
        .collect::<Vec<_>>();
    for (index, place) in longest_rise(&pairs) {
        if let Some(slot) = kept.get_mut(place) {
            *slot = Some(index);
        }
    }
    kept
}

/// A text that is the same for equal rules alone.
fn identity(rule: &Rule) -> String {
    format!("{rule:?}")
}

/// What a rule of a shared chain is about: rules with the same text decide about the same packets,
/// so one takes the other's place.
pub(super) fn subject(rule: &Rule) -> String {
    let conditions = rule.matches.iter().filter(|one| {
        matches!(one, Match::DestinationPort(..) | Match::DestinationLocal | Match::Nfacct(_))
    });
    format!("{:?} {:?} {:?}", rule.destination, rule.protocol, conditions.collect::<Vec<_>>())
}

/// The longest subsequence of pairs whose second parts rise.
fn longest_rise(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // ends[n] is the pair that ends the rise of length n + 1 with the smallest second part.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    let second = |index: usize| pairs.get(index).map(|pair| pair.1);
    for (index, pair) in pairs.iter().enumerate() {
        let length = ends.partition_point(|&end| second(end) < Some(pair.1));
        before.push(length.checked_sub(1).and_then(|last| ends.get(last).copied()));
        match ends.get_mut(length) {
            Some(end) => *end = index,
            None => ends.push(index),
        }
    }
    let chain =
        std::iter::successors(ends.last().copied(), |&index| before.get(index).copied().flatten());
    let mut rise: Vec<_> = chain.filter_map(|index| pairs.get(index).copied()).collect();
    rise.reverse();
    rise
}

#[cfg(test)]
mod tests {
    use super::*;
    use render::iptables::Target;

    fn rules(names: &str) -> Vec<Rule> {
        names.chars().map(|name| Rule::to(Target::Jump(name.to_string().into()))).collect()
    }

    fn kept(held: &str, desired: &str) -> Vec<Option<usize>> {
        let held: Vec<_> = rules(held)
            .into_iter()
            .map(|rule| {
                let foreign = rule == Rule::to(Target::Jump("?".into()));
                (!foreign).then_some(rule)
            })
            .collect();
        let desired = rules(desired);
        align(&held, &desired.iter().collect::<Vec<_>>())
    }

    #[test]
    fn equal_rules_in_order_stay() {
        assert_eq!(kept("abc", "abc"), [Some(0), Some(1), Some(2)]);
        assert_eq!(kept("abc", "axbc"), [Some(0), None, Some(1), Some(2)]);
        assert_eq!(kept("a?bxc", "abc"), [Some(0), Some(2), Some(4)]);
        assert_eq!(kept("", "ab"), [None, None]);
        assert_eq!(kept("ab", ""), []);
    }

    #[test]
    fn of_what_is_out_of_order_as_much_as_possible_stays() {
        // One of four has to move.
        assert_eq!(kept("dabc", "abcd"), [Some(1), Some(2), Some(3), None]);
        let turned = kept("dcba", "abcd");
        assert_eq!(turned.iter().flatten().count(), 1);
        // Equal rules are told apart by their number alone.
        assert_eq!(kept("aab", "aaab"), [Some(0), Some(1), None, Some(2)]);
    }
}
