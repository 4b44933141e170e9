//! `config` and `host` of a case, in kube-proxy's words.

use std::net::IpAddr;

use model::{Family, Host, HostAddress, parse_cidr};
use plan::{Config, DetectLocal, NodePortAddresses, OnNoLocalEndpoints};
use serde::Deserialize;

/// What the operator configured; the fields are those of kube-proxy's configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    #[serde(rename = "clusterCIDR")]
    cluster_cidr: Option<String>,
    detect_local_mode: Option<String>,
    #[serde(default)]
    detect_local: DetectLocalSettings,
    node_port_addresses: Option<Vec<String>>,
    masquerade_all: Option<bool>,
    localhost_node_ports: Option<bool>,
    #[serde(rename = "allowServiceExternalIPs")]
    allow_service_external_ips: Option<bool>,
    /// Not kube-proxy's: what `internalTrafficPolicy: Local` does without local endpoints.
    on_no_local_endpoints: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DetectLocalSettings {
    bridge_interface: Option<String>,
    interface_name_prefix: Option<String>,
}

impl Settings {
    /// The configuration for a node. Unless said, Pods are told by the blocks of the fixture.
    ///
    /// # Panics
    /// If a value is none that kube-proxy takes.
    #[must_use]
    pub fn config(&self, node: &str) -> Config {
        let default = Config::new(node);
        let no_local = match self.on_no_local_endpoints.as_deref() {
            None => default.on_no_local_endpoints,
            Some("drop") => OnNoLocalEndpoints::Drop,
            Some("reject") => OnNoLocalEndpoints::Reject,
            Some(other) => panic!("onNoLocalEndpoints: {other}"),
        };
        Config {
            detect_local: self.detect_local(),
            masquerade_all: self.masquerade_all.unwrap_or(default.masquerade_all),
            node_port_addresses: self.node_ports(),
            localhost_node_ports: self.localhost_node_ports.unwrap_or(default.localhost_node_ports),
            allow_external_ips: self
                .allow_service_external_ips
                .unwrap_or(default.allow_external_ips),
            on_no_local_endpoints: no_local,
            ..default
        }
    }

    /// The bridge that Pods are plugged into, where they are told by it.
    #[must_use]
    pub fn bridge(&self) -> Option<&str> {
        self.detect_local.bridge_interface.as_deref()
    }

    fn detect_local(&self) -> DetectLocal {
        let named = |value: &Option<String>| value.clone().expect("detectLocal has its value");
        match self.detect_local_mode.as_deref() {
            None | Some("ClusterCIDR") => {
                let text = self.cluster_cidr.as_deref().unwrap_or("10.77.0.0/16,fd77::/16");
                let blocks = text.split(',').filter(|block| !block.is_empty());
                DetectLocal::ClusterCidr(
                    blocks.map(|block| parse_cidr(block).expect("clusterCIDR")).collect(),
                )
            }
            Some("NodeCIDR") => DetectLocal::NodeCidr,
            Some("BridgeInterface") => {
                DetectLocal::BridgeInterface(named(&self.detect_local.bridge_interface))
            }
            Some("InterfaceNamePrefix") => {
                DetectLocal::InterfaceNamePrefix(named(&self.detect_local.interface_name_prefix))
            }
            Some(other) => panic!("detectLocalMode: {other}"),
        }
    }

    fn node_ports(&self) -> NodePortAddresses {
        let listed = self.node_port_addresses.as_deref().unwrap_or_default();
        match listed {
            [] => NodePortAddresses::All,
            [one] if one == "primary" => NodePortAddresses::Primary,
            blocks => NodePortAddresses::Cidrs(
                blocks.iter().map(|block| parse_cidr(block).expect("nodePortAddresses")).collect(),
            ),
        }
    }
}

/// What is special about the machine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostSettings {
    /// More addresses of the node, beside its own and loopback.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// `net.netfilter.nf_conntrack_tcp_be_liberal`.
    #[serde(default)]
    pub conntrack_be_liberal: bool,
}

impl HostSettings {
    /// The machine of a node of the fixture: its addresses are on the links to the others, as in
    /// the lab, and the further ones on loopback.
    #[must_use]
    pub fn host(&self, node: &str) -> Host {
        let number = node_number(node);
        let on =
            |interface: &str, address: IpAddr| HostAddress { address, interface: interface.into() };
        let own = Family::ALL.map(|family| lab::node_address(number, family));
        let links = own.into_iter().map(|address| on("to-outside", address));
        let loopback = Family::ALL.map(|family| on("lo", family.loopback()));
        let further = self.addresses.iter().map(|&address| on("lo", address));
        Host {
            addresses: links.chain(loopback).chain(further).collect(),
            conntrack_be_liberal: self.conntrack_be_liberal,
        }
    }
}

/// The number of a node of the fixture, from which its addresses follow.
pub(crate) fn node_number(node: &str) -> u8 {
    match node {
        "alpha" => 1,
        "beta" => 2,
        "gamma" => 3,
        other => panic!("the fixture has no node {other}"),
    }
}

/// The nodes of the fixture.
const NODES: [&str; 3] = ["alpha", "beta", "gamma"];

/// The node that has an address itself.
pub(crate) fn node_with(address: IpAddr) -> Option<&'static str> {
    let family = Family::of(address);
    NODES.into_iter().find(|node| lab::node_address(node_number(node), family) == address)
}

/// The node whose Pods an address belongs to.
pub(crate) fn home_of(address: IpAddr) -> Option<&'static str> {
    let family = Family::of(address);
    NODES.into_iter().find(|node| lab::pod_cidr(node_number(node), family).contains(&address))
}
