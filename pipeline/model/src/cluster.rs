//! The snapshot: what is known, in ordered maps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::facts::{gone, put, put_all};
use crate::{
    Change, Cidr, ClusterNetworkPolicy, EndpointSlice, Host, Labels, NAMESPACE_NAME_LABEL,
    Namespace, NamespacedName, NetworkPolicy, Node, Owner, Pod, Service,
};

/// A ServiceCIDR: blocks that cluster IPs are allocated from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceCidr {
    /// The object's name.
    pub name: Arc<str>,
    /// `spec.cidrs`.
    pub cidrs: Vec<Cidr>,
}

/// Everything that is known of the cluster. Equal facts make equal clusters, whatever the order in
/// which they came.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cluster {
    services: BTreeMap<NamespacedName, Arc<Service>>,
    /// By Service, then by the slice's own name.
    slices: BTreeMap<NamespacedName, BTreeMap<Arc<str>, Arc<EndpointSlice>>>,
    /// Which Service each slice belongs to; a slice of no Service is not kept.
    #[serde(skip)]
    slice_owner: BTreeMap<NamespacedName, NamespacedName>,
    nodes: BTreeMap<Arc<str>, Arc<Node>>,
    service_cidrs: BTreeMap<Arc<str>, Arc<ServiceCidr>>,
    host: Host,
    pods: BTreeMap<NamespacedName, Arc<Pod>>,
    namespaces: BTreeMap<Arc<str>, Arc<Namespace>>,
    network_policies: BTreeMap<NamespacedName, Arc<NetworkPolicy>>,
    cluster_network_policies: BTreeMap<Arc<str>, Arc<ClusterNetworkPolicy>>,
}

impl Cluster {
    /// All Services by name.
    #[must_use]
    pub fn services(&self) -> &BTreeMap<NamespacedName, Arc<Service>> {
        &self.services
    }

    /// One Service.
    #[must_use]
    pub fn service(&self, name: &NamespacedName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// The EndpointSlices of a Service, by slice name; they may be there before the Service is.
    pub fn slices(&self, service: &NamespacedName) -> impl Iterator<Item = &Arc<EndpointSlice>> {
        self.slices.get(service).into_iter().flat_map(BTreeMap::values)
    }

    /// An EndpointSlice that belongs to a Service.
    #[must_use]
    pub fn slice(&self, name: &NamespacedName) -> Option<&Arc<EndpointSlice>> {
        self.slices.get(self.slice_owner.get(name)?)?.get(&name.name)
    }

    /// A Node.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get(name)
    }

    /// All Nodes that are known (an agent watches its own alone).
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// All ServiceCIDRs.
    pub fn service_cidrs(&self) -> impl Iterator<Item = &ServiceCidr> {
        self.service_cidrs.values().map(AsRef::as_ref)
    }

    /// What the machine says of itself.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// All Pods by name; none where policies are not enforced.
    #[must_use]
    pub fn pods(&self) -> &BTreeMap<NamespacedName, Arc<Pod>> {
        &self.pods
    }

    /// The Pods of a namespace.
    pub fn pods_of(&self, namespace: &Arc<str>) -> impl Iterator<Item = &Arc<Pod>> + use<'_> {
        let (first, of) = (NamespacedName::new(namespace.clone(), ""), namespace.clone());
        let from = self.pods.range(first..);
        from.take_while(move |(name, _)| name.namespace == of).map(|(_, pod)| pod)
    }

    /// The labels of a Namespace. One that is not known has its name as its only label, which is
    /// what it will have at least.
    #[must_use]
    pub fn namespace_labels(&self, name: &Arc<str>) -> Labels {
        match self.namespaces.get(name) {
            Some(namespace) => namespace.labels.clone(),
            None => [(NAMESPACE_NAME_LABEL.into(), name.clone())].into_iter().collect(),
        }
    }

    /// All Namespaces by name.
    #[must_use]
    pub fn namespaces(&self) -> &BTreeMap<Arc<str>, Arc<Namespace>> {
        &self.namespaces
    }

    /// All NetworkPolicies by name.
    #[must_use]
    pub fn network_policies(&self) -> &BTreeMap<NamespacedName, Arc<NetworkPolicy>> {
        &self.network_policies
    }

    /// All ClusterNetworkPolicies by name.
    #[must_use]
    pub fn cluster_network_policies(&self) -> &BTreeMap<Arc<str>, Arc<ClusterNetworkPolicy>> {
        &self.cluster_network_policies
    }

    /// Takes one change in and names the owners that it may concern. A change that changes nothing
    /// concerns nobody.
    pub fn apply(&mut self, change: Change) -> BTreeSet<Owner> {
        let mut owners = BTreeSet::new();
        let out = &mut owners;
        match change {
            Change::Service(service) => put(&mut self.services, service, out),
            Change::ServiceGone(name) => gone(&mut self.services, &name, out),
            Change::Services(list) => put_all(&mut self.services, list, out),
            Change::Slice(slice) => self.put_slice(slice, out),
            Change::SliceGone(name) => self.remove_slice(&name, out),
            Change::Slices(list) => self.put_slices(list, out),
            Change::Node(node) => put(&mut self.nodes, node, out),
            Change::NodeGone(name) => gone(&mut self.nodes, &name, out),
            Change::Nodes(list) => put_all(&mut self.nodes, list, out),
            Change::ServiceCidr(cidr) => put(&mut self.service_cidrs, cidr, out),
            Change::ServiceCidrGone(name) => gone(&mut self.service_cidrs, &name, out),
            Change::ServiceCidrs(list) => put_all(&mut self.service_cidrs, list, out),
            Change::Host(host) => self.put_host(host, out),
            Change::Pod(pod) => put(&mut self.pods, pod, out),
            Change::PodGone(name) => gone(&mut self.pods, &name, out),
            Change::Pods(list) => put_all(&mut self.pods, list, out),
            Change::Namespace(namespace) => put(&mut self.namespaces, namespace, out),
            Change::NamespaceGone(name) => gone(&mut self.namespaces, &name, out),
            Change::Namespaces(list) => put_all(&mut self.namespaces, list, out),
            Change::NetworkPolicy(policy) => put(&mut self.network_policies, policy, out),
            Change::NetworkPolicyGone(name) => gone(&mut self.network_policies, &name, out),
            Change::NetworkPolicies(list) => put_all(&mut self.network_policies, list, out),
            Change::ClusterNetworkPolicy(policy) => {
                put(&mut self.cluster_network_policies, policy, out);
            }
            Change::ClusterNetworkPolicyGone(name) => {
                gone(&mut self.cluster_network_policies, &name, out);
            }
            Change::ClusterNetworkPolicies(list) => {
                put_all(&mut self.cluster_network_policies, list, out);
            }
        }
        owners
    }
    fn put_host(&mut self, host: Host, owners: &mut BTreeSet<Owner>) {
        if self.host != host {
            self.host = host;
            owners.insert(Owner::Node);
        }
    }

    fn put_slices(&mut self, list: Vec<EndpointSlice>, owners: &mut BTreeSet<Owner>) {
        let listed: BTreeSet<_> = list.iter().map(|slice| slice.name.clone()).collect();
        let gone: Vec<_> =
            self.slice_owner.keys().filter(|name| !listed.contains(*name)).cloned().collect();
        gone.iter().for_each(|name| self.remove_slice(name, owners));
        list.into_iter().for_each(|slice| self.put_slice(slice, owners));
    }

    fn put_slice(&mut self, slice: EndpointSlice, owners: &mut BTreeSet<Owner>) {
        let Some(service) = slice.service.clone() else {
            return self.remove_slice(&slice.name, owners);
        };
        if self.slice_owner.get(&slice.name).is_some_and(|known| *known != service) {
            self.remove_slice(&slice.name, owners);
        }
        let siblings = self.slices.entry(service.clone()).or_default();
        if siblings.get(&slice.name.name).is_some_and(|known| **known == slice) {
            return;
        }
        self.slice_owner.insert(slice.name.clone(), service.clone());
        siblings.insert(slice.name.name.clone(), Arc::new(slice));
        owners.insert(Owner::Service(service));
    }

    fn remove_slice(&mut self, name: &NamespacedName, owners: &mut BTreeSet<Owner>) {
        let Some(service) = self.slice_owner.remove(name) else { return };
        if let Some(siblings) = self.slices.get_mut(&service) {
            siblings.remove(&name.name);
            if siblings.is_empty() {
                self.slices.remove(&service);
            }
        }
        owners.insert(Owner::Service(service));
    }
}
