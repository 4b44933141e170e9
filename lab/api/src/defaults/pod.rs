//! Pods, and the templates of Pods.

use serde_json::{Value, json};

use crate::object::{default, has, items, items_mut, set, text};

pub(super) fn of_pod(pod: &mut Value) {
    fill_spec(pod, &["spec"]);
    default(pod, &["spec", "enableServiceLinks"], true);
    // What the admission plugins Priority and DefaultTolerationSeconds add.
    default(pod, &["spec", "priority"], 0);
    default(pod, &["spec", "preemptionPolicy"], "PreemptLowerPriority");
    tolerations(pod);
    default(pod, &["status", "phase"], "Pending");
    if !has(pod, "/status/qosClass") {
        let class = quality_of_service(pod);
        set(pod, &["status", "qosClass"], class);
    }
    addresses(pod);
}

pub(super) fn of_template(object: &mut Value) {
    fill_spec(object, &["spec", "template", "spec"]);
}

fn fill_spec(object: &mut Value, path: &[&str]) {
    let at = |field: &'static str| [path, &[field]].concat();
    default(object, &at("restartPolicy"), "Always");
    default(object, &at("terminationGracePeriodSeconds"), 30);
    default(object, &at("dnsPolicy"), "ClusterFirst");
    default(object, &at("securityContext"), json!({}));
    default(object, &at("schedulerName"), "default-scheduler");
    let pointer = format!("/{}", path.join("/"));
    let host_network = object.pointer(&format!("{pointer}/hostNetwork")) == Some(&true.into());
    for list in ["containers", "initContainers"] {
        for container in items_mut(object, &format!("{pointer}/{list}")) {
            fill_container(container, host_network);
        }
    }
}

fn fill_container(container: &mut Value, host_network: bool) {
    default(container, &["terminationMessagePath"], "/dev/termination-log");
    default(container, &["terminationMessagePolicy"], "File");
    let policy = if is_latest(text(container, "/image")) { "Always" } else { "IfNotPresent" };
    default(container, &["imagePullPolicy"], policy);
    default(container, &["resources"], json!({}));
    for port in items_mut(container, "/ports") {
        default(port, &["protocol"], "TCP");
        if host_network && let Some(number) = port.get("containerPort").cloned() {
            default(port, &["hostPort"], number);
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(probe) else { continue };
        default(probe, &["timeoutSeconds"], 1);
        default(probe, &["periodSeconds"], 10);
        default(probe, &["successThreshold"], 1);
        default(probe, &["failureThreshold"], 3);
        if has(probe, "/httpGet") {
            default(probe, &["httpGet", "path"], "/");
            default(probe, &["httpGet", "scheme"], "HTTP");
        }
    }
}

/// Whether an image has the tag `latest`, or none.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn tolerations(pod: &mut Value) {
    let mut tolerations = items(pod, "/spec/tolerations").to_vec();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covers = |toleration: &Value| {
            let of_key = ["", key].contains(&text(toleration, "/key"));
            of_key && ["", "NoExecute"].contains(&text(toleration, "/effect"))
        };
        if !tolerations.iter().any(covers) {
            tolerations.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300,
            }));
        }
    }
    set(pod, &["spec", "tolerations"], tolerations);
}

fn quality_of_service(pod: &Value) -> &'static str {
    let containers = || items(pod, "/spec/containers").iter();
    let says = |container: &Value, pointer: &str| has(container, pointer);
    let any = |list: &str| {
        let list = format!("/resources/{list}");
        containers().any(|container| crate::object::fields(container, &list).next().is_some())
    };
    if !any("limits") && !any("requests") {
        return "BestEffort";
    }
    let guaranteed = |container: &Value| {
        ["cpu", "memory"].iter().all(|resource| {
            let limit = format!("/resources/limits/{resource}");
            let request = format!("/resources/requests/{resource}");
            let same = container.pointer(&limit) == container.pointer(&request);
            says(container, &limit) && (same || !says(container, &request))
        })
    };
    if containers().all(guaranteed) { "Guaranteed" } else { "Burstable" }
}

/// The singular and the plural of a Pod's addresses say the same.
fn addresses(pod: &mut Value) {
    for (one, all) in [("podIP", "podIPs"), ("hostIP", "hostIPs")] {
        let first = text(pod, &format!("/status/{one}")).to_owned();
        let listed = text(pod, &format!("/status/{all}/0/ip")).to_owned();
        // A host's addresses are not completed: the real server leaves them to the kubelet.
        if !first.is_empty() && listed.is_empty() && one == "podIP" {
            set(pod, &["status", all], json!([{"ip": first}]));
        } else if first.is_empty() && !listed.is_empty() {
            set(pod, &["status", one], listed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_gets_what_a_real_server_gives_it() {
        let mut pod = json!({"spec": {"containers": [{
            "name": "c", "image": "example/app:1", "ports": [{"name": "http", "containerPort": 8080}],
        }], "nodeName": "node-0"}});
        of_pod(&mut pod);
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/../../pipeline/intake/tests/recordings");
        let list = std::fs::read_to_string(format!("{own}/list-pods.json")).unwrap();
        let list: Value = serde_json::from_str(&list).unwrap();
        let mut items = list["items"].as_array().unwrap().iter();
        let real = items.find(|pod| pod["metadata"]["name"] == "my-app-1").unwrap();
        assert_eq!(pod["spec"], real["spec"]);
    }

    #[test]
    fn images_without_a_tag_are_always_pulled() {
        for (image, latest) in [
            ("app", true),
            ("registry:5000/app", true),
            ("app:latest", true),
            ("app:1", false),
            ("app@sha256:00", false),
        ] {
            assert_eq!(is_latest(image), latest, "{image}");
        }
    }

    #[test]
    fn the_class_follows_from_the_resources() {
        let pod = |resources: Value| json!({"spec": {"containers": [{"resources": resources}]}});
        assert_eq!(quality_of_service(&pod(json!({}))), "BestEffort");
        let burstable = pod(json!({"requests": {"cpu": "1"}}));
        assert_eq!(quality_of_service(&burstable), "Burstable");
        let guaranteed = pod(json!({"limits": {"cpu": "1", "memory": "1Gi"}}));
        assert_eq!(quality_of_service(&guaranteed), "Guaranteed");
    }
}
