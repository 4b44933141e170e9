//! Services (`v1`).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Expected, Field, Metadata, objects};

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Service {
    /// `metadata`.
    pub metadata: Field<Metadata>,
    /// `spec`.
    pub spec: Field<ServiceSpec>,
    /// `status`.
    pub status: Field<ServiceStatus>,
}

/// `spec` of a Service; see [`model::Service`] for the meaning of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    /// `spec.type`.
    #[serde(rename = "type")]
    pub service_type: Field<String>,
    /// `spec.clusterIP`.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Field<String>,
    /// `spec.clusterIPs`.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Field<Vec<Field<String>>>,
    /// `spec.ipFamilies`.
    pub ip_families: Field<Vec<Field<String>>>,
    /// `spec.ports`.
    pub ports: Field<Vec<Field<ServicePort>>>,
    /// `spec.selector`.
    pub selector: Field<BTreeMap<String, Field<String>>>,
    /// `spec.externalIPs`.
    #[serde(rename = "externalIPs")]
    pub external_ips: Field<Vec<Field<String>>>,
    /// `spec.loadBalancerSourceRanges`.
    pub load_balancer_source_ranges: Field<Vec<Field<String>>>,
    /// `spec.sessionAffinity`.
    pub session_affinity: Field<String>,
    /// `spec.sessionAffinityConfig`.
    pub session_affinity_config: Field<SessionAffinityConfig>,
    /// `spec.externalTrafficPolicy`.
    pub external_traffic_policy: Field<String>,
    /// `spec.internalTrafficPolicy`.
    pub internal_traffic_policy: Field<String>,
    /// `spec.healthCheckNodePort`.
    pub health_check_node_port: Field<i64>,
    /// `spec.externalName`.
    pub external_name: Field<String>,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready_addresses: Field<bool>,
    /// `spec.trafficDistribution`.
    pub traffic_distribution: Field<String>,
}

/// One entry of `spec.ports`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServicePort {
    /// `name`.
    pub name: Field<String>,
    /// `protocol`.
    pub protocol: Field<String>,
    /// `port`.
    pub port: Field<i64>,
    /// `targetPort`.
    pub target_port: Field<IntOrText>,
    /// `nodePort`.
    pub node_port: Field<i64>,
}

/// A number, or a name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum IntOrText {
    /// A number.
    Int(i64),
    /// A name.
    Text(String),
}

impl Expected for IntOrText {
    const WHAT: &'static str = "a number or a name";
}

/// `spec.sessionAffinityConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SessionAffinityConfig {
    /// `clientIP`.
    #[serde(rename = "clientIP")]
    pub client_ip: Field<ClientIp>,
}

/// `spec.sessionAffinityConfig.clientIP`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientIp {
    /// Seconds.
    pub timeout_seconds: Field<i64>,
}

/// `status` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceStatus {
    /// `status.loadBalancer`.
    pub load_balancer: Field<LoadBalancerStatus>,
}

/// `status.loadBalancer`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LoadBalancerStatus {
    /// `ingress`.
    pub ingress: Field<Vec<Field<Ingress>>>,
}

/// One entry of `status.loadBalancer.ingress`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Ingress {
    /// `ip`.
    pub ip: Field<String>,
    /// `ipMode`.
    pub ip_mode: Field<String>,
}

objects!(
    Service,
    ServiceSpec,
    ServicePort,
    SessionAffinityConfig,
    ClientIp,
    ServiceStatus,
    LoadBalancerStatus,
    Ingress,
);
