//! The hands that played scheduler, kubelet and controllers while the transcript was recorded.

use lab_api::resource::{
    DEPLOYMENTS, ENDPOINT_SLICES, EVENTS, NODES, PODS, REPLICA_SETS, SERVICES,
};
use lab_api::{Resource, Store, WriteOptions};
use serde_json::{Value, json};

const SET: &str = "my-app-74dfb84f6c";
const NS: &str = "default";

pub struct Hands<'a>(pub &'a Store);

fn options(subresource: Option<&'static str>) -> WriteOptions {
    WriteOptions { manager: "hands".to_owned(), subresource, ..Default::default() }
}

fn owner(kind: &str, object: &Value) -> Value {
    json!([{
        "apiVersion": object["apiVersion"], "kind": kind, "name": object["metadata"]["name"],
        "uid": object["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    }])
}

impl Hands<'_> {
    fn create(&self, resource: &'static Resource, object: Value) -> Value {
        let namespace = if resource.namespaced { NS } else { "" };
        let written = self.0.create(resource, namespace, object, &options(None)).unwrap();
        (*written.object).clone()
    }

    fn status(&self, resource: &'static Resource, name: &str, status: Value) {
        let change = |object: &mut Value| object["status"] = status;
        self.0.edit(resource, NS, name, &options(Some("status")), change).unwrap();
    }

    fn event(&self, name: &str, of: &Value, of_type: &str, reason: &str, message: &str) {
        let now = jiff_now();
        let involved = json!({
            "kind": of["kind"], "apiVersion": of["apiVersion"], "name": of["metadata"]["name"],
            "namespace": NS, "uid": of["metadata"]["uid"],
        });
        let component = format!("{}-controller", of["kind"].as_str().unwrap().to_lowercase());
        self.create(
            &EVENTS,
            json!({
                "metadata": {"name": name}, "involvedObject": involved, "type": of_type,
                "reason": reason, "message": message, "firstTimestamp": now, "lastTimestamp": now,
                "count": 1, "source": {"component": component},
            }),
        );
    }

    /// The three nodes, and an event that somebody else left behind.
    pub fn nodes(&self) {
        for index in 0..3 {
            let name = format!("node-{index}");
            self.create(
                &NODES,
                json!({
                    "metadata": {
                        "name": name,
                        "labels": {
                            "kubernetes.io/hostname": name,
                            "topology.kubernetes.io/zone": format!("z{index}"),
                        },
                        "annotations": {"node.alpha.kubernetes.io/ttl": "0"},
                    },
                    "spec": {
                        "podCIDR": format!("10.{}.0.0/16", 128 + index),
                        "taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}],
                    },
                    "status": {
                        "conditions": [{"type": "Ready", "status": "True"}],
                        "addresses": [
                            {"type": "InternalIP", "address": format!("192.0.2.{}", index + 1)},
                            {"type": "Hostname", "address": name},
                        ],
                    },
                }),
            );
        }
        let namespace = json!({
            "kind": "Namespace", "apiVersion": "v1",
            "metadata": {"name": "openshift-kube-apiserver", "uid": ""},
        });
        self.event(
            "openshift-kube-apiserver.1",
            &namespace,
            "Warning",
            "KubeAPIReadyz",
            "readyz=true",
        );
    }

    /// The Deployment controller and the ReplicaSet controller meet a new Deployment.
    pub fn deploy(&self) {
        let deployment = self.0.get(&DEPLOYMENTS, NS, "my-app").unwrap();
        let annotate = |object: &mut Value| {
            object["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "1"});
        };
        self.0.edit(&DEPLOYMENTS, NS, "my-app", &options(None), annotate).unwrap();
        let mut spec = deployment["spec"].clone();
        let labels = json!({"app": "my-app", "pod-template-hash": "74dfb84f6c"});
        spec["template"]["metadata"]["labels"] = labels.clone();
        spec["selector"]["matchLabels"] = labels.clone();
        let set = self.create(
            &REPLICA_SETS,
            json!({
                "metadata": {
                    "name": SET, "labels": labels, "ownerReferences": owner("Deployment", &deployment),
                },
                "spec": {
                    "replicas": 2, "selector": spec["selector"], "template": spec["template"],
                },
            }),
        );
        for (index, suffix) in ["7tc2t", "jvjvd"].into_iter().enumerate() {
            self.pod(suffix);
            let message = format!("Created pod: {SET}-{suffix}");
            self.event(&format!("{SET}.{index}"), &set, "Normal", "SuccessfulCreate", &message);
        }
        let message = format!("Scaled up replica set {SET} from 0 to 2");
        self.event("my-app.1", &deployment, "Normal", "ScalingReplicaSet", &message);
        self.counts(2, 0);
    }

    fn pod(&self, suffix: &str) {
        let set = self.0.get(&REPLICA_SETS, NS, SET).unwrap();
        let template = &set["spec"]["template"];
        self.create(
            &PODS,
            json!({
                "metadata": {
                    "name": format!("{SET}-{suffix}"), "labels": template["metadata"]["labels"],
                    "ownerReferences": owner("ReplicaSet", &set),
                },
                "spec": template["spec"],
            }),
        );
    }

    fn counts(&self, wanted: i64, ready: i64) {
        let change = |object: &mut Value| object["spec"]["replicas"] = wanted.into();
        self.0.edit(&REPLICA_SETS, NS, SET, &options(None), change).unwrap();
        let generation = |resource: &'static Resource, name: &str| {
            self.0.get(resource, NS, name).unwrap()["metadata"]["generation"].clone()
        };
        self.status(
            &REPLICA_SETS,
            SET,
            json!({
                "replicas": wanted, "fullyLabeledReplicas": wanted, "readyReplicas": ready,
                "availableReplicas": ready, "observedGeneration": generation(&REPLICA_SETS, SET),
            }),
        );
        let condition = |of_type: &str, reason: &str| {
            let now = jiff_now();
            json!({
                "type": of_type, "status": "True", "reason": reason, "lastUpdateTime": now,
                "lastTransitionTime": now,
            })
        };
        self.status(
            &DEPLOYMENTS,
            "my-app",
            json!({
                "observedGeneration": generation(&DEPLOYMENTS, "my-app"), "replicas": wanted,
                "updatedReplicas": wanted, "readyReplicas": ready, "availableReplicas": ready,
                "unavailableReplicas": wanted - ready,
                "conditions": [
                    condition("Available", "MinimumReplicasAvailable"),
                    condition("Progressing", "NewReplicaSetAvailable"),
                ],
            }),
        );
    }

    /// Scheduler and kubelets bring the first two Pods up.
    pub fn start(&self) {
        for (index, suffix) in ["7tc2t", "jvjvd"].into_iter().enumerate() {
            let name = format!("{SET}-{suffix}");
            self.0.bind(NS, &name, &format!("node-{index}")).unwrap();
            self.status(
                &PODS,
                &name,
                json!({
                    "phase": "Running", "podIP": format!("10.{}.0.10", 128 + index),
                    "hostIP": format!("192.0.2.{}", index + 1),
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "containerStatuses": [{
                        "name": "echo", "ready": true, "restartCount": 0, "image": "example/echo:1",
                        "imageID": "", "state": {"running": {"startedAt": jiff_now()}},
                    }],
                }),
            );
        }
        self.counts(2, 2);
        self.slice("my-service", "44hdn");
    }

    /// The EndpointSlice controller meets a Service.
    pub fn slice(&self, service: &str, suffix: &str) {
        let service = self.0.get(&SERVICES, NS, service).unwrap();
        let name = service["metadata"]["name"].as_str().unwrap();
        let endpoint = |index: usize, suffix: &str| {
            json!({
                "addresses": [format!("10.{}.0.10", 128 + index)],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": format!("node-{index}"), "zone": format!("z{index}"),
                "targetRef": {
                    "kind": "Pod", "namespace": NS, "name": format!("{SET}-{suffix}"),
                },
            })
        };
        let manager = "endpointslice-controller.k8s.io";
        self.create(
            &ENDPOINT_SLICES,
            json!({
                "metadata": {
                    "name": format!("{name}-{suffix}"), "generateName": format!("{name}-"),
                    "labels": {
                        "kubernetes.io/service-name": name,
                        "endpointslice.kubernetes.io/managed-by": manager,
                    },
                    "annotations": {
                        "endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z",
                    },
                    "ownerReferences": owner("Service", &service),
                },
                "addressType": "IPv4",
                "endpoints": [endpoint(0, "7tc2t"), endpoint(1, "jvjvd")],
                "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
            }),
        );
    }

    /// The Deployment wants three, and the third Pod finds no node.
    pub fn scale(&self) {
        self.pod("pnbz8");
        self.counts(3, 2);
    }
}

fn jiff_now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
