//! A table: every field and every flag, what becomes of it, and why.
//!
//! `docs/flags.md` is written from it, and warnings about words without effect come from it.

/// What becomes of a field or flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does what it does in kube-proxy, or what the note says.
    Works,
    /// It is accepted, checked where kube-proxy checks it, and changes nothing.
    Ignored,
}

/// A field, the flag for it, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The field's path in a KubeProxyConfiguration; none for a flag without a field.
    pub field: Option<&'static str>,
    /// The flag without its dashes; none for a field without a flag.
    pub flag: Option<&'static str>,
    /// What becomes of it.
    pub effect: Effect,
    /// What differs from kube-proxy or is worth knowing; for what is ignored, why.
    pub note: &'static str,
}

const fn works(field: &'static str, flag: &'static str, note: &'static str) -> Entry {
    Entry { field: Some(field), flag: Some(flag), effect: Effect::Works, note }
}

const fn works_field(field: &'static str, note: &'static str) -> Entry {
    Entry { field: Some(field), flag: None, effect: Effect::Works, note }
}

const fn works_flag(flag: &'static str, note: &'static str) -> Entry {
    Entry { field: None, flag: Some(flag), effect: Effect::Works, note }
}

const fn ignored(field: &'static str, flag: &'static str, note: &'static str) -> Entry {
    Entry { field: Some(field), flag: Some(flag), effect: Effect::Ignored, note }
}

const fn ignored_field(field: &'static str, note: &'static str) -> Entry {
    Entry { field: Some(field), flag: None, effect: Effect::Ignored, note }
}

const fn ignored_flag(flag: &'static str, note: &'static str) -> Entry {
    Entry { field: None, flag: Some(flag), effect: Effect::Ignored, note }
}

const WINDOWS: &str = "Windows only";
const NO_IPVS: &str = "mode ipvs is answered by nftables";
const ONE_STREAM: &str = "the log goes to standard error as it comes";
const WATCHED: &str = "the API is watched without pause, and lists are read anew after each loss";
const FEW_REQUESTS: &str =
    "a few lists and watches are all that is asked of the API, with growing pauses after failures";
const JSON_ALONE: &str = "the API is spoken to in JSON";

/// Fields in alphabetical order, then flags without a field.
pub const TABLE: &[Entry] = &[
    works_field("apiVersion", "kubeproxy.config.k8s.io/v1alpha1; anything else is refused"),
    works(
        "bindAddress",
        "bind-address",
        "the node's own address of its family, over the Node object's; nothing is bound to it, as in kube-proxy",
    ),
    works("bindAddressHardFail", "bind-address-hard-fail", ""),
    ignored_field("clientConnection.acceptContentTypes", JSON_ALONE),
    ignored("clientConnection.burst", "kube-api-burst", FEW_REQUESTS),
    ignored("clientConnection.contentType", "kube-api-content-type", JSON_ALONE),
    works("clientConnection.kubeconfig", "kubeconfig", ""),
    ignored("clientConnection.qps", "kube-api-qps", FEW_REQUESTS),
    works("clusterCIDR", "cluster-cidr", "read in mode ClusterCIDR; leading zeros are refused"),
    ignored("configSyncPeriod", "config-sync-period", WATCHED),
    works("conntrack.maxPerCore", "conntrack-max-per-core", ""),
    works("conntrack.min", "conntrack-min", ""),
    works("conntrack.tcpBeLiberal", "conntrack-tcp-be-liberal", ""),
    works("conntrack.tcpCloseWaitTimeout", "conntrack-tcp-timeout-close-wait", ""),
    works("conntrack.tcpEstablishedTimeout", "conntrack-tcp-timeout-established", ""),
    works("conntrack.udpStreamTimeout", "conntrack-udp-timeout-stream", ""),
    works("conntrack.udpTimeout", "conntrack-udp-timeout", ""),
    works("detectLocal.bridgeInterface", "pod-bridge-interface", "an interface name of Linux"),
    works(
        "detectLocal.interfaceNamePrefix",
        "pod-interface-name-prefix",
        "how an interface name of Linux may start",
    ),
    works("detectLocalMode", "detect-local-mode", "empty for ClusterCIDR"),
    ignored("enableProfiling", "profiling", "there is no /debug/pprof: it shows a Go runtime"),
    works(
        "featureGates",
        "feature-gates",
        "AllowServiceExternalIPs, ComponentFlagz, ComponentStatusz, LoggingAlphaOptions, AllAlpha, \
         AllBeta; others change nothing and are warned of",
    ),
    works("healthzBindAddress", "healthz-bind-address", "an IP alone gets port 10256"),
    works("hostnameOverride", "hostname-override", "--node is the same flag"),
    works(
        "iptables.localhostNodePorts",
        "iptables-localhost-nodeports",
        "mode iptables and IPv4 alone",
    ),
    works("iptables.masqueradeAll", "masquerade-all", "modes iptables and ipvs"),
    works("iptables.masqueradeBit", "iptables-masquerade-bit", "modes iptables and ipvs"),
    works("iptables.minSyncPeriod", "iptables-min-sync-period", "mode iptables"),
    works("iptables.syncPeriod", "iptables-sync-period", "mode iptables"),
    ignored("ipvs.excludeCIDRs", "ipvs-exclude-cidrs", NO_IPVS),
    works("ipvs.minSyncPeriod", "ipvs-min-sync-period", "mode ipvs"),
    ignored("ipvs.scheduler", "ipvs-scheduler", NO_IPVS),
    ignored("ipvs.strictARP", "ipvs-strict-arp", NO_IPVS),
    works("ipvs.syncPeriod", "ipvs-sync-period", "mode ipvs"),
    ignored("ipvs.tcpFinTimeout", "ipvs-tcpfin-timeout", NO_IPVS),
    ignored("ipvs.tcpTimeout", "ipvs-tcp-timeout", NO_IPVS),
    ignored("ipvs.udpTimeout", "ipvs-udp-timeout", NO_IPVS),
    works_field("kind", "KubeProxyConfiguration; anything else is refused"),
    ignored("logging.flushFrequency", "log-flush-frequency", "nothing is buffered"),
    works("logging.format", "logging-format", "text or json"),
    ignored("logging.options.json.infoBufferSize", "log-json-info-buffer-size", ONE_STREAM),
    ignored("logging.options.json.splitStream", "log-json-split-stream", ONE_STREAM),
    ignored("logging.options.text.infoBufferSize", "log-text-info-buffer-size", ONE_STREAM),
    ignored("logging.options.text.splitStream", "log-text-split-stream", ONE_STREAM),
    works("logging.verbosity", "v", ""),
    ignored("logging.vmodule", "vmodule", "its patterns name source files of kube-proxy"),
    works(
        "metricsBindAddress",
        "metrics-bind-address",
        "an IP alone gets port 10249; as in kube-proxy it cannot be switched off",
    ),
    works("mode", "proxy-mode", "iptables (or empty), nftables, and ipvs, which nftables answers"),
    works_field("nftables.masqueradeAll", "mode nftables; --masquerade-all sets it"),
    works_field("nftables.masqueradeBit", "mode nftables; no flag, as in kube-proxy"),
    works_field("nftables.minSyncPeriod", "mode nftables; --iptables-min-sync-period sets it"),
    works_field("nftables.syncPeriod", "mode nftables; --iptables-sync-period sets it"),
    works(
        "nodePortAddresses",
        "nodeport-addresses",
        "by default every address, and in mode nftables \"primary\"; leading zeros are refused",
    ),
    works("oomScoreAdj", "oom-score-adj", "a failure is logged at -v 2 alone, as in kube-proxy"),
    ignored_field("portRange", "nothing has used it since the userspace proxy went"),
    ignored(
        "showHiddenMetricsForVersion",
        "show-hidden-metrics-for-version",
        "no metric has been hidden; checked against Kubernetes 1.36",
    ),
    ignored_field("windowsRunAsService", WINDOWS),
    ignored_field("winkernel.enableDSR", WINDOWS),
    ignored_field("winkernel.forwardHealthCheckVip", WINDOWS),
    ignored_field("winkernel.networkName", WINDOWS),
    ignored_field("winkernel.rootHnsEndpointName", WINDOWS),
    ignored_field("winkernel.sourceVip", WINDOWS),
    ignored_flag("boot-id-file", "a leftover of cAdvisor's in kube-proxy"),
    works_flag("cleanup", "removes the rules of both modes, and those of kube-proxy"),
    works_flag(
        "config",
        "watched; a change is followed in place, or ends the process where it needs a start",
    ),
    works_flag("healthz-port", "deprecated; 0 switches health off"),
    works_flag("help", ""),
    works_flag("init-only", ""),
    ignored_flag("machine-id-file", "a leftover of cAdvisor's in kube-proxy"),
    works_flag("manifests", "ours: a folder of manifests instead of the API"),
    works_flag("master", ""),
    works_flag("metrics-port", "deprecated; 0 is refused, as in kube-proxy"),
    works_flag(
        "network-policy",
        "ours: auto, on or off; auto if Pods, Namespaces and NetworkPolicies may be read",
    ),
    works_flag("no-local-endpoints", "ours: drop or reject where internalTrafficPolicy is Local"),
    works_flag("node", "ours: another name of --hostname-override"),
    works_flag(
        "policy-existing-connections",
        "ours: keep or cut what a change of policies forbids; cut",
    ),
    works_flag(
        "policy-hold-unknown",
        "ours: how long unknown addresses of this node's Pod blocks are held back; 10s",
    ),
    works_flag("policy-log", "ours: log samples of what policies deny; false"),
    works_flag("version", "prints the version; takes no value"),
    works_flag("write-config-to", ""),
];

/// The flag (without dashes) that says what a field says.
pub fn flag_of(field: &str) -> Option<&'static str> {
    // The flags named after iptables speak for nftables too.
    let spoken_for = match field {
        "nftables.masqueradeAll" => "iptables.masqueradeAll",
        "nftables.minSyncPeriod" => "iptables.minSyncPeriod",
        "nftables.syncPeriod" => "iptables.syncPeriod",
        other => other,
    };
    TABLE.iter().find(|entry| entry.field == Some(spoken_for)).and_then(|entry| entry.flag)
}
