//! What `explain` says of every packet of every case is what the plan decides, told with its
//! reason: the same verdict, the same endpoints, one code that fits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use explain::{Code, Explanation, Mode, Outcome, Question, SnatRule, Verdict};
use model::Cluster;
use plan::{Config, PoolName};
use pointsman_tests::{Probe, cases};

#[test]
fn every_packet_of_every_case_is_explained_as_it_is_decided() {
    let (mut count, mut codes) = (0, BTreeMap::<Code, usize>::new());
    for case in cases() {
        let host = case.host.host(&case.node);
        let config = case.config.config(&case.node);
        for state in case.states() {
            let cluster = state.cluster();
            let (intent, _) = plan::plan(&cluster, &config);
            for (probe, mode) in
                state.probes(&case).iter().flat_map(|probe| Mode::ALL.map(|mode| (probe, mode)))
            {
                let asked = Question::about(&probe.packet);
                let told = explain::explain(&cluster, &config, &intent, &host, mode, &asked);
                let decided = explain::decide(&intent, &host, &probe.packet, mode);
                let label = format!("{}, {mode}: {told:#?}", probe.label);
                if told.reason != Code::NoCommonFamily {
                    assert_eq!(told.packet.as_ref(), Some(&probe.packet), "{label}");
                    assert_eq!(told.verdict.as_ref(), Some(&decided), "{label}");
                    assert_eq!(told.verdict.as_ref(), Some(probe.expected(mode)), "{label}");
                }
                agrees_with_itself(&told, probe, &label);
                *codes.entry(told.reason).or_default() += 1;
                count += 1;
            }
        }
    }
    println!("{count} packets explained: {codes:?}");
    let met: BTreeSet<Code> = codes.into_keys().collect();
    for code in [
        Code::Delivered,
        Code::Hairpin,
        Code::TerminatingFallback,
        Code::SourceRangesBypassed,
        Code::SourceRangeDenied,
        Code::NoEndpoints,
        Code::NoneReady,
        Code::InternalPolicyLocal,
        Code::ExternalPolicyLocal,
        Code::WrongPort,
        Code::NodePortOtherAddress,
        Code::UnallocatedAddress,
        Code::LoadBalancerProxyMode,
        Code::ExternalIpsDisabled,
    ] {
        assert!(met.contains(&code), "no packet of any case is explained by {code}");
    }
}

/// The points of one explanation fit each other.
fn agrees_with_itself(told: &Explanation, probe: &Probe, label: &str) {
    assert!(!told.detail.is_empty() && !told.remedy.is_empty(), "{label}");
    let refusals = [
        Code::NoEndpoints,
        Code::NoneReady,
        Code::PortNotInEndpoints,
        Code::EndpointsUnusable,
        Code::InternalPolicyLocal,
        Code::ExternalPolicyLocal,
        Code::SourceRangeDenied,
        Code::EndpointIsClusterIp,
    ];
    let deliveries =
        [Code::Delivered, Code::Hairpin, Code::TerminatingFallback, Code::SourceRangesBypassed];
    let outcome = told.outcome();
    assert_eq!(deliveries.contains(&told.reason), outcome == Outcome::Delivered, "{label}");
    if refusals.contains(&told.reason) {
        assert!(matches!(outcome, Outcome::Rejected | Outcome::Dropped), "{label}");
    }
    let Some(Verdict::Deliver(backends)) = &told.verdict else {
        assert!(told.nat.is_empty(), "{label}");
        return;
    };
    let table = told.endpoints.as_ref().expect(label);
    let used = table.rows.iter().filter(|row| row.standing.takes());
    let used: BTreeSet<SocketAddr> =
        used.map(|row| SocketAddr::new(row.address, row.port.unwrap())).collect();
    assert_eq!(used, backends.keys().copied().collect(), "{label}");
    let sum: f64 = table.rows.iter().map(|row| row.percent).sum();
    assert!((sum - 100.0).abs() < 0.5, "{sum}: {label}");
    for tuple in &told.nat {
        assert_eq!(backends.get(&tuple.destination), Some(&tuple.masquerade), "{label}");
        let kept = matches!(tuple.rule, SnatRule::SourceKept | SnatRule::NeverLeaves);
        assert_eq!(kept, !tuple.masquerade, "{label}");
        if tuple.rule == SnatRule::Hairpin {
            assert_eq!(tuple.destination.ip(), probe.packet.source, "{label}");
        }
    }
}

/// The standings are the plan's pools, in both lists, for every port of every case.
#[test]
fn standings_are_the_pools_of_the_plan() {
    let mut compared = 0;
    for case in cases() {
        let config = case.config.config(&case.node);
        for state in case.states() {
            compared += pools_of(&state.cluster(), &config, &state.name);
        }
    }
    assert!(compared > 100, "{compared} pools compared");
}

fn pools_of(cluster: &Cluster, config: &Config, name: &str) -> usize {
    let (intent, _) = plan::plan(cluster, config);
    let mut compared = 0;
    for server in intent.servers.values().flat_map(|servers| servers.iter()) {
        let told = plan::standings(cluster, config, &server.name, server.family);
        for pool in [PoolName::Cluster, PoolName::Local] {
            let planned: BTreeSet<SocketAddr> =
                server.pool(pool).iter().map(|backend| backend.address).collect();
            let takes = told.entries.iter().filter(|entry| match pool {
                PoolName::Cluster => entry.cluster.takes(),
                PoolName::Local => entry.local.takes(),
            });
            let takes: Vec<SocketAddr> = takes
                .map(|entry| SocketAddr::new(entry.endpoint.address, entry.port.unwrap()))
                .collect();
            // A pool that nothing routes to is empty in the plan.
            if !planned.is_empty() {
                assert_eq!(takes.len(), planned.len(), "{name}: {} {pool:?}", server.name);
                assert_eq!(takes.into_iter().collect::<BTreeSet<_>>(), planned, "{name}");
                compared += 1;
            }
        }
    }
    compared
}
