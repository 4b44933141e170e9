//! The API's objects, trimmed to the fields that are used.
//!
//! Every field is a [`Field`]: unknown fields are skipped, and a value of the wrong type costs that
//! field alone. The generated types of the whole API would fail an object, and with it the list
//! that it came in, for one field that nobody reads.

mod endpoint_slice;
mod field;
mod list;
mod metadata;
mod node;
mod pod;
mod policy;
mod service;

pub use endpoint_slice::{
    Conditions, Endpoint, EndpointPort, EndpointSlice, HintName, Hints, TargetRef,
};
pub use field::{Expected, Field};
pub(crate) use field::{objects, shown};
pub use list::{EventKind, List, ListMetadata, Status, WatchEvent};
pub use metadata::{Annotations, Metadata};
pub use node::{Node, NodeAddress, NodeSpec, NodeStatus, ServiceCidr, ServiceCidrSpec, Taint};
pub use pod::{Container, ContainerPort, Pod, PodCondition, PodIp, PodSpec, PodStatus};
pub use policy::{Namespace, Policy};
pub use service::{
    ClientIp, Ingress, IntOrText, LoadBalancerStatus, Service, ServicePort, ServiceSpec,
    ServiceStatus, SessionAffinityConfig,
};
