//! What the kernel of this network namespace holds, as lines for people.

use anyhow::Result;
use model::{Family, Owner};
use render::nftables::Ruleset;
use sync::conntrack::{Conntrack, Filter};
use sync::iptables::Iptables;
use sync::table::Nftables;

use super::bundle::Kernel;

/// How many connections are told at most.
const MOST: usize = 10_000;

/// Our rules in either mode, and the connections that they translated.
///
/// # Errors
/// Without CAP_NET_ADMIN.
pub(super) fn read() -> Result<Kernel> {
    let mut rules = iptables()?;
    rules.extend(nftables()?);
    Ok(Kernel { rules, connections: connections()? })
}

fn iptables() -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut before = None;
    for (id, rules) in Iptables::open()?.read()? {
        if before != Some((id.family, id.table)) {
            lines.push(format!("# {} *{}", id.family, id.table));
            before = Some((id.family, id.table));
        }
        lines.extend(rules.iter().map(|held| match &held.rule {
            Some(rule) => format!("-A {} {}", id.name, rule.display(id.family)),
            // What others wrote may say anything, so none of it is told.
            None => format!("-A {} # a rule that is not ours", id.name),
        }));
    }
    // Built-in chains alone are nobody's rules.
    Ok(if lines.iter().any(|line| line.starts_with("-A")) { lines } else { Vec::new() })
}

fn nftables() -> Result<Vec<String>> {
    let mut tables = Nftables::open()?;
    if !tables.is_there()? {
        return Ok(Vec::new());
    }
    let held = tables.read()?;
    let unreadable = held.unreadable.len();
    let parts = [(Owner::Node, held.part)].into();
    let ruleset = Ruleset {
        parts,
        policy: render::nftables::Part::default(),
        options: render::nftables::Options::default(),
    };
    let texts = Family::ALL.map(|family| ruleset.to_text(family));
    let mut lines: Vec<String> =
        texts.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
    if unreadable > 0 {
        lines.push(format!("# {unreadable} more that are not ours"));
    }
    Ok(lines)
}

fn connections() -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut conntrack = Conntrack::open()?;
    for family in Family::ALL {
        conntrack.list(&Filter::family(family), |entry| {
            let Some(flow) = entry.flow().filter(|_| entry.is_translated()) else { return };
            let (original, reply) = (&entry.original, &entry.reply);
            lines.push(format!(
                "{} {} -> {} answered {} <- {}{}",
                flow.protocol.lower(),
                original.source,
                original.destination,
                reply.destination,
                reply.source,
                if entry.is_answered() { "" } else { " unreplied" },
            ));
        })?;
    }
    lines.sort();
    lines.truncate(MOST);
    Ok(lines)
}
