//! The file of `--write-config-to` and the answer of `/configz`.

use config::{Meant, configz, write_config};
use plan::OnNoLocalEndpoints;
use serde_json::Value;

use crate::{by_file, by_flags, flags, texts};

const DEFAULT: &str = r#"apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: "0.0.0.0"
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 10
  contentType: application/vnd.kubernetes.protobuf
  kubeconfig: ""
  qps: 5
clusterCIDR: ""
configSyncPeriod: 15m0s
conntrack:
  maxPerCore: 32768
  min: 131072
  tcpBeLiberal: false
  tcpCloseWaitTimeout: 1h0m0s
  tcpEstablishedTimeout: 24h0m0s
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ClusterCIDR
enableProfiling: false
healthzBindAddress: 0.0.0.0:10256
hostnameOverride: ""
iptables:
  localhostNodePorts: true
  masqueradeAll: false
  masqueradeBit: 14
  minSyncPeriod: 1s
  syncPeriod: 30s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 30s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 5s
  format: text
  options:
    json:
      infoBufferSize: "0"
    text:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: 127.0.0.1:10249
mode: iptables
nftables:
  masqueradeAll: false
  masqueradeBit: 14
  minSyncPeriod: 1s
  syncPeriod: 30s
nodePortAddresses: null
oomScoreAdj: -999
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
"#;

/// What a written file means to a process that is given it.
fn read_back(yaml: &str) -> Meant {
    let (meant, warnings) =
        config::understand(&flags(&["--config=proxy.yaml"]), Some(yaml), "alpha").unwrap();
    let unknown = texts(&warnings).into_iter().find(|text| text.contains(": line "));
    assert_eq!(unknown, None, "written fields are known");
    meant
}

#[test]
fn the_default_file() {
    let written = write_config(&by_flags(&[]).unwrap().0).unwrap();
    assert_eq!(written.yaml, DEFAULT);
    assert_eq!(written.lost, []);
}

/// A value for every field that may have one, none the default.
const FULL: &str = r#"bindAddress: "2001:db8::1"
bindAddressHardFail: true
clientConnection: {acceptContentTypes: a, burst: 20, contentType: b, kubeconfig: "/k: # x", qps: 2.5}
clusterCIDR: 10.0.0.0/8,fd00::/48
configSyncPeriod: 1h30m
conntrack: {maxPerCore: 1, min: 2, tcpBeLiberal: true, tcpCloseWaitTimeout: 1s,
  tcpEstablishedTimeout: 2s, udpStreamTimeout: 3s, udpTimeout: 1500ms}
detectLocal: {bridgeInterface: cbr0, interfaceNamePrefix: eth}
detectLocalMode: BridgeInterface
enableProfiling: true
featureGates: {AllowServiceExternalIPs: false, LoggingAlphaOptions: true}
healthzBindAddress: "[::1]:1"
hostnameOverride: "true"
iptables: {localhostNodePorts: false, masqueradeAll: true, masqueradeBit: 1, minSyncPeriod: 2s,
  syncPeriod: 3s}
ipvs: {excludeCIDRs: [10.0.0.0/8], minSyncPeriod: 1s, scheduler: lc, strictARP: true,
  syncPeriod: 2s, tcpFinTimeout: 1s, tcpTimeout: 1s, udpTimeout: 1s}
logging: {flushFrequency: 6000000000, format: text, verbosity: 3,
  options: {json: {infoBufferSize: 4Ki, splitStream: true}, text: {infoBufferSize: 512, splitStream: true}},
  vmodule: [{filePattern: "a*", verbosity: 2}]}
metricsBindAddress: "127.0.0.1:2"
mode: nftables
nftables: {masqueradeAll: true, masqueradeBit: 4, minSyncPeriod: 5s, syncPeriod: 6s}
nodePortAddresses: [10.0.0.0/8, "fd00::/8"]
oomScoreAdj: -1
portRange: "1-2"
showHiddenMetricsForVersion: "1.35"
windowsRunAsService: true
winkernel: {enableDSR: true, forwardHealthCheckVip: true, networkName: net, rootHnsEndpointName: r,
  sourceVip: s}
"#;

#[test]
fn every_field_survives_being_written() {
    let (meant, _) = by_file(FULL, &[]).unwrap();
    let written = write_config(&meant).unwrap();
    assert_eq!(written.lost, []);
    let again = read_back(&written.yaml);
    assert_eq!(again, meant);
    assert_eq!(write_config(&again).unwrap().yaml, written.yaml);
    // The example leaves no field at its default, or it would prove nothing for it.
    let default = serde_json::to_value(&by_flags(&[]).unwrap().0.effective).unwrap();
    let full = serde_json::to_value(&meant.effective).unwrap();
    let mut same = Vec::new();
    equal_leaves(&full, &default, "", &mut same);
    assert_eq!(same, ["apiVersion", "kind", "logging.format"]);
}

fn equal_leaves(full: &Value, default: &Value, path: &str, same: &mut Vec<String>) {
    match full {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                equal_leaves(value, &default[name], &path, same);
            }
        }
        leaf if leaf == default => same.push(path.into()),
        _ => {}
    }
}

#[test]
fn flags_are_written_into_the_section_of_their_mode() {
    for (mode, section, other) in
        [("iptables", "iptables", "nftables"), ("nftables", "nftables", "iptables")]
    {
        let (meant, _) = by_flags(&[
            &format!("--proxy-mode={mode}"),
            "--masquerade-all",
            "--iptables-sync-period=40s",
        ])
        .unwrap();
        let value = serde_json::to_value(&meant.effective).unwrap();
        assert_eq!(value[section]["masqueradeAll"], true, "{mode}");
        assert_eq!(value[section]["syncPeriod"], "40s", "{mode}");
        assert_eq!(value[other]["masqueradeAll"], false, "{mode}");
        assert_eq!(value[other]["syncPeriod"], "30s", "{mode}");
        let again = read_back(&write_config(&meant).unwrap().yaml);
        assert_eq!(again.routing, meant.routing, "{mode}");
        assert_eq!(again.pace, meant.pace, "{mode}");
    }
}

#[test]
fn what_a_file_cannot_say_is_told() {
    let (meant, _) = by_flags(&[
        "--master=https://10.0.0.1",
        "--no-local-endpoints=reject",
        "--iptables-min-sync-period=0",
        "--healthz-bind-address=",
        "--kube-api-qps=0",
    ])
    .unwrap();
    let written = write_config(&meant).unwrap();
    let places: Vec<_> = written.lost.iter().map(|lost| &*lost.place).collect();
    assert_eq!(
        places,
        [
            "--master",
            "--no-local-endpoints",
            "clientConnection.qps",
            "healthzBindAddress",
            "iptables.minSyncPeriod",
        ]
    );
    let again = read_back(&written.yaml);
    assert_eq!(again.routing.on_no_local_endpoints, OnNoLocalEndpoints::Drop);
    assert!(again.healthz.is_some());
}

#[test]
fn deprecated_ports_are_left_out_of_a_written_file() {
    let (meant, _) = by_flags(&["--healthz-port=0", "--write-config-to=/c"]).unwrap();
    assert_eq!(meant.effective.healthz_bind_address, "0.0.0.0:10256");
}

#[test]
fn words_that_yaml_takes_for_something_else_are_quoted() {
    for word in ["y", "no", "on", "null", "~", "1", "1.5", "0x1f", "1:30", "- a", "a: b", "#", "&a"]
    {
        let (meant, _) = by_flags(&[&format!("--kubeconfig={word}")]).unwrap();
        let written = write_config(&meant).unwrap().yaml;
        let path = read_back(&written).source.kubeconfig.unwrap();
        assert_eq!(path.to_str(), Some(word), "{written}");
    }
}

#[test]
fn configz_answers_under_the_name_of_the_group() {
    let (meant, _) = by_file("mode: nftables\n", &[]).unwrap();
    let text = configz(&meant).unwrap();
    let answer: Value = serde_json::from_str(&text).unwrap();
    let config = &answer["kubeproxy.config.k8s.io"];
    assert_eq!(config["apiVersion"], "kubeproxy.config.k8s.io/v1alpha1");
    assert_eq!(config["kind"], "KubeProxyConfiguration");
    assert_eq!(config["mode"], "nftables");
    assert_eq!(config["nodePortAddresses"][0], "primary");
    assert_eq!(answer.as_object().unwrap().len(), 1);
    assert_eq!(text, configz(&meant).unwrap());
}
