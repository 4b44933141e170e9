//! What the kernel holds against what it should hold.

use std::collections::BTreeMap;

use model::Family;
use render::iptables::{self, Match, Rule};
use render::nftables::{self, ElementId, element_text, rule_text};
use serde::Serialize;

use super::needs::{IptablesNeeds, NftablesNeeds};
use crate::Packet;

/// What was read back of the kernel for one packet.
#[derive(Clone, Debug)]
pub enum Held {
    /// Chains with their rules; `None` for a rule that none of ours can be. A chain that is not
    /// there is empty.
    Iptables(BTreeMap<iptables::ChainId, Vec<Option<Rule>>>),
    /// Our table.
    Nftables(TableHeld),
}

/// What was read back of our table.
#[derive(Clone, Debug, Default)]
pub struct TableHeld {
    /// Whether there is such a table.
    pub there: bool,
    /// Its chains; `None` for one that holds what no rule of ours says.
    pub chains: BTreeMap<nftables::ChainId, Option<nftables::Chain>>,
    /// Those of the elements asked for that are there.
    pub elements: BTreeMap<ElementId, nftables::Content>,
}

/// One thing that the kernel holds otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where.
    pub object: String,
    /// What should be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// What is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
}

impl Difference {
    /// In one line.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { object, wanted, held } = self;
        match (wanted, held) {
            (Some(wanted), None) => format!("{object} lacks: {wanted}"),
            (Some(wanted), Some(held)) => format!("{object} holds: {held}; it should be: {wanted}"),
            (None, Some(held)) => format!("{object} holds what nobody wants: {held}"),
            (None, None) => format!("{object} is not there"),
        }
    }
}

/// Counters match every packet, and whether they are named depends on the kernel.
fn without_counters(rule: &Rule) -> Rule {
    let mut rule = rule.clone();
    rule.matches.retain(|one| !matches!(one, Match::Nfacct(_)));
    rule
}

pub(super) fn iptables(
    needs: &IptablesNeeds,
    held: &BTreeMap<iptables::ChainId, Vec<Option<Rule>>>,
    packet: &Packet,
) -> Vec<Difference> {
    let mut differences = Vec::new();
    let none = Vec::new();
    for (id, wanted) in &needs.own {
        own_chain(id, wanted, held.get(id).unwrap_or(&none), &mut differences);
    }
    for (id, wanted) in &needs.within {
        let there = held.get(id).unwrap_or(&none);
        let lacking = wanted.iter().filter(|rule| !holds(there, rule));
        differences.extend(lacking.map(|rule| Difference {
            object: chain_words(id),
            wanted: Some(rule.display(id.family).to_string()),
            held: None,
        }));
        let strays = there.iter().flatten().filter(|rule| {
            names_destination(rule, packet) && !needs.known.contains(&without_counters(rule))
        });
        differences.extend(strays.map(|rule| Difference {
            object: chain_words(id),
            wanted: None,
            held: Some(rule.display(id.family).to_string()),
        }));
    }
    differences
}

fn chain_words(id: &iptables::ChainId) -> String {
    format!("chain {} of table {} ({})", id.name, id.table, id.family)
}

fn holds(there: &[Option<Rule>], wanted: &Rule) -> bool {
    let wanted = without_counters(wanted);
    there.iter().flatten().any(|rule| without_counters(rule) == wanted)
}

/// Whether a rule is for the packet's very destination, which only rules of Services are.
fn names_destination(rule: &Rule, packet: &Packet) -> bool {
    let comments = rule.matches.iter().any(|one| matches!(one, Match::Comment(_)));
    let port = Match::DestinationPort(packet.protocol, packet.port);
    let address = rule.destination.as_ref().is_some_and(|block| {
        !block.inverted
            && block.value.addr() == packet.destination
            && block.value.prefix_len() == block.value.max_prefix_len()
    });
    comments && address && rule.matches.contains(&port)
}

fn own_chain(
    id: &iptables::ChainId,
    wanted: &[Rule],
    there: &[Option<Rule>],
    differences: &mut Vec<Difference>,
) {
    let text = |rule: &Rule| rule.display(id.family).to_string();
    let object = chain_words(id);
    if there.is_empty() && !wanted.is_empty() {
        let wanted = format!("all of its {} rules", wanted.len());
        return differences.push(Difference { object, wanted: Some(wanted), held: None });
    }
    let lacking: Vec<&Rule> = wanted.iter().filter(|rule| !holds(there, rule)).collect();
    let is_wanted =
        |rule: &Rule| wanted.iter().any(|one| without_counters(one) == without_counters(rule));
    let more = there.iter().filter(|rule| !rule.as_ref().is_some_and(is_wanted));
    let more: Vec<String> = more
        .map(|rule| rule.as_ref().map_or_else(|| "a rule that is not ours".into(), text))
        .collect();
    for rule in &lacking {
        let (object, wanted) = (object.clone(), Some(text(rule)));
        differences.push(Difference { object, wanted, held: None });
    }
    for held in &more {
        let (object, held) = (object.clone(), Some(held.clone()));
        differences.push(Difference { object, wanted: None, held });
    }
    let order = there.iter().flatten().map(without_counters);
    if lacking.is_empty() && more.is_empty() && !order.eq(wanted.iter().map(without_counters)) {
        let held = Some("its rules in another order, or twice".into());
        differences.push(Difference { object, wanted: Some("each once, in order".into()), held });
    }
}

pub(super) fn nftables(needs: &NftablesNeeds, held: &TableHeld) -> Vec<Difference> {
    let mut differences = Vec::new();
    let family = word(needs.family);
    if !held.there {
        let object = format!("table {family} {}", nftables::names::TABLE);
        return vec![Difference { object, wanted: None, held: None }];
    }
    for (id, wanted) in &needs.chains {
        let object = format!("chain {family} {} {}", nftables::names::TABLE, id.name);
        match held.chains.get(id) {
            Some(Some(there)) if there == wanted => {}
            Some(Some(there)) => differences.push(Difference {
                object,
                wanted: Some(chain_text(id.family, wanted)),
                held: Some(chain_text(id.family, there)),
            }),
            Some(None) => differences.push(Difference {
                object,
                wanted: Some(chain_text(id.family, wanted)),
                held: Some("a rule that is not ours".into()),
            }),
            None => differences.push(Difference {
                object,
                wanted: Some(chain_text(id.family, wanted)),
                held: None,
            }),
        }
    }
    for (id, wanted) in &needs.elements {
        let there = held.elements.get(id);
        if there != Some(wanted) {
            differences.push(Difference {
                object: set_words(id),
                wanted: Some(element_text(id, wanted)),
                held: there.map(|there| element_text(id, there)),
            });
        }
    }
    for id in &needs.absent {
        if let Some(there) = held.elements.get(id) {
            let held = Some(element_text(id, there));
            differences.push(Difference { object: set_words(id), wanted: None, held });
        }
    }
    differences
}

fn word(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn set_words(id: &ElementId) -> String {
    format!("set {} {} {}", word(id.family), nftables::names::TABLE, id.set)
}

fn chain_text(family: Family, chain: &nftables::Chain) -> String {
    let rules: Vec<String> = chain.rules.iter().map(|rule| rule_text(family, rule)).collect();
    if rules.is_empty() { "no rule".into() } else { rules.join("; ") }
}
