//! nftables mode: the tables that nft lists, in a form that can be compared.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use lab::Namespace;

/// Lines by table and by chain, set or map: rules in their order, elements sorted, for nft lists
/// those of a hash in any order.
pub(super) type Tables = BTreeMap<String, Vec<String>>;

/// What the kernel makes of a text that `nft -f` loads, in a namespace of its own.
pub(super) fn loaded(text: &str) -> Result<Tables> {
    let scratch = Namespace::new()?;
    let mut nft = scratch.command("nft");
    let mut nft =
        nft.args(["-f", "-"]).stdin(Stdio::piped()).spawn().context("cannot start nft")?;
    let mut stdin = nft.stdin.take().context("nft takes no input")?;
    stdin.write_all(text.as_bytes())?;
    drop(stdin);
    ensure!(nft.wait()?.success(), "nft does not load what pointsman render prints");
    listed(&scratch)
}

/// What a namespace's kernel holds of ours.
pub(super) fn listed(at: &Namespace) -> Result<Tables> {
    let output = at.command("nft").args(["--stateless", "list", "ruleset"]).output();
    let output = output.context("cannot start nft")?;
    Ok(read(&String::from_utf8_lossy(&output.stdout)))
}

fn read(listing: &str) -> Tables {
    let mut tables = Tables::new();
    let (mut table, mut block) = (None, String::new());
    for line in listing.lines() {
        match (line.strip_prefix("table "), line.strip_prefix('\t')) {
            (Some(head), _) => {
                let name = head.trim_end_matches(" {");
                table = name.ends_with(" pointsman").then(|| name.to_owned());
            }
            (None, Some(inner)) => {
                let Some(table) = &table else { continue };
                if let Some(head) = inner.strip_suffix(" {").filter(|head| !head.starts_with('\t'))
                {
                    block = format!("{table} {head}");
                    tables.insert(block.clone(), Vec::new());
                } else if inner.starts_with('\t')
                    && let Some(lines) = tables.get_mut(&block)
                {
                    lines.push(inner.trim().to_owned());
                }
            }
            _ => {}
        }
    }
    tables.into_iter().map(|(block, lines)| (block, sorted(&lines))).collect()
}

/// Elements one by one and sorted, behind everything else. What packets remembered is no part of
/// what is wanted.
fn sorted(lines: &[String]) -> Vec<String> {
    let start = lines.iter().position(|line| line.starts_with("elements = {"));
    let (others, elements) = lines.split_at(start.unwrap_or(lines.len()));
    let mut all = others.to_vec();
    if others.iter().any(|line| line.contains("dynamic")) {
        return all;
    }
    let text = elements.join(" ");
    let text = text.trim_start_matches("elements = {").trim_end_matches('}');
    let mut elements: Vec<String> =
        text.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect();
    elements.sort_unstable();
    all.extend(elements);
    all
}

/// What differs, block by block.
pub(super) fn difference(wanted: &Tables, held: &Tables) -> Vec<String> {
    let mut lines = Vec::new();
    for (block, content) in wanted {
        let found = held.get(block);
        if found != Some(content) {
            let found = found.map(Vec::as_slice).unwrap_or_default();
            let missing: Vec<_> = content.iter().filter(|line| !found.contains(line)).collect();
            let extra: Vec<_> = found.iter().filter(|line| !content.contains(line)).collect();
            lines.push(format!("{block}: missing {missing:#?}, too many {extra:#?}"));
        }
    }
    let extra = held.keys().filter(|block| !wanted.contains_key(*block));
    lines.extend(extra.map(|block| format!("{block} should not be there")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "table inet other {\n\tchain c {\n\t\taccept\n\t}\n}\n\
        table ip pointsman {\n\tcomment \"layout\"\n\tmap services {\n\t\ttypeof ip daddr : verdict\n\t\telements = { 10.0.0.1 : goto a,\n\
        \t\t\t     10.0.0.2 : goto b }\n\t}\n\n\tmap affinity {\n\t\tflags dynamic,timeout\n\t\telements = { 1 }\n\t}\n\n\
        \tchain services {\n\t\ttype nat hook prerouting priority dstnat; policy accept;\n\t\tjump x\n\t\tjump y\n\t}\n}\n";

    #[test]
    fn the_order_of_elements_and_what_packets_remembered_do_not_count() {
        let turned = LISTING.replace(
            "10.0.0.1 : goto a,\n\t\t\t     10.0.0.2 : goto b",
            "10.0.0.2 : goto b, 10.0.0.1 : goto a",
        );
        let other = turned.replace("{ 1 }", "{ 2, 3 }").replace("accept\n\t}\n}", "drop\n\t}\n}");
        assert_eq!(read(LISTING).len(), 3);
        assert_eq!(difference(&read(LISTING), &read(&other)), [""; 0]);
    }

    #[test]
    fn elements_rules_and_their_order_count() {
        for (from, to) in [
            ("10.0.0.2 : goto b", "10.0.0.2 : goto c"),
            ("\t\tjump x\n\t\tjump y\n", "\t\tjump y\n\t\tjump x\n"),
            ("\t\tjump y\n", ""),
            ("\tmap affinity {", "\tmap other {"),
            ("table ip pointsman", "table ip6 pointsman"),
        ] {
            let other = LISTING.replace(from, to);
            assert!(!difference(&read(LISTING), &read(&other)).is_empty(), "{from}");
        }
    }
}
