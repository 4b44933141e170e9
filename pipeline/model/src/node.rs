//! Nodes.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::{Cidr, Family, Labels};

/// One entry of `spec.taints`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Taint {
    /// The taint's key.
    pub key: Arc<str>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: Arc<str>,
}

/// A Node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// The Node's name.
    pub name: Arc<str>,
    /// `status.addresses` of type InternalIP, in order.
    pub internal_ips: Vec<IpAddr>,
    /// `status.addresses` of type ExternalIP, in order.
    pub external_ips: Vec<IpAddr>,
    /// `spec.podCIDRs` (or the lone `spec.podCIDR`).
    pub pod_cidrs: Vec<Cidr>,
    /// The label `topology.kubernetes.io/zone`.
    pub zone: Option<Arc<str>>,
    /// `metadata.labels`, which policies may select Nodes by.
    pub labels: Labels,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
}

impl Node {
    /// The Node's address of a family: the first InternalIP, else the first ExternalIP.
    #[must_use]
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        let all = self.internal_ips.iter().chain(&self.external_ips);
        all.copied().find(|&ip| Family::of(ip) == family)
    }
}
