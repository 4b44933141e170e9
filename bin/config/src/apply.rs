//! Flags over a configuration: all of them where no file spoke, a few beside a file.

use std::collections::BTreeMap;

use crate::defaults;
use crate::flags::{LoggingFlags, ProxyFlags, counts_beside_config};
use crate::notes::Notes;
use crate::v1alpha1::{KubeProxyConfiguration, Logging, Quantity, VModuleItem};

/// Beside a file, flags of logging and the node's name have the last word.
pub(crate) fn beside_file(
    flags: &ProxyFlags,
    config: &mut KubeProxyConfiguration,
    notes: &mut Notes,
) {
    for flag in flags.given() {
        if !counts_beside_config(flag) {
            notes.warn_flag(flag, "ignored, because --config is given; say it in the file");
        }
    }
    logging(&flags.logging, &mut config.logging, notes);
    node_name(flags, config, notes);
}

/// Without a file, every flag counts.
pub(crate) fn over_defaults(
    flags: &ProxyFlags,
    config: &mut KubeProxyConfiguration,
    notes: &mut Notes,
) {
    let process = &flags.process;
    if let Some(gates) = &process.feature_gates {
        config.feature_gates = feature_gates(gates, notes);
    }
    if process.oom_score_adj.is_some() {
        config.oom_score_adj = process.oom_score_adj;
    }
    source(flags, config);
    set(&flags.routing.proxy_mode, &mut config.mode);
    detection(flags, config);
    sections(flags, config);
    serving(flags, config, notes);
    conntrack(flags, config);
    ipvs(flags, config);
    logging(&flags.logging, &mut config.logging, notes);
    node_name(flags, config, notes);
}

fn set<T: Clone>(said: &Option<T>, field: &mut T) {
    if let Some(value) = said {
        field.clone_from(value);
    }
}

fn set_some<T: Clone>(said: &Option<T>, field: &mut Option<T>) {
    if said.is_some() {
        field.clone_from(said);
    }
}

fn node_name(flags: &ProxyFlags, config: &mut KubeProxyConfiguration, notes: &mut Notes) {
    let Some(said) = flags.source.hostname_override.as_deref().filter(|name| !name.is_empty())
    else {
        return;
    };
    let name = said.trim().to_lowercase();
    if name.is_empty() {
        notes.fault_flag("hostname-override", "blank; give the name of the Node object");
    }
    config.hostname_override = name;
}

fn source(flags: &ProxyFlags, config: &mut KubeProxyConfiguration) {
    let (said, client) = (&flags.source, &mut config.client_connection);
    if let Some(path) = &said.kubeconfig {
        client.kubeconfig = path.to_string_lossy().into_owned();
    }
    set(&said.kube_api_content_type, &mut client.content_type);
    set(&said.kube_api_qps, &mut client.qps);
    set(&said.kube_api_burst, &mut client.burst);
    set(&said.config_sync_period, &mut config.config_sync_period);
}

fn detection(flags: &ProxyFlags, config: &mut KubeProxyConfiguration) {
    let said = &flags.routing;
    set(&said.detect_local_mode, &mut config.detect_local_mode);
    set(&said.cluster_cidr, &mut config.cluster_cidr);
    set(&said.pod_bridge_interface, &mut config.detect_local.bridge_interface);
    set(&said.pod_interface_name_prefix, &mut config.detect_local.interface_name_prefix);
    if let Some(addresses) = &said.nodeport_addresses {
        let addresses = addresses.iter().filter(|word| !word.is_empty()).cloned();
        config.node_port_addresses = Some(addresses.collect());
    }
}

/// The section that flags speak of is that of the mode in force.
fn sections(flags: &ProxyFlags, config: &mut KubeProxyConfiguration) {
    let said = &flags.routing;
    set_some(&said.iptables_masquerade_bit, &mut config.iptables.masquerade_bit);
    set_some(&said.iptables_localhost_nodeports, &mut config.iptables.localhost_node_ports);
    if config.mode == "nftables" {
        set(&said.masquerade_all, &mut config.nftables.masquerade_all);
        set(&said.iptables_sync_period, &mut config.nftables.sync_period);
        set(&said.iptables_min_sync_period, &mut config.nftables.min_sync_period);
        return;
    }
    set(&said.masquerade_all, &mut config.iptables.masquerade_all);
    if config.mode != "ipvs" {
        set(&said.iptables_sync_period, &mut config.iptables.sync_period);
        set(&said.iptables_min_sync_period, &mut config.iptables.min_sync_period);
    }
}

fn serving(flags: &ProxyFlags, config: &mut KubeProxyConfiguration, notes: &mut Notes) {
    let said = &flags.serving;
    set(&said.bind_address, &mut config.bind_address);
    set(&said.healthz_bind_address, &mut config.healthz_bind_address);
    set(&said.metrics_bind_address, &mut config.metrics_bind_address);
    set(&said.bind_address_hard_fail, &mut config.bind_address_hard_fail);
    set(&said.profiling, &mut config.enable_profiling);
    set(&said.show_hidden_metrics_for_version, &mut config.show_hidden_metrics_for_version);
    for flag in ["boot-id-file", "machine-id-file"] {
        if flags.given().contains(&flag) {
            notes.warn_flag(flag, "has no effect: a leftover of cAdvisor's in kube-proxy");
        }
    }
    let ports = [
        ("healthz", said.healthz_port, &mut config.healthz_bind_address),
        ("metrics", said.metrics_port, &mut config.metrics_bind_address),
    ];
    for (server, port, address) in ports {
        let Some(port) = port else { continue };
        notes.warn_flag(
            &format!("{server}-port"),
            format!("deprecated; use --{server}-bind-address"),
        );
        // kube-proxy leaves these two out of a written configuration.
        if flags.process.write_config_to.is_some() {
            continue;
        }
        match u16::try_from(port) {
            Ok(0) => address.clear(),
            Ok(port) => {
                let with_port = crate::address::with_port(address, port);
                if with_port == *address && !address.ends_with(&format!(":{port}")) {
                    let text = format!("no effect: the address {address} has a port already");
                    notes.warn_flag(&format!("{server}-port"), text);
                }
                *address = with_port;
            }
            Err(_) => notes.fault_flag(
                &format!("{server}-port"),
                format!("{port}, expected 1 to 65535, or 0 for none"),
            ),
        }
    }
    defaults::with_ports(config);
}

fn conntrack(flags: &ProxyFlags, config: &mut KubeProxyConfiguration) {
    let (said, conntrack) = (&flags.conntrack, &mut config.conntrack);
    set_some(&said.conntrack_max_per_core, &mut conntrack.max_per_core);
    set_some(&said.conntrack_min, &mut conntrack.min);
    let established = &said.conntrack_tcp_timeout_established;
    set_some(established, &mut conntrack.tcp_established_timeout);
    set_some(&said.conntrack_tcp_timeout_close_wait, &mut conntrack.tcp_close_wait_timeout);
    set(&said.conntrack_tcp_be_liberal, &mut conntrack.tcp_be_liberal);
    set(&said.conntrack_udp_timeout, &mut conntrack.udp_timeout);
    set(&said.conntrack_udp_timeout_stream, &mut conntrack.udp_stream_timeout);
}

fn ipvs(flags: &ProxyFlags, config: &mut KubeProxyConfiguration) {
    let (said, ipvs) = (&flags.ipvs, &mut config.ipvs);
    if config.mode == "ipvs" {
        set(&said.ipvs_sync_period, &mut ipvs.sync_period);
        set(&said.ipvs_min_sync_period, &mut ipvs.min_sync_period);
    }
    set(&said.ipvs_scheduler, &mut ipvs.scheduler);
    set_some(&said.ipvs_exclude_cidrs, &mut ipvs.exclude_cidrs);
    set(&said.ipvs_strict_arp, &mut ipvs.strict_arp);
    set(&said.ipvs_tcp_timeout, &mut ipvs.tcp_timeout);
    set(&said.ipvs_tcpfin_timeout, &mut ipvs.tcp_fin_timeout);
    set(&said.ipvs_udp_timeout, &mut ipvs.udp_timeout);
}

fn logging(said: &LoggingFlags, logging: &mut Logging, notes: &mut Notes) {
    set(&said.v, &mut logging.verbosity);
    set(&said.logging_format, &mut logging.format);
    set(&said.log_flush_frequency, &mut logging.flush_frequency);
    let options = &mut logging.options;
    set(&said.log_text_split_stream, &mut options.text.split_stream);
    set(&said.log_json_split_stream, &mut options.json.split_stream);
    let quantity = |text: &Option<String>| text.clone().map(Quantity);
    set(&quantity(&said.log_text_info_buffer_size), &mut options.text.info_buffer_size);
    set(&quantity(&said.log_json_info_buffer_size), &mut options.json.info_buffer_size);
    if let Some(words) = &said.vmodule {
        // The patterns of flags stand before those of a file, since the first match counts.
        let mut items = vmodule(words, notes);
        items.append(&mut logging.vmodule);
        logging.vmodule = items;
    }
}

fn vmodule(words: &[String], notes: &mut Notes) -> Vec<VModuleItem> {
    let mut items = Vec::new();
    for word in words.iter().filter(|word| !word.is_empty()) {
        let item = word.split_once('=').and_then(|(pattern, level)| {
            Some(VModuleItem { file_pattern: pattern.into(), verbosity: level.parse().ok()? })
        });
        match item {
            Some(item) => items.push(item),
            None => notes.fault_flag("vmodule", format!("{word:?}, expected PATTERN=LEVEL")),
        }
    }
    items
}

fn feature_gates(words: &[String], notes: &mut Notes) -> BTreeMap<String, bool> {
    let mut gates = BTreeMap::new();
    for word in words.iter().map(|word| word.trim()).filter(|word| !word.is_empty()) {
        let gate = word.split_once('=').and_then(|(name, value)| {
            Some((name.trim().to_owned(), value.trim().to_lowercase().parse().ok()?))
        });
        match gate {
            Some((name, on)) => {
                gates.insert(name, on);
            }
            None => notes
                .fault_flag("feature-gates", format!("{word:?}, expected NAME=true or NAME=false")),
        }
    }
    gates
}
