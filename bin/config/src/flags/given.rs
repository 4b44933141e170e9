//! Which flags were given, and which of them count.

use std::ffi::{OsStr, OsString};

use super::{
    ConntrackFlags, IpvsFlags, LoggingFlags, PolicyFlags, ProcessFlags, ProxyFlags, RoutingFlags,
    ServingFlags, SourceFlags,
};

/// Whether a flag (without its dashes) has a say beside `--config`.
pub fn counts_beside_config(flag: &str) -> bool {
    let own = [
        "manifests",
        "network-policy",
        "no-local-endpoints",
        "node",
        "policy-existing-connections",
        "policy-hold-unknown",
        "policy-log",
    ];
    let kube_proxy = [
        "cleanup",
        "config",
        "help",
        "hostname-override",
        "init-only",
        "logging-format",
        "master",
        "v",
        "version",
        "vmodule",
        "write-config-to",
    ];
    own.contains(&flag) || kube_proxy.contains(&flag) || flag.starts_with("log-")
}

/// The words of a command line with `_` in the names of flags turned into `-`, as kube-proxy reads
/// them (`--cluster_cidr` is `--cluster-cidr`). Values, and everything behind `--`, stay.
pub fn normalize(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut flags_over = false;
    let normal = words.into_iter().map(|word| {
        flags_over |= word == OsStr::new("--");
        match word.to_str() {
            Some(text) if !flags_over && text.starts_with("--") => {
                let end = text.find('=').unwrap_or(text.len());
                let (name, value) = text.split_at(end);
                format!("{}{value}", name.replace('_', "-")).into()
            }
            _ => word,
        }
    });
    normal.collect()
}

impl ProxyFlags {
    /// The names of the flags that were given, without dashes, in alphabetical order.
    pub fn given(&self) -> Vec<&'static str> {
        let all = [
            self.process.given(),
            self.source.given(),
            self.routing.given(),
            self.policy.given(),
            self.serving.given(),
            self.conntrack.given(),
            self.ipvs.given(),
            self.logging.given(),
        ];
        let mut names: Vec<_> = all.into_iter().flatten().collect();
        names.sort_unstable();
        names
    }
}

/// Writes `given`, which lists the names of the flags that have a value.
macro_rules! given {
    ($group:ident { $($field:ident: $name:literal),+ $(,)? }) => {
        impl $group {
            fn given(&self) -> Vec<&'static str> {
                // Every field is named: the compiler finds one that is missing.
                let Self { $($field),+ } = self;
                let all = [$(($name, $field.is_some())),+];
                all.into_iter().filter(|(_, said)| *said).map(|(name, _)| name).collect()
            }
        }
    };
}

given!(ProcessFlags {
    config: "config",
    write_config_to: "write-config-to",
    cleanup: "cleanup",
    init_only: "init-only",
    feature_gates: "feature-gates",
    oom_score_adj: "oom-score-adj",
});
given!(SourceFlags {
    manifests: "manifests",
    kubeconfig: "kubeconfig",
    master: "master",
    hostname_override: "hostname-override",
    kube_api_content_type: "kube-api-content-type",
    kube_api_qps: "kube-api-qps",
    kube_api_burst: "kube-api-burst",
    config_sync_period: "config-sync-period",
});
given!(RoutingFlags {
    proxy_mode: "proxy-mode",
    detect_local_mode: "detect-local-mode",
    cluster_cidr: "cluster-cidr",
    pod_bridge_interface: "pod-bridge-interface",
    pod_interface_name_prefix: "pod-interface-name-prefix",
    nodeport_addresses: "nodeport-addresses",
    masquerade_all: "masquerade-all",
    iptables_masquerade_bit: "iptables-masquerade-bit",
    iptables_localhost_nodeports: "iptables-localhost-nodeports",
    iptables_sync_period: "iptables-sync-period",
    iptables_min_sync_period: "iptables-min-sync-period",
    no_local_endpoints: "no-local-endpoints",
});
given!(PolicyFlags {
    network_policy: "network-policy",
    policy_existing_connections: "policy-existing-connections",
    policy_hold_unknown: "policy-hold-unknown",
    policy_log: "policy-log",
});
given!(ServingFlags {
    bind_address: "bind-address",
    healthz_bind_address: "healthz-bind-address",
    metrics_bind_address: "metrics-bind-address",
    bind_address_hard_fail: "bind-address-hard-fail",
    profiling: "profiling",
    show_hidden_metrics_for_version: "show-hidden-metrics-for-version",
    healthz_port: "healthz-port",
    metrics_port: "metrics-port",
    boot_id_file: "boot-id-file",
    machine_id_file: "machine-id-file",
});
given!(ConntrackFlags {
    conntrack_max_per_core: "conntrack-max-per-core",
    conntrack_min: "conntrack-min",
    conntrack_tcp_timeout_established: "conntrack-tcp-timeout-established",
    conntrack_tcp_timeout_close_wait: "conntrack-tcp-timeout-close-wait",
    conntrack_tcp_be_liberal: "conntrack-tcp-be-liberal",
    conntrack_udp_timeout: "conntrack-udp-timeout",
    conntrack_udp_timeout_stream: "conntrack-udp-timeout-stream",
});
given!(IpvsFlags {
    ipvs_sync_period: "ipvs-sync-period",
    ipvs_min_sync_period: "ipvs-min-sync-period",
    ipvs_scheduler: "ipvs-scheduler",
    ipvs_exclude_cidrs: "ipvs-exclude-cidrs",
    ipvs_strict_arp: "ipvs-strict-arp",
    ipvs_tcp_timeout: "ipvs-tcp-timeout",
    ipvs_tcpfin_timeout: "ipvs-tcpfin-timeout",
    ipvs_udp_timeout: "ipvs-udp-timeout",
});
given!(LoggingFlags {
    v: "v",
    logging_format: "logging-format",
    vmodule: "vmodule",
    log_flush_frequency: "log-flush-frequency",
    log_text_split_stream: "log-text-split-stream",
    log_text_info_buffer_size: "log-text-info-buffer-size",
    log_json_split_stream: "log-json-split-stream",
    log_json_info_buffer_size: "log-json-info-buffer-size",
});
