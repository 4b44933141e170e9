//! Metrics: the names, types, labels and buckets of kube-proxy, so that its dashboards and alerts go
//! on working, and what it lacks. `docs/metrics.md` lists them all.

mod kube_proxy;
mod own;
mod process;
mod scrape;
mod series;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use model::{Direction, Family, NamespacedName, Notice};
use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;

pub use traffic::Traffic;

use crate::Health;
use crate::error::Error;
use crate::moment::Moment;
use crate::status::Status;
use kube_proxy::{KubeProxy, OfMode};
use own::{Component, Own};
use scrape::Scrape;
use series::{ByLabels, Names, Number};
use traffic::ServiceTraffic;

/// The type of the text that [`Metrics::render`] writes.
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// How packets are routed; some metrics exist in one mode alone, as in kube-proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Chains that iptables lists.
    Iptables,
    /// A table that nft lists.
    Nftables,
}

/// `/metrics/slis`: the judgement of each family, under the name that all Kubernetes components use
/// (KEP-3466).
pub(crate) fn service_level(status: &Status, now: Moment) -> String {
    let mut text = String::from(
        "# HELP kubernetes_healthcheck Whether a family's rules keep up with the cluster.\n\
         # TYPE kubernetes_healthcheck gauge\n",
    );
    for &family in status.families().keys() {
        let healthy = u8::from(status.healthy(family, now));
        text += &format!("kubernetes_healthcheck{{name=\"{family}\",type=\"livez\"}} {healthy}\n");
    }
    text
}

/// What was built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// The version of pointsman, such as `0.1.0`.
    pub version: String,
    /// The Kubernetes release whose kube-proxy this stands in for, such as `1.36.2`. It leads
    /// `git_version` in `kubernetes_build_info`: the usual alert for version skew compares the first
    /// two numbers of all components.
    pub kubernetes: String,
    /// The revision of the sources; may be empty.
    pub commit: String,
    /// When, as RFC 3339; may be empty.
    pub date: String,
    /// For which platform, such as `linux/amd64`.
    pub platform: String,
}

/// What is known before anything is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// How packets are routed.
    pub mode: Mode,
    /// The families that are written.
    pub families: Vec<Family>,
    /// What was built.
    pub build: Build,
    /// When the agent started: older changes say nothing of its speed.
    pub started: Moment,
    /// How many Services get series of their own.
    pub service_series: usize,
}

/// Which part of the rules a sync wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Everything, by comparison with the kernel.
    Full,
    /// What had changed.
    Partial,
}

/// The state of the kernel's connection tracking. The last three are the kernel's own sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConntrackTable {
    /// `nf_conntrack_count`.
    pub entries: u64,
    /// `nf_conntrack_max`.
    pub limit: u64,
    /// `insert_failed` of all processors.
    pub insert_failed: u64,
    /// `drop` of all processors.
    pub drop: u64,
    /// `early_drop` of all processors.
    pub early_drop: u64,
}

/// All metrics. Every method may be called from any thread.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    started: Moment,
    kube_proxy: KubeProxy,
    own: Own,
    component: Component,
    traffic: Arc<Mutex<ServiceTraffic>>,
}

impl Metrics {
    /// Registers everything; `health` is looked at by each scrape.
    #[must_use]
    pub fn new(setup: &Setup, health: Health) -> Self {
        let mut registry = Registry::default();
        let mut names = Names(&mut registry);
        let kube_proxy = KubeProxy::new(&mut names, setup);
        let own = Own::new(&mut names, setup);
        let component = Component::new(&mut names, &setup.build);
        let traffic = Arc::new(Mutex::new(ServiceTraffic::new(setup.service_series)));
        registry.register_collector(Box::new(Scrape { health, traffic: traffic.clone() }));
        Self { registry, started: setup.started, kube_proxy, own, component, traffic }
    }

    /// Everything, as [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// [`Error::Encode`].
    pub fn render(&self) -> Result<String, Error> {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// A sync was asked for.
    pub fn sync_queued(&self, family: Family, at: Moment) {
        self.kube_proxy.last_queued.with(&[&family.to_string()]).set(at.unix_seconds());
    }

    /// A sync succeeded.
    pub fn synced(&self, family: Family, extent: Extent, took: Duration, at: Moment) {
        self.took(family, extent, took);
        self.kube_proxy.last_sync.with(&[&family.to_string()]).set(at.unix_seconds());
    }

    /// A sync failed. In iptables mode a partial one counts as such and among all, as in kube-proxy.
    pub fn sync_failed(&self, family: Family, extent: Extent, took: Duration) {
        self.took(family, extent, took);
        let family = family.to_string();
        match &self.kube_proxy.of_mode {
            OfMode::Iptables { failures, partial_failures, .. } => {
                failures.with(&[&family]).inc();
                if extent == Extent::Partial {
                    partial_failures.with(&[&family]).inc();
                }
            }
            OfMode::Nftables { failures, .. } => {
                failures.with(&[&family]).inc();
            }
        }
    }

    fn took(&self, family: Family, extent: Extent, took: Duration) {
        let (family, seconds) = (family.to_string(), took.as_secs_f64());
        self.kube_proxy.sync.with(&[&family]).observe(seconds);
        let of_extent = match extent {
            Extent::Full => &self.kube_proxy.sync_full,
            Extent::Partial => &self.kube_proxy.sync_partial,
        };
        of_extent.with(&[&family]).observe(seconds);
    }

    /// What is no longer used could not be deleted (nftables mode).
    pub fn cleanup_failed(&self, family: Family) {
        if let OfMode::Nftables { cleanup_failures, .. } = &self.kube_proxy.of_mode {
            cleanup_failures.with(&[&family.to_string()]).inc();
        }
    }

    /// So many Services changed, and so many changes are not in the kernel yet.
    pub fn service_changes(&self, new: u64, pending: u64) {
        self.kube_proxy.service_changes.with(&[]).inc_by(new);
        self.kube_proxy.service_changes_pending.with(&[]).set(pending as f64);
    }

    /// So many EndpointSlices changed, and so many changes are not in the kernel yet.
    pub fn endpoint_changes(&self, new: u64, pending: u64) {
        self.kube_proxy.endpoint_changes.with(&[]).inc_by(new);
        self.kube_proxy.endpoint_changes_pending.with(&[]).set(pending as f64);
    }

    /// The kernel holds a change that `trigger` dates
    /// (`endpoints.kubernetes.io/last-change-trigger-time`).
    ///
    /// What happened before the agent started is left out, or every restart would look like an
    /// outage (perf-tests#640); a date in the future is another machine's clock and counts as no
    /// delay at all.
    pub fn programmed(&self, family: Family, trigger: SystemTime, at: Moment) {
        if trigger < self.started.wall {
            return;
        }
        let delay = at.wall.duration_since(trigger).unwrap_or_else(|_future| {
            self.own.clock_skew.with(&[]).inc();
            Duration::ZERO
        });
        self.kube_proxy.programming.with(&[&family.to_string()]).observe(delay.as_secs_f64());
    }

    /// How many rules a table holds, whoever wrote them last (kubernetes#118978), and how many of
    /// them the last sync wrote (iptables mode).
    pub fn iptables_rules(&self, family: Family, table: &str, total: u64, written: u64) {
        if let OfMode::Iptables { rules, rules_last, .. } = &self.kube_proxy.of_mode {
            let labels = [&*family.to_string(), table];
            rules.with(&labels).set(total as f64);
            rules_last.with(&labels).set(written as f64);
        }
    }

    /// How many Service ports have endpoints, but none where a `Local` policy allows.
    pub fn no_local_endpoints(&self, family: Family, internal: u64, external: u64) {
        let (family, ports) = (family.to_string(), &self.kube_proxy.no_local_endpoints);
        ports.with(&[&family, "internal"]).set(internal as f64);
        ports.with(&[&family, "external"]).set(external as f64);
    }

    /// The packets that nfacct objects count (iptables mode, where the kernel has them).
    pub fn counted_packets(&self, invalid_dropped: u64, localhost_accepted: u64) {
        if let OfMode::Iptables { invalid_dropped: dropped, localhost_accepted: accepted, .. } =
            &self.kube_proxy.of_mode
        {
            dropped.with(&[]).inner().store(invalid_dropped, Ordering::Relaxed);
            accepted.with(&[]).inner().store(localhost_accepted, Ordering::Relaxed);
        }
    }

    /// Stale connection-tracking entries were looked for, and so many deleted.
    pub fn conntrack_reconciled(&self, family: Family, took: Duration, deleted: u64) {
        let family = family.to_string();
        self.kube_proxy.conntrack.with(&[&family]).observe(took.as_secs_f64());
        self.kube_proxy.conntrack_deleted.with(&[&family]).inc_by(deleted);
    }

    /// `/healthz` was answered.
    pub(crate) fn healthz_answered(&self, code: u16) {
        self.kube_proxy.healthz.with(&[&code.to_string()]).inc();
    }

    /// `/livez` was answered.
    pub(crate) fn livez_answered(&self, code: u16) {
        self.kube_proxy.livez.with(&[&code.to_string()]).inc();
    }

    /// The API server (`host`, with its port) answered a request, or did not (`code` is
    /// `<error>` then, as in client-go).
    pub fn api_request(&self, host: &str, method: &str, code: &str, took: Duration) {
        self.component.requests.with(&[code, host, method]).inc();
        self.component.request_duration.with(&[host, method]).observe(took.as_secs_f64());
    }

    /// A feature gate; `stage` is `ALPHA`, `BETA`, `DEPRECATED` or empty for general availability.
    pub fn feature(&self, name: &str, stage: &str, enabled: bool) {
        self.component.features.with(&[name, stage]).set(f64::from(u8::from(enabled)));
    }

    /// A comparison found the kernel to differ from what was written. How much differs is told to
    /// [`Status::drift`](crate::Status::drift).
    pub fn drift_found(&self, family: Family) {
        self.own.drift_found.with(&[&family.to_string()]).inc();
    }

    /// Rules that somebody else had flushed or deleted are whole again.
    pub fn flush_repaired(&self, family: Family) {
        self.own.flush_repairs.with(&[&family.to_string()]).inc();
    }

    /// How many Kubernetes Events were dropped since the start.
    pub fn events_dropped(&self, total: u64) {
        self.own.events_dropped.with(&[]).inner().store(total, Ordering::Relaxed);
    }

    /// Everything that is left out now: objects by kind and reason, each counted once.
    pub fn skipped<'a>(&self, notices: impl IntoIterator<Item = &'a Notice>) {
        let objects: BTreeSet<_> =
            notices.into_iter().map(|notice| (notice.reason, &notice.object)).collect();
        let mut counts: ByLabels<Number> = BTreeMap::new();
        for (reason, object) in objects {
            counts.entry(vec![object.kind.into(), format!("{reason:?}")]).or_default().inc();
        }
        self.own.skipped.replace(counts);
    }

    /// How many owners' rules the kernel would not take.
    pub fn refused_owners(&self, owners: u64) {
        self.own.refused.with(&[]).set(owners as f64);
    }

    /// It was decided whether network policies are enforced.
    pub fn policies_enforced(&self, enforced: bool) {
        self.own.policies_enforced.with(&[]).set(f64::from(u8::from(enforced)));
    }

    /// The kernel's counter of the packets that network policies deny.
    pub fn policies_denied(&self, family: Family, direction: Direction, packets: u64) {
        let labels = [&*direction.to_string(), &*family.to_string()];
        self.own.policies_denied.with(&labels).inner().store(packets, Ordering::Relaxed);
    }

    /// After a change of network policies, so many connections were cut off, and so many let through
    /// again.
    pub fn connections_judged(&self, cut: u64, pardoned: u64) {
        self.own.connections_cut.with(&[]).inc_by(cut);
        self.own.connections_pardoned.with(&[]).inc_by(pardoned);
    }

    /// The state of connection tracking.
    pub fn conntrack_table(&self, table: ConntrackTable) {
        let own = &self.own;
        own.conntrack_entries.with(&[]).set(table.entries as f64);
        own.conntrack_limit.with(&[]).set(table.limit as f64);
        for (counter, value) in [
            (&own.conntrack_insert_failed, table.insert_failed),
            (&own.conntrack_drop, table.drop),
            (&own.conntrack_early_drop, table.early_drop),
        ] {
            counter.with(&[]).inner().store(value, Ordering::Relaxed);
        }
    }

    /// The kernel's counters of all Services. They may begin anew when a rule is rewritten; a
    /// Service that is not among them is gone.
    pub fn service_traffic(&self, readings: &BTreeMap<NamespacedName, Traffic>) {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner).read(readings);
    }
}
