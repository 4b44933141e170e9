//! Which role an address plays in a cluster, and which address a lab gives to that role.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use super::bundle::{Bundle, items, text};
use super::names::Names;

impl Names {
    pub(super) fn number_nodes(
        &mut self,
        bundle: &Bundle,
        placed: &[(String, IpAddr)],
    ) -> BTreeMap<String, usize> {
        let of_objects = bundle.of_kind("Node").map(|node| text(node, "/metadata/name").to_owned());
        let of_states = bundle.nodes.iter().map(|node| node.name.clone());
        let mut all: Vec<String> = of_objects
            .chain(of_states)
            .chain(placed.iter().map(|(node, _)| node.clone()))
            .collect();
        // node-2 comes before node-10.
        all.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        all.dedup();
        let numbers: BTreeMap<String, usize> =
            all.into_iter().enumerate().map(|(index, name)| (name, index + 1)).collect();
        for (name, number) in &numbers {
            self.nodes.insert(name.clone(), format!("node-{number}"));
        }
        for node in bundle.of_kind("Node") {
            let Some(number) = numbers.get(text(node, "/metadata/name")) else { continue };
            for entry in items(node, "/status/addresses") {
                if entry["type"] == "InternalIP" {
                    self.is(
                        text(entry, "/address"),
                        [format!("10.9.0.{number}"), format!("fd09::{number}")],
                    );
                }
            }
            for block in items(node, "/spec/podCIDRs").iter().filter_map(Value::as_str) {
                let (v4, v6) = (format!("10.77.{number}.0/24"), format!("fd77:{number}::/64"));
                self.block_is(block, if block.contains(':') { &v6 } else { &v4 });
            }
        }
        numbers
    }

    pub(super) fn number_pods(
        &mut self,
        placed: &[(String, IpAddr)],
        numbers: &BTreeMap<String, usize>,
    ) {
        // A Pod has one number, and perhaps an address in each family: they are counted apart, for
        // the order of the Pods is the same.
        let mut counts: BTreeMap<(&str, bool), usize> = BTreeMap::new();
        for (node, address) in placed {
            let Some(node_number) = numbers.get(node) else { continue };
            if self.addresses.contains_key(address) {
                continue;
            }
            let count = counts.entry((node, address.is_ipv6())).or_insert(1);
            *count += 1;
            self.is(
                &address.to_string(),
                [format!("10.77.{node_number}.{count}"), format!("fd77:{node_number}::{count}")],
            );
        }
    }

    pub(super) fn number_services(&mut self, bundle: &Bundle) {
        let (mut count, mut outer) = (1, 0);
        for service in bundle.of_kind("Service") {
            let spec = &service["spec"];
            let api = text(service, "/metadata/name") == "kubernetes"
                && text(service, "/metadata/namespace") == "default";
            count += usize::from(!api);
            let number = if api { 1 } else { count };
            let own = spec["clusterIP"].as_str().into_iter();
            for ip in own.chain(items(spec, "/clusterIPs").iter().filter_map(Value::as_str)) {
                let v4 = format!("10.96.{}.{}", number / 250, number % 250 + usize::from(!api));
                self.is(ip, [v4, format!("fd96::{number}")]);
            }
            let balanced = items(service, "/status/loadBalancer/ingress").iter();
            let balanced = balanced.map(|ingress| text(ingress, "/ip"));
            let external = items(spec, "/externalIPs").iter().filter_map(Value::as_str);
            for ip in balanced.chain(external).chain([text(spec, "/loadBalancerIP")]) {
                outer += 1;
                self.is(
                    ip,
                    [
                        format!("203.0.{}.{}", 113 + outer / 250, outer % 250 + 1),
                        format!("2001:db8:1b::{outer}"),
                    ],
                );
            }
        }
    }

    /// Gives an address its role, unless it has one; one that does not exist in the lab's own form
    /// (the 256th node's) has none.
    fn is(&mut self, address: &str, [v4, v6]: [String; 2]) {
        let Ok(address) = address.parse::<IpAddr>() else { return };
        let new = if address.is_ipv4() { v4.parse() } else { v6.parse() };
        if let Ok(new) = new {
            self.addresses.entry(address).or_insert(new);
        }
    }

    pub(super) fn block_is(&mut self, block: &str, new: &str) {
        if let Ok(block) = block.parse() {
            self.blocks.entry(block).or_insert_with(|| new.to_owned());
        }
    }
}

/// The addresses of Pods and other endpoints with the Node that each is on, in the order of the
/// objects.
pub(super) fn placed(bundle: &Bundle) -> Vec<(String, IpAddr)> {
    let mut placed = Vec::new();
    let mut add = |node: &str, address: &str| {
        if let Ok(address) = address.parse()
            && !node.is_empty()
        {
            placed.push((node.to_owned(), address));
        }
    };
    for pod in bundle.of_kind("Pod").filter(|pod| pod["spec"]["hostNetwork"] != true) {
        let ips = items(pod, "/status/podIPs").iter();
        ips.for_each(|entry| add(text(pod, "/spec/nodeName"), text(entry, "/ip")));
    }
    for slice in bundle.of_kind("EndpointSlice") {
        for endpoint in items(slice, "/endpoints") {
            let addresses = items(endpoint, "/addresses").iter().filter_map(Value::as_str);
            addresses.for_each(|address| add(text(endpoint, "/nodeName"), address));
        }
    }
    placed
}
