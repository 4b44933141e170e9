use serde_json::{Value, json};

use super::cells::{columns, row};
use super::*;
use crate::resource::{ALL, SERVICES};

fn cells(kind: &str, object: Value) -> Vec<String> {
    let now = "2026-01-01T00:01:30Z".parse().unwrap();
    let mut object = object;
    object["metadata"]["name"] = "a".into();
    object["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    let text = |cell: Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
    row(kind, &object, now).into_iter().map(text).collect()
}

#[test]
fn every_kind_fills_its_columns() {
    for resource in ALL {
        let cells = cells(resource.kind, json!({}));
        assert_eq!(cells.len(), columns(resource.kind).len(), "{}", resource.kind);
    }
}

#[test]
fn services_show_where_they_are_reached() {
    let service =
        |spec: Value, status: Value| cells("Service", json!({"spec": spec, "status": status}));
    let ports = json!([{"port": 80, "protocol": "TCP", "nodePort": 30080}, {"port": 53, "protocol": "UDP"}]);
    let spec = json!({
        "type": "LoadBalancer", "clusterIPs": ["10.0.0.1"], "ports": ports, "selector": {"a": "b"},
    });
    let shown = service(spec.clone(), json!({}));
    let expected =
        ["a", "LoadBalancer", "10.0.0.1", "<pending>", "80:30080/TCP,53/UDP", "90s", "a=b"];
    assert_eq!(shown, expected);
    let given =
        json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}, {"hostname": "x.example"}]}});
    assert_eq!(service(spec, given)[3], "192.0.2.9,x.example");
    let shown = service(json!({"type": "ExternalName", "externalName": "db.example"}), json!({}));
    assert_eq!(shown[2..5], ["<none>", "db.example", "<none>"]);
}

#[test]
fn pods_show_how_they_are() {
    let pod = |metadata: Value, status: Value| {
        let spec = json!({"containers": [{}, {}], "nodeName": "n"});
        cells("Pod", json!({"metadata": metadata, "spec": spec, "status": status}))
    };
    let running = json!({"ready": true, "restartCount": 0, "state": {"running": {}}});
    let crashed = json!({
        "ready": false, "restartCount": 2,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"finishedAt": "2026-01-01T00:01:00Z"}},
    });
    let status =
        json!({"phase": "Running", "podIP": "10.1.0.1", "containerStatuses": [running, crashed]});
    let shown = pod(json!({}), status.clone());
    assert_eq!(
        shown,
        ["a", "1/2", "CrashLoopBackOff", "2 (30s ago)", "90s", "10.1.0.1", "n", "<none>", "<none>"]
    );
    let shown = pod(json!({"deletionTimestamp": "2026-01-01T00:02:00Z"}), status);
    assert_eq!(shown[2], "Terminating");
}

#[test]
fn slices_show_three_and_count_the_rest() {
    let endpoint = |last: u8| json!({"addresses": [format!("10.0.0.{last}")]});
    let endpoints: Vec<_> = (1..=5).map(endpoint).collect();
    let ports = json!([{"port": 80}, {}]);
    let shown = cells(
        "EndpointSlice",
        json!({"addressType": "IPv4", "endpoints": endpoints, "ports": ports}),
    );
    let few = "10.0.0.1,10.0.0.2,10.0.0.3 + 2 more...";
    assert_eq!(shown[1..4], ["IPv4", "80,*", few]);
    let shown = cells("EndpointSlice", json!({"addressType": "IPv4", "endpoints": null}));
    assert_eq!(shown[2..4], ["<unset>", "<unset>"]);
}

#[test]
fn nodes_and_policies_are_summed_up() {
    let node = json!({
        "metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}},
        "spec": {"unschedulable": true},
        "status": {
            "conditions": [{"type": "Ready", "status": "False"}],
            "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
        },
    });
    let shown = cells("Node", node);
    assert_eq!(shown[1..3], ["NotReady,SchedulingDisabled", "control-plane"]);
    assert_eq!(shown[5..7], ["192.0.2.1", "<none>"]);
    let expressions = json!([{"key": "x", "operator": "In", "values": ["b", "a"]}, {"key": "y", "operator": "DoesNotExist"}]);
    let selector = json!({"matchLabels": {"k": "v"}, "matchExpressions": expressions});
    let shown = cells("NetworkPolicy", json!({"spec": {"podSelector": selector}}));
    assert_eq!(shown[1], "k=v,x in (a,b),!y");
}

#[test]
fn a_table_has_its_columns_and_the_metadata_of_each_row() {
    let object = json!({"metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {}});
    let now = Timestamp::now();
    let whole = |include| {
        table(&SERVICES, [&object].into_iter(), json!({"resourceVersion": "7"}), include, now)
    };
    let table = whole(Include::Metadata);
    assert_eq!(table["columnDefinitions"][0]["format"], "name");
    assert_eq!(table["columnDefinitions"][6]["priority"], 1);
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(table["rows"][0]["object"]["metadata"]["labels"]["x"], "y");
    assert_eq!(table["metadata"]["resourceVersion"], "7");
    assert_eq!(whole(Include::Object)["rows"][0]["object"], object);
    assert_eq!(whole(Include::None)["rows"][0].get("object"), None);
}
