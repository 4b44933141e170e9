//! `pointsman can` answers for policies alone, and `docs/policy.md` shows what it prints.

use std::process::{Command, Output};

use super::{SHOP, ask, held, root, shown};

fn can(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.current_dir(root()).arg("can").args(SHOP).args(words).output().unwrap()
}

/// Source, destination, exit code, what the answer says.
const QUESTIONS: [(&str, &str, i32, &str); 15] = [
    ("pod/shop/web-1", "db.shop:5432", 0, "NetworkPolicy shop/db, rule 1: Accept"),
    ("pod/shop/client", "db.shop:5432", 1, "Pod shop/client does not meet app=web"),
    ("pod/shop/web-1", "pod/shop/db-1:5433", 1, "sql of Pod shop/db-1 is TCP 5432"),
    ("pod/shop/web-1", "pod/shop/db-1:5432/udp", 1, "UDP 5432 is none of its ports (TCP sql)"),
    ("outside/198.51.100.7", "pod/shop/db-1:5432", 1, "198.51.100.7 is no Pod"),
    ("node/beta", "pod/shop/db-1:5432", 0, "the node may always reach its Pods"),
    ("node/alpha", "pod/shop/db-1:5432", 1, "10.9.0.1 is no Pod"),
    ("pod/shop/batch-1", "web.shop:80", 1, "policies see the endpoint's port"),
    ("pod/shop/batch-1", "198.51.100.9:443", 1, "198.51.100.9 is no Pod"),
    ("pod/shop/client", "cache.shop:6379", 2, "1 of 2 endpoints"),
    ("pod/shop/client", "pod/shop/cache-2:6379", 1, "quarantine, rule 1 (nobody): Deny"),
    ("pod/shop/cache-2", "pod/shop/cache-2:6379", 0, "a Pod may always reach itself"),
    ("pod/shop/client", "cart.shop:80", 3, "NO CONNECTION [NoEndpoints]"),
    ("pod/shop/nobody", "cart.shop:80", 3, "NO CONNECTION [NameNotFound]"),
    ("outside/198.51.100.7", "203.0.113.8:443", 4, "--node"),
];

#[test]
fn questions_have_their_answers_and_exit_codes() {
    for (source, destination, exit, expected) in QUESTIONS {
        let output = can(&[source, destination]);
        let (shown, said) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(exit), "{source} {destination}: {shown}{said}");
        let answer = if exit == 4 { said } else { shown.clone() };
        assert!(answer.contains(expected), "{source} {destination}: {answer}");
        assert!(!shown.contains('\u{1b}'), "coloured where nobody sees it");
        let json = can(&[source, destination, "-o", "json"]);
        assert_eq!(json.status.code(), Some(exit));
        if exit < 4 {
            let value: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
            let decisions = ["Allowed", "Denied", "Partly", "NotAsked"];
            assert_eq!(value["decision"], decisions[usize::try_from(exit).unwrap()]);
        }
    }
}

/// `explain` drops what `can` denies, and delivers or lets pass what it allows.
#[test]
fn explain_says_the_same() {
    for (source, destination, exit, _) in QUESTIONS.into_iter().filter(|asked| asked.2 < 3) {
        let (place, protocol) = match destination.rsplit_once('/') {
            Some((place, "udp")) => (place, "udp"),
            _ => (destination, "tcp"),
        };
        let told = ask(&[&format!("{protocol} {source} -> {place}")]);
        let shown = String::from_utf8_lossy(&told.stdout);
        assert_eq!(exit == 1, told.status.code() == Some(2), "{source} {destination}: {shown}");
    }
}

#[test]
fn the_table_of_a_namespace_has_a_line_for_each_source() {
    let output = can(&["--matrix", "shop", "--from", "198.51.100.7", "--from", "10.9.0.2"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    let titles: Vec<&str> = lines.next().unwrap().split_whitespace().skip(3).collect();
    let database = titles.iter().position(|title| *title == "db-1:5432").unwrap();
    for line in lines.take_while(|line| !line.contains("declares")) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(cells.len(), titles.len() + 1, "{line}");
        let expected = match cells[0] {
            "pod/shop/web-1" | "pod/shop/web-2" | "pod/shop/web-3" => "yes",
            "pod/shop/db-1" => "itself",
            // The node of the Pod.
            "10.9.0.2" => "yes",
            _ => "NO",
        };
        assert_eq!(cells[database + 1], expected, "{line}");
    }
    assert!(text.contains("pod/shop/batch-1 declares no port"), "{text}");
    let json = can(&["--matrix", "shop", "--port", "5432", "--port", "53/udp", "-o", "json"]);
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        value["columns"].as_array().unwrap().len(),
        2 * value["rows"].as_array().unwrap().len()
    );
}

#[test]
fn what_cannot_be_answered_is_no_answer() {
    let broken: [(&[&str], &str); 6] = [
        (&["pod/shop/client"], "required"),
        (&["pod/shop/client", "web.shop"], "has no port"),
        (&["pod/shop/client", "web.shop:80/icmp"], "not tcp, udp or sctp"),
        (&["--matrix", "nowhere"], "Pods are known of: shop"),
        (&["--matrix", "shop", "--from", "nowhere"], "neither an address nor a namespace"),
        (&["--matrix", "shop", "--port", "http"], "is no port"),
    ];
    for (words, expected) in broken {
        let output = can(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{words:?}: {said}");
        assert!(said.contains(expected), "{words:?}: {said}");
        assert!(output.stdout.is_empty(), "{words:?}");
    }
}

#[test]
fn the_document_shows_what_is_printed() {
    let path = "docs/policy.md";
    let (document, fresh, examples) = shown(path, &[("can", can)]);
    assert!(examples >= 6, "{examples} examples");
    held(path, &document, &fresh);
}
