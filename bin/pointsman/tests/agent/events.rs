//! What an operator finds by `kubectl get events`.

use lab_api::resource::SERVICES;
use serde_json::json;

use crate::api::Api;
use crate::stage::{Running, Stage};

#[test]
fn the_cluster_hears_of_starts_repairs_conflicts_and_taken_ports() {
    let stage = Stage::new();
    let api = Api::start(&stage.lab);
    api.create_my_service(&["10.77.1.4"]);
    // Two Services with one external address: the younger one loses.
    for (name, ip) in [("older", "10.88.0.41"), ("younger", "10.88.0.42")] {
        let object = json!({
            "metadata": {"name": name},
            "spec": {"clusterIP": ip, "ports": [{"port": 81}], "externalIPs": ["192.0.2.7"]},
        });
        api.create(&SERVICES, "default", object);
    }
    let taken = stage
        .lab
        .at("alpha")
        .unwrap()
        .run(|| std::net::TcpListener::bind("0.0.0.0:31999").unwrap());
    let balanced = json!({
        "metadata": {"name": "balanced"},
        "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "clusterIP": "10.88.0.43",
            "healthCheckNodePort": 31999, "ports": [{"port": 82}]},
    });
    api.create(&SERVICES, "default", balanced);
    let _agent = Running::start(api.pointsman(&stage));
    stage.until("my-service answers", |stage| stage.ask().is_some());
    let told = |kind: &str, name: &str, reason: &str| {
        let what = format!("{reason} of {kind} {name}");
        stage.until(&what, |_| !api.events(kind, name, reason).is_empty());
        api.events(kind, name, reason).remove(0)
    };
    told("Node", "alpha", "Starting");
    let conflict = told("Service", "younger", "Conflict");
    assert!(conflict.contains("192.0.2.7"), "{conflict}");
    assert!(api.events("Service", "older", "Conflict").is_empty());
    let clash = told("Service", "balanced", "FailedToStartServiceHealthcheck");
    assert!(clash.contains("31999"), "{clash}");
    stage.tool("iptables -t nat -F KUBE-SERVICES");
    let repaired = told("Node", "alpha", "RulesRepaired");
    assert!(repaired.contains("changed by iptables") && repaired.contains("ip nat"), "{repaired}");
    drop(taken);
}
