//! The decision table of traffic policies, and C1, C2.

use model::TrafficPolicy::{Cluster, Local};

use super::words;
use crate::config::OnNoLocalEndpoints;
use crate::routes::{Situation, external, internal};

fn situation(any: bool, local: bool, pods_known: bool) -> Situation {
    Situation { any, local, pods_known }
}

const NONE: [&str; 3] = ["reject none"; 3];

#[test]
fn decision_table_of_cluster_ips() {
    // policy, (any, local, pods known), masqueradeAll, [pod, node, outside]
    let table = [
        (Cluster, (false, false, true), false, NONE),
        (Local, (false, false, true), false, NONE),
        (Cluster, (false, false, true), true, NONE),
        (Cluster, (true, false, true), false, ["cluster", "cluster+masq", "cluster+masq"]),
        (Cluster, (true, true, true), false, ["cluster", "cluster+masq", "cluster+masq"]),
        (Cluster, (true, true, false), false, ["cluster"; 3]),
        (Cluster, (true, true, true), true, ["cluster+masq"; 3]),
        (Cluster, (true, true, false), true, ["cluster+masq"; 3]),
        (Local, (true, true, true), false, ["local", "local+masq", "local+masq"]),
        (Local, (true, true, false), false, ["local"; 3]),
        (Local, (true, true, true), true, ["local+masq"; 3]),
        (Local, (true, false, true), false, ["drop no local"; 3]),
        (Local, (true, false, false), true, ["drop no local"; 3]),
    ];
    for (policy, (any, local, known), all, expected) in table {
        let now = situation(any, local, known);
        let routes = internal(policy, now, all, OnNoLocalEndpoints::Drop);
        assert_eq!(words(routes), expected, "{policy:?} {now:?} masqueradeAll={all}");
    }
}

#[test]
fn decision_table_of_external_destinations() {
    let table = [
        (Cluster, (false, false, true), NONE),
        (Local, (false, false, true), NONE),
        (Local, (false, false, false), NONE),
        (Cluster, (true, false, true), ["cluster+masq"; 3]),
        (Cluster, (true, true, false), ["cluster+masq"; 3]),
        (Local, (true, true, true), ["cluster", "cluster+masq", "local"]),
        (Local, (true, false, true), ["cluster", "cluster+masq", "drop no local"]),
        (Local, (true, true, false), ["local", "cluster+masq", "local"]),
        (Local, (true, false, false), ["drop no local", "cluster+masq", "drop no local"]),
    ];
    for (policy, (any, local, known), expected) in table {
        let now = situation(any, local, known);
        assert_eq!(words(external(policy, now)), expected, "{policy:?} {now:?}");
    }
}

/// C2, kubernetes#121371: the operator's choice changes how the lack of local endpoints looks, and
/// nothing else.
#[test]
fn no_local_endpoints_can_be_rejected() {
    let reject = OnNoLocalEndpoints::Reject;
    let routes = |policy, any, local| internal(policy, situation(any, local, true), false, reject);
    assert_eq!(words(routes(Local, true, false)), ["reject no local"; 3]);
    assert_eq!(words(routes(Local, false, false)), NONE);
    assert_eq!(words(routes(Local, true, true)), ["local", "local+masq", "local+masq"]);
    assert_eq!(words(routes(Cluster, true, false)), ["cluster", "cluster+masq", "cluster+masq"]);
}
