//! What the kernel adds, in words.

use super::{FlowFound, ForeignChain, KernelTruth};
use crate::Code;

/// How many things of a kind are listed where not all are asked for.
const FEW: usize = 4;

impl KernelTruth {
    /// The lines below `kernel`; all of them if `verbose` says so.
    #[must_use]
    pub fn lines(&self, verbose: bool) -> Vec<String> {
        let mut lines = Vec::new();
        let limit = if verbose { usize::MAX } else { FEW };
        let compared = self.compared;
        match self.differences.len() {
            _ if !self.unread.is_empty() && self.verdict.is_none() => {
                lines.push("was not compared".to_owned());
            }
            0 => {
                lines.push(format!("holds what it should: {compared} rules and elements compared"))
            }
            count => lines.push(format!("differs in {count} of {compared} rules and elements:")),
        }
        push(&mut lines, limit, self.differences.iter().map(|one| format!("  {}", one.text())));
        // The first one is the verdict's own reason, and differences were listed.
        let rules = [Code::KernelEmpty, Code::KernelLacks, Code::KernelDiffers];
        let more = self.findings.iter().skip(1).filter(|one| !rules.contains(&one.code));
        push(&mut lines, limit, more.map(|one| format!("[{}] {}", one.code, one.detail)));
        if let Some(why) = &self.unclear {
            lines.push(format!("its rules cannot be followed to an end: {why}"));
        }
        let flows = self.flows.iter().filter(|flow| !flow.stale);
        push(&mut lines, limit, flows.map(flow));
        let pinned = self.pinned.iter();
        push(
            &mut lines,
            limit,
            pinned.map(|to| format!("session affinity keeps the client at {to}")),
        );
        let foreign = self.foreign.iter().filter(|chain| chain.does.is_none());
        push(&mut lines, limit, foreign.map(other_chain));
        if verbose {
            let settings = self.settings.iter();
            lines.extend(settings.map(|one| format!("{} = {}", one.name, one.value)));
        }
        lines.extend(self.unread.iter().map(|why| format!("not read: {why}")));
        lines
    }
}

fn push(lines: &mut Vec<String>, limit: usize, more: impl Iterator<Item = String>) {
    let more: Vec<String> = more.collect();
    let left = more.len().saturating_sub(limit);
    lines.extend(more.into_iter().take(limit));
    if left > 0 {
        lines.push(format!("  and {left} more (--verbose lists all)"));
    }
}

fn flow(flow: &FlowFound) -> String {
    let FlowFound { client, answers_from, .. } = flow;
    format!("a connection from {client} goes on to {answers_from}")
}

fn other_chain(chain: &ForeignChain) -> String {
    let ForeignChain { name, at, can, .. } = chain;
    let can: Vec<&str> = can.iter().copied().collect();
    format!("others: chain {name} ({at}) may {}; nft monitor trace shows it", can.join(" or "))
}
