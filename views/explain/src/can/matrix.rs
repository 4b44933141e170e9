//! The truth table of a namespace.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use model::{Cluster, Family, NamespacedName, Pod, Protocol};
use plan::PolicyOptions;
use serde::Serialize;
use thiserror::Error;

use crate::policy::{Path, PolicyPacket, Traffic, Why, judge};

/// Who reaches what, as far as policies decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Matrix {
    /// The namespace whose Pods are reached.
    pub namespace: Arc<str>,
    /// What is reached: each port of each Pod.
    pub columns: Vec<Column>,
    /// Who asks.
    pub rows: Vec<Row>,
    /// Pods of the namespace that have no column, for they declare no port and none was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub portless: Vec<NamespacedName>,
}

/// A port of a Pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Column {
    /// The Pod.
    pub pod: NamespacedName,
    /// The protocol.
    pub protocol: Protocol,
    /// The number.
    pub port: u16,
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pod, protocol, port } = self;
        write!(f, "{}:{port}", pod.name)?;
        if *protocol == Protocol::Tcp { Ok(()) } else { write!(f, "/{}", protocol.lower()) }
    }
}

/// Who asks, and what is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// A Pod (`pod/NAMESPACE/NAME`) or an address.
    pub source: String,
    /// One answer for each column.
    pub cells: Vec<Cell>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// Whether the connection is allowed.
    pub decision: CellDecision,
    /// What decides: the first end that denies, else the destination's.
    pub why: Option<Why>,
}

/// Whether a connection of a table is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum CellDecision {
    /// It is, in every family that both ends have.
    Allowed,
    /// It is not, in one of the families at least.
    Denied,
    /// The Pod itself, which always may.
    Itself,
    /// The two ends have no family in common.
    NoFamily,
}

impl CellDecision {
    pub(super) fn word(self) -> &'static str {
        match self {
            CellDecision::Allowed => "yes",
            CellDecision::Denied => "NO",
            CellDecision::Itself => "itself",
            CellDecision::NoFamily => "-",
        }
    }
}

/// A table that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MatrixError {
    /// Nobody is there to be reached.
    #[error("namespace {0} has no Pod that policies see; Pods are known of: {1}")]
    NoPods(Arc<str>, String),
    /// A source is neither.
    #[error("--from {0} is neither an address nor a namespace with a Pod that policies see")]
    NoSource(Arc<str>),
}

/// Makes the table of a namespace: its Pods among each other, and from more sources (namespaces or
/// addresses). `ports` takes the place of the ports that the Pods declare. Connections are judged
/// between the Pods' own addresses, as they are behind any Service.
///
/// # Errors
/// [`MatrixError`] where there is nobody to reach or to ask.
pub fn matrix(
    cluster: &Cluster,
    options: &PolicyOptions,
    namespace: &Arc<str>,
    from: &[Arc<str>],
    ports: &[(Protocol, u16)],
) -> Result<Matrix, MatrixError> {
    let options = super::asked_of(options);
    let own = pods(cluster, namespace);
    if own.is_empty() {
        let of: BTreeSet<&str> = cluster.pods().keys().map(|name| &*name.namespace).collect();
        let known: Vec<&str> = of.into_iter().collect();
        let known = if known.is_empty() { "none".into() } else { known.join(", ") };
        return Err(MatrixError::NoPods(namespace.clone(), known));
    }
    let mut sources: Vec<Source> = own.iter().map(Source::of).collect();
    for word in from {
        match model::parse_ip(word) {
            Ok(address) => {
                sources.push(Source { name: word.to_string(), addresses: Arc::new([address]) });
            }
            Err(_) => {
                let others = pods(cluster, word);
                if others.is_empty() {
                    return Err(MatrixError::NoSource(word.clone()));
                }
                sources.extend(others.iter().map(Source::of));
            }
        }
    }
    let columns: Vec<(Column, Arc<Pod>)> =
        own.iter().flat_map(|pod| columns(cluster, pod, ports)).collect();
    let has_column = |pod: &&Arc<Pod>| columns.iter().any(|(column, _)| column.pod == pod.name);
    let portless = own.iter().filter(|pod| !has_column(pod)).map(|pod| pod.name.clone()).collect();
    let rows = sources.iter().map(|source| Row {
        source: source.name.clone(),
        cells: columns
            .iter()
            .map(|(column, pod)| cell(cluster, &options, source, column, pod))
            .collect(),
    });
    Ok(Matrix {
        namespace: namespace.clone(),
        rows: rows.collect(),
        portless,
        columns: columns.into_iter().map(|(column, _)| column).collect(),
    })
}

/// The Pods of a namespace that policies see.
fn pods(cluster: &Cluster, namespace: &Arc<str>) -> Vec<Arc<Pod>> {
    cluster.pods_of(namespace).filter(|pod| pod.counts()).cloned().collect()
}

struct Source {
    name: String,
    addresses: Arc<[IpAddr]>,
}

impl Source {
    fn of(pod: &Arc<Pod>) -> Self {
        Self { name: format!("pod/{}", pod.name), addresses: pod.ips.clone() }
    }
}

/// The ports of a Pod: those that are asked for, else those that it declares with a name, and those
/// at which EndpointSlices name it.
fn columns(
    cluster: &Cluster,
    pod: &Arc<Pod>,
    asked: &[(Protocol, u16)],
) -> Vec<(Column, Arc<Pod>)> {
    let mut ports: BTreeSet<(Protocol, u16)> = asked.iter().copied().collect();
    if asked.is_empty() {
        ports.extend(pod.ports.iter().map(|port| (port.protocol, port.port)));
        let services =
            cluster.services().keys().filter(|name| name.namespace == pod.name.namespace);
        for slice in services.flat_map(|name| cluster.slices(name)) {
            if slice.endpoints.iter().any(|endpoint| pod.ips.contains(&endpoint.address)) {
                let numbers = slice.ports.iter();
                ports.extend(numbers.filter_map(|port| Some((port.protocol, port.port?))));
            }
        }
    }
    let column = |(protocol, port)| {
        let pod_name = pod.name.clone();
        (Column { pod: pod_name, protocol, port }, pod.clone())
    };
    ports.into_iter().map(column).collect()
}

/// Whether an address is one of the node that a Pod runs on, which always may reach it.
fn of_its_node(cluster: &Cluster, pod: &Pod, address: IpAddr) -> bool {
    let node = pod.node.as_ref().and_then(|name| cluster.node(name));
    node.is_some_and(|node| {
        node.internal_ips.contains(&address) || node.external_ips.contains(&address)
    })
}

fn cell(
    cluster: &Cluster,
    options: &PolicyOptions,
    source: &Source,
    column: &Column,
    pod: &Pod,
) -> Cell {
    if source.addresses.iter().any(|address| pod.ips.contains(address)) {
        return Cell { decision: CellDecision::Itself, why: Some(Why::Itself) };
    }
    let mut found = Cell { decision: CellDecision::NoFamily, why: None };
    for (from, to) in Family::ALL.into_iter().filter_map(|family| {
        let of = |all: &[IpAddr]| all.iter().copied().find(|one| Family::of(*one) == family);
        Some((of(&source.addresses)?, of(&pod.ips)?))
    }) {
        let packet = PolicyPacket {
            source: from,
            destination: to,
            traffic: Traffic::Port { protocol: column.protocol, port: column.port },
            path: if of_its_node(cluster, pod, from) { Path::FromNode } else { Path::Forwarded },
            established: false,
        };
        let told = judge(cluster, options, None, &packet);
        let passes = told.passes();
        let why = if told.egress.why.passes() { told.ingress.why } else { told.egress.why };
        if !passes {
            return Cell { decision: CellDecision::Denied, why: Some(why) };
        }
        found = Cell { decision: CellDecision::Allowed, why: Some(why) };
    }
    found
}
