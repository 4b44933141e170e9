//! Cluster IPs, NodePorts, types and ports of Services.

use std::net::SocketAddr;

use lab::Outcome;
use model::Protocol;
use serde_json::json;

use super::Scenario;
use super::scene::{Scene, cluster_ip, node_ip, node_port, text};

const GROUP: &str = "Services";

pub(super) const ALL: &[Scenario] = &[
    (GROUP, "should serve a basic endpoint from pods", basic_endpoint),
    (GROUP, "should serve multiport endpoints from pods", multiport),
    (GROUP, "should be updated after adding or deleting ports", ports_change),
    (GROUP, "should preserve source pod IP for traffic thru service cluster IP", source_ip),
    (GROUP, "should allow pods to hairpin back to themselves through services", hairpin),
    (GROUP, "should be able to up and down services", up_and_down),
    (GROUP, "should be able to create a functioning NodePort service", functioning_node_port),
    (
        GROUP,
        "should be possible to connect to a service via ExternalIP when the external IP is not \
         assigned to a node",
        external_ip,
    ),
    (
        GROUP,
        "should be able to update service type to NodePort listening on same port number but \
         different protocols",
        same_node_port,
    ),
    (GROUP, "should be able to change the type from ExternalName to ClusterIP", name_to_cluster),
    (GROUP, "should be able to change the type from ExternalName to NodePort", name_to_node_port),
    (GROUP, "should be able to change the type from ClusterIP to ExternalName", cluster_to_name),
    (GROUP, "should be able to change the type from NodePort to ExternalName", node_port_to_name),
    (GROUP, "should implement service.kubernetes.io/service-proxy-name", other_proxy),
    (GROUP, "should implement service.kubernetes.io/headless", headless_label),
    (GROUP, "should be rejected when no endpoints exist", no_endpoints),
    (GROUP, "should be rejected for evicted pods (no endpoints exist)", evicted),
    (GROUP, "should serve endpoints on same port and different protocols", protocols),
    (
        GROUP,
        "should support named targetPorts that resolve to different ports on different endpoints",
        named_target_port,
    ),
    (
        GROUP,
        "should connect to the named port exposed by restartable init containers",
        sidecar_named_port,
    ),
    (GROUP, "should connect to the ports exposed by restartable init containers", sidecar_port),
    (GROUP, "should work for a service that is deleted and created again", recreated),
    ("SCTP", "should allow creating a basic SCTP service with pod and endpoints", sctp),
    ("Service endpoints latency", "should not be very high", latency),
];

fn basic_endpoint(scene: &Scene<'_>) {
    let service = scene.service("basic", "basic", &json!({}));
    let at = cluster_ip(&service, 80);
    scene.client("client", "node-1");
    scene.refused("client", at);
    scene.pod("pod1", "basic", "node-1", "echo");
    scene.reaches("client", at, &["pod1"]);
    scene.pod("pod2", "basic", "node-2", "echo");
    scene.reaches("client", at, &["pod1", "pod2"]);
    scene.delete("pods/pod1");
    scene.reaches("client", at, &["pod2"]);
    scene.delete("pods/pod2");
    scene.refused("client", at);
}

fn container(name: &str, port: u16, protocol: &str) -> serde_json::Value {
    json!({"containers": [{
        "name": "c", "image": "echo",
        "ports": [{"name": name, "containerPort": port, "protocol": protocol}],
    }]})
}

fn multiport(scene: &Scene<'_>) {
    let ports = json!([
        {"name": "portname1", "port": 80, "targetPort": "p1"},
        {"name": "portname2", "port": 81, "targetPort": "p2"},
    ]);
    let service = scene.service("multi", "multi", &json!({"ports": ports}));
    scene.client("client", "node-2");
    scene.pod_of("pod1", "multi", "node-1", &container("p1", 100, "TCP"));
    scene.pod_of("pod2", "multi", "node-2", &container("p2", 101, "TCP"));
    scene.reaches("client", cluster_ip(&service, 80), &["pod1"]);
    scene.reaches("client", cluster_ip(&service, 81), &["pod2"]);
    scene.delete("pods/pod1");
    scene.refused("client", cluster_ip(&service, 80));
    scene.reaches("client", cluster_ip(&service, 81), &["pod2"]);
}

fn ports_change(scene: &Scene<'_>) {
    let service = scene.service("ports", "ports", &json!({}));
    scene.client("client", "node-1");
    scene.pod("pod1", "ports", "node-2", "echo");
    scene.reaches("client", cluster_ip(&service, 80), &["pod1"]);
    let both = json!([
        {"name": "a", "port": 80, "targetPort": 8080}, {"name": "b", "port": 8443, "targetPort": 8080},
    ]);
    scene.patch("services/ports", &json!({"spec": {"ports": both}}));
    scene.reaches("client", cluster_ip(&service, 8443), &["pod1"]);
    scene.reaches("client", cluster_ip(&service, 80), &["pod1"]);
    let one = json!([{"name": "b", "port": 8443, "targetPort": 8080}]);
    scene.patch("services/ports", &json!({"spec": {"ports": one}}));
    scene.unreached("client", cluster_ip(&service, 80));
    scene.reaches("client", cluster_ip(&service, 8443), &["pod1"]);
}

fn source_ip(scene: &Scene<'_>) {
    let service = scene.service("source", "source", &json!({}));
    scene.pod("server", "source", "node-1", "echo");
    for (client, node) in [("near", "node-1"), ("far", "node-2")] {
        scene.client(client, node);
        let own = scene.get(&format!("pods/{client}"));
        let at = cluster_ip(&service, 80);
        scene.reaches(client, at, &["server"]);
        let outcome = scene.ask_surely(client, at);
        let seen = outcome.answer().map(|answer| answer.seen_client.ip().to_string());
        assert_eq!(seen.as_deref(), Some(text(&own, "/status/podIP")), "{client}");
    }
}

fn hairpin(scene: &Scene<'_>) {
    let service = scene.service("hairpin", "hairpin", &json!({}));
    scene.pod("itself", "hairpin", "node-1", "echo");
    scene.ready(&["itself"]);
    scene.reaches("itself", cluster_ip(&service, 80), &["itself"]);
}

fn up_and_down(scene: &Scene<'_>) {
    scene.client("client", "node-1");
    let mut services = Vec::new();
    for name in ["up-down-1", "up-down-2", "up-down-3"] {
        services.push(scene.service(name, name, &json!({})));
        if name != "up-down-3" {
            scene.pod(&format!("{name}-a"), name, "node-1", "echo");
            scene.pod(&format!("{name}-b"), name, "node-2", "echo");
        }
    }
    let at: Vec<SocketAddr> = services.iter().map(|service| cluster_ip(service, 80)).collect();
    assert!(at[0] != at[1] && at[1] != at[2]);
    scene.reaches("client", at[0], &["up-down-1-a", "up-down-1-b"]);
    scene.reaches("client", at[1], &["up-down-2-a", "up-down-2-b"]);
    scene.delete("services/up-down-1");
    scene.unreached("client", at[0]);
    scene.reaches("client", at[1], &["up-down-2-a", "up-down-2-b"]);
    scene.pod("up-down-3-a", "up-down-3", "node-2", "echo");
    scene.reaches("client", at[2], &["up-down-3-a"]);
    scene.reaches("client", at[1], &["up-down-2-a", "up-down-2-b"]);
}

fn functioning_node_port(scene: &Scene<'_>) {
    let service = scene.service("np", "np", &json!({"type": "NodePort"}));
    scene.client("client", "node-1");
    scene.pod("pod1", "np", "node-1", "echo");
    scene.pod("pod2", "np", "node-2", "echo");
    scene.reaches("client", cluster_ip(&service, 80), &["pod1", "pod2"]);
    for from in ["client", "node/node-1", "node/node-3", "outside"] {
        for node in 1..=3 {
            scene.reaches(from, node_port(&service, node, 0), &["pod1", "pod2"]);
        }
    }
}

fn external_ip(scene: &Scene<'_>) {
    let address = "203.0.113.250";
    let spec = json!({"externalIPs": [address]});
    scene.service("external", "external", &spec);
    scene.client("client", "node-2");
    scene.pod("pod1", "external", "node-1", "echo");
    let at = SocketAddr::new(address.parse().unwrap(), 80);
    scene.reaches("client", at, &["pod1"]);
    scene.reaches("outside", at, &["pod1"]);
}

fn same_node_port(scene: &Scene<'_>) {
    let ports = json!([
        {"name": "tcp-port", "port": 80, "targetPort": 8080, "protocol": "TCP"},
        {"name": "udp-port", "port": 80, "targetPort": 8080, "protocol": "UDP"},
    ]);
    scene.service("np2", "np2", &json!({"ports": ports}));
    scene.client("client", "node-1");
    scene.pod("pod1", "np2", "node-2", "echo");
    let service = scene.patch("services/np2", &json!({"spec": {"type": "NodePort"}}));
    let tcp = node_port(&service, 1, 0);
    let port = tcp.port();
    let mut ports = ports;
    for index in 0..2 {
        ports[index]["nodePort"] = port.into();
    }
    let service = scene.patch("services/np2", &json!({"spec": {"ports": ports}}));
    assert_eq!(node_port(&service, 1, 1), tcp);
    scene.reaches("client", tcp, &["pod1"]);
    scene
        .until("datagrams arrive too", || scene.ask_udp("client", 0, tcp).server() == Some("pod1"));
}

fn external_name(scene: &Scene<'_>, to: &str) {
    let spec = json!({"type": "ExternalName", "externalName": to});
    scene.create("services", &json!({"metadata": {"name": "named"}, "spec": spec}));
    scene.client("client", "node-1");
    scene.pod("pod1", "named", "node-2", "echo");
}

fn name_to_cluster(scene: &Scene<'_>) {
    external_name(scene, "foo.example.com");
    let spec = json!({
        "type": "ClusterIP", "externalName": null, "selector": {"app": "named"},
        "ports": [{"port": 80, "targetPort": 8080}],
    });
    let service = scene.patch("services/named", &json!({"spec": spec}));
    scene.reaches("client", cluster_ip(&service, 80), &["pod1"]);
}

fn name_to_node_port(scene: &Scene<'_>) {
    external_name(scene, "foo.example.com");
    let spec = json!({
        "type": "NodePort", "externalName": null, "selector": {"app": "named"},
        "ports": [{"port": 80, "targetPort": 8080}],
    });
    let service = scene.patch("services/named", &json!({"spec": spec}));
    scene.reaches("client", cluster_ip(&service, 80), &["pod1"]);
    scene.reaches("outside", node_port(&service, 2, 0), &["pod1"]);
}

/// Turns a Service into another name of `target`, and asks by the first name.
fn to_external_name(scene: &Scene<'_>, spec: &serde_json::Value) {
    scene.client("client", "node-1");
    scene.pod("pod1", "typed", "node-2", "echo");
    scene.pod("pod2", "target", "node-2", "echo");
    let service = scene.service("typed", "typed", spec);
    scene.service("target", "target", &json!({}));
    scene.reaches("client", cluster_ip(&service, 80), &["pod1"]);
    let name = format!("target.{}.svc.cluster.local", scene.namespace);
    let spec = json!({"type": "ExternalName", "externalName": name});
    let changed = scene.patch("services/typed", &json!({"spec": spec}));
    assert_eq!(text(&changed, "/spec/clusterIP"), "");
    scene.unreached("client", cluster_ip(&service, 80));
    if service["spec"]["type"] == "NodePort" {
        scene.unreached("outside", node_port(&service, 1, 0));
    }
    scene.until("the name leads to the other Service", || {
        let said = scene.exec("client", "curl -s --max-time 2 typed:80");
        said.is_some_and(|said| said.contains("Hostname: pod2"))
    });
}

fn cluster_to_name(scene: &Scene<'_>) {
    to_external_name(scene, &json!({}));
}

fn node_port_to_name(scene: &Scene<'_>) {
    to_external_name(scene, &json!({"type": "NodePort"}));
}

/// A Service with a label is nobody's here; without it, it is ours.
fn left_out_by_label(scene: &Scene<'_>, label: &str) {
    scene.client("client", "node-1");
    scene.pod("pod1", "labelled", "node-2", "echo");
    scene.pod("pod2", "plain", "node-2", "echo");
    let plain = scene.service("plain", "plain", &json!({}));
    let spec = json!({
        "selector": {"app": "labelled"}, "ports": [{"port": 80, "targetPort": 8080}],
    });
    let metadata = json!({"name": "labelled", "labels": {label: "x"}});
    let service = scene.create("services", &json!({"metadata": metadata, "spec": spec}));
    let at = cluster_ip(&service, 80);
    scene.reaches("client", cluster_ip(&plain, 80), &["pod2"]);
    assert_eq!(scene.ask("client", at).server(), None);
    scene.patch("services/labelled", &json!({"metadata": {"labels": {label: null}}}));
    scene.reaches("client", at, &["pod1"]);
    scene.patch("services/labelled", &json!({"metadata": {"labels": {label: "x"}}}));
    scene.unreached("client", at);
    scene.reaches("client", cluster_ip(&plain, 80), &["pod2"]);
}

fn other_proxy(scene: &Scene<'_>) {
    left_out_by_label(scene, "service.kubernetes.io/service-proxy-name");
}

fn headless_label(scene: &Scene<'_>) {
    left_out_by_label(scene, "service.kubernetes.io/headless");
}

fn no_endpoints(scene: &Scene<'_>) {
    let service = scene.service("none", "none", &json!({"type": "NodePort"}));
    scene.client("client", "node-1");
    scene.refused("client", cluster_ip(&service, 80));
    scene.refused("node/node-2", cluster_ip(&service, 80));
    scene.refused("outside", node_port(&service, 2, 0));
}

fn evicted(scene: &Scene<'_>) {
    let service = scene.service("evicted", "evicted", &json!({}));
    scene.client("client", "node-1");
    scene.pod("pod1", "evicted", "node-2", "echo");
    scene.reaches("client", cluster_ip(&service, 80), &["pod1"]);
    let status = json!({"phase": "Failed", "reason": "Evicted"});
    scene.patch("pods/pod1/status", &json!({"status": status}));
    scene.refused("client", cluster_ip(&service, 80));
    let pod = scene.get("pods/pod1");
    assert_eq!(text(&pod, "/status/reason"), "Evicted");
}

fn protocols(scene: &Scene<'_>) {
    let ports = json!([
        {"name": "tcp", "port": 80, "targetPort": 8080, "protocol": "TCP"},
        {"name": "udp", "port": 80, "targetPort": 8080, "protocol": "UDP"},
    ]);
    let service = scene.service("both", "both", &json!({"ports": ports}));
    scene.client("client", "node-1");
    scene.pod("pod1", "both", "node-2", "echo");
    let at = cluster_ip(&service, 80);
    let udp = |wanted| {
        scene.until("datagrams", || scene.ask_udp("client", 0, at).server() == wanted);
    };
    scene.reaches("client", at, &["pod1"]);
    udp(Some("pod1"));
    scene.patch("services/both", &json!({"spec": {"ports": [ports[0]]}}));
    scene.reaches("client", at, &["pod1"]);
    udp(None);
    scene.patch("services/both", &json!({"spec": {"ports": [ports[1]]}}));
    scene.unreached("client", at);
    udp(Some("pod1"));
}

fn named_target_port(scene: &Scene<'_>) {
    let ports = json!([{"port": 80, "targetPort": "port"}]);
    let service = scene.service("named", "named", &json!({"ports": ports}));
    scene.client("client", "node-1");
    scene.pod_of("pod1", "named", "node-1", &container("port", 1111, "TCP"));
    scene.pod_of("pod2", "named", "node-2", &container("port", 2222, "TCP"));
    scene.reaches("client", cluster_ip(&service, 80), &["pod1", "pod2"]);
}

/// A Pod whose sidecar alone listens at 9376.
fn sidecar(scene: &Scene<'_>, target: &serde_json::Value) {
    let ports = json!([{"port": 80, "targetPort": target}]);
    let service = scene.service("sidecar", "sidecar", &json!({"ports": ports}));
    scene.client("client", "node-1");
    let spec = json!({
        "initContainers": [{
            "name": "side", "image": "echo", "restartPolicy": "Always",
            "ports": [{"name": "side-port", "containerPort": 9376}],
        }],
        "containers": [{"name": "c", "image": "echo", "ports": [{"containerPort": 8080}]}],
    });
    scene.pod_of("pod1", "sidecar", "node-2", &spec);
    scene.reaches("client", cluster_ip(&service, 80), &["pod1"]);
}

fn sidecar_named_port(scene: &Scene<'_>) {
    sidecar(scene, &json!("side-port"));
}

fn sidecar_port(scene: &Scene<'_>) {
    sidecar(scene, &json!(9376));
}

fn recreated(scene: &Scene<'_>) {
    scene.client("client", "node-1");
    scene.pod("pod1", "again", "node-2", "echo");
    let first = cluster_ip(&scene.service("again", "again", &json!({})), 80);
    scene.reaches("client", first, &["pod1"]);
    scene.delete("services/again");
    scene.unreached("client", first);
    let spec = json!({"clusterIP": first.ip().to_string()});
    let second = cluster_ip(&scene.service("again", "again", &spec), 80);
    assert_eq!(second, first);
    scene.reaches("client", second, &["pod1"]);
}

/// Where the kernel has no SCTP, the rules are all there is to see.
fn sctp(scene: &Scene<'_>) {
    let ports = json!([{"port": 5060, "targetPort": 5060, "protocol": "SCTP"}]);
    let service = scene.service("sctp", "sctp", &json!({"ports": ports}));
    scene.client("client", "node-1");
    scene.pod_of("pod1", "sctp", "node-2", &container("sctp", 5060, "SCTP"));
    let at = cluster_ip(&service, 5060);
    scene.until("the endpoint is listed", || {
        let slices = scene.get("endpointslices");
        slices["items"].to_string().contains("\"protocol\":\"SCTP\"")
    });
    let list = match scene.cluster.mode {
        "iptables" => "iptables-save -t nat",
        _ => "nft list ruleset",
    };
    scene.until("the rules name it", || {
        let rules = scene.exec("node/node-1", list).unwrap_or_default();
        let mut lines = rules.lines();
        lines.any(|line| line.contains("sctp") && line.contains(&at.ip().to_string()))
    });
    let outcome = scene.connect("client", Protocol::Sctp, at);
    let fine = outcome.server() == Some("pod1") || outcome == Outcome::Unsupported(Protocol::Sctp);
    assert!(fine, "{outcome}");
}

/// From a Service's creation to its first answer.
fn latency(scene: &Scene<'_>) {
    scene.client("client", "node-1");
    scene.pod("pod1", "latency", "node-2", "echo");
    scene.ready(&["pod1"]);
    // Within the patience that every wait has, which is upstream's limit for the median.
    for number in 0..10 {
        let service = scene.service(&format!("latency-{number}"), "latency", &json!({}));
        scene.until("a new Service answers", || {
            scene.ask("client", cluster_ip(&service, 80)).server() == Some("pod1")
        });
    }
    let own = SocketAddr::new(node_ip(1), 80);
    assert_eq!(scene.ask("client", own).server(), None, "a port of nobody answers");
}
