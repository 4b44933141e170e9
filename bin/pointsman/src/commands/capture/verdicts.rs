//! What becomes of a new connection to each frontend, by the plan for the objects alone.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use explain::{Enters, Packet, decide};
use intake::convert::{self, Names};
use model::{Change, Cluster, Family, Node};
use plan::{Config, DetectLocal};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::bundle::{Routing, Verdict, items, text};
use crate::commands::render::host_of;

/// Who asks from outside: documentation addresses (RFC 5737, RFC 3849), as the lab's outside host.
const OUTSIDE: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(198, 51, 100, 7), Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 7));

/// The verdicts of one node, sorted.
///
/// # Errors
/// A block of `routing` that is none.
pub(crate) fn of_node(objects: &[Value], node: &str, routing: &Routing) -> Result<Vec<Verdict>> {
    let mut cluster = cluster(objects);
    let known = cluster.node(node).cloned();
    if let Some(node) = &known {
        cluster.apply(Change::Host(host_of(node)));
    }
    let mut config = Config::new(node);
    let blocks = routing.cluster_cidrs.iter().map(|text| text.parse());
    let blocks: Vec<_> =
        blocks.collect::<Result<_, _>>().context("a block of Pods in the routing")?;
    config.detect_local =
        if blocks.is_empty() { DetectLocal::NodeCidr } else { DetectLocal::ClusterCidr(blocks) };
    config.localhost_node_ports = false;
    let (intent, _) = plan::plan(&cluster, &config);
    let (host, mut verdicts) = (cluster.host(), BTreeSet::new());
    for server in intent.servers.values().flat_map(|servers| servers.iter()) {
        let family = server.family;
        for frontend in &server.frontends {
            let own = known.as_ref().and_then(|node| internal_ip(node, family));
            let Some(destination) = frontend.address.or(own) else { continue };
            for (class, source, enters) in sources(objects, known.as_deref(), node, family) {
                let packet = Packet {
                    protocol: server.protocol(),
                    source,
                    destination,
                    port: frontend.port,
                    enters,
                };
                let verdict = decide(&intent, host, &packet, routing.mode);
                verdicts.insert(Verdict {
                    service: server.name.to_string(),
                    to: format!("{} {destination} {}", server.protocol().lower(), frontend.port),
                    from: format!("{class} {source}"),
                    verdict: Verdict::in_order(&verdict.to_string()),
                });
            }
        }
    }
    Ok(verdicts.into_iter().collect())
}

/// One source of each class: the node's first Pod, the node itself, the outside.
fn sources(
    objects: &[Value],
    node: Option<&Node>,
    name: &str,
    family: Family,
) -> Vec<(&'static str, IpAddr, Enters)> {
    let pods = objects.iter().filter(|object| {
        object["kind"] == "Pod"
            && object["spec"]["hostNetwork"] != true
            && text(object, "/spec/nodeName") == name
    });
    let ips = pods.flat_map(|pod| items(pod, "/status/podIPs"));
    let mut ips = ips.filter_map(|entry| text(entry, "/ip").parse::<IpAddr>().ok());
    let pod = ips.find(|ip| Family::of(*ip) == family);
    let pod = pod.map(|ip| ("pod", ip, Enters::Interface("veth".into())));
    let own = node.and_then(|node| internal_ip(node, family));
    let own = own.map(|ip| ("node", ip, Enters::Output));
    let outside = match family {
        Family::V4 => OUTSIDE.0.into(),
        Family::V6 => OUTSIDE.1.into(),
    };
    let outside = Some(("outside", outside, Enters::Interface("eth0".into())));
    pod.into_iter().chain(own).chain(outside).collect()
}

fn internal_ip(node: &Node, family: Family) -> Option<IpAddr> {
    node.internal_ips.iter().copied().find(|ip| Family::of(*ip) == family)
}

/// The facts of the objects, read as the agent reads them.
fn cluster(objects: &[Value]) -> Cluster {
    let mut cluster = Cluster::default();
    let mut names = Names::default();
    for object in objects {
        let change = match text(object, "/kind") {
            "Service" => fact(object, &mut names, convert::service).map(Change::Service),
            "EndpointSlice" => fact(object, &mut names, convert::endpoint_slice).map(Change::Slice),
            "Node" => fact(object, &mut names, convert::node).map(Change::Node),
            _ => None,
        };
        if let Some(change) = change {
            drop(cluster.apply(change));
        }
    }
    cluster
}

fn fact<W: DeserializeOwned, F, N>(
    object: &Value,
    names: &mut Names,
    convert: impl Fn(&W, &mut Names) -> (Option<F>, N),
) -> Option<F> {
    let wire: W = serde_json::from_value(object.clone()).ok()?;
    convert(&wire, names).0
}
