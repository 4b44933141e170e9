//! Loading: strict and lenient, flags and file, names and ports.

use std::time::Duration;

use clap::CommandFactory;
use config::{Error, ExistingConnections, LogFormat, NetworkPolicyMode, ProxyMode, Task};
use plan::{Config, DetectLocal, NodePortAddresses, OnNoLocalEndpoints, PolicyOptions};

use crate::{Cli, by_file, by_flags, faults, flags, texts};

#[test]
fn the_flags_are_a_sound_command() {
    Cli::command().debug_assert();
}

#[test]
fn who_says_nothing_gets_the_defaults_of_kube_proxy() {
    for (meant, warnings) in [by_flags(&[]).unwrap(), by_file("", &[]).unwrap()] {
        assert_eq!(texts(&warnings), [""; 0]);
        let network_policy = PolicyOptions {
            enforce: true,
            hold_unknown_seconds: Some(10),
            ..PolicyOptions::default()
        };
        assert_eq!(meant.routing, Config { network_policy, ..Config::new("alpha") });
        assert_eq!(meant.network_policy.mode, NetworkPolicyMode::Auto);
        assert_eq!(meant.network_policy.existing, ExistingConnections::Cut);
        assert!(!meant.network_policy.log);
        assert_eq!((meant.mode, meant.masquerade_bit), (ProxyMode::Iptables, 14));
        assert!(meant.route_localnet);
        assert_eq!(meant.pace.sync_period, Duration::from_secs(30));
        assert_eq!(meant.pace.min_sync_period, Duration::from_secs(1));
        assert_eq!(meant.bind_address.to_string(), "0.0.0.0");
        assert_eq!(meant.healthz.unwrap().to_string(), "0.0.0.0:10256");
        assert_eq!(meant.metrics.to_string(), "127.0.0.1:10249");
        assert!(!meant.bind_address_hard_fail && !meant.profiling);
        let conntrack = meant.conntrack;
        assert_eq!((conntrack.max_per_core, conntrack.min), (32768, 131_072));
        assert_eq!(conntrack.tcp_established_timeout, Some(Duration::from_secs(86400)));
        assert_eq!(conntrack.tcp_close_wait_timeout, Some(Duration::from_secs(3600)));
        assert_eq!((conntrack.udp_timeout, conntrack.udp_stream_timeout), (None, None));
        assert!(!conntrack.tcp_be_liberal);
        assert_eq!(meant.oom_score_adj, -999);
        assert_eq!((meant.source.qps, meant.source.burst), (5.0, 10));
        assert_eq!(meant.source.config_sync_period, Duration::from_secs(900));
        assert_eq!((&meant.source.kubeconfig, &meant.source.master), (&None, &None));
        assert_eq!(meant.logging.format, LogFormat::Text);
        assert_eq!(meant.logging.verbosity, 0);
        assert_eq!(meant.task, Task::Serve);
        assert!(meant.features.flagz && meant.features.statusz);
    }
}

#[test]
fn the_flags_of_policies_count_with_and_without_a_file() {
    let said = [
        "--network-policy=on",
        "--policy-existing-connections=keep",
        "--policy-hold-unknown=1m",
        "--policy-log",
    ];
    for (meant, warnings) in [by_flags(&said).unwrap(), by_file("", &said).unwrap()] {
        assert_eq!(texts(&warnings), [""; 0]);
        assert_eq!(meant.network_policy.mode, NetworkPolicyMode::On);
        assert_eq!(meant.network_policy.existing, ExistingConnections::Keep);
        assert!(meant.network_policy.log);
        assert!(meant.routing.network_policy.enforce);
        assert_eq!(meant.routing.network_policy.hold_unknown_seconds, Some(60));
        assert!(!meant.routing.network_policy.all_nodes, "the own Node alone is watched");
    }
    let off = ["--network-policy=off", "--policy-hold-unknown=0", "--manifests=x"];
    let (meant, _) = by_flags(&off).unwrap();
    let options = &meant.routing.network_policy;
    assert!(!options.enforce && options.all_nodes);
    assert_eq!(options.hold_unknown_seconds, None);
    for wrong in ["-1s", "1500ms"] {
        let said = format!("--policy-hold-unknown={wrong}");
        let found = faults(by_flags(&[&said]));
        assert!(found[0].starts_with("--policy-hold-unknown: "), "{found:?}");
    }
}

#[test]
fn the_bit_of_condemned_connections_is_not_for_masquerading() {
    let file = "mode: nftables\nnftables:\n  masqueradeBit: 15\n";
    let (meant, warnings) = by_file(file, &[]).unwrap();
    assert_eq!(meant.network_policy.mode, NetworkPolicyMode::Off, "left to others, as before");
    assert!(texts(&warnings)[0].contains("cut off"), "{warnings:?}");
    let found = faults(by_file(file, &["--network-policy=on"]));
    assert!(found[0].starts_with("nftables.masqueradeBit: "), "{found:?}");
    // In mode iptables it is a bit of packets alone.
    let (meant, warnings) = by_flags(&["--iptables-masquerade-bit=15"]).unwrap();
    assert_eq!(meant.network_policy.mode, NetworkPolicyMode::Auto);
    assert_eq!(texts(&warnings), [""; 0]);
}

#[cfg(unix)]
#[test]
fn a_path_need_not_be_text() {
    use std::os::unix::ffi::OsStrExt;
    let mut said = flags(&["--kubeconfig=x"]);
    let path = std::path::PathBuf::from(std::ffi::OsStr::from_bytes(b"/k\xff"));
    said.source.kubeconfig = Some(path.clone());
    let (meant, _) = config::understand(&said, None, "alpha").unwrap();
    assert_eq!(meant.source.kubeconfig, Some(path));
}

/// The configuration that kubeadm writes, where most files come from.
const KUBEADM: &str = "\
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: \"\"
  burst: 0
  contentType: \"\"
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: \"\"
  interfaceNamePrefix: \"\"
detectLocalMode: \"\"
enableProfiling: false
healthzBindAddress: \"\"
hostnameOverride: \"\"
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: \"\"
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: \"0\"
    text:
      infoBufferSize: \"0\"
  verbosity: 0
metricsBindAddress: \"\"
mode: \"\"
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: \"\"
showHiddenMetricsForVersion: \"\"
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: \"\"
  rootHnsEndpointName: \"\"
  sourceVip: \"\"
";

#[test]
fn the_file_and_command_line_of_kubeadm_mean_the_same_here() {
    let (meant, warnings) = by_file(KUBEADM, &["--hostname-override=Node-1 "]).unwrap();
    assert_eq!(texts(&warnings), [""; 0]);
    let (mut plain, _) = by_flags(&[
        "--cluster-cidr=10.244.0.0/16",
        "--kubeconfig=/var/lib/kube-proxy/kubeconfig.conf",
        "--hostname-override=node-1",
    ])
    .unwrap();
    plain.config_file = Some("proxy.yaml".into());
    assert_eq!(meant, plain);
    assert_eq!(&*meant.routing.node_name, "node-1");
}

#[test]
fn json_means_the_same_as_yaml() {
    let json = r#"{"apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration", "mode": "nftables", "clusterCIDR": "10.0.0.0/8"}"#;
    let flags = flags(&["--config=proxy.yaml"]);
    let (from_json, _) = config::understand(&flags, Some(json), "alpha").unwrap();
    let (from_yaml, _) = by_file("mode: nftables\nclusterCIDR: 10.0.0.0/8\n", &[]).unwrap();
    assert_eq!(from_json, from_yaml);
}

#[test]
fn unknown_and_repeated_fields_are_named_with_their_lines_and_the_rest_counts() {
    let fields = "mode: iptables\nconntrak:\n  min: 1\nconntrack:\n  min: 7\n  \
                  Min: 8\n  maximum: 9\nmode: nftables\n";
    let (meant, warnings) = by_file(fields, &[]).unwrap();
    assert_eq!(meant.mode, ProxyMode::Nftables);
    assert_eq!(meant.conntrack.min, 7);
    assert_eq!(
        texts(&warnings),
        [
            "conntrak: line 4: unknown field, ignored",
            "conntrack.Min: line 8: unknown field, ignored; min is written so",
            "conntrack.maximum: line 9: unknown field, ignored",
            "mode: line 10: the field stands twice; the last one counts",
        ]
    );
}

#[test]
fn what_cannot_be_decoded_names_line_and_field() {
    for (fields, line, part) in [
        ("conntrack:\n  min: many\n", 4, "conntrack.min: string \"many\", expected a whole number"),
        ("conntrack:\n  min: 1.5\n", 4, "conntrack.min: floating point `1.5`"),
        ("conntrack:\n  min: 3000000000\n", 4, "conntrack.min: integer `3000000000`"),
        ("conntrack: [1]\n", 3, "conntrack: sequence, expected"),
        ("conntrack: 7\n", 3, "conntrack: integer `7`, expected"),
        (
            "iptables:\n  syncPeriod: 30\n",
            4,
            "iptables.syncPeriod: integer `30`, expected a length",
        ),
        ("iptables:\n  syncPeriod: 30x\n", 4, "iptables.syncPeriod: \"30x\" is no length of time"),
        ("bindAddressHardFail: 1\n", 3, "bindAddressHardFail: integer `1`, expected true or false"),
        ("hostnameOverride: 12\n", 3, "hostnameOverride: integer `12`, expected text"),
        (
            "nodePortAddresses: primary\n",
            3,
            "nodePortAddresses: string \"primary\", expected a list",
        ),
        ("nodePortAddresses: [null]\n", 3, "nodePortAddresses[0]: nothing, expected text"),
        ("nodePortAddresses: [1]\n", 3, "nodePortAddresses[0]: integer `1`, expected text"),
        ("featureGates: {A: perhaps}\n", 3, "featureGates.A: string \"perhaps\""),
        ("logging:\n  vmodule:\n  - verbosity: x\n", 5, "logging.vmodule[0].verbosity"),
        ("mode: [\n", 0, "proxy.yaml, line"),
        ("\tmode: x\n", 0, "proxy.yaml, line"),
    ] {
        let error = by_file(fields, &[]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(part), "{fields:?}: {text}");
        let Error::Decode { line: found, .. } = error else { panic!("{fields:?}: {text}") };
        assert!(line == 0 || found == line, "{fields:?}: {text}");
    }
}

#[test]
fn another_kind_of_file_is_refused() {
    let flags = flags(&["--config=proxy.yaml"]);
    for text in [
        "",
        "# nothing\n",
        "mode: iptables\n",
        "apiVersion: v1\nkind: Pod\n",
        "apiVersion: kubeproxy.config.k8s.io/v1alpha2\nkind: KubeProxyConfiguration\n",
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeletConfiguration\n",
    ] {
        let error = config::understand(&flags, Some(text), "alpha").unwrap_err();
        assert!(matches!(error, Error::Kind { .. }), "{text:?}: {error}");
        assert!(error.to_string().starts_with("proxy.yaml: apiVersion"), "{text:?}: {error}");
    }
}

#[test]
fn a_second_document_is_told() {
    let (_, warnings) = by_file("mode: iptables\n---\nmode: nftables\n", &[]).unwrap();
    assert_eq!(texts(&warnings), ["proxy.yaml: holds several documents; the first one counts"]);
}

#[test]
fn the_file_is_read_from_the_disk_and_a_missing_one_named() {
    let path = std::env::temp_dir().join(format!("pointsman-config-{}.yaml", std::process::id()));
    let text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n\
                mode: nftables\n";
    let said = flags(&[&format!("--config={}", path.display())]);
    std::fs::write(&path, text).unwrap();
    let read = config::load(&said, "alpha");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(read.unwrap().0.mode, ProxyMode::Nftables);
    let error = config::load(&said, "alpha").unwrap_err();
    assert!(matches!(error, Error::Read { .. }));
    assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
}

#[test]
fn beside_a_file_few_flags_count_and_the_others_are_named() {
    let (meant, warnings) = by_file(
        "mode: nftables\nlogging: {verbosity: 1}\nhostnameOverride: beta\n",
        &[
            "--proxy-mode=iptables",
            "--cluster-cidr=10.0.0.0/8",
            "--feature-gates=AllowServiceExternalIPs=false",
            "--healthz-port=1",
            "-v=5",
            "--logging-format=json",
            "--hostname-override=Gamma",
            "--master=https://10.0.0.1",
            "--no-local-endpoints=reject",
        ],
    )
    .unwrap();
    let ignored =
        |flag| format!("--{flag}: ignored, because --config is given; say it in the file");
    assert_eq!(
        texts(&warnings),
        ["cluster-cidr", "feature-gates", "healthz-port", "proxy-mode"].map(ignored)
    );
    assert_eq!(meant.mode, ProxyMode::Nftables);
    assert_eq!(meant.routing.detect_local, DetectLocal::Nothing);
    assert!(meant.features.external_ips);
    assert_eq!((meant.logging.verbosity, meant.logging.format), (5, LogFormat::Json));
    assert_eq!(&*meant.routing.node_name, "gamma");
    assert_eq!(meant.source.master.as_deref(), Some("https://10.0.0.1"));
    assert_eq!(meant.routing.on_no_local_endpoints, OnNoLocalEndpoints::Reject);
}

#[test]
fn flags_reach_what_is_meant() {
    let (meant, _) = by_flags(&[
        "--cluster-cidr=10.244.0.0/16,fd00:10::/48",
        "--nodeport-addresses=primary",
        "--masquerade-all",
        "--iptables-localhost-nodeports=false",
        "--feature-gates=AllowServiceExternalIPs=false",
        "--no-local-endpoints=reject",
        "--iptables-masquerade-bit=3",
        "--oom-score-adj",
        "-998",
        "--conntrack-min=5",
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-udp-timeout=30s",
        "--bind-address-hard-fail=true",
        "--profiling=1",
        "--kube-api-qps=7.5",
        "--kube-api-burst=9",
        "--manifests=/m",
    ])
    .unwrap();
    let blocks = ["10.244.0.0/16", "fd00:10::/48"].map(|text| text.parse().unwrap());
    assert_eq!(meant.routing.detect_local, DetectLocal::ClusterCidr(blocks.to_vec()));
    assert_eq!(meant.routing.node_port_addresses, NodePortAddresses::Primary);
    assert!(meant.routing.masquerade_all && !meant.routing.localhost_node_ports);
    assert!(!meant.routing.allow_external_ips && !meant.route_localnet);
    assert_eq!(meant.routing.on_no_local_endpoints, OnNoLocalEndpoints::Reject);
    assert_eq!((meant.masquerade_bit, meant.oom_score_adj), (3, -998));
    assert_eq!((meant.conntrack.min, meant.conntrack.max_per_core), (5, 0));
    assert_eq!(meant.conntrack.tcp_established_timeout, None);
    assert_eq!(meant.conntrack.udp_timeout, Some(Duration::from_secs(30)));
    assert!(meant.bind_address_hard_fail && meant.profiling);
    assert_eq!((meant.source.qps, meant.source.burst), (7.5, 9));
    assert_eq!(meant.source.manifests.as_deref(), Some("/m".as_ref()));
}

#[test]
fn the_last_of_two_flags_counts_and_lists_go_on() {
    let (meant, _) = by_flags(&[
        "--proxy-mode=iptables",
        "--proxy_mode=nftables",
        "--nodeport_addresses=10.0.0.0/8",
        "--nodeport-addresses=fd00::/8",
        "--feature-gates=ComponentFlagz=false",
        "--feature-gates=ComponentStatusz=false",
    ])
    .unwrap();
    assert_eq!(meant.mode, ProxyMode::Nftables);
    let blocks = ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().unwrap());
    assert_eq!(meant.routing.node_port_addresses, NodePortAddresses::Cidrs(blocks.to_vec()));
    assert!(!meant.features.flagz && !meant.features.statusz);
}

#[test]
fn the_node_is_named_by_flag_then_file_then_host() {
    for (file, flag, name) in [
        ("", None, "alpha"),
        ("hostnameOverride: ' Beta '", None, "beta"),
        ("hostnameOverride: Beta", Some("--hostname-override=Gamma"), "gamma"),
        ("", Some("--node= Delta "), "delta"),
        ("hostnameOverride: beta", Some("--hostname-override="), "beta"),
    ] {
        let words: Vec<_> = flag.into_iter().collect();
        let (meant, _) = by_file(file, &words).unwrap();
        assert_eq!(&*meant.routing.node_name, name, "{file:?} {flag:?}");
    }
    let (meant, _) = config::understand(&flags(&[]), None, " HOST.example\n").unwrap();
    assert_eq!(&*meant.routing.node_name, "host.example");
    assert_eq!(
        faults(by_flags(&["--hostname-override= "]))[0],
        "--hostname-override: blank; give the name of the Node object"
    );
    let nobody = config::understand(&flags(&[]), None, " ");
    assert!(faults(nobody)[0].contains("the node's name is empty"));
}

#[test]
fn the_periods_of_flags_belong_to_the_mode_in_force() {
    let words = ["--iptables-sync-period=40s", "--iptables-min-sync-period=2s"];
    let ipvs = ["--ipvs-sync-period=50s", "--ipvs-min-sync-period=3s"];
    for (mode, expected) in
        [("", (40, 2)), ("iptables", (40, 2)), ("nftables", (40, 2)), ("ipvs", (50, 3))]
    {
        let mode = format!("--proxy-mode={mode}");
        let all = [&[mode.as_str()][..], &words, &ipvs].concat();
        let (meant, _) = by_flags(&all).unwrap();
        let pace = (meant.pace.sync_period.as_secs(), meant.pace.min_sync_period.as_secs());
        assert_eq!(pace, expected, "{mode}");
    }
}

#[test]
fn the_sections_of_a_file_belong_to_their_modes() {
    let fields = "\
iptables: {masqueradeBit: 1, masqueradeAll: true, syncPeriod: 10s, minSyncPeriod: 1s}
nftables: {masqueradeBit: 2, masqueradeAll: false, syncPeriod: 20s, minSyncPeriod: 2s}
ipvs: {syncPeriod: 30s, minSyncPeriod: 3s}
";
    for (mode, ours, bit, all, sync, min, addresses) in [
        ("iptables", ProxyMode::Iptables, 1, true, 10, 1, NodePortAddresses::All),
        ("nftables", ProxyMode::Nftables, 2, false, 20, 2, NodePortAddresses::Primary),
        ("ipvs", ProxyMode::Nftables, 1, true, 30, 3, NodePortAddresses::All),
    ] {
        let (meant, _) = by_file(&format!("{fields}mode: {mode}\n"), &[]).unwrap();
        assert_eq!((meant.mode, meant.masquerade_bit), (ours, bit), "{mode}");
        assert_eq!(meant.routing.masquerade_all, all, "{mode}");
        assert_eq!(meant.pace.sync_period.as_secs(), sync, "{mode}");
        assert_eq!(meant.pace.min_sync_period.as_secs(), min, "{mode}");
        assert_eq!(meant.routing.node_port_addresses, addresses, "{mode}");
        assert_eq!(meant.routing.localhost_node_ports, ours == ProxyMode::Iptables, "{mode}");
    }
}

#[test]
fn a_zero_in_a_file_means_the_default_and_by_flag_a_zero() {
    let fields = "iptables: {syncPeriod: 0s, minSyncPeriod: 0s}\nconfigSyncPeriod: 0s\n\
                  clientConnection: {qps: 0, burst: 0}\n";
    assert_eq!(by_file(fields, &[]).unwrap().0.pace, by_flags(&[]).unwrap().0.pace);
    let (meant, _) = by_flags(&["--iptables-min-sync-period=0"]).unwrap();
    assert_eq!(meant.pace.min_sync_period, Duration::ZERO);
    // Where an Option tells them apart, a zero in a file is a zero.
    let fields = "conntrack: {maxPerCore: 0, tcpCloseWaitTimeout: 0s}\noomScoreAdj: 0\n";
    let (meant, _) = by_file(fields, &[]).unwrap();
    assert_eq!((meant.conntrack.max_per_core, meant.oom_score_adj), (0, 0));
    assert_eq!(meant.conntrack.tcp_close_wait_timeout, None);
}

#[test]
fn addresses_get_the_ports_and_family_of_kube_proxy() {
    for (fields, healthz, metrics) in [
        ("", "0.0.0.0:10256", "127.0.0.1:10249"),
        ("bindAddress: 192.168.0.2", "0.0.0.0:10256", "127.0.0.1:10249"),
        ("bindAddress: '::'", "[::]:10256", "[::1]:10249"),
        ("bindAddress: '2001:db8::1'", "[::]:10256", "[::1]:10249"),
        ("bindAddress: '::ffff:10.0.0.1'", "0.0.0.0:10256", "127.0.0.1:10249"),
        ("healthzBindAddress: 10.0.0.1", "10.0.0.1:10256", "127.0.0.1:10249"),
        ("healthzBindAddress: '10.0.0.1:9'", "10.0.0.1:9", "127.0.0.1:10249"),
        ("metricsBindAddress: '::1'", "0.0.0.0:10256", "[::1]:10249"),
        ("metricsBindAddress: '[fd00::1]:99'", "0.0.0.0:10256", "[fd00::1]:99"),
    ] {
        let (meant, _) = by_file(fields, &[]).unwrap();
        assert_eq!(meant.healthz.unwrap().to_string(), healthz, "{fields}");
        assert_eq!(meant.metrics.to_string(), metrics, "{fields}");
    }
}

#[test]
fn deprecated_ports_fill_in_empty_an_address_and_warn() {
    let server = |words: &[&str]| {
        let (meant, warnings) = by_flags(words).unwrap();
        let healthz = meant.healthz.map_or(String::new(), |address| address.to_string());
        (healthz, texts(&warnings))
    };
    let deprecated = "--healthz-port: deprecated; use --healthz-bind-address".to_owned();
    for (address, port, expected) in [
        ("1.2.3.4", 12345, "1.2.3.4:12345"),
        ("1.2.3.4:23456", 12345, "1.2.3.4:23456"),
        ("fd00:1::5", 12345, "[fd00:1::5]:12345"),
        ("[fd00:1::5]:56789", 12345, "[fd00:1::5]:56789"),
        ("1.2.3.4", 0, ""),
        ("", 12345, ""),
    ] {
        let words = [format!("--healthz-bind-address={address}"), format!("--healthz-port={port}")];
        let (healthz, warnings) = server(&[&words[0], &words[1]]);
        assert_eq!(healthz, expected, "{words:?}");
        assert_eq!(warnings[0], deprecated);
    }
    let (healthz, warnings) = server(&["--healthz-port=1234"]);
    assert_eq!(healthz, "0.0.0.0:10256");
    let no_effect = "--healthz-port: no effect: the address 0.0.0.0:10256 has a port already";
    assert_eq!(warnings, [deprecated, no_effect.into()]);
    assert_eq!(server(&["--healthz-bind-address=10.0.0.1"]).0, "10.0.0.1:10256");
    assert!(faults(by_flags(&["--metrics-port=0"]))[0].starts_with("--metrics-bind-address: \"\""));
    assert!(faults(by_flags(&["--healthz-port=70000"]))[0].contains("expected 1 to 65535"));
}

#[test]
fn words_without_effect_are_told() {
    let (_, warnings) = by_file(
        "windowsRunAsService: true\nwinkernel: {enableDSR: true, sourceVip: x}\nportRange: 1-2\n\
         clientConnection: {qps: 50}\nipvs: {scheduler: lc}\nlogging: {vmodule: \
         [{filePattern: proxier, verbosity: 4}]}\nfeatureGates: {Mystery: true}\n",
        &[],
    )
    .unwrap();
    let places: Vec<_> = warnings.iter().map(|warning| warning.place.as_str()).collect();
    let mut expected = [
        "clientConnection.qps",
        "featureGates",
        "logging.vmodule",
        "portRange",
        "windowsRunAsService",
        "winkernel.enableDSR",
        "winkernel.sourceVip",
    ];
    expected.sort_unstable();
    let mut sorted = places.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    let (_, warnings) = by_flags(&["--proxy-mode=ipvs", "--ipvs-scheduler=lc"]).unwrap();
    assert_eq!(
        texts(&warnings),
        [
            "--ipvs-scheduler: has no effect: mode ipvs is answered by nftables",
            "--proxy-mode: ipvs is deprecated in Kubernetes and answered by nftables here; say \
             nftables",
        ]
    );
    let (_, warnings) = by_flags(&["--boot-id-file=/x"]).unwrap();
    assert!(warnings[0].to_string().starts_with("--boot-id-file: has no effect"));
}

#[test]
fn feature_gates_switch_by_name_and_by_stage() {
    for (gates, flagz, external) in [
        ("", true, true),
        ("AllBeta=false", false, true),
        ("AllBeta=false,ComponentFlagz=true", true, true),
        ("AllowServiceExternalIPs=False", true, false),
        ("AllAlpha=true,NFTablesProxyMode=true", true, true),
    ] {
        let (meant, warnings) = by_flags(&[&format!("--feature-gates={gates}")]).unwrap();
        assert_eq!((meant.features.flagz, meant.features.external_ips), (flagz, external));
        assert_eq!(texts(&warnings), [""; 0], "{gates}");
        assert_eq!(meant.features.logging_alpha_options, gates.contains("AllAlpha"));
    }
}

#[test]
fn the_tasks_come_in_the_order_of_kube_proxy() {
    let task = |words: &[&str]| by_flags(words).unwrap().0.task;
    assert_eq!(task(&["--cleanup=false"]), Task::Serve);
    assert_eq!(task(&["--init-only"]), Task::InitOnly);
    assert_eq!(task(&["--cleanup", "--init-only"]), Task::Cleanup);
    assert_eq!(task(&["--cleanup", "--write-config-to=/c"]), Task::WriteConfig("/c".into()));
}

#[test]
fn words_that_go_does_not_take_are_refused() {
    use clap::Parser;
    for words in [
        "--masquerade-all=perhaps",
        "--iptables-sync-period=30",
        "--oom-score-adj=low",
        "--logtostderr=true",
        "--conntrack-tcp-timeout-established=1d",
        "--no-local-endpoints=ignore",
    ] {
        assert!(Cli::try_parse_from(["kube-proxy", words]).is_err(), "{words}");
    }
}

#[test]
fn a_file_from_another_editor_is_read() {
    let flags = flags(&["--config=proxy.yaml"]);
    let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\r\nkind: KubeProxyConfiguration\r\n";
    for text in [
        format!("{head}mode: nftables\r\n"),
        format!("\u{feff}{head}mode: nftables\r\n"),
        format!("# Deployed by hand\r\n---\r\n{head}mode: \"nftables\"\r\n...\r\n"),
        format!("{head}mode: &mode nftables # !\r\nportRange: *mode\r\n"),
    ] {
        let meant = config::understand(&flags, Some(&text), "alpha");
        assert_eq!(meant.unwrap_or_else(|e| panic!("{text:?}: {e}")).0.mode, ProxyMode::Nftables);
    }
}

#[test]
fn of_a_field_that_stands_thrice_the_last_one_counts() {
    let (meant, warnings) =
        by_file("conntrack: {min: 1, maxPerCore: 4, min: 2, min: 3}", &[]).unwrap();
    assert_eq!((meant.conntrack.min, meant.conntrack.max_per_core), (3, 4));
    assert_eq!(warnings.len(), 2);
}

#[test]
fn patterns_of_flags_stand_before_those_of_the_file() {
    let fields = "logging: {vmodule: [{filePattern: c, verbosity: 3}]}";
    let (meant, _) = by_file(fields, &["--vmodule=a=1,b=2"]).unwrap();
    let vmodule = meant.effective.logging.vmodule.into_iter();
    let items: Vec<_> = vmodule.map(|item| (item.file_pattern, item.verbosity)).collect();
    assert_eq!(items, [("a".into(), 1), ("b".into(), 2), ("c".into(), 3)]);
}

#[test]
fn gates_are_told_with_their_stage() {
    let said = |list: &[(&str, bool)]| -> std::collections::BTreeMap<String, bool> {
        list.iter().map(|&(name, on)| (name.to_owned(), on)).collect()
    };
    let of = |said: &std::collections::BTreeMap<String, bool>, name: &str| {
        config::gates(said).find(|gate| gate.name == name).map(|gate| (gate.stage, gate.enabled))
    };
    let none = said(&[]);
    assert_eq!(of(&none, "ComponentFlagz"), Some(("BETA", true)));
    assert_eq!(of(&none, "LoggingAlphaOptions"), Some(("ALPHA", false)));
    assert_eq!(of(&none, "NFTablesProxyMode"), Some(("", true)));
    let off = said(&[("AllBeta", false), ("AllowServiceExternalIPs", false)]);
    assert_eq!(of(&off, "ComponentFlagz"), Some(("BETA", false)));
    assert_eq!(of(&off, "AllowServiceExternalIPs"), Some(("", false)));
}
