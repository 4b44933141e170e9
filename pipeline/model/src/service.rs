//! Services, as far as routing and name resolution depend on them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::{Cidr, Family, NamespacedName, Protocol};

/// `spec.type` of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ServiceType {
    /// Reachable inside the cluster by its cluster IP.
    ClusterIP,
    /// Also reachable by a port of every node.
    NodePort,
    /// Also reachable by the addresses of a load balancer.
    LoadBalancer,
    /// A DNS alias; no packet is ever routed for it.
    ExternalName,
}

/// `spec.externalTrafficPolicy` and `spec.internalTrafficPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum TrafficPolicy {
    /// Any endpoint of the cluster.
    Cluster,
    /// Endpoints of the receiving node alone.
    Local,
}

/// `spec.sessionAffinity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Affinity {
    /// Each connection chooses anew.
    None,
    /// A client address stays with its endpoint until it made no new connection for so long.
    ClientIP {
        /// `spec.sessionAffinityConfig.clientIP.timeoutSeconds`, in seconds (API default 10800).
        timeout_seconds: u32,
    },
}

/// `spec.ports[].targetPort`: an input of the EndpointSlice controller. Routing never reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum TargetPort {
    /// A port number.
    Number(u16),
    /// The name of a container port, resolved per Pod.
    Name(Arc<str>),
}

/// One entry of `spec.ports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServicePort {
    /// Empty where the only port has no name.
    pub name: Arc<str>,
    /// TCP where the object says nothing.
    pub protocol: Protocol,
    /// The port of the cluster IP, external IPs and load balancer IPs.
    pub port: u16,
    /// Where the Pods listen.
    pub target_port: Option<TargetPort>,
    /// The port of every node, where one is allocated.
    pub node_port: Option<u16>,
}

/// `status.loadBalancer.ingress[].ipMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum IngressMode {
    /// Packets arrive with the load balancer's address as destination: the node routes them.
    VIP,
    /// Packets arrive addressed to the node: the load balancer's address is not ours (KEP-1860).
    Proxy,
}

/// One entry of `status.loadBalancer.ingress` that has an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoadBalancerIngress {
    /// The load balancer's address.
    pub ip: IpAddr,
    /// Who translates it.
    pub mode: IngressMode,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Namespace and name.
    pub name: NamespacedName,
    /// `metadata.creationTimestamp` in seconds of the Unix epoch; the older of two Services that
    /// claim one address keeps it. `None` (a manifest that was never stored) counts as the newest.
    pub created: Option<i64>,
    /// `spec.type`.
    pub service_type: ServiceType,
    /// The value of the label `service.kubernetes.io/service-proxy-name`: another proxy's Service.
    /// Or `service.kubernetes.io/headless`, the label by which it is no proxy's.
    pub proxy_name: Option<Arc<str>>,
    /// `spec.clusterIPs` (or the lone `spec.clusterIP`); empty for headless Services.
    pub cluster_ips: Vec<IpAddr>,
    /// Whether `spec.clusterIP` is the word `None`.
    pub headless: bool,
    /// `spec.ipFamilies`.
    pub ip_families: Vec<Family>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.selector`; empty where endpoints are written by hand.
    pub selector: BTreeMap<Arc<str>, Arc<str>>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress`; entries with a hostname alone are left out.
    pub ingress: Vec<LoadBalancerIngress>,
    /// `spec.loadBalancerSourceRanges`, in the order of the object; empty means everybody.
    pub source_ranges: Vec<Cidr>,
    /// `spec.sessionAffinity` with its timeout.
    pub affinity: Affinity,
    /// `spec.externalTrafficPolicy`.
    pub external_traffic_policy: TrafficPolicy,
    /// `spec.internalTrafficPolicy`.
    pub internal_traffic_policy: TrafficPolicy,
    /// `spec.healthCheckNodePort`.
    pub health_check_node_port: Option<u16>,
    /// `spec.externalName`, for DNS.
    pub external_name: Option<Arc<str>>,
    /// `spec.publishNotReadyAddresses`, for the EndpointSlice controller and DNS.
    pub publish_not_ready_addresses: bool,
    /// `spec.trafficDistribution`: an input of the EndpointSlice controller, which writes hints.
    pub traffic_distribution: Option<Arc<str>>,
}

impl Service {
    /// A Service of type ClusterIP that says nothing else: every field is the API's default, and
    /// there is neither an address nor a port.
    #[must_use]
    pub fn new(name: NamespacedName) -> Self {
        Self {
            name,
            created: None,
            service_type: ServiceType::ClusterIP,
            proxy_name: None,
            cluster_ips: Vec::new(),
            headless: false,
            ip_families: Vec::new(),
            ports: Vec::new(),
            selector: BTreeMap::new(),
            external_ips: Vec::new(),
            ingress: Vec::new(),
            source_ranges: Vec::new(),
            affinity: Affinity::None,
            external_traffic_policy: TrafficPolicy::Cluster,
            internal_traffic_policy: TrafficPolicy::Cluster,
            health_check_node_port: None,
            external_name: None,
            publish_not_ready_addresses: false,
            traffic_distribution: None,
        }
    }

    /// The cluster IP of a family: position by `ipFamilies`, or `spec.clusterIP` where that list is
    /// empty. `None` means that the Service has no address in the family.
    #[must_use]
    pub fn cluster_ip(&self, family: Family) -> Option<IpAddr> {
        let address = if self.ip_families.is_empty() {
            self.cluster_ips.first()
        } else {
            let index = self.ip_families.iter().position(|&listed| listed == family)?;
            self.cluster_ips.get(index)
        };
        address.copied().filter(|&ip| Family::of(ip) == family)
    }
}
