//! The columns of each kind, and their cells.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{pod, service, since};
use crate::object::{fields, has, items, name, number, text, texts};

/// The columns of each kind, as the printers of kube-apiserver have them. `#` marks numbers, `*`
/// those of `-o wide`.
const COLUMNS: [(&str, &str); 13] = [
    ("ConfigMap", "Name,Data#,Age"),
    ("Deployment", "Name,Ready,Up-to-date#,Available#,Age,Containers*,Images*,Selector*"),
    ("Endpoints", "Name,Endpoints,Age"),
    ("EndpointSlice", "Name,AddressType,Ports,Endpoints,Age"),
    ("Event", "Last Seen,Type,Reason,Object,Subobject*,Source*,Message,First Seen*,Count*,Name*"),
    ("Lease", "Name,Holder,Age"),
    ("Namespace", "Name,Status,Age"),
    ("NetworkPolicy", "Name,Pod-Selector,Age"),
    (
        "Node",
        "Name,Status,Roles,Age,Version,Internal-IP*,External-IP*,OS-Image*,Kernel-Version*,\
         Container-Runtime*",
    ),
    ("Pod", "Name,Ready,Status,Restarts,Age,IP*,Node*,Nominated Node*,Readiness Gates*"),
    ("ReplicaSet", "Name,Desired#,Current#,Ready#,Age,Containers*,Images*,Selector*"),
    ("Service", "Name,Type,Cluster-IP,External-IP,Port(s),Age,Selector*"),
    ("ServiceCIDR", "Name,CIDRs,Age"),
];

/// The definitions of the columns of a kind.
pub(super) fn columns(kind: &str) -> Vec<Value> {
    let of_kind = COLUMNS.iter().find(|(of, _)| *of == kind);
    let columns = of_kind.map_or("Name,Age", |(_, columns)| *columns);
    let column = |text: &str| {
        let name = text.trim_end_matches(['#', '*']);
        let of_type = if text.ends_with('#') { "integer" } else { "string" };
        let format = if name == "Name" { "name" } else { "" };
        json!({
            "name": name, "type": of_type, "format": format, "description": name,
            "priority": u8::from(text.ends_with('*')),
        })
    };
    columns.split(',').map(column).collect()
}

/// The cells of an object, one for each column.
pub(super) fn row(kind: &str, object: &Value, now: Timestamp) -> Vec<Value> {
    let age = since(object, "/metadata/creationTimestamp", now);
    let name = name(object).to_owned();
    match kind {
        "ConfigMap" => {
            let entries = fields(object, "/data").count() + fields(object, "/binaryData").count();
            vec![name.into(), entries.into(), age.into()]
        }
        "Deployment" => deployment(object, name, age),
        "Endpoints" => vec![name.into(), endpoints(object).into(), age.into()],
        "EndpointSlice" => {
            let of_type = text(object, "/addressType").to_owned();
            let addresses = items(object, "/endpoints").iter();
            let addresses = addresses.flat_map(|endpoint| texts(endpoint, "/addresses")).collect();
            let ports = few(slice_ports(object), "<unset>");
            let addresses = few(addresses, "<unset>");
            [name, of_type, ports, addresses, age].map(Value::from).to_vec()
        }
        "Event" => event(object, name, now),
        "Lease" => {
            vec![name.into(), text(object, "/spec/holderIdentity").into(), age.into()]
        }
        "Namespace" => vec![name.into(), text(object, "/status/phase").into(), age.into()],
        "NetworkPolicy" => {
            vec![name.into(), selector(object, "/spec/podSelector").into(), age.into()]
        }
        "Node" => node(object, name, age),
        "Pod" => pod::row(object, name, age, now),
        "ReplicaSet" => replica_set(object, name, age),
        "Service" => service::row(object, name, age),
        "ServiceCIDR" => {
            vec![name.into(), texts(object, "/spec/cidrs").join(",").into(), age.into()]
        }
        _ => vec![name.into(), age.into()],
    }
}

/// The text, or a word for none.
pub(super) fn or<'a>(text: &'a str, none: &'a str) -> &'a str {
    if text.is_empty() { none } else { text }
}

/// Labels, or a `LabelSelector`, as a selector is typed.
pub(crate) fn selector(object: &Value, pointer: &str) -> String {
    let plain = |(key, value): (&str, &Value)| format!("{key}={}", value.as_str().unwrap_or(""));
    let of_map = |pointer: &str| -> Vec<_> { fields(object, pointer).map(plain).collect() };
    let mut parts = of_map(&format!("{pointer}/matchLabels"));
    for expression in items(object, &format!("{pointer}/matchExpressions")) {
        let key = text(expression, "/key");
        let mut values = texts(expression, "/values");
        values.sort();
        let values = values.join(",");
        parts.push(match text(expression, "/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    or(&parts.join(","), "<none>").to_owned()
}

/// Up to three, and how many more.
fn few(all: Vec<String>, none: &str) -> String {
    const SHOWN: usize = 3;
    if all.is_empty() {
        return none.to_owned();
    }
    let shown = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(",");
    match all.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

fn slice_ports(slice: &Value) -> Vec<String> {
    let port = |port: &Value| match port.get("port").and_then(Value::as_i64) {
        Some(number) => number.to_string(),
        None => "*".to_owned(),
    };
    items(slice, "/ports").iter().map(port).collect()
}

fn endpoints(object: &Value) -> String {
    let mut all = Vec::new();
    for subset in items(object, "/subsets") {
        let addresses = || items(subset, "/addresses").iter().map(|address| text(address, "/ip"));
        let ports = items(subset, "/ports");
        if ports.is_empty() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in ports {
            let port = number(port, "/port");
            all.extend(addresses().map(|address| match address.contains(':') {
                true => format!("[{address}]:{port}"),
                false => format!("{address}:{port}"),
            }));
        }
    }
    few(all, "<none>")
}

fn containers(object: &Value) -> [Value; 2] {
    let all = |field: &str| {
        let containers = items(object, "/spec/template/spec/containers").iter();
        let texts: Vec<_> = containers.map(|container| text(container, field)).collect();
        Value::from(texts.join(","))
    };
    [all("/name"), all("/image")]
}

fn deployment(object: &Value, name: String, age: String) -> Vec<Value> {
    let ready = number(object, "/status/readyReplicas");
    let ready = format!("{ready}/{}", number(object, "/spec/replicas"));
    let [names, images] = containers(object);
    vec![
        name.into(),
        ready.into(),
        number(object, "/status/updatedReplicas").into(),
        number(object, "/status/availableReplicas").into(),
        age.into(),
        names,
        images,
        selector(object, "/spec/selector").into(),
    ]
}

fn replica_set(object: &Value, name: String, age: String) -> Vec<Value> {
    let [names, images] = containers(object);
    vec![
        name.into(),
        number(object, "/spec/replicas").into(),
        number(object, "/status/replicas").into(),
        number(object, "/status/readyReplicas").into(),
        age.into(),
        names,
        images,
        selector(object, "/spec/selector").into(),
    ]
}

fn event(object: &Value, name: String, now: Timestamp) -> Vec<Value> {
    let involved = "/involvedObject";
    let kind = text(object, &format!("{involved}/kind")).to_lowercase();
    let of = text(object, &format!("{involved}/name"));
    let first = since_any(object, &["/firstTimestamp", "/eventTime"], now);
    let last = ["/series/lastObservedTime", "/lastTimestamp", "/firstTimestamp", "/eventTime"];
    let source = or(text(object, "/source/component"), text(object, "/reportingComponent"));
    let host = text(object, "/source/host");
    let source = if host.is_empty() { source.to_owned() } else { format!("{source}, {host}") };
    let times = if has(object, "/series/count") {
        number(object, "/series/count")
    } else {
        number(object, "/count").max(1)
    };
    vec![
        since_any(object, &last, now).into(),
        text(object, "/type").into(),
        text(object, "/reason").into(),
        format!("{kind}/{of}").into(),
        text(object, &format!("{involved}/fieldPath")).into(),
        source.into(),
        text(object, "/message").trim().into(),
        first.into(),
        times.into(),
        name.into(),
    ]
}

fn since_any(object: &Value, pointers: &[&str], now: Timestamp) -> String {
    let found = pointers.iter().find(|pointer| has(object, pointer));
    since(object, found.copied().unwrap_or_default(), now)
}

fn node(object: &Value, name: String, age: String) -> Vec<Value> {
    let conditions = items(object, "/status/conditions").iter();
    let ready = conditions.filter(|condition| condition["type"] == "Ready");
    let mut status: Vec<_> = ready
        .map(|condition| if condition["status"] == "True" { "Ready" } else { "NotReady" })
        .collect();
    if status.is_empty() {
        status.push("Unknown");
    }
    if object.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
        status.push("SchedulingDisabled");
    }
    let mut roles: Vec<_> = fields(object, "/metadata/labels")
        .filter_map(|(label, value)| match label.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role.to_owned()),
            None if label == "kubernetes.io/role" => value.as_str().map(str::to_owned),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort();
    let address = |of_type: &str| {
        let addresses = items(object, "/status/addresses").iter();
        let mut found = addresses.filter(|address| text(address, "/type") == of_type);
        found.next().map_or("<none>", |address| text(address, "/address")).to_owned()
    };
    let info = |field: &str| {
        or(text(object, &format!("/status/nodeInfo/{field}")), "<unknown>").to_owned()
    };
    vec![
        name.into(),
        status.join(",").into(),
        or(&roles.join(","), "<none>").into(),
        age.into(),
        text(object, "/status/nodeInfo/kubeletVersion").into(),
        address("InternalIP").into(),
        address("ExternalIP").into(),
        info("osImage").into(),
        info("kernelVersion").into(),
        info("containerRuntimeVersion").into(),
    ]
}
