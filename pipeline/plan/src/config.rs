//! What the operator decided, already checked.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use model::Cidr;

/// How a packet from a Pod of this cluster is told from one of outside (`detectLocalMode`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetectLocal {
    /// Its source lies in one of these blocks (the first of each family counts).
    ClusterCidr(Vec<Cidr>),
    /// Its source lies in this node's `spec.podCIDRs`.
    NodeCidr,
    /// It comes in by this bridge.
    BridgeInterface(String),
    /// It comes in by an interface whose name starts so.
    InterfaceNamePrefix(String),
    /// It cannot be told: everybody counts as outside.
    Nothing,
}

/// Which of the node's addresses answer NodePorts (`nodePortAddresses`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// Every address of the node.
    All,
    /// The node's own address of each family ([`Config::own_address`], else the Node object's); all
    /// of a family where it has none.
    Primary,
    /// The addresses within these blocks; a family without a block accepts all of its own.
    Cidrs(Vec<Cidr>),
}

/// What meets a packet when a policy says `Local` and this node has no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnNoLocalEndpoints {
    /// Silence, as kube-proxy does.
    Drop,
    /// An ICMP error, so that clients inside the cluster fail at once (kubernetes#121371).
    Reject,
}

/// How policies are enforced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyOptions {
    /// Whether they are.
    pub enforce: bool,
    /// Hold back addresses of this node's Pod blocks that no known Pod has, in the directions in
    /// which some policy could deny: for so many seconds at most. `None` lets them pass.
    pub hold_unknown_seconds: Option<u32>,
    /// Addresses at which the node itself answers DNS. Pods reach them on port 53, whatever policies
    /// say: a policy that allows DNS names the Pods of the cluster's DNS, which such an answer would
    /// otherwise go past.
    pub dns_listeners: BTreeSet<IpAddr>,
    /// Whether every Node of the cluster is known. If not, a rule that names Nodes as peers fails
    /// closed.
    pub all_nodes: bool,
}

/// The decisions of the operator that the plan depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This node's name, as Node objects and EndpointSlices write it.
    pub node_name: Arc<str>,
    /// The node's own address of its family, over what the Node object says (`bindAddress`).
    pub own_address: Option<IpAddr>,
    /// How Pods are recognised.
    pub detect_local: DetectLocal,
    /// Masquerade everything sent to cluster IPs (`masqueradeAll`).
    pub masquerade_all: bool,
    /// Where NodePorts answer.
    pub node_port_addresses: NodePortAddresses,
    /// Whether IPv4 NodePorts answer on loopback (`iptables.localhostNodePorts`).
    pub localhost_node_ports: bool,
    /// Whether `spec.externalIPs` count (feature gate AllowServiceExternalIPs).
    pub allow_external_ips: bool,
    /// For `internalTrafficPolicy: Local`; the external policy always drops, so that the load
    /// balancer in front re-routes.
    pub on_no_local_endpoints: OnNoLocalEndpoints,
    /// Whether policies are enforced, and how.
    pub network_policy: PolicyOptions,
}

impl Config {
    /// kube-proxy's defaults in iptables mode, for a node.
    pub fn new(node_name: impl Into<Arc<str>>) -> Self {
        Self {
            node_name: node_name.into(),
            own_address: None,
            detect_local: DetectLocal::Nothing,
            masquerade_all: false,
            node_port_addresses: NodePortAddresses::All,
            localhost_node_ports: true,
            allow_external_ips: true,
            on_no_local_endpoints: OnNoLocalEndpoints::Drop,
            network_policy: PolicyOptions::default(),
        }
    }
}
