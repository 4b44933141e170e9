//! The Intent: what this node must do with packets, in words that both dataplanes understand.
//!
//! A [`VirtualServer`] is one port of one Service in one family. Its [`Frontend`]s are the addresses
//! by which it is reached; each sends the three [`SourceClass`]es of clients along a [`Route`] to one
//! of two [`Pool`]s of [`Backend`]s, or refuses them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::Index;
use std::sync::Arc;

use model::{Cidr, Family, NamespacedName, PortName, Protocol};
use serde::Serialize;

use crate::policy::PolicyIntent;

/// One value for each address family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PerFamily<T> {
    /// For IPv4.
    pub ipv4: T,
    /// For IPv6.
    pub ipv6: T,
}

impl<T> PerFamily<T> {
    /// Computes each family's value.
    pub fn of(mut value: impl FnMut(Family) -> T) -> Self {
        Self { ipv4: value(Family::V4), ipv6: value(Family::V6) }
    }
}

impl<T> Index<Family> for PerFamily<T> {
    type Output = T;

    fn index(&self, family: Family) -> &T {
        match family {
            Family::V4 => &self.ipv4,
            Family::V6 => &self.ipv6,
        }
    }
}

/// How a packet from a Pod of this cluster is recognised, in one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum LocalTraffic {
    /// By its source address.
    Source(Cidr),
    /// By the interface it comes in by.
    Interface(Arc<str>),
    /// By the start of the name of the interface it comes in by.
    InterfacePrefix(Arc<str>),
    /// Not at all: Pods are treated as outside, and nothing is masqueraded for being outside.
    Unknown,
}

/// Which destinations a NodePort answers on, in one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum NodePortAccept {
    /// Every address that is the node's own.
    AnyLocal {
        /// Whether loopback addresses count.
        loopback: bool,
    },
    /// These addresses alone (empty: NodePorts answer nowhere).
    Addresses(BTreeSet<IpAddr>),
}

/// What concerns the node as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeIntent {
    /// This node's name.
    pub node: Arc<str>,
    /// How Pods are recognised.
    pub local_traffic: PerFamily<LocalTraffic>,
    /// Where NodePorts answer.
    pub node_ports: PerFamily<NodePortAccept>,
    /// Whether IPv4 NodePorts answer on loopback: other hosts must then be kept away from loopback
    /// addresses, which the kernel would otherwise let them reach (CVE-2020-8558).
    pub localhost_node_ports: bool,
    /// Whether packets that connection tracking calls INVALID are to be dropped when forwarded: they
    /// would leave with the Pod's address instead of the Service's, and break the connection.
    pub drop_invalid: bool,
    /// Blocks that cluster IPs come from; an address in them that no Service has leads nowhere.
    pub service_cidrs: PerFamily<BTreeSet<Cidr>>,
}

/// Where a packet comes from, as far as routes differ. Decided in this order: a packet of a Pod is
/// `Pod` even where its source is also one of the node's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum SourceClass {
    /// A Pod of this cluster, as [`LocalTraffic`] tells it.
    Pod,
    /// This node itself: the source is one of its own addresses.
    Node,
    /// Anybody else.
    Outside,
}

/// Which of a virtual server's two pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum PoolName {
    /// The endpoints of the cluster (narrowed by topology hints).
    Cluster,
    /// The endpoints of this node.
    Local,
}

/// Why nothing can be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Refusal {
    /// There is no usable endpoint anywhere.
    NoEndpoints,
    /// There are endpoints, none of them where the traffic policy allows.
    NoLocalEndpoints,
}

/// How a refusal looks to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Refuse {
    /// An ICMP port unreachable at once.
    Reject,
    /// Silence.
    Drop,
}

/// What happens to one class of clients at one frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Route {
    /// To a backend of a pool, chosen uniformly (or by affinity).
    Deliver {
        /// Which pool; never empty.
        pool: PoolName,
        /// Whether the source becomes the node's, so that the answer comes back by here. A backend
        /// that is its own client is always masqueraded.
        masquerade: bool,
    },
    /// To nobody.
    Refuse {
        /// Why.
        why: Refusal,
        /// How it looks.
        with: Refuse,
    },
}

/// One route for each class of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Routes {
    /// For Pods of the cluster.
    pub pod: Route,
    /// For the node itself.
    pub node: Route,
    /// For everybody else.
    pub outside: Route,
}

impl Routes {
    /// The same for everybody.
    #[must_use]
    pub fn all(route: Route) -> Self {
        Self { pod: route, node: route, outside: route }
    }
}

impl Index<SourceClass> for Routes {
    type Output = Route;

    fn index(&self, class: SourceClass) -> &Route {
        match class {
            SourceClass::Pod => &self.pod,
            SourceClass::Node => &self.node,
            SourceClass::Outside => &self.outside,
        }
    }
}

/// The kinds of address by which a Service is reached, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum FrontendKind {
    /// The cluster IP.
    ClusterIP,
    /// An entry of `spec.externalIPs`.
    ExternalIP,
    /// An address of the load balancer.
    LoadBalancerIP,
    /// A port of the node; which of its addresses answer is the node's matter.
    NodePort,
}

/// One address and port by which a virtual server is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Frontend {
    /// Which kind.
    pub kind: FrontendKind,
    /// The address; `None` for NodePorts alone.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// Who may come at all: sources outside these blocks are dropped. `None` means everybody. For
    /// load balancer addresses alone; it holds the virtual addresses themselves too where this
    /// node's own address is allowed (a packet to an address of one's own carries that address).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources: Option<Arc<[Cidr]>>,
    /// Where each class goes.
    pub routes: Routes,
}

/// One endpoint that takes connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Backend {
    /// Its address and port.
    pub address: SocketAddr,
    /// Whether it runs on this node.
    pub local: bool,
    /// Whether nobody says on which node it runs, as in slices written by hand: it may be this one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unplaced: bool,
}

/// Endpoints among which a connection is balanced, sorted by the text of their `address:port` (the
/// order of kube-proxy, so that both give an endpoint the same place).
pub type Pool = Arc<[Backend]>;

/// One port of one Service in one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VirtualServer {
    /// The Service port.
    pub name: PortName,
    /// The family.
    pub family: Family,
    /// How it is reached, in the order of their kinds, then of the object.
    pub frontends: Vec<Frontend>,
    /// Endpoints of the cluster; empty where no policy asks for them.
    pub cluster: Pool,
    /// Endpoints of this node; empty where no policy asks for them.
    pub local: Pool,
    /// How long a client address stays with its backend, in seconds; `None` without affinity.
    pub affinity_seconds: Option<u32>,
    /// Where the load balancer asks whether this node has endpoints.
    pub health_check_node_port: Option<u16>,
}

impl VirtualServer {
    /// One of the pools.
    #[must_use]
    pub fn pool(&self, name: PoolName) -> &Pool {
        match name {
            PoolName::Cluster => &self.cluster,
            PoolName::Local => &self.local,
        }
    }

    /// Every backend of either pool once, in pool order.
    #[must_use]
    pub fn backends(&self) -> Vec<Backend> {
        let mut all: Vec<Backend> = self.cluster.iter().chain(self.local.iter()).copied().collect();
        all.sort_by_cached_key(|backend| backend.address.to_string());
        all.dedup_by_key(|backend| backend.address);
        all
    }

    /// The protocol.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.name.protocol
    }
}

/// What this node must do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Intent {
    /// What concerns the node as a whole.
    pub node: Arc<NodeIntent>,
    /// What each owner asks for; an owner that asks for nothing is not here.
    pub servers: BTreeMap<NamespacedName, Arc<[VirtualServer]>>,
    /// Which traffic of this node's Pods is let through.
    #[serde(skip_serializing_if = "PolicyIntent::is_off")]
    pub policy: PolicyIntent,
}
