//! The edges between crates and the shape of the sources, as the design has them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<PathBuf>,
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<Metadata>(&output.stdout).unwrap().packages
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Which crates of ours each crate of the path may build upon.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("pointsman-model", &[] as &[_]),
        ("pointsman-intake", &["pointsman-model"]),
        ("pointsman-plan", &["pointsman-model"]),
        ("pointsman-render", &["pointsman-model", "pointsman-plan"]),
        ("pointsman-sync", &["pointsman-model", "pointsman-render"]),
        ("pointsman-explain", &["pointsman-model", "pointsman-plan", "pointsman-render"]),
        ("pointsman-config", &["pointsman-model", "pointsman-plan"]),
        ("pointsman-dns", &["pointsman-model"]),
        ("pointsman-health", &["pointsman-model", "pointsman-plan"]),
        ("pointsman-lab", &["pointsman-model"]),
        ("pointsman-lab-api", &[] as &[_]),
        (
            "pointsman-lab-cluster",
            &["pointsman-model", "pointsman-intake", "pointsman-lab", "pointsman-lab-api"],
        ),
    ])
}

const PURE: [&str; 4] =
    ["pointsman-model", "pointsman-plan", "pointsman-render", "pointsman-explain"];

#[test]
fn crates_build_upon_earlier_stages_alone() {
    let packages = packages();
    let allowed = allowed();
    let found: BTreeSet<&str> = packages.iter().map(|package| &*package.name).collect();
    for name in allowed.keys() {
        assert!(found.contains(name), "{name} is gone: take it out of this test's list");
    }
    for package in &packages {
        let ours = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.path.is_some() && dependency.kind.is_none());
        for dependency in ours {
            let (from, to) = (&*package.name, &*dependency.name);
            assert_ne!(to, "pointsman", "{from} builds upon the program");
            if let Some(allowed) = allowed.get(from) {
                assert!(allowed.contains(&to), "{from} builds upon {to}");
            }
        }
    }
}

#[test]
fn pure_crates_know_no_world() {
    const WORLD: [&str; 12] = [
        "tokio",
        "kube",
        "k8s-openapi",
        "notify",
        "nix",
        "libc",
        "tracing",
        "tracing-subscriber",
        "jiff",
        "futures-util",
        "rustix",
        "log",
    ];
    const CALLS: [&str; 11] = [
        "std::fs",
        "std::process",
        "std::time",
        "std::thread",
        "std::env",
        "std::io",
        "TcpStream",
        "UdpSocket",
        "println!",
        "eprintln!",
        "HashMap",
    ];
    for package in packages().iter().filter(|package| PURE.contains(&&*package.name)) {
        for dependency in package.dependencies.iter().filter(|one| one.kind.is_none()) {
            let (from, to) = (&package.name, &*dependency.name);
            assert!(!WORLD.contains(&to), "{from} is pure and must not build upon {to}");
        }
        for source in sources_of(package) {
            let code = source.code();
            for call in CALLS {
                assert!(!code.contains(call), "{}: {call} in a pure crate", source.name());
            }
        }
    }
}

#[test]
fn render_names_no_object_and_plan_no_chain() {
    let packages = packages();
    let of = |name: &str| {
        let package = packages.iter().find(|package| package.name == name).unwrap();
        let sources = sources_of(package);
        assert!(!sources.is_empty());
        sources
    };
    for source in of("pointsman-render") {
        // The owner of a part may be a Service: a name, not the object.
        let code = source.code().replace("Owner::Service", "");
        for word in words(&code) {
            for banned in ["Service", "EndpointSlice", "Endpoint", "Pod", "Cluster"] {
                let variant = word == "Cluster" && code.contains("PoolName::Cluster");
                assert!(word != banned || variant, "{}: render names {word}", source.name());
            }
        }
    }
    for source in of("pointsman-plan") {
        let code = source.code();
        for banned in ["KUBE-", "iptables::", "nftables::", "DNAT", "PREROUTING", "POSTROUTING"] {
            assert!(!code.contains(banned), "{}: plan says {banned}", source.name());
        }
    }
}

/// A clock that is set back must not make anything look fresh, late or never due: what is decided is
/// decided by the steady clock, and the other one is read where a time is shown, and nowhere else.
#[test]
fn the_wall_clock_is_read_to_be_shown() {
    const SHOWN: [&str; 2] = ["views/health/src/moment.rs", "pipeline/intake/src/api/events.rs"];
    const READ: [&str; 3] = ["SystemTime::now", "Timestamp::now", "Zoned::now"];
    let of_node = |source: &Source| {
        ["pipeline/", "views/", "bin/"].iter().any(|part| source.name().starts_with(part))
    };
    let reads = |source: &Source| READ.iter().any(|call| source.code().contains(call));
    let sources = all_sources().into_iter().filter(|source| of_node(source) && reads(source));
    let found: BTreeSet<String> = sources.map(|source| source.name()).collect();
    assert_eq!(found, SHOWN.map(String::from).into(), "where the wall clock is read");
}

#[test]
fn files_and_functions_are_short() {
    let mut wrong = Vec::new();
    for source in all_sources() {
        if source.lines.first().is_some_and(|line| line.contains("table")) {
            continue;
        }
        if source.lines.len() > 400 {
            wrong.push(format!("{}: {} production lines", source.name(), source.lines.len()));
        }
        for (name, length) in source.functions() {
            if length > 60 {
                wrong.push(format!("{}: fn {name} has {length} lines", source.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "more than 400 lines a file or 60 a function:\n{}", wrong.join("\n"));
}

#[test]
fn the_measuring_of_functions_measures() {
    let text = "fn one() {\n    body();\n}\n\ntrait T {\n    fn two(&self);\n    fn three(&self) \
                {\n        a();\n        b();\n    }\n}\nfn four(\n    a: u8,\n) -> u8 {\n    a\n}\n\
                fn five() {}\n";
    let source = Source { path: "x.rs".into(), lines: text.lines().map(Into::into).collect() };
    let expected = [("one", 3), ("three", 4), ("four", 5)];
    let expected: Vec<_> = expected.map(|(name, length)| (name.to_owned(), length)).into();
    assert_eq!(source.functions(), expected);
}

#[test]
fn names_say_what_is_inside() {
    const VAGUE: [&str; 5] = ["util", "common", "helper", "manager", "misc"];
    for path in all_paths() {
        for part in path.strip_prefix(root()).unwrap().components() {
            let part = part.as_os_str().to_string_lossy();
            let stem = part.split('.').next().unwrap_or_default();
            for word in stem.split(['_', '-']) {
                let bare = word.trim_end_matches('s');
                assert!(!VAGUE.contains(&bare), "{}: {part} says nothing", path.display());
            }
        }
    }
}

/// The production lines of one file: everything before its unit tests.
struct Source {
    path: PathBuf,
    lines: Vec<String>,
}

impl Source {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<String> = text.lines().map(Into::into).collect();
        let tests = lines.windows(2).position(|pair| {
            pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
        });
        let end = tests.unwrap_or(lines.len());
        Self { path: path.into(), lines: lines[..end].to_vec() }
    }

    fn name(&self) -> String {
        self.path.strip_prefix(root()).unwrap_or(&self.path).display().to_string()
    }

    /// The lines without comments.
    fn code(&self) -> String {
        let code = self.lines.iter().filter(|line| !line.trim_start().starts_with("//"));
        code.map(|line| line.split(" // ").next().unwrap_or_default().to_owned() + "\n").collect()
    }

    /// Names and lengths of the functions with a body of more than a line, as rustfmt lays them
    /// out: the closing brace stands below the first letter of the signature.
    fn functions(&self) -> Vec<(String, usize)> {
        let mut functions = Vec::new();
        for (start, line) in self.lines.iter().enumerate() {
            let Some(name) = function_name(line) else { continue };
            let indent = line.len() - line.trim_start().len();
            let closing = " ".repeat(indent) + "}";
            let signature = self.lines[start..].iter().find(|line| line.ends_with(['{', ';', '}']));
            if !signature.is_some_and(|line| line.ends_with('{')) {
                continue;
            }
            let end = self.lines[start..].iter().position(|line| *line == closing);
            functions.push((name.to_owned(), end.expect("rustfmt closes a function") + 1));
        }
        functions
    }
}

fn function_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    for word in
        ["pub(crate) ", "pub(super) ", "pub(in crate) ", "pub ", "const ", "async ", "unsafe "]
    {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let rest = rest.strip_prefix("fn ")?;
    rest.split(['(', '<']).next()
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

fn sources_of(package: &Package) -> Vec<Source> {
    let folder = package.manifest_path.parent().unwrap().join("src");
    let mut paths = Vec::new();
    walk(&folder, &mut paths);
    production(paths).map(|path| Source::read(&path)).collect()
}

fn all_sources() -> Vec<Source> {
    production(all_paths()).map(|path| Source::read(&path)).collect()
}

/// Rust files that are not tests.
fn production(paths: Vec<PathBuf>) -> impl Iterator<Item = PathBuf> {
    paths.into_iter().filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let inside = path.strip_prefix(root()).unwrap_or(path);
        // The crate of the tests is called so itself.
        let folders = inside.components().skip(1);
        let test = folders.clone().any(|part| part.as_os_str() == "tests")
            || name == "tests.rs"
            || name.ends_with("_tests.rs");
        name.ends_with(".rs") && !test
    })
}

fn all_paths() -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for folder in ["bench", "bin", "lab", "pipeline", "tests", "views", "xtask"] {
        walk(&root().join(folder), &mut paths);
    }
    assert!(paths.len() > 50, "the sources are where this test looks for them");
    paths
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, paths);
        } else {
            paths.push(path);
        }
    }
}
