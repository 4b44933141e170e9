//! From a configuration with all defaults to what is meant, by kube-proxy's rules of validation.
//!
//! Every broken rule is noted, not the first alone. A value that is wrong is stood in for, so that
//! reading goes on; with a fault noted the result is thrown away.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use plan::{Config, DetectLocal, NodePortAddresses, OnNoLocalEndpoints};

use crate::address;
use crate::duration::MetaDuration;
use crate::flags::{NoLocalEndpoints, ProxyFlags};
use crate::gates::{self, FeatureGates};
use crate::meant::{Conntrack, LogFormat, Logging, Meant, Pace, ProxyMode, Source, Task};
use crate::notes::Notes;
use crate::policy;
use crate::v1alpha1::{self, KubeProxyConfiguration};

/// The minor version of Kubernetes that this proxy answers to.
const KUBERNETES_MINOR: u32 = 36;

/// Stands for an address that was none: the fault is noted, and ends the start.
const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// What is meant; only to be used if no fault was noted.
pub(crate) fn meant(
    config: KubeProxyConfiguration,
    flags: &ProxyFlags,
    host_name: &str,
    notes: &mut Notes,
) -> Meant {
    let features = gates::read(&config.feature_gates, notes);
    let mode = mode(&config, notes);
    let addresses = config.node_port_addresses.as_deref().unwrap_or_default();
    let node_port_addresses = notes
        .take("nodePortAddresses", address::node_port_addresses(addresses))
        .unwrap_or(NodePortAddresses::All);
    let localhost =
        mode == ProxyMode::Iptables && config.iptables.localhost_node_ports == Some(true);
    let route_localnet = localhost && address::has_v4_loopback(&node_port_addresses);
    let mut routing = Config::new(node_name(&config, host_name, notes));
    routing.detect_local = detect_local(&config, notes);
    routing.masquerade_all = match config.mode.as_str() {
        "nftables" => config.nftables.masquerade_all,
        _ => config.iptables.masquerade_all,
    };
    routing.node_port_addresses = node_port_addresses;
    routing.localhost_node_ports = localhost;
    routing.allow_external_ips = features.external_ips;
    routing.on_no_local_endpoints = match flags.routing.no_local_endpoints {
        Some(NoLocalEndpoints::Reject) => OnNoLocalEndpoints::Reject,
        Some(NoLocalEndpoints::Drop) | None => OnNoLocalEndpoints::Drop,
    };
    let masquerade_bit = masquerade_bit(&config, notes);
    let from_folder = flags.source.manifests.is_some();
    let (network_policy, policy) =
        policy::meant(&flags.policy, from_folder, (mode, masquerade_bit), notes);
    routing.network_policy = policy;
    let bind_address = bind_address(&config, notes);
    routing.own_address = (!bind_address.is_unspecified()).then_some(bind_address);
    show_hidden_metrics(&config, notes);
    Meant {
        task: task(flags),
        routing,
        network_policy,
        mode,
        masquerade_bit,
        route_localnet,
        pace: pace(&config, notes),
        bind_address,
        healthz: healthz(&config, notes),
        metrics: notes
            .take("metricsBindAddress", address::socket(&config.metrics_bind_address))
            .unwrap_or(SocketAddr::new(ANY, 0)),
        bind_address_hard_fail: config.bind_address_hard_fail,
        profiling: config.enable_profiling,
        conntrack: conntrack(&config.conntrack, notes),
        oom_score_adj: oom_score_adj(&config, notes),
        source: source(&config, flags, notes),
        logging: logging(&config.logging, features, notes),
        features,
        config_file: flags.process.config.clone(),
        effective: config,
    }
}

fn task(flags: &ProxyFlags) -> Task {
    let process = &flags.process;
    match &process.write_config_to {
        Some(path) => Task::WriteConfig(path.clone()),
        None if process.cleanup == Some(true) => Task::Cleanup,
        None if process.init_only == Some(true) => Task::InitOnly,
        None => Task::Serve,
    }
}

/// As Node objects write it: without blanks around, in lower case.
fn node_name(config: &KubeProxyConfiguration, host_name: &str, notes: &mut Notes) -> String {
    let said =
        if config.hostname_override.is_empty() { host_name } else { &config.hostname_override };
    let name = said.trim().to_lowercase();
    if name.is_empty() {
        notes.fault("hostnameOverride", "the node's name is empty; give its Node object's name");
    }
    name
}

fn mode(config: &KubeProxyConfiguration, notes: &mut Notes) -> ProxyMode {
    match config.mode.as_str() {
        "iptables" => ProxyMode::Iptables,
        "nftables" => ProxyMode::Nftables,
        "ipvs" => {
            notes.warn(
                "mode",
                "ipvs is deprecated in Kubernetes and answered by nftables here; say nftables",
            );
            ipvs(config, notes);
            ProxyMode::Nftables
        }
        other => {
            let problem = format!("{other:?}, expected iptables, nftables or ipvs, or nothing");
            notes.fault("mode", problem);
            ProxyMode::Iptables
        }
    }
}

/// kube-proxy checks these in mode ipvs alone.
fn ipvs(config: &KubeProxyConfiguration, notes: &mut Notes) {
    let ipvs = &config.ipvs;
    for text in ipvs.exclude_cidrs.iter().flatten() {
        notes.take("ipvs.excludeCIDRs", address::block(text));
    }
    for (field, timeout) in [
        ("ipvs.tcpTimeout", ipvs.tcp_timeout),
        ("ipvs.tcpFinTimeout", ipvs.tcp_fin_timeout),
        ("ipvs.udpTimeout", ipvs.udp_timeout),
    ] {
        at_least_zero(field, timeout, notes);
    }
}

fn detect_local(config: &KubeProxyConfiguration, notes: &mut Notes) -> DetectLocal {
    let interface = |field, name: &str, notes: &mut Notes| {
        notes.take(field, address::interface(name)).unwrap_or_default()
    };
    match config.detect_local_mode.as_str() {
        "ClusterCIDR" => {
            let blocks = notes.take("clusterCIDR", address::cluster_blocks(&config.cluster_cidr));
            match blocks.unwrap_or_default() {
                none if none.is_empty() => DetectLocal::Nothing,
                blocks => DetectLocal::ClusterCidr(blocks),
            }
        }
        "NodeCIDR" => DetectLocal::NodeCidr,
        "BridgeInterface" => DetectLocal::BridgeInterface(interface(
            "detectLocal.bridgeInterface",
            &config.detect_local.bridge_interface,
            notes,
        )),
        "InterfaceNamePrefix" => DetectLocal::InterfaceNamePrefix(interface(
            "detectLocal.interfaceNamePrefix",
            &config.detect_local.interface_name_prefix,
            notes,
        )),
        other => {
            let problem = format!(
                "{other:?}, expected ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix"
            );
            notes.fault("detectLocalMode", problem);
            DetectLocal::Nothing
        }
    }
}

/// The bit of iptables is checked in every mode, that of nftables in its own alone.
fn masquerade_bit(config: &KubeProxyConfiguration, notes: &mut Notes) -> u8 {
    let mut bit = |field, said: Option<i32>| {
        let said = said.unwrap_or(14);
        let bit = u8::try_from(said).ok().filter(|bit| *bit <= 31);
        notes.take(field, bit.ok_or_else(|| format!("{said}, expected 0 to 31"))).unwrap_or(14)
    };
    let of_iptables = bit("iptables.masqueradeBit", config.iptables.masquerade_bit);
    match config.mode.as_str() {
        "nftables" => bit("nftables.masqueradeBit", config.nftables.masquerade_bit),
        _ => of_iptables,
    }
}

/// The periods of the mode that was asked for.
fn pace(config: &KubeProxyConfiguration, notes: &mut Notes) -> Pace {
    let (section, sync, min) = match config.mode.as_str() {
        "nftables" => ("nftables", config.nftables.sync_period, config.nftables.min_sync_period),
        "ipvs" => ("ipvs", config.ipvs.sync_period, config.ipvs.min_sync_period),
        _ => ("iptables", config.iptables.sync_period, config.iptables.min_sync_period),
    };
    let sync_field = format!("{section}.syncPeriod");
    let sync_period = above_zero(&sync_field, sync, notes);
    let min_sync_period = at_least_zero(&format!("{section}.minSyncPeriod"), min, notes);
    let both_right = !sync_period.is_zero() && min >= MetaDuration::ZERO;
    if both_right && min > sync {
        let problem = format!("{sync} is shorter than {section}.minSyncPeriod, {min}");
        notes.fault(&sync_field, problem);
    }
    Pace { sync_period, min_sync_period }
}

fn above_zero(field: &str, said: MetaDuration, notes: &mut Notes) -> Duration {
    let positive = said.to_std().filter(|duration| !duration.is_zero());
    let checked = positive.ok_or_else(|| format!("{said}, expected more than 0"));
    notes.take(field, checked).unwrap_or_default()
}

fn at_least_zero(field: &str, said: MetaDuration, notes: &mut Notes) -> Duration {
    let checked = said.to_std().ok_or_else(|| format!("{said}, expected 0 or more"));
    notes.take(field, checked).unwrap_or_default()
}

fn bind_address(config: &KubeProxyConfiguration, notes: &mut Notes) -> IpAddr {
    let text = &config.bind_address;
    let address = text.parse::<IpAddr>().map(|address| address.to_canonical());
    let checked = address.map_err(|_| format!("{text:?} is not an IP address"));
    notes.take("bindAddress", checked).unwrap_or(ANY)
}

fn healthz(config: &KubeProxyConfiguration, notes: &mut Notes) -> Option<SocketAddr> {
    match config.healthz_bind_address.as_str() {
        "" => None,
        text => notes.take("healthzBindAddress", address::socket(text)),
    }
}

fn conntrack(said: &v1alpha1::Conntrack, notes: &mut Notes) -> Conntrack {
    let mut number = |field, said: Option<i32>| {
        let said = said.unwrap_or_default();
        let checked = u32::try_from(said).map_err(|_| format!("{said}, expected 0 or more"));
        notes.take(field, checked).unwrap_or_default()
    };
    let max_per_core = number("conntrack.maxPerCore", said.max_per_core);
    let min = number("conntrack.min", said.min);
    let mut timeout = |field, said: MetaDuration| {
        let timeout = at_least_zero(field, said, notes);
        Some(timeout).filter(|timeout| !timeout.is_zero())
    };
    let close_wait = said.tcp_close_wait_timeout.unwrap_or_default();
    let established = said.tcp_established_timeout.unwrap_or_default();
    Conntrack {
        max_per_core,
        min,
        tcp_be_liberal: said.tcp_be_liberal,
        tcp_close_wait_timeout: timeout("conntrack.tcpCloseWaitTimeout", close_wait),
        tcp_established_timeout: timeout("conntrack.tcpEstablishedTimeout", established),
        udp_stream_timeout: timeout("conntrack.udpStreamTimeout", said.udp_stream_timeout),
        udp_timeout: timeout("conntrack.udpTimeout", said.udp_timeout),
    }
}

fn oom_score_adj(config: &KubeProxyConfiguration, notes: &mut Notes) -> i32 {
    let said = config.oom_score_adj.unwrap_or_default();
    if !(-1000..=1000).contains(&said) {
        notes.fault("oomScoreAdj", format!("{said}, expected -1000 to 1000"));
    }
    said
}

fn source(config: &KubeProxyConfiguration, flags: &ProxyFlags, notes: &mut Notes) -> Source {
    let client = &config.client_connection;
    let burst =
        u32::try_from(client.burst).map_err(|_| format!("{}, expected 0 or more", client.burst));
    let burst = notes.take("clientConnection.burst", burst).unwrap_or_default();
    if !client.qps.is_finite() {
        notes.fault("clientConnection.qps", format!("{}, expected a number", client.qps));
    }
    // A path need not be text, so that of the flag counts as it was given.
    let by_flag = flags.source.kubeconfig.as_ref().filter(|_| flags.process.config.is_none());
    let kubeconfig = by_flag.cloned().unwrap_or_else(|| PathBuf::from(&client.kubeconfig));
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    Source {
        manifests: flags.source.manifests.clone(),
        kubeconfig: Some(kubeconfig).filter(|path| !path.as_os_str().is_empty()),
        master: given(&flags.source.master),
        qps: client.qps,
        burst,
        config_sync_period: above_zero("configSyncPeriod", config.config_sync_period, notes),
    }
}

fn show_hidden_metrics(config: &KubeProxyConfiguration, notes: &mut Notes) {
    let said = config.show_hidden_metrics_for_version.as_str();
    let previous = format!("1.{}", KUBERNETES_MINOR - 1);
    if !said.is_empty() && said != previous {
        let problem = format!("{said:?}, expected the previous minor version, {previous}");
        notes.fault("showHiddenMetricsForVersion", problem);
    }
}

/// By the rules of k8s.io/component-base.
fn logging(said: &v1alpha1::Logging, features: FeatureGates, notes: &mut Notes) -> Logging {
    let format = match said.format.as_str() {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        other => {
            notes.fault("logging.format", format!("{other:?}, expected text or json"));
            LogFormat::Text
        }
    };
    above_zero("logging.flushFrequency", said.flush_frequency, notes);
    let level = |field: &str, level: u32, notes: &mut Notes| {
        if i32::try_from(level).is_err() {
            notes.fault(field, format!("{level}, expected 0 to {}", i32::MAX));
        }
    };
    level("logging.verbosity", said.verbosity, notes);
    if !said.vmodule.is_empty() && format != LogFormat::Text {
        notes.fault("logging.vmodule", "has no place beside format json");
    }
    for item in &said.vmodule {
        if item.file_pattern.is_empty() || item.file_pattern.contains(['=', ',']) {
            let problem =
                format!("{:?}, expected a pattern without '=' and ','", item.file_pattern);
            notes.fault("logging.vmodule", problem);
        }
        level("logging.vmodule", item.verbosity, notes);
    }
    for (name, options) in [("text", &said.options.text), ("json", &said.options.json)] {
        let buffer = format!("logging.options.{name}.infoBufferSize");
        if !options.info_buffer_size.is_valid() {
            let text = &options.info_buffer_size.0;
            notes.fault(&buffer, format!("{text:?}, expected a number of bytes such as 4Ki"));
        } else if !options.info_buffer_size.is_zero() && !features.logging_alpha_options {
            notes.fault(&buffer, ALPHA);
        }
        if options.split_stream && !features.logging_alpha_options {
            notes.fault(&format!("logging.options.{name}.splitStream"), ALPHA);
        }
    }
    Logging { format, verbosity: said.verbosity }
}

const ALPHA: &str = "needs the feature gate LoggingAlphaOptions";
