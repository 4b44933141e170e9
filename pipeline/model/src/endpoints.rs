//! EndpointSlices: where the Pods of a Service are, and in which state.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::{Family, NamespacedName, Protocol};

/// `addressType` of an EndpointSlice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum AddressType {
    /// Addresses of one family.
    Ip(Family),
    /// Names, which no packet can be sent to.
    Fqdn,
}

/// One entry of `ports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndpointPort {
    /// Matches the Service port's name. A missing name matches nothing.
    pub name: Option<Arc<str>>,
    /// TCP where the object says nothing.
    pub protocol: Protocol,
    /// Where the Pods listen. `None` ("all ports") routes nothing.
    pub port: Option<u16>,
}

/// `hints` of an endpoint, written by the EndpointSlice controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hints {
    /// `hints.forZones[].name`.
    pub zones: Vec<Arc<str>>,
    /// `hints.forNodes[].name` (KEP-3015, PreferSameNode).
    pub nodes: Vec<Arc<str>>,
}

/// One entry of `endpoints`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// The first address; the API defines no meaning for further ones.
    pub address: IpAddr,
    /// `conditions.ready`, true where the object says nothing.
    pub ready: bool,
    /// `conditions.serving`, true where the object says nothing.
    pub serving: bool,
    /// `conditions.terminating`, false where the object says nothing.
    pub terminating: bool,
    /// `nodeName`.
    pub node: Option<Arc<str>>,
    /// `zone`.
    pub zone: Option<Arc<str>>,
    /// `hints`; boxed, for most endpoints have none.
    pub hints: Option<Box<Hints>>,
    /// `hostname`, for DNS.
    pub hostname: Option<Arc<str>>,
    /// `targetRef.uid`: the Pod's identity, which tells one Pod in two slices from two Pods that
    /// used one address.
    pub target_uid: Option<Arc<str>>,
    /// `targetRef.name`, where the target is a Pod.
    pub target_pod: Option<Arc<str>>,
}

impl Endpoint {
    /// An endpoint that says nothing but its address: ready and serving, as the API's defaults are.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        Self {
            address,
            ready: true,
            serving: true,
            terminating: false,
            node: None,
            zone: None,
            hints: None,
            hostname: None,
            target_uid: None,
            target_pod: None,
        }
    }
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndpointSlice {
    /// Namespace and name.
    pub name: NamespacedName,
    /// The label `kubernetes.io/service-name`; a slice without it belongs to nobody.
    pub service: Option<NamespacedName>,
    /// `metadata.resourceVersion` as a number, 0 where there is none: the newer slice wins where
    /// two list one Pod (comparable per KEP-5504).
    pub version: u64,
    /// The annotation `endpoints.kubernetes.io/last-change-trigger-time` in milliseconds of the Unix
    /// epoch: when the Pod or the Service changed that the slice's last change follows from. For
    /// measuring; routing never reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_change_trigger: Option<i64>,
    /// `addressType`.
    pub address_type: AddressType,
    /// `ports`.
    pub ports: Vec<EndpointPort>,
    /// `endpoints`; entries without a usable address are left out.
    pub endpoints: Vec<Endpoint>,
}
