//! What a changed file asks for.

use config::{Fixed, Part, Reload, reload};

use crate::{by_file, by_flags};

#[test]
fn each_change_asks_for_its_part() {
    use Part::*;
    for (fields, expected) in [
        ("", &[][..]),
        ("# a comment\nclusterCIDR: ''", &[]),
        ("clusterCIDR: 10.0.0.0/8", &[Routing]),
        ("iptables: {masqueradeAll: true}", &[Routing]),
        ("iptables: {localhostNodePorts: false}", &[Routing, RouteLocalnet]),
        ("nodePortAddresses: [primary]", &[Routing, RouteLocalnet]),
        ("featureGates: {AllowServiceExternalIPs: false}", &[Routing, Features]),
        ("featureGates: {ComponentFlagz: false}", &[Features]),
        ("iptables: {syncPeriod: 10s}", &[Pace]),
        ("bindAddress: 10.0.0.1", &[Routing]),
        ("bindAddress: 'fd00::1'", &[Routing, Healthz, Metrics]),
        ("healthzBindAddress: 10.0.0.1", &[Healthz]),
        ("metricsBindAddress: 10.0.0.1", &[Metrics]),
        ("bindAddressHardFail: true", &[HardFail]),
        ("enableProfiling: true", &[Profiling]),
        ("conntrack: {min: 1}", &[Conntrack]),
        ("oomScoreAdj: 0", &[OomScore]),
        ("logging: {verbosity: 4}", &[Verbosity]),
        ("nftables: {masqueradeBit: 3}", &[Words]),
        ("clientConnection: {qps: 50}", &[Words]),
    ] {
        let (old, new) = (by_file("", &[]).unwrap().0, by_file(fields, &[]).unwrap().0);
        assert_eq!(reload(&old, &new), Reload::InPlace(expected.to_vec()), "{fields}");
        assert_eq!(reload(&new, &old), Reload::InPlace(expected.to_vec()), "back: {fields}");
    }
}

#[test]
fn what_is_fixed_at_a_start_asks_for_one() {
    for (fields, expected) in [
        ("mode: nftables", Fixed::Mode),
        ("iptables: {masqueradeBit: 3}", Fixed::MasqueradeBit),
        ("hostnameOverride: beta", Fixed::NodeName),
        ("clientConnection: {kubeconfig: /k}", Fixed::Source),
        ("logging: {format: json}", Fixed::LogFormat),
        // What could be changed in place waits for the restart too.
        ("mode: nftables\nconntrack: {min: 1}", Fixed::Mode),
    ] {
        let (old, new) = (by_file("", &[]).unwrap().0, by_file(fields, &[]).unwrap().0);
        assert_eq!(reload(&old, &new), Reload::Restart(vec![expected]), "{fields}");
        assert!(!expected.to_string().is_empty());
    }
    let (old, new) = (by_flags(&[]).unwrap().0, by_flags(&["--cleanup"]).unwrap().0);
    assert_eq!(reload(&old, &new), Reload::Restart(vec![Fixed::Task]));
}
