//! `KubeProxyConfiguration` of `kubeproxy.config.k8s.io/v1alpha1`, as the file says it.
//!
//! Every field of the Kubernetes type is here, and no other. Fields stand in the alphabetical order
//! of their names, which is the order in which they are written. An `Option` tells "not said" from a
//! zero where Kubernetes tells them apart; elsewhere a zero means "not said" (see `defaults`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use crate::duration::{MetaDuration, or_nanoseconds};

/// The only version of the file.
pub const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
/// The only kind.
pub const KIND: &str = "KubeProxyConfiguration";

/// Everything an operator may say in the file of `--config`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KubeProxyConfiguration {
    /// [`API_VERSION`].
    pub api_version: String,
    /// Overrides the node's own address and primary family; nothing is bound to it.
    pub bind_address: String,
    /// Whether a port that cannot be bound ends the process.
    pub bind_address_hard_fail: bool,
    /// How to reach the Kubernetes API.
    pub client_connection: ClientConnection,
    /// The addresses of all Pods: one block, or one of each family with a comma between.
    #[serde(rename = "clusterCIDR")]
    pub cluster_cidr: String,
    /// How often everything is read from the API anew.
    pub config_sync_period: MetaDuration,
    /// Settings of connection tracking.
    pub conntrack: Conntrack,
    /// What `detect_local_mode` needs to know.
    pub detect_local: DetectLocal,
    /// How a packet from a Pod of this cluster is told from one of outside.
    pub detect_local_mode: String,
    /// Whether the metrics server answers under `/debug/pprof`.
    pub enable_profiling: bool,
    /// Features switched on and off by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub feature_gates: BTreeMap<String, bool>,
    /// Where health is served: `IP:port`, or an IP alone.
    pub healthz_bind_address: String,
    /// This node's name, if it is not the host's.
    pub hostname_override: String,
    /// Settings of iptables mode.
    pub iptables: Iptables,
    /// Settings of ipvs mode.
    pub ipvs: Ipvs,
    /// [`KIND`].
    pub kind: String,
    /// How to log.
    pub logging: Logging,
    /// Where metrics are served: `IP:port`, or an IP alone.
    pub metrics_bind_address: String,
    /// How rules are written: `iptables`, `nftables`, `ipvs`, or nothing for `iptables`.
    pub mode: String,
    /// Settings of nftables mode.
    pub nftables: Nftables,
    /// Where NodePorts answer: blocks of addresses, or the one word `primary`.
    pub node_port_addresses: Option<Vec<String>>,
    /// How readily the kernel kills the process when memory runs out, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Unused since the userspace proxy is gone.
    pub port_range: String,
    /// A Kubernetes version (`1.35`) whose since hidden metrics are shown again.
    pub show_hidden_metrics_for_version: String,
    /// Windows only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub windows_run_as_service: bool,
    /// Windows only.
    pub winkernel: Winkernel,
}

/// `clientConnection`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientConnection {
    /// What the client asks for in `Accept`.
    pub accept_content_types: String,
    /// How many requests may exceed `qps` for a moment.
    pub burst: i32,
    /// What the client sends.
    pub content_type: String,
    /// The path of a kubeconfig; without one, the Pod's own service account counts.
    pub kubeconfig: String,
    /// Requests a second.
    #[serde(serialize_with = "plain_number")]
    pub qps: f32,
}

/// `conntrack`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conntrack {
    /// Connections to track per CPU; 0 leaves the kernel's limit alone.
    pub max_per_core: Option<i32>,
    /// The least number of connections to track.
    pub min: Option<i32>,
    /// Whether packets out of the TCP window count as valid.
    pub tcp_be_liberal: bool,
    /// How long a half-closed connection is kept; 0 leaves the kernel's time alone.
    pub tcp_close_wait_timeout: Option<MetaDuration>,
    /// How long an idle connection is kept; 0 leaves the kernel's time alone.
    pub tcp_established_timeout: Option<MetaDuration>,
    /// How long an idle UDP flow with answers is kept; 0 leaves the kernel's time alone.
    pub udp_stream_timeout: MetaDuration,
    /// How long an idle UDP flow without answers is kept; 0 leaves the kernel's time alone.
    pub udp_timeout: MetaDuration,
}

/// `detectLocal`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DetectLocal {
    /// The bridge of mode BridgeInterface.
    pub bridge_interface: String,
    /// How interface names start, for mode InterfaceNamePrefix.
    pub interface_name_prefix: String,
}

/// `iptables`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Iptables {
    /// Whether IPv4 NodePorts answer on loopback.
    pub localhost_node_ports: Option<bool>,
    /// Masquerade everything sent to cluster IPs.
    pub masquerade_all: bool,
    /// The bit of the packet mark that asks for masquerading, 0 to 31.
    pub masquerade_bit: Option<i32>,
    /// The least time between two syncs.
    pub min_sync_period: MetaDuration,
    /// The longest time until a failed sync is tried again.
    pub sync_period: MetaDuration,
}

/// `ipvs`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ipvs {
    /// What cleaning must not touch.
    #[serde(rename = "excludeCIDRs")]
    pub exclude_cidrs: Option<Vec<String>>,
    /// The least time between two syncs.
    pub min_sync_period: MetaDuration,
    /// The scheduler's name.
    pub scheduler: String,
    /// Whether the host answers ARP for its own addresses only.
    #[serde(rename = "strictARP")]
    pub strict_arp: bool,
    /// The longest time until a failed sync is tried again.
    pub sync_period: MetaDuration,
    /// Idle time of TCP sessions after a FIN.
    pub tcp_fin_timeout: MetaDuration,
    /// Idle time of TCP sessions.
    pub tcp_timeout: MetaDuration,
    /// Idle time of UDP sessions.
    pub udp_timeout: MetaDuration,
}

/// `logging`, by k8s.io/component-base
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Logging {
    /// The longest time until buffered lines are written: text, or a number of nanoseconds.
    #[serde(deserialize_with = "or_nanoseconds")]
    pub flush_frequency: MetaDuration,
    /// `text` or `json`.
    pub format: String,
    /// What belongs to one format alone.
    pub options: FormatOptions,
    /// How much to log.
    pub verbosity: u32,
    /// Verbosity by source file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vmodule: Vec<VModuleItem>,
}

/// `logging.options`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FormatOptions {
    /// For format `json`.
    pub json: OutputRouting,
    /// For format `text`.
    pub text: OutputRouting,
}

/// `logging.options.text` and `.json`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OutputRouting {
    /// How many bytes of informational lines to buffer, as a Kubernetes quantity.
    pub info_buffer_size: Quantity,
    /// Whether informational lines go to standard output and errors to standard error.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub split_stream: bool,
}

/// One entry of `logging.vmodule`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VModuleItem {
    /// A source file's name without its ending, or a glob pattern.
    pub file_pattern: String,
    /// The verbosity there.
    pub verbosity: u32,
}

/// `nftables`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Nftables {
    /// Masquerade everything sent to cluster IPs.
    pub masquerade_all: bool,
    /// The bit of the packet mark that asks for masquerading, 0 to 31.
    pub masquerade_bit: Option<i32>,
    /// The least time between two syncs.
    pub min_sync_period: MetaDuration,
    /// The longest time until a failed sync is tried again.
    pub sync_period: MetaDuration,
}

/// `winkernel`: Windows only
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Winkernel {
    /// Windows only.
    #[serde(rename = "enableDSR")]
    pub enable_dsr: bool,
    /// Windows only.
    pub forward_health_check_vip: bool,
    /// Windows only.
    pub network_name: String,
    /// Windows only.
    pub root_hns_endpoint_name: String,
    /// Windows only.
    pub source_vip: String,
}

/// A Kubernetes quantity, kept as it was written: `512`, `4Ki`, `1M`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Quantity(pub String);

impl Default for Quantity {
    fn default() -> Self {
        Self("0".into())
    }
}

impl Quantity {
    /// Whether it is a whole number with a known suffix.
    pub fn is_valid(&self) -> bool {
        let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, suffix) = self.0.split_at(end);
        let suffixes = ["", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        !digits.is_empty() && suffixes.contains(&suffix)
    }

    /// Whether nothing is asked for.
    pub fn is_zero(&self) -> bool {
        self.is_valid() && !self.0.contains(|c| ('1'..='9').contains(&c))
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl serde::de::Visitor<'_> for Either {
            type Value = Quantity;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of bytes such as 512 or 4Ki")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Quantity, E> {
                Ok(Quantity(text.into()))
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Writes 5.0 as `5`, as Kubernetes does.
#[allow(clippy::cast_possible_truncation, reason = "only whole numbers of a small size")]
#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn plain_number<S: Serializer>(number: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    if number.fract() == 0.0 && number.abs() < 1e9 {
        serializer.serialize_i64(*number as i64)
    } else {
        serializer.serialize_f32(*number)
    }
}
