//! The objects of the API that routing depends on, without what it does not.

use anyhow::Result;
use intake::api::{ApiOptions, Kind, Objects};
use serde_json::{Map, Value, json};

use super::bundle::{items, text};

/// What is asked for. Only Services and EndpointSlices are essential: a proxy may read no more.
const KINDS: [Kind; 6] = [
    Kind::Service,
    Kind::EndpointSlice,
    Kind::Node,
    Kind::Namespace,
    Kind::Pod,
    Kind::NetworkPolicy,
];

/// The objects, sorted, and what could not be read.
pub(super) async fn list(api: ApiOptions) -> Result<(Vec<Value>, Vec<String>)> {
    let source = Objects::new(api).await?;
    let (mut objects, mut left_out) = (Vec::new(), Vec::new());
    for kind in KINDS {
        match source.list(kind).await {
            Ok(listed) => objects.extend(listed.iter().map(pruned)),
            Err(error) if !matches!(kind, Kind::Service | Kind::EndpointSlice) => {
                left_out.push(format!("{kind}: {error}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let key = |object: &Value| {
        let of = |pointer| text(object, pointer).to_owned();
        (of("/kind"), of("/metadata/namespace"), of("/metadata/name"))
    };
    objects.sort_by_key(key);
    Ok((objects, left_out))
}

/// The fields of `from` that are there.
fn only(from: &Value, fields: &[&str]) -> Value {
    let kept = fields.iter().filter(|field| !from[**field].is_null());
    Value::Object(kept.map(|field| ((*field).to_owned(), from[*field].clone())).collect())
}

/// An object without annotations, environments, commands and whatever else may hold secrets: what
/// is not named here is not captured.
fn pruned(object: &Value) -> Value {
    let metadata = ["name", "namespace", "labels", "uid", "creationTimestamp", "deletionTimestamp"];
    let mut kept = Map::new();
    kept.insert("apiVersion".into(), object["apiVersion"].clone());
    kept.insert("kind".into(), object["kind"].clone());
    kept.insert("metadata".into(), only(&object["metadata"], &metadata));
    let mut keep = |field: &str, value: Value| drop(kept.insert(field.to_owned(), value));
    match text(object, "/kind") {
        "Service" => {
            keep("spec", object["spec"].clone());
            keep("status", only(&object["status"], &["loadBalancer"]));
        }
        "EndpointSlice" => {
            keep("addressType", object["addressType"].clone());
            keep("ports", object["ports"].clone());
            keep("endpoints", object["endpoints"].clone());
        }
        "Node" => {
            keep("spec", only(&object["spec"], &["podCIDR", "podCIDRs"]));
            keep("status", only(&object["status"], &["addresses"]));
        }
        "Pod" => pod(object, &mut keep),
        "NetworkPolicy" => keep("spec", object["spec"].clone()),
        _ => {}
    }
    Value::Object(kept)
}

fn pod(object: &Value, keep: &mut impl FnMut(&str, Value)) {
    let container = |one: &Value| only(one, &["name", "image", "ports", "restartPolicy"]);
    let fields = ["nodeName", "hostNetwork", "hostname", "subdomain"];
    let mut spec = only(&object["spec"], &fields);
    for list in ["containers", "initContainers"] {
        let all: Vec<Value> =
            items(object, &format!("/spec/{list}")).iter().map(container).collect();
        if !all.is_empty() {
            spec[list] = all.into();
        }
    }
    keep("spec", spec);
    let fields = ["phase", "podIP", "podIPs", "hostIP", "hostIPs"];
    let mut status = only(&object["status"], &fields);
    let conditions = items(object, "/status/conditions").iter();
    let ready = conditions.filter(|one| one["type"] == "Ready");
    status["conditions"] =
        ready.map(|one| json!({"type": "Ready", "status": one["status"]})).collect();
    keep("status", status);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_not_captured() {
        let container = json!({
            "name": "c", "image": "i", "command": ["secret-1"], "args": ["secret-2"],
            "env": [{"name": "A", "value": "secret-3"}], "ports": [{"containerPort": 80}],
        });
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "annotations": {"a": "secret-4"}, "labels": {"app": "x"},
                "managedFields": [{"manager": "secret-5"}]},
            "spec": {"containers": [container], "nodeName": "n", "serviceAccountName": "secret-6",
                "volumes": [{"name": "secret-7"}]},
            "status": {"podIP": "10.0.0.1", "message": "secret-8", "conditions": [
                {"type": "Ready", "status": "True", "message": "secret-9"}, {"type": "Other"}]},
        });
        let kept = pruned(&pod);
        assert!(!kept.to_string().contains("secret"), "{kept}");
        assert_eq!(kept["spec"]["containers"][0]["ports"][0]["containerPort"], 80);
        assert_eq!(kept["status"]["conditions"], json!([{"type": "Ready", "status": "True"}]));
    }
}
