//! Every rule of validation, broken once.

use crate::{by_file, by_flags, faults};

/// The fields, and the fault's place and a part of its problem.
const RULES: &[(&str, &str, &str)] = &[
    ("bindAddress: 10.0.0.256", "bindAddress", "is not an IP address"),
    ("healthzBindAddress: '10.0.0.1:0'", "healthzBindAddress", "port 0"),
    ("healthzBindAddress: '10.0.0.1:65536'", "healthzBindAddress", "expected IP:port"),
    ("healthzBindAddress: 'localhost:1'", "healthzBindAddress", "expected IP:port"),
    ("healthzBindAddress: '[::1]'", "healthzBindAddress", "expected IP:port"),
    ("metricsBindAddress: ':10249'", "metricsBindAddress", "expected IP:port"),
    ("metricsBindAddress: 'x'", "metricsBindAddress", "expected IP:port"),
    ("clientConnection: {burst: -1}", "clientConnection.burst", "expected 0 or more"),
    ("configSyncPeriod: -1s", "configSyncPeriod", "-1s, expected more than 0"),
    ("conntrack: {maxPerCore: -1}", "conntrack.maxPerCore", "expected 0 or more"),
    ("conntrack: {min: -1}", "conntrack.min", "expected 0 or more"),
    ("conntrack: {tcpEstablishedTimeout: -5s}", "conntrack.tcpEstablishedTimeout", "-5s"),
    ("conntrack: {tcpCloseWaitTimeout: -5s}", "conntrack.tcpCloseWaitTimeout", "-5s"),
    ("conntrack: {udpTimeout: -5s}", "conntrack.udpTimeout", "-5s"),
    ("conntrack: {udpStreamTimeout: -5s}", "conntrack.udpStreamTimeout", "-5s"),
    ("oomScoreAdj: -1001", "oomScoreAdj", "expected -1000 to 1000"),
    ("oomScoreAdj: 1001", "oomScoreAdj", "expected -1000 to 1000"),
    ("mode: userspace", "mode", "expected iptables, nftables or ipvs"),
    ("mode: kernelspace", "mode", "expected iptables, nftables or ipvs"),
    ("detectLocalMode: Guess", "detectLocalMode", "expected ClusterCIDR"),
    ("detectLocalMode: BridgeInterface", "detectLocal.bridgeInterface", "needed"),
    ("detectLocalMode: InterfaceNamePrefix", "detectLocal.interfaceNamePrefix", "needed"),
    (
        "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: a-name-too-long-}",
        "detectLocal.bridgeInterface",
        "no interface name",
    ),
    ("clusterCIDR: 10.0.0.0", "clusterCIDR", "not an address block"),
    ("clusterCIDR: 10.0.0.0/8,", "clusterCIDR", "not an address block"),
    ("clusterCIDR: 10.0.0.0/8,11.0.0.0/8", "clusterCIDR", "2 IPv4 blocks"),
    ("clusterCIDR: 'fd00::/8,fc00::/8,10.0.0.0/8'", "clusterCIDR", "2 IPv6 blocks"),
    ("clusterCIDR: 010.0.0.0/8", "clusterCIDR", "not an address block"),
    ("nodePortAddresses: [10.0.0.0]", "nodePortAddresses", "not an address block"),
    ("nodePortAddresses: [primary, primary]", "nodePortAddresses", "stands alone"),
    ("iptables: {masqueradeBit: 32}", "iptables.masqueradeBit", "32, expected 0 to 31"),
    ("iptables: {masqueradeBit: -1}\nmode: nftables", "iptables.masqueradeBit", "-1"),
    ("nftables: {masqueradeBit: 32}\nmode: nftables", "nftables.masqueradeBit", "32"),
    ("iptables: {syncPeriod: -1s}", "iptables.syncPeriod", "expected more than 0"),
    ("iptables: {minSyncPeriod: -1s}", "iptables.minSyncPeriod", "expected 0 or more"),
    ("iptables: {syncPeriod: 5s, minSyncPeriod: 6s}", "iptables.syncPeriod", "5s is shorter than"),
    ("mode: nftables\nnftables: {syncPeriod: -1s}", "nftables.syncPeriod", "more than 0"),
    ("mode: nftables\nnftables: {minSyncPeriod: 31s}", "nftables.syncPeriod", "is shorter than"),
    ("mode: ipvs\nipvs: {syncPeriod: -1s}", "ipvs.syncPeriod", "more than 0"),
    ("mode: ipvs\nipvs: {minSyncPeriod: 31s}", "ipvs.syncPeriod", "is shorter than"),
    ("mode: ipvs\nipvs: {excludeCIDRs: [x]}", "ipvs.excludeCIDRs", "not an address block"),
    ("mode: ipvs\nipvs: {tcpTimeout: -1s}", "ipvs.tcpTimeout", "expected 0 or more"),
    ("mode: ipvs\nipvs: {tcpFinTimeout: -1s}", "ipvs.tcpFinTimeout", "expected 0 or more"),
    ("mode: ipvs\nipvs: {udpTimeout: -1s}", "ipvs.udpTimeout", "expected 0 or more"),
    ("showHiddenMetricsForVersion: '1.34'", "showHiddenMetricsForVersion", "1.35"),
    ("featureGates: {NFTablesProxyMode: false}", "featureGates", "locked to true"),
    ("logging: {format: xml}", "logging.format", "expected text or json"),
    ("logging: {flushFrequency: -1s}", "logging.flushFrequency", "more than 0"),
    ("logging: {verbosity: 2147483648}", "logging.verbosity", "2147483648"),
    (
        "logging: {format: json, vmodule: [{filePattern: a, verbosity: 1}]}",
        "logging.vmodule",
        "format json",
    ),
    ("logging: {vmodule: [{filePattern: '', verbosity: 1}]}", "logging.vmodule", "pattern"),
    ("logging: {vmodule: [{filePattern: a=b}]}", "logging.vmodule", "pattern"),
    (
        "logging: {options: {json: {splitStream: true}}}",
        "logging.options.json.splitStream",
        "LoggingAlphaOptions",
    ),
    (
        "logging: {options: {text: {infoBufferSize: 4Ki}}}",
        "logging.options.text.infoBufferSize",
        "LoggingAlphaOptions",
    ),
    (
        "logging: {options: {text: {infoBufferSize: much}}}",
        "logging.options.text.infoBufferSize",
        "number of bytes",
    ),
];

#[test]
fn every_rule_broken_once_is_the_one_fault_named() {
    for (fields, place, part) in RULES {
        let found = faults(by_file(fields, &[]));
        assert_eq!(found.len(), 1, "{fields}: {found:?}");
        assert!(found[0].starts_with(&format!("{place}: ")), "{fields}: {found:?}");
        assert!(found[0].contains(part), "{fields}: {found:?}");
    }
}

#[test]
fn rules_of_another_mode_do_not_count() {
    for fields in [
        "nftables: {masqueradeBit: 32, syncPeriod: -1s}",
        "mode: nftables\niptables: {syncPeriod: -1s, minSyncPeriod: 40s}",
        "ipvs: {excludeCIDRs: [x], tcpTimeout: -1s, syncPeriod: -1s}",
        "detectLocalMode: NodeCIDR\ndetectLocal: {bridgeInterface: a/b}\nclusterCIDR: x",
    ] {
        by_file(fields, &[]).unwrap_or_else(|error| panic!("{fields}: {error}"));
    }
}

#[test]
fn the_bounds_themselves_are_right() {
    for fields in [
        "oomScoreAdj: -1000",
        "oomScoreAdj: 1000",
        "iptables: {masqueradeBit: 0}",
        "iptables: {masqueradeBit: 31}",
        "iptables: {syncPeriod: 6s, minSyncPeriod: 6s}",
        "healthzBindAddress: '10.0.0.1:65535'",
        "showHiddenMetricsForVersion: '1.35'",
        "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: fifteen-letters}",
        "featureGates: {LoggingAlphaOptions: true}\nlogging: {options: {text: \
         {infoBufferSize: 4Ki, splitStream: true}}}",
        "logging: {flushFrequency: 5000000000}",
    ] {
        by_file(fields, &[]).unwrap_or_else(|error| panic!("{fields}: {error}"));
    }
}

#[test]
fn all_faults_are_told_at_once_by_path_or_by_flag() {
    let found =
        faults(by_file("oomScoreAdj: 5000\nconntrack: {min: -1}\nmode: x\nclusterCIDR: z\n", &[]));
    let places: Vec<_> = found.iter().map(|fault| fault.split(':').next().unwrap()).collect();
    assert_eq!(places, ["clusterCIDR", "conntrack.min", "mode", "oomScoreAdj"]);
    for (words, part) in [
        (&["--cluster-cidr=10.244.0.0"][..], "--cluster-cidr: \"10.244.0.0\""),
        (&["--cluster-cidr=10.0.0.0/8,11.0.0.0/8"], "2 IPv4 blocks"),
        (&["--nodeport-addresses=primary,10.0.0.0/8"], "stands alone"),
        (&["--nodeport-addresses=010.0.0.0/8"], "--nodeport-addresses"),
        (&["--detect-local-mode=BridgeInterface"], "--pod-bridge-interface: needed"),
        (
            &["--detect-local-mode=InterfaceNamePrefix", "--pod-interface-name-prefix=a/b"],
            "no interface name",
        ),
        (&["--feature-gates=AllowServiceExternalIPs"], "NAME=true"),
        (&["--vmodule=x"], "--vmodule: \"x\", expected PATTERN=LEVEL"),
        (&["--iptables-masquerade-bit=32"], "--iptables-masquerade-bit: 32"),
        (
            &["--proxy-mode=nftables", "--iptables-min-sync-period=1h"],
            "--iptables-sync-period: 30s is shorter than",
        ),
        (&["--conntrack-min=-1"], "--conntrack-min: -1"),
        (&["--bind-address=x"], "--bind-address: \"x\""),
        (&["--kube-api-qps=NaN"], "--kube-api-qps: NaN"),
    ] {
        let found = faults(by_flags(words));
        assert!(found.iter().any(|fault| fault.contains(part)), "{words:?}: {found:?}");
    }
}
