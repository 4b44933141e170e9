//! Two Service ports that claim one address and port: who keeps it.
//!
//! A cluster IP goes before every other kind of claim: the API server allocated it to one Service
//! alone, while anybody may write it into `spec.externalIPs` of another (CVE-2020-8554). Then the
//! Service that was created first keeps the place, so that nobody can take a running Service's
//! traffic by writing a newer object. A Service without a creation time counts as the newest; equal
//! ages are decided by the Service's name, then by the port's name. The loser's frontend is left out
//! and named; its other frontends stay.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use model::{
    Cluster, Family, NamespacedName, Notice, ObjectRef, PortName, Protocol, Reason, Service,
};

use crate::config::Config;
use crate::draft::{Draft, draft};
use crate::intent::{Frontend, FrontendKind, Pool, PoolName, Route, VirtualServer};
use crate::node::node_facts;

/// What only one Service port can have: an address with port and protocol, or a NodePort (without
/// address) of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    family: Family,
    address: Option<IpAddr>,
    port: u16,
    protocol: Protocol,
}

impl Place {
    fn of(server: &VirtualServer, frontend: &Frontend) -> Self {
        Self {
            family: server.family,
            address: frontend.address,
            port: frontend.port,
            protocol: server.protocol(),
        }
    }
}

/// A Service port that wants a place. The least keeps it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claimant {
    /// False sorts first: a cluster IP is allocated, every other address is merely written down.
    written: bool,
    /// False sorts first: a Service with a creation time is older than one without.
    undated: bool,
    created: i64,
    port: PortName,
}

/// Who claims which place. A change touches the places of the Services that changed, and names the
/// Services that its outcome drags along.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    /// Never empty, sorted: the first keeps the place.
    places: BTreeMap<Place, Vec<Claimant>>,
}

/// Who kept the touched places before a change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched(BTreeMap<Place, Option<Claimant>>);

impl Claims {
    /// Takes a Service's claims out, remembering in `touched` who kept the places before.
    pub(crate) fn withdraw(&mut self, draft: &Draft, touched: &mut Touched) {
        for (place, claimant) in claims(draft) {
            self.remember(place, touched);
            let Some(list) = self.places.get_mut(&place) else { continue };
            if let Ok(index) = list.binary_search(&claimant) {
                list.remove(index);
            }
            if list.is_empty() {
                self.places.remove(&place);
            }
        }
    }

    /// Puts a Service's claims in, remembering in `touched` who kept the places before.
    pub(crate) fn enter(&mut self, draft: &Draft, touched: &mut Touched) {
        for (place, claimant) in claims(draft) {
            self.remember(place, touched);
            match self.places.get_mut(&place) {
                None => {
                    self.places.insert(place, vec![claimant]);
                }
                Some(list) => {
                    if let Err(index) = list.binary_search(&claimant) {
                        list.insert(index, claimant);
                    }
                }
            }
        }
    }

    fn remember(&self, place: Place, touched: &mut Touched) {
        touched
            .0
            .entry(place)
            .or_insert_with(|| self.places.get(&place).and_then(|list| list.first()).cloned());
    }

    /// The Services that claim a touched place which now has another keeper.
    pub(crate) fn dragged_along(&self, touched: &Touched) -> BTreeSet<NamespacedName> {
        let claimants = |place: &Place| self.places.get(place).map_or(&[][..], Vec::as_slice);
        touched
            .0
            .iter()
            .filter(|(place, before)| claimants(place).first() != before.as_ref())
            .flat_map(|(place, _)| claimants(place))
            .map(|claimant| claimant.port.service.clone())
            .collect()
    }

    /// What remains of a draft after the places that others keep are taken out, with a [`Notice`]
    /// for each of them; `None` where everything remains. A virtual server that nothing leads to any
    /// more is left out, and a pool that nothing routes to is emptied.
    pub(crate) fn settle(&self, draft: &Draft) -> Option<(Vec<VirtualServer>, Vec<Notice>)> {
        let mut notices = Vec::new();
        for server in draft.servers.iter() {
            for frontend in &server.frontends {
                if let Some(keeper) = self.keeper(server, frontend) {
                    notices.push(lost(server, frontend, keeper));
                }
            }
        }
        if notices.is_empty() {
            return None;
        }
        let remaining = draft.servers.iter().filter_map(|server| {
            let mut server = server.clone();
            let frontends = std::mem::take(&mut server.frontends);
            server.frontends = frontends
                .into_iter()
                .filter(|frontend| self.keeper(&server, frontend).is_none())
                .collect();
            (!server.frontends.is_empty()).then(|| without_idle_pools(server))
        });
        Some((remaining.collect(), notices))
    }

    /// The other Service port that keeps this frontend's place, if there is one.
    fn keeper(&self, server: &VirtualServer, frontend: &Frontend) -> Option<&PortName> {
        let first = self.places.get(&Place::of(server, frontend))?.first()?;
        (first.port != server.name).then_some(&first.port)
    }
}

/// Every Service port that claims one address (`None` for NodePorts) and port, best claim first: the
/// first has it.
#[must_use]
pub fn claimants(
    cluster: &Cluster,
    config: &Config,
    (family, address): (Family, Option<IpAddr>),
    port: u16,
    protocol: Protocol,
) -> Vec<PortName> {
    let node = node_facts(cluster, config);
    let names = |service: &Service| match address {
        Some(ip) => {
            service.cluster_ips.contains(&ip)
                || service.external_ips.contains(&ip)
                || service.ingress.iter().any(|ingress| ingress.ip == ip)
        }
        None => service.ports.iter().any(|entry| entry.node_port == Some(port)),
    };
    let (mut claims, mut touched) = (Claims::default(), Touched::default());
    for name in cluster.services().values().filter(|one| names(one)).map(|one| &one.name) {
        claims.enter(&draft(cluster, name, &node, config), &mut touched);
    }
    let place = Place { family, address, port, protocol };
    let all = claims.places.remove(&place).unwrap_or_default();
    all.into_iter().map(|claimant| claimant.port).collect()
}

fn claims(draft: &Draft) -> impl Iterator<Item = (Place, Claimant)> {
    draft.servers.iter().flat_map(|server| {
        server.frontends.iter().map(|frontend| {
            let claimant = Claimant {
                written: frontend.kind != FrontendKind::ClusterIP,
                undated: draft.created.is_none(),
                created: draft.created.unwrap_or_default(),
                port: server.name.clone(),
            };
            (Place::of(server, frontend), claimant)
        })
    })
}

/// Empties the pools that no frontend routes to.
fn without_idle_pools(mut server: VirtualServer) -> VirtualServer {
    let used = |pool: PoolName| {
        server.frontends.iter().any(|frontend| {
            let Frontend { routes, .. } = frontend;
            [routes.pod, routes.node, routes.outside]
                .iter()
                .any(|route| matches!(route, Route::Deliver { pool: to, .. } if *to == pool))
        })
    };
    let (cluster, local) = (used(PoolName::Cluster), used(PoolName::Local));
    if !cluster {
        server.cluster = Pool::default();
    }
    if !local {
        server.local = Pool::default();
    }
    server
}

fn lost(server: &VirtualServer, frontend: &Frontend, keeper: &PortName) -> Notice {
    let what = match frontend.kind {
        FrontendKind::ClusterIP => "the cluster IP",
        FrontendKind::ExternalIP => "the external IP",
        FrontendKind::LoadBalancerIP => "the load balancer IP",
        FrontendKind::NodePort => "the NodePort",
    };
    let protocol = server.protocol();
    let place = match frontend.address {
        Some(address) => format!("{address} with {protocol} port {}", frontend.port),
        None => format!("{protocol} {} in {}", frontend.port, server.family),
    };
    Notice {
        object: ObjectRef::new("Service", &server.name.service),
        reason: Reason::Conflict,
        message: format!(
            "{what} {place} of port {} is left out, for it belongs to port {keeper}, whose Service \
             has the older or better claim; give one of them another",
            server.name
        ),
    }
}
