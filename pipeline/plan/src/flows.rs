//! Which flows that connection tracking knows of a change makes stale.
//!
//! # The rules
//!
//! | protocol | endpoints that keep their flows | what goes of the others | of untranslated flows |
//! |---|---|---|---|
//! | UDP | ready or serving | all | all |
//! | TCP | listed | half-open | half-open |
//! | SCTP | listed | all | half-open |
//!
//! *Listed* means named by an EndpointSlice of the Service, in whatever condition: a terminating
//! Pod finishes its TCP connections and SCTP associations (kubernetes#108523, kubernetes#104098).
//! TCP finds out by itself that a peer is gone, except while its first packet is sent again and
//! again to nobody. An SCTP association never does, for its heartbeats keep the entry alive
//! (kubernetes#70020), and neither does UDP.
//!
//! An *untranslated* flow began while no rule was there for its destination. Its packets would go on
//! to nobody (kubernetes#48370), so they must find the rules: the rules come first, then the entries
//! go.
//!
//! A destination that is gone has no endpoint that keeps its flows (kubernetes#141371), and one
//! without endpoints neither (kubernetes#139628). What is untranslated stays there, for nobody
//! translates such packets now.
//!
//! # Why the Intent does not suffice
//!
//! The pools of an [`Intent`] hold the endpoints that take *new* connections. Flows may stay with
//! more: with terminating endpoints that still serve while others are ready, with those beyond the
//! topology hints or the traffic policy. So the endpoints come from the [`Cluster`], and only the
//! frontends and their refusals from the Intent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use model::{
    Cluster, Cut, EndpointSlice, Family, FlowDestination, NamespacedName, Owner, Protocol,
    StaleFlows,
};

use crate::endpoints;
use crate::intent::{
    Frontend, FrontendKind, Intent, NodePortAccept, PerFamily, Route, SourceClass, VirtualServer,
};

/// An original destination. `None` for NodePorts: which addresses answer is the node's matter.
type Key = (Family, Protocol, Option<IpAddr>, u16);

/// The node's addresses on which NodePorts answer.
type NodeAddresses = PerFamily<Arc<BTreeSet<IpAddr>>>;

/// What flows to one destination may rely on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Promise {
    keep: Arc<BTreeSet<SocketAddr>>,
    /// Which classes of clients reach nobody.
    refused: [bool; 3],
}

impl Promise {
    /// Whether flows that were right before are stale now: an endpoint is gone, or clients that
    /// reached nobody now reach somebody.
    fn breaks(&self, before: &Self) -> bool {
        let opens = before.refused.iter().zip(self.refused).any(|(before, now)| *before && !now);
        opens || (self.keep != before.keep && !before.keep.is_subset(&self.keep))
    }
}

/// What flows may rely on, kept up to date beside the rules, and what of it a change takes away.
///
/// [`Flows::default`] knows of nothing. The first [`Flows::update`], with all owners, therefore
/// names every destination, and so finds what went stale while no agent ran; flows that are still
/// right stay (kubernetes#122740). A destination that went away in that time is not known and not
/// named.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    promises: BTreeMap<Key, Promise>,
    owners: BTreeMap<NamespacedName, Vec<Key>>,
    node_addresses: NodeAddresses,
}

impl Flows {
    /// Takes over what the kernel's rules say now for these owners, and returns the flows that are
    /// stale under them, sorted. Where two name one flow, both keep it or neither does.
    ///
    /// To be called after the rules of `intent` are in force, with the owners that
    /// [`Cluster::apply`] named as well as those that [`Planner::update`](crate::Planner::update)
    /// did: an endpoint may stop serving without any rule changing, and an address may move between
    /// Services without any object of one of them changing. Owners whose rules the kernel refused
    /// are left out until it takes them.
    pub fn update(
        &mut self,
        cluster: &Cluster,
        intent: &Intent,
        owners: &BTreeSet<Owner>,
    ) -> Vec<StaleFlows> {
        let names = || {
            owners.iter().filter_map(|owner| match owner {
                Owner::Service(name) => Some(name),
                Owner::Node | Owner::Policy(_) => None,
            })
        };
        let mut before: BTreeMap<Key, Option<Promise>> = BTreeMap::new();
        for key in names().filter_map(|name| self.owners.remove(name)).flatten() {
            before.insert(key, self.promises.remove(&key));
        }
        for name in names() {
            let keys = self.promise(cluster, intent, name);
            for key in &keys {
                before.entry(*key).or_default();
            }
            if !keys.is_empty() {
                self.owners.insert(name.clone(), keys);
            }
        }
        let mut stale = Vec::new();
        let node_before = self.node_addresses.clone();
        if owners.contains(&Owner::Node) {
            self.node_addresses = PerFamily::of(|family| node_addresses(cluster, intent, family));
            self.move_node(&node_before, &before, &mut stale);
        }
        for (key, before) in &before {
            stale.extend(self.compare(key, before.as_ref(), &node_before));
        }
        let order = |flows: &StaleFlows| (flows.family, flows.protocol, flows.port);
        stale.sort_by(|a, b| {
            order(a).cmp(&order(b)).then_with(|| a.destination.cmp(&b.destination))
        });
        stale
    }

    /// Every destination of one Service, with what its flows may rely on.
    fn promise(&mut self, cluster: &Cluster, intent: &Intent, name: &NamespacedName) -> Vec<Key> {
        let Some(servers) = intent.servers.get(name) else { return Vec::new() };
        let slices: Vec<&EndpointSlice> = cluster.slices(name).map(AsRef::as_ref).collect();
        let mut keys = Vec::new();
        for server in servers.iter() {
            let keep = Arc::new(keep(&slices, server));
            for frontend in &server.frontends {
                let key = key(server, frontend);
                let promise = Promise { keep: keep.clone(), refused: refused(frontend) };
                self.promises.insert(key, promise);
                keys.push(key);
            }
        }
        keys
    }

    /// What one destination's change makes stale.
    fn compare(
        &self,
        key: &Key,
        before: Option<&Promise>,
        node_before: &NodeAddresses,
    ) -> Option<StaleFlows> {
        let (family, _, address, _) = *key;
        let after = self.after(key);
        match (before, after) {
            (Some(before), Some(after)) if !after.breaks(before) => return None,
            (None, None) => return None,
            _ => {}
        }
        let node = if after.is_some() { &self.node_addresses } else { node_before };
        let destination = match address {
            Some(address) => FlowDestination::Address(address),
            None => self.uncovered(key, &node[family])?,
        };
        Some(stale(key, destination, after))
    }

    /// Who answers at a destination now. Where an address is no Service's own, a NodePort may still
    /// answer on it.
    fn after(&self, key: &Key) -> Option<&Promise> {
        let (family, protocol, address, port) = *key;
        let of_node = |address| self.node_addresses[family].contains(&address);
        self.promises.get(key).or_else(|| {
            address.filter(|address| of_node(*address))?;
            self.promises.get(&(family, protocol, None, port))
        })
    }

    /// Those of the node's addresses that a NodePort answers on: where a Service has the address and
    /// the port for its own, that Service answers.
    fn uncovered(&self, key: &Key, all: &Arc<BTreeSet<IpAddr>>) -> Option<FlowDestination> {
        let (family, protocol, _, port) = *key;
        let covered = |address: &&IpAddr| {
            self.promises.contains_key(&(family, protocol, Some(**address), port))
        };
        let addresses = if all.iter().any(|address| covered(&address)) {
            Arc::new(all.iter().filter(|address| !covered(address)).copied().collect())
        } else {
            all.clone()
        };
        (!addresses.is_empty()).then_some(FlowDestination::NodePort(addresses))
    }

    /// What the node's new addresses make stale for NodePorts that are there now: they appear on new
    /// addresses and vanish from old ones. New addresses of those that [`Flows::compare`] names are
    /// left to it.
    fn move_node(
        &self,
        before: &NodeAddresses,
        changed: &BTreeMap<Key, Option<Promise>>,
        stale_flows: &mut Vec<StaleFlows>,
    ) {
        let now = &self.node_addresses;
        let differ = |a: &NodeAddresses, b: &NodeAddresses| {
            PerFamily::of(|family| Arc::new(a[family].difference(&b[family]).copied().collect()))
        };
        let (entered, left): (NodeAddresses, NodeAddresses) =
            (differ(now, before), differ(before, now));
        for (key, promise) in self.promises.iter().filter(|(key, _)| key.2.is_none()) {
            let family = key.0;
            let known_before = changed.get(key).is_none_or(Option::is_some);
            let left = self.uncovered(key, &left[family]).filter(|_| known_before);
            stale_flows.extend(left.map(|addresses| stale(key, addresses, None)));
            let named = changed
                .get(key)
                .is_some_and(|was| self.compare(key, was.as_ref(), before).is_some());
            let entered = self.uncovered(key, &entered[family]).filter(|_| !named);
            stale_flows.extend(entered.map(|addresses| stale(key, addresses, Some(promise))));
        }
    }
}

fn key(server: &VirtualServer, frontend: &Frontend) -> Key {
    let address = if frontend.kind == FrontendKind::NodePort { None } else { frontend.address };
    (server.family, server.protocol(), address, frontend.port)
}

/// The endpoints of a Service port that keep their flows.
fn keep(slices: &[&EndpointSlice], server: &VirtualServer) -> BTreeSet<SocketAddr> {
    let protocol = server.protocol();
    endpoints::endpoints(slices, &server.name.port, protocol, server.family)
        .iter()
        .filter(|candidate| {
            protocol != Protocol::Udp || candidate.endpoint.ready || candidate.endpoint.serving
        })
        .map(|candidate| candidate.address)
        .collect()
}

fn refused(frontend: &Frontend) -> [bool; 3] {
    [SourceClass::Pod, SourceClass::Node, SourceClass::Outside]
        .map(|class| matches!(frontend.routes[class], Route::Refuse { .. }))
}

/// The node's addresses on which NodePorts of a family answer.
fn node_addresses(cluster: &Cluster, intent: &Intent, family: Family) -> Arc<BTreeSet<IpAddr>> {
    let addresses = match &intent.node.node_ports[family] {
        NodePortAccept::Addresses(addresses) => addresses.clone(),
        NodePortAccept::AnyLocal { loopback } => {
            let own = cluster.host().addresses.iter().map(|own| own.address);
            own.filter(|address| Family::of(*address) == family)
                .filter(|address| *loopback || !address.is_loopback())
                .collect()
        }
    };
    Arc::new(addresses)
}

/// The flows to a destination that are stale under what holds there now.
fn stale(key: &Key, destination: FlowDestination, now: Option<&Promise>) -> StaleFlows {
    let (family, protocol, _, port) = *key;
    let half_open_or_all = match protocol {
        Protocol::Tcp => Cut::HalfOpen,
        Protocol::Udp | Protocol::Sctp => Cut::All,
    };
    let untranslated = match (now, protocol) {
        (None, _) => Cut::Nothing,
        (Some(_), Protocol::Udp) => Cut::All,
        (Some(_), Protocol::Tcp | Protocol::Sctp) => Cut::HalfOpen,
    };
    StaleFlows {
        family,
        protocol,
        destination,
        port,
        keep: now.map(|promise| promise.keep.clone()).unwrap_or_default(),
        translated: half_open_or_all,
        untranslated,
    }
}
