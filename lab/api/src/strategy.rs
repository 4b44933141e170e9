//! What a client may say when, kind by kind: the parts that belong to the server, and the
//! generation.

use serde_json::{Value, json};

use crate::object::{default, number, remove, set};
use crate::resource::Resource;

/// Makes what a client wants to create what the server accepts: nobody creates a status.
pub(crate) fn prepare_create(resource: &Resource, object: &mut Value) {
    match resource.kind {
        // A node says of itself what it is, in one go.
        "Node" => {}
        "Namespace" => {
            remove(object, &["status"]);
            default(object, &["spec", "finalizers"], json!(["kubernetes"]));
        }
        _ => {
            remove(object, &["status"]);
        }
    }
    if resource.generation {
        set(object, &["metadata", "generation"], 1);
    } else {
        remove(object, &["metadata", "generation"]);
    }
}

/// Takes over from the old object what this request may not change, and counts the generation.
pub(crate) fn prepare_update(
    resource: &Resource,
    new: &mut Value,
    old: &Value,
    subresource: Option<&str>,
) {
    let keep = |new: &mut Value, path: &[&str]| match old.pointer(&format!("/{}", path.join("/"))) {
        Some(value) => set(new, path, value.clone()),
        None => drop(remove(new, path)),
    };
    match subresource {
        Some("status") => {
            keep(new, &["spec"]);
            keep(new, &["metadata", "labels"]);
            keep(new, &["metadata", "ownerReferences"]);
        }
        Some("finalize") => {
            keep(new, &["status"]);
        }
        _ => {
            if resource.has("status") {
                keep(new, &["status"]);
            }
            // A Namespace lets go of its own finalizers by /finalize alone.
            if resource.kind == "Namespace" {
                keep(new, &["spec", "finalizers"]);
            }
        }
    }
    for field in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        keep(new, &["metadata", field]);
    }
    keep(new, &["metadata", "generation"]);
    if resource.generation && wanted(resource, new) != wanted(resource, old) {
        set(new, &["metadata", "generation"], number(old, "/metadata/generation") + 1);
    }
}

/// The parts whose change counts as a new generation.
fn wanted(resource: &Resource, object: &Value) -> Value {
    let mut wanted = object.clone();
    remove(&mut wanted, &["status"]);
    let metadata = remove(&mut wanted, &["metadata"]).unwrap_or_default();
    let also = match resource.kind {
        "Deployment" => metadata.get("annotations"),
        "EndpointSlice" => metadata.get("labels"),
        _ => None,
    };
    json!([wanted, also])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{DEPLOYMENTS, PODS, SERVICES};

    #[test]
    fn a_status_changes_by_its_own_path_alone() {
        let old = json!({"metadata": {"generation": 1}, "spec": {"a": 1}, "status": {"b": 1}});
        let wish = json!({"metadata": {}, "spec": {"a": 2}, "status": {"b": 2}});
        let mut new = wish.clone();
        prepare_update(&PODS, &mut new, &old, None);
        let expected = json!({"metadata": {"generation": 2}, "spec": {"a": 2}, "status": {"b": 1}});
        assert_eq!(new, expected);
        let mut new = wish;
        prepare_update(&PODS, &mut new, &old, Some("status"));
        let expected = json!({"metadata": {"generation": 1}, "spec": {"a": 1}, "status": {"b": 2}});
        assert_eq!(new, expected);
    }

    #[test]
    fn generations_count_where_a_real_server_counts_them() {
        let annotated =
            |value: &str| json!({"metadata": {"annotations": {"a": value}}, "spec": {}});
        let mut new = annotated("2");
        prepare_update(&DEPLOYMENTS, &mut new, &annotated("1"), None);
        assert_eq!(new["metadata"]["generation"], 1);
        let mut service = json!({"spec": {}, "status": {"x": 1}});
        prepare_create(&SERVICES, &mut service);
        assert_eq!(service, json!({"spec": {}}));
        let mut pod = json!({});
        prepare_create(&PODS, &mut pod);
        assert_eq!(pod, json!({"metadata": {"generation": 1}}));
    }
}
