//! Connections that outlast a change, and what else the kernel keeps.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::{Value, json};

use super::Scenario;
use super::scene::{Scene, cluster_ip, node_ip, node_port, text};

const CONNTRACK: &str = "Conntrack";
const NETWORKING: &str = "Networking";
const LIFECYCLE: &str = "Pods Lifecycle";

pub(super) const ALL: &[Scenario] = &[
    (
        CONNTRACK,
        "should be able to preserve UDP traffic when server pod cycles for a NodePort service",
        |scene| {
            let service = udp(scene, &json!({"type": "NodePort"}));
            cycles(scene, "client", node_port(&service, 1, 0));
        },
    ),
    (
        CONNTRACK,
        "should be able to preserve UDP traffic when server pod cycles for a ClusterIP service",
        |scene| {
            let service = udp(scene, &json!({}));
            cycles(scene, "client", cluster_ip(&service, 80));
        },
    ),
    (
        CONNTRACK,
        "should be able to preserve UDP traffic when server pod cycles for a ClusterIP service and \
         client is hostNetwork",
        |scene| {
            let service = udp(scene, &json!({}));
            cycles(scene, "node/node-1", cluster_ip(&service, 80));
        },
    ),
    (
        CONNTRACK,
        "should be able to preserve UDP traffic with internalTrafficPolicy=Local",
        |scene| {
            let service = udp(scene, &json!({"internalTrafficPolicy": "Local"}));
            cycles(scene, "client", cluster_ip(&service, 80));
        },
    ),
    (
        CONNTRACK,
        "should be able to preserve UDP traffic when initial unready endpoints get ready",
        unready_gets_ready,
    ),
    (
        CONNTRACK,
        "should be able to preserve UDP traffic when a Service's target port changes",
        target_port,
    ),
    (
        NETWORKING,
        "Granular Checks: Pods should function for intra-pod communication: http",
        |scene| direct(scene, "client", false),
    ),
    (
        NETWORKING,
        "Granular Checks: Pods should function for intra-pod communication: udp",
        |scene| direct(scene, "client", true),
    ),
    (
        NETWORKING,
        "Granular Checks: Pods should function for node-pod communication: http",
        |scene| direct(scene, "node/node-1", false),
    ),
    (
        NETWORKING,
        "Granular Checks: Pods should function for node-pod communication: udp",
        |scene| direct(scene, "node/node-1", true),
    ),
    (NETWORKING, "Granular Checks: Services should function for pod-Service: http", |scene| {
        granular(scene, &["client"], false)
    }),
    (NETWORKING, "Granular Checks: Services should function for pod-Service: udp", |scene| {
        granular(scene, &["client"], true)
    }),
    (NETWORKING, "Granular Checks: Services should function for node-Service: http", |scene| {
        granular(scene, &["node/node-1", "node/node-3"], false)
    }),
    (NETWORKING, "Granular Checks: Services should function for node-Service: udp", |scene| {
        granular(scene, &["node/node-1", "node/node-3"], true)
    }),
    (NETWORKING, "Granular Checks: Services should function for endpoint-Service: http", |scene| {
        granular(scene, &["pod1", "pod2"], false)
    }),
    (NETWORKING, "Granular Checks: Services should function for endpoint-Service: udp", |scene| {
        granular(scene, &["pod1", "pod2"], true)
    }),
    (
        NETWORKING,
        "Granular Checks: Services should function for multiple endpoint-Services with same selector",
        same_selector,
    ),
    (NETWORKING, "Granular Checks: Services should update endpoints: http", |scene| {
        endpoints_change(scene, false)
    }),
    (NETWORKING, "Granular Checks: Services should update endpoints: udp", |scene| {
        endpoints_change(scene, true)
    }),
    (NETWORKING, "Granular Checks: Services should update nodePort: http", node_port_goes),
    (
        NETWORKING,
        "Granular Checks: Services should function for service endpoints using hostNetwork",
        host_endpoints,
    ),
    (LIFECYCLE, "should be able to connect from a Pod to a terminating Pod", to_ending_pod),
    (LIFECYCLE, "should be able to connect to other Pod from a terminating Pod", from_ending_pod),
    (
        LIFECYCLE,
        "should be able to have zero downtime on a Blue Green deployment using Services",
        blue_green,
    ),
];

pub(super) const ALONE: &[Scenario] = &[
    (NETWORKING, "should recreate its iptables rules if they are deleted", rules_deleted),
    ("Services", "should work after the service-proxy is restarted", restarted),
];

/// A UDP Service without Pods, and a client.
fn udp(scene: &Scene<'_>, spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec["ports"] = json!([{"port": 80, "targetPort": 8080, "protocol": "UDP"}]);
    scene.client("client", "node-1");
    scene.service("datagrams", "datagrams", &spec)
}

/// Datagrams of one socket find the Pod of the day, whatever became of the one before.
fn cycles(scene: &Scene<'_>, from: &str, at: SocketAddr) {
    // Nodes ask from a port of the scenario's own, for others ask from there too.
    let port = 20000
        + scene.namespace.bytes().map(u16::from).sum::<u16>() % 1000 * 10
        + scene.namespace.bytes().last().map_or(0, u16::from) % 10;
    let ask = || scene.ask_udp(from, port, at);
    // Before there is a Pod, so that an entry without translation is there.
    for _ in 0..3 {
        assert_eq!(ask().server(), None);
    }
    let answered_by = |pod: &str| {
        scene.until(&format!("{pod} answers"), || ask().server() == Some(pod));
    };
    scene.pod("server-1", "datagrams", "node-1", "echo");
    answered_by("server-1");
    scene.pod("server-2", "datagrams", "node-1", "echo");
    scene.ready(&["server-2"]);
    scene.delete("pods/server-1");
    answered_by("server-2");
    scene.delete("pods/server-2");
    scene.until("nobody answers", || ask().server().is_none());
    scene.pod("server-3", "datagrams", "node-1", "echo");
    answered_by("server-3");
}

fn unready_gets_ready(scene: &Scene<'_>) {
    let at = cluster_ip(&udp(scene, &json!({})), 80);
    let spec = json!({"containers": [{
        "name": "c", "image": "echo", "readinessProbe": {"initialDelaySeconds": 2, "tcpSocket": {"port": 8080}},
    }]});
    scene.pod_of("server", "datagrams", "node-2", &spec);
    let ask = || scene.ask_udp("client", 12345, at);
    assert_eq!(ask().server(), None);
    scene.until("it answers once it is ready", || ask().server() == Some("server"));
}

fn target_port(scene: &Scene<'_>) {
    let at = cluster_ip(&udp(scene, &json!({})), 80);
    let port = |name: &str, number: u16| json!({"name": name, "image": "echo", "ports": [{"containerPort": number, "protocol": "UDP"}]});
    let spec = json!({"containers": [port("one", 8080), port("two", 9090)]});
    scene.pod_of("server", "datagrams", "node-2", &spec);
    let at_port = |wanted: u16| {
        scene.until(&format!("port {wanted} answers"), || {
            let outcome = scene.ask_udp("client", 12345, at);
            outcome.answer().is_some_and(|answer| answer.server_address.port() == wanted)
        });
    };
    at_port(8080);
    let ports = json!([{"port": 80, "targetPort": 9090, "protocol": "UDP"}]);
    scene.patch("services/datagrams", &json!({"spec": {"ports": ports}}));
    at_port(9090);
}

/// Pods by their own addresses: no Service is in between.
fn direct(scene: &Scene<'_>, from: &str, udp: bool) {
    scene.client("client", "node-1");
    for number in 1..=3 {
        let name = format!("pod{number}");
        scene.pod(&name, "direct", &format!("node-{number}"), "echo");
        scene.ready(&[&name]);
        let pod = scene.get(&format!("pods/{name}"));
        let at = SocketAddr::new(text(&pod, "/status/podIP").parse().unwrap(), 8080);
        if udp {
            scene.reaches_udp(from, at, &[&name]);
        } else {
            scene.reaches(from, at, &[&name]);
        }
    }
}

/// Two Pods behind a cluster IP and a NodePort, and a client.
fn granular_stage(scene: &Scene<'_>) -> Value {
    scene.client("client", "node-1");
    scene.pod("pod1", "granular", "node-1", "echo");
    scene.pod("pod2", "granular", "node-2", "echo");
    scene.ready(&["pod1", "pod2"]);
    let ports = json!([
        {"name": "http", "port": 80, "targetPort": 8080},
        {"name": "udp", "port": 90, "targetPort": 8080, "protocol": "UDP"},
    ]);
    scene.service("granular", "granular", &json!({"type": "NodePort", "ports": ports}))
}

fn granular(scene: &Scene<'_>, from: &[&str], udp: bool) {
    let service = granular_stage(scene);
    for from in from {
        let places: Vec<SocketAddr> = if udp {
            vec![cluster_ip(&service, 90), node_port(&service, 1, 1), node_port(&service, 3, 1)]
        } else {
            vec![cluster_ip(&service, 80), node_port(&service, 1, 0), node_port(&service, 3, 0)]
        };
        for at in places {
            if udp {
                scene.reaches_udp(from, at, &["pod1", "pod2"]);
            } else {
                scene.reaches(from, at, &["pod1", "pod2"]);
            }
        }
    }
}

fn same_selector(scene: &Scene<'_>) {
    let first = granular_stage(scene);
    let second = scene.service("second", "granular", &json!({}));
    scene.reaches("client", cluster_ip(&first, 80), &["pod1", "pod2"]);
    scene.reaches("client", cluster_ip(&second, 80), &["pod1", "pod2"]);
    scene.delete("services/second");
    scene.unreached("client", cluster_ip(&second, 80));
    scene.reaches("client", cluster_ip(&first, 80), &["pod1", "pod2"]);
}

fn endpoints_change(scene: &Scene<'_>, udp: bool) {
    let service = granular_stage(scene);
    let at = cluster_ip(&service, if udp { 90 } else { 80 });
    let reaches = |pods: &[&str]| {
        if udp { scene.reaches_udp("client", at, pods) } else { scene.reaches("client", at, pods) }
    };
    reaches(&["pod1", "pod2"]);
    scene.delete("pods/pod1");
    reaches(&["pod2"]);
}

fn node_port_goes(scene: &Scene<'_>) {
    let service = granular_stage(scene);
    let at = node_port(&service, 2, 0);
    scene.reaches("client", at, &["pod1", "pod2"]);
    scene.delete("services/granular");
    scene.unreached("client", at);
}

fn host_endpoints(scene: &Scene<'_>) {
    let ports = json!([{"port": 80, "targetPort": 10280}]);
    let service = scene.service("hosts", "hosts", &json!({"type": "NodePort", "ports": ports}));
    for number in [1, 2] {
        let port = json!({"containerPort": 10280});
        let spec = json!({
            "hostNetwork": true,
            "containers": [{"name": "c", "image": "echo", "ports": [port]}],
        });
        scene.pod_of(&format!("host{number}"), "hosts", &format!("node-{number}"), &spec);
    }
    scene.client("client", "node-1");
    let hosts = ["host1", "host2"];
    scene.reaches("client", cluster_ip(&service, 80), &hosts);
    scene.reaches("node/node-1", cluster_ip(&service, 80), &hosts);
    scene.reaches("client", node_port(&service, 1, 0), &hosts);
}

fn ending_pod(scene: &Scene<'_>, name: &str, node: &str) -> SocketAddr {
    let spec = json!({
        "terminationGracePeriodSeconds": 60,
        "containers": [{"name": "c", "image": "echo:lingering"}],
    });
    scene.pod_of(name, "ending", node, &spec);
    scene.ready(&[name]);
    let pod = scene.get(&format!("pods/{name}"));
    scene.delete(&format!("pods/{name}"));
    SocketAddr::new(text(&pod, "/status/podIP").parse().unwrap(), 8080)
}

fn to_ending_pod(scene: &Scene<'_>) {
    scene.client("client", "node-1");
    let at = ending_pod(scene, "ending", "node-2");
    assert_eq!(scene.ask_surely("client", at).server(), Some("ending"));
    scene.delete("pods/ending?gracePeriodSeconds=0");
}

fn from_ending_pod(scene: &Scene<'_>) {
    let service = granular_stage(scene);
    ending_pod(scene, "ending", "node-2");
    scene.reaches("ending", cluster_ip(&service, 80), &["pod1", "pod2"]);
    scene.delete("pods/ending?gracePeriodSeconds=0");
}

/// While requests go on, the Service is turned from one set of Pods to another, and back.
fn blue_green(scene: &Scene<'_>) {
    scene.client("client", "node-1");
    for (name, node) in [("blue", "node-1"), ("green", "node-2")] {
        scene.pod(name, name, node, "echo");
        scene.ready(&[name]);
    }
    let at = cluster_ip(&scene.service("turned", "blue", &json!({})), 80);
    scene.reaches("client", at, &["blue"]);
    let (over, asked) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut lost = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let outcome = scene.ask_surely("client", at);
                asked.fetch_add(1, Ordering::Relaxed);
                lost.extend(outcome.server().is_none().then(|| outcome.to_string()));
            }
            lost
        });
        for turn in 0..4 {
            let app = if turn % 2 == 0 { "green" } else { "blue" };
            scene.patch("services/turned", &json!({"spec": {"selector": {"app": app}}}));
            scene.reaches("client", at, &[app]);
        }
        over.store(true, Ordering::Relaxed);
        let lost = asking.join().unwrap();
        assert!(lost.is_empty(), "{} of {asked:?} requests: {lost:?}", lost.len());
    });
    assert!(asked.into_inner() > 10);
}

/// Rules that somebody deletes come back without a word from the API.
fn rules_deleted(scene: &Scene<'_>) {
    let service = granular_stage(scene);
    let at = node_port(&service, 1, 0);
    scene.reaches("outside", at, &["pod1", "pod2"]);
    let delete = match scene.cluster.mode {
        "iptables" => "iptables -t nat -F KUBE-SERVICES",
        _ => "nft delete table ip pointsman",
    };
    scene.exec("node/node-1", delete).unwrap();
    scene.reaches("outside", at, &["pod1", "pod2"]);
    scene.reaches("client", cluster_ip(&service, 80), &["pod1", "pod2"]);
}

/// The agent of a node is killed: rules stay, another agent starts, and takes up the work.
fn restarted(scene: &Scene<'_>) {
    let service = granular_stage(scene);
    let at = cluster_ip(&service, 80);
    scene.reaches("client", at, &["pod1", "pod2"]);
    let agent = scene.cluster.stage.agent("node-1").unwrap();
    nix::sys::signal::kill(agent, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert!(scene.ask_surely("client", at).server().is_some(), "rules outlive their agent");
    scene.delete("pods/pod1");
    scene.reaches("client", at, &["pod2"]);
    let status = scene.cluster.stage.good("pointsman lab status");
    assert!(status.contains("node/node-1 (agent restarted 1 time)"), "{status}");
    // Its health is told anew too.
    scene.until("it is healthy", || {
        let here = SocketAddr::new(node_ip(1), 10256);
        scene.http("outside", here, "/healthz").is_some_and(|(status, _)| status == 200)
    });
}
