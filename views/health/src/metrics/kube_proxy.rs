//! The table of kube-proxy's metrics: its names, types, labels and buckets.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::series::{Names, Number, Series};
use super::{Mode, Setup};

const FAMILY: &[&str] = &["ip_family"];

/// What kube-proxy counts in every mode.
#[derive(Debug)]
pub(super) struct KubeProxy {
    pub(super) sync: Series<Histogram>,
    pub(super) sync_full: Series<Histogram>,
    pub(super) sync_partial: Series<Histogram>,
    pub(super) last_sync: Series<Number>,
    pub(super) last_queued: Series<Number>,
    pub(super) programming: Series<Histogram>,
    pub(super) endpoint_changes: Series<Counter>,
    pub(super) endpoint_changes_pending: Series<Number>,
    pub(super) service_changes: Series<Counter>,
    pub(super) service_changes_pending: Series<Number>,
    pub(super) no_local_endpoints: Series<Number>,
    pub(super) healthz: Series<Counter>,
    pub(super) livez: Series<Counter>,
    pub(super) conntrack: Series<Histogram>,
    pub(super) conntrack_deleted: Series<Counter>,
    pub(super) of_mode: OfMode,
}

/// What kube-proxy counts in one mode alone.
#[derive(Debug)]
pub(super) enum OfMode {
    Iptables {
        rules: Series<Number>,
        rules_last: Series<Number>,
        failures: Series<Counter>,
        partial_failures: Series<Counter>,
        invalid_dropped: Series<Counter>,
        localhost_accepted: Series<Counter>,
    },
    Nftables {
        failures: Series<Counter>,
        cleanup_failures: Series<Counter>,
    },
}

/// From a millisecond to 16 s, each twice the last.
fn sync_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

/// From a quarter of a second to five minutes, finest around the objective of some seconds.
fn programming_buckets() -> Histogram {
    let seconds = (1..60).chain((60..120).step_by(5)).chain((120..=300).step_by(30));
    Histogram::new([0.25, 0.5].into_iter().chain(seconds.map(f64::from)))
}

impl KubeProxy {
    pub(super) fn new(names: &mut Names<'_>, setup: &Setup) -> Self {
        let mut metrics = Self {
            of_mode: OfMode::new(names, setup.mode),
            sync: names.histogram(
                "kubeproxy_sync_proxy_rules_duration_seconds",
                FAMILY,
                "How long a sync took, failed ones included",
                sync_buckets,
            ),
            sync_full: names.histogram(
                "kubeproxy_sync_full_proxy_rules_duration_seconds",
                FAMILY,
                "How long a sync took that compared everything with the kernel",
                sync_buckets,
            ),
            sync_partial: names.histogram(
                "kubeproxy_sync_partial_proxy_rules_duration_seconds",
                FAMILY,
                "How long a sync took that wrote only what had changed",
                sync_buckets,
            ),
            last_sync: names.gauge(
                "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                FAMILY,
                "When a sync last succeeded",
            ),
            last_queued: names.gauge(
                "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
                FAMILY,
                "When a sync was last asked for",
            ),
            programming: names.histogram(
                "kubeproxy_network_programming_duration_seconds",
                FAMILY,
                "From a Pod's or Service's change, as the EndpointSlice dates it, to the kernel",
                programming_buckets,
            ),
            endpoint_changes: names.counter(
                "kubeproxy_sync_proxy_rules_endpoint_changes_total",
                &[],
                "Changes of EndpointSlices",
            ),
            endpoint_changes_pending: names.gauge(
                "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
                &[],
                "Changes of EndpointSlices that the kernel does not hold yet",
            ),
            service_changes: names.counter(
                "kubeproxy_sync_proxy_rules_service_changes_total",
                &[],
                "Changes of Services",
            ),
            service_changes_pending: names.gauge(
                "kubeproxy_sync_proxy_rules_service_changes_pending",
                &[],
                "Changes of Services that the kernel does not hold yet",
            ),
            no_local_endpoints: names.gauge(
                "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
                &["ip_family", "traffic_policy"],
                "Service ports with a Local traffic policy and endpoints, none of them on this node",
            ),
            healthz: names.counter("kubeproxy_proxy_healthz_total", &["code"], "Answers of /healthz"),
            livez: names.counter("kubeproxy_proxy_livez_total", &["code"], "Answers of /livez"),
            conntrack: names.histogram(
                "kubeproxy_conntrack_reconciler_sync_duration_seconds",
                FAMILY,
                "How long it took to find and delete stale connection-tracking entries",
                sync_buckets,
            ),
            conntrack_deleted: names.counter(
                "kubeproxy_conntrack_reconciler_deleted_entries_total",
                FAMILY,
                "Connection-tracking entries deleted for being stale",
            ),
        };
        metrics.start_at_zero(setup);
        metrics
    }

    /// A counter that appears with its first event hides that event from `rate()`.
    fn start_at_zero(&mut self, setup: &Setup) {
        for code in ["200", "503"] {
            self.healthz.with(&[code]);
            self.livez.with(&[code]);
        }
        self.endpoint_changes.with(&[]);
        self.endpoint_changes_pending.with(&[]);
        self.service_changes.with(&[]);
        self.service_changes_pending.with(&[]);
        for family in setup.families.iter().map(ToString::to_string) {
            let labels = [family.as_str()];
            let histograms = [&self.sync, &self.sync_full, &self.sync_partial];
            for histogram in histograms.into_iter().chain([&self.programming, &self.conntrack]) {
                histogram.with(&labels);
            }
            self.last_sync.with(&labels);
            self.last_queued.with(&labels);
            self.conntrack_deleted.with(&labels);
            for policy in ["internal", "external"] {
                self.no_local_endpoints.with(&[&family, policy]);
            }
            match &self.of_mode {
                OfMode::Iptables { rules, rules_last, failures, partial_failures, .. } => {
                    for table in ["filter", "nat"] {
                        rules.with(&[&family, table]);
                        rules_last.with(&[&family, table]);
                    }
                    failures.with(&labels);
                    partial_failures.with(&labels);
                }
                OfMode::Nftables { failures, cleanup_failures } => {
                    failures.with(&labels);
                    cleanup_failures.with(&labels);
                }
            }
        }
    }
}

impl OfMode {
    fn new(names: &mut Names<'_>, mode: Mode) -> Self {
        let table = &["ip_family", "table"];
        match mode {
            Mode::Iptables => Self::Iptables {
                rules: names.gauge(
                    "kubeproxy_sync_proxy_rules_iptables_total",
                    table,
                    "Rules that the kernel holds",
                ),
                rules_last: names.gauge(
                    "kubeproxy_sync_proxy_rules_iptables_last",
                    table,
                    "Rules that the last sync wrote",
                ),
                failures: names.counter(
                    "kubeproxy_sync_proxy_rules_iptables_restore_failures_total",
                    FAMILY,
                    "Syncs that failed",
                ),
                partial_failures: names.counter(
                    "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total",
                    FAMILY,
                    "Syncs that failed when writing only what had changed",
                ),
                invalid_dropped: names.counter(
                    "kubeproxy_iptables_ct_state_invalid_dropped_packets_total",
                    &[],
                    "Packets dropped because connection tracking calls them invalid",
                ),
                localhost_accepted: names.counter(
                    "kubeproxy_iptables_localhost_nodeports_accepted_packets_total",
                    &[],
                    "Packets to NodePorts on loopback addresses",
                ),
            },
            Mode::Nftables => Self::Nftables {
                failures: names.counter(
                    "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
                    FAMILY,
                    "Syncs that failed",
                ),
                cleanup_failures: names.counter(
                    "kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total",
                    FAMILY,
                    "Failures to delete what is no longer used",
                ),
            },
        }
    }
}
