//! Plain facts of a Kubernetes cluster, as far as a node's packets depend on them.
//!
//! In: values that `intake` has read and checked. Out: a [`Cluster`], and for each [`Change`] the
//! [`Owner`]s whose routing may differ. Nothing here knows where facts come from, which node asks,
//! or what a rule looks like.

mod change;
mod cluster;
mod endpoints;
mod flow;
mod host;
mod name;
mod net;
mod node;
mod notice;
mod service;

pub use change::{Change, Owner};
pub use cluster::{Cluster, ServiceCidr};
pub use endpoints::{AddressType, Endpoint, EndpointPort, EndpointSlice, Hints};
pub use flow::{Cut, Flow, FlowDestination, StaleFlows};
pub use host::{Host, HostAddress};
pub use name::{NamespacedName, PortName};
pub use net::{BadAddress, Cidr, Family, Protocol, parse_cidr, parse_ip};
pub use node::{Node, Taint};
pub use notice::{Notice, ObjectRef, Reason};
pub use service::{
    Affinity, IngressMode, LoadBalancerIngress, Service, ServicePort, ServiceType, TargetPort,
    TrafficPolicy,
};
