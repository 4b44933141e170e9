//! Traffic policy × class of source → where a packet goes, and whether its source is kept.

use model::TrafficPolicy;

use crate::config::OnNoLocalEndpoints;
use crate::intent::{PoolName, Refusal, Refuse, Route, Routes};

/// What the routes of a Service port depend on, in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Situation {
    /// Whether any endpoint anywhere could take traffic.
    pub(crate) any: bool,
    /// Whether this node has an endpoint that takes traffic.
    pub(crate) local: bool,
    /// Whether Pods of the cluster can be told from everybody else.
    pub(crate) pods_known: bool,
}

const NO_ENDPOINTS: Route = Route::Refuse { why: Refusal::NoEndpoints, with: Refuse::Reject };

fn no_local_endpoints(with: Refuse) -> Route {
    Route::Refuse { why: Refusal::NoLocalEndpoints, with }
}

/// Routes of the cluster IP (`internalTrafficPolicy`; the external policy plays no part).
///
/// Without any endpoint everybody is rejected. Policy `Local` sends all classes to the endpoints of
/// this node, and refuses all where there are none, as the operator chose (kube-proxy drops;
/// kubernetes#121371 asks for an error). The source is replaced for whoever is not a Pod, so that
/// the answer comes back by here; where Pods cannot be told, for nobody; with `masqueradeAll`, for
/// everybody.
pub(crate) fn internal(
    policy: TrafficPolicy,
    now: Situation,
    masquerade_all: bool,
    on_no_local: OnNoLocalEndpoints,
) -> Routes {
    if !now.any {
        return Routes::all(NO_ENDPOINTS);
    }
    let pool = match policy {
        TrafficPolicy::Cluster => PoolName::Cluster,
        TrafficPolicy::Local if now.local => PoolName::Local,
        TrafficPolicy::Local => {
            return Routes::all(no_local_endpoints(match on_no_local {
                OnNoLocalEndpoints::Drop => Refuse::Drop,
                OnNoLocalEndpoints::Reject => Refuse::Reject,
            }));
        }
    };
    let stranger = Route::Deliver { pool, masquerade: masquerade_all || now.pods_known };
    Routes {
        pod: Route::Deliver { pool, masquerade: masquerade_all },
        node: stranger,
        outside: stranger,
    }
}

/// Routes of external IPs, load balancer IPs and NodePorts (`externalTrafficPolicy`; the internal
/// policy plays no part).
///
/// Without any endpoint everybody is rejected. Policy `Cluster` sends everybody to the endpoints of
/// the cluster and always replaces the source. Policy `Local` keeps the source of outside clients
/// and sends them to the endpoints of this node; where there are none they are dropped in silence,
/// for a load balancer is about to send them elsewhere. Pods and the node itself have no such load
/// balancer in front: they go to the endpoints of the cluster (kubernetes#131765), a Pod with its own
/// source, the node masqueraded. Where Pods cannot be told they are treated as outside.
pub(crate) fn external(policy: TrafficPolicy, now: Situation) -> Routes {
    let cluster = |masquerade| Route::Deliver { pool: PoolName::Cluster, masquerade };
    match policy {
        _ if !now.any => Routes::all(NO_ENDPOINTS),
        TrafficPolicy::Cluster => Routes::all(cluster(true)),
        TrafficPolicy::Local => {
            let outside = if now.local {
                Route::Deliver { pool: PoolName::Local, masquerade: false }
            } else {
                no_local_endpoints(Refuse::Drop)
            };
            let pod = if now.pods_known { cluster(false) } else { outside };
            Routes { pod, node: cluster(true), outside }
        }
    }
}
