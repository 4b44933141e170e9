//! `pointsman lab replay`: a lab as a capture describes it.
//!
//! Addresses become the lab's, and everything else stays as it was: EndpointSlices are the captured
//! ones, and Services have no selector, so that no controller changes them. A Pod that was ready
//! serves the ports that were captured, and others never become ready.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use explain::Mode;
use intake::api::ApiOptions;
use serde_json::{Value, json};

use super::folder::Folder;
use super::up::{say_up, start_holder};
use crate::cli_lab::{LabMode, ReplayArguments, UpArguments};
use crate::commands::capture::{self, Bundle, Names, Verdict, Wish, items, text};

/// How long the replayed Pods may take until they run.
const PATIENCE: Duration = Duration::from_secs(30);

/// The Service of the API itself: every lab has its own.
const API: (&str, &str) = ("default", "kubernetes");

/// By this label nobody but who wrote a slice changes it.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

pub(super) fn replay(arguments: &ReplayArguments) -> Result<()> {
    let start = Instant::now();
    let bundle = capture::read(&arguments.file)?;
    let bundle = Names::of(&bundle, Wish::Relocate).apply(bundle)?;
    let folder = Folder::of(&arguments.lab.name)?;
    // The lab's own /run hides the machine's, where the lab's folder may be.
    let path = std::env::temp_dir().join(format!("pointsman-replay-{}.json", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let file = file.with_context(|| format!("cannot write {}", path.display()))?;
    let written = serde_json::to_writer(file, &prepared(&bundle));
    let mut shape = shape(&bundle, arguments)?;
    shape.objects = Some(path.clone());
    let status = written.map_err(Into::into).and_then(|()| start_holder(&folder, &shape));
    std::fs::remove_file(&path)?;
    say_up(&folder, &status?, start)?;
    compare(&bundle, &folder)
}

/// How many nodes and which families the lab has.
fn shape(bundle: &Bundle, arguments: &ReplayArguments) -> Result<UpArguments> {
    let mut nodes: BTreeSet<&str> = bundle.nodes.iter().map(|node| &*node.name).collect();
    nodes.extend(bundle.of_kind("Node").map(|node| text(node, "/metadata/name")));
    nodes.extend(bundle.of_kind("Pod").map(|pod| text(pod, "/spec/nodeName")));
    for slice in bundle.of_kind("EndpointSlice") {
        nodes.extend(items(slice, "/endpoints").iter().map(|one| text(one, "/nodeName")));
    }
    let numbers = nodes.iter().filter_map(|name| name.strip_prefix("node-")?.parse::<u32>().ok());
    let highest = numbers.max().unwrap_or(1);
    ensure!(highest <= 64, "the capture has {highest} nodes; a lab has at most 64");
    let addresses = bundle.of_kind("Node").flat_map(|node| items(node, "/status/addresses"));
    let internal = addresses.filter(|entry| entry["type"] == "InternalIP");
    let six = |address: &str| address.contains(':');
    let families: BTreeSet<bool> = internal.map(|entry| six(text(entry, "/address"))).collect();
    Ok(UpArguments {
        lab: arguments.lab.clone(),
        nodes: u8::try_from(highest).unwrap_or(1),
        mode: match bundle.routing.mode {
            Mode::Iptables => LabMode::Iptables,
            Mode::Nftables => LabMode::Nftables,
        },
        ipv6: families == [true].into(),
        dual_stack: families.len() == 2,
        objects: None,
    })
}

/// The objects that a lab's store is to begin with.
fn prepared(bundle: &Bundle) -> Vec<Value> {
    let mut objects: Vec<Value> = namespaces(bundle).into_values().collect();
    let mut services: Vec<&Value> = bundle.of_kind("Service").filter(|one| !is_api(one)).collect();
    // Of two that claim one address the older has it.
    services.sort_by_key(|service| text(service, "/metadata/creationTimestamp"));
    objects.extend(services.into_iter().map(service));
    let slices = || bundle.of_kind("EndpointSlice").filter(|slice| !is_of_api(slice));
    objects.extend(slices().map(slice));
    let ports = endpoint_ports(bundle);
    let runs = |pod: &&Value| !matches!(text(pod, "/status/phase"), "Failed" | "Succeeded");
    let pods: Vec<&Value> = bundle.of_kind("Pod").filter(runs).collect();
    let known: BTreeSet<&str> = pods.iter().flat_map(|pod| addresses(pod)).collect();
    objects.extend(pods.iter().map(|it| pod(it, &ports)));
    // Where Pods could not be read, something stands for them.
    for slice in slices() {
        for endpoint in items(slice, "/endpoints") {
            let address = text(endpoint, "/addresses/0");
            let missing = number(address).is_some() && !known.contains(address);
            if missing && !text(endpoint, "/nodeName").is_empty() {
                objects.push(pod(&stand_in(slice, endpoint, address), &ports));
            }
        }
    }
    objects.extend(bundle.of_kind("NetworkPolicy").map(|it| renewed(it, it["spec"].clone())));
    objects.extend(bundle.of_kind("Node").cloned());
    let mut seen = BTreeSet::new();
    objects.retain(|object| {
        let key = |pointer| text(object, pointer).to_owned();
        seen.insert((key("/kind"), key("/metadata/namespace"), key("/metadata/name")))
    });
    objects
}

/// Every namespace that an object is in.
fn namespaces(bundle: &Bundle) -> BTreeMap<String, Value> {
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    for object in &bundle.objects {
        let name = match text(object, "/metadata/namespace") {
            "" if object["kind"] == "Namespace" => text(object, "/metadata/name"),
            namespace => namespace,
        };
        if !name.is_empty() {
            let bare = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            all.entry(name.to_owned()).or_insert(bare);
        }
    }
    for object in bundle.of_kind("Namespace") {
        let name = text(object, "/metadata/name").to_owned();
        let mut new = renewed(object, Value::Null);
        new["metadata"]["labels"] = object["metadata"]["labels"].clone();
        all.insert(name, new);
    }
    all
}

/// An object as its author would write it.
fn renewed(object: &Value, spec: Value) -> Value {
    let mut metadata = json!({"name": object["metadata"]["name"]});
    for field in ["namespace", "labels"] {
        if !object["metadata"][field].is_null() {
            metadata[field] = object["metadata"][field].clone();
        }
    }
    let mut new = json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata,
    });
    if !spec.is_null() {
        new["spec"] = spec;
    }
    new
}

fn service(object: &Value) -> Value {
    let mut spec = object["spec"].clone();
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("selector");
        // The lab's own controller gives no address to a class that it does not know.
        if fields.get("type").is_some_and(|kind| kind == "LoadBalancer") {
            let other = json!("captured.example/addresses");
            fields.entry("loadBalancerClass").or_insert(other);
        }
    }
    let mut new = renewed(object, spec);
    new["status"] = object["status"].clone();
    new
}

fn slice(object: &Value) -> Value {
    let mut new = renewed(object, Value::Null);
    for field in ["addressType", "endpoints", "ports"] {
        new[field] = object[field].clone();
    }
    new["metadata"]["labels"][MANAGED_BY] = "captured.example".into();
    new
}

/// What endpoints serve, by address: Pods need not declare it.
fn endpoint_ports(bundle: &Bundle) -> BTreeMap<String, BTreeSet<(u64, String)>> {
    let mut ports: BTreeMap<String, BTreeSet<(u64, String)>> = BTreeMap::new();
    for slice in bundle.of_kind("EndpointSlice") {
        let served = items(slice, "/ports").iter().filter_map(|port| {
            let protocol = Some(text(port, "/protocol")).filter(|protocol| !protocol.is_empty());
            Some((port["port"].as_u64()?, protocol.unwrap_or("TCP").to_owned()))
        });
        let served: BTreeSet<(u64, String)> = served.collect();
        for endpoint in items(slice, "/endpoints") {
            let address = text(endpoint, "/addresses/0").to_owned();
            ports.entry(address).or_default().extend(served.iter().cloned());
        }
    }
    ports
}

fn addresses(pod: &Value) -> impl Iterator<Item = &str> {
    items(pod, "/status/podIPs").iter().map(|entry| text(entry, "/ip"))
}

/// The number of a Pod on its node, by an address of the lab's form.
fn number(address: &str) -> Option<u8> {
    let own = address.starts_with("10.77.") || address.starts_with("fd77:");
    address.rsplit(['.', ':']).next().filter(|_| own)?.parse().ok()
}

fn pod(object: &Value, ports: &BTreeMap<String, BTreeSet<(u64, String)>>) -> Value {
    let mut spec = object["spec"].clone();
    let conditions = items(object, "/status/conditions");
    let ready = conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True");
    let declared = |spec: &Value| -> BTreeSet<(u64, String)> {
        let all = items(spec, "/containers").iter().flat_map(|one| items(one, "/ports"));
        let port = |port: &Value| {
            let protocol = Some(text(port, "/protocol")).filter(|protocol| !protocol.is_empty());
            Some((port["containerPort"].as_u64()?, protocol.unwrap_or("TCP").to_owned()))
        };
        all.filter_map(port).collect()
    };
    let mut more: BTreeSet<(u64, String)> =
        addresses(object).filter_map(|ip| ports.get(ip)).flatten().cloned().collect();
    more.retain(|port| !declared(&spec).contains(port));
    if let Some(first) = spec["containers"].get_mut(0) {
        let mut all = items(first, "/ports").to_vec();
        let port = |(number, protocol)| json!({"containerPort": number, "protocol": protocol});
        all.extend(more.into_iter().map(port));
        // A host port is its CNI's, and the lab has none.
        for port in &mut all {
            if let Some(fields) = port.as_object_mut() {
                fields.remove("hostPort");
                fields.remove("hostIP");
            }
        }
        if !all.is_empty() {
            first["ports"] = all.into();
        }
        if !ready {
            first["image"] = format!("{}-unready", text(first, "/image")).into();
        }
    }
    let mut new = renewed(object, spec);
    if let Some(number) = addresses(object).find_map(number) {
        let key = lab_cluster::NUMBER_ANNOTATION;
        new["metadata"]["annotations"] = json!({key: number.to_string()});
    }
    new
}

/// A Pod for an endpoint of which nothing else is known.
fn stand_in(slice: &Value, endpoint: &Value, address: &str) -> Value {
    let name = match text(endpoint, "/targetRef/name") {
        "" => format!("endpoint-{}", address.replace(['.', ':'], "-")),
        name => name.to_owned(),
    };
    let ready = if endpoint["conditions"]["ready"] == false { "False" } else { "True" };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": slice["metadata"]["namespace"]},
        "spec": {
            "nodeName": endpoint["nodeName"], "containers": [{"name": "c", "image": "echo"}],
        },
        "status": {
            "podIPs": [{"ip": address}], "conditions": [{"type": "Ready", "status": ready}],
        },
    })
}

fn is_api(service: &Value) -> bool {
    (text(service, "/metadata/namespace"), text(service, "/metadata/name")) == API
}

fn is_of_api(slice: &Value) -> bool {
    let service = text(slice, "/metadata/labels/kubernetes.io~1service-name");
    (text(slice, "/metadata/namespace"), service) == API
}

/// Holds the lab's verdicts against those of the file, once its Pods run.
fn compare(bundle: &Bundle, folder: &Folder) -> Result<()> {
    let start = Instant::now();
    let api = format!("{}/{}", API.0, API.1);
    let ours = |verdict: &&Verdict| verdict.service.split(':').next() != Some(api.as_str());
    let mut differ;
    let mut count;
    loop {
        let source = ApiOptions {
            kubeconfig: Some(folder.file("kubeconfig")),
            master: None,
            node_name: "".into(),
        };
        let now = capture::take(source, bundle.routing.clone(), Vec::new())?;
        (differ, count) = (Vec::new(), 0);
        for node in &bundle.nodes {
            let made = capture::verdicts_of(&now.objects, &node.name, &bundle.routing)?;
            let made: BTreeSet<&Verdict> = made.iter().filter(ours).collect();
            let wanted: BTreeSet<&Verdict> = node.verdicts.iter().filter(ours).collect();
            count += wanted.len();
            let line = |sign: &str, verdict: &Verdict| {
                let Verdict { service, to, from, verdict } = verdict;
                format!("{sign} {}: {service}, {from} -> {to}: {verdict}", node.name)
            };
            differ.extend(wanted.difference(&made).map(|verdict| line("captured", verdict)));
            differ.extend(made.difference(&wanted).map(|verdict| line("now     ", verdict)));
        }
        if differ.is_empty() || start.elapsed() > PATIENCE {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    if !differ.is_empty() {
        bail!("the lab stands, but not every verdict is as captured:\n{}", differ.join("\n"));
    }
    let nodes = bundle.nodes.len();
    writeln!(std::io::stderr(), "# {count} verdicts of {nodes} nodes are as captured")?;
    Ok(())
}
