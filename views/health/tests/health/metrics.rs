//! What is counted, and that it is what kube-proxy's dashboards ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use health::metrics::{ConntrackTable, Extent, Mode, Traffic};
use health::server::Sources;
use health::{Moment, Watch};
use model::{Family, Notice, ObjectRef, Reason};

use super::exposition::{Metric, lint, read};
use super::objects::{named, sources};

const V4: (&str, &str) = ("ip_family", "IPv4");

fn scrape(sources: &Sources) -> BTreeMap<String, Metric> {
    read(&sources.metrics.render().unwrap())
}

fn notice(kind: &'static str, name: &str, reason: Reason) -> Notice {
    Notice { object: ObjectRef::new(kind, name), reason, message: String::new() }
}

/// An agent to which everything has happened that is counted.
pub(crate) fn busy(mode: Mode) -> Sources {
    let sources = sources(mode);
    let (metrics, now) = (&sources.metrics, Moment::now());
    let took = Duration::from_millis(3);
    for family in Family::ALL {
        metrics.sync_queued(family, now);
        metrics.synced(family, Extent::Partial, took, now);
        metrics.synced(family, Extent::Full, took, now);
        metrics.sync_failed(family, Extent::Partial, took);
        metrics.sync_failed(family, Extent::Full, took);
        metrics.cleanup_failed(family);
        metrics.programmed(family, now.wall, now);
        metrics.iptables_rules(family, "nat", 100, 3);
        metrics.no_local_endpoints(family, 1, 2);
        metrics.conntrack_reconciled(family, took, 5);
        metrics.drift_found(family);
        metrics.flush_repaired(family);
    }
    metrics.service_changes(2, 1);
    metrics.endpoint_changes(4, 3);
    metrics.counted_packets(10, 11);
    metrics.api_request("10.96.0.1:443", "GET", "200", took);
    metrics.feature("AllowServiceExternalIPs", "", true);
    metrics.skipped(&[notice("Service", "ns/a", Reason::Conflict)]);
    metrics.refused_owners(1);
    metrics.policies_enforced(true);
    metrics.policies_denied(Family::V4, model::Direction::Ingress, 7);
    metrics.connections_judged(3, 2);
    metrics.conntrack_table(ConntrackTable {
        entries: 7,
        limit: 1000,
        insert_failed: 1,
        drop: 2,
        early_drop: 3,
    });
    let traffic = Traffic { connections: 5, bytes: 500 };
    metrics.service_traffic(&BTreeMap::from([(named("a"), traffic)]));
    sources.health.report(|status| {
        let last_event = Some(Instant::now());
        status
            .watch("Services", Watch { connected: true, last_event, lists: 2, ..Watch::default() });
    });
    sources
}

/// Name, type, labels and mode of each metric of kube-proxy 1.36.
const OF_KUBE_PROXY: [(&str, &str, &[&str], Option<Mode>); 26] = {
    const FAMILY: &[&str] = &["ip_family"];
    const POLICY: &[&str] = &["ip_family", "traffic_policy"];
    const TABLE: &[&str] = &["ip_family", "table"];
    const IPTABLES: Option<Mode> = Some(Mode::Iptables);
    const NFTABLES: Option<Mode> = Some(Mode::Nftables);
    [
        ("kubeproxy_sync_proxy_rules_duration_seconds", "histogram", FAMILY, None),
        ("kubeproxy_sync_full_proxy_rules_duration_seconds", "histogram", FAMILY, None),
        ("kubeproxy_sync_partial_proxy_rules_duration_seconds", "histogram", FAMILY, None),
        ("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "gauge", FAMILY, None),
        ("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "gauge", FAMILY, None),
        ("kubeproxy_network_programming_duration_seconds", "histogram", FAMILY, None),
        ("kubeproxy_sync_proxy_rules_endpoint_changes_pending", "gauge", &[], None),
        ("kubeproxy_sync_proxy_rules_endpoint_changes_total", "counter", &[], None),
        ("kubeproxy_sync_proxy_rules_service_changes_pending", "gauge", &[], None),
        ("kubeproxy_sync_proxy_rules_service_changes_total", "counter", &[], None),
        ("kubeproxy_sync_proxy_rules_iptables_total", "gauge", TABLE, IPTABLES),
        ("kubeproxy_sync_proxy_rules_iptables_last", "gauge", TABLE, IPTABLES),
        ("kubeproxy_sync_proxy_rules_iptables_restore_failures_total", "counter", FAMILY, IPTABLES),
        (
            "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total",
            "counter",
            FAMILY,
            IPTABLES,
        ),
        ("kubeproxy_sync_proxy_rules_nftables_sync_failures_total", "counter", FAMILY, NFTABLES),
        ("kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total", "counter", FAMILY, NFTABLES),
        ("kubeproxy_sync_proxy_rules_no_local_endpoints_total", "gauge", POLICY, None),
        ("kubeproxy_proxy_healthz_total", "counter", &["code"], None),
        ("kubeproxy_proxy_livez_total", "counter", &["code"], None),
        ("kubeproxy_conntrack_reconciler_sync_duration_seconds", "histogram", FAMILY, None),
        ("kubeproxy_conntrack_reconciler_deleted_entries_total", "counter", FAMILY, None),
        ("kubeproxy_iptables_ct_state_invalid_dropped_packets_total", "counter", &[], IPTABLES),
        ("kubeproxy_iptables_localhost_nodeports_accepted_packets_total", "counter", &[], IPTABLES),
        ("process_cpu_seconds_total", "counter", &[], None),
        ("rest_client_requests_total", "counter", &["code", "host", "method"], None),
        ("rest_client_request_duration_seconds", "histogram", &["host", "verb"], None),
    ]
};

#[test]
fn every_metric_of_kube_proxy_is_there_with_its_type_and_labels() {
    for mode in [Mode::Iptables, Mode::Nftables] {
        let metrics = scrape(&busy(mode));
        for (name, kind, labels, of) in OF_KUBE_PROXY {
            let Some(metric) = metrics.get(name) else {
                assert!(of.is_some_and(|of| of != mode), "{name} is missing in {mode:?}");
                continue;
            };
            assert!(of.is_none_or(|of| of == mode), "{name} belongs to {of:?}");
            assert_eq!(metric.kind, kind, "{name}");
            assert_eq!(metric.labels(), labels.iter().copied().collect::<BTreeSet<_>>(), "{name}");
            if labels.contains(&"ip_family") {
                for family in ["IPv4", "IPv6"] {
                    let label = ("ip_family".to_owned(), family.to_owned());
                    assert!(metric.samples.iter().any(|one| one.labels.contains(&label)), "{name}");
                }
            }
        }
    }
}

#[test]
fn buckets_are_those_of_kube_proxy() {
    let metrics = scrape(&sources(Mode::Iptables));
    let bounds = |name: &str| -> Vec<f64> {
        let buckets = metrics[name].samples.iter().filter(|sample| {
            sample.name.ends_with("_bucket")
                && sample.labels.contains(&("ip_family".into(), "IPv6".into()))
        });
        let bound = |sample: &super::exposition::Sample| {
            let (_, bound) = sample.labels.iter().find(|(name, _)| name == "le").unwrap();
            if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() }
        };
        buckets.map(bound).collect()
    };
    let sync: Vec<f64> =
        (0..15).map(|power| 0.001 * 2f64.powi(power)).chain([f64::INFINITY]).collect();
    for name in [
        "kubeproxy_sync_proxy_rules_duration_seconds",
        "kubeproxy_sync_full_proxy_rules_duration_seconds",
        "kubeproxy_sync_partial_proxy_rules_duration_seconds",
        "kubeproxy_conntrack_reconciler_sync_duration_seconds",
    ] {
        assert_eq!(bounds(name), sync, "{name}");
    }
    let programming = bounds("kubeproxy_network_programming_duration_seconds");
    assert_eq!(programming[..5], [0.25, 0.5, 1.0, 2.0, 3.0]);
    assert_eq!(programming[59..64], [58.0, 59.0, 60.0, 65.0, 70.0]);
    let last = [115.0, 120.0, 150.0, 180.0, 210.0, 240.0, 270.0, 300.0, f64::INFINITY];
    assert_eq!(programming[programming.len() - 9..], last);
    assert_eq!(programming.len(), 2 + 59 + 12 + 7 + 1);
}

#[test]
fn a_linter_finds_only_what_kube_proxy_has_so() {
    for mode in [Mode::Iptables, Mode::Nftables] {
        for sources in [sources(mode), busy(mode)] {
            let mut problems = lint(&scrape(&sources));
            problems.retain(|problem| {
                !problem.starts_with("kubeproxy_sync_proxy_rules_iptables_total: non-counter")
                    && !problem
                        .starts_with("kubeproxy_sync_proxy_rules_no_local_endpoints_total: n")
            });
            assert_eq!(problems, [""; 0], "{mode:?}");
        }
    }
}

#[test]
fn counters_begin_at_nothing_and_not_with_their_first_event() {
    let metrics = scrape(&sources(Mode::Iptables));
    for (name, labels) in [
        ("kubeproxy_sync_proxy_rules_iptables_restore_failures_total", &[V4][..]),
        ("kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total", &[V4]),
        ("kubeproxy_conntrack_reconciler_deleted_entries_total", &[V4]),
        ("kubeproxy_proxy_healthz_total", &[("code", "503")]),
        ("kubeproxy_sync_proxy_rules_service_changes_total", &[]),
        ("pointsman_drift_found_total", &[V4]),
        ("pointsman_flush_repairs_total", &[V4]),
        ("pointsman_refused_owners", &[]),
        ("pointsman_network_policy_enforced", &[]),
        ("pointsman_network_policy_connections_cut_total", &[]),
        ("pointsman_network_policy_connections_pardoned_total", &[]),
    ] {
        assert_eq!(metrics[name].value(labels), 0.0, "{name}");
    }
    // What was never read of the kernel is not claimed to be nothing.
    assert!(!metrics.contains_key("pointsman_conntrack_entries"));
    assert!(!metrics.contains_key("kubeproxy_iptables_ct_state_invalid_dropped_packets_total"));
}

#[test]
fn each_event_is_counted_where_it_belongs() {
    let metrics = scrape(&busy(Mode::Iptables));
    let value = |name: &str, labels: &[(&str, &str)]| metrics[name].value(labels);
    let count = |name: &str| {
        let samples = &metrics[name].samples;
        let label = [("ip_family".to_owned(), "IPv4".to_owned())];
        samples
            .iter()
            .find(|one| one.name.ends_with("_count") && one.labels == label)
            .unwrap()
            .value
    };
    assert_eq!(count("kubeproxy_sync_proxy_rules_duration_seconds"), 4.0);
    assert_eq!(count("kubeproxy_sync_full_proxy_rules_duration_seconds"), 2.0);
    assert_eq!(count("kubeproxy_sync_partial_proxy_rules_duration_seconds"), 2.0);
    assert_eq!(count("kubeproxy_network_programming_duration_seconds"), 1.0);
    let rules = "kubeproxy_sync_proxy_rules_iptables";
    assert_eq!(value(&format!("{rules}_restore_failures_total"), &[V4]), 2.0);
    assert_eq!(value(&format!("{rules}_partial_restore_failures_total"), &[V4]), 1.0);
    // kubernetes#118978: the total is what there is, not what was written.
    assert_eq!(value(&format!("{rules}_total"), &[V4, ("table", "nat")]), 100.0);
    assert_eq!(value(&format!("{rules}_last"), &[V4, ("table", "nat")]), 3.0);
    let policy = "kubeproxy_sync_proxy_rules_no_local_endpoints_total";
    assert_eq!(value(policy, &[V4, ("traffic_policy", "internal")]), 1.0);
    assert_eq!(value(policy, &[V4, ("traffic_policy", "external")]), 2.0);
    assert_eq!(value("kubeproxy_sync_proxy_rules_service_changes_total", &[]), 2.0);
    assert_eq!(value("kubeproxy_sync_proxy_rules_service_changes_pending", &[]), 1.0);
    assert_eq!(value("kubeproxy_sync_proxy_rules_endpoint_changes_total", &[]), 4.0);
    assert_eq!(value("kubeproxy_sync_proxy_rules_endpoint_changes_pending", &[]), 3.0);
    assert_eq!(value("kubeproxy_iptables_ct_state_invalid_dropped_packets_total", &[]), 10.0);
    assert_eq!(value("kubeproxy_iptables_localhost_nodeports_accepted_packets_total", &[]), 11.0);
    assert_eq!(value("kubeproxy_conntrack_reconciler_deleted_entries_total", &[V4]), 5.0);
    let request = [("code", "200"), ("host", "10.96.0.1:443"), ("method", "GET")];
    assert_eq!(value("rest_client_requests_total", &request), 1.0);
    assert_eq!(value("pointsman_conntrack_entries", &[]), 7.0);
    assert_eq!(value("pointsman_conntrack_entries_limit", &[]), 1000.0);
    assert_eq!(value("pointsman_conntrack_insert_failed_total", &[]), 1.0);
    assert_eq!(value("pointsman_conntrack_drop_total", &[]), 2.0);
    assert_eq!(value("pointsman_conntrack_early_drop_total", &[]), 3.0);
    assert_eq!(value("pointsman_watch_lists_total", &[("kind", "Services")]), 2.0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let last = value("kubeproxy_sync_proxy_rules_last_timestamp_seconds", &[V4]);
    assert!((now - 60.0..=now).contains(&last), "{last}");
    let nft = scrape(&busy(Mode::Nftables));
    assert_eq!(nft["kubeproxy_sync_proxy_rules_nftables_sync_failures_total"].value(&[V4]), 2.0);
    assert_eq!(nft["kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total"].value(&[V4]), 1.0);
}

#[test]
fn programming_leaves_out_history_and_clamps_the_future() {
    let sources = sources(Mode::Iptables);
    let now = Moment::now();
    let far = Duration::from_secs(300);
    sources.metrics.programmed(Family::V4, now.wall - far, now);
    let metric = &scrape(&sources)["kubeproxy_network_programming_duration_seconds"];
    let of = |metric: &Metric, end: &str| {
        let label = [("ip_family".to_owned(), "IPv4".to_owned())];
        let found =
            metric.samples.iter().find(|one| one.name.ends_with(end) && one.labels == label);
        found.unwrap().value
    };
    assert_eq!(of(metric, "_count"), 0.0, "before the start");
    sources.metrics.programmed(Family::V4, now.wall + far, now);
    let metrics = scrape(&sources);
    let metric = &metrics["kubeproxy_network_programming_duration_seconds"];
    assert_eq!((of(metric, "_count"), of(metric, "_sum")), (1.0, 0.0));
    assert_eq!(metrics["pointsman_network_programming_clock_skew_total"].value(&[]), 1.0);
    let later = Moment { wall: now.wall + Duration::from_secs(2), ..now };
    sources.metrics.programmed(Family::V4, now.wall, later);
    let metrics = scrape(&sources);
    let metric = &metrics["kubeproxy_network_programming_duration_seconds"];
    assert_eq!((of(metric, "_count"), of(metric, "_sum")), (2.0, 2.0));
    assert_eq!(metrics["pointsman_network_programming_clock_skew_total"].value(&[]), 1.0);
}

#[test]
fn skipped_objects_are_counted_once_by_kind_and_reason_and_forgotten_when_mended() {
    let sources = sources(Mode::Iptables);
    sources.metrics.skipped(&[
        notice("Service", "ns/a", Reason::Conflict),
        Notice { message: "another field".into(), ..notice("Service", "ns/a", Reason::Conflict) },
        notice("Service", "ns/b", Reason::Conflict),
        notice("EndpointSlice", "ns/a-1", Reason::Unsupported),
    ]);
    let metrics = scrape(&sources);
    let skipped = &metrics["pointsman_skipped_objects"];
    assert_eq!(skipped.value(&[("kind", "Service"), ("reason", "Conflict")]), 2.0);
    assert_eq!(skipped.value(&[("kind", "EndpointSlice"), ("reason", "Unsupported")]), 1.0);
    sources.metrics.skipped(&[]);
    assert!(!scrape(&sources).contains_key("pointsman_skipped_objects"));
}

#[test]
fn the_status_is_judged_by_each_scrape() {
    let sources = sources(Mode::Iptables);
    let reason = |word| {
        let metrics = scrape(&sources);
        metrics["pointsman_not_ready"].value(&[("reason", word)])
    };
    for word in ["not-synced", "sync-failed", "sync-late", "watch-stale", "node-missing", "drift"] {
        assert_eq!(reason(word), 0.0, "{word}");
    }
    sources.health.report(|status| {
        status.drift(Family::V4, 9);
        let long_ago = Instant::now().checked_sub(Duration::from_secs(200));
        status.watch("Services", Watch { last_event: long_ago, ..Watch::default() });
        status.node(None);
    });
    assert_eq!(reason("drift"), 1.0);
    assert_eq!(reason("node-missing"), 1.0);
    assert_eq!(reason("watch-stale"), 1.0);
    let metrics = scrape(&sources);
    assert_eq!(metrics["pointsman_drift_objects"].value(&[V4]), 9.0);
    assert_eq!(metrics["pointsman_node_eligible"].value(&[]), 1.0);
    let kind = [("kind", "Services")];
    assert_eq!(metrics["pointsman_watch_connected"].value(&kind), 0.0);
    let age = metrics["pointsman_watch_last_event_age_seconds"].value(&kind);
    assert!((200.0..260.0).contains(&age), "{age}");
}

#[test]
fn services_have_series_up_to_a_limit() {
    let sources = sources(Mode::Iptables);
    let one = Traffic { connections: 1, bytes: 60 };
    let readings = ["a", "b", "c", "d"].map(|name| (named(name), one)).into();
    sources.metrics.service_traffic(&readings);
    let metrics = scrape(&sources);
    assert_eq!(metrics["pointsman_service_connections_total"].samples.len(), 2);
    let a = [("namespace", "ns"), ("service", "a")];
    assert_eq!(metrics["pointsman_service_bytes_total"].value(&a), 60.0);
    assert_eq!(metrics["pointsman_other_services_connections_total"].value(&[]), 2.0);
    assert_eq!(metrics["pointsman_other_services_bytes_total"].value(&[]), 120.0);
    assert_eq!(metrics["pointsman_other_services"].value(&[]), 2.0);
}

#[test]
fn the_build_names_the_release_that_it_stands_in_for() {
    let metrics = scrape(&sources(Mode::Iptables));
    let sample = &metrics["kubernetes_build_info"].samples[0];
    let label = |name: &str| {
        sample.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    };
    assert_eq!(label("git_version"), Some("v1.36.2+pointsman.0.1.0"));
    assert_eq!((label("major"), label("minor")), (Some("1"), Some("36")));
    assert_eq!(sample.value, 1.0);
    let own = [("revision", "abc"), ("version", "0.1.0")];
    assert_eq!(metrics["pointsman_build_info"].value(&own), 1.0);
}

#[test]
fn equal_states_make_equal_texts() {
    let stable = |text: String| -> String {
        let moving = |line: &&str| !line.starts_with("process_") && !line.contains("age_seconds");
        text.lines().filter(moving).collect::<Vec<_>>().join("\n")
    };
    let sources = busy(Mode::Iptables);
    let first = stable(sources.metrics.render().unwrap());
    for _ in 0..20 {
        assert_eq!(stable(sources.metrics.render().unwrap()), first);
    }
}
