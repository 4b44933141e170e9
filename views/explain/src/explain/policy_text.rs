//! The section of the policies, as people read it.

use model::Direction;

use super::policy::{PolicyJudgement, PolicySide};
use crate::policy::Why;

/// How many ends, and how many rules of one, are listed where not all are asked for.
const FEW: usize = 4;

/// What is said at one end of one or more ways.
pub(crate) struct EndText<'j> {
    /// The direction.
    pub(crate) direction: Direction,
    /// The end; the first of several that are told alike.
    pub(crate) side: &'j PolicySide,
    /// The names of all of them.
    pub(crate) names: Vec<String>,
}

impl EndText<'_> {
    /// Direction and names.
    pub(crate) fn title(&self) -> String {
        let mut names = self.names.clone();
        let more = names.len().saturating_sub(FEW);
        names.truncate(FEW);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{} of {}{more}", self.direction, names.join(", "))
    }

    /// The rules that did not match, a line each.
    pub(crate) fn missed(&self, verbose: bool) -> Vec<String> {
        let side = self.side;
        let limit = match (verbose, side.passes) {
            (true, _) => usize::MAX,
            (false, true) => 0,
            (false, false) => FEW,
        };
        let rule = |missed: &super::MissedRule| {
            let super::MissedRule { policy, index, action, because, .. } = missed;
            format!("{policy}, rule {} ({action}): {because}", index + 1)
        };
        let mut lines: Vec<String> = side.missed.iter().take(limit).map(rule).collect();
        let more = side.missed.len().saturating_sub(limit);
        if more > 0 && limit > 0 {
            lines.push(format!("and {more} more (--verbose lists all)"));
        }
        lines
    }
}

/// The ends of all ways: sources first, and those told alike together.
pub(crate) fn ends(judgement: &PolicyJudgement) -> Vec<EndText<'_>> {
    let mut ends: Vec<EndText<'_>> = Vec::new();
    let egress = judgement.ways.iter().map(|way| (Direction::Egress, &way.egress));
    let ingress = judgement.ways.iter().map(|way| (Direction::Ingress, &way.ingress));
    for (direction, side) in egress.chain(ingress) {
        let alike = |end: &&mut EndText<'_>| {
            end.direction == direction
                && end.side.why == side.why
                && end.side.missed.len() == side.missed.len()
                && end.side.missed.iter().zip(&side.missed).all(|(a, b)| a.because == b.because)
        };
        let name = side.name();
        match ends.iter_mut().find(alike) {
            Some(end) if end.names.contains(&name) => {}
            Some(end) => end.names.push(name),
            None => ends.push(EndText { direction, side, names: vec![name] }),
        }
    }
    ends
}

/// The section of an explanation.
pub(super) fn lines(judgement: &PolicyJudgement, verbose: bool) -> Vec<String> {
    if !judgement.enforced {
        return vec![
            "not judged: there is no policy, or none is enforced (--network-policy)".into(),
        ];
    }
    let ends = ends(judgement);
    let Some(first) = ends.first() else {
        return vec!["not asked: the packet does not get that far".into()];
    };
    let silent = |end: &EndText<'_>| {
        matches!(end.side.why, Why::NoPolicy | Why::NoPod | Why::ToNode)
            && (!verbose || end.side.missed.is_empty())
    };
    if ends.iter().all(silent) {
        return vec!["no policy decides, in either direction".into()];
    }
    if ends.len() == 2 && first.side.why == ends[1].side.why && first.side.passes {
        return vec![first.side.why.to_string()];
    }
    let limit = if verbose { usize::MAX } else { FEW };
    let mut lines = Vec::new();
    for end in ends.iter().take(limit) {
        lines.push(format!("{}: {}", end.title(), end.side.why));
        lines.extend(end.missed(verbose).into_iter().map(|rule| format!("  {rule}")));
    }
    if ends.len() > limit {
        lines.push(format!("and {} more (--verbose lists all)", ends.len() - limit));
    }
    lines
}
