//! Where load balancers ask for a Service's endpoints on this node (`healthCheckNodePort`), and what
//! is answered there. No socket is touched here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use model::{Cluster, Family, NamespacedName, Owner};
use plan::{Intent, NodePortAccept, PerFamily, local_ready_endpoints};

/// What is answered at one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Whose endpoints are counted.
    pub service: NamespacedName,
    /// In which family.
    pub family: Family,
    /// How many endpoints are ready on this node.
    pub local_endpoints: usize,
}

/// Every address that must answer.
pub type Checks = BTreeMap<SocketAddr, Check>;

/// A Service whose port another Service has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// The Service that goes without.
    pub service: NamespacedName,
    /// The Service that has the port.
    pub holder: NamespacedName,
    /// The port.
    pub port: u16,
}

/// What one Service asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ask {
    port: u16,
    /// Families that the Service is routed in, with the ready endpoints of this node.
    counts: Vec<(Family, usize)>,
    /// The older of two Services keeps the port.
    created: i64,
}

/// The checks of all Services, kept up to date owner by owner.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodePorts {
    asks: BTreeMap<NamespacedName, Ask>,
    accept: Option<PerFamily<NodePortAccept>>,
}

impl NodePorts {
    /// Takes in what the kernel now holds for some owners, and says whether anything differs from
    /// before. To be called after a successful write: nothing may be promised to a load balancer
    /// that is not yet routed.
    pub fn update(&mut self, intent: &Intent, cluster: &Cluster, owners: &BTreeSet<Owner>) -> bool {
        let mut differs = false;
        if self.accept.as_ref() != Some(&intent.node.node_ports) {
            self.accept = Some(intent.node.node_ports.clone());
            differs = true;
        }
        for owner in owners {
            let Owner::Service(name) = owner else { continue };
            let ask = ask(intent, cluster, name);
            if self.asks.get(name) != ask.as_ref() {
                differs = true;
                match ask {
                    Some(ask) => drop(self.asks.insert(name.clone(), ask)),
                    None => drop(self.asks.remove(name)),
                }
            }
        }
        differs
    }

    /// Where to listen and what to answer there: on every address of the node, or on those alone
    /// that answer NodePorts (kubernetes#82163). And who has to go without.
    #[must_use]
    pub fn checks(&self) -> (Checks, Vec<Clash>) {
        let mut checks = Checks::new();
        let mut holders: BTreeMap<u16, NamespacedName> = BTreeMap::new();
        let mut clashes = Vec::new();
        let mut by_age: Vec<_> = self.asks.iter().collect();
        by_age.sort_by_key(|(name, ask)| (ask.created, *name));
        for (service, ask) in by_age {
            if let Some(holder) = holders.get(&ask.port) {
                let (service, holder) = (service.clone(), holder.clone());
                clashes.push(Clash { service, holder, port: ask.port });
                continue;
            }
            holders.insert(ask.port, service.clone());
            for &(family, local_endpoints) in &ask.counts {
                for address in self.addresses(family) {
                    let service = service.clone();
                    let check = Check { service, family, local_endpoints };
                    checks.insert(SocketAddr::new(address, ask.port), check);
                }
            }
        }
        (checks, clashes)
    }

    fn addresses(&self, family: Family) -> BTreeSet<IpAddr> {
        match self.accept.as_ref().map(|accept| &accept[family]) {
            None => BTreeSet::new(),
            Some(NodePortAccept::AnyLocal { .. }) => BTreeSet::from([match family {
                Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
                Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
            }]),
            Some(NodePortAccept::Addresses(addresses)) => addresses.clone(),
        }
    }
}

fn ask(intent: &Intent, cluster: &Cluster, name: &NamespacedName) -> Option<Ask> {
    let servers = intent.servers.get(name)?;
    let port = servers.iter().find_map(|server| server.health_check_node_port)?;
    let families: BTreeSet<Family> = servers.iter().map(|server| server.family).collect();
    let count = |family| local_ready_endpoints(cluster, name, family, &intent.node.node);
    let created = cluster.service(name).and_then(|service| service.created);
    Some(Ask {
        port,
        counts: families.into_iter().map(|family| (family, count(family))).collect(),
        created: created.unwrap_or(i64::MAX),
    })
}
