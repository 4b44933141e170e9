//! The table of the metrics that kube-proxy lacks, and of those that every component has.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::series::{Names, Number, Series};
use super::{Build, Setup};

/// What is counted beyond kube-proxy.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) clock_skew: Series<Counter>,
    pub(super) drift_found: Series<Counter>,
    pub(super) flush_repairs: Series<Counter>,
    pub(super) events_dropped: Series<Counter>,
    pub(super) skipped: Series<Number>,
    pub(super) refused: Series<Number>,
    pub(super) policies_enforced: Series<Number>,
    pub(super) policies_denied: Series<Counter>,
    pub(super) connections_cut: Series<Counter>,
    pub(super) connections_pardoned: Series<Counter>,
    pub(super) conntrack_entries: Series<Number>,
    pub(super) conntrack_limit: Series<Number>,
    pub(super) conntrack_insert_failed: Series<Counter>,
    pub(super) conntrack_drop: Series<Counter>,
    pub(super) conntrack_early_drop: Series<Counter>,
}

impl Own {
    pub(super) fn new(names: &mut Names<'_>, setup: &Setup) -> Self {
        let own = Self {
            clock_skew: names.counter(
                "pointsman_network_programming_clock_skew_total",
                &[],
                "Changes dated in the future, which count as programmed at once",
            ),
            drift_found: names.counter(
                "pointsman_drift_found_total",
                &["ip_family"],
                "Comparisons that found the kernel to differ from what was written",
            ),
            flush_repairs: names.counter(
                "pointsman_flush_repairs_total",
                &["ip_family"],
                "Repairs after somebody else flushed or deleted our rules",
            ),
            events_dropped: names.counter(
                "pointsman_events_dropped_total",
                &[],
                "Kubernetes Events that came too fast or could not be posted",
            ),
            skipped: names.gauge(
                "pointsman_skipped_objects",
                &["kind", "reason"],
                "Objects of which something is left out",
            ),
            refused: names.gauge(
                "pointsman_refused_owners",
                &[],
                "Services (and the node) whose rules the kernel would not take",
            ),
            policies_enforced: names.gauge(
                "pointsman_network_policy_enforced",
                &[],
                "Whether network policies are enforced",
            ),
            policies_denied: names.counter(
                "pointsman_network_policy_denied_packets_total",
                &["direction", "ip_family"],
                "Packets dropped because network policies deny them",
            ),
            connections_cut: names.counter(
                "pointsman_network_policy_connections_cut_total",
                &[],
                "Connections cut off because a change of network policies forbade them",
            ),
            connections_pardoned: names.counter(
                "pointsman_network_policy_connections_pardoned_total",
                &[],
                "Connections that were cut off and are let through again",
            ),
            conntrack_entries: names.gauge(
                "pointsman_conntrack_entries",
                &[],
                "Entries of the connection-tracking table",
            ),
            conntrack_limit: names.gauge(
                "pointsman_conntrack_entries_limit",
                &[],
                "The most entries that the connection-tracking table takes",
            ),
            conntrack_insert_failed: names.counter(
                "pointsman_conntrack_insert_failed_total",
                &[],
                "Connections lost because their entry clashed with another one",
            ),
            conntrack_drop: names.counter(
                "pointsman_conntrack_drop_total",
                &[],
                "Packets dropped because the connection-tracking table was full",
            ),
            conntrack_early_drop: names.counter(
                "pointsman_conntrack_early_drop_total",
                &[],
                "Entries evicted to make room in a full connection-tracking table",
            ),
        };
        own.clock_skew.with(&[]);
        own.events_dropped.with(&[]);
        own.refused.with(&[]);
        own.policies_enforced.with(&[]);
        own.connections_cut.with(&[]);
        own.connections_pardoned.with(&[]);
        for family in setup.families.iter().map(ToString::to_string) {
            own.drift_found.with(&[&family]);
            own.flush_repairs.with(&[&family]);
        }
        own
    }
}

/// What every Kubernetes component counts.
#[derive(Debug)]
pub(super) struct Component {
    pub(super) features: Series<Number>,
    pub(super) requests: Series<Counter>,
    pub(super) request_duration: Series<Histogram>,
}

/// client-go's buckets.
fn request_buckets() -> Histogram {
    Histogram::new([0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0])
}

impl Component {
    pub(super) fn new(names: &mut Names<'_>, build: &Build) -> Self {
        write_build(names, build);
        Self {
            features: names.gauge(
                "kubernetes_feature_enabled",
                &["name", "stage"],
                "Whether a feature gate is on",
            ),
            requests: names.counter(
                "rest_client_requests_total",
                &["code", "host", "method"],
                "Requests to the API server",
            ),
            request_duration: names.histogram(
                "rest_client_request_duration_seconds",
                &["host", "verb"],
                "How long requests to the API server took, until their answer began",
                request_buckets,
            ),
        }
    }
}

fn write_build(names: &mut Names<'_>, build: &Build) {
    let kubernetes = names.gauge(
        "kubernetes_build_info",
        &[
            "build_date",
            "compiler",
            "git_commit",
            "git_tree_state",
            "git_version",
            "go_version",
            "major",
            "minor",
            "platform",
        ],
        "The Kubernetes release whose kube-proxy this stands in for, and how it was built",
    );
    let mut numbers = build.kubernetes.split('.');
    let (major, minor) = (numbers.next().unwrap_or(""), numbers.next().unwrap_or(""));
    let version = format!("v{}+pointsman.{}", build.kubernetes, build.version);
    let values =
        [&*build.date, "rustc", &build.commit, "", &version, "", major, minor, &build.platform];
    kubernetes.with(&values).set(1.0);
    let own =
        names.gauge("pointsman_build_info", &["revision", "version"], "The version of pointsman");
    own.with(&[&build.commit, &build.version]).set(1.0);
}
