//! The lab around a node: who is where, and who serves what.

use std::collections::BTreeSet;

use explain::{Enters, Mode};
use lab::{Lab, LabError, Namespace, OUTSIDE, Server};
use model::{Family, Protocol};
use plan::Intent;

use super::places::{BEYOND, Places, route_beyond, wanted_servers};
use crate::settings::node_with;
use crate::{Case, Probe};

/// The lab of a case.
pub(super) struct Stage {
    pub(super) lab: Lab,
    /// The node whose rules are looked at.
    pub(super) node: String,
    /// In which mode.
    pub(super) mode: Mode,
    // Held, for a server ends with its value.
    _servers: Vec<Server>,
    /// Protocols that this kernel has no sockets of.
    pub(super) lacking: BTreeSet<Protocol>,
}

impl Stage {
    pub(super) fn build(
        case: &Case,
        intents: &[Intent],
        probes: &[Probe],
        mode: Mode,
    ) -> Result<Self, LabError> {
        let wanted = wanted_servers(intents, probes, mode);
        let mut places = Places { node: &case.node, case, pods: BTreeSet::new() };
        let mut builder = if case.node == "alpha" {
            Lab::star(["alpha", "beta", "gamma"])
        } else {
            Lab::full(["alpha", "beta", "gamma"]).gateway(&case.node)
        };
        if let Some(bridge) = case.config.bridge() {
            builder = builder.pod_bridge(bridge);
        }
        let addresses = wanted.iter().map(|(_, address)| address.ip());
        let sources = probes.iter().filter(|probe| probe.packet.enters != Enters::Output);
        let mut beyond = BTreeSet::new();
        for address in addresses.chain(sources.clone().map(|probe| probe.packet.source)) {
            builder = places.pod(builder, address);
        }
        for (_, address) in &wanted {
            if places.of(address.ip()) == BEYOND && node_with(address.ip()).is_none() {
                beyond.insert(address.ip());
            }
        }
        let others = sources.map(|probe| probe.packet.source).filter(|source| {
            places.of(*source) == BEYOND
                && node_with(*source).is_none()
                && *source != lab::outside_address(Family::of(*source))
        });
        for address in others.collect::<BTreeSet<_>>() {
            builder = builder.address(OUTSIDE, address);
            beyond.remove(&address);
        }
        for address in &beyond {
            builder = builder.address(BEYOND, *address);
        }
        for address in &case.host.addresses {
            builder = builder.address(&case.node, *address);
        }
        let lab = builder.build()?;
        for address in beyond.iter().filter(|_| case.node == "alpha") {
            route_beyond(lab.at(&case.node)?, *address);
        }
        let mut servers = Vec::new();
        let mut lacking = BTreeSet::new();
        for (protocol, address) in wanted {
            match lab.serve(&places.of(address.ip()), protocol, address) {
                Ok(server) => servers.push(server),
                Err(LabError::Unsupported(protocol)) => drop(lacking.insert(protocol)),
                Err(error) => return Err(error),
            }
        }
        Ok(Self { lab, node: case.node.clone(), mode, _servers: servers, lacking })
    }

    pub(super) fn node(&self) -> &Namespace {
        self.lab.at(&self.node).expect("the lab has the node")
    }

    /// Where a probe is sent from.
    pub(super) fn origin(&self, probe: &Probe) -> &Namespace {
        let source = probe.packet.source;
        if probe.packet.enters == Enters::Output {
            return self.node();
        }
        let name = source.to_string();
        let node = node_with(source);
        let place = self.lab.places().find(|place| *place == name).or(node).unwrap_or(OUTSIDE);
        self.lab.at(place).expect("the lab has the place")
    }
}
