//! Names: what a Pod resolves.

use serde_json::json;

use super::Scenario;
use super::scene::{Scene, text};

const GROUP: &str = "DNS";

pub(super) const ALL: &[Scenario] = &[
    (GROUP, "should provide DNS for the cluster", cluster),
    (GROUP, "should provide DNS for services", services),
    (GROUP, "should resolve DNS of partial qualified names for services", partial),
    (GROUP, "should provide DNS for pods for Hostname", hostname),
    (GROUP, "should provide DNS for pods for Subdomain", subdomain),
    (GROUP, "should provide DNS for ExternalName services", external_name),
];

/// The addresses of a name as a Pod's resolver finds them.
fn resolve(scene: &Scene<'_>, name: &str) -> Option<String> {
    scene.exec("client", &format!("getent ahosts {name}"))
}

fn resolves(scene: &Scene<'_>, name: &str, address: &str) {
    scene.until(&format!("{name} is {address}"), || {
        resolve(scene, name).is_some_and(|said| said.split_whitespace().any(|it| it == address))
    });
}

fn cluster(scene: &Scene<'_>) {
    scene.client("client", "node-1");
    // The API's own Service has the first address of the block.
    resolves(scene, "kubernetes.default", "10.96.0.1");
    resolves(scene, "kubernetes.default.svc.cluster.local", "10.96.0.1");
    assert_eq!(resolve(scene, "no-such-service.default"), None);
}

fn services(scene: &Scene<'_>) {
    scene.client("client", "node-1");
    let service = scene.service("plain", "plain", &json!({}));
    scene.pod("pod1", "headless", "node-2", "echo");
    scene.service("headless", "headless", &json!({"clusterIP": "None"}));
    scene.ready(&["pod1"]);
    let pod = scene.get("pods/pod1");
    let full = |name: &str| format!("{name}.{}.svc.cluster.local", scene.namespace);
    resolves(scene, &full("plain"), text(&service, "/spec/clusterIP"));
    resolves(scene, &full("headless"), text(&pod, "/status/podIP"));
}

fn partial(scene: &Scene<'_>) {
    scene.client("client", "node-1");
    let service = scene.service("plain", "plain", &json!({}));
    let address = text(&service, "/spec/clusterIP");
    for name in [
        "plain".to_owned(),
        format!("plain.{}", scene.namespace),
        format!("plain.{}.svc", scene.namespace),
    ] {
        resolves(scene, &name, address);
    }
}

/// A Pod with a host name of its own behind a headless Service.
fn named_pod(scene: &Scene<'_>) -> (String, String) {
    scene.client("client", "node-1");
    scene.service("sub", "sub", &json!({"clusterIP": "None"}));
    let spec = json!({
        "hostname": "own", "subdomain": "sub",
        "containers": [{"name": "c", "image": "echo"}],
    });
    scene.pod_of("pod1", "sub", "node-2", &spec);
    scene.ready(&["pod1"]);
    let address = text(&scene.get("pods/pod1"), "/status/podIP").to_owned();
    (format!("own.sub.{}.svc.cluster.local", scene.namespace), address)
}

fn hostname(scene: &Scene<'_>) {
    let (name, address) = named_pod(scene);
    resolves(scene, &name, &address);
    assert_eq!(resolve(scene, &name.replace("own.", "another.")), None);
}

fn subdomain(scene: &Scene<'_>) {
    let (name, address) = named_pod(scene);
    resolves(scene, name.trim_start_matches("own."), &address);
    resolves(scene, &name, &address);
}

fn external_name(scene: &Scene<'_>) {
    scene.client("client", "node-1");
    let target = scene.service("target", "target", &json!({}));
    let name = format!("target.{}.svc.cluster.local", scene.namespace);
    let spec = json!({"type": "ExternalName", "externalName": name});
    scene.create("services", &json!({"metadata": {"name": "other"}, "spec": spec}));
    resolves(scene, "other", text(&target, "/spec/clusterIP"));
    let spec = json!({"type": "ClusterIP", "externalName": null, "ports": [{"port": 80}]});
    let changed = scene.patch("services/other", &json!({"spec": spec}));
    resolves(scene, "other", text(&changed, "/spec/clusterIP"));
}
