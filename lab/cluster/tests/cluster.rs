//! A cluster does with objects what a control plane and kubelets do.
#![allow(clippy::unwrap_used, clippy::panic)] // tests: helpers beside the test functions

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lab::{Outcome, probe, probe_http};
use lab_api::resource::{DEPLOYMENTS, ENDPOINT_SLICES, NODES, PODS, REPLICA_SETS, SERVICES};
use lab_api::{DeleteOptions, ListOptions, Object, Resource, Store, StoreOptions, WriteOptions};
use lab_cluster::{Cluster, ClusterOptions};
use model::{Family, Protocol};
use serde_json::{Value, json};

/// A cluster of two nodes.
struct Stage {
    store: Store,
    cluster: Cluster,
    // Its end ends the thread.
    _runtime: (tokio::sync::oneshot::Sender<()>, std::thread::JoinHandle<()>),
}

impl Stage {
    fn new(families: &[Family]) -> Self {
        let options = ClusterOptions { nodes: 2, families: families.to_vec() };
        let service_cidrs = options.service_cidrs();
        let store = Store::new(StoreOptions { service_cidrs, ..StoreOptions::default() }).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let cluster = Cluster::start(store.clone(), options, runtime.handle()).unwrap();
        let (over, ended) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || drop(runtime.block_on(ended)));
        Self { store, cluster, _runtime: (over, thread) }
    }

    fn create(&self, resource: &'static Resource, object: Value) {
        self.store.create(resource, "default", object, &WriteOptions::default()).unwrap();
    }

    fn list(&self, resource: &'static Resource) -> Vec<Object> {
        self.store.list(resource, Some("default"), &ListOptions::default()).unwrap().items
    }

    fn edit(&self, resource: &'static Resource, name: &str, change: impl FnOnce(&mut Value)) {
        self.store.edit(resource, "default", name, &WriteOptions::default(), change).unwrap();
    }

    fn delete(&self, resource: &'static Resource, name: &str) {
        self.store.delete(resource, "default", name, &DeleteOptions::default()).unwrap();
    }

    fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            let patience = Duration::from_secs(20);
            assert!(start.elapsed() < patience, "not within 20 s: {what}\n{}", self.all());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn all(&self) -> String {
        let objects = [&DEPLOYMENTS, &REPLICA_SETS, &PODS].map(|resource| self.list(resource));
        serde_json::to_string_pretty(&objects.map(strip)).unwrap()
    }

    /// Waits until nobody writes any more.
    fn settled(&self) {
        let start = Instant::now();
        loop {
            let before = self.store.version();
            std::thread::sleep(Duration::from_millis(400));
            if self.store.version() == before {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "never at rest\n{}", self.all());
        }
    }

    fn ready_pods(&self) -> Vec<Object> {
        let ready = |pod: &Object| {
            let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
            let mut conditions = conditions.into_iter().flatten();
            pod["metadata"]["deletionTimestamp"].is_null()
                && conditions.any(|one| one["type"] == "Ready" && one["status"] == "True")
        };
        self.list(&PODS).into_iter().filter(ready).collect()
    }

    fn ask(&self, from: &str, to: &str, port: u16) -> Outcome {
        let from = self.cluster.place(from).unwrap();
        let to = SocketAddr::new(to.parse().unwrap(), port);
        probe(&from.network, None, Protocol::Tcp, to, Duration::from_secs(3)).unwrap()
    }
}

fn strip(objects: Vec<Object>) -> Vec<Value> {
    let mut objects: Vec<Value> = objects.iter().map(|one| (**one).clone()).collect();
    for object in &mut objects {
        object["metadata"].as_object_mut().unwrap().remove("managedFields");
    }
    objects
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn deployment(replicas: u32, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "my-app", "labels": {"app": "my-app"}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "my-app"}},
            "template": {
                "metadata": {"labels": {"app": "my-app"}},
                "spec": {"containers": [{"name": "echo", "image": image}]},
            },
        },
    })
}

fn service(kind: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "my-service"},
        "spec": {
            "type": kind, "selector": {"app": "my-app"},
            "ports": [{"port": 80, "targetPort": 8080}],
        },
    })
}

#[test]
fn a_deployment_becomes_pods_that_answer_and_goes_with_them() {
    let stage = Stage::new(&[Family::V4]);
    assert_eq!(stage.cluster.places(), ["node/node-1", "node/node-2", "outside"]);
    stage.create(&DEPLOYMENTS, deployment(4, "echo"));
    stage.until("four Pods are ready", |stage| stage.ready_pods().len() == 4);
    stage.settled();
    let pods = stage.ready_pods();
    for node in ["node-1", "node-2"] {
        let here = pods.iter().filter(|pod| text(pod, "/spec/nodeName") == node);
        assert_eq!(here.count(), 2, "{node}");
    }
    for pod in &pods {
        let (name, ip) = (text(pod, "/metadata/name"), text(pod, "/status/podIP"));
        for from in ["node/node-1", "node/node-2", &format!("pod/{name}")] {
            let outcome = stage.ask(from, ip, 8080);
            assert_eq!(outcome.server(), Some(name), "from {from} to {ip}: {outcome}");
        }
        let place = stage.cluster.place(&format!("pod/{name}")).unwrap();
        let to = SocketAddr::new(ip.parse().unwrap(), 8080);
        let udp = probe(&place.network, None, Protocol::Udp, to, Duration::from_secs(3)).unwrap();
        assert_eq!(udp.answer().unwrap().server_address, to);
        let page = probe_http(&place.network, None, to, Duration::from_secs(3)).unwrap();
        assert_eq!(page.server(), Some(name), "{page}");
    }
    let done = &stage.list(&DEPLOYMENTS)[0];
    assert_eq!(done["status"]["availableReplicas"], 4, "{done:#}");
    assert_eq!(done["status"]["updatedReplicas"], 4);

    stage.edit(&DEPLOYMENTS, "my-app", |object| object["spec"]["replicas"] = 1.into());
    stage.until("one Pod is left", |stage| stage.list(&PODS).len() == 1);
    stage.until("one Pod has a network", |stage| {
        stage.cluster.places().iter().filter(|place| place.starts_with("pod/")).count() == 1
    });

    stage.delete(&DEPLOYMENTS, "my-app");
    stage.until("nothing is left", |stage| {
        stage.list(&PODS).is_empty() && stage.list(&REPLICA_SETS).is_empty()
    });
    stage.until("no Pod has a network", |stage| {
        stage.cluster.places() == ["node/node-1", "node/node-2", "outside"]
    });
}

#[test]
fn a_pod_that_has_ended_refuses_and_its_name_is_free_at_once() {
    let stage = Stage::new(&[Family::V4]);
    let pod = || {
        let spec = json!({"containers": [{"name": "c", "image": "echo"}]});
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec})
    };
    stage.create(&PODS, pod());
    stage.until("it is ready", |stage| stage.ready_pods().len() == 1);
    let ip = text(&stage.ready_pods()[0], "/status/podIP").to_owned();
    assert_eq!(stage.ask("outside", &ip, 8080).server(), Some("one"));
    stage.delete(&PODS, "one");
    stage.until("it is gone", |stage| stage.list(&PODS).is_empty());
    assert_eq!(stage.ask("outside", &ip, 8080), Outcome::Refused);
    stage.create(&PODS, pod());
    stage.until("it is ready again", |stage| stage.ready_pods().len() == 1);
    let ip = text(&stage.ready_pods()[0], "/status/podIP").to_owned();
    assert_eq!(stage.ask("outside", &ip, 8080).server(), Some("one"));
}

#[test]
fn a_rollout_replaces_every_pod_and_serves_throughout() {
    let stage = Stage::new(&[Family::V4]);
    stage.create(&DEPLOYMENTS, deployment(4, "echo"));
    stage.until("four Pods are ready", |stage| stage.ready_pods().len() == 4);
    stage.settled();
    let names = |pods: &[Object]| -> BTreeSet<String> {
        pods.iter().map(|pod| text(pod, "/metadata/name").to_owned()).collect()
    };
    let before = names(&stage.ready_pods());
    let least = Arc::new(std::sync::Mutex::new(usize::MAX));
    // What `kubectl rollout restart` writes.
    stage.edit(&DEPLOYMENTS, "my-app", |object| {
        object["spec"]["template"]["metadata"]["annotations"] =
            json!({"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"});
    });
    stage.until("all Pods are new", |stage| {
        let ready = stage.ready_pods();
        let mut least = least.lock().unwrap();
        *least = (*least).min(ready.len());
        let now = names(&ready);
        now.len() == 4 && now.is_disjoint(&before) && stage.list(&PODS).len() == 4
    });
    // maxUnavailable is 25% of 4.
    assert!(*least.lock().unwrap() >= 3, "{least:?}");
    stage.settled();
    let sets = stage.list(&REPLICA_SETS);
    let sizes: Vec<_> = sets.iter().map(|set| set["spec"]["replicas"].as_i64().unwrap()).collect();
    assert_eq!(sizes.iter().sum::<i64>(), 4, "{sizes:?}");
    let done = &stage.list(&DEPLOYMENTS)[0];
    assert_eq!(done["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "2");
    assert_eq!(done["status"]["observedGeneration"], done["metadata"]["generation"]);

    // What `kubectl rollout undo` writes: the earlier set serves again, as the third revision.
    stage.edit(&DEPLOYMENTS, "my-app", |object| {
        let metadata = object["spec"]["template"]["metadata"].as_object_mut().unwrap();
        metadata.remove("annotations");
    });
    stage.until("the earlier set has all Pods", |stage| {
        let done = &stage.list(&DEPLOYMENTS)[0];
        done["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
            && done["status"]["updatedReplicas"] == 4
            && done["status"]["replicas"] == 4
    });
    assert_eq!(stage.list(&REPLICA_SETS).len(), 2);
}

#[test]
fn slices_follow_pods_through_their_lives() {
    let stage = Stage::new(&[Family::V4, Family::V6]);
    let mut wanted = service("LoadBalancer");
    wanted["spec"]["ipFamilyPolicy"] = "RequireDualStack".into();
    stage.create(&SERVICES, wanted);
    stage.create(&DEPLOYMENTS, deployment(1, "echo:lingering"));
    let endpoints = |stage: &Stage| -> Vec<Value> {
        let slices = stage.list(&ENDPOINT_SLICES);
        let ours = slices
            .iter()
            .filter(|one| one["metadata"]["labels"]["kubernetes.io/service-name"] == "my-service");
        ours.flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default()).collect()
    };
    stage.until("one endpoint of each family", |stage| {
        endpoints(stage).iter().filter(|one| one["conditions"]["ready"] == true).count() == 2
    });
    stage.settled();
    let slices = stage.list(&ENDPOINT_SLICES);
    let types: BTreeSet<_> = slices.iter().map(|slice| text(slice, "/addressType")).collect();
    assert!(types.contains("IPv4") && types.contains("IPv6"), "{types:?}");
    let pod = &stage.ready_pods()[0];
    for one in endpoints(&stage) {
        assert_eq!(one["targetRef"]["name"], pod["metadata"]["name"]);
        assert_eq!(one["nodeName"], pod["spec"]["nodeName"]);
    }
    let balanced =
        &stage.list(&SERVICES).into_iter().find(|one| text(one, "/metadata/name") == "my-service");
    let ingress = &balanced.as_ref().unwrap()["status"]["loadBalancer"]["ingress"];
    assert_eq!(ingress[0]["ip"], "203.0.113.1");
    assert_eq!(ingress[1]["ip"], "2001:db8:1b::1");

    // It lingers: its endpoints are terminating and serving, and it answers.
    let name = text(pod, "/metadata/name").to_owned();
    stage.edit(&DEPLOYMENTS, "my-app", |object| object["spec"]["replicas"] = 0.into());
    stage.until("both endpoints are terminating", |stage| {
        let all = endpoints(stage);
        all.len() == 2
            && all.iter().all(|one| {
                one["conditions"] == json!({"ready": false, "serving": true, "terminating": true})
            })
    });
    assert_eq!(stage.ask("outside", text(pod, "/status/podIP"), 8080).server(), Some(&name[..]));
    let options = DeleteOptions { grace: Some(0), ..DeleteOptions::default() };
    stage.store.delete(&PODS, "default", &name, &options).unwrap();
    stage.until("no endpoint is left", |stage| endpoints(stage).is_empty());
    stage.until("its namespace is gone", |stage| {
        stage.cluster.place(&format!("pod/{name}")).is_err()
    });
    stage.delete(&SERVICES, "my-service");
    stage.until("the slices are gone", |stage| {
        let slices = stage.list(&ENDPOINT_SLICES);
        slices.iter().all(|one| !text(one, "/metadata/name").starts_with("my-service"))
    });
}

#[test]
fn names_of_images_choose_behaviour_and_nodes_are_chosen_by_what_pods_ask() {
    let stage = Stage::new(&[Family::V4]);
    let pod = |name: &str, image: &str, spec: Value| {
        let mut all = json!({"containers": [{"name": "c", "image": image}]});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": all})
    };
    let on_2 = json!({"nodeSelector": {"kubernetes.io/hostname": "node-2"}});
    stage.create(&PODS, pod("refusing", "refusing", on_2.clone()));
    stage.create(&PODS, pod("unready", "echo:unready", on_2.clone()));
    stage.create(&PODS, pod("web", "nginx:1.27", on_2));
    stage.create(&PODS, pod("slow", "echo-slow", json!({})));
    stage.create(&PODS, pod("own", "httpd", json!({"hostNetwork": true, "nodeName": "node-1"})));
    stage.create(&PODS, pod("nowhere", "echo", json!({"nodeSelector": {"no": "such"}})));
    let ip = |name: &str| {
        let pod = stage.store.get(&PODS, "default", name).unwrap();
        text(&pod, "/status/podIP").to_owned()
    };
    stage.until("five Pods run", |stage| {
        stage.list(&PODS).iter().filter(|pod| pod["status"]["phase"] == "Running").count() == 5
    });
    stage.until("four of them are ready", |stage| stage.ready_pods().len() == 4);
    stage.settled();
    for name in ["refusing", "unready", "web"] {
        let pod = stage.store.get(&PODS, "default", name).unwrap();
        assert_eq!(text(&pod, "/spec/nodeName"), "node-2", "{name}");
    }
    assert_eq!(stage.ask("outside", &ip("refusing"), 8080), Outcome::Refused);
    assert_eq!(stage.ask("outside", &ip("unready"), 8080).server(), Some("unready"));
    assert_eq!(stage.ask("outside", &ip("web"), 80).server(), Some("web"));
    assert_eq!(ip("own"), "10.9.0.1");
    assert_eq!(stage.ask("outside", "10.9.0.1", 80).server(), Some("own"));
    let start = Instant::now();
    assert_eq!(stage.ask("outside", &ip("slow"), 8080).server(), Some("slow"));
    assert!(start.elapsed() >= Duration::from_secs(1));
    let nowhere = stage.store.get(&PODS, "default", "nowhere").unwrap();
    assert_eq!(text(&nowhere, "/status/phase"), "Pending");

    // A Node that takes no more Pods gets none.
    let cordon = |object: &mut Value| object["spec"]["unschedulable"] = true.into();
    stage.store.edit(&NODES, "", "node-1", &WriteOptions::default(), cordon).unwrap();
    stage.create(&PODS, pod("late", "echo", json!({})));
    stage.until("it runs", |stage| {
        let pod = stage.store.get(&PODS, "default", "late").unwrap();
        pod["status"]["phase"] == "Running" && pod["spec"]["nodeName"] == "node-2"
    });
}
