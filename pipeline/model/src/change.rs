//! What `intake` hands on: one change of one fact, or one kind's complete list.

use std::sync::Arc;

use crate::{
    ClusterNetworkPolicy, EndpointSlice, Host, Namespace, NamespacedName, NetworkPolicy, Node, Pod,
    Service, ServiceCidr,
};

/// One step of the world. A list replaces everything known of its kind, so that what vanished
/// while nobody watched vanishes here too.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A Service is new or different.
    Service(Service),
    /// A Service is gone.
    ServiceGone(NamespacedName),
    /// The complete list of Services.
    Services(Vec<Service>),
    /// An EndpointSlice is new or different.
    Slice(EndpointSlice),
    /// An EndpointSlice is gone.
    SliceGone(NamespacedName),
    /// The complete list of EndpointSlices.
    Slices(Vec<EndpointSlice>),
    /// A Node is new or different.
    Node(Node),
    /// A Node is gone.
    NodeGone(Arc<str>),
    /// The complete list of the Nodes that are watched.
    Nodes(Vec<Node>),
    /// A ServiceCIDR is new or different.
    ServiceCidr(ServiceCidr),
    /// A ServiceCIDR is gone.
    ServiceCidrGone(Arc<str>),
    /// The complete list of ServiceCIDRs.
    ServiceCidrs(Vec<ServiceCidr>),
    /// What the machine says of itself.
    Host(Host),
    /// A Pod is new or different.
    Pod(Pod),
    /// A Pod is gone.
    PodGone(NamespacedName),
    /// The complete list of Pods.
    Pods(Vec<Pod>),
    /// A Namespace is new or different.
    Namespace(Namespace),
    /// A Namespace is gone.
    NamespaceGone(Arc<str>),
    /// The complete list of Namespaces.
    Namespaces(Vec<Namespace>),
    /// A NetworkPolicy is new or different.
    NetworkPolicy(NetworkPolicy),
    /// A NetworkPolicy is gone.
    NetworkPolicyGone(NamespacedName),
    /// The complete list of NetworkPolicies.
    NetworkPolicies(Vec<NetworkPolicy>),
    /// A ClusterNetworkPolicy is new or different.
    ClusterNetworkPolicy(ClusterNetworkPolicy),
    /// A ClusterNetworkPolicy is gone.
    ClusterNetworkPolicyGone(Arc<str>),
    /// The complete list of ClusterNetworkPolicies.
    ClusterNetworkPolicies(Vec<ClusterNetworkPolicy>),
}

/// Whom a part of the routing belongs to: the unit in which everything is planned, rendered,
/// compared and written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The node: all that does not belong to one Service.
    Node,
    /// A Service, with its EndpointSlices.
    Service(NamespacedName),
    /// A fact that policies depend on. The routing does not.
    Policy(PolicyFact),
}

/// An object that decides what policies let through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyFact {
    /// A Pod: its addresses, labels, ports or node.
    Pod(NamespacedName),
    /// A Namespace: its labels.
    Namespace(Arc<str>),
    /// A NetworkPolicy.
    NetworkPolicy(NamespacedName),
    /// A ClusterNetworkPolicy.
    ClusterNetworkPolicy(Arc<str>),
}
