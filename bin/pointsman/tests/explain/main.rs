//! `pointsman explain` answers the questions that people ask most, and `docs/explain.md` shows what
//! it prints.
//!
//! `POINTSMAN_BLESS=1` writes the outputs in the document anew; read what it changed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod can;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use explain::Code;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn ask(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.current_dir(root()).arg("explain").args(SHOP).args(words).output().unwrap()
}

/// The flags of the documents' examples.
const SHOP: [&str; 4] = ["--manifests", "docs/explain/shop", "--cluster-cidr", "10.77.0.0/16"];

/// Question, further flags, stable code, exit code.
const QUESTIONS: [(&str, &[&str], &str, i32); 23] = [
    ("tcp pod/shop/client -> web.shop:80", &[], "Delivered", 0),
    ("tcp pod/shop/client -> cart.shop:80", &[], "NoEndpoints", 1),
    ("tcp pod/shop/client -> web.shop:8080", &[], "WrongPort", 3),
    ("tcp pod/shop/client -> web.shop:8080", &["--proxy-mode=nftables"], "WrongPort", 1),
    ("tcp pod/shop/client -> search.shop:80", &[], "NoneReady", 1),
    ("tcp pod/shop/client -> stock.shop:http", &[], "PortNotInEndpoints", 1),
    ("tcp pod/shop/client -> local.shop:80", &[], "InternalPolicyLocal", 2),
    ("tcp outside/198.51.100.7 -> 203.0.113.8:443", &["--node=alpha"], "ExternalPolicyLocal", 2),
    ("tcp outside/198.51.100.7 -> 203.0.113.8:443", &["--node=beta"], "Delivered", 0),
    ("tcp outside/198.51.100.7 -> 203.0.113.9:443", &["--node=alpha"], "SourceRangeDenied", 2),
    ("tcp outside/198.51.100.7 -> node/alpha:30444", &[], "SourceRangesBypassed", 0),
    ("tcp pod/shop/solo-1 -> solo.shop:80", &[], "Hairpin", 0),
    (
        "tcp outside/198.51.100.7 -> 192.0.2.1:30080",
        &["--nodeport-addresses=primary", "--node=alpha"],
        "NodePortOtherAddress",
        3,
    ),
    ("tcp pod/client -> web.shop:80", &[], "NameNotFound", 3),
    ("tcp node/alpha -> web:80", &[], "NameNotFound", 3),
    ("tcp pod/shop/client -> web.shop:80", &["--family=ipv6"], "NoCommonFamily", 3),
    ("tcp pod/shop/client -> node/beta:30080", &[], "ForAnotherNode", 3),
    ("tcp pod/shop/client -> pod/shop/web-1:8080", &[], "DirectToPod", 3),
    ("tcp pod/shop/client -> 10.88.7.7:80", &["--proxy-mode=nftables"], "UnallocatedAddress", 2),
    ("tcp pod/shop/client -> db.shop:5432", &[], "IngressIsolated", 2),
    ("tcp pod/shop/batch-1 -> web.shop:80", &[], "EgressIsolated", 2),
    ("tcp pod/shop/client -> pod/shop/cache-2:6379", &[], "IngressDenied", 2),
    ("tcp pod/shop/client -> cache.shop:6379", &[], "PolicyDeniesSome", 0),
];

#[test]
fn the_questions_that_people_ask_have_their_codes() {
    for (question, flags, code, exit) in QUESTIONS {
        let words: Vec<&str> = [question].into_iter().chain(flags.iter().copied()).collect();
        let text = ask(&words);
        let shown = String::from_utf8(text.stdout).unwrap();
        let said = String::from_utf8_lossy(&text.stderr);
        assert!(shown.contains(&format!("[{code}]")), "{words:?}: {shown}{said}");
        assert_eq!(text.status.code(), Some(exit), "{words:?}: {shown}{said}");
        assert!(shown.lines().count() <= 24, "{words:?} does not fit one screen: {shown}");
        assert!(!shown.contains('\u{1b}'), "{words:?} is coloured where nobody sees it");
        let json = ask(&[&words[..], &["-o", "json"]].concat());
        assert_eq!(json.status.code(), Some(exit), "{words:?}");
        let value: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!(value["reason"], code, "{words:?}: {value:#}");
    }
}

#[test]
fn words_without_quotes_are_a_question_too() {
    let quoted = ask(&["tcp pod/shop/client -> web.shop:80"]);
    assert_eq!(quoted.status.code(), Some(0));
    for words in [
        ["tcp", "pod/shop/client", "to", "web.shop:80"],
        ["tcp", "pod/shop/client", "->", "web.shop:80"],
    ] {
        assert_eq!(ask(&words).stdout, quoted.stdout);
    }
}

#[test]
fn what_cannot_be_answered_is_no_answer() {
    let broken = [
        (&["tcp", "pod/shop/client", "-"][..], "in quotes"),
        (&["tcp pod/shop/client -> web.shop"], "has no port"),
        (&["tcp outside/198.51.100.7 -> 203.0.113.8:443"], "--node"),
        (&["tcp node/alpha -> web.shop:80", "--node=omega"], "omega"),
        (&["tcp node/alpha -> web.shop:80", "--no-such-flag"], "--no-such-flag"),
    ];
    for (words, expected) in broken {
        let output = ask(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{words:?}: {said}");
        assert!(said.contains(expected), "{words:?}: {said}");
        assert!(output.stdout.is_empty(), "{words:?}");
    }
}

#[test]
fn why_not_names_the_reason_of_one_endpoint() {
    for (pod, expected) in [
        ("shop/web-3", "not ready"),
        ("shop/web-1", "it is used, with 50% of new connections"),
        ("shop/solo-1", "spec.selector does not match"),
        ("shop/nobody", "no such Pod"),
    ] {
        let output = ask(&["tcp pod/shop/client -> web.shop:80", "--why-not", pod]);
        let shown = String::from_utf8(output.stdout).unwrap();
        let line = shown.lines().find(|line| line.starts_with("why not")).expect(&shown);
        assert!(line.contains(expected), "{pod}: {line}");
    }
}

#[test]
fn an_endpoint_that_is_not_reached_has_no_share() {
    let denied = "tcp outside/198.51.100.7 -> 203.0.113.9:443";
    let output = ask(&[denied, "--node=alpha", "--why-not=shop/pay-1"]);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("1 of 1 usable"), "{shown}");
    assert!(shown.contains("it is usable, but the packet does not get that far"), "{shown}");
    assert!(!shown.contains('%'), "{shown}");
}

/// The commands of the document are run as they stand there, and must print what stands below.
#[test]
fn the_document_shows_what_is_printed() {
    let (document, fresh, examples) = shown("docs/explain.md", &[("ask", ask)]);
    assert!(examples >= 10, "{examples} examples");
    let (head, table) = fresh.split_once("<!-- codes -->\n").expect("the table has its mark");
    let (_, tail) = table.split_once("<!-- end of codes -->").expect("and its end");
    let fresh = format!("{head}<!-- codes -->\n{}<!-- end of codes -->{tail}", codes());
    held("docs/explain.md", &document, &fresh);
}

/// A command that documents abbreviate: its short name, and what runs it.
type Abbreviation = (&'static str, fn(&[&str]) -> Output);

/// A document, the same with what its commands print now, and how many these are.
fn shown(path: &str, commands: &[Abbreviation]) -> (String, String, usize) {
    let document = fs::read_to_string(root().join(path)).unwrap();
    let (mut fresh, mut examples) = (String::new(), 0);
    let mut rest = document.as_str();
    while let Some((before, block)) = rest.split_once("```console\n$ ") {
        let (block, after) = block.split_once("```\n").expect("a block is closed");
        let command = block.lines().next().unwrap();
        let (name, words) = command.split_once(' ').unwrap();
        let (_, run) = commands.iter().find(|(known, _)| *known == name).expect(command);
        let printed = printed(words, *run);
        let _ = write!(fresh, "{before}```console\n$ {command}\n{printed}```\n");
        rest = after;
        examples += 1;
    }
    fresh.push_str(rest);
    (document, fresh, examples)
}

/// Holds a document to what is printed now, or writes it anew.
fn held(path: &str, document: &str, fresh: &str) {
    if std::env::var_os("POINTSMAN_BLESS").is_some() {
        fs::write(root().join(path), fresh).unwrap();
    } else {
        assert_eq!(document, fresh, "{path} is not what is printed now");
    }
}

/// What a command of a document prints, and its exit code.
fn printed(command: &str, run: fn(&[&str]) -> Output) -> String {
    let mut words = Vec::new();
    for (index, part) in command.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part);
        } else {
            words.extend(part.split_whitespace());
        }
    }
    let output = run(&words);
    let text = String::from_utf8(output.stdout).unwrap();
    format!("{text}$ echo $?\n{}\n", output.status.code().unwrap())
}

fn codes() -> String {
    let mut table = String::from("| code | meaning | consequence | remedy |\n|--|--|--|--|\n");
    for code in Code::ALL {
        let (meaning, consequence, remedy) = (code.meaning(), code.consequence(), code.remedy());
        let _ = writeln!(table, "| `{code}` | {meaning} | {consequence} | {remedy} |");
    }
    table
}
