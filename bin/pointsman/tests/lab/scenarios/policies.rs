//! Which endpoints: traffic policies, terminating ones, zones and nodes.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::Scenario;
use super::scene::{Scene, cluster_ip, node_ip, node_port};

const GROUP: &str = "Services";
const DISTRIBUTION: &str = "Traffic Distribution";

pub(super) const ALL: &[Scenario] = &[
    (GROUP, "should respect internalTrafficPolicy=Local Pod to Pod", local_pod_to_pod),
    (
        GROUP,
        "should respect internalTrafficPolicy=Local Pod (hostNetwork: true) to Pod",
        local_host_to_pod,
    ),
    (
        GROUP,
        "should respect internalTrafficPolicy=Local Pod and Node, to Pod (hostNetwork: true)",
        local_to_host,
    ),
    (GROUP, "should support externalTrafficPolicy=Local for type=NodePort", external_local),
    (
        GROUP,
        "should fail health check node port if there are only terminating endpoints",
        health_check,
    ),
    (
        GROUP,
        "should fallback to terminating endpoints when there are no ready endpoints with \
         internalTrafficPolicy=Cluster",
        terminating_internal_cluster,
    ),
    (
        GROUP,
        "should fallback to local terminating endpoints when there are no ready endpoints with \
         internalTrafficPolicy=Local",
        terminating_internal_local,
    ),
    (
        GROUP,
        "should fallback to terminating endpoints when there are no ready endpoints with \
         externalTrafficPolicy=Cluster",
        terminating_external_cluster,
    ),
    (
        GROUP,
        "should fallback to local terminating endpoints when there are no ready endpoints with \
         externalTrafficPolicy=Local",
        terminating_external_local,
    ),
    (GROUP, "should create endpoints for unready pods", unready_pods),
    (
        GROUP,
        "should be able to connect to terminating and unready endpoints if \
         PublishNotReadyAddresses is true",
        |scene| published(scene, true),
    ),
    (
        GROUP,
        "should not be able to connect to terminating and unready endpoints if \
         PublishNotReadyAddresses is false",
        |scene| published(scene, false),
    ),
    (DISTRIBUTION, "PreferClose: an endpoint in the same zone, and no other", |scene| {
        zones(scene, "PreferClose")
    }),
    (DISTRIBUTION, "PreferSameZone: an endpoint in the same zone, and no other", |scene| {
        zones(scene, "PreferSameZone")
    }),
    (DISTRIBUTION, "PreferClose: all endpoints from a zone that has none", |scene| {
        other_zone(scene, "PreferClose")
    }),
    (DISTRIBUTION, "PreferSameZone: all endpoints from a zone that has none", |scene| {
        other_zone(scene, "PreferSameZone")
    }),
    (
        DISTRIBUTION,
        "PreferSameNode: an endpoint on the same node, else in the same zone",
        same_node,
    ),
    (
        DISTRIBUTION,
        "PreferSameNode: falls back when the endpoint on the node goes",
        node_loses_endpoint,
    ),
    (
        "LoadBalancers ExternalTrafficPolicy: Local",
        "should only target nodes with endpoints",
        balanced_local,
    ),
    ("LoadBalancers ExternalTrafficPolicy: Local", "should work from pods", balanced_from_pods),
    (
        "LoadBalancers ExternalTrafficPolicy: Local",
        "should handle updates to ExternalTrafficPolicy field",
        balanced_updates,
    ),
];

fn local_pod_to_pod(scene: &Scene<'_>) {
    let service = scene.service("local", "local", &json!({"internalTrafficPolicy": "Local"}));
    scene.pod("pod1", "local", "node-1", "echo");
    scene.client("near", "node-1");
    scene.client("far", "node-2");
    let at = cluster_ip(&service, 80);
    scene.reaches("near", at, &["pod1"]);
    scene.unreached("far", at);
}

fn local_host_to_pod(scene: &Scene<'_>) {
    let service = scene.service("local", "local", &json!({"internalTrafficPolicy": "Local"}));
    scene.pod("pod1", "local", "node-1", "echo");
    // A Pod in its node's network asks as the node does.
    let at = cluster_ip(&service, 80);
    scene.reaches("node/node-1", at, &["pod1"]);
    scene.unreached("node/node-2", at);
}

fn local_to_host(scene: &Scene<'_>) {
    let ports = json!([{"port": 80, "targetPort": 10180}]);
    let spec = json!({"internalTrafficPolicy": "Local", "ports": ports});
    let service = scene.service("local", "local", &spec);
    let spec = json!({
        "hostNetwork": true,
        "containers": [{"name": "c", "image": "echo", "ports": [{"containerPort": 10180}]}],
    });
    scene.pod_of("pod1", "local", "node-1", &spec);
    scene.client("near", "node-1");
    scene.client("far", "node-2");
    let at = cluster_ip(&service, 80);
    scene.reaches("near", at, &["pod1"]);
    scene.reaches("node/node-1", at, &["pod1"]);
    scene.unreached("far", at);
    scene.unreached("node/node-2", at);
}

fn external_local(scene: &Scene<'_>) {
    let spec = json!({"type": "NodePort", "externalTrafficPolicy": "Local"});
    let service = scene.service("local", "local", &spec);
    scene.pod("pod1", "local", "node-2", "echo");
    scene.client("client", "node-1");
    scene.reaches("outside", node_port(&service, 2, 0), &["pod1"]);
    scene.unreached("outside", node_port(&service, 3, 0));
    // The client's address is kept where no node has to answer for another.
    let outcome = scene.ask_surely("outside", node_port(&service, 2, 0));
    let seen = outcome.answer().map(|answer| answer.seen_client.ip());
    assert_eq!(seen, Some(lab::outside_address(model::Family::V4)));
    // Pods and nodes reach it by their own node, wherever the endpoint is.
    scene.reaches("client", node_port(&service, 1, 0), &["pod1"]);
    scene.reaches("node/node-3", node_port(&service, 3, 0), &["pod1"]);
}

/// A Pod that goes on serving while it ends, and a Service in front of it, before and after.
fn terminating(scene: &Scene<'_>, spec: &Value) -> Value {
    let service = scene.service("ending", "ending", spec);
    let spec = json!({
        "terminationGracePeriodSeconds": 60,
        "containers": [{"name": "c", "image": "echo:lingering"}],
    });
    scene.pod_of("pod1", "ending", "node-2", &spec);
    scene.client("near", "node-2");
    scene.client("far", "node-1");
    scene.reaches("near", cluster_ip(&service, 80), &["pod1"]);
    scene.delete("pods/pod1");
    scene.until("the endpoint is terminating", || {
        scene.get("endpointslices")["items"].to_string().contains("\"terminating\":true")
    });
    service
}

fn over(scene: &Scene<'_>) {
    // The end of its namespace would wait for the grace period.
    scene.delete("pods/pod1?gracePeriodSeconds=0");
}

fn health_check(scene: &Scene<'_>) {
    let spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"});
    let service = scene.service("ending", "ending", &spec);
    let port = service["spec"]["healthCheckNodePort"].as_u64().unwrap();
    let at = |node| SocketAddr::new(node_ip(node), port.try_into().unwrap());
    let says = |node, wanted: u16| {
        scene.until(&format!("node {node} says {wanted}"), || {
            let said = scene.http("outside", at(node), "/healthz");
            said.is_some_and(|(status, _)| status == wanted)
        });
    };
    let spec = json!({
        "terminationGracePeriodSeconds": 60,
        "containers": [{"name": "c", "image": "echo:lingering"}],
    });
    scene.pod_of("pod1", "ending", "node-2", &spec);
    says(2, 200);
    says(1, 503);
    scene.delete("pods/pod1");
    says(2, 503);
    // It is served all the same while it lasts.
    scene.reaches("outside", node_port(&service, 2, 0), &["pod1"]);
    over(scene);
}

fn terminating_internal_cluster(scene: &Scene<'_>) {
    let at = cluster_ip(&terminating(scene, &json!({})), 80);
    for from in ["near", "far", "node/node-1"] {
        scene.reaches(from, at, &["pod1"]);
    }
    // A ready one is preferred as soon as there is one.
    scene.pod("pod2", "ending", "node-1", "echo");
    scene.reaches("far", at, &["pod2"]);
    over(scene);
}

fn terminating_internal_local(scene: &Scene<'_>) {
    let at = cluster_ip(&terminating(scene, &json!({"internalTrafficPolicy": "Local"})), 80);
    scene.reaches("near", at, &["pod1"]);
    scene.unreached("far", at);
    over(scene);
}

fn terminating_external_cluster(scene: &Scene<'_>) {
    let service = terminating(scene, &json!({"type": "NodePort"}));
    for node in 1..=3 {
        scene.reaches("outside", node_port(&service, node, 0), &["pod1"]);
    }
    over(scene);
}

fn terminating_external_local(scene: &Scene<'_>) {
    let spec = json!({"type": "NodePort", "externalTrafficPolicy": "Local"});
    let service = terminating(scene, &spec);
    scene.reaches("outside", node_port(&service, 2, 0), &["pod1"]);
    scene.unreached("outside", node_port(&service, 3, 0));
    over(scene);
}

fn unready_pods(scene: &Scene<'_>) {
    let service = scene.service("tolerant", "tolerant", &json!({"publishNotReadyAddresses": true}));
    let at = cluster_ip(&service, 80);
    let spec = json!({
        "terminationGracePeriodSeconds": 60,
        "containers": [{"name": "c", "image": "echo:unready-lingering"}],
    });
    scene.pod_of("pod1", "tolerant", "node-2", &spec);
    scene.client("client", "node-1");
    scene.reaches("client", at, &["pod1"]);
    let publish = |yes: bool| {
        let spec = json!({"publishNotReadyAddresses": yes});
        scene.patch("services/tolerant", &json!({"spec": spec}));
    };
    scene.delete("pods/pod1");
    publish(false);
    scene.unreached("client", at);
    publish(true);
    scene.reaches("client", at, &["pod1"]);
    over(scene);
}

fn published(scene: &Scene<'_>, yes: bool) {
    let spec = json!({"publishNotReadyAddresses": yes, "type": "NodePort"});
    let service = scene.service("published", "published", &spec);
    let spec = json!({
        "terminationGracePeriodSeconds": 60,
        "containers": [{"name": "c", "image": "echo:unready-lingering"}],
    });
    scene.pod_of("pod1", "published", "node-2", &spec);
    scene.client("client", "node-1");
    let places = [cluster_ip(&service, 80), node_port(&service, 1, 0), node_port(&service, 2, 0)];
    let check = || {
        for at in places {
            if yes {
                scene.reaches("client", at, &["pod1"]);
            } else {
                scene.refused("client", at);
            }
        }
    };
    scene.until("the Pod runs", || scene.get("pods/pod1")["status"]["phase"] == "Running");
    check();
    scene.delete("pods/pod1");
    scene.until("the Pod ends", || {
        scene.get("pods/pod1")["metadata"]["deletionTimestamp"] != Value::Null
    });
    check();
    over(scene);
}

/// One Pod a node and one client a node: nodes 1 and 3 are in one zone.
fn distribution(scene: &Scene<'_>, value: &str) -> SocketAddr {
    for number in 1..=3 {
        let node = format!("node-{number}");
        scene.pod(&format!("pod{number}"), "near", &node, "echo");
        scene.pod(&format!("client{number}"), "client", &node, "echo");
    }
    scene.ready(&["pod1", "pod2", "pod3", "client1", "client2", "client3"]);
    cluster_ip(&scene.service("near", "near", &json!({"trafficDistribution": value})), 80)
}

fn zones(scene: &Scene<'_>, value: &str) {
    let at = distribution(scene, value);
    scene.reaches("client1", at, &["pod1", "pod3"]);
    scene.reaches("client3", at, &["pod1", "pod3"]);
    scene.reaches("client2", at, &["pod2"]);
}

fn other_zone(scene: &Scene<'_>, value: &str) {
    let at = distribution(scene, value);
    scene.reaches("client2", at, &["pod2"]);
    scene.delete("pods/pod2");
    scene.reaches("client2", at, &["pod1", "pod3"]);
    scene.reaches("client1", at, &["pod1", "pod3"]);
}

fn same_node(scene: &Scene<'_>) {
    let at = distribution(scene, "PreferSameNode");
    for number in 1..=3 {
        scene.reaches(&format!("client{number}"), at, &[&format!("pod{number}")]);
    }
    scene.delete("pods/pod1");
    scene.reaches("client1", at, &["pod3"]);
}

fn node_loses_endpoint(scene: &Scene<'_>) {
    let at = distribution(scene, "PreferSameNode");
    scene.reaches("client2", at, &["pod2"]);
    scene.delete("pods/pod2");
    scene.reaches("client2", at, &["pod1", "pod3"]);
    scene.pod("pod4", "near", "node-2", "echo");
    scene.reaches("client2", at, &["pod4"]);
}

/// The address that a load balancer was given.
fn balanced(scene: &Scene<'_>, spec: &Value) -> SocketAddr {
    let mut spec = spec.clone();
    spec["type"] = "LoadBalancer".into();
    scene.service("balanced", "balanced", &spec);
    let mut at = None;
    scene.until("it has an address", || {
        let service = scene.get("services/balanced");
        let ip = &service["status"]["loadBalancer"]["ingress"][0]["ip"];
        at = ip.as_str().and_then(|ip| ip.parse().ok());
        at.is_some()
    });
    SocketAddr::new(at.unwrap(), 80)
}

fn health_port(scene: &Scene<'_>, node: u8) -> SocketAddr {
    let service = scene.get("services/balanced");
    let port = service["spec"]["healthCheckNodePort"].as_u64().unwrap();
    SocketAddr::new(node_ip(node), port.try_into().unwrap())
}

fn balanced_local(scene: &Scene<'_>) {
    balanced(scene, &json!({"externalTrafficPolicy": "Local"}));
    for node in 1..=3 {
        let pod = format!("pod{node}");
        scene.pod(&pod, "balanced", &format!("node-{node}"), "echo");
        for other in 1..=3 {
            let wanted = if other == node { 200 } else { 503 };
            scene.until(&format!("node {other} says {wanted}"), || {
                let said = scene.http("outside", health_port(scene, other), "/healthz");
                said.is_some_and(|(status, _)| status == wanted)
            });
        }
        scene.delete(&format!("pods/{pod}"));
    }
}

fn balanced_from_pods(scene: &Scene<'_>) {
    let at = balanced(scene, &json!({"externalTrafficPolicy": "Local"}));
    scene.pod("pod1", "balanced", "node-2", "echo");
    scene.client("client", "node-1");
    scene.reaches("client", at, &["pod1"]);
    let own = scene.get("pods/client")["status"]["podIP"].as_str().map(str::to_owned);
    let outcome = scene.ask_surely("client", at);
    assert_eq!(outcome.answer().map(|it| it.seen_client.ip().to_string()), own);
}

fn balanced_updates(scene: &Scene<'_>) {
    let at = balanced(scene, &json!({"externalTrafficPolicy": "Local"}));
    let health = health_port(scene, 1);
    // The outside host sends to the first node, which stands for the load balancer.
    scene.pod("pod1", "balanced", "node-1", "echo");
    let kept = |wanted: bool| {
        scene.until(&format!("the client's address is kept: {wanted}"), || {
            let outcome = scene.ask("outside", at);
            let seen = outcome.answer().map(|answer| answer.seen_client.ip());
            seen.is_some_and(|ip| (ip == lab::outside_address(model::Family::V4)) == wanted)
        });
    };
    let policy = |value: &str| {
        let spec = json!({"externalTrafficPolicy": value});
        scene.patch("services/balanced", &json!({"spec": spec}))
    };
    kept(true);
    policy("Cluster");
    kept(false);
    scene.until("nobody asks for its health any more", || {
        scene.http("outside", health, "/healthz").is_none()
    });
    let spec = json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": health.port()});
    scene.patch("services/balanced", &json!({"spec": spec}));
    kept(true);
    assert_eq!(health_port(scene, 1), health);
}
