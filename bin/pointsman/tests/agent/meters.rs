//! What is measured: rules, the kernel's own counters, gates.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use lab_api::WriteOptions;
use lab_api::resource::ENDPOINT_SLICES;
use serde_json::json;

use crate::api::{Api, Gate};
use crate::stage::{Running, Stage, my_service};

/// Every series of `/metrics` with its value.
pub(crate) fn scrape(stage: &Stage) -> BTreeMap<String, f64> {
    let text = stage.tool("curl --silent --max-time 5 http://127.0.0.1:10249/metrics");
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = series.filter_map(|line| line.rsplit_once(' '));
    pairs.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

/// How many rules iptables lists in our chains of IPv4's table `nat`.
fn listed(stage: &Stage) -> f64 {
    let rules = stage.tool("iptables-save -t nat");
    rules.lines().filter(|line| line.starts_with("-A KUBE-")).count() as f64
}

#[test]
fn rules_are_counted_as_they_come_and_go() {
    const TOTAL: &str =
        "kubeproxy_sync_proxy_rules_iptables_total{ip_family=\"IPv4\",table=\"nat\"}";
    const LAST: &str = "kubeproxy_sync_proxy_rules_iptables_last{ip_family=\"IPv4\",table=\"nat\"}";
    let stage = Stage::new();
    let _agent = Running::start(stage.pointsman("run"));
    stage.until("my-service answers", |stage| stage.ask().is_some());
    stage.until("all is counted", |stage| scrape(stage).get(TOTAL) == Some(&listed(stage)));
    let all = listed(&stage);
    stage.folder.write("my-service.yaml", &my_service(&["10.77.1.4"]));
    stage.until("an endpoint is gone", |stage| listed(stage) < all);
    stage.until("less is counted", |stage| scrape(stage).get(TOTAL) == Some(&listed(stage)));
    let last = scrape(&stage)[LAST];
    assert!(last > 0.0 && last < listed(&stage), "a partial sync wrote {last}");
    stage.folder.write("my-service.yaml", "");
    stage.until("the Service is gone", |stage| listed(stage) < 8.0);
    stage.until("that is counted", |stage| scrape(stage).get(TOTAL) == Some(&listed(stage)));
}

#[test]
fn the_kernels_counters_and_the_gates_are_told() {
    let stage = Stage::new();
    let mut command = stage.pointsman("run");
    command.args(["--feature-gates=AllowServiceExternalIPs=false", "--oom-score-adj=123"]);
    let agent = Running::start(command);
    stage.until("my-service answers", |stage| stage.ask().is_some());
    stage.until("connection tracking", |stage| {
        scrape(stage).contains_key("pointsman_conntrack_entries")
    });
    let series = scrape(&stage);
    let gate = "kubernetes_feature_enabled{name=\"AllowServiceExternalIPs\",stage=\"\"}";
    assert_eq!(series.get(gate), Some(&0.0));
    let gate = "kubernetes_feature_enabled{name=\"ComponentFlagz\",stage=\"BETA\"}";
    assert_eq!(series.get(gate), Some(&1.0));
    assert!(series.contains_key("pointsman_conntrack_insert_failed_total"));
    let counted = "kubeproxy_iptables_ct_state_invalid_dropped_packets_total";
    assert!(series.contains_key(counted), "{counted}");
    let score = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", agent.0.id())).unwrap();
    assert_eq!(score.trim(), "123");
}

/// A folder may hold the Node too; then what the Node says counts.
#[test]
fn a_node_of_a_folder_that_is_about_to_go_takes_no_new_connections() {
    let stage = Stage::new();
    let _agent = Running::start(stage.pointsman("run"));
    stage.until("my-service answers", |stage| stage.ask().is_some());
    let healthz = |stage: &Stage| {
        stage.tool("curl --silent --include --max-time 5 http://127.0.0.1:10256/healthz")
    };
    assert!(healthz(&stage).starts_with("HTTP/1.1 200"));
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: alpha}\nspec:\n  taints:\n  \
                - {key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}\n";
    stage.folder.write("node.yaml", node);
    stage.until("the node is leaving", |stage| healthz(stage).starts_with("HTTP/1.1 503"));
    std::fs::remove_file(stage.folder.path().join("node.yaml")).unwrap();
    stage.until("nothing is said of it", |stage| healthz(stage).starts_with("HTTP/1.1 200"));
}

#[test]
fn requests_to_the_api_are_counted_under_client_gos_names() {
    let stage = Stage::new();
    let api = Api::start(&stage.lab);
    api.create_my_service(&["10.77.1.4"]);
    let _agent = Running::start(api.pointsman(&stage));
    stage.until("my-service answers", |stage| stage.ask().is_some());
    let requests = |stage: &Stage, code: &str, method: &str| {
        let labels = format!("{{code=\"{code}\",host=\"127.0.0.1:6443\",method=\"{method}\"}}");
        scrape(stage).get(&format!("rest_client_requests_total{labels}")).copied().unwrap_or(0.0)
    };
    // Each kind is listed and watched; the Event of the start is posted.
    assert!(requests(&stage, "200", "GET") >= 4.0);
    stage.until("an Event is counted", |stage| requests(stage, "201", "POST") >= 1.0);
    let took = "rest_client_request_duration_seconds_count{host=\"127.0.0.1:6443\",verb=\"GET\"}";
    assert!(scrape(&stage)[took] >= 4.0);
    assert_eq!(requests(&stage, "<error>", "GET"), 0.0);
    api.turn(Gate::Shut);
    stage.until("failures are counted", |stage| requests(stage, "<error>", "GET") >= 1.0);
    api.turn(Gate::Answer(500, "InternalError"));
    stage.until("refusals are counted", |stage| requests(stage, "500", "GET") >= 1.0);
}

/// The annotation of an EndpointSlice that dates the change which its last one follows from.
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

#[test]
fn network_programming_latency_is_measured_from_the_slices_dates() {
    const SUM: &str = "kubeproxy_network_programming_duration_seconds_sum{ip_family=\"IPv4\"}";
    const COUNT: &str = "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"}";
    const SKEW: &str = "pointsman_network_programming_clock_skew_total";
    let stage = Stage::new();
    let api = Api::start(&stage.lab);
    api.create_my_service(&["10.77.1.4"]);
    let dated = |seconds: i64, endpoint: Option<&str>| {
        let at = (jiff::Timestamp::now() + SignedDuration::from_secs(seconds)).to_string();
        let options = WriteOptions::default();
        let edited =
            api.store.edit(&ENDPOINT_SLICES, "default", "my-service-1", &options, |slice| {
                slice["metadata"]["annotations"] = json!({ TRIGGER: at });
                match endpoint {
                    Some(address) => slice["endpoints"][0]["addresses"][0] = json!(address),
                    None => slice["metadata"]["labels"]["colour"] = json!("green"),
                }
            });
        edited.unwrap();
    };
    // Before the start: nothing that the agent could have been quick about.
    dated(-1_000, Some("10.77.1.4"));
    let _agent = Running::start(api.pointsman(&stage));
    stage.until("my-service answers", |stage| stage.ask().is_some());
    let now = |stage: &Stage, name| scrape(stage).get(name).copied().unwrap_or(0.0);
    assert_eq!(now(&stage, COUNT), 0.0);
    std::thread::sleep(Duration::from_millis(1_100));
    dated(0, Some("10.77.1.5"));
    stage.until("it is measured", |stage| now(stage, COUNT) == 1.0);
    assert!(now(&stage, SUM) > 0.0, "{}", now(&stage, SUM));
    let sum = now(&stage, SUM);
    // Another clock is ahead: no delay, and it is counted.
    dated(300, Some("10.77.1.4"));
    stage.until("it is measured", |stage| now(stage, COUNT) == 2.0);
    assert_eq!((now(&stage, SUM), now(&stage, SKEW)), (sum, 1.0));
    // A label has no date.
    dated(0, None);
    dated(-1, Some("10.77.1.5"));
    stage.until("the last one is there", |stage| stage.ask().as_deref() == Some("my-app-2"));
    stage.until("it is measured", |stage| now(stage, COUNT) == 3.0);
}
