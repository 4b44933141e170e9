//! How many endpoints a node offers to a load balancer.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use model::{Cluster, EndpointSlice, Family, NamespacedName, Protocol};

use crate::endpoints;

/// The number of endpoints of a Service that are ready on a node, in one family: what the Service's
/// `healthCheckNodePort` answers.
///
/// An address counts once, whatever the number of its ports, and only while ready: an endpoint that
/// terminates still gets the connections that arrive, but the load balancer must already turn away
/// (KEP-1669). Of several entries for one address the same one speaks as for routing. Every named
/// port of the slices counts, also one that the Service does not have.
#[must_use]
pub fn local_ready_endpoints(
    cluster: &Cluster,
    service: &NamespacedName,
    family: Family,
    node: &str,
) -> usize {
    let slices: Vec<&EndpointSlice> = cluster.slices(service).map(AsRef::as_ref).collect();
    let ports: BTreeSet<(&Arc<str>, Protocol)> = slices
        .iter()
        .flat_map(|slice| &slice.ports)
        .filter_map(|port| Some((port.name.as_ref()?, port.protocol)))
        .collect();
    let mut addresses: BTreeSet<IpAddr> = BTreeSet::new();
    for (name, protocol) in ports {
        for candidate in endpoints::endpoints(&slices, name, protocol, family) {
            let here = !node.is_empty() && candidate.endpoint.node.as_deref() == Some(node);
            if here && candidate.endpoint.ready {
                addresses.insert(candidate.address.ip());
            }
        }
    }
    addresses.len()
}
