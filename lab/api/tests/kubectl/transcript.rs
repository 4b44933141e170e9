//! 98 commands against a real server, played again.
//!
//! Same command, same stdin: same exit code, stdout and stderr, but for what differs from run to
//! run (ages, times, identities, versions, allocated addresses and ports), and for what
//! `differences.json` lists and argues. The transcript is of kubectl 1.32; entries with `since` are
//! of kubectls from that minor version on, those with `before` of older ones (run with 1.32, 1.36
//! and 1.37).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cluster::Hands;
use crate::kubectl::{Cluster, Said};

/// One line of the transcript.
struct Step {
    command: String,
    stdin: String,
    said: Said,
}

fn steps() -> Vec<Step> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings/kubectl-transcript.jsonl");
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let step = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        Step {
            command: text(&line, "command"),
            stdin: text(&line, "stdin"),
            said: Said {
                exit: line["exit"].as_i64().unwrap().try_into().unwrap(),
                stdout: text(&line, "stdout"),
                stderr: text(&line, "stderr"),
            },
        }
    };
    std::fs::read_to_string(path).unwrap().lines().map(step).collect()
}

fn differences(kubectl: u64) -> BTreeMap<usize, Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kubectl/differences.json");
    let list: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let counts = |entry: &Value| {
        let since = entry["since"].as_u64().is_none_or(|since| kubectl >= since);
        since && entry["before"].as_u64().is_none_or(|before| kubectl < before)
    };
    list.into_iter()
        .filter(counts)
        .map(|entry| {
            assert!(entry["reason"].as_str().is_some_and(|reason| reason.len() > 20), "{entry}");
            (usize::try_from(entry["step"].as_u64().unwrap()).unwrap(), entry)
        })
        .collect()
}

/// Brings what may differ into one form.
fn normal(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(normal_line).collect();
    lines.join("\n").trim_end().to_owned()
}

fn normal_line(line: &str) -> String {
    let indent: String = line.chars().take_while(|letter| *letter == ' ').collect();
    // The rulers under the headings of describe are as long as the widest cell.
    let words: Vec<_> = line
        .split([' ', '\t'])
        .filter(|word| !word.is_empty())
        .map(
            |word| {
                if word.len() > 1 && word.bytes().all(|byte| byte == b'-') { "--" } else { word }
            },
        )
        .map(normal_word)
        .collect();
    let mut line = format!("{indent}{}", words.join(" "));
    // Whichever kubectl is installed.
    for program in ["Client Version: ", "Kustomize Version: "] {
        if line.starts_with(program) {
            line = format!("{program}<client>");
        }
    }
    // Wed, 25 Nov 2026 06:59:06 +0000, and the same as Go prints it.
    for months in
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    {
        if let Some(place) = line.find(&format!(" {months} 20")) {
            line = format!("{}<date>", &line[..place.saturating_sub(7)]);
        }
    }
    line
}

fn normal_word(word: &str) -> String {
    let inner = word.trim_matches(['"', ',', '\'', '(', ')', ';']);
    let replaced = match inner {
        _ if is_age(inner) => "<age>",
        _ if is_time(inner) => "<time>",
        _ if is_uid(inner) => "<uid>",
        _ if inner.len() >= 10 && inner.starts_with("20") && is_date(inner) => "<date>",
        _ if is_clock(inner) => "<clock>",
        _ => "",
    };
    if !replaced.is_empty() {
        return word.replace(inner, replaced);
    }
    let mut word = word.to_owned();
    for (start, end) in [("https://127.0.0.1:", ""), ("http://127.0.0.1:", "")] {
        if let Some(place) = word.find(start) {
            word = format!("{}<server>{end}", &word[..place]);
        }
    }
    for folder in ["LIVE-", "MERGED-"] {
        if let Some(place) = word.find(folder) {
            let rest = word[place..].split_once('/').map_or("", |(_, rest)| rest);
            word = format!("/TEMP/{}/{rest}", folder.trim_end_matches('-'));
        }
    }
    addresses_and_ports(&word)
}

fn is_age(word: &str) -> bool {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let rest = &word[digits..];
    digits > 0
        && (rest == "s"
            || rest == "m"
            || rest.len() < 6 && rest.starts_with('m') && rest.ends_with('s'))
}

fn is_time(word: &str) -> bool {
    word.parse::<jiff::Timestamp>().is_ok()
}

fn is_clock(word: &str) -> bool {
    let parts: Vec<_> = word.split(':').collect();
    let number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    parts.len() == 3 && parts[0].len() == 2 && parts.iter().all(number)
}

fn is_date(word: &str) -> bool {
    word.as_bytes().get(4) == Some(&b'-') && word.as_bytes().get(7) == Some(&b'-')
}

fn is_uid(word: &str) -> bool {
    word.len() == 36 && word.bytes().filter(|byte| *byte == b'-').count() == 4
}

/// Allocated cluster IPs and node ports. Those that a command names stay.
fn addresses_and_ports(word: &str) -> String {
    let mut all = String::new();
    let mut number = String::new();
    let flush = |number: &mut String, all: &mut String| {
        let port = number.parse::<u32>().ok();
        let allocated =
            port.is_some_and(|port| (30_000..=32_767).contains(&port) && port != 30_080);
        let address: Option<std::net::Ipv4Addr> = number.parse().ok();
        let named = ["10.96.0.1", "10.96.9.9"].contains(&&number[..]);
        let inside = address.is_some_and(|address| {
            let [a, b, ..] = address.octets();
            a == 10 && (96..112).contains(&b)
        });
        all.push_str(match (allocated, inside && !named) {
            (true, _) => "<port>",
            (_, true) => "<address>",
            _ => number,
        });
        number.clear();
    };
    for letter in word.chars() {
        if letter.is_ascii_digit() || letter == '.' && !number.is_empty() {
            number.push(letter);
        } else {
            flush(&mut number, &mut all);
            all.push(letter);
        }
    }
    flush(&mut number, &mut all);
    all
}

/// resourceVersions, in both notations of `-o`.
fn without_versions(text: &str) -> String {
    let version = |line: &str| match line.split_once("resourceVersion\": \"") {
        Some((head, _)) => format!("{head}resourceVersion\": \"<version>\""),
        None => match line.split_once("resourceVersion: \"") {
            Some((head, _)) => format!("{head}resourceVersion: \"<version>\""),
            None => line.to_owned(),
        },
    };
    text.lines().map(version).collect::<Vec<_>>().join("\n")
}

fn comparable(said: &Said) -> Said {
    let text = |text: &str| normal(&without_versions(text));
    Said { exit: said.exit, stdout: text(&said.stdout), stderr: text(&said.stderr) }
}

/// What happened in the cluster before a command.
fn play(hands: &Hands<'_>, step: usize) {
    match step {
        0 => hands.nodes(),
        1 => hands.deploy(),
        12 => hands.start(),
        36 => hands.slice("my-app", "x5k2v"),
        41 => hands.scale(),
        _ => {}
    }
}

/// Whether our answer is what a listed difference says.
fn as_listed(entry: &Value, ours: &Said, theirs: &Said) -> Result<(), String> {
    let replaced = match (entry["replace"][0].as_str(), entry["replace"][1].as_str()) {
        (Some(from), Some(to)) => theirs.stdout.replace(from, to),
        _ => theirs.stdout.clone(),
    };
    let told = |key: &str, theirs: &str| match entry[key].as_str() {
        Some(text) => normal(text),
        None => theirs.to_owned(),
    };
    if entry["subset"] == true {
        let known: Vec<_> = theirs.stdout.lines().collect();
        let strange: Vec<_> = ours.stdout.lines().filter(|line| !known.contains(line)).collect();
        let some = ours.stdout.lines().count() > 5;
        return if strange.is_empty() && some { Ok(()) } else { Err(strange.join("\n")) };
    }
    let expected = Said {
        exit: entry["exit"].as_i64().map_or(theirs.exit, |exit| exit.try_into().unwrap()),
        stdout: told("stdout", &replaced),
        stderr: told("stderr", &theirs.stderr),
    };
    if *ours == expected { Ok(()) } else { Err(format!("listed is {expected:#?}")) }
}

#[test]
fn every_command_gets_the_answer_of_a_real_server() {
    let cluster = Cluster::new();
    let hands = Hands(&cluster.store);
    let mut differences = differences(cluster.kubectl_minor());
    let mut wrong = Vec::new();
    let steps = steps();
    assert_eq!(steps.len(), 98);
    for (index, step) in steps.iter().enumerate() {
        play(&hands, index);
        // What the recorder's editor did is not recorded; any change will do.
        let editor = "EDITOR=\"sed -i 's/sessionAffinity: None/sessionAffinity: ClientIP/'\"";
        let command = match step.command.contains("kubectl edit") {
            true => format!("{editor} {}", step.command),
            false => step.command.clone(),
        };
        let ours = comparable(&cluster.run(&command, &step.stdin));
        let theirs = comparable(&step.said);
        let complaint = match differences.remove(&index) {
            Some(_) if ours == theirs => Some("is listed as different and is the same".to_owned()),
            Some(entry) => as_listed(&entry, &ours, &theirs).err(),
            None if ours == theirs => None,
            None => Some(String::new()),
        };
        if let Some(complaint) = complaint {
            wrong.push(format!(
                "{index}: {command} {complaint}\nours {ours:#?}\ntheirs {theirs:#?}"
            ));
        }
    }
    assert!(differences.is_empty(), "of no step: {differences:?}");
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), steps.len(), wrong.join("\n\n"));
}
