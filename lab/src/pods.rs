//! Pods come and go while a lab stands.

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::Family;

use crate::addresses::{OUTSIDE, host_prefix, node_address};
use crate::builder::{attach, new_place};
use crate::error::LabError;
use crate::network::{Lab, wait_for_links_of};
use crate::script::{Script, Scripts};

/// Where the Pods of a lab are plugged in.
#[derive(Debug, Default)]
pub(crate) struct Plugs {
    /// How many Pods there have been: the number of the next link.
    count: u64,
    /// By Pod.
    links: BTreeMap<String, Plug>,
    /// Nodes that have their bridge.
    bridged: Vec<String>,
}

/// A Pod's end on its node.
#[derive(Debug)]
struct Plug {
    node: String,
    link: String,
    addresses: Vec<IpAddr>,
}

impl Lab {
    /// Adds a Pod to a node of the standing lab; as [`LabBuilder::pod`](crate::LabBuilder::pod)
    /// before. Its links carry packets when this returns.
    ///
    /// # Errors
    /// [`LabError`]: the name is taken, the node is not there, or the system refuses. The lab is
    /// then as it was before.
    pub fn add_pod(
        &mut self,
        name: &str,
        node: &str,
        addresses: &[IpAddr],
    ) -> Result<(), LabError> {
        if name == OUTSIDE || self.places.contains_key(name) {
            let problem = "the lab has another place of this name";
            return Err(LabError::Description { name: name.to_owned(), problem });
        }
        self.node_number(node)?;
        self.places.insert(name.to_owned(), new_place(false)?);
        let added = self.connect(name, node, addresses);
        if added.is_err() {
            // The first error is the one to tell.
            let _ = self.unplug(name, &[]);
        }
        added
    }

    fn connect(&mut self, name: &str, node: &str, addresses: &[IpAddr]) -> Result<(), LabError> {
        let mut scripts = Scripts::default();
        self.plug_in_pod(name, node, addresses, &mut scripts)?;
        scripts.run(|_| false)?;
        // The node too: its bridge may be new.
        wait_for_links_of([(name, self.at(name)?), (node, self.at(node)?)].into_iter())
    }

    /// Takes a Pod out of the standing lab. Its link goes at once; the namespace goes when the last
    /// process and socket in it has.
    ///
    /// # Errors
    /// [`LabError::Description`] if the lab has no such Pod, and others if its link cannot be
    /// removed.
    pub fn remove_pod(&mut self, name: &str) -> Result<(), LabError> {
        let addresses = self.plugs.links.get(name).map(|plug| plug.addresses.clone());
        self.unplug(name, &addresses.unwrap_or_default())
    }

    /// A link takes its routes along, but where Pods share a bridge the routes are the bridge's.
    fn unplug(&mut self, name: &str, routed: &[IpAddr]) -> Result<(), LabError> {
        let unknown = || LabError::Description {
            name: name.to_owned(),
            problem: "the lab has no Pod of this name",
        };
        let Plug { node, link, .. } = self.plugs.links.remove(name).ok_or_else(unknown)?;
        self.places.remove(name);
        let mut script = Script::default();
        script.remove(&link);
        if let Some(bridge) = &self.bridge {
            routed.iter().for_each(|address| script.off_link(*address, bridge));
        }
        script.start(&node, self.at(&node)?)?.finish()
    }

    /// Says how a Pod's two ends are set up.
    pub(crate) fn plug_in_pod(
        &mut self,
        name: &str,
        node: &str,
        addresses: &[IpAddr],
        scripts: &mut Scripts,
    ) -> Result<(), LabError> {
        let number = self.node_number(node)?;
        self.plugs.count += 1;
        let link = format!("veth{}", self.plugs.count);
        let plug =
            Plug { node: node.to_owned(), link: link.clone(), addresses: addresses.to_vec() };
        self.plugs.links.insert(name.to_owned(), plug);
        let script = scripts.at(node, self.at(node)?)?;
        script.veth(&link, "eth0", self.at(name)?);
        script.up(&link);
        let carrier = self.bridge.as_deref().unwrap_or(&link);
        let first_on_carrier =
            self.bridge.is_none() || !self.plugs.bridged.iter().any(|bridged| bridged == node);
        if first_on_carrier {
            if self.bridge.is_some() {
                self.plugs.bridged.push(node.to_owned());
                script.bridge(carrier);
            }
            for family in Family::ALL {
                script.address(carrier, node_address(number, family), host_prefix(family));
            }
        }
        if self.bridge.is_some() {
            script.port(&link, carrier);
        }
        for address in addresses {
            let own = node_address(number, Family::of(*address));
            script.on_link(model::Cidr::from(*address), carrier, own);
        }
        let script = scripts.at(name, self.at(name)?)?;
        script.up("eth0");
        let mut routed: Vec<Family> = Vec::new();
        for address in addresses {
            let family = Family::of(*address);
            if routed.contains(&family) {
                script.address("eth0", *address, host_prefix(family));
            } else {
                attach(script, *address, node_address(number, family));
                routed.push(family);
            }
        }
        Ok(())
    }
}
