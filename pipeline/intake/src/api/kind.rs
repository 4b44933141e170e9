//! The kinds that are watched: where they are, which objects of them are wanted, and what their
//! changes are called.

use std::fmt;
use std::sync::Arc;

use model::{
    Change, ClusterNetworkPolicy, EndpointSlice, Namespace, NamespacedName, NetworkPolicy, Node,
    Notice, Pod, Service, ServiceCidr,
};
use serde::de::DeserializeOwned;

use crate::convert::{self, Names};
use crate::wire::{self, Expected, Field, Metadata};

/// A kind that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Services.
    Service,
    /// EndpointSlices.
    EndpointSlice,
    /// The own Node.
    Node,
    /// ServiceCIDRs.
    ServiceCidr,
    /// Pods.
    Pod,
    /// Namespaces.
    Namespace,
    /// NetworkPolicies.
    NetworkPolicy,
    /// ClusterNetworkPolicies.
    ClusterNetworkPolicy,
}

/// Which objects of a kind are wanted here.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    /// The Node to watch.
    pub(super) node_name: Arc<str>,
    /// Whether names are answered for, those of headless Services among them.
    pub(super) names: bool,
}

impl Kind {
    /// What routing depends on.
    pub const ROUTING: [Kind; 4] =
        [Kind::Service, Kind::EndpointSlice, Kind::Node, Kind::ServiceCidr];

    /// What policies depend on, besides the Node.
    pub const POLICY: [Kind; 4] =
        [Kind::Pod, Kind::Namespace, Kind::NetworkPolicy, Kind::ClusterNetworkPolicy];

    /// Where the API has them.
    pub(super) fn path(self) -> &'static str {
        match self {
            Kind::Service => "/api/v1/services",
            Kind::EndpointSlice => "/apis/discovery.k8s.io/v1/endpointslices",
            Kind::Node => "/api/v1/nodes",
            Kind::ServiceCidr => "/apis/networking.k8s.io/v1/servicecidrs",
            Kind::Pod => "/api/v1/pods",
            Kind::Namespace => "/api/v1/namespaces",
            Kind::NetworkPolicy => "/apis/networking.k8s.io/v1/networkpolicies",
            Kind::ClusterNetworkPolicy => {
                "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies"
            }
        }
    }

    /// Which of them are wanted, as query parameters. The server leaves out what would not be
    /// routed anyway: with headless Services, every node would receive every change of every
    /// StatefulSet (kubernetes#123286). Who answers for names needs them all the same.
    pub(super) fn selectors(self, scope: &Scope) -> Vec<(&'static str, String)> {
        match self {
            Kind::Service | Kind::EndpointSlice if scope.names => Vec::new(),
            Kind::Service => vec![
                ("labelSelector", "!service.kubernetes.io/service-proxy-name".into()),
                ("fieldSelector", "spec.clusterIP!=None".into()),
            ],
            Kind::EndpointSlice => {
                vec![("labelSelector", "!service.kubernetes.io/headless".into())]
            }
            Kind::Node => vec![("fieldSelector", format!("metadata.name={}", scope.node_name))],
            // Pods of all nodes: policies name peers by their labels.
            Kind::ServiceCidr
            | Kind::Pod
            | Kind::Namespace
            | Kind::NetworkPolicy
            | Kind::ClusterNetworkPolicy => Vec::new(),
        }
    }

    /// Whether routing goes on, poorer, if the server refuses to show the kind: ServiceCIDRs are
    /// unknown to servers before 1.31, the Node only refines what is routed, and
    /// ClusterNetworkPolicies are there where somebody installed their definition.
    pub(super) fn is_optional(self) -> bool {
        matches!(self, Kind::Node | Kind::ServiceCidr | Kind::ClusterNetworkPolicy)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Service => "Services",
            Kind::EndpointSlice => "EndpointSlices",
            Kind::Node => "Nodes",
            Kind::ServiceCidr => "ServiceCIDRs",
            Kind::Pod => "Pods",
            Kind::Namespace => "Namespaces",
            Kind::NetworkPolicy => "NetworkPolicies",
            Kind::ClusterNetworkPolicy => "ClusterNetworkPolicies",
        })
    }
}

/// What a watch must know of the objects that it carries.
pub(super) trait Watched: Send + 'static {
    /// The object as the API has it.
    type Wire: DeserializeOwned + Expected + Send;
    /// The object as the model has it.
    type Fact: Send;
    const KIND: Kind;

    fn metadata(wire: &Self::Wire) -> &Field<Metadata>;
    fn convert(wire: &Self::Wire, names: &mut Names) -> (Option<Self::Fact>, Vec<Notice>);
    fn put(fact: Self::Fact) -> Change;
    fn all(facts: Vec<Self::Fact>) -> Change;
    /// For cluster-scoped objects, the namespace is empty.
    fn gone(name: NamespacedName) -> Change;
}

macro_rules! watched {
    ($marker:ident, $wire:ty, $fact:ty, $kind:expr, $convert:path, $put:path, $all:path, $gone:expr) => {
        pub(super) struct $marker;

        impl Watched for $marker {
            type Wire = $wire;
            type Fact = $fact;
            const KIND: Kind = $kind;

            fn metadata(wire: &Self::Wire) -> &Field<Metadata> {
                &wire.metadata
            }

            fn convert(wire: &Self::Wire, names: &mut Names) -> (Option<Self::Fact>, Vec<Notice>) {
                $convert(wire, names)
            }

            fn put(fact: Self::Fact) -> Change {
                $put(fact)
            }

            fn all(facts: Vec<Self::Fact>) -> Change {
                $all(facts)
            }

            fn gone(name: NamespacedName) -> Change {
                $gone(name)
            }
        }
    };
}

watched!(
    Services,
    wire::Service,
    Service,
    Kind::Service,
    convert::service,
    Change::Service,
    Change::Services,
    Change::ServiceGone
);
watched!(
    EndpointSlices,
    wire::EndpointSlice,
    EndpointSlice,
    Kind::EndpointSlice,
    convert::endpoint_slice,
    Change::Slice,
    Change::Slices,
    Change::SliceGone
);
watched!(Nodes, wire::Node, Node, Kind::Node, convert::node, Change::Node, Change::Nodes, |name| {
    Change::NodeGone(bare(name))
});
watched!(
    ServiceCidrs,
    wire::ServiceCidr,
    ServiceCidr,
    Kind::ServiceCidr,
    convert::service_cidr,
    Change::ServiceCidr,
    Change::ServiceCidrs,
    |name| Change::ServiceCidrGone(bare(name))
);

watched!(Pods, wire::Pod, Pod, Kind::Pod, convert::pod, Change::Pod, Change::Pods, Change::PodGone);
watched!(
    Namespaces,
    wire::Namespace,
    Namespace,
    Kind::Namespace,
    convert::namespace,
    Change::Namespace,
    Change::Namespaces,
    |name| Change::NamespaceGone(bare(name))
);
watched!(
    NetworkPolicies,
    wire::Policy,
    NetworkPolicy,
    Kind::NetworkPolicy,
    convert::network_policy,
    Change::NetworkPolicy,
    Change::NetworkPolicies,
    Change::NetworkPolicyGone
);
watched!(
    ClusterNetworkPolicies,
    wire::Policy,
    ClusterNetworkPolicy,
    Kind::ClusterNetworkPolicy,
    convert::cluster_network_policy,
    Change::ClusterNetworkPolicy,
    Change::ClusterNetworkPolicies,
    |name| Change::ClusterNetworkPolicyGone(bare(name))
);

fn bare(name: NamespacedName) -> Arc<str> {
    name.name
}
