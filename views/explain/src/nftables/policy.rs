//! A packet that policies judge, on its way through the rules.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use model::{Family, Host};
use render::nftables::{Hook, Ruleset};
use serde::Serialize;

use super::flight::Flight;
use super::walk::{Passage, Table, Walk};
use super::{Step, TraceError};
use crate::fate::Fates;
use crate::policy::{Path, PolicyPacket, Traffic};

/// What becomes of a packet that policies judge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyTrace {
    /// Whether it passes.
    pub passes: bool,
    /// Every rule that met it, in the order of the walk.
    pub steps: Vec<Step>,
}

/// Follows a packet, which has its final destination already, through the base chains of the one
/// hook where policies judge it: forward, input or output. The connection carries no mark; a TCP
/// packet that is none of an established connection asks for one.
///
/// # Errors
/// [`TraceError`] where the rules cannot be followed.
pub fn trace_policy(
    ruleset: &Ruleset,
    host: &Host,
    packet: &PolicyPacket,
) -> Result<PolicyTrace, TraceError> {
    let family = Family::of(packet.destination);
    let table = Table::of(ruleset, family);
    let mut walk = Walk {
        table: &table,
        affinity_size: ruleset.options.affinity_size,
        family,
        host,
        traffic: packet.traffic,
        established: packet.established,
        steps: Vec::new(),
        fates: Fates::default(),
    };
    let port = match packet.traffic {
        Traffic::Port { port, .. } => port,
        Traffic::Icmp { .. } | Traffic::Other { .. } => 0,
    };
    let flight = Flight {
        source: Some(packet.source),
        destination: SocketAddr::new(packet.destination, port),
        mark: 0,
        priority: 0,
        translated: false,
        masqueraded: false,
    };
    let hook = match packet.path {
        Path::FromNode => Hook::Output,
        Path::Forwarded => Hook::Forward,
        Path::ToNode => Hook::Input,
    };
    let passage = Passage { hook, interface: None, translates: false };
    let left = walk.hook(&passage, BTreeSet::from([flight]))?;
    Ok(PolicyTrace { passes: !left.is_empty(), steps: walk.steps })
}
