//! The resources that are served.

use crate::schema::{self, Message};

/// A kind of object, and how it is reached.
#[derive(Debug)]
pub struct Resource {
    /// The API group, empty for the core.
    pub group: &'static str,
    /// The version of the group.
    pub version: &'static str,
    /// The plural, as in paths.
    pub plural: &'static str,
    /// The singular, as kubectl takes it.
    pub singular: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// Whether the objects live in namespaces.
    pub namespaced: bool,
    /// Other names that kubectl takes.
    pub short_names: &'static [&'static str],
    /// Sets that the resource belongs to, such as `all`.
    pub categories: &'static [&'static str],
    /// Parts with a path of their own.
    pub subresources: &'static [&'static str],
    /// Whether `metadata.generation` counts the changes of the wanted state.
    pub(crate) generation: bool,
    pub(crate) message: &'static Message,
    /// Whose objects these are, if another version of the same objects is stored.
    pub(crate) stored_as: Option<&'static Resource>,
}

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        (self.group, self.version, self.plural) == (other.group, other.version, other.plural)
    }
}

impl Eq for Resource {}

impl PartialOrd for Resource {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Resource {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.group, self.version, self.plural).cmp(&(other.group, other.version, other.plural))
    }
}

impl Resource {
    /// `v1` or `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The resource of a path.
    #[must_use]
    pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        ALL.iter()
            .copied()
            .find(|one| (one.group, one.version, one.plural) == (group, version, plural))
    }

    /// The resource of an object's `apiVersion` and `kind`.
    #[must_use]
    pub fn of_kind(api_version: &str, kind: &str) -> Option<&'static Self> {
        ALL.iter().copied().find(|one| one.kind == kind && one.api_version() == api_version)
    }

    pub(crate) fn has(&self, subresource: &str) -> bool {
        self.subresources.contains(&subresource)
    }
}

const fn core(
    plural: &'static str,
    singular: &'static str,
    kind: &'static str,
    message: &'static Message,
) -> Resource {
    Resource {
        group: "",
        version: "v1",
        plural,
        singular,
        kind,
        namespaced: true,
        short_names: &[],
        categories: &[],
        subresources: &[],
        generation: false,
        message,
        stored_as: None,
    }
}

/// ConfigMaps, so that `kubectl create configmap` and manifests that carry one work.
pub static CONFIG_MAPS: Resource = Resource {
    short_names: &["cm"],
    ..core("configmaps", "configmap", "ConfigMap", &schema::CONFIG_MAP)
};

/// Endpoints, the ancestor of EndpointSlices; old kubectls describe Services by them.
pub static ENDPOINTS: Resource = Resource {
    short_names: &["ep"],
    ..core("endpoints", "endpoints", "Endpoints", &schema::ENDPOINTS)
};

/// Events.
pub static EVENTS: Resource =
    Resource { short_names: &["ev"], ..core("events", "event", "Event", &schema::EVENT) };

/// Namespaces.
pub static NAMESPACES: Resource = Resource {
    namespaced: false,
    short_names: &["ns"],
    subresources: &["finalize", "status"],
    ..core("namespaces", "namespace", "Namespace", &schema::NAMESPACE)
};

/// Nodes.
pub static NODES: Resource = Resource {
    namespaced: false,
    short_names: &["no"],
    subresources: &["status"],
    ..core("nodes", "node", "Node", &schema::NODE)
};

/// Pods.
pub static PODS: Resource = Resource {
    short_names: &["po"],
    categories: &["all"],
    subresources: &["binding", "status"],
    generation: true,
    ..core("pods", "pod", "Pod", &schema::POD)
};

/// Services.
pub static SERVICES: Resource = Resource {
    short_names: &["svc"],
    categories: &["all"],
    subresources: &["status"],
    ..core("services", "service", "Service", &schema::SERVICE)
};

/// Deployments.
pub static DEPLOYMENTS: Resource = Resource {
    group: "apps",
    short_names: &["deploy"],
    categories: &["all"],
    subresources: &["scale", "status"],
    generation: true,
    ..core("deployments", "deployment", "Deployment", &schema::DEPLOYMENT)
};

/// ReplicaSets.
pub static REPLICA_SETS: Resource = Resource {
    group: "apps",
    short_names: &["rs"],
    categories: &["all"],
    subresources: &["scale", "status"],
    generation: true,
    ..core("replicasets", "replicaset", "ReplicaSet", &schema::REPLICA_SET)
};

/// Leases: where kubelets say that they live.
pub static LEASES: Resource =
    Resource { group: "coordination.k8s.io", ..core("leases", "lease", "Lease", &schema::LEASE) };

/// EndpointSlices.
pub static ENDPOINT_SLICES: Resource = Resource {
    group: "discovery.k8s.io",
    generation: true,
    ..core("endpointslices", "endpointslice", "EndpointSlice", &schema::ENDPOINT_SLICE)
};

/// Events in the group that has replaced them in the core. They are the same objects.
pub static EVENTS_EVENTS: Resource = Resource {
    group: "events.k8s.io",
    short_names: &["ev"],
    stored_as: Some(&EVENTS),
    ..core("events", "event", "Event", &schema::EVENTS_EVENT)
};

/// NetworkPolicies.
pub static NETWORK_POLICIES: Resource = Resource {
    group: "networking.k8s.io",
    short_names: &["netpol"],
    generation: true,
    ..core("networkpolicies", "networkpolicy", "NetworkPolicy", &schema::NETWORK_POLICY)
};

/// ServiceCIDRs: where cluster IPs come from.
pub static SERVICE_CIDRS: Resource = Resource {
    group: "networking.k8s.io",
    namespaced: false,
    subresources: &["status"],
    ..core("servicecidrs", "servicecidr", "ServiceCIDR", &schema::SERVICE_CIDR)
};

/// Every resource, ordered as discovery lists them.
pub static ALL: [&Resource; 14] = [
    &CONFIG_MAPS,
    &ENDPOINTS,
    &EVENTS,
    &NAMESPACES,
    &NODES,
    &PODS,
    &SERVICES,
    &DEPLOYMENTS,
    &REPLICA_SETS,
    &LEASES,
    &ENDPOINT_SLICES,
    &EVENTS_EVENTS,
    &NETWORK_POLICIES,
    &SERVICE_CIDRS,
];
