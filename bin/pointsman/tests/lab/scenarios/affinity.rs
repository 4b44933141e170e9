//! Clients that stay with their endpoint.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::Scenario;
use super::scene::{Scene, cluster_ip, node_port};

const GROUP: &str = "Services";

pub(super) const ALL: &[Scenario] = &[
    (GROUP, "should have session affinity work for service with type clusterIP", |scene| {
        let at = stage(scene, &json!({"sessionAffinity": "ClientIP"}));
        stays(scene, at.0);
    }),
    (GROUP, "should have session affinity work for NodePort service", |scene| {
        let at = stage(scene, &json!({"sessionAffinity": "ClientIP", "type": "NodePort"}));
        stays(scene, at.1.unwrap());
    }),
    (GROUP, "should have session affinity timeout work for service with type clusterIP", |scene| {
        let at = stage(scene, &with_timeout("ClusterIP"));
        expires(scene, at.0);
    }),
    (GROUP, "should have session affinity timeout work for NodePort service", |scene| {
        let at = stage(scene, &with_timeout("NodePort"));
        expires(scene, at.1.unwrap());
    }),
    (GROUP, "should be able to switch session affinity for service with type clusterIP", |scene| {
        let at = stage(scene, &json!({}));
        switches(scene, at.0);
    }),
    (GROUP, "should be able to switch session affinity for NodePort service", |scene| {
        let at = stage(scene, &json!({"type": "NodePort"}));
        switches(scene, at.1.unwrap());
    }),
    ("Networking", "should function for client IP based session affinity: http", |scene| {
        let at = stage(scene, &json!({"sessionAffinity": "ClientIP"}));
        scene.client("other", "node-3");
        stays(scene, at.0);
        scene.until("another client stays too", || scene.answers("other", at.0, 15).len() == 1);
    }),
    ("Networking", "should function for client IP based session affinity: udp", |scene| {
        let ports = json!([{"port": 80, "targetPort": 8080, "protocol": "UDP"}]);
        let at = stage(scene, &json!({"sessionAffinity": "ClientIP", "ports": ports})).0;
        let mut seen = Vec::new();
        scene.until("datagrams are answered", || {
            seen = (0..15).map(|_| scene.ask_udp("client", 0, at)).collect();
            seen.iter().all(|outcome| outcome.server().is_some())
        });
        assert!(seen.iter().all(|outcome| outcome.server() == seen[0].server()), "{seen:?}");
    }),
];

fn with_timeout(kind: &str) -> Value {
    json!({
        "type": kind, "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}},
    })
}

/// Three Pods and a client; where the Service is reached.
fn stage(scene: &Scene<'_>, spec: &Value) -> (SocketAddr, Option<SocketAddr>) {
    for (name, node) in [("pod1", "node-1"), ("pod2", "node-2"), ("pod3", "node-3")] {
        scene.pod(name, "affinity", node, "echo");
    }
    scene.client("client", "node-2");
    scene.ready(&["pod1", "pod2", "pod3"]);
    let service = scene.service("affinity", "affinity", spec);
    scene.until("the endpoints are known", || {
        let slices = scene.get("endpointslices");
        slices["items"][0]["endpoints"].as_array().is_some_and(|all| all.len() == 3)
    });
    let port = (service["spec"]["type"] == "NodePort").then(|| node_port(&service, 1, 0));
    (cluster_ip(&service, 80), port)
}

fn stays(scene: &Scene<'_>, at: SocketAddr) {
    scene.until("every answer comes from one Pod", || scene.answers("client", at, 15).len() == 1);
    let first = scene.answers("client", at, 15);
    assert_eq!(scene.answers("client", at, 15), first);
}

/// After the timeout the choice is free again: with three Pods it falls on another one soon.
fn expires(scene: &Scene<'_>, at: SocketAddr) {
    scene.until("every answer comes from one Pod", || scene.answers("client", at, 6).len() == 1);
    let first = scene.answers("client", at, 1);
    scene.until("another Pod answers after a pause", || {
        // xt_recent counts whole seconds.
        std::thread::sleep(Duration::from_millis(2100));
        let now = scene.answers("client", at, 1);
        !now.is_empty() && now != first
    });
}

fn switches(scene: &Scene<'_>, at: SocketAddr) {
    let pods = ["pod1", "pod2", "pod3"];
    scene.reaches("client", at, &pods);
    scene.patch("services/affinity", &json!({"spec": {"sessionAffinity": "ClientIP"}}));
    stays(scene, at);
    let none = json!({"sessionAffinity": "None", "sessionAffinityConfig": null});
    scene.patch("services/affinity", &json!({"spec": none}));
    scene.reaches("client", at, &pods);
}
