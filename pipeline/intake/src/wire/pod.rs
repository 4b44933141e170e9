//! Pods (`v1`), as far as the endpoints of a Service and policies depend on them.

use serde::Deserialize;

use super::{Field, Metadata, objects};

/// A Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// `metadata`.
    pub metadata: Field<Metadata>,
    /// `spec`.
    pub spec: Field<PodSpec>,
    /// `status`.
    pub status: Field<PodStatus>,
}

/// `spec` of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    /// `spec.nodeName`; absent until the Pod is scheduled.
    pub node_name: Field<String>,
    /// `spec.hostNetwork`.
    pub host_network: Field<bool>,
    /// `spec.hostname`.
    pub hostname: Field<String>,
    /// `spec.subdomain`.
    pub subdomain: Field<String>,
    /// `spec.containers`.
    pub containers: Field<Vec<Field<Container>>>,
    /// `spec.initContainers`.
    pub init_containers: Field<Vec<Field<Container>>>,
}

/// One entry of `spec.containers` or `spec.initContainers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    /// `Always` makes an init container a sidecar, whose ports count (KEP-753).
    pub restart_policy: Field<String>,
    /// `ports`.
    pub ports: Field<Vec<Field<ContainerPort>>>,
}

/// One entry of a container's `ports`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerPort {
    /// `name`.
    pub name: Field<String>,
    /// `containerPort`.
    pub container_port: Field<i64>,
    /// `protocol`.
    pub protocol: Field<String>,
}

/// `status` of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PodStatus {
    /// `status.phase`: Pending, Running, Succeeded, Failed or Unknown.
    pub phase: Field<String>,
    /// `status.podIP`.
    #[serde(rename = "podIP")]
    pub pod_ip: Field<String>,
    /// `status.podIPs`.
    #[serde(rename = "podIPs")]
    pub pod_ips: Field<Vec<Field<PodIp>>>,
    /// `status.startTime`, RFC 3339.
    #[serde(rename = "startTime")]
    pub start_time: Field<String>,
    /// `status.conditions`.
    pub conditions: Field<Vec<Field<PodCondition>>>,
}

/// One entry of `status.podIPs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PodIp {
    /// `ip`.
    pub ip: Field<String>,
}

/// One entry of `status.conditions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PodCondition {
    /// `type`, such as `Ready`.
    #[serde(rename = "type")]
    pub condition_type: Field<String>,
    /// `status`: True, False or Unknown.
    pub status: Field<String>,
}

objects!(Pod, PodSpec, Container, ContainerPort, PodStatus, PodIp, PodCondition);
