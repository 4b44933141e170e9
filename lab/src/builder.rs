//! The description of a lab, and how it becomes one.
//!
//! A node carries its own address on every link, so whatever it masquerades bears that address.

use std::net::IpAddr;

use model::{Cidr, Family};

use crate::addresses::{OUTSIDE, host_prefix, node_address, outside_address, pod_cidr};
use crate::error::LabError;
use crate::namespace::{Namespace, write_sysctl};
use crate::network::{Lab, WIRE};
use crate::script::{Script, Scripts};

/// Who routes between the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The first node: every other node and the outside host hang off it.
    Star,
    /// Nobody: all nodes and the outside host share one Ethernet segment.
    Full,
}

/// A Pod that a lab shall have.
#[derive(Clone, Debug)]
struct PodSpec {
    name: String,
    node: String,
    addresses: Vec<IpAddr>,
}

/// The description of a lab. Nothing exists before [`LabBuilder::build`].
#[derive(Clone, Debug)]
pub struct LabBuilder {
    shape: Shape,
    nodes: Vec<String>,
    pods: Vec<PodSpec>,
    extra: Vec<(String, IpAddr)>,
    bridge: Option<String>,
    gateway: Option<String>,
}

impl LabBuilder {
    pub(crate) fn new(shape: Shape, nodes: Vec<String>) -> Self {
        Self { shape, nodes, pods: Vec::new(), extra: Vec::new(), bridge: None, gateway: None }
    }

    /// Adds a Pod with one or more addresses to a node. In the node's namespace its link is named
    /// `veth` and a number, in the Pod's `eth0`.
    #[must_use]
    pub fn pod(
        mut self,
        name: impl Into<String>,
        node: impl Into<String>,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        self.pods.push(PodSpec {
            name: name.into(),
            node: node.into(),
            addresses: addresses.into_iter().collect(),
        });
        self
    }

    /// Gives a node or the outside host one more address. It sits on the loopback interface, so
    /// that the place speaks from its ordinary address unless a client binds this one.
    #[must_use]
    pub fn address(mut self, place: impl Into<String>, address: IpAddr) -> Self {
        self.extra.push((place.into(), address));
        self
    }

    /// Makes every Pod's link a port of a bridge of this name on its node, as the bridge CNI plugin
    /// does. Without this each Pod has a routed link of its own.
    #[must_use]
    pub fn pod_bridge(mut self, name: impl Into<String>) -> Self {
        self.bridge = Some(name.into());
        self
    }

    /// In a full lab, the node by which the outside host reaches everything that is not a node's
    /// own address: cluster IPs, load-balancer addresses, Pods. The first node unless said.
    #[must_use]
    pub fn gateway(mut self, node: impl Into<String>) -> Self {
        self.gateway = Some(node.into());
        self
    }

    /// Makes the namespaces and wires them up.
    ///
    /// # Errors
    /// [`LabError`]: a contradictory description, a missing right or a missing `ip` program.
    pub fn build(self) -> Result<Lab, LabError> {
        let mut lab = Lab { bridge: self.bridge.clone(), ..Lab::default() };
        self.make_places(&mut lab)?;
        let mut scripts = match self.shape {
            Shape::Star => self.star(&lab)?,
            Shape::Full => self.full(&mut lab)?,
        };
        for pod in &self.pods {
            lab.plug_in_pod(&pod.name, &pod.node, &pod.addresses, &mut scripts)?;
        }
        for (name, address) in &self.extra {
            let prefix = if address.is_ipv4() { 32 } else { 128 };
            scripts.at(name, lab.at(name)?)?.address("lo", *address, prefix);
        }
        scripts.run(|place| place == OUTSIDE || lab.numbers.contains_key(place))?;
        lab.wait_for_links()?;
        Ok(lab)
    }

    fn make_places(&self, lab: &mut Lab) -> Result<(), LabError> {
        let wrong =
            |name: &str, problem| Err(LabError::Description { name: name.to_owned(), problem });
        for (index, node) in self.nodes.iter().enumerate() {
            let Ok(number) = u8::try_from(index + 1) else {
                return wrong(node, "a lab has at most 255 nodes");
            };
            lab.numbers.insert(node.clone(), number);
        }
        let pods = self.pods.iter().map(|pod| (&pod.name, false));
        for (name, routes) in self.nodes.iter().map(|node| (node, true)).chain(pods) {
            if name == OUTSIDE || lab.places.contains_key(name) {
                return wrong(name, "the lab has another place of this name");
            }
            lab.places.insert(name.clone(), new_place(routes)?);
        }
        lab.places.insert(OUTSIDE.into(), new_place(false)?);
        if self.nodes.is_empty() {
            return wrong("", "a lab needs a node");
        }
        for pod in &self.pods {
            if !lab.numbers.contains_key(&pod.node) {
                return wrong(&pod.node, "a Pod names this node, but the lab does not have it");
            }
        }
        for (place, _) in &self.extra {
            if place != OUTSIDE && !lab.numbers.contains_key(place) {
                return wrong(place, "only a node and the outside host can have extra addresses");
            }
        }
        Ok(())
    }

    /// The first node's links to all others, which have no other way.
    fn star(&self, lab: &Lab) -> Result<Scripts, LabError> {
        let mut scripts = Scripts::default();
        let others = lab.numbers.iter().filter(|(_, number)| **number != 1);
        let mut spokes: Vec<(&str, Option<u8>)> =
            others.map(|(name, number)| (name.as_str(), Some(*number))).collect();
        spokes.sort_by_key(|(_, number)| *number);
        spokes.push((OUTSIDE, None));
        for (name, number) in spokes {
            let spoke = lab.at(name)?;
            let link = link_name("to-", name, number);
            let hub = scripts.at(&self.nodes[0], lab.at(&self.nodes[0])?)?;
            hub.veth(&link, "eth0", spoke);
            hub.up(&link);
            for family in Family::ALL {
                let own = node_address(1, family);
                let other = number.map_or(outside_address(family), |n| node_address(n, family));
                hub.address(&link, own, host_prefix(family));
                hub.on_link(Cidr::from(other), &link, own);
                let beyond = number.map_or(family.any(), |number| pod_cidr(number, family));
                hub.via(beyond, other, &link, own);
            }
            let script = scripts.at(name, spoke)?;
            script.up("eth0");
            for family in Family::ALL {
                let own = number.map_or(outside_address(family), |n| node_address(n, family));
                attach(script, own, node_address(1, family));
            }
        }
        Ok(scripts)
    }

    /// One bridge that all nodes and the outside host are plugged into.
    fn full(&self, lab: &mut Lab) -> Result<Scripts, LabError> {
        let mut scripts = Scripts::default();
        let wire = new_place(false)?;
        lab.wire = Some(wire.clone());
        let gateway = self.gateway.as_ref().unwrap_or(&self.nodes[0]);
        let gateway = lab.node_number(gateway)?;
        let places = self.nodes.iter().map(String::as_str).chain([OUTSIDE]);
        let script = scripts.at(WIRE, &wire)?;
        script.bridge("wire");
        for name in places.clone() {
            let link = link_name("", name, lab.numbers.get(name).copied());
            script.veth(&link, "eth0", lab.at(name)?);
            script.port(&link, "wire");
            script.up(&link);
        }
        for name in places {
            let number = lab.numbers.get(name).copied();
            let script = scripts.at(name, lab.at(name)?)?;
            script.up("eth0");
            for family in Family::ALL {
                self.plug_in(script, number, gateway, family);
            }
        }
        Ok(scripts)
    }

    /// A node's (or, without a number, the outside host's) addresses and routes on the wire.
    fn plug_in(&self, script: &mut Script, number: Option<u8>, gateway: u8, family: Family) {
        let outside = outside_address(family);
        let own = number.map_or(outside, |number| node_address(number, family));
        script.address("eth0", own, host_prefix(family));
        let peers = (1..=u8::MAX).take(self.nodes.len()).filter(|peer| Some(*peer) != number);
        for peer in peers {
            let address = node_address(peer, family);
            script.on_link(Cidr::from(address), "eth0", own);
            if number.is_some() {
                script.via(pod_cidr(peer, family), address, "eth0", own);
            }
        }
        match number {
            Some(_) => {
                script.on_link(Cidr::from(outside), "eth0", own);
                script.via(family.any(), outside, "eth0", own);
            }
            None => script.via(family.any(), node_address(gateway, family), "eth0", own),
        }
    }
}

/// An address on eth0 and a default route by a neighbour there.
pub(crate) fn attach(script: &mut Script, own: IpAddr, gateway: IpAddr) {
    let family = Family::of(own);
    script.address("eth0", own, host_prefix(family));
    script.on_link(Cidr::from(gateway), "eth0", own);
    script.via(family.any(), gateway, "eth0", own);
}

/// An interface name from a place's name, or from its number if the kernel's 15 bytes are too few.
fn link_name(prefix: &str, place: &str, number: Option<u8>) -> String {
    let name = format!("{prefix}{place}");
    if name.len() <= 15 { name } else { format!("{prefix}node{}", number.unwrap_or_default()) }
}

/// A namespace with the settings of a host: no filter by return path (answers may come by another
/// way than the kernel would send), no waiting for IPv6 duplicate detection, and no rate
/// limit for any type of ICMP message, which would turn a later rejection into silence.
pub(crate) fn new_place(routes: bool) -> Result<Namespace, LabError> {
    let namespace = Namespace::new()?;
    let always = [
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        ("net/ipv4/conf/all/send_redirects", "0"),
        ("net/ipv4/conf/default/send_redirects", "0"),
        ("net/ipv4/icmp_ratemask", "0"),
        ("net/ipv6/icmp/ratemask", "\n"),
        ("net/ipv6/conf/all/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_ra", "0"),
    ];
    let forwarding = [("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")];
    namespace.run(|| {
        for (name, value) in always.iter().chain(forwarding.iter().filter(|_| routes)) {
            write_sysctl(name, value)?;
        }
        Ok(())
    })??;
    Ok(namespace)
}
