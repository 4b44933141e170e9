//! CategorizeEndpoints: the scenarios of kube-proxy's topology tests, and B1, B8.

use super::{endpoint, ip};
use crate::categorize::{Uses, categorize};
use crate::endpoints::Candidate;
use crate::intent::PerFamily;
use crate::node::NodeFacts;
use std::net::SocketAddr;

const CLUSTER: Uses = Uses { cluster: true, local: false };
const LOCAL: Uses = Uses { cluster: false, local: true };
const BOTH: Uses = Uses { cluster: true, local: true };

/// One scenario: what is asked, of which endpoints, on which node, and both lists that must come of
/// it, as the last numbers of the addresses `10.0.0.N`.
struct Case {
    name: &'static str,
    uses: Uses,
    /// `NAME` or `NAME/ZONE`.
    node: &'static str,
    endpoints: &'static [&'static str],
    cluster: &'static [u8],
    local: &'static [u8],
    any: bool,
}

fn facts(node: &str) -> NodeFacts {
    let (name, zone) = node.split_once('/').map_or((node, None), |(n, z)| (n, Some(z)));
    NodeFacts {
        name: name.into(),
        zone: zone.map(Into::into),
        addresses: PerFamily::default(),
        pods_known: PerFamily::default(),
    }
}

#[track_caller]
fn check(cases: &[Case]) {
    for case in cases {
        let endpoints: Vec<_> = case
            .endpoints
            .iter()
            .map(|text| {
                let (number, rest) = text.split_at(text.find(['@', ' ']).unwrap());
                endpoint(&format!("10.0.0.{number}{rest}"))
            })
            .collect();
        let candidates: Vec<_> = endpoints
            .iter()
            .map(|endpoint| Candidate { address: SocketAddr::new(endpoint.address, 80), endpoint })
            .collect();
        let chosen = categorize(&candidates, case.uses, &facts(case.node));
        let expect = |numbers: &[u8]| -> Vec<SocketAddr> {
            let address = |n: &u8| SocketAddr::new(ip(&format!("10.0.0.{n}")), 80);
            numbers.iter().map(address).collect()
        };
        let got: Vec<_> = chosen.cluster.iter().map(|backend| backend.address).collect();
        assert_eq!(got, expect(case.cluster), "{}: cluster", case.name);
        let got: Vec<_> = chosen.local.iter().map(|backend| backend.address).collect();
        assert_eq!(got, expect(case.local), "{}: local", case.name);
        assert_eq!(chosen.any, case.any, "{}: any", case.name);
        let node = case.node.split('/').next();
        for backend in chosen.cluster.iter().chain(&chosen.local) {
            let origin = endpoints.iter().find(|e| e.address == backend.address.ip()).unwrap();
            let here = origin.node.as_deref() == node && node != Some("");
            assert_eq!(backend.local, here, "{}: {}", case.name, backend.address);
        }
    }
}

#[test]
fn categorize_endpoints_zone_hints() {
    let zones: &[&str] = &["1 R zones=red", "2 R zones=blue", "3 R zones=red"];
    let case = |name, node, endpoints, cluster| Case {
        name,
        uses: CLUSTER,
        node,
        endpoints,
        cluster,
        local: &[],
        any: true,
    };
    check(&[
        case("all hinted + zone", "n/red", zones, &[1, 3]),
        case("all hinted + the other zone", "n/blue", zones, &[2]),
        case("empty labels", "n", zones, &[1, 2, 3]),
        case("other zone: no filter", "n/green", zones, &[1, 2, 3]),
        case(
            "unready endpoint without a hint does not count",
            "n/red",
            &["1 R zones=red", "2 R zones=blue", "3 N"],
            &[1],
        ),
        case(
            "unready endpoint with a matching hint is not used",
            "n/red",
            &["1 R zones=red", "2 N zones=red", "3 R zones=blue"],
            &[1],
        ),
        case(
            "only unready in the zone: no filter",
            "n/red",
            &["1 N zones=red", "2 R zones=blue", "3 R zones=green"],
            &[2, 3],
        ),
        case("missing hint", "n/red", &["1 R zones=red", "2 R", "3 R zones=red"], &[1, 2, 3]),
        case(
            "multiple hints",
            "n/blue",
            &["1 R zones=red,blue", "2 R zones=blue,green", "3 R zones=red"],
            &[1, 2],
        ),
    ]);
}

#[test]
fn categorize_endpoints_node_hints() {
    let case = |name, node, endpoints, cluster| Case {
        name,
        uses: CLUSTER,
        node,
        endpoints,
        cluster,
        local: &[],
        any: true,
    };
    let both: &[&str] =
        &["1 R nodes=alpha zones=red", "2 R nodes=beta zones=red", "3 R nodes=gamma zones=blue"];
    check(&[
        case("PreferSameNode available", "alpha/red", both, &[1]),
        case(
            "PreferSameNode without zone hints",
            "beta/red",
            &["1 R nodes=alpha", "2 R nodes=beta"],
            &[2],
        ),
        case(
            "PreferSameNode some unhinted: falls to all",
            "alpha/red",
            &["1 R nodes=alpha", "2 R", "3 R nodes=gamma"],
            &[1, 2, 3],
        ),
        case("PreferSameNode none for node: zone", "delta/red", both, &[1, 2]),
        case("neither node nor zone", "delta/green", both, &[1, 2, 3]),
        case(
            "node hint of an unready endpoint: zone",
            "alpha/red",
            &["1 N nodes=alpha zones=red", "2 R nodes=beta zones=red", "3 R nodes=c zones=blue"],
            &[2],
        ),
        case(
            "hints are followed, not nodeName",
            "alpha/red",
            &["1@beta R nodes=alpha", "2@alpha R nodes=beta"],
            &[1],
        ),
    ]);
}

#[test]
fn categorize_endpoints_locality() {
    let mixed: &[&str] = &["1@here R zones=red", "2@there R zones=blue", "3@there R zones=red"];
    let case = |name, uses, endpoints, cluster, local, any| Case {
        name,
        uses,
        node: "here/red",
        endpoints,
        cluster,
        local,
        any,
    };
    check(&[
        case("eTP Local ignores topology for the local list", BOTH, mixed, &[1, 3], &[1], true),
        case(
            "iTP Local ignores topology",
            LOCAL,
            &["1@here R zones=blue", "2@there R zones=red"],
            &[],
            &[1],
            true,
        ),
        case(
            "topology/locality conflict: each list by its own rule",
            BOTH,
            &["1@here R zones=blue", "2@there R zones=red", "3@there R zones=blue"],
            &[2],
            &[1],
            true,
        ),
        case("iTP Local empty", LOCAL, &[], &[], &[], false),
        case("iTP Local all remote", LOCAL, &["1@there R", "2@there R"], &[], &[], true),
        case("iTP Local all local", LOCAL, &["1@here R", "2@here R"], &[], &[1, 2], true),
        case("iTP Local some", LOCAL, &["1@here R", "2@there R"], &[], &[1], true),
        case("no node name is not this node", LOCAL, &["1 R"], &[], &[], true),
    ]);
    check(&[Case {
        name: "an empty name of this node matches nobody",
        uses: LOCAL,
        node: "",
        endpoints: &["1@ R"],
        cluster: &[],
        local: &[],
        any: true,
    }]);
}

#[test]
fn categorize_endpoints_terminating() {
    let case = |name, uses, endpoints, cluster, local, any| Case {
        name,
        uses,
        node: "here/red",
        endpoints,
        cluster,
        local,
        any,
    };
    check(&[
        case("Cluster none ready", CLUSTER, &["1 N", "2 S"], &[], &[], false),
        case("Cluster some terminating", CLUSTER, &["1 R", "2 T", "3 X"], &[1], &[], true),
        case("Cluster all terminating", CLUSTER, &["1 T", "2 T", "3 X"], &[1, 2], &[], true),
        case(
            "the fallback ignores topology",
            CLUSTER,
            &["1 T zones=red", "2 T zones=blue"],
            &[1, 2],
            &[],
            true,
        ),
        case("single unusable", BOTH, &["1@here X"], &[], &[], false),
        case("no endpoints", BOTH, &[], &[], &[], false),
        case("not ready but serving, not terminating", BOTH, &["1@here S"], &[], &[], false),
        case("ready although terminating", BOTH, &["1@here RT", "2@here T"], &[1], &[1], true),
        case("local", BOTH, &["1@here R", "2@here T"], &[1], &[1], true),
        case("remote", BOTH, &["1@there R", "2@there T"], &[1], &[], true),
        case("remote terminating", BOTH, &["1@there T", "2@there X"], &[1], &[], true),
        case(
            "mixed: remote ready for Cluster, terminating here for Local (kubernetes#85643)",
            BOTH,
            &["1@here T", "2@there R", "3@here X"],
            &[2],
            &[1],
            true,
        ),
        case("iTP Local falls back too", LOCAL, &["1@here T", "2@there R"], &[], &[1], true),
        case("iTP Local remote terminating", LOCAL, &["1@there T"], &[], &[], true),
    ]);
}

/// B8, kubernetes#103888: three zones of the shared fixture.
#[test]
fn hints_count_only_where_every_ready_endpoint_has_one() {
    let all: &[&str] = &["1@alpha R zones=red", "2@gamma R zones=blue"];
    let partial: &[&str] = &["1@alpha R zones=red", "2@gamma R"];
    let case = |name, node, endpoints, cluster| Case {
        name,
        uses: CLUSTER,
        node,
        endpoints,
        cluster,
        local: &[],
        any: true,
    };
    check(&[
        case("gamma", "gamma/blue", all, &[2]),
        case("node without zone label", "delta", all, &[1, 2]),
        case("one endpoint without hint", "gamma/blue", partial, &[1, 2]),
    ]);
}
