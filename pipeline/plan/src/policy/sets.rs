//! The sets that classes use, and what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use model::{Cluster, Family, LabelSelector, Pod, PodSelection};

use super::index::SelectionIndex;
use super::intent::{
    Delta, NamedPortsKey, PeerMatch, PodPort, PolicyChanges, PolicyClass, PolicyIntent, PortMatch,
    SetKey,
};

/// How often each set is named by a class that is in use.
#[derive(Clone, Debug, Default)]
pub(super) struct Sets {
    sets: BTreeMap<SetKey, usize>,
    named: BTreeMap<NamedPortsKey, usize>,
    /// Selections that some set depends on.
    pub(super) index: SelectionIndex,
    /// How many sets depend on each, and the names of ports among them.
    selections: BTreeMap<Arc<PodSelection>, usize>,
}

/// A Pod as far as sets know it: its addresses and ports.
pub(super) struct Member<'p> {
    pub(super) pod: &'p Pod,
    pub(super) addresses: &'p [IpAddr],
}

impl Member<'_> {
    /// What the Pod contributes to a set of ports.
    pub(super) fn ports(&self, key: &NamedPortsKey) -> Vec<PodPort> {
        let named = self.pod.ports.iter().filter(|port| {
            port.name == key.name && key.protocol.is_none_or(|wanted| wanted == port.protocol)
        });
        let each = named.flat_map(|port| {
            let of = |address: &IpAddr| PodPort {
                address: *address,
                protocol: port.protocol,
                port: port.port,
            };
            self.addresses.iter().map(of).collect::<Vec<_>>()
        });
        each.collect()
    }
}

/// Every set that a class names, once for each time.
pub(super) fn named_by(class: &PolicyClass) -> (Vec<SetKey>, Vec<NamedPortsKey>) {
    let (mut sets, mut ports) = (Vec::new(), Vec::new());
    for way in class.rules().flat_map(|rule| &rule.matches) {
        if let PeerMatch::Set(key) = &way.peer {
            sets.push(key.clone());
        }
        if let PortMatch::AnyOf { named, .. } = &way.ports {
            ports.extend(named.iter().cloned());
        }
    }
    (sets, ports)
}

impl Sets {
    /// A class is in use now. Returns the sets of Pods that this brings into being, still empty, and
    /// the selections that nothing depended on before.
    pub(super) fn take(
        &mut self,
        class: &PolicyClass,
        intent: &mut PolicyIntent,
        changes: &mut PolicyChanges,
    ) -> New {
        let mut new = New::default();
        let (sets, ports) = named_by(class);
        for key in sets {
            let count = self.sets.entry(key.clone()).or_default();
            *count += 1;
            if *count > 1 {
                continue;
            }
            changes.set(&key, false);
            intent.sets.insert(key.clone(), Arc::default());
            if let SetKey::Pods(selection) = &key {
                self.depend(selection, &mut new);
            }
            new.sets.insert(key);
        }
        for key in ports {
            let count = self.named.entry(key.clone()).or_default();
            *count += 1;
            if *count > 1 {
                continue;
            }
            changes.ports(&key, false);
            intent.named_ports.insert(key.clone(), Arc::default());
            self.depend(&key.pods, &mut new);
            new.named.insert(key);
        }
        new
    }

    fn depend(&mut self, selection: &Arc<PodSelection>, new: &mut New) {
        let count = self.selections.entry(selection.clone()).or_default();
        *count += 1;
        if *count == 1 {
            self.index.insert(selection);
            new.selections.insert(selection.clone());
        }
    }

    /// A class is no longer in use. Returns the selections that nothing depends on any more.
    pub(super) fn release(
        &mut self,
        class: &PolicyClass,
        intent: &mut PolicyIntent,
        changes: &mut PolicyChanges,
    ) -> BTreeSet<Arc<PodSelection>> {
        let mut idle = BTreeSet::new();
        let (sets, ports) = named_by(class);
        for key in sets {
            if !last(&mut self.sets, &key) {
                continue;
            }
            let gone = intent.sets.remove(&key).unwrap_or_default();
            let delta = changes.set(&key, true);
            gone.iter().for_each(|address| delta.remove(*address));
            if let SetKey::Pods(selection) = &key {
                self.forget(selection, &mut idle);
            }
        }
        for key in ports {
            if !last(&mut self.named, &key) {
                continue;
            }
            let gone = intent.named_ports.remove(&key).unwrap_or_default();
            let delta = changes.ports(&key, true);
            gone.iter().for_each(|port| delta.remove(*port));
            self.forget(&key.pods, &mut idle);
        }
        idle
    }

    fn forget(&mut self, selection: &Arc<PodSelection>, idle: &mut BTreeSet<Arc<PodSelection>>) {
        if last(&mut self.selections, selection) {
            self.index.remove(selection);
            idle.insert(selection.clone());
        }
    }

    /// The sets of ports that depend on a selection.
    pub(super) fn named_of(&self, selection: &Arc<PodSelection>) -> Vec<NamedPortsKey> {
        let first = NamedPortsKey { pods: selection.clone(), name: "".into(), protocol: None };
        let from = self.named.range(first..).map(|(key, _)| key);
        from.take_while(|key| key.pods == *selection).cloned().collect()
    }

    /// The sets of Nodes.
    pub(super) fn of_nodes(&self) -> Vec<LabelSelector> {
        let nodes = self.sets.keys().filter_map(|key| match key {
            SetKey::Nodes(selector) => Some(selector.clone()),
            SetKey::Pods(_) => None,
        });
        nodes.collect()
    }
}

/// What a class brought into being.
#[derive(Default)]
pub(super) struct New {
    pub(super) sets: BTreeSet<SetKey>,
    pub(super) named: BTreeSet<NamedPortsKey>,
    pub(super) selections: BTreeSet<Arc<PodSelection>>,
}

/// Counts one down; says whether it was the last.
fn last<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) -> bool {
    let Some(count) = counts.get_mut(key) else { return false };
    *count -= 1;
    let last = *count == 0;
    if last {
        counts.remove(key);
    }
    last
}

impl PolicyChanges {
    /// What is said of a set; `existed` counts the first time.
    pub(super) fn set(&mut self, key: &SetKey, existed: bool) -> &mut Delta<IpAddr> {
        self.sets.entry(key.clone()).or_insert_with(|| Delta::new(existed))
    }

    /// What is said of a set of ports, likewise.
    pub(super) fn ports(&mut self, key: &NamedPortsKey, existed: bool) -> &mut Delta<PodPort> {
        self.named_ports.entry(key.clone()).or_insert_with(|| Delta::new(existed))
    }
}

/// Puts addresses into a set that is there, or takes them out.
pub(super) fn change_set(
    key: &SetKey,
    addresses: &[IpAddr],
    put: bool,
    intent: &mut PolicyIntent,
    changes: &mut PolicyChanges,
) {
    let Some(set) = intent.sets.get_mut(key) else { return };
    let (set, delta) = (Arc::make_mut(set), changes.set(key, true));
    for address in addresses {
        match put {
            true if set.insert(*address) => delta.add(*address),
            false if set.remove(address) => delta.remove(*address),
            _ => {}
        }
    }
}

/// The same for ports.
pub(super) fn change_ports(
    key: &NamedPortsKey,
    ports: Vec<PodPort>,
    put: bool,
    intent: &mut PolicyIntent,
    changes: &mut PolicyChanges,
) {
    if ports.is_empty() {
        return;
    }
    let Some(set) = intent.named_ports.get_mut(key) else { return };
    let (set, delta) = (Arc::make_mut(set), changes.ports(key, true));
    for port in ports {
        match put {
            true if set.insert(port) => delta.add(port),
            false if set.remove(&port) => delta.remove(port),
            _ => {}
        }
    }
}

/// The addresses of the Nodes that a selector matches.
pub(super) fn node_addresses(cluster: &Cluster, selector: &LabelSelector) -> Vec<IpAddr> {
    let matching = cluster.nodes().filter(|node| selector.matches(&node.labels));
    let mut all: Vec<IpAddr> = matching
        .flat_map(|node| node.internal_ips.iter().chain(&node.external_ips).copied())
        .collect();
    all.sort_unstable_by_key(|address| (Family::of(*address), *address));
    all.dedup();
    all
}
