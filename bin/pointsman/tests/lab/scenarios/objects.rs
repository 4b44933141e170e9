//! What the objects themselves say: slices, ports, families, lists.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::Scenario;
use super::scene::{Scene, cluster_ip, node_port, text};

const GROUP: &str = "Services";
const SLICES: &str = "EndpointSlice";
const DUAL: &str = "IPv4/IPv6 dual-stack";

pub(super) const ALL: &[Scenario] = &[
    (GROUP, "should prevent NodePort collisions", collisions),
    (GROUP, "should check NodePort out-of-range", out_of_range),
    (GROUP, "should release NodePorts on delete", released),
    (GROUP, "should find a service from all namespaces", all_namespaces),
    (GROUP, "should complete a service status lifecycle", status_lifecycle),
    (GROUP, "should delete a collection of services", collection),
    (
        SLICES,
        "should create and delete EndpointSlices for a Service with no matching pods",
        slices_without_pods,
    ),
    (
        SLICES,
        "should create Endpoints and EndpointSlices for Pods matching a Service",
        slices_of_pods,
    ),
    (SLICES, "should support creating EndpointSlice API operations", slice_operations),
    (
        SLICES,
        "should support a Service with multiple ports specified in multiple EndpointSlices",
        ports_in_slices,
    ),
    (
        SLICES,
        "should support a Service with multiple endpoint IPs specified in multiple EndpointSlices",
        addresses_in_slices,
    ),
    (DUAL, "should create pod, add ipv6 and ipv4 ip to pod ips", pod_ips),
    (DUAL, "should create service with ipv4 cluster ip", |scene| one_family(scene, "IPv4")),
    (DUAL, "should create service with ipv6 cluster ip", |scene| one_family(scene, "IPv6")),
    (DUAL, "should create service with ipv4,v6 cluster ip", |scene| {
        both_families(scene, &["IPv4", "IPv6"])
    }),
    (DUAL, "should create service with ipv6,v4 cluster ip", |scene| {
        both_families(scene, &["IPv6", "IPv4"])
    }),
    (DUAL, "should be able to reach pod on ipv4 and ipv6 ip", pods_of_both_families),
];

fn numbered(port: u64) -> Value {
    json!({"type": "NodePort", "ports": [{"port": 80, "targetPort": 8080, "nodePort": port}]})
}

/// The message of a refusal.
fn refusal(scene: &Scene<'_>, name: &str, spec: &Value) -> String {
    let body = json!({"metadata": {"name": name}, "spec": spec});
    let (status, answer) = scene.request("POST", "services", &body);
    assert_eq!(status, 422, "{answer}");
    text(&answer, "/message").to_owned()
}

fn collisions(scene: &Scene<'_>) {
    let first = scene.service("first", "x", &json!({"type": "NodePort"}));
    let port = first["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    let said = refusal(scene, "second", &numbered(port));
    assert!(said.contains("provided port is already allocated"), "{said}");
    scene.delete("services/first");
    scene.service("second", "x", &numbered(port));
}

fn out_of_range(scene: &Scene<'_>) {
    let service = scene.service("ranged", "x", &json!({"type": "NodePort"}));
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30000..=32767).contains(&port), "{port}");
    let said = refusal(scene, "other", &numbered(29999));
    assert!(said.contains("not in the valid range"), "{said}");
}

fn released(scene: &Scene<'_>) {
    let service = scene.service("released", "released", &json!({"type": "NodePort"}));
    scene.pod("pod1", "released", "node-1", "echo");
    let at = node_port(&service, 2, 0);
    scene.reaches("outside", at, &["pod1"]);
    scene.delete("services/released");
    scene.unreached("outside", at);
    scene.service("released", "released", &numbered(at.port().into()));
    scene.reaches("outside", at, &["pod1"]);
}

fn all_namespaces(scene: &Scene<'_>) {
    scene.service("found", "x", &json!({}));
    let list = scene.everywhere("services");
    let found = list["items"].as_array().unwrap().iter().any(|service| {
        text(service, "/metadata/name") == "found"
            && text(service, "/metadata/namespace") == scene.namespace
    });
    assert!(found);
}

fn status_lifecycle(scene: &Scene<'_>) {
    scene.service(
        "status",
        "x",
        &json!({"type": "LoadBalancer", "loadBalancerClass": "x.example/y"}),
    );
    let ingress = json!([{"ip": "203.0.113.201"}]);
    let status = json!({"loadBalancer": {"ingress": ingress}});
    let patched = scene.patch("services/status/status", &json!({"status": status}));
    assert_eq!(text(&patched, "/status/loadBalancer/ingress/0/ip"), "203.0.113.201");
    scene.pod("pod1", "x", "node-1", "echo");
    // What the status says is served.
    scene.reaches("outside", SocketAddr::new([203, 0, 113, 201].into(), 80), &["pod1"]);
    let conditions = json!([{
        "type": "X", "status": "True", "reason": "R", "message": "m",
        "lastTransitionTime": "2020-01-01T00:00:00Z",
    }]);
    scene.patch("services/status/status", &json!({"status": {"conditions": conditions}}));
    let got = scene.get("services/status/status");
    assert_eq!(text(&got, "/status/conditions/0/type"), "X");
    assert_eq!(text(&got, "/status/loadBalancer/ingress/0/ip"), "203.0.113.201");
}

fn collection(scene: &Scene<'_>) {
    for name in ["one", "two", "three"] {
        scene.service(name, "x", &json!({}));
    }
    scene.patch("services/three", &json!({"metadata": {"labels": {"keep": "yes"}}}));
    let (status, answer) = scene.request("DELETE", "services?labelSelector=!keep", &Value::Null);
    assert_eq!(status, 200, "{answer}");
    let list = scene.get("services");
    let names: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|it| text(it, "/metadata/name")).collect();
    assert_eq!(names, ["three"]);
}

fn slices_of(scene: &Scene<'_>, service: &str) -> Vec<Value> {
    let query = format!("endpointslices?labelSelector=kubernetes.io/service-name={service}");
    scene.get(&query)["items"].as_array().cloned().unwrap_or_default()
}

fn slices_without_pods(scene: &Scene<'_>) {
    scene.service("empty", "nothing", &json!({}));
    scene.until("a slice without endpoints", || {
        let slices = slices_of(scene, "empty");
        slices.len() == 1 && slices[0]["endpoints"].as_array().is_none_or(Vec::is_empty)
    });
    scene.until("Endpoints without addresses", || {
        let (status, endpoints) = scene.request("GET", "endpoints/empty", &Value::Null);
        status == 200 && endpoints["subsets"].as_array().is_none_or(Vec::is_empty)
    });
    scene.delete("services/empty");
    scene.until("both are gone", || {
        slices_of(scene, "empty").is_empty()
            && scene.request("GET", "endpoints/empty", &Value::Null).0 == 404
    });
}

fn slices_of_pods(scene: &Scene<'_>) {
    let ports = json!([
        {"name": "one", "port": 80, "targetPort": 3000}, {"name": "two", "port": 81, "targetPort": 3001},
    ]);
    scene.service("pods", "pods", &json!({"ports": ports}));
    scene.pod("pod1", "pods", "node-1", "echo");
    scene.pod("pod2", "pods", "node-2", "echo");
    scene.ready(&["pod1", "pod2"]);
    let addresses: std::collections::BTreeSet<String> = ["pod1", "pod2"]
        .iter()
        .map(|name| text(&scene.get(&format!("pods/{name}")), "/status/podIP").to_owned())
        .collect();
    scene.until("the slice has both", || {
        let slices = slices_of(scene, "pods");
        let endpoints = slices.iter().filter_map(|it| it["endpoints"].as_array()).flatten();
        let listed = endpoints.map(|it| text(it, "/addresses/0").to_owned());
        listed.collect::<std::collections::BTreeSet<_>>() == addresses
    });
    scene.until("so have the Endpoints", || {
        let (_, endpoints) = scene.request("GET", "endpoints/pods", &Value::Null);
        let subsets = endpoints["subsets"].as_array().cloned().unwrap_or_default();
        let listed = subsets.iter().filter_map(|it| it["addresses"].as_array()).flatten();
        let listed = listed.map(|it| text(it, "/ip").to_owned());
        listed.collect::<std::collections::BTreeSet<_>>() == addresses
            && subsets.iter().all(|it| it["ports"].as_array().is_some_and(|all| all.len() == 2))
    });
}

/// A slice of somebody's own.
fn own_slice(name: &str, service: &str, ports: &Value, addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> =
        addresses.iter().map(|address| json!({"addresses": [address]})).collect();
    json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
    })
}

fn slice_operations(scene: &Scene<'_>) {
    let ports = json!([{"name": "http", "port": 80, "protocol": "TCP"}]);
    scene.create("endpointslices", &own_slice("own", "x", &ports, &["10.77.1.200"]));
    let labels = json!({"metadata": {"labels": {"patched": "yes"}}});
    let patched = scene.patch("endpointslices/own", &labels);
    assert_eq!(text(&patched, "/metadata/labels/patched"), "yes");
    let mut changed = scene.get("endpointslices/own");
    changed["endpoints"] = json!([]);
    let (status, answer) = scene.request("PUT", "endpointslices/own", &changed);
    assert_eq!(status, 200, "{answer}");
    scene.delete("endpointslices/own");
    let (status, _) = scene.request("GET", "endpointslices/own", &Value::Null);
    assert_eq!(status, 404);
}

/// Two Pods, a Service without a selector, and the Pods' addresses.
fn by_hand(scene: &Scene<'_>, ports: &Value) -> (Value, Vec<String>) {
    scene.client("client", "node-1");
    let mut addresses = Vec::new();
    for (name, node) in [("pod1", "node-1"), ("pod2", "node-2")] {
        let containers = json!([
            {"name": "a", "image": "echo", "ports": [{"containerPort": 8080}, {"containerPort": 8090}]},
        ]);
        scene.pod_of(name, "by-hand", node, &json!({"containers": containers}));
        scene.ready(&[name]);
        let pod = scene.get(&format!("pods/{name}"));
        addresses.push(text(&pod, "/status/podIP").to_owned());
    }
    let body = json!({"metadata": {"name": "by-hand"}, "spec": {"ports": ports}});
    (scene.create("services", &body), addresses)
}

fn ports_in_slices(scene: &Scene<'_>) {
    let (service, addresses) =
        by_hand(scene, &json!([{"name": "a", "port": 80}, {"name": "b", "port": 81}]));
    for (name, port, address) in [("a", 8080, &addresses[0]), ("b", 8090, &addresses[1])] {
        let ports = json!([{"name": name, "port": port, "protocol": "TCP"}]);
        scene.create("endpointslices", &own_slice(name, "by-hand", &ports, &[address]));
    }
    scene.reaches("client", cluster_ip(&service, 80), &["pod1"]);
    scene.reaches("client", cluster_ip(&service, 81), &["pod2"]);
}

fn addresses_in_slices(scene: &Scene<'_>) {
    let (service, addresses) = by_hand(scene, &json!([{"name": "a", "port": 80}]));
    for (name, address) in [("a", &addresses[0]), ("b", &addresses[1])] {
        let ports = json!([{"name": "a", "port": 8080, "protocol": "TCP"}]);
        scene.create("endpointslices", &own_slice(name, "by-hand", &ports, &[address]));
    }
    scene.reaches("client", cluster_ip(&service, 80), &["pod1", "pod2"]);
}

fn pod_ips(scene: &Scene<'_>) {
    scene.client("client", "node-1");
    let pod = scene.get("pods/client");
    let ips: Vec<_> =
        pod["status"]["podIPs"].as_array().unwrap().iter().map(|it| text(it, "/ip")).collect();
    assert!(ips.len() == 2 && ips[0].contains('.') && ips[1].contains(':'), "{ips:?}");
}

/// A Service's cluster IPs, and that each leads to the Pod.
fn families(scene: &Scene<'_>, spec: &Value, wanted: &[&str]) {
    scene.client("client", "node-1");
    scene.pod("pod1", "families", "node-2", "echo");
    let service = scene.service("families", "families", spec);
    assert_eq!(service["spec"]["ipFamilies"], json!(wanted));
    let ips = service["spec"]["clusterIPs"].as_array().unwrap();
    assert_eq!(ips.len(), wanted.len());
    for (ip, family) in ips.iter().zip(wanted) {
        let ip: std::net::IpAddr = ip.as_str().unwrap().parse().unwrap();
        assert_eq!(ip.is_ipv6(), *family == "IPv6");
        scene.reaches("client", SocketAddr::new(ip, 80), &["pod1"]);
    }
    assert_eq!(slices_of(scene, "families").len(), wanted.len());
}

fn one_family(scene: &Scene<'_>, family: &str) {
    families(scene, &json!({"ipFamilies": [family]}), &[family]);
}

fn both_families(scene: &Scene<'_>, wanted: &[&str]) {
    let spec = json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": wanted});
    families(scene, &spec, wanted);
}

fn pods_of_both_families(scene: &Scene<'_>) {
    scene.client("client", "node-1");
    scene.pod("pod1", "both", "node-2", "echo");
    scene.ready(&["pod1"]);
    let pod = scene.get("pods/pod1");
    for ip in pod["status"]["podIPs"].as_array().unwrap() {
        let at = SocketAddr::new(text(ip, "/ip").parse().unwrap(), 8080);
        assert_eq!(scene.ask_surely("client", at).server(), Some("pod1"), "{at}");
    }
}
