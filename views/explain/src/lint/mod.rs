//! What will hurt: findings about a whole cluster, by the plan's own decisions.

mod id;
mod policies;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use model::{Cluster, Family, NamespacedName, Notice, ObjectRef, PortName, Reason, Service};
use plan::{Config, HintsUse, Standing};
use serde::Serialize;

pub use id::Lint;

/// One finding. Findings sort by id, then by object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The stable id.
    pub id: Lint,
    /// The object.
    pub object: ObjectRef,
    /// The field that causes it.
    pub field: &'static str,
    /// What was found: values, and other objects that take part.
    pub message: String,
}

/// Looks for what will hurt. `notices` is what the plan of the same cluster left out; hints are
/// judged for every Node that is known.
#[must_use]
pub fn lint(cluster: &Cluster, config: &Config, notices: &[Notice]) -> Vec<Finding> {
    let mut found = BTreeSet::new();
    let served = |service: &Service| {
        !service.headless && service.proxy_name.is_none() && !service.cluster_ips.is_empty()
    };
    for service in cluster.services().values().filter(|service| served(service)) {
        let mut add = |id, field, message| {
            let object = ObjectRef::new("Service", &service.name);
            found.insert(Finding { id, object, field, message });
        };
        endpoints(cluster, config, service, &mut add);
        hints(cluster, config, service, &mut add);
        source_ranges(service, &mut add);
        external_ips(cluster, service, &mut add);
    }
    for notice in notices.iter().filter(|notice| notice.reason == Reason::Conflict) {
        found.insert(Finding {
            id: Lint::DuplicateAddress,
            object: notice.object.clone(),
            field: "spec",
            message: notice.message.clone(),
        });
    }
    pod_addresses(cluster, &mut found);
    policies::policies(cluster, config, &mut found);
    found.into_iter().collect()
}

fn endpoints(
    cluster: &Cluster,
    config: &Config,
    service: &Service,
    add: &mut impl FnMut(Lint, &'static str, String),
) {
    if cluster.slices(&service.name).all(|slice| slice.endpoints.is_empty()) {
        if !service.selector.is_empty() {
            let pairs: Vec<String> =
                service.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let text = format!("{} matches no Pod with an address", pairs.join(","));
            add(Lint::SelectorMatchesNothing, "spec.selector", text);
        }
        return;
    }
    for port in &service.ports {
        let name = PortName {
            service: service.name.clone(),
            port: port.name.clone(),
            protocol: port.protocol,
        };
        let nowhere =
            Family::ALL.into_iter().filter(|&family| service.cluster_ip(family).is_some());
        for family in nowhere {
            let told = plan::standings(cluster, config, &name, family);
            let portless =
                |one: &Standing| matches!(one, Standing::NoSuchPort | Standing::NoPortNumber);
            let mut own = told.entries.iter().filter(|one| one.cluster != Standing::WrongFamily);
            if own.clone().next().is_some() && own.all(|entry| portless(&entry.cluster)) {
                let text = format!(
                    "port {name} ({} {}) has no number in any EndpointSlice",
                    port.protocol, port.port
                );
                add(Lint::PortNowhere, "spec.ports[].targetPort", text);
            }
        }
    }
}

fn hints(
    cluster: &Cluster,
    config: &Config,
    service: &Service,
    add: &mut impl FnMut(Lint, &'static str, String),
) {
    let all = cluster.slices(&service.name).flat_map(|slice| &slice.endpoints);
    if all.into_iter().all(|endpoint| endpoint.hints.is_none()) {
        return;
    }
    for node in cluster.nodes() {
        let config = Config { node_name: node.name.clone(), ..config.clone() };
        for port in &service.ports {
            let (service, protocol) = (service.name.clone(), port.protocol);
            let name = PortName { service, port: port.name.clone(), protocol };
            for family in Family::ALL {
                let message = match plan::standings(cluster, &config, &name, family).hints {
                    HintsUse::Incomplete(lacking) => {
                        let first = lacking.first().map(ToString::to_string).unwrap_or_default();
                        format!("ready endpoint {first} has no hint ({} in all)", lacking.len())
                    }
                    HintsUse::NoZone => {
                        format!("Node {} has no label topology.kubernetes.io/zone", node.name)
                    }
                    HintsUse::NobodyFor(zone) => {
                        format!("no ready endpoint is for zone {zone} (Node {})", node.name)
                    }
                    HintsUse::Absent | HintsUse::Node(_) | HintsUse::Zone(_) => continue,
                };
                add(Lint::HintsIgnored, "spec.trafficDistribution", message);
            }
        }
    }
}

fn source_ranges(service: &Service, add: &mut impl FnMut(Lint, &'static str, String)) {
    let ports = service.ports.iter().filter_map(|port| port.node_port);
    for port in ports.filter(|&port| port != 0 && !service.source_ranges.is_empty()) {
        let ranges: Vec<String> = service.source_ranges.iter().map(ToString::to_string).collect();
        let text = format!("NodePort {port} is not guarded by {}", ranges.join(", "));
        add(Lint::SourceRangesBypassed, "spec.loadBalancerSourceRanges", text);
    }
}

fn external_ips(
    cluster: &Cluster,
    service: &Service,
    add: &mut impl FnMut(Lint, &'static str, String),
) {
    for ip in &service.external_ips {
        let has = |node: &&std::sync::Arc<model::Node>| {
            node.internal_ips.contains(ip) || node.external_ips.contains(ip)
        };
        if let Some(node) = cluster.nodes().find(has) {
            let text = format!("{ip} is an address of Node {}", node.name);
            add(Lint::ExternalIpOfNode, "spec.externalIPs", text);
        }
    }
}

/// Two Pods that run at once with one address.
fn pod_addresses(cluster: &Cluster, found: &mut BTreeSet<Finding>) {
    let mut holders: BTreeMap<IpAddr, Vec<&NamespacedName>> = BTreeMap::new();
    for pod in cluster.pods().values().filter(|pod| pod.counts()) {
        pod.ips.iter().for_each(|&ip| holders.entry(ip).or_default().push(&pod.name));
    }
    for (ip, pods) in holders {
        let [first, others @ ..] = pods.as_slice() else { continue };
        for other in others {
            found.insert(Finding {
                id: Lint::DuplicateAddress,
                object: ObjectRef::new("Pod", other),
                field: "status.podIPs",
                message: format!("{ip} is also the address of Pod {first}"),
            });
        }
    }
}
