//! What the server fills in where nothing is said.

mod pod;

use serde_json::{Value, json};

use crate::object::{default, has, items, items_mut, name, number, remove, set, text};

/// Fills in the defaults of a kind. Doing it twice changes nothing.
pub(crate) fn fill(kind: &str, object: &mut Value) {
    match kind {
        "Service" => service(object),
        "Namespace" => namespace(object),
        "Node" => node(object),
        "Pod" => pod::of_pod(object),
        "Deployment" => deployment(object),
        "ReplicaSet" => replica_set(object),
        "NetworkPolicy" => network_policy(object),
        "EndpointSlice" => {
            for port in items_mut(object, "/ports") {
                default(port, &["name"], "");
                default(port, &["protocol"], "TCP");
            }
        }
        "Endpoints" => {
            for subset in items_mut(object, "/subsets") {
                protocols(subset, "/ports");
            }
        }
        _ => {}
    }
}

fn protocols(object: &mut Value, pointer: &str) {
    for port in items_mut(object, pointer) {
        default(port, &["protocol"], "TCP");
    }
}

fn service(service: &mut Value) {
    default(service, &["spec", "sessionAffinity"], "None");
    match text(service, "/spec/sessionAffinity") {
        "None" => {
            remove(service, &["spec", "sessionAffinityConfig"]);
        }
        "ClientIP" => {
            let timeout = ["spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds"];
            default(service, &timeout, 10_800);
        }
        _ => {}
    }
    default(service, &["spec", "type"], "ClusterIP");
    protocols(service, "/spec/ports");
    for port in items_mut(service, "/spec/ports") {
        let target = port.get("targetPort");
        let unset = match target {
            None | Some(Value::Null) => true,
            Some(Value::String(name)) => name.is_empty(),
            Some(number) => number == 0,
        };
        if unset {
            let number = number(port, "/port");
            set(port, &["targetPort"], number);
        }
    }
    if crate::validate::is_external(service) {
        default(service, &["spec", "externalTrafficPolicy"], "Cluster");
    }
    let of_type = text(service, "/spec/type").to_owned();
    if ["ClusterIP", "LoadBalancer", "NodePort"].contains(&&of_type[..]) {
        default(service, &["spec", "internalTrafficPolicy"], "Cluster");
    }
    if of_type == "LoadBalancer" {
        default(service, &["spec", "allocateLoadBalancerNodePorts"], true);
        for ingress in items_mut(service, "/status/loadBalancer/ingress") {
            if has(ingress, "/ip") {
                default(ingress, &["ipMode"], "VIP");
            }
        }
    }
}

fn namespace(namespace: &mut Value) {
    let name = name(namespace).to_owned();
    if !name.is_empty() {
        set(namespace, &["metadata", "labels", "kubernetes.io/metadata.name"], name);
    }
    default(namespace, &["status", "phase"], "Active");
}

/// The singular and the plural of a Node's blocks say the same.
fn node(node: &mut Value) {
    let first = text(node, "/spec/podCIDR").to_owned();
    let listed = items(node, "/spec/podCIDRs").first().cloned();
    match (first.is_empty(), listed) {
        (false, None) => set(node, &["spec", "podCIDRs"], json!([first])),
        (true, Some(listed)) => set(node, &["spec", "podCIDR"], listed),
        _ => {}
    }
}

fn deployment(deployment: &mut Value) {
    default(deployment, &["spec", "replicas"], 1);
    default(deployment, &["spec", "strategy", "type"], "RollingUpdate");
    if text(deployment, "/spec/strategy/type") == "RollingUpdate" {
        default(deployment, &["spec", "strategy", "rollingUpdate", "maxUnavailable"], "25%");
        default(deployment, &["spec", "strategy", "rollingUpdate", "maxSurge"], "25%");
    }
    default(deployment, &["spec", "revisionHistoryLimit"], 10);
    default(deployment, &["spec", "progressDeadlineSeconds"], 600);
    pod::of_template(deployment);
}

fn replica_set(replica_set: &mut Value) {
    default(replica_set, &["spec", "replicas"], 1);
    pod::of_template(replica_set);
}

fn network_policy(policy: &mut Value) {
    for direction in ["/spec/ingress", "/spec/egress"] {
        for rule in items_mut(policy, direction) {
            protocols(rule, "/ports");
        }
    }
    if items(policy, "/spec/policyTypes").is_empty() {
        let egress = !items(policy, "/spec/egress").is_empty();
        let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        set(policy, &["spec", "policyTypes"], types);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(kind: &str, object: Value) -> Value {
        let mut once = object;
        fill(kind, &mut once);
        let mut twice = once.clone();
        fill(kind, &mut twice);
        assert_eq!(once, twice, "defaults are stable");
        once
    }

    #[test]
    fn a_service_of_every_type() {
        let service = filled("Service", json!({"spec": {"ports": [{"port": 80}]}}));
        let port = json!({"port": 80, "protocol": "TCP", "targetPort": 80});
        let spec = json!({
            "ports": [port], "type": "ClusterIP", "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
        });
        assert_eq!(service["spec"], spec);
        let service = filled("Service", json!({"spec": {"type": "LoadBalancer"}}));
        assert_eq!(service["spec"]["externalTrafficPolicy"], "Cluster");
        assert_eq!(service["spec"]["allocateLoadBalancerNodePorts"], true);
        let service = filled("Service", json!({"spec": {"sessionAffinity": "ClientIP"}}));
        let timeout = &service["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
        assert_eq!(timeout, 10_800);
        let service = filled("Service", json!({"spec": {"type": "ExternalName"}}));
        assert_eq!(service["spec"].get("internalTrafficPolicy"), None);
    }

    #[test]
    fn a_policy_with_egress_rules_is_about_both_directions() {
        let policy =
            filled("NetworkPolicy", json!({"spec": {"egress": [{"ports": [{"port": 1}]}]}}));
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(policy["spec"]["egress"][0]["ports"][0]["protocol"], "TCP");
        let policy = filled("NetworkPolicy", json!({"spec": {}}));
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
    }
}
