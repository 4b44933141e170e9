//! Whether nft lists our tables as they were rendered.

use std::collections::{BTreeMap, BTreeSet};

use lab::Namespace;
use model::Family;
use render::nftables::{Ruleset, SetName, element_text, names, rule_text};

/// Compares the rules of each chain and the elements of each set with what `nft list table` says in
/// a node's namespace.
///
/// # Errors
/// What differs first, in one line.
pub fn compare(node: &Namespace, ruleset: &Ruleset) -> Result<(), String> {
    for family in Family::ALL {
        let word = if family == Family::V4 { "ip" } else { "ip6" };
        let output = node.command("nft").args(["list", "table", word, names::TABLE]).output();
        let output = output.map_err(|error| format!("nft: {error}; apt: nftables"))?;
        if !output.status.success() {
            return Err(format!("nft list: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let listed = Listed::read(&String::from_utf8_lossy(&output.stdout));
        let wanted = Listed::of(ruleset, family);
        if listed.chains != wanted.chains {
            let (found, wanted) = (&listed.chains, &wanted.chains);
            return Err(format!("{word}: nft lists other rules: {}", difference(found, wanted)));
        }
        if listed.elements != wanted.elements {
            let (found, wanted) = (&listed.elements, &wanted.elements);
            return Err(format!("{word}: nft lists other elements: {}", difference(found, wanted)));
        }
    }
    Ok(())
}

/// A table as nft lists it: rules by chain, elements by set.
#[derive(Debug, Default)]
struct Listed {
    chains: BTreeMap<String, Vec<String>>,
    elements: BTreeMap<String, BTreeSet<String>>,
}

impl Listed {
    fn of(ruleset: &Ruleset, family: Family) -> Self {
        let all = ruleset.merged();
        let mut wanted = Self::default();
        for (id, chain) in all.chains.iter().filter(|(id, _)| id.family == family) {
            let rules = chain.rules.iter().map(|rule| rule_text(family, rule)).collect();
            wanted.chains.insert(id.name.to_string(), rules);
        }
        for (id, content) in all.elements.iter().filter(|(id, _)| id.family == family) {
            let set = wanted.elements.entry(id.set.to_string()).or_default();
            set.insert(element_text(id, content));
        }
        wanted
    }

    fn read(text: &str) -> Self {
        let mut listed = Self::default();
        let mut words = String::new();
        let (mut chain, mut set) = (None, None);
        for line in text.lines().map(str::trim) {
            let head = line.strip_suffix(" {").and_then(|head| head.split_once(' '));
            match head {
                Some(("chain", name)) => {
                    listed.chains.entry(name.into()).or_default();
                    chain = Some(name.to_owned());
                }
                Some(("set" | "map", name)) => set = Some(name.to_owned()),
                _ if line == "}" => (chain, set) = (None, None),
                _ if line.starts_with("type ") && chain.is_some() => {}
                _ => {
                    if let Some(rules) = chain.as_ref().and_then(|name| listed.chains.get_mut(name))
                    {
                        rules.push(line.into());
                    }
                    if line.starts_with("elements = {") || !words.is_empty() {
                        words.push_str(line);
                        words.push(' ');
                    }
                    if words.trim_end().ends_with('}') {
                        let name = set.clone().unwrap_or_default();
                        listed.take(&name, &words);
                        words.clear();
                    }
                }
            }
        }
        listed
    }

    /// Takes `elements = { ONE, OTHER }`, without counters; what packets remembered is not ours.
    fn take(&mut self, set: &str, words: &str) {
        if set == SetName::Affinity.to_string() {
            return;
        }
        let inside = words.split_once('{').map_or("", |(_, rest)| rest);
        let inside = inside.trim().trim_end_matches('}');
        let elements = inside.split(',').map(|element| {
            let mut kept: Vec<&str> = Vec::new();
            let mut words = element.split_whitespace();
            while let Some(word) = words.next() {
                if word == "counter" {
                    // `packets N bytes N`
                    words.nth(3);
                } else {
                    kept.push(word);
                }
            }
            kept.join(" ")
        });
        self.elements.insert(set.into(), elements.collect());
    }
}

/// The first name whose content differs, with both contents.
fn difference<T: PartialEq + std::fmt::Debug>(
    found: &BTreeMap<String, T>,
    wanted: &BTreeMap<String, T>,
) -> String {
    let names: BTreeSet<&String> = found.keys().chain(wanted.keys()).collect();
    let differs = names.into_iter().find(|name| found.get(*name) != wanted.get(*name));
    let name = differs.map_or("", String::as_str);
    format!("{name}: found {:?}, wanted {:?}", found.get(name), wanted.get(name))
}
