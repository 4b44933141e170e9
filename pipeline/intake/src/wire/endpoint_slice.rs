//! EndpointSlices (`discovery.k8s.io/v1`).

use serde::Deserialize;

use super::{Field, Metadata, objects};

/// An EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSlice {
    /// `metadata`.
    pub metadata: Field<Metadata>,
    /// `addressType`.
    pub address_type: Field<String>,
    /// `ports`.
    pub ports: Field<Vec<Field<EndpointPort>>>,
    /// `endpoints`.
    pub endpoints: Field<Vec<Field<Endpoint>>>,
}

/// One entry of `ports`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EndpointPort {
    /// `name`.
    pub name: Field<String>,
    /// `protocol`.
    pub protocol: Field<String>,
    /// `port`.
    pub port: Field<i64>,
}

/// One entry of `endpoints`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    /// `addresses`.
    pub addresses: Field<Vec<Field<String>>>,
    /// `conditions`.
    pub conditions: Field<Conditions>,
    /// `nodeName`.
    pub node_name: Field<String>,
    /// `zone`.
    pub zone: Field<String>,
    /// `hints`.
    pub hints: Field<Hints>,
    /// `hostname`.
    pub hostname: Field<String>,
    /// `targetRef`.
    pub target_ref: Field<TargetRef>,
}

/// `conditions` of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// `ready`.
    pub ready: Field<bool>,
    /// `serving`.
    pub serving: Field<bool>,
    /// `terminating`.
    pub terminating: Field<bool>,
}

/// `hints` of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Hints {
    /// `forZones`.
    pub for_zones: Field<Vec<Field<HintName>>>,
    /// `forNodes`.
    pub for_nodes: Field<Vec<Field<HintName>>>,
}

/// One entry of a list of hints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HintName {
    /// The zone's or the node's name.
    pub name: Field<String>,
}

/// `targetRef` of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TargetRef {
    /// `kind`, such as `Pod`.
    pub kind: Field<String>,
    /// `name`.
    pub name: Field<String>,
    /// `uid`.
    pub uid: Field<String>,
}

objects!(EndpointSlice, EndpointPort, Endpoint, Conditions, Hints, HintName, TargetRef);
