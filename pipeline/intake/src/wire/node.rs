//! Nodes (`v1`) and ServiceCIDRs (`networking.k8s.io/v1`).

use serde::Deserialize;

use super::{Field, Metadata, objects};

/// A Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Node {
    /// `metadata`.
    pub metadata: Field<Metadata>,
    /// `spec`.
    pub spec: Field<NodeSpec>,
    /// `status`.
    pub status: Field<NodeStatus>,
}

/// `spec` of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// `spec.podCIDR`.
    #[serde(rename = "podCIDR")]
    pub pod_cidr: Field<String>,
    /// `spec.podCIDRs`.
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Field<Vec<Field<String>>>,
    /// `spec.taints`.
    pub taints: Field<Vec<Field<Taint>>>,
}

/// One entry of `spec.taints`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Taint {
    /// `key`.
    pub key: Field<String>,
    /// `effect`.
    pub effect: Field<String>,
}

/// `status` of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// `status.addresses`.
    pub addresses: Field<Vec<Field<NodeAddress>>>,
}

/// One entry of `status.addresses`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    /// `type`: InternalIP, ExternalIP, Hostname, InternalDNS or ExternalDNS.
    #[serde(rename = "type")]
    pub address_type: Field<String>,
    /// `address`.
    pub address: Field<String>,
}

/// A ServiceCIDR.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServiceCidr {
    /// `metadata`.
    pub metadata: Field<Metadata>,
    /// `spec`.
    pub spec: Field<ServiceCidrSpec>,
}

/// `spec` of a ServiceCIDR.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServiceCidrSpec {
    /// `spec.cidrs`.
    pub cidrs: Field<Vec<Field<String>>>,
}

objects!(Node, NodeSpec, Taint, NodeStatus, NodeAddress, ServiceCidr, ServiceCidrSpec);
