//! The causes that users reported in public, each with the case that holds its packet and the code by
//! which `explain` names it.
//!
//! What takes a kernel to see (stale connections, others' rules, the reverse-path filter) is told by
//! the program's own test of mutations; policies have their worlds elsewhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use explain::{Code, Mode, Question};
use pointsman_tests::cases;

/// The public report, the case, and the code of at least one of its packets.
const REPORTS: [(&str, &str, Code); 15] = [
    ("kubernetes#85643", "terminating-local", Code::TerminatingFallback),
    ("kubernetes#97238", "terminating-cluster", Code::TerminatingFallback),
    ("kubernetes#131765", "external-traffic-policy-local-elsewhere", Code::ExternalPolicyLocal),
    ("kubernetes#121371", "internal-traffic-policy-none", Code::InternalPolicyLocal),
    ("kubernetes#72534", "no-endpoints", Code::NoEndpoints),
    ("kubernetes#72534", "no-endpoints-v6", Code::NoEndpoints),
    ("kubernetes#119656", "load-balancer-source-ranges", Code::SourceRangeDenied),
    ("kubernetes#33586", "load-balancer-source-ranges", Code::SourceRangesBypassed),
    ("KEP-1860", "load-balancer-ip-mode", Code::LoadBalancerProxyMode),
    ("kubernetes#111863", "node-ports-primary", Code::NodePortOtherAddress),
    ("kubernetes#22952", "cluster-ip-other-port", Code::WrongPort),
    ("kubernetes#122692", "unallocated-cluster-ip", Code::UnallocatedAddress),
    ("CVE-2020-8554", "external-ips-disabled", Code::ExternalIpsDisabled),
    ("kubernetes#53775", "cluster-ip-hairpin", Code::Hairpin),
    ("kubernetes#132646", "cluster-ip-target-port", Code::Delivered),
];

#[test]
fn every_report_is_named_by_its_code() {
    let mut met: BTreeMap<String, BTreeSet<Code>> = BTreeMap::new();
    for case in cases() {
        let host = case.host.host(&case.node);
        let config = case.config.config(&case.node);
        for state in case.states() {
            let cluster = state.cluster();
            let (intent, _) = plan::plan(&cluster, &config);
            for probe in state.probes(&case) {
                let question = Question::about(&probe.packet);
                let told = Mode::ALL.map(|mode| {
                    explain::explain(&cluster, &config, &intent, &host, mode, &question).reason
                });
                met.entry(case.name.clone()).or_default().extend(told);
            }
        }
    }
    let missing: Vec<String> = REPORTS
        .iter()
        .filter(|(_, case, code)| !met.get(*case).is_some_and(|codes| codes.contains(code)))
        .map(|(report, case, code)| {
            format!("{report}: {case} has {:?}, not {code}", met.get(*case))
        })
        .collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
