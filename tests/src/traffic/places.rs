//! Where the addresses of a case are.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use explain::{Enters, Mode, Verdict};
use lab::{LabBuilder, Namespace};
use model::{Family, Protocol};
use plan::Intent;

use super::stage::Stage;
use crate::settings::{home_of, node_number, node_with};
use crate::{Case, Probe};

/// Where packets end that no rule takes: a place beyond the node that has every such address.
pub(super) const BEYOND: &str = "beta";

/// Where the addresses of a case are.
pub(super) struct Places<'a> {
    pub(super) node: &'a str,
    pub(super) case: &'a Case,
    pub(super) pods: BTreeSet<IpAddr>,
}

impl Places<'_> {
    /// Adds a Pod for an address in the block of a node, once.
    pub(super) fn pod(&mut self, builder: LabBuilder, address: IpAddr) -> LabBuilder {
        match home_of(address) {
            Some(node) if self.pods.insert(address) => {
                builder.pod(address.to_string(), node, [address])
            }
            _ => builder,
        }
    }

    /// The place that has an address.
    pub(super) fn of(&self, address: IpAddr) -> String {
        if self.case.host.addresses.contains(&address) || address.is_loopback() {
            self.node.into()
        } else if let Some(node) = node_with(address) {
            node.into()
        } else if self.pods.contains(&address) {
            address.to_string()
        } else {
            BEYOND.into()
        }
    }
}

/// A server for every endpoint, and one at the destination of every packet that must reach no
/// endpoint: if it is not refused there must be somebody who answers.
pub(super) fn wanted_servers(
    intents: &[Intent],
    probes: &[Probe],
    mode: Mode,
) -> BTreeSet<(Protocol, SocketAddr)> {
    let mut wanted = BTreeSet::new();
    for server in
        intents.iter().flat_map(|intent| intent.servers.values()).flat_map(|all| all.iter())
    {
        let backends = server.backends().into_iter();
        wanted.extend(backends.map(|backend| (server.protocol(), backend.address)));
    }
    let others = probes.iter().filter(|probe| !matches!(probe.expected(mode), Verdict::Deliver(_)));
    wanted.extend(others.map(|probe| (probe.packet.protocol, probe.to())));
    wanted
}

/// Sends what is for an address to the place beyond.
pub(super) fn route_beyond(node: &Namespace, address: IpAddr) {
    let family = Family::of(address);
    let gateway = lab::node_address(node_number(BEYOND), family).to_string();
    let own = lab::node_address(1, family).to_string();
    let destination = address.to_string();
    let link = format!("to-{BEYOND}");
    ip(
        node,
        family,
        &["route", "replace", &destination, "via", &gateway, "dev", &link, "src", &own],
    );
}

fn ip(place: &Namespace, family: Family, arguments: &[&str]) {
    let version = if family == Family::V4 { "-4" } else { "-6" };
    let output = place.command("ip").arg(version).args(arguments).output().expect("ip runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {version} {arguments:?}: {said}");
}

/// An address that the node has for one packet alone, where it sends under an address that is not
/// its own: a load balancer's that it would otherwise not carry.
pub(super) struct Borrowed<'a> {
    node: &'a Namespace,
    address: Option<IpAddr>,
}

impl<'a> Borrowed<'a> {
    pub(super) fn of(stage: &'a Stage, probe: &Probe) -> Self {
        let source = probe.packet.source;
        let node = stage.node();
        let foreign = probe.packet.enters == Enters::Output
            && node
                .run(intake::host::read_host)
                .expect("a namespace")
                .is_ok_and(|host| !host.owns(source));
        let borrowed = Self { node, address: foreign.then_some(source) };
        borrowed.change("add");
        borrowed
    }

    fn change(&self, how: &str) {
        if let Some(address) = self.address {
            ip(
                self.node,
                Family::of(address),
                &["address", how, &address.to_string(), "dev", "lo"],
            );
        }
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        self.change("del");
    }
}
