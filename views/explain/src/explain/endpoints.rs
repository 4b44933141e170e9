//! Every endpoint of a Service port, with its share or the reason why it has none.

use std::net::IpAddr;
use std::sync::Arc;

use model::{Cluster, NamespacedName};
use plan::{
    EndpointStanding, Frontend, HintsUse, PoolName, Refusal, Route, SourceClass, Standing,
    VirtualServer,
};
use serde::Serialize;

use super::World;

/// Every entry of every EndpointSlice of a Service, as one port sees them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointTable {
    /// Which of the two lists counts for this client.
    pub list: PoolName,
    /// What becomes of topology hints in the list of the cluster.
    pub hints: HintsUse,
    /// `spec.sessionAffinity: ClientIP`: a client stays with its endpoint for so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity_seconds: Option<u32>,
    /// The entries.
    pub rows: Vec<EndpointRow>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointRow {
    /// The address.
    pub address: IpAddr,
    /// Where it listens; `None` where its slice does not say.
    pub port: Option<u16>,
    /// The Pod, where the slice names it.
    pub pod: Option<Arc<str>>,
    /// The node, where the slice names it.
    pub node: Option<Arc<str>>,
    /// The zone, where the slice names it.
    pub zone: Option<Arc<str>>,
    /// The slice.
    pub slice: NamespacedName,
    /// Why it takes traffic, or not.
    pub standing: Standing,
    /// Its share of connections like this one, in percent; 0 where the packet is not delivered.
    /// Affinity pins a client to one.
    pub percent: f64,
}

/// Why an endpoint gets no traffic.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WhyNot {
    /// The Pod that was asked for.
    pub pod: NamespacedName,
    /// The answer.
    pub answer: String,
}

/// The list that a client's route leads to, or would.
fn list(server: &VirtualServer, frontend: &Frontend, class: SourceClass) -> PoolName {
    match frontend.routes[class] {
        Route::Deliver { pool, .. } => pool,
        Route::Refuse { why: Refusal::NoLocalEndpoints, .. } => PoolName::Local,
        Route::Refuse { .. } if server.cluster.is_empty() && !server.local.is_empty() => {
            PoolName::Local
        }
        Route::Refuse { .. } => PoolName::Cluster,
    }
}

pub(super) fn table(
    world: &World<'_>,
    (server, frontend): (&VirtualServer, &Frontend),
    class: SourceClass,
    delivers: bool,
) -> EndpointTable {
    let told = plan::standings(world.cluster, world.config, &server.name, server.family);
    let list = list(server, frontend, class);
    let standing = |entry: &EndpointStanding<'_>| match list {
        PoolName::Cluster => entry.cluster.clone(),
        PoolName::Local => entry.local.clone(),
    };
    let used = told.entries.iter().filter(|entry| standing(entry).takes()).count();
    let rows = told.entries.iter().map(|entry| {
        let standing = standing(entry);
        EndpointRow {
            address: entry.endpoint.address,
            port: entry.port,
            pod: entry.endpoint.target_pod.clone(),
            node: entry.endpoint.node.clone(),
            zone: entry.endpoint.zone.clone(),
            slice: entry.slice.name.clone(),
            percent: if delivers && standing.takes() { share(used) } else { 0.0 },
            standing,
        }
    });
    EndpointTable {
        list,
        rows: rows.collect(),
        hints: told.hints,
        affinity_seconds: server.affinity_seconds,
    }
}

/// Each of so many equal shares, in percent to two places.
fn share(of: usize) -> f64 {
    let of = u32::try_from(of).unwrap_or(u32::MAX).max(1);
    (10_000.0 / f64::from(of)).round() / 100.0
}

/// Why an entry takes no traffic, in words; `None` where it does.
pub(super) fn words(row: &EndpointRow, hints: &HintsUse) -> Option<String> {
    let node = row.node.as_deref().unwrap_or("no node");
    Some(match &row.standing {
        Standing::Used | Standing::TerminatingFallback => return None,
        Standing::NotReady => "not ready (conditions.ready: false)".into(),
        Standing::Terminating => "terminating, and others are ready".into(),
        Standing::TerminatingNotServing => "terminating and not serving".into(),
        Standing::OtherZone => match hints {
            HintsUse::Zone(zone) => format!("hints.forZones does not name this zone ({zone})"),
            _ => "hints.forZones names another zone".into(),
        },
        Standing::OtherNode => "hints.forNodes names another node".into(),
        Standing::NotLocal => format!("not on this node ({node}), and the policy is Local"),
        Standing::DuplicateOf(slice) if slice.name == row.slice.name => {
            "duplicate of another entry of the slice".into()
        }
        Standing::DuplicateOf(slice) => format!("duplicate: slice {} speaks for it", slice.name),
        Standing::WrongFamily => "of another family".into(),
        Standing::NotAnAddress => "a name, not an address (addressType: FQDN)".into(),
        Standing::ForbiddenAddress(what) => format!("{what}, which no endpoint may have"),
        Standing::NoSuchPort => "its slice has no port of this name and protocol".into(),
        Standing::NoPortNumber => "its slice names the port without a number".into(),
    })
}

/// What becomes of the hints, in words; `None` where there are none.
pub(super) fn hints(hints: &HintsUse) -> Option<String> {
    Some(match hints {
        HintsUse::Absent => return None,
        HintsUse::Node(node) => format!("followed: endpoints for node {node}"),
        HintsUse::Zone(zone) => format!("followed: endpoints for zone {zone}"),
        HintsUse::Incomplete(lacking) => {
            let first = lacking.first().map(ToString::to_string).unwrap_or_default();
            let more = lacking.len().saturating_sub(1);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("ignored: ready endpoint {first}{more} has none of the kind")
        }
        HintsUse::NoZone => "ignored: this Node has no label topology.kubernetes.io/zone".into(),
        HintsUse::NobodyFor(zone) => format!("ignored: no ready endpoint is for zone {zone}"),
    })
}

/// Why a Pod gets no traffic by the packet that was asked about.
pub(super) fn why_not(
    cluster: &Cluster,
    name: &NamespacedName,
    table: Option<&EndpointTable>,
) -> WhyNot {
    let pod = cluster.pods().get(name);
    let is = |row: &&EndpointRow| {
        let named = row.slice.namespace == name.namespace && row.pod.as_ref() == Some(&name.name);
        named || pod.is_some_and(|pod| pod.counts() && pod.ips.contains(&row.address))
    };
    let rows: Vec<(&EndpointRow, &HintsUse)> = table
        .into_iter()
        .flat_map(|table| table.rows.iter().filter(is).map(|row| (row, &table.hints)))
        .collect();
    let answer = match (rows.as_slice(), table, pod) {
        ([], None, _) => "the packet meets no Service".into(),
        ([], Some(_), None) => "no such Pod is known, and no EndpointSlice names it".into(),
        ([], Some(_), Some(_)) => {
            "no EndpointSlice of the Service names it: spec.selector does not match its labels, or \
             it has no address"
                .into()
        }
        (rows, ..) => {
            let used = rows.iter().find(|(row, _)| row.standing.takes());
            match used {
                Some((row, _)) if row.percent > 0.0 => {
                    format!("it is used, with {}% of new connections", row.percent)
                }
                Some(_) => "it is usable, but the packet does not get that far".into(),
                None => {
                    let reasons = rows.iter().filter_map(|(row, hints)| {
                        Some(format!("{}: {}", row.address, words(row, hints)?))
                    });
                    reasons.collect::<Vec<_>>().join("; ")
                }
            }
        }
    };
    WhyNot { pod: name.clone(), answer }
}
