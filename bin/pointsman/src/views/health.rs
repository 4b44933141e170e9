//! Health, metrics and the ports where load balancers ask for endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use config::Gate;
use health::metrics::{Build, Extent, Metrics, Mode, Setup};
use health::no_local_endpoints::NoLocalEndpoints;
use health::node_port_servers::{NodePortServers, PortEvent};
use health::node_ports::{Checks, NodePorts};
use health::server::{Listen, Sources, serve};
use health::{Expectations, Health, Moment, NetworkPolicy, Pages, Status, Watch};
use intake::api::{EventSink, Kind, PolicyDecision, WatchStates};
use model::{Cluster, Family, Notice, Owner};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, warn};

use super::{Changes, Synced, View};
use crate::commands::run::runtime;
use crate::triggers::Waiting;

/// The release of Kubernetes whose kube-proxy this stands in for.
const KUBERNETES: &str = "1.36.2";
/// How many Services get traffic series of their own.
const SERVICE_SERIES: usize = 2_000;

/// What the servers are to be.
pub(crate) struct Serving {
    pub(crate) healthz: Option<SocketAddr>,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) hard_fail: bool,
    pub(crate) mode: Mode,
    /// Whether there should be a Node object (there need not be one in a folder).
    pub(crate) node_object: bool,
    /// A change that waits so long for the kernel is unhealthy.
    pub(crate) sync_timeout: Duration,
    pub(crate) pages: Pages,
    pub(crate) gates: Vec<Gate>,
}

/// Reports what the agent does to health and metrics.
pub(crate) struct HealthView {
    health: Health,
    metrics: Arc<Metrics>,
    node: Arc<str>,
    node_ports: NodePorts,
    checks: watch::Sender<Arc<Checks>>,
    no_local: NoLocalEndpoints,
    waiting: Waiting,
    clashes: BTreeSet<String>,
    /// Where there is an API.
    events: Option<EventSink>,
    served: Served,
}

impl HealthView {
    /// Starts the servers in a thread of their own: a long write must not delay an answer.
    pub(crate) fn start(node: &str, serving: Serving, events: Option<EventSink>) -> Result<Self> {
        let started = Moment::now();
        let expectations = Expectations {
            sync_timeout: serving.sync_timeout,
            node_object: serving.node_object,
            ..Expectations::default()
        };
        let health = Health::new(Status::new(expectations, started));
        let setup = Setup {
            mode: serving.mode,
            families: Family::ALL.to_vec(),
            build: Build {
                version: env!("CARGO_PKG_VERSION").into(),
                kubernetes: KUBERNETES.into(),
                platform: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
                ..Build::default()
            },
            started,
            service_series: SERVICE_SERIES,
        };
        let metrics = Arc::new(Metrics::new(&setup, health.clone()));
        tell_gates(&metrics, &serving.gates);
        let (checks, wanted) = watch::channel(Arc::new(Checks::new()));
        let (sink, reporter) = (events.clone(), node.to_owned());
        let ports = NodePortServers::new(health.clone(), wanted, move |event| {
            if let Some(sink) = &sink {
                sink.tell(super::events::of_port(&event, &reporter));
            }
            name_port_event(event);
        });
        let (listens, listening) =
            watch::channel(Listen::both(serving.healthz, serving.metrics, serving.hard_fail));
        let sources = Sources::new(health.clone(), metrics.clone(), serving.pages);
        let told = events.clone().map(|sink| (sink, node.to_owned()));
        let served = Served { listens, sources: sources.clone() };
        let runtime = runtime()?;
        let work = move || {
            runtime.block_on(async {
                tokio::join!(serve_all(listening, sources, told), ports.run());
            });
        };
        thread::Builder::new().name("health".into()).spawn(work)?;
        Ok(Self {
            health,
            metrics,
            node: node.into(),
            node_ports: NodePorts::default(),
            checks,
            no_local: NoLocalEndpoints::default(),
            waiting: Waiting::default(),
            clashes: BTreeSet::new(),
            events,
            served,
        })
    }

    /// A handle for what else reports, and for what changes.
    pub(crate) fn served(&self) -> Served {
        self.served.clone()
    }

    /// How long the changes took that the kernel holds now.
    fn measure_latency(&mut self, synced: &Synced<'_>, now: Moment) {
        let refused = synced.refused.keys().filter_map(|owner| match owner {
            Owner::Service(name) => Some(name),
            _ => None,
        });
        for (family, began) in self.waiting.written(&refused.collect()) {
            self.metrics.programmed(family, began, now);
        }
    }

    fn tell_node(&self, cluster: &Cluster) {
        let node = cluster.node(&self.node).map(AsRef::as_ref);
        self.health.report(|status| status.node(node));
    }
}

/// What is served, while it is served.
#[derive(Clone)]
pub(crate) struct Served {
    listens: watch::Sender<Vec<Listen>>,
    sources: Sources,
}

impl Served {
    pub(crate) fn health(&self) -> Health {
        self.sources.health.clone()
    }

    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        self.sources.metrics.clone()
    }

    /// The configuration is another one: pages tell of it, and listeners move.
    pub(crate) fn change(&self, serving: Serving) {
        let listens = Listen::both(serving.healthz, serving.metrics, serving.hard_fail);
        self.sources.set_pages(serving.pages);
        tell_gates(&self.sources.metrics, &serving.gates);
        self.sources.health.report(|status| status.set_sync_timeout(serving.sync_timeout));
        self.listens.send_if_modified(|now| {
            let moves = *now != listens;
            *now = listens;
            moves
        });
    }
}

/// Says on the health pages how the watches fare, for as long as there are any.
pub(crate) async fn follow_watches(health: Health, mut states: watch::Receiver<WatchStates>) {
    loop {
        let now: BTreeMap<Kind, _> = states.borrow_and_update().clone();
        health.report(|status| {
            for (kind, state) in now {
                let watch = Watch {
                    connected: state.connected,
                    listed: state.listed,
                    last_event: state.last_event,
                    failure: state.failure,
                    lists: state.lists,
                    short_watches: state.short_watches,
                    // Only stray addresses of the Service block depend on the one, and the other
                    // is there where somebody installed its definition.
                    optional: matches!(kind, Kind::ServiceCidr | Kind::ClusterNetworkPolicy),
                };
                status.watch(format!("{kind:?}"), watch);
            }
        });
        if states.changed().await.is_err() {
            return;
        }
    }
}

/// Serves where it is wanted, until nobody can want anything else.
async fn serve_all(
    mut listening: watch::Receiver<Vec<Listen>>,
    sources: Sources,
    events: Option<(EventSink, String)>,
) {
    loop {
        let mut servers = JoinSet::new();
        for listen in listening.borrow_and_update().clone() {
            let (sources, events) = (sources.clone(), events.clone());
            servers.spawn(async move {
                let refused = |refused: &health::Error| {
                    warn!("{refused}; it is tried again");
                    if let Some((sink, node)) = &events {
                        sink.tell(super::events::of_server(listen.surface, refused, node));
                    }
                };
                serve(&listen, sources, refused).await
            });
        }
        loop {
            tokio::select! {
                changed = listening.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Some(ended) = servers.join_next() => if let Ok(Err(failure)) = ended {
                    // bindAddressHardFail: the operator would rather have no proxy than a silent
                    // one. The rules stay.
                    error!("{failure}");
                    std::process::exit(1);
                },
            }
        }
        // A port that stays must be free for its next listener.
        servers.shutdown().await;
    }
}

fn tell_gates(metrics: &Metrics, gates: &[Gate]) {
    for gate in gates {
        metrics.feature(gate.name, gate.stage, gate.enabled);
    }
}

fn name_port_event(event: PortEvent) {
    match event {
        PortEvent::Failed { service, address, error } => {
            warn!(%service, %address, "its health check port cannot be opened: {error}");
        }
        PortEvent::Mended { service, address } => {
            warn!(%service, %address, "its health check port is open now");
        }
    }
}

impl View for HealthView {
    fn decided(&mut self, decision: &PolicyDecision) {
        let policy =
            NetworkPolicy { enforced: decision.enforce, because: decision.because.clone() };
        self.health.report(|status| status.decided(policy));
        self.metrics.policies_enforced(decision.enforce);
    }

    fn queued(&mut self, changes: &Changes) {
        let now = Moment::now();
        changes.triggers.iter().cloned().for_each(|trigger| self.waiting.add(trigger));
        self.metrics.service_changes(changes.services, changes.services);
        self.metrics.endpoint_changes(changes.endpoints, changes.endpoints);
        for family in Family::ALL {
            self.health.report(|status| status.queued(family, now));
            self.metrics.sync_queued(family, now);
        }
    }

    fn known(&mut self, cluster: &Cluster, _owners: &BTreeSet<Owner>) {
        self.tell_node(cluster);
    }

    fn left_out(&mut self, notices: &BTreeSet<Notice>) {
        self.metrics.skipped(notices);
    }

    fn synced(&mut self, synced: &Synced<'_>) {
        let now = Moment::now();
        self.metrics.service_changes(0, 0);
        self.metrics.endpoint_changes(0, 0);
        self.no_local.update(synced.intent, synced.owners);
        let extent = if synced.full { Extent::Full } else { Extent::Partial };
        for family in Family::ALL {
            self.health.report(|status| {
                status.synced(family, now);
                status.drift(family, 0);
            });
            self.metrics.synced(family, extent, synced.took, now);
            let without = self.no_local.total(family);
            self.metrics.no_local_endpoints(family, without.internal, without.external);
            let forgotten = synced.forgotten[family];
            let entries = forgotten.entries as u64;
            self.metrics.conntrack_reconciled(family, forgotten.took, entries);
            if synced.repaired {
                self.metrics.flush_repaired(family);
            }
            if synced.drifted {
                self.metrics.drift_found(family);
            }
        }
        self.measure_latency(synced, now);
        if let Some(events) = &self.events {
            self.metrics.events_dropped(events.dropped());
        }
        for ((family, table), rules) in &synced.outcome.rules {
            let (total, written) = (rules.total as u64, rules.written as u64);
            self.metrics.iptables_rules(*family, &table.to_string(), total, written);
        }
        let judged = synced.judged;
        self.metrics.connections_judged(judged.condemned as u64, judged.pardoned as u64);
        self.metrics.refused_owners(synced.refused.len() as u64);
        if self.node_ports.update(synced.intent, synced.cluster, synced.owners) {
            let (checks, clashes) = self.node_ports.checks();
            self.checks.send_replace(Arc::new(checks));
            let clashes: BTreeSet<String> =
                clashes.iter().map(|clash| format!("{clash:?}")).collect();
            for clash in clashes.difference(&self.clashes) {
                warn!("two Services ask for one health check port: {clash}");
            }
            self.clashes = clashes;
        }
    }

    fn failed(&mut self, failure: &sync::Error, full: bool, took: Duration) {
        let now = Moment::now();
        let extent = if full { Extent::Full } else { Extent::Partial };
        for family in Family::ALL {
            self.health.report(|status| status.failed(family, now, failure.to_string()));
            self.metrics.sync_failed(family, extent, took);
        }
    }
}
