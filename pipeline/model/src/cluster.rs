//! The snapshot: what is known, in ordered maps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::{Change, Cidr, EndpointSlice, Host, NamespacedName, Node, Owner, Service};

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
    service_cidrs: BTreeMap<Arc<str>, ServiceCidr>,
    host: Host,
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
        self.service_cidrs.values()
    }

    /// What the machine says of itself.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Takes one change in and names the owners that it may concern. A change that changes nothing
    /// concerns nobody.
    pub fn apply(&mut self, change: Change) -> BTreeSet<Owner> {
        let mut owners = BTreeSet::new();
        match change {
            Change::Service(service) => self.put_service(service, &mut owners),
            Change::ServiceGone(name) => self.remove_service(&name, &mut owners),
            Change::Services(list) => {
                let listed: BTreeSet<_> = list.iter().map(|service| service.name.clone()).collect();
                let gone: Vec<_> =
                    self.services.keys().filter(|name| !listed.contains(*name)).cloned().collect();
                gone.iter().for_each(|name| self.remove_service(name, &mut owners));
                list.into_iter().for_each(|service| self.put_service(service, &mut owners));
            }
            Change::Slice(slice) => self.put_slice(slice, &mut owners),
            Change::SliceGone(name) => self.remove_slice(&name, &mut owners),
            Change::Slices(list) => {
                let listed: BTreeSet<_> = list.iter().map(|slice| slice.name.clone()).collect();
                let gone: Vec<_> = self
                    .slice_owner
                    .keys()
                    .filter(|name| !listed.contains(*name))
                    .cloned()
                    .collect();
                gone.iter().for_each(|name| self.remove_slice(name, &mut owners));
                list.into_iter().for_each(|slice| self.put_slice(slice, &mut owners));
            }
            Change::Node(node) => {
                let same = self.nodes.get(&node.name).is_some_and(|known| **known == node);
                if !same {
                    self.nodes.insert(node.name.clone(), Arc::new(node));
                    owners.insert(Owner::Node);
                }
            }
            Change::NodeGone(name) => {
                if self.nodes.remove(&name).is_some() {
                    owners.insert(Owner::Node);
                }
            }
            Change::Nodes(list) => {
                let new: BTreeMap<_, _> =
                    list.into_iter().map(|node| (node.name.clone(), Arc::new(node))).collect();
                replace(&mut self.nodes, new, &mut owners);
            }
            Change::ServiceCidr(cidr) => {
                let mut new = self.service_cidrs.clone();
                new.insert(cidr.name.clone(), cidr);
                replace(&mut self.service_cidrs, new, &mut owners);
            }
            Change::ServiceCidrGone(name) => {
                if self.service_cidrs.remove(&name).is_some() {
                    owners.insert(Owner::Node);
                }
            }
            Change::ServiceCidrs(list) => {
                let new = list.into_iter().map(|cidr| (cidr.name.clone(), cidr)).collect();
                replace(&mut self.service_cidrs, new, &mut owners);
            }
            Change::Host(host) => replace(&mut self.host, host, &mut owners),
        }
        owners
    }

    fn put_service(&mut self, service: Service, owners: &mut BTreeSet<Owner>) {
        if self.services.get(&service.name).is_some_and(|known| **known == service) {
            return;
        }
        owners.insert(Owner::Service(service.name.clone()));
        self.services.insert(service.name.clone(), Arc::new(service));
    }

    fn remove_service(&mut self, name: &NamespacedName, owners: &mut BTreeSet<Owner>) {
        if self.services.remove(name).is_some() {
            owners.insert(Owner::Service(name.clone()));
        }
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

/// Puts a node-wide fact in place; the node is concerned if it differs.
fn replace<T: PartialEq>(place: &mut T, new: T, owners: &mut BTreeSet<Owner>) {
    if *place != new {
        *place = new;
        owners.insert(Owner::Node);
    }
}
