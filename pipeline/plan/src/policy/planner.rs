//! Policies, planned for the facts that changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use model::{Cluster, NamespacedName, Notice, Owner, Pod, PodSelection, PolicyFact, PolicyName};

use super::compile::{self, Compiled};
use super::index::SelectionIndex;
use super::intent::{ClassKey, PolicyChanges, PolicyIntent, SetKey, Subject};
use super::sets::{self, Member, Sets};
use crate::config::{Config, PolicyOptions};

/// Keeps a [`PolicyIntent`] up to date.
#[derive(Clone, Debug)]
pub(crate) struct PolicyPlanner {
    pub(super) node: Arc<str>,
    pub(super) options: PolicyOptions,
    pub(super) policies: BTreeMap<PolicyName, Arc<Compiled>>,
    /// The subjects of all policies, and whose they are.
    pub(super) subjects: SelectionIndex,
    pub(super) subject_of: BTreeMap<Arc<PodSelection>, BTreeSet<PolicyName>>,
    /// The Pods that count, as they were planned.
    pub(super) pods: BTreeMap<NamespacedName, Known>,
    /// Which Pods claim an address.
    pub(super) claims: BTreeMap<IpAddr, Vec<NamespacedName>>,
    /// Those of the Pods that run on this node.
    pub(super) local: BTreeSet<NamespacedName>,
    /// How many Pods are subjects of each class.
    pub(super) classes: BTreeMap<ClassKey, usize>,
    pub(super) sets: Sets,
    pub(super) changes: PolicyChanges,
}

/// A Pod that counts.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) pod: Arc<Pod>,
    /// Those of its addresses that no younger Pod claims.
    pub(super) addresses: Vec<IpAddr>,
    /// The selections of sets that it matches.
    pub(super) selections: BTreeSet<Arc<PodSelection>>,
    pub(super) subject: Subject,
}

impl Known {
    /// Whether the Pod is in the same sets, with the same elements.
    fn contributes_as(&self, other: &Known) -> bool {
        self.addresses == other.addresses
            && self.selections == other.selections
            && self.pod.ports == other.pod.ports
    }
}

impl PolicyPlanner {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            node: config.node_name.clone(),
            options: config.network_policy.clone(),
            policies: BTreeMap::new(),
            subjects: SelectionIndex::default(),
            subject_of: BTreeMap::new(),
            pods: BTreeMap::new(),
            claims: BTreeMap::new(),
            local: BTreeSet::new(),
            classes: BTreeMap::new(),
            sets: Sets::default(),
            changes: PolicyChanges::default(),
        }
    }

    /// The intent of an empty cluster.
    pub(crate) fn nothing(&self) -> PolicyIntent {
        if !self.options.enforce {
            return PolicyIntent::default();
        }
        PolicyIntent {
            enforced: true,
            dns_listeners: self.options.dns_listeners.clone(),
            ..PolicyIntent::default()
        }
    }

    /// What differs since the last call.
    pub(crate) fn take_changes(&mut self) -> PolicyChanges {
        std::mem::take(&mut self.changes)
    }

    pub(crate) fn notices(&self) -> impl Iterator<Item = &Notice> {
        self.policies.values().flat_map(|policy| &policy.notices)
    }

    /// Recomputes what these owners decide.
    pub(crate) fn update(
        &mut self,
        intent: &mut PolicyIntent,
        cluster: &Cluster,
        owners: &BTreeSet<Owner>,
    ) {
        if !self.options.enforce {
            return;
        }
        let mut pods = BTreeSet::new();
        let mut policies = BTreeSet::new();
        for owner in owners {
            match owner {
                Owner::Policy(PolicyFact::Pod(name)) => drop(pods.insert(name.clone())),
                Owner::Policy(PolicyFact::Namespace(name)) => {
                    pods.extend(cluster.pods_of(name).map(|pod| pod.name.clone()));
                }
                Owner::Policy(PolicyFact::NetworkPolicy(name)) => {
                    policies.insert(PolicyName::Network(name.clone()));
                }
                Owner::Policy(PolicyFact::ClusterNetworkPolicy(name)) => {
                    policies.insert(PolicyName::Cluster(name.clone()));
                }
                Owner::Node | Owner::Service(_) => {}
            }
        }
        policies.retain(|name| self.update_policy(cluster, name));
        self.claim(cluster, &mut pods);
        let mut unsettled = if policies.is_empty() { BTreeSet::new() } else { self.local.clone() };
        self.update_pods(intent, cluster, &pods);
        unsettled.extend(pods);
        self.rebuild(intent, cluster, &policies);
        for name in &unsettled {
            self.assign(intent, cluster, name);
        }
        self.drop_idle(intent);
        if owners.contains(&Owner::Node) {
            self.update_nodes(intent, cluster);
        }
        self.hold(intent, cluster);
        self.changes.settle(intent);
    }

    /// Compiles a policy anew; says whether that came out different.
    fn update_policy(&mut self, cluster: &Cluster, name: &PolicyName) -> bool {
        let new = match name {
            PolicyName::Network(name) => cluster
                .network_policies()
                .get(name)
                .map(|policy| Arc::new(compile::network(policy, &self.options))),
            PolicyName::Cluster(name) => cluster
                .cluster_network_policies()
                .get(name)
                .map(|policy| Arc::new(compile::cluster(policy, &self.options))),
        };
        let old = self.policies.remove(name);
        let differs = old != new;
        if differs {
            if let Some(old) = &old {
                let owners = self.subject_of.entry(old.subject.clone()).or_default();
                owners.remove(name);
                if owners.is_empty() {
                    self.subject_of.remove(&old.subject);
                    self.subjects.remove(&old.subject);
                }
            }
            if let Some(new) = &new {
                self.subjects.insert(&new.subject);
                self.subject_of.entry(new.subject.clone()).or_default().insert(name.clone());
            }
        }
        if let Some(new) = new {
            self.policies.insert(name.clone(), new);
        }
        differs
    }

    /// Notes which addresses these Pods claim now, and adds the Pods that win or lose one by it.
    fn claim(&mut self, cluster: &Cluster, pods: &mut BTreeSet<NamespacedName>) {
        let mut contested = BTreeSet::new();
        for name in pods.iter() {
            let old = self.pods.get(name).map(|known| known.pod.ips.clone()).unwrap_or_default();
            let new = cluster.pods().get(name).filter(|pod| pod.counts());
            let new = new.map(|pod| pod.ips.clone()).unwrap_or_default();
            for address in old.iter().filter(|address| !new.contains(address)) {
                if let Some(claims) = self.claims.get_mut(address) {
                    claims.retain(|claim| claim != name);
                    if claims.is_empty() {
                        self.claims.remove(address);
                    }
                }
            }
            for address in new.iter() {
                let claims = self.claims.entry(*address).or_default();
                if !claims.contains(name) {
                    claims.push(name.clone());
                }
            }
            contested.extend(old.iter().chain(new.iter()).copied());
        }
        let claims = contested.iter().filter_map(|address| self.claims.get(address));
        pods.extend(claims.flatten().cloned());
    }

    /// Whether a Pod has an address that it claims: no younger one claims it too.
    fn has(&self, cluster: &Cluster, pod: &Pod, address: IpAddr) -> bool {
        let claims = self.claims.get(&address).into_iter().flatten();
        let others = claims.filter(|name| **name != pod.name);
        let mut others = others.filter_map(|name| cluster.pods().get(name));
        others.all(|other| pod.claim(other).is_gt())
    }

    /// Plans these Pods anew. All that is no longer so is taken back first: an address that moves
    /// from one Pod to another leaves before it comes.
    fn update_pods(
        &mut self,
        intent: &mut PolicyIntent,
        cluster: &Cluster,
        pods: &BTreeSet<NamespacedName>,
    ) {
        let mut joining = Vec::new();
        for name in pods {
            let new = self.known(cluster, name);
            let old = self.pods.remove(name);
            let same = match (&old, &new) {
                (Some(old), Some(new)) => old.contributes_as(new),
                _ => false,
            };
            if let Some(old) = &old
                && !same
            {
                self.contribute(intent, old, false);
            }
            let subject = old.as_ref().map(|old| old.subject.clone()).unwrap_or_default();
            let kept = new.as_ref().map_or(&[][..], |new| &new.addresses);
            for address in old.iter().flat_map(|old| &old.addresses) {
                if !kept.contains(address) && intent.subjects.remove(address).is_some() {
                    self.changes.subjects.insert(*address);
                }
            }
            match new {
                Some(new) => joining.push((Known { subject, ..new }, same)),
                None => {
                    self.local.remove(name);
                    self.leave(&subject);
                }
            }
        }
        for (known, same) in joining {
            if !same {
                self.contribute(intent, &known, true);
            }
            let name = known.pod.name.clone();
            if known.pod.node.as_ref() == Some(&self.node) && !known.addresses.is_empty() {
                self.local.insert(name.clone());
            } else {
                self.local.remove(&name);
            }
            self.pods.insert(name, known);
        }
    }

    /// A Pod as it is to be planned, not yet a subject; `None` where it does not count.
    fn known(&self, cluster: &Cluster, name: &NamespacedName) -> Option<Known> {
        let pod = cluster.pods().get(name).filter(|pod| pod.counts())?;
        let mut addresses: Vec<IpAddr> = pod.ips.to_vec();
        addresses.retain(|address| self.has(cluster, pod, *address));
        addresses.sort_unstable();
        addresses.dedup();
        let labels = cluster.namespace_labels(&name.namespace);
        let selections = self.sets.index.matching(&name.namespace, &labels, &pod.labels);
        Some(Known { pod: pod.clone(), addresses, selections, subject: Subject::default() })
    }

    /// Puts a Pod into the sets of its selections, or takes it out.
    fn contribute(&mut self, intent: &mut PolicyIntent, known: &Known, put: bool) {
        let member = Member { pod: &known.pod, addresses: &known.addresses };
        for selection in &known.selections {
            let key = SetKey::Pods(selection.clone());
            sets::change_set(&key, &known.addresses, put, intent, &mut self.changes);
            for key in self.sets.named_of(selection) {
                let ports = member.ports(&key);
                sets::change_ports(&key, ports, put, intent, &mut self.changes);
            }
        }
    }

    /// Nodes changed: their sets are few, and are computed whole.
    fn update_nodes(&mut self, intent: &mut PolicyIntent, cluster: &Cluster) {
        for selector in self.sets.of_nodes() {
            let new = sets::node_addresses(cluster, &selector);
            let key = SetKey::Nodes(selector);
            let old: Vec<IpAddr> = intent
                .sets
                .get(&key)
                .map(|set| set.iter().filter(|address| !new.contains(address)).copied().collect())
                .unwrap_or_default();
            sets::change_set(&key, &old, false, intent, &mut self.changes);
            sets::change_set(&key, &new, true, intent, &mut self.changes);
        }
    }
}
