//! Services and Pods → EndpointSlices.

use std::collections::{BTreeMap, BTreeSet};

use intake::convert::{self, Names};
use intake::endpoint_controller::{self, Pod};
use intake::wire;
use lab_api::Object;
use lab_api::resource::ENDPOINT_SLICES;
use model::{AddressType, Endpoint, EndpointSlice, Family, NamespacedName, Node, Service};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::action::Action;
use crate::json::{controlled_by, is_going, name, namespace, text};
use crate::snapshot::Snapshot;

/// Who writes the slices, as a label says (`endpointslice.kubernetes.io/managed-by`).
const MANAGER: &str = "endpointslice-controller.k8s.io";

pub(crate) fn reconcile(snapshot: &Snapshot, actions: &mut Vec<Action>) {
    let mut names = Names::default();
    // A Service that is being deleted keeps its slices until it is gone, and they go with it.
    let services: BTreeMap<NamespacedName, (&Object, Service)> = snapshot
        .services
        .iter()
        .filter(|service| !is_going(service))
        .filter_map(|object| {
            let service = convert::service(&read(object)?, &mut names).0?;
            Some((service.name.clone(), (object, service)))
        })
        .collect();
    let nodes: Vec<Node> = snapshot
        .nodes
        .iter()
        .filter_map(|object| convert::node(&read(object)?, &mut names).0)
        .collect();
    let nodes = nodes.iter().map(|node| (&*node.name, node)).collect();
    let mut pods = Vec::new();
    for object in &snapshot.pods {
        if let Some(pod) = read::<wire::Pod>(object) {
            let name = NamespacedName::new(namespace(object), name(object));
            pods.push(Pod::new(name, &pod, &mut Vec::new()));
        }
    }
    let facts: Vec<Service> = services.values().map(|(_, service)| service.clone()).collect();
    let wanted = endpoint_controller::endpoint_slices(&facts, &[], &pods, &nodes, &mut Vec::new());
    write(&wanted, &services, snapshot, actions);
}

fn read<T: DeserializeOwned>(object: &Object) -> Option<T> {
    // Our own objects have the right shape; a field that has not costs itself.
    serde_json::from_value((**object).clone()).ok()
}

/// Brings the slices that are ours to what is wanted; those of others stay.
fn write(
    wanted: &[EndpointSlice],
    services: &BTreeMap<NamespacedName, (&Object, Service)>,
    snapshot: &Snapshot,
    actions: &mut Vec<Action>,
) {
    let ours = |slice: &&Object| {
        slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] == MANAGER
    };
    let there: BTreeMap<NamespacedName, &Object> = snapshot
        .endpoint_slices
        .iter()
        .filter(ours)
        .map(|slice| (NamespacedName::new(namespace(slice), name(slice)), slice))
        .collect();
    let mut kept = BTreeSet::new();
    for slice in wanted {
        let owner = slice.service.as_ref().and_then(|name| services.get(name));
        let Some((service, _)) = owner else { continue };
        let new = slice_json(slice, service);
        kept.insert(slice.name.clone());
        match there.get(&slice.name) {
            None => actions.push(Action::Create(&ENDPOINT_SLICES, new)),
            Some(old) => {
                let fields = ["/endpoints", "/ports", "/metadata/labels"];
                if fields.iter().any(|field| old.pointer(field) != new.pointer(field)) {
                    let mut update = (***old).clone();
                    update["endpoints"] = new["endpoints"].clone();
                    update["ports"] = new["ports"].clone();
                    update["metadata"]["labels"] = new["metadata"]["labels"].clone();
                    actions.push(Action::Update(&ENDPOINT_SLICES, update));
                }
            }
        }
    }
    for (name, old) in there {
        // A Service on its way out keeps its slices.
        let service = text(old, "/metadata/labels/kubernetes.io~1service-name");
        let going = snapshot.services.iter().any(|one| {
            is_going(one) && crate::json::name(one) == service && namespace(one) == namespace(old)
        });
        if !kept.contains(&name) && !going {
            actions.push(Action::Delete(&ENDPOINT_SLICES, (**old).clone()));
        }
    }
}

fn slice_json(slice: &EndpointSlice, service: &Object) -> Value {
    let mut labels = service["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.insert("kubernetes.io/service-name".into(), name(service).into());
    labels.insert("endpointslice.kubernetes.io/managed-by".into(), MANAGER.into());
    if service["spec"]["clusterIP"] == "None" {
        labels.insert("service.kubernetes.io/headless".into(), "".into());
    }
    let address_type = match slice.address_type {
        AddressType::Ip(Family::V4) => "IPv4",
        AddressType::Ip(Family::V6) => "IPv6",
        AddressType::Fqdn => "FQDN",
    };
    let ports = slice.ports.iter().map(|port| {
        json!({
            "name": port.name.as_deref().unwrap_or_default(),
            "protocol": port.protocol.to_string(), "port": port.port,
        })
    });
    let endpoints = slice.endpoints.iter().map(|one| endpoint_json(one, namespace(service)));
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": &*slice.name.name, "namespace": &*slice.name.namespace, "labels": labels,
            "ownerReferences": controlled_by("v1", "Service", service),
        },
        "addressType": address_type,
        "ports": ports.collect::<Vec<_>>(),
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

fn endpoint_json(endpoint: &Endpoint, namespace: &str) -> Value {
    let mut json = Map::new();
    json.insert("addresses".into(), json!([endpoint.address]));
    json.insert(
        "conditions".into(),
        json!({
            "ready": endpoint.ready, "serving": endpoint.serving,
            "terminating": endpoint.terminating,
        }),
    );
    for (field, value) in
        [("hostname", &endpoint.hostname), ("nodeName", &endpoint.node), ("zone", &endpoint.zone)]
    {
        if let Some(value) = value {
            json.insert(field.into(), (**value).into());
        }
    }
    if let Some(pod) = &endpoint.target_pod {
        let mut target = json!({"kind": "Pod", "namespace": namespace, "name": &**pod});
        if let Some(uid) = &endpoint.target_uid {
            target["uid"] = (**uid).into();
        }
        json.insert("targetRef".into(), target);
    }
    if let Some(hints) = &endpoint.hints {
        let mut shown = Map::new();
        for (field, names) in [("forZones", &hints.zones), ("forNodes", &hints.nodes)] {
            if !names.is_empty() {
                let names = names.iter().map(|name| json!({"name": &**name})).collect::<Vec<_>>();
                shown.insert(field.into(), names.into());
            }
        }
        json.insert("hints".into(), Value::Object(shown));
    }
    Value::Object(json)
}
