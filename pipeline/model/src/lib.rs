//! Plain facts of a Kubernetes cluster, as far as a node's packets depend on them.
//!
//! In: values that `intake` has read and checked. Out: a [`Cluster`], and for each [`Change`] the
//! [`Owner`]s whose routing may differ. Nothing here knows where facts come from, which node asks,
//! or what a rule looks like.

mod change;
mod cluster;
mod endpoints;
mod facts;
mod flow;
mod host;
mod labels;
mod name;
mod net;
mod node;
mod notice;
mod pod;
mod policy;
mod service;

pub use change::{Change, Owner, PolicyFact};
pub use cluster::{Cluster, ServiceCidr};
pub use endpoints::{AddressType, Endpoint, EndpointPort, EndpointSlice, Hints};
pub use flow::{Cut, Flow, FlowDestination, StaleFlows};
pub use host::{Host, HostAddress};
pub use labels::{Demand, LabelSelector, Labels, Requirement};
pub use name::{NamespacedName, PortName};
pub use net::{BadAddress, Cidr, Family, Protocol, parse_cidr, parse_ip};
pub use node::{Node, Taint};
pub use notice::{Notice, ObjectRef, Reason};
pub use pod::{ContainerPort, NAMESPACE_NAME_LABEL, Namespace, Pod};
pub use policy::{
    ClusterNetworkPolicy, Direction, IpBlock, Namespaces, NetworkPolicy, Peer, Peers, PodSelection,
    PolicyAction, PolicyName, PolicyPort, PolicyRule, Ports, Tier,
};
pub use service::{
    Affinity, IngressMode, LoadBalancerIngress, Service, ServicePort, ServiceType, TargetPort,
    TrafficPolicy,
};
