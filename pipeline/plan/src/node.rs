//! What concerns the node as a whole, and the facts of the node that Services depend on.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use model::{Cidr, Cluster, Family, Host, Node, Notice, ObjectRef, Reason};

use crate::config::{Config, DetectLocal, NodePortAddresses};
use crate::intent::{LocalTraffic, NodeIntent, NodePortAccept, PerFamily};

/// The facts of this node that the routing of a Service depends on. While they stay equal, a change
/// of the node concerns no Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeFacts {
    /// The node's name, as EndpointSlices write it.
    pub(crate) name: Arc<str>,
    /// The node's zone; without one, zone hints are not followed.
    pub(crate) zone: Option<Arc<str>>,
    /// The node's own address, which decides whether source ranges hold this node.
    pub(crate) addresses: PerFamily<Option<IpAddr>>,
    /// Whether Pods of the cluster can be told from everybody else.
    pub(crate) pods_known: PerFamily<bool>,
}

/// Reads the [`NodeFacts`] from the Node object (absent: no zone, no addresses).
pub(crate) fn node_facts(cluster: &Cluster, config: &Config) -> NodeFacts {
    let node = cluster.node(&config.node_name);
    NodeFacts {
        name: config.node_name.clone(),
        zone: node.and_then(|node| node.zone.clone()).filter(|zone| !zone.is_empty()),
        addresses: PerFamily::of(|family| own_address(config, node.map(AsRef::as_ref), family)),
        pods_known: PerFamily::of(|family| {
            local_traffic(config, node.map(AsRef::as_ref), family) != LocalTraffic::Unknown
        }),
    }
}

/// Decides everything of [`NodeIntent`], and says what had to be left out.
pub(crate) fn node_intent(cluster: &Cluster, config: &Config) -> (NodeIntent, Vec<Notice>) {
    let node = cluster.node(&config.node_name).map(AsRef::as_ref);
    let mut notices = BTreeSet::new();
    if node.is_none() {
        notices.insert(Notice {
            object: ObjectRef::new("Node", &config.node_name),
            reason: Reason::NodeMissing,
            message: "no Node object of this name is known; until there is one, this node has no \
                      zone, no pod CIDR and no address of its own, so topology hints by zone are \
                      not followed"
                .into(),
        });
    }
    let node_ports = PerFamily::of(|family| {
        node_port_accept(config, node, cluster.host(), family, &mut notices)
    });
    let intent = NodeIntent {
        node: config.node_name.clone(),
        local_traffic: PerFamily::of(|family| local_traffic(config, node, family)),
        node_ports,
        localhost_node_ports: localhost_node_ports(config, node),
        drop_invalid: !cluster.host().conntrack_be_liberal,
        service_cidrs: PerFamily::of(|family| service_cidrs(cluster, family)),
    };
    (intent, notices.into_iter().collect())
}

/// How Pods are recognised in a family (`detectLocalMode`).
///
/// `ClusterCIDR` and `NodeCIDR` use the first block of the family, and know nothing where there is
/// none. The interface modes hold for both families.
pub(crate) fn local_traffic(config: &Config, node: Option<&Node>, family: Family) -> LocalTraffic {
    let first = |blocks: &[Cidr]| {
        blocks
            .iter()
            .find(|block| Family::of_cidr(block) == family)
            .map_or(LocalTraffic::Unknown, |block| LocalTraffic::Source(*block))
    };
    match &config.detect_local {
        DetectLocal::ClusterCidr(blocks) => first(blocks),
        DetectLocal::NodeCidr => node.map_or(LocalTraffic::Unknown, |node| first(&node.pod_cidrs)),
        DetectLocal::BridgeInterface(name) => LocalTraffic::Interface(name.as_str().into()),
        DetectLocal::InterfaceNamePrefix(prefix) => {
            LocalTraffic::InterfacePrefix(prefix.as_str().into())
        }
        DetectLocal::Nothing => LocalTraffic::Unknown,
    }
}

/// The node's address of a family: the configured one, else the Node object's.
fn own_address(config: &Config, node: Option<&Node>, family: Family) -> Option<IpAddr> {
    let configured = config.own_address.filter(|&address| Family::of(address) == family);
    configured.or_else(|| node?.address(family))
}

/// The blocks of a family in which NodePorts answer; `None` means on every address of the node.
///
/// A family without a block of its own accepts all, even where the other family has blocks; a block
/// that holds the whole family makes the others meaningless. `Primary` stands for the node's own
/// address of the family (a loopback address is none).
fn node_port_blocks(config: &Config, node: Option<&Node>, family: Family) -> Option<Vec<Cidr>> {
    let blocks: Vec<Cidr> = match &config.node_port_addresses {
        NodePortAddresses::All => Vec::new(),
        NodePortAddresses::Primary => own_address(config, node, family)
            .filter(|address| !address.is_loopback())
            .map(Cidr::from)
            .into_iter()
            .collect(),
        NodePortAddresses::Cidrs(blocks) => {
            blocks.iter().filter(|block| Family::of_cidr(block) == family).copied().collect()
        }
    };
    (!blocks.is_empty() && blocks.iter().all(|block| block.prefix_len() > 0)).then_some(blocks)
}

/// Whether IPv4 NodePorts answer on loopback: asked for, and the accepted blocks hold loopback
/// addresses (the block begins at one, or holds 127.0.0.0). IPv6 NodePorts never do, for the kernel
/// has no `route_localnet` there.
pub(crate) fn localhost_node_ports(config: &Config, node: Option<&Node>) -> bool {
    let holds_loopback = |block: &Cidr| {
        block.network().is_loopback() || block.contains(&IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)))
    };
    config.localhost_node_ports
        && node_port_blocks(config, node, Family::V4)
            .is_none_or(|blocks| blocks.iter().any(holds_loopback))
}

/// Where NodePorts answer in a family.
///
/// Blocks are resolved to the addresses that the host carries in them. Loopback addresses are left
/// out with a [`Notice`] unless [`localhost_node_ports`] holds. `Primary` is the node's own
/// address itself, so that the answer for a node can be computed where its interfaces are not known.
fn node_port_accept(
    config: &Config,
    node: Option<&Node>,
    host: &Host,
    family: Family,
    notices: &mut BTreeSet<Notice>,
) -> NodePortAccept {
    let loopback = family == Family::V4 && localhost_node_ports(config, node);
    let Some(blocks) = node_port_blocks(config, node, family) else {
        return NodePortAccept::AnyLocal { loopback };
    };
    if config.node_port_addresses == NodePortAddresses::Primary {
        return NodePortAccept::Addresses(blocks.iter().map(Cidr::addr).collect());
    }
    let inside = |address: &IpAddr| blocks.iter().any(|block| block.contains(address));
    let own: BTreeSet<IpAddr> =
        host.addresses.iter().map(|own| own.address).filter(inside).collect();
    let (accepted, refused): (BTreeSet<_>, BTreeSet<_>) =
        own.into_iter().partition(|address| loopback || !address.is_loopback());
    notices.extend(refused.iter().map(|address| Notice {
        object: ObjectRef::new("Node", &config.node_name),
        reason: Reason::Disabled,
        message: format!(
            "nodePortAddresses holds the loopback address {address}, on which {family} NodePorts \
             do not answer; it is left out"
        ),
    }));
    NodePortAccept::Addresses(accepted)
}

/// All blocks of a family that cluster IPs are allocated from, whichever objects name them.
fn service_cidrs(cluster: &Cluster, family: Family) -> BTreeSet<Cidr> {
    let all = cluster.service_cidrs().flat_map(|object| &object.cidrs);
    all.filter(|block| Family::of_cidr(block) == family).copied().collect()
}
