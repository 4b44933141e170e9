//! What the real nft makes of the text, in network namespaces of its own.

use std::io::Write;
use std::process::{Command, Stdio};

use model::Family;

use plan::{Intent, LocalTraffic, NodePortAccept, PerFamily};

use super::super::text::Line;
use super::super::{Options, Ruleset, ruleset};
use super::fixture::{cluster_ip, cluster_policy};
use super::fixture::{everything, rendered, server, sticky, sticky_everything, with};

/// The nft to test with: the one in `PATH`, or the one that `POINTSMAN_TEST_NFT` names.
pub(super) fn nft() -> String {
    std::env::var("POINTSMAN_TEST_NFT").unwrap_or_else(|_| "nft".into())
}

/// Runs a shell script in a network namespace of its own, with `$NFT` and the texts in `$1`, `$2`…
/// as files. Panics where the namespace cannot be made: that is no pass.
pub(super) fn in_namespace(script: &str, texts: &[&str]) -> Result<String, String> {
    let files: Vec<tempfile::Text> = texts.iter().map(|text| tempfile::Text::new(text)).collect();
    let probe = Command::new("unshare").args(["--net", "true"]).output();
    let probe = probe.expect("unshare (util-linux) must be installed");
    let why = String::from_utf8_lossy(&probe.stderr).into_owned();
    assert!(probe.status.success(), "no network namespace can be made here: {why}");
    let mut shell = Command::new("unshare");
    shell.args(["--net", "sh", "-ec", script, "sh"]).args(files.iter().map(|file| &file.path));
    let output = shell.env("NFT", nft()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

mod tempfile {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    static NEXT: AtomicU32 = AtomicU32::new(0);

    pub(super) struct Text {
        pub(super) path: PathBuf,
    }

    impl Text {
        pub(super) fn new(text: &str) -> Self {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("pointsman-nftables-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::File::create_new(&path).unwrap();
            super::write(&path, text);
            Self { path }
        }
    }

    impl Drop for Text {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn write(path: &std::path::Path, text: &str) {
    std::fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// Loads the text, lists it, loads the listing, lists that.
const ROUND_TRIP: &str = r#"
    $NFT -f "$1"
    $NFT list ruleset > "$1.listed"
    $NFT flush ruleset
    $NFT -f "$1.listed"
    $NFT list ruleset > "$1.again"
    cmp "$1.listed" "$1.again" >&2
    cat "$1.listed"
    rm "$1.listed" "$1.again"
"#;

#[test]
fn tables_survive_a_round_trip_through_nft() {
    survives(&rendered([everything(), sticky_everything()].concat()));
}

#[test]
fn every_way_to_configure_a_node_survives_a_round_trip() {
    let ways = [
        LocalTraffic::Interface("cni0".into()),
        LocalTraffic::InterfacePrefix("veth".into()),
        LocalTraffic::Unknown,
    ];
    for local in ways {
        let mut node = super::fixture::node();
        node.local_traffic = PerFamily::of(|_| local.clone());
        node.node_ports = PerFamily::of(|_| NodePortAccept::AnyLocal { loopback: true });
        node.drop_invalid = true;
        let intent =
            Intent { node: node.into(), servers: Default::default(), policy: Default::default() };
        let (ruleset, _) = ruleset(&intent, &Options::default());
        survives(&ruleset);
    }
}

fn survives(ruleset: &Ruleset) {
    for family in Family::ALL {
        let text = ruleset.to_text(family);
        let listed =
            in_namespace(ROUND_TRIP, &[&text]).unwrap_or_else(|why| panic!("{why}\n{text}"));
        let chains = ruleset.merged().chains;
        for (id, chain) in chains.iter().filter(|(id, _)| id.family == family) {
            let start = format!("\tchain {} {{\n", id.name);
            let rest = listed.split_once(&start).map(|(_, rest)| rest);
            let (body, _) = rest.and_then(|rest| rest.split_once("\t}")).unwrap();
            let lines: Vec<&str> = body.lines().map(str::trim).collect();
            let lines = &lines[usize::from(chain.base.is_some())..];
            let ours: Vec<String> =
                chain.rules.iter().map(|rule| Line { family, rule }.to_string()).collect();
            assert_eq!(lines, ours, "chain {} as nft lists it", id.name);
        }
    }
}

/// nft 1.0.6 aborts when it loads a map statement whose key is longer than 16 bytes; it lists such a
/// rule, and 1.1.3 does both. This test says when that is over.
#[test]
fn old_nft_lists_but_cannot_load_affinity_of_ipv6() {
    let server = sticky(server("sticky6", &["[fd44::1:10]:8080", "[fd44::1:11]:8080"]), 60);
    let ruleset = rendered(vec![with(server, cluster_ip("fd96::50", cluster_policy()))]);
    let loaded = in_namespace(ROUND_TRIP, &[&ruleset.to_text(Family::V6)]);
    let version = Command::new(nft()).arg("--version").stdin(Stdio::null()).output().unwrap();
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    if version.contains(" v1.0.6 ") {
        let why = loaded.unwrap_err();
        assert!(why.contains("netlink_gen_expr") || why.contains("Abort"), "{why}");
    } else {
        assert!(loaded.unwrap().contains("chain lb-2-sticky-60s-masquerade-unless-pod"));
    }
}
