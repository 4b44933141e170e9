//! What `deploy/` says: the chart and the plain manifests say the same, the agent gets no right that
//! it does not need, and the image holds one program.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The objects of a file; texts within them that are YAML themselves are read too.
fn objects(text: &str) -> Vec<Value> {
    let documents = text.split("\n---\n").filter(|document| !document.trim().is_empty());
    let mut objects: Vec<Value> = documents.map(yaml).collect();
    for data in objects.iter_mut().filter_map(|object| object.get_mut("data")?.as_object_mut()) {
        for file in data.values_mut() {
            *file = yaml(file.as_str().unwrap());
        }
    }
    objects
}

fn values(changed: &Value) -> Value {
    let mut values = yaml(&text("deploy/helm/pointsman/values.yaml"));
    for (name, value) in changed.as_object().unwrap() {
        assert!(values.get(name).is_some(), "values.yaml does not know {name}");
        values[name] = value.clone();
    }
    values
}

/// Renders the chart. It keeps to what this understands: `if` without `else` on a value, or on the
/// text of one (`ne`, `not (has … (list …))`), plain values, `toString | replace …`, and `toYaml … |
/// nindent N`; everything else is an error here.
fn rendered(changed: &Value) -> Vec<Value> {
    let values = values(changed);
    let folder = root().join("deploy/helm/pointsman/templates");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let templates = files.iter().filter(|path| path.extension().is_some_and(|end| end == "yaml"));
    let texts = templates.map(|path| template(&fs::read_to_string(path).unwrap(), &values));
    texts.filter(|text| !text.trim().is_empty()).flat_map(|text| objects(&text)).collect()
}

fn template(text: &str, values: &Value) -> String {
    let mut out = String::new();
    let mut shown = vec![true];
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (action, behind) = after.split_once("}}").expect("an action that ends");
        let (trim, action) = match action.strip_prefix('-') {
            Some(action) => (true, action.trim()),
            None => (false, action.trim()),
        };
        if shown.iter().all(|shown| *shown) {
            out.push_str(if trim { before.trim_end() } else { before });
        }
        let value = |path: &str| match path {
            ".Release.Namespace" => json!("kube-system"),
            path => {
                let path = path.strip_prefix(".Values").expect("a value of the chart");
                let pointer = path.replace('.', "/");
                values.pointer(&pointer).unwrap_or_else(|| panic!("no value {path}")).clone()
            }
        };
        let written = |path: &str| match value(path) {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let words: Vec<&str> =
            action.split_whitespace().map(|word| word.trim_matches(['(', ')', '"'])).collect();
        let insert = match words[..] {
            ["if", "ne", "toString", path, other] => {
                shown.push(written(path) != other);
                String::new()
            }
            ["if", "not", "has", "toString", path, "list", ref others @ ..] => {
                shown.push(!others.contains(&written(path).as_str()));
                String::new()
            }
            [path, "|", "toString", ref replacements @ ..] => {
                let replace = |text: String, step: &[&str]| match step {
                    ["|", "replace", old, new] => text.replace(old, new),
                    _ => panic!("the chart says {action}: keep to what this test understands"),
                };
                replacements.chunks(4).fold(written(path), replace)
            }
            ["if", path] => {
                shown.push(value(path) == json!(true));
                String::new()
            }
            ["end"] => {
                shown.pop().expect("an if before its end");
                String::new()
            }
            // JSON is YAML, on one line.
            ["toYaml", path, "|", "nindent", spaces] => {
                format!("\n{}{}", " ".repeat(spaces.parse().unwrap()), value(path))
            }
            [path] => value(path).as_str().expect("a text").to_owned(),
            _ => panic!("the chart says {action}: keep to what this test understands"),
        };
        if shown.iter().all(|shown| *shown) {
            out.push_str(&insert);
        }
        rest = behind;
    }
    assert_eq!(shown, [true], "an if without its end");
    out + rest
}

fn sorted(mut objects: Vec<Value>) -> Vec<Value> {
    objects.sort_by_key(|object| format!("{} {}", object["kind"], object["metadata"]["name"]));
    objects
}

fn daemon_set(objects: &[Value]) -> &Value {
    let mut found = objects.iter().filter(|object| object["kind"] == "DaemonSet");
    let first = found.next().expect("a DaemonSet");
    assert!(found.next().is_none());
    first
}

#[test]
fn the_manifests_are_what_the_chart_makes_of_its_defaults() {
    let plain: Vec<Value> = ["rbac.yaml", "daemonset.yaml", "rbac-policy.yaml"]
        .iter()
        .flat_map(|file| objects(&text(&format!("deploy/{file}"))))
        .collect();
    assert_eq!(sorted(rendered(&json!({}))), sorted(plain));
}

/// YAML reads `off` and `on` without quotes as truth values in some readers, Helm's among them.
#[test]
fn the_chart_says_whether_policies_are_enforced() {
    let roles =
        |objects: &[Value]| objects.iter().filter(|object| object["kind"] == "ClusterRole").count();
    let with_policy = roles(&rendered(&json!({})));
    for (value, said, fewer) in [
        (json!("off"), Some("--network-policy=off"), 1),
        (json!(false), Some("--network-policy=off"), 1),
        (json!("on"), Some("--network-policy=on"), 0),
        (json!(true), Some("--network-policy=on"), 0),
        (json!("auto"), None, 0),
    ] {
        let objects = rendered(&json!({"networkPolicy": value}));
        assert_eq!(roles(&objects), with_policy - fewer, "{value}");
        let agent = &daemon_set(&objects)["spec"]["template"]["spec"]["containers"][0];
        let arguments = agent["args"].as_array().unwrap();
        let flags = arguments.iter().filter_map(Value::as_str);
        let mut found = flags.filter(|flag| flag.starts_with("--network-policy"));
        assert_eq!((found.next(), found.next()), (said, None), "{value}");
    }
}

#[test]
fn values_arrive_where_they_should() {
    let changed = json!({
        "image": "registry.example/other:1",
        "apiServer": "https://192.0.2.1:6443",
        "config": {"kind": "KubeProxyConfiguration", "mode": "nftables"},
        "tolerations": [],
        "kernelSettings": false,
    });
    let objects = rendered(&changed);
    let config = objects.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
    assert_eq!(config["data"]["config.conf"], changed["config"]);
    let cluster = &config["data"]["kubeconfig.conf"]["clusters"][0]["cluster"];
    assert_eq!(cluster["server"], changed["apiServer"]);
    let pod = &daemon_set(&objects)["spec"]["template"]["spec"];
    assert_eq!(pod["tolerations"], json!([]));
    assert_eq!(pod["containers"][0]["image"], changed["image"]);
    assert_eq!(pod.get("initContainers"), None);
    assert!(!pod.to_string().contains("privileged"));
}

#[test]
fn the_agent_has_one_capability_and_nothing_to_write_to() {
    let objects = objects(&text("deploy/daemonset.yaml"));
    let set = daemon_set(&objects);
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["hostNetwork"], true);
    assert_eq!(pod["priorityClassName"], "system-node-critical");
    assert_eq!(pod["tolerations"], json!([{"operator": "Exists"}]));
    for absent in ["hostPID", "hostIPC"] {
        assert_eq!(pod.get(absent), None);
    }
    let [agent] = &pod["containers"].as_array().unwrap()[..] else { panic!("one container") };
    assert_eq!(
        agent["securityContext"],
        json!({
            "runAsUser": 0,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "seccompProfile": {"type": "RuntimeDefault"},
        })
    );
    for probe in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        assert_eq!(agent[probe.0]["httpGet"], json!({"path": probe.1, "port": "healthz"}));
    }
    assert_eq!(agent["ports"][0]["containerPort"], 10256);
    // No path of the host is mounted, and nothing writable.
    for volume in pod["volumes"].as_array().unwrap() {
        assert!(volume.get("configMap").is_some(), "{volume}");
    }
    let init = pod["initContainers"].as_array().unwrap();
    for container in init.iter().chain([agent]) {
        for mount in container["volumeMounts"].as_array().unwrap() {
            assert_eq!(mount["readOnly"], true, "{mount}");
        }
        assert_eq!(container["image"], agent["image"]);
    }
    // What is privileged ends at once.
    let [settings] = &init[..] else { panic!("one init container") };
    assert!(settings["args"].as_array().unwrap().contains(&json!("--init-only")));
    // kubelet finds the Pods by these.
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&set["spec"]["selector"]["matchLabels"], labels);
}

/// `group resource verb`, of all roles of a file.
fn rights(file: &str) -> BTreeSet<String> {
    let objects = objects(&text(file));
    let roles = objects.iter().filter(|object| object["kind"] == "ClusterRole");
    let mut rights = BTreeSet::new();
    for rule in roles.flat_map(|role| role["rules"].as_array().unwrap()) {
        let words = |name: &str| -> Vec<String> {
            let list = rule[name].as_array().unwrap();
            list.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        for group in words("apiGroups") {
            for resource in words("resources") {
                let of_verb = |verb: String| format!("{group} {resource} {verb}");
                rights.extend(words("verbs").into_iter().map(of_verb));
            }
        }
    }
    rights
}

#[test]
fn the_roles_hold_the_least_verbs() {
    let expected = [
        " events create",
        " events patch",
        " nodes get",
        " nodes list",
        " nodes watch",
        " services list",
        " services watch",
        "discovery.k8s.io endpointslices list",
        "discovery.k8s.io endpointslices watch",
        "events.k8s.io events create",
        "events.k8s.io events patch",
        "networking.k8s.io servicecidrs list",
        "networking.k8s.io servicecidrs watch",
    ];
    assert_eq!(rights("deploy/rbac.yaml"), expected.map(str::to_owned).into());
    let expected = [
        " namespaces list",
        " namespaces watch",
        " pods list",
        " pods watch",
        "networking.k8s.io networkpolicies list",
        "networking.k8s.io networkpolicies watch",
        "policy.networking.k8s.io clusternetworkpolicies list",
        "policy.networking.k8s.io clusternetworkpolicies watch",
    ];
    assert_eq!(rights("deploy/rbac-policy.yaml"), expected.map(str::to_owned).into());
}

#[test]
fn every_role_is_bound_to_the_account_that_the_agent_runs_as() {
    let all: Vec<Value> = ["rbac.yaml", "rbac-policy.yaml", "daemonset.yaml"]
        .iter()
        .flat_map(|file| objects(&text(&format!("deploy/{file}"))))
        .collect();
    let account = &daemon_set(&all)["spec"]["template"]["spec"]["serviceAccountName"];
    let named = |kind: &str| -> BTreeSet<String> {
        let of_kind = all.iter().filter(|object| object["kind"] == kind);
        of_kind.map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    assert!(named("ServiceAccount").contains(account.as_str().unwrap()));
    let mut bound = BTreeSet::new();
    for binding in all.iter().filter(|object| object["kind"] == "ClusterRoleBinding") {
        bound.insert(binding["roleRef"]["name"].as_str().unwrap().to_owned());
        let subject = &binding["subjects"][0];
        assert_eq!(&subject["name"], account);
        assert_eq!(subject["namespace"], "kube-system");
    }
    assert_eq!(bound, named("ClusterRole"));
}

#[test]
fn the_image_is_one_program_on_a_base_without_a_shell() {
    let dockerfile = text("deploy/Dockerfile");
    let lines: Vec<&str> =
        dockerfile.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let stages: Vec<usize> =
        (0..lines.len()).filter(|at| lines[*at].starts_with("FROM ")).collect();
    let [build, image] = stages[..] else { panic!("two stages: {lines:?}") };
    let (build, image) = (&lines[build..image], &lines[image..]);
    assert!(build.iter().any(|line| line.contains("cargo build --release --locked")), "{build:?}");
    assert_eq!(image[0], "FROM gcr.io/distroless/cc-debian12");
    let copies: Vec<_> = image.iter().filter(|line| line.starts_with("COPY ")).collect();
    let [copy] = copies[..] else { panic!("one file is copied: {copies:?}") };
    let program = copy.split(' ').next_back().unwrap();
    assert!(!image.iter().any(|line| line.starts_with("RUN ")), "there is no shell to run it");
    assert!(image.contains(&&*format!("ENTRYPOINT [\"{program}\"]")), "{image:?}");
    let objects = objects(&text("deploy/daemonset.yaml"));
    let pod = &daemon_set(&objects)["spec"]["template"]["spec"];
    for container in [&pod["containers"][0], &pod["initContainers"][0]] {
        assert_eq!(container["command"], json!([program]));
    }

    // The compiler is no older than the sources need, and its system no newer than the image's.
    let number = |text: &str| -> (u32, u32) {
        let mut parts = text.split('.');
        let mut next = || parts.next().unwrap().parse().unwrap();
        (next(), next())
    };
    let compiler = build[0].split("rust:").nth(1).unwrap().split("-bookworm").next().unwrap();
    let manifest = text("Cargo.toml");
    let least = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    assert!(number(compiler) >= number(least.trim_matches('"')), "{compiler} {least}");

    // All of the workspace is sent to the build, since cargo reads each member's manifest.
    let ignored = text("deploy/Dockerfile.dockerignore");
    let sent: BTreeSet<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let members = manifest.split("members = [").nth(1).unwrap().split(']').next().unwrap();
    for member in members.lines().map(|line| line.trim().trim_matches(['"', ','])) {
        let folder = member.split('/').next().unwrap();
        assert!(member.is_empty() || sent.contains(folder), "{folder} is not sent to the build");
    }
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart = yaml(&text("deploy/helm/pointsman/Chart.yaml"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    let image = values(&json!({}))["image"].as_str().unwrap().to_owned();
    assert!(image.ends_with(&format!(":{}", env!("CARGO_PKG_VERSION"))), "{image}");
}

/// The program's own sources as one text, each string on one line.
fn sources() -> String {
    let mut folders = ["bin", "pipeline", "views"].map(|folder| root().join(folder)).to_vec();
    let mut all = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" {
                folders.push(path);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                all += &fs::read_to_string(path).unwrap();
            }
        }
    }
    let mut lines = all.split("\\\n");
    let first = lines.next().unwrap_or_default().to_owned();
    lines.fold(first, |text, line| text + line.trim_start())
}

#[test]
fn every_message_that_the_manual_explains_is_one_that_the_program_has() {
    let manual = text("docs/operating.md");
    let table = manual.split("## Warnings and errors").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let sources = sources();
    let mut messages = 0;
    for row in table.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cell = row.split('|').nth(1).unwrap();
        // Between backticks, and between what stands for names and numbers.
        for quoted in cell.split('`').skip(1).step_by(2) {
            let quoted = quoted.replace(" N", " …").replace("reason=", "…");
            for piece in quoted.split('…').map(str::trim).filter(|piece| !piece.is_empty()) {
                assert!(sources.contains(piece), "no source says {piece:?}: {row}");
                messages += 1;
            }
        }
    }
    assert!(messages > 25, "{messages}");
}

#[test]
fn links_of_the_guides_lead_somewhere() {
    for guide in ["docs/migration.md", "docs/operating.md"] {
        let text = text(guide);
        let links = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        for link in links.filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            assert!(root().join("docs").join(file).exists(), "{guide}: {link}");
            let wanted = format!("## {heading}");
            let headings = self::text(&format!("docs/{file}")).to_lowercase();
            assert!(heading.is_empty() || headings.contains(&wanted), "{guide}: {link}");
        }
        for path in
            text.split('`').skip(1).step_by(2).filter(|word| {
                ["deploy/", "docs/", "bin/"].iter().any(|start| word.starts_with(start))
            })
        {
            assert!(root().join(path).exists(), "{guide}: {path}");
        }
    }
}
