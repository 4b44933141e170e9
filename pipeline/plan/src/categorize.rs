//! Which endpoints of a Service port may take traffic: readiness, topology, locality.

use std::sync::Arc;

use crate::endpoints::Candidate;
use crate::intent::Backend;
use crate::node::NodeFacts;

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
    let ready: Vec<&Candidate<'_>> =
        candidates.iter().filter(|candidate| candidate.endpoint.ready).collect();
    let terminating: Vec<&Candidate<'_>> = candidates
        .iter()
        .filter(|candidate| candidate.endpoint.serving && candidate.endpoint.terminating)
        .collect();
    let backend = |candidate: &&Candidate<'_>| Backend {
        address: candidate.address,
        local: is_local(candidate, node),
    };
    let mut chosen =
        Categorized { any: !ready.is_empty() || !terminating.is_empty(), ..Default::default() };
    if uses.cluster {
        let topology = topology(&ready, node);
        let near = ready.iter().filter(|candidate| follows(candidate, topology));
        chosen.cluster = near.map(backend).collect();
        if chosen.cluster.is_empty() {
            chosen.cluster = terminating.iter().map(backend).collect();
        }
    }
    if uses.local {
        let here = |list: &[&Candidate<'_>]| -> Vec<Backend> {
            list.iter().filter(|candidate| is_local(candidate, node)).map(backend).collect()
        };
        chosen.local = here(&ready);
        if chosen.local.is_empty() {
            chosen.local = here(&terminating);
        }
    }
    chosen
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
