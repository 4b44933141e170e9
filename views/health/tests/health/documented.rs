//! `docs/metrics.md` lists what is there, no more and no less.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use health::metrics::Mode;

use super::exposition::read;
use super::metrics::busy;

type Row = (String, BTreeSet<String>);

fn documented() -> BTreeMap<String, Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let bare = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        let [name, kind, labels, of, meaning] = cells[..] else { panic!("{line}") };
        assert!(["yes", "iptables mode", "nftables mode", "no"].contains(&of.trim()), "{line}");
        assert!(!meaning.trim().is_empty(), "{line}");
        let labels = labels.split(',').map(bare).filter(|label| !label.is_empty()).collect();
        let again = rows.insert(bare(name), (bare(kind), labels));
        assert!(again.is_none(), "twice: {line}");
    }
    rows
}

#[test]
fn the_table_is_what_there_is() {
    let mut found: BTreeMap<String, Row> = BTreeMap::new();
    for mode in [Mode::Iptables, Mode::Nftables] {
        for (name, metric) in read(&busy(mode).metrics.render().unwrap()) {
            let labels = metric.labels().into_iter().map(ToOwned::to_owned).collect();
            found.insert(name, (metric.kind, labels));
        }
    }
    let documented = documented();
    for (name, row) in &found {
        assert_eq!(documented.get(name), Some(row), "{name}, in docs/metrics.md");
    }
    for name in documented.keys() {
        assert!(found.contains_key(name), "{name} is in docs/metrics.md and nowhere else");
    }
    assert!(found.len() > 50);
}
