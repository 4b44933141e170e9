//! The agent's own eyes: `intake` lists and watches this server as it does any other.

use std::sync::Arc;
use std::time::Duration;

use intake::api::{ApiOptions, ApiSource, Timing};
use lab_api::resource::{ENDPOINT_SLICES, NODES, SERVICE_CIDRS, SERVICES};
use lab_api::{DeleteOptions, StoreOptions, WriteOptions};
use model::{Cluster as Model, NamespacedName};
use serde_json::json;
use tokio::sync::mpsc;

use crate::kubectl::Cluster;

struct Eyes {
    cluster: Model,
    complete: bool,
    deliveries: mpsc::Receiver<intake::Delivery>,
}

impl Eyes {
    async fn open(cluster: &Cluster) -> Self {
        let options = ApiOptions {
            kubeconfig: Some(cluster.home().join("config")),
            master: None,
            node_name: Arc::from("node-0"),
        };
        let timing = Timing { relist_spread: Duration::from_millis(50), ..Timing::default() };
        let source = ApiSource::new(options).await.unwrap().with_timing(timing);
        let (sender, deliveries) = mpsc::channel(1);
        tokio::spawn(source.run(sender));
        Self { cluster: Model::default(), complete: false, deliveries }
    }

    async fn until(&mut self, what: &str, seen: impl Fn(&Self) -> bool) {
        while !seen(self) {
            let delivery = tokio::time::timeout(Duration::from_secs(20), self.deliveries.recv());
            let delivery = delivery.await.unwrap_or_else(|_| panic!("never: {what}")).unwrap();
            assert_eq!(delivery.notices, [], "{what}");
            self.complete |= delivery.complete;
            for change in delivery.changes {
                self.cluster.apply(change);
            }
        }
    }
}

fn name(name: &str) -> NamespacedName {
    NamespacedName::new("default", name)
}

fn fill(cluster: &Cluster) {
    let (store, options) = (&cluster.store, WriteOptions::default());
    let node = json!({
        "metadata": {"name": "node-0", "labels": {"topology.kubernetes.io/zone": "z"}},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
    });
    store.create(&NODES, "", node, &options).unwrap();
    let service = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}});
    store.create(&SERVICES, "default", service, &options).unwrap();
    let slice = json!({
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"port": 8080}],
        "endpoints": [{"addresses": ["10.128.0.10"], "conditions": {"ready": true}}],
    });
    store.create(&ENDPOINT_SLICES, "default", slice, &options).unwrap();
}

#[tokio::test]
async fn the_agent_sees_what_kubectl_does() {
    let cluster = Cluster::new();
    fill(&cluster);
    let mut eyes = Eyes::open(&cluster).await;
    eyes.until("the first lists", |eyes| eyes.complete).await;
    let services = eyes.cluster.services();
    assert!(services.contains_key(&name("web")) && services.contains_key(&name("kubernetes")));
    let expose = "kubectl create service nodeport np --tcp=80:8080 --node-port=30080";
    cluster.ok(expose, "");
    eyes.until("the new Service", |eyes| eyes.cluster.services().contains_key(&name("np"))).await;
    cluster.ok("kubectl delete service web", "");
    eyes.until("its end", |eyes| !eyes.cluster.services().contains_key(&name("web"))).await;
}

#[tokio::test]
async fn the_agent_lists_again_when_its_place_is_forgotten() {
    let options = StoreOptions { history: 20, ..Default::default() };
    let cluster = Cluster::with(options);
    fill(&cluster);
    let mut eyes = Eyes::open(&cluster).await;
    eyes.until("the first lists", |eyes| eyes.complete).await;
    let options = WriteOptions::default();
    for index in 0..60 {
        let name = format!("s{index}");
        let service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
        cluster.store.create(&SERVICES, "default", service, &options).unwrap();
    }
    cluster.store.delete(&SERVICES, "default", "web", &DeleteOptions::default()).unwrap();
    eyes.until("all sixty, and one less", |eyes| {
        let services = eyes.cluster.services();
        (0..60).all(|index| services.contains_key(&name(&format!("s{index}"))))
            && !services.contains_key(&name("web"))
    })
    .await;
    let blocks = cluster.store.list(&SERVICE_CIDRS, None, &Default::default()).unwrap();
    assert_eq!(blocks.items.len(), 1);
}
