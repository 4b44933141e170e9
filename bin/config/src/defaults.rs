//! What counts where the operator says nothing: kube-proxy's defaults.

use std::net::IpAddr;

use crate::address::with_port;
use crate::duration::MetaDuration;
use crate::v1alpha1::{API_VERSION, KIND, KubeProxyConfiguration};

/// kube-proxy's port for health.
pub const HEALTHZ_PORT: u16 = 10256;
/// kube-proxy's port for metrics.
pub const METRICS_PORT: u16 = 10249;

/// The configuration of an operator who says nothing.
pub(crate) fn configuration() -> KubeProxyConfiguration {
    let mut config = KubeProxyConfiguration {
        api_version: API_VERSION.into(),
        kind: KIND.into(),
        ..KubeProxyConfiguration::default()
    };
    fill(&mut config);
    config
}

/// Fills in what a file does not say. A zero counts as "not said" where Kubernetes has no other
/// word for it: periods, QPS, burst.
pub(crate) fn fill(config: &mut KubeProxyConfiguration) {
    addresses(config);
    or_text(&mut config.client_connection.content_type, "application/vnd.kubernetes.protobuf");
    if config.client_connection.qps == 0.0 {
        config.client_connection.qps = 5.0;
    }
    if config.client_connection.burst == 0 {
        config.client_connection.burst = 10;
    }
    or_seconds(&mut config.config_sync_period, 15 * 60);
    config.conntrack.max_per_core.get_or_insert(32 * 1024);
    config.conntrack.min.get_or_insert(128 * 1024);
    let established = MetaDuration::from_seconds(24 * 60 * 60);
    config.conntrack.tcp_established_timeout.get_or_insert(established);
    config.conntrack.tcp_close_wait_timeout.get_or_insert(MetaDuration::from_seconds(60 * 60));
    config.iptables.localhost_node_ports.get_or_insert(true);
    config.iptables.masquerade_bit.get_or_insert(14);
    or_seconds(&mut config.iptables.sync_period, 30);
    or_seconds(&mut config.iptables.min_sync_period, 1);
    config.nftables.masquerade_bit.get_or_insert(14);
    or_seconds(&mut config.nftables.sync_period, 30);
    or_seconds(&mut config.nftables.min_sync_period, 1);
    or_seconds(&mut config.ipvs.sync_period, 30);
    or_text(&mut config.logging.format, "text");
    or_seconds(&mut config.logging.flush_frequency, 5);
    config.oom_score_adj.get_or_insert(-999);
}

/// What only Linux fills in, after flags have spoken: the mode, and what depends on it.
pub(crate) fn fill_for_linux(config: &mut KubeProxyConfiguration) {
    or_text(&mut config.mode, "iptables");
    or_text(&mut config.detect_local_mode, "ClusterCIDR");
    if config.mode == "nftables" && config.node_port_addresses.is_none() {
        config.node_port_addresses = Some(vec!["primary".into()]);
    }
}

fn addresses(config: &mut KubeProxyConfiguration) {
    or_text(&mut config.bind_address, "0.0.0.0");
    // As kube-proxy: what is no address at all gets the defaults of IPv6.
    let v4 = match config.bind_address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_ipv4(),
        Err(_) => false,
    };
    let (healthz, metrics) = if v4 { ("0.0.0.0", "127.0.0.1") } else { ("::", "::1") };
    or_text(&mut config.healthz_bind_address, healthz);
    or_text(&mut config.metrics_bind_address, metrics);
    with_ports(config);
}

/// Adds kube-proxy's ports to addresses that stand alone.
pub(crate) fn with_ports(config: &mut KubeProxyConfiguration) {
    config.healthz_bind_address = with_port(&config.healthz_bind_address, HEALTHZ_PORT);
    config.metrics_bind_address = with_port(&config.metrics_bind_address, METRICS_PORT);
}

fn or_text(field: &mut String, default: &str) {
    if field.is_empty() {
        *field = default.into();
    }
}

fn or_seconds(field: &mut MetaDuration, default: i64) {
    if *field == MetaDuration::ZERO {
        *field = MetaDuration::from_seconds(default);
    }
}
