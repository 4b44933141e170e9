//! The Kubernetes API as a source, against a server that says what each test tells it to.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod config;
mod events;
mod faults;
mod fields;
mod first_word;
mod policy;
mod recordings;
mod server;

use std::time::Duration;

use intake::Delivery;
use intake::api::{ApiOptions, ApiSource, PolicyDecision, Timing, WatchStates};
use model::{Cluster, NamespacedName, Notice};
use server::Server;
use tokio::sync::{mpsc, watch};

/// Short waits, so that a fault costs a test milliseconds.
pub fn timing() -> Timing {
    Timing {
        silence: Duration::from_secs(5),
        list_silence: Duration::from_secs(5),
        first_wait: Duration::from_millis(10),
        longest_wait: Duration::from_millis(40),
        relist_spread: Duration::from_millis(20),
        short_watch: Duration::from_secs(1),
        refused_again: Duration::from_secs(60),
        watch_length: Duration::from_secs(60),
        overrun: Duration::from_secs(30),
    }
}

/// What a source has delivered so far.
pub struct Reader {
    pub cluster: Cluster,
    pub notices: Vec<Notice>,
    pub complete: bool,
    pub deliveries: usize,
    pub states: watch::Receiver<WatchStates>,
    pub decisions: watch::Receiver<Option<PolicyDecision>>,
    receiver: mpsc::Receiver<Delivery>,
}

pub fn options(server: &Server) -> ApiOptions {
    ApiOptions { kubeconfig: None, master: Some(server.url.clone()), node_name: "node-0".into() }
}

impl Reader {
    pub async fn start(server: &Server, timing: Timing) -> Self {
        Self::with(options(server), timing).await
    }

    pub async fn with(options: ApiOptions, timing: Timing) -> Self {
        Self::of(ApiSource::new(options).await.unwrap().with_timing(timing))
    }

    pub fn of(source: ApiSource) -> Self {
        let (states, decisions) = (source.states(), source.policy_decision());
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(source.run(sender));
        Self {
            cluster: Cluster::default(),
            notices: Vec::new(),
            complete: false,
            deliveries: 0,
            states,
            decisions,
            receiver,
        }
    }

    /// Takes deliveries until a condition holds.
    pub async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let limit = tokio::time::sleep(Duration::from_secs(20));
        tokio::pin!(limit);
        while !done(self) {
            tokio::select! {
                () = &mut limit => panic!(
                    "never: {what}; {:?} notices {:?} states {:?}",
                    self.services(), self.notices, self.states.borrow()
                ),
                delivery = self.receiver.recv() => self.take(delivery.expect("the source ended")),
                // A condition may also be about what the server saw, or about the states.
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
    }

    pub async fn until_complete(&mut self) {
        self.until("complete", |reader| reader.complete).await;
    }

    /// Takes deliveries for a while.
    pub async fn during(&mut self, time: Duration) {
        let end = tokio::time::sleep(time);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return,
                delivery = self.receiver.recv() => self.take(delivery.expect("the source ended")),
            }
        }
    }

    fn take(&mut self, delivery: Delivery) {
        assert!(delivery.complete || !self.complete, "complete is not taken back");
        self.complete = delivery.complete;
        self.deliveries += 1;
        self.notices.extend(delivery.notices);
        for change in delivery.changes {
            self.cluster.apply(change);
        }
    }

    /// The names of the Services that are known.
    pub fn services(&self) -> Vec<String> {
        self.cluster.services().keys().map(ToString::to_string).collect()
    }

    /// What went wrong last with a kind.
    pub fn failure(&self, kind: intake::api::Kind) -> Option<String> {
        self.states.borrow()[&kind].failure.clone()
    }

    pub fn has(&self, name: &str) -> bool {
        self.cluster.service(&NamespacedName::new("shop", name)).is_some()
    }
}

/// A Service of the namespace `shop`.
pub fn service(name: &str, version: u64) -> serde_json::Value {
    serde_json::json!({
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": version.to_string()},
        "spec": {"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ipFamilies": ["IPv4"],
            "ports": [{"port": 80}]},
    })
}
