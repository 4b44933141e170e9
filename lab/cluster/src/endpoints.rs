//! EndpointSlices → Endpoints, their ancestor, which lessons and old tools still ask for.
//!
//! The slices of a Service's first family become one object of the Service's name. Pods that are
//! on their way out are not in it, unless the Service publishes them whatever their state.

use std::collections::BTreeMap;

use lab_api::Object;
use lab_api::resource::ENDPOINTS;
use serde_json::{Map, Value, json};

use crate::action::Action;
use crate::json::{has, is_going, items, name, namespace, text};
use crate::snapshot::Snapshot;

/// Who writes them, as a label says since Kubernetes 1.33 (KEP-4974).
const MANAGER: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");

/// Ready addresses and those that are not, by the ports that they share.
type Subsets = BTreeMap<String, (Value, Vec<Value>, Vec<Value>)>;

pub(crate) fn reconcile(snapshot: &Snapshot, actions: &mut Vec<Action>) {
    let key = |object: &Value| (namespace(object).to_owned(), name(object).to_owned());
    let mut there: BTreeMap<(String, String), &Object> =
        snapshot.endpoints.iter().map(|object| (key(object), object)).collect();
    let selects = |service: &&Object| has(service, "/spec/selector") && !is_going(service);
    for service in snapshot.services.iter().filter(selects) {
        if service["spec"]["type"] == "ExternalName" {
            continue;
        }
        let new = endpoints(service, snapshot);
        match there.remove(&key(service)) {
            None => actions.push(Action::Create(&ENDPOINTS, new)),
            Some(old) if differs(old, &new) => {
                let mut update = (**old).clone();
                update["subsets"] = new["subsets"].clone();
                update["metadata"]["labels"] = new["metadata"]["labels"].clone();
                actions.push(Action::Update(&ENDPOINTS, update));
            }
            Some(_) => {}
        }
    }
    // Without a Service nobody keeps them; those that somebody else has written stay.
    for old in there.into_values() {
        if old["metadata"]["labels"][MANAGER.0] == MANAGER.1 {
            actions.push(Action::Delete(&ENDPOINTS, (**old).clone()));
        }
    }
}

fn differs(old: &Value, new: &Value) -> bool {
    items(old, "/subsets") != items(new, "/subsets")
        || old.pointer("/metadata/labels") != new.pointer("/metadata/labels")
}

fn endpoints(service: &Object, snapshot: &Snapshot) -> Value {
    let mut labels = service["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.insert(MANAGER.0.into(), MANAGER.1.into());
    if service["spec"]["clusterIP"] == "None" {
        labels.insert("service.kubernetes.io/headless".into(), "".into());
    }
    let family = text(service, "/spec/ipFamilies/0");
    let of_service = |slice: &&Object| {
        namespace(slice) == namespace(service)
            && text(slice, "/metadata/labels/kubernetes.io~1service-name") == name(service)
            && text(slice, "/addressType") == family
    };
    let mut subsets = Subsets::new();
    for slice in snapshot.endpoint_slices.iter().filter(of_service) {
        add(slice, &mut subsets);
    }
    let mut shown = Vec::new();
    for (ports, mut ready, mut others) in subsets.into_values() {
        let mut subset = Map::new();
        for (field, addresses) in [("addresses", &mut ready), ("notReadyAddresses", &mut others)] {
            addresses.sort_by(|a, b| text(a, "/ip").cmp(text(b, "/ip")));
            if !addresses.is_empty() {
                subset.insert(field.into(), std::mem::take(addresses).into());
            }
        }
        if !subset.is_empty() {
            subset.insert("ports".into(), ports);
            shown.push(Value::Object(subset));
        }
    }
    let mut object = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": name(service), "namespace": namespace(service), "labels": labels},
    });
    if !shown.is_empty() {
        object["subsets"] = shown.into();
    }
    object
}

/// Adds a slice's endpoints to those with the same ports.
fn add(slice: &Value, subsets: &mut Subsets) {
    let ports: Vec<Value> = items(slice, "/ports").iter().map(port).collect();
    let entry = subsets.entry(Value::from(ports.clone()).to_string());
    let subset = entry.or_insert_with(|| (ports.into(), Vec::new(), Vec::new()));
    for endpoint in items(slice, "/endpoints") {
        let is = |condition: &str| endpoint["conditions"][condition] == true;
        let list = match (is("ready"), is("terminating")) {
            (true, _) => &mut subset.1,
            (false, false) => &mut subset.2,
            (false, true) => continue,
        };
        list.extend(items(endpoint, "/addresses").iter().map(|ip| address(endpoint, ip)));
    }
}

/// A port without a name has none here, where a slice says the empty one.
fn port(port: &Value) -> Value {
    let mut shown = port.clone();
    if let Some(fields) = shown.as_object_mut()
        && text(port, "/name").is_empty()
    {
        fields.remove("name");
    }
    shown
}

fn address(endpoint: &Value, ip: &Value) -> Value {
    let mut shown = json!({"ip": ip});
    for field in ["hostname", "nodeName", "targetRef"] {
        if has(endpoint, &format!("/{field}")) {
            shown[field] = endpoint[field].clone();
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn service(name: &str) -> Value {
        json!({
            "kind": "Service", "metadata": {"name": name, "namespace": "a", "labels": {"x": "y"}},
            "spec": {"selector": {"app": "x"}, "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"]},
        })
    }

    fn slice(family: &str, endpoints: &Value) -> Value {
        json!({
            "metadata": {
                "name": "s", "namespace": "a", "labels": {"kubernetes.io/service-name": "web"},
            },
            "addressType": family, "endpoints": endpoints,
            "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        })
    }

    fn reconciled(services: Vec<Value>, slices: Vec<Value>, there: Vec<Value>) -> Vec<Action> {
        let shared = |all: Vec<Value>| all.into_iter().map(Arc::new).collect();
        let snapshot = Snapshot {
            services: shared(services),
            endpoint_slices: shared(slices),
            endpoints: shared(there),
            ..Snapshot::default()
        };
        let mut actions = Vec::new();
        reconcile(&snapshot, &mut actions);
        actions
    }

    fn endpoint(ip: &str, ready: bool, terminating: bool) -> Value {
        json!({
            "addresses": [ip], "nodeName": "n",
            "conditions": {"ready": ready, "terminating": terminating},
        })
    }

    #[test]
    fn slices_of_the_first_family_become_one_object() {
        let endpoints = json!([
            endpoint("10.0.0.3", true, false),
            endpoint("10.0.0.2", true, false),
            endpoint("10.0.0.4", false, false),
            endpoint("10.0.0.5", false, true),
        ]);
        let slices = vec![
            slice("IPv4", &endpoints),
            slice("IPv6", &json!([endpoint("fd00::1", true, false)])),
        ];
        let actions = reconciled(vec![service("web")], slices, Vec::new());
        let [Action::Create(_, object)] = &actions[..] else { panic!("{actions:?}") };
        let on = |ip: &str| json!({"ip": ip, "nodeName": "n"});
        let subset = json!({
            "addresses": [on("10.0.0.2"), on("10.0.0.3")], "notReadyAddresses": [on("10.0.0.4")],
            "ports": [{"port": 8080, "protocol": "TCP"}],
        });
        assert_eq!(object["subsets"], json!([subset]));
        let labels = json!({"x": "y", "endpoints.kubernetes.io/managed-by": "endpoint-controller"});
        assert_eq!(object["metadata"]["labels"], labels);
        // What is there already is left alone.
        let again =
            reconciled(vec![service("web")], vec![slice("IPv4", &endpoints)], vec![object.clone()]);
        assert_eq!(again, []);
    }

    #[test]
    fn endpoints_go_with_their_service_unless_somebody_else_wrote_them() {
        let actions = reconciled(vec![service("web")], Vec::new(), Vec::new());
        let [Action::Create(_, ours)] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(ours.get("subsets"), None);
        let others = json!({"metadata": {"name": "own", "namespace": "a"}, "subsets": []});
        let actions = reconciled(Vec::new(), Vec::new(), vec![ours.clone(), others]);
        assert_eq!(actions, [Action::Delete(&ENDPOINTS, ours.clone())]);
    }
}
