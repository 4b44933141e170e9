//! Which endpoints of a Service port may take traffic: readiness, topology, locality.

use std::net::SocketAddr;
use std::sync::Arc;

use model::Endpoint;

use crate::endpoints::Candidate;
use crate::intent::Backend;
use crate::node::NodeFacts;
use crate::standing::HintsUse;

/// Which lists the policies of a Service port ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uses {
    /// The endpoints of the cluster.
    pub(crate) cluster: bool,
    /// The endpoints of this node.
    pub(crate) local: bool,
}

/// The outcome of [`categorize`]. Both lists keep the order of the candidates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Categorized {
    /// Endpoints of the cluster; empty where nobody asks for them.
    pub(crate) cluster: Vec<Backend>,
    /// Endpoints of this node; empty where nobody asks for them.
    pub(crate) local: Vec<Backend>,
    /// Whether any endpoint anywhere could take traffic, so that a lack of local ones is a matter of
    /// policy and not of a Service that is down.
    pub(crate) any: bool,
}

/// Which hints are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topology<'a> {
    /// None: every ready endpoint will do.
    Anywhere,
    /// Those that name this node (KEP-3015, PreferSameNode).
    Node(&'a str),
    /// Those that name this node's zone.
    Zone(&'a str),
}

/// Where one endpoint stands with one of the two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is in the list.
    Used,
    /// It is in the list though it terminates, for no endpoint is ready.
    LastResort,
    /// It is not ready.
    NotReady,
    /// It terminates, and others are ready.
    Terminating,
    /// It terminates and serves no more.
    NotServing,
    /// The hints that are followed name other zones.
    OtherZone,
    /// The hints that are followed name other nodes.
    OtherNode,
    /// It does not run on this node.
    NotLocal,
}

impl Place {
    /// Whether the endpoint takes traffic.
    pub(crate) fn takes(self) -> bool {
        matches!(self, Place::Used | Place::LastResort)
    }

    /// Of an endpoint that is not ready, given whether terminating ones are needed.
    fn unready(endpoint: &Endpoint, last_resort: bool) -> Self {
        match (endpoint.terminating, endpoint.serving) {
            (false, _) => Place::NotReady,
            (true, false) => Place::NotServing,
            (true, true) if last_resort => Place::LastResort,
            (true, true) => Place::Terminating,
        }
    }
}

/// Chooses the endpoints that take traffic.
///
/// **Cluster list**: the ready endpoints, narrowed by topology hints. Only where no endpoint is
/// ready, all that are terminating and still serving, wherever they are (KEP-1669). Hints are
/// followed if *every* ready endpoint has one and *some* ready endpoint names this node, else this
/// node's zone; otherwise they are ignored altogether, so that a half-written set of hints cannot
/// overload a few endpoints. Fields of the Service play no part.
///
/// **Local list**: the ready endpoints on this node; if there are none, the terminating and serving
/// ones on this node. Topology plays no part.
///
/// An endpoint that is not ready and not terminating is never used, even while it serves; a ready
/// one is used even while it terminates (`publishNotReadyAddresses`).
pub(crate) fn categorize(
    candidates: &[Candidate<'_>],
    uses: Uses,
    node: &NodeFacts,
) -> Categorized {
    let listed = |places: Vec<Place>| -> Vec<Backend> {
        let chosen = candidates.iter().zip(places).filter(|(_, place)| place.takes());
        let backend = |candidate: &Candidate<'_>| Backend {
            address: candidate.address,
            local: is_local(candidate, node),
            unplaced: candidate.endpoint.node.is_none(),
        };
        chosen.map(|(candidate, _)| backend(candidate)).collect()
    };
    Categorized {
        cluster: if uses.cluster { listed(cluster_places(candidates, node)) } else { Vec::new() },
        local: if uses.local { listed(local_places(candidates, node)) } else { Vec::new() },
        any: candidates.iter().any(|Candidate { endpoint, .. }| {
            endpoint.ready || (endpoint.serving && endpoint.terminating)
        }),
    }
}

/// Where each candidate stands with the cluster list, in their order.
pub(crate) fn cluster_places(candidates: &[Candidate<'_>], node: &NodeFacts) -> Vec<Place> {
    let ready: Vec<&Candidate<'_>> = ready(candidates);
    let topology = topology(&ready, node);
    let place = |candidate: &Candidate<'_>| match (candidate.endpoint.ready, topology) {
        (false, _) => Place::unready(candidate.endpoint, ready.is_empty()),
        (true, Topology::Zone(_)) if !follows(candidate, topology) => Place::OtherZone,
        (true, Topology::Node(_)) if !follows(candidate, topology) => Place::OtherNode,
        (true, _) => Place::Used,
    };
    candidates.iter().map(place).collect()
}

/// Where each candidate stands with the local list, in their order.
pub(crate) fn local_places(candidates: &[Candidate<'_>], node: &NodeFacts) -> Vec<Place> {
    let last_resort = !ready(candidates).iter().any(|candidate| is_local(candidate, node));
    let place = |candidate: &Candidate<'_>| {
        if !is_local(candidate, node) {
            Place::NotLocal
        } else if candidate.endpoint.ready {
            Place::Used
        } else {
            Place::unready(candidate.endpoint, last_resort)
        }
    };
    candidates.iter().map(place).collect()
}

fn ready<'c, 'a>(candidates: &'c [Candidate<'a>]) -> Vec<&'c Candidate<'a>> {
    candidates.iter().filter(|candidate| candidate.endpoint.ready).collect()
}

/// What becomes of the hints of these candidates in the cluster list.
pub(crate) fn hints(candidates: &[Candidate<'_>], node: &NodeFacts) -> HintsUse {
    let ready = ready(candidates);
    match topology(&ready, node) {
        Topology::Node(name) => return HintsUse::Node(name.into()),
        Topology::Zone(name) => return HintsUse::Zone(name.into()),
        Topology::Anywhere => {}
    }
    let without = |hints: fn(&Candidate<'_>) -> bool| -> Vec<SocketAddr> {
        let lacking = ready.iter().filter(|candidate| !hints(candidate));
        lacking.map(|candidate| candidate.address).collect()
    };
    let zoneless = without(|candidate| !zone_hints(candidate).is_empty());
    let hintless =
        without(|candidate| !zone_hints(candidate).is_empty() || !node_hints(candidate).is_empty());
    if hintless.len() == ready.len() {
        return HintsUse::Absent;
    }
    match &node.zone {
        _ if !hintless.is_empty() => HintsUse::Incomplete(hintless),
        _ if !zoneless.is_empty() => HintsUse::Incomplete(zoneless),
        None => HintsUse::NoZone,
        Some(zone) => HintsUse::NobodyFor(zone.clone()),
    }
}

/// Whether an endpoint runs on this node: its `nodeName` is this node's name, not empty.
fn is_local(candidate: &Candidate<'_>, node: &NodeFacts) -> bool {
    !node.name.is_empty() && candidate.endpoint.node.as_ref() == Some(&node.name)
}

fn node_hints<'a>(candidate: &Candidate<'a>) -> &'a [Arc<str>] {
    candidate.endpoint.hints.as_ref().map_or(&[], |hints| &hints.nodes)
}

fn zone_hints<'a>(candidate: &Candidate<'a>) -> &'a [Arc<str>] {
    candidate.endpoint.hints.as_ref().map_or(&[], |hints| &hints.zones)
}

fn names(hints: &[Arc<str>], name: &str) -> bool {
    hints.iter().any(|hint| **hint == *name)
}

/// Which hints to follow, from the ready endpoints alone.
fn topology<'a>(ready: &[&Candidate<'_>], node: &'a NodeFacts) -> Topology<'a> {
    let by_node = ready.iter().all(|candidate| !node_hints(candidate).is_empty())
        && ready.iter().any(|candidate| names(node_hints(candidate), &node.name));
    if by_node {
        return Topology::Node(&node.name);
    }
    let Some(zone) = node.zone.as_deref() else { return Topology::Anywhere };
    let by_zone = ready.iter().all(|candidate| !zone_hints(candidate).is_empty())
        && ready.iter().any(|candidate| names(zone_hints(candidate), zone));
    if by_zone { Topology::Zone(zone) } else { Topology::Anywhere }
}

fn follows(candidate: &Candidate<'_>, topology: Topology<'_>) -> bool {
    match topology {
        Topology::Anywhere => true,
        Topology::Node(name) => names(node_hints(candidate), name),
        Topology::Zone(zone) => names(zone_hints(candidate), zone),
    }
}
