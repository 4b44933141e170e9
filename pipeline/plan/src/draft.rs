//! One Service by itself: what it would ask for if it were alone.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use model::{
    Affinity, Cluster, EndpointSlice, Family, NamespacedName, Notice, ObjectRef, PortName, Reason,
    Service, ServicePort, TrafficPolicy,
};

use crate::categorize::{Uses, categorize};
use crate::config::Config;
use crate::endpoints;
use crate::frontends::{self, Addresses};
use crate::intent::{Frontend, FrontendKind, VirtualServer};
use crate::node::NodeFacts;
use crate::routes::{self, Situation};
use crate::services;

/// What one Service asks for before conflicts with others are settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Draft {
    /// `metadata.creationTimestamp`, which decides conflicts.
    pub(crate) created: Option<i64>,
    /// Its virtual servers with all their frontends, by family, then by port name and protocol.
    pub(crate) servers: Arc<[VirtualServer]>,
    /// What was left out.
    pub(crate) notices: BTreeSet<Notice>,
}

/// Plans one Service by itself, from its own object and its own slices.
///
/// A Service that is not there, or that is not routed at all, asks for nothing, and nothing is said
/// of its slices.
pub(crate) fn draft(
    cluster: &Cluster,
    name: &NamespacedName,
    node: &NodeFacts,
    config: &Config,
) -> Draft {
    let mut notices = BTreeSet::new();
    let Some(service) = cluster.service(name) else { return Draft::default() };
    let cluster_ips = services::cluster_ips(service, &mut notices);
    if !services::is_routed(&cluster_ips) {
        return Draft { created: service.created, notices, ..Draft::default() };
    }
    let slices: Vec<&EndpointSlice> = cluster.slices(name).map(AsRef::as_ref).collect();
    frontends::notices(service, &cluster_ips, config, &mut notices);
    endpoints::notices(&slices, &mut notices);
    let ports = ports(service, &mut notices);
    let mut servers = Vec::new();
    for cluster_ip in Family::ALL.into_iter().filter_map(|family| cluster_ips[family]) {
        let addresses = frontends::addresses(service, cluster_ip, node, config);
        for port in &ports {
            let asked = Asked { service, port, cluster_ip, addresses: &addresses };
            servers.push(server(asked, &slices, node, config));
        }
    }
    Draft { created: service.created, servers: servers.into(), notices }
}

/// The ports that can be routed, by name and protocol. Port 0 is no port; of two ports with one name
/// and protocol, which could not be told apart in the slices, the first counts.
fn ports<'a>(service: &'a Service, notices: &mut BTreeSet<Notice>) -> Vec<&'a ServicePort> {
    let mut ports: Vec<&ServicePort> = Vec::with_capacity(service.ports.len());
    let mut seen = BTreeSet::new();
    for port in &service.ports {
        let problem = if port.port == 0 {
            "0 is not a port number"
        } else if !seen.insert((&port.name, port.protocol)) {
            "an earlier entry has the same name and protocol"
        } else {
            ports.push(port);
            continue;
        };
        notices.insert(Notice {
            object: ObjectRef::new("Service", &service.name),
            reason: Reason::InvalidField,
            message: format!(
                "spec.ports: entry {:?} for {} {} is left out, for {problem}",
                port.name, port.protocol, port.port
            ),
        });
    }
    ports.sort_by(|a, b| (&a.name, a.protocol).cmp(&(&b.name, b.protocol)));
    ports
}

/// One port of one Service in the family of its cluster IP.
#[derive(Clone, Copy)]
struct Asked<'a> {
    service: &'a Service,
    port: &'a ServicePort,
    cluster_ip: IpAddr,
    addresses: &'a Addresses,
}

/// Plans one port in one family. [`Uses`] asks for exactly those lists that some frontend routes to, so
/// no pool is idle.
fn server(
    asked: Asked<'_>,
    slices: &[&EndpointSlice],
    node: &NodeFacts,
    config: &Config,
) -> VirtualServer {
    let Asked { service, port, cluster_ip, addresses } = asked;
    let family = Family::of(cluster_ip);
    let reach = frontends::reach(port, cluster_ip, addresses);
    let from_outside = reach.iter().any(|reach| reach.kind != FrontendKind::ClusterIP);
    let internal_policy = service.internal_traffic_policy;
    let external_policy = frontends::external_policy(service);
    let uses = Uses {
        cluster: internal_policy == TrafficPolicy::Cluster || from_outside,
        local: internal_policy == TrafficPolicy::Local
            || (external_policy == TrafficPolicy::Local && from_outside),
    };
    let candidates = endpoints::endpoints(slices, &port.name, port.protocol, family);
    let chosen = categorize(&candidates, uses, node);
    let now = Situation {
        any: chosen.any,
        local: !chosen.local.is_empty(),
        pods_known: node.pods_known[family],
    };
    let internal =
        routes::internal(internal_policy, now, config.masquerade_all, config.on_no_local_endpoints);
    let external = routes::external(external_policy, now);
    let frontends = reach.into_iter().map(|reach| Frontend {
        kind: reach.kind,
        address: reach.address,
        port: reach.port,
        sources: reach.sources,
        routes: if reach.kind == FrontendKind::ClusterIP { internal } else { external },
    });
    VirtualServer {
        name: PortName {
            service: service.name.clone(),
            port: port.name.clone(),
            protocol: port.protocol,
        },
        family,
        frontends: frontends.collect(),
        cluster: chosen.cluster.into(),
        local: chosen.local.into(),
        affinity_seconds: match service.affinity {
            Affinity::None => None,
            Affinity::ClientIP { timeout_seconds } => Some(timeout_seconds),
        },
        health_check_node_port: frontends::health_check_node_port(service),
    }
}

/// Puts known allocations in the place of equal new ones, so that what did not change is shared and
/// compares at once.
pub(crate) fn reuse(new: &mut Draft, old: &Draft) {
    if new.servers == old.servers {
        new.servers = old.servers.clone();
        return;
    }
    if old.servers.is_empty() {
        return;
    }
    let mut servers: Vec<VirtualServer> = new.servers.to_vec();
    for server in &mut servers {
        let same =
            |known: &&VirtualServer| known.family == server.family && known.name == server.name;
        let Some(known) = old.servers.iter().find(same) else { continue };
        for (pool, known) in
            [(&mut server.cluster, &known.cluster), (&mut server.local, &known.local)]
        {
            if pool == known {
                *pool = known.clone();
            }
        }
    }
    new.servers = servers.into();
}
