//! Where each entry of each EndpointSlice stands with one port of a Service, and why: the same
//! decisions as those of the plan, told entry by entry.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use model::{AddressType, Cluster, Endpoint, EndpointSlice, Family, NamespacedName, PortName};
use serde::Serialize;

use crate::addresses;
use crate::categorize::{self, Place};
use crate::config::Config;
use crate::endpoints;
use crate::node::node_facts;

/// Why an entry takes traffic, or does not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Standing {
    /// It takes traffic.
    Used,
    /// It takes traffic though it terminates, for none is ready (KEP-1669).
    TerminatingFallback,
    /// `conditions.ready` is false.
    NotReady,
    /// It terminates, and others are ready.
    Terminating,
    /// It terminates and `conditions.serving` is false.
    TerminatingNotServing,
    /// Zone hints are followed, and its own name other zones.
    OtherZone,
    /// Node hints are followed, and its own name other nodes.
    OtherNode,
    /// A traffic policy asks for endpoints of this node, and it runs elsewhere.
    NotLocal,
    /// An entry of this slice speaks for its address and port.
    DuplicateOf(NamespacedName),
    /// Its address is of another family than its slice, or its slice of another than the packet.
    WrongFamily,
    /// Its slice holds names instead of addresses.
    NotAnAddress,
    /// No endpoint may have its address, which is this.
    ForbiddenAddress(&'static str),
    /// Its slice has no port of the Service port's name and protocol.
    NoSuchPort,
    /// Its slice names the port without a number.
    NoPortNumber,
}

impl Standing {
    /// Whether the entry takes traffic.
    #[must_use]
    pub fn takes(&self) -> bool {
        matches!(self, Standing::Used | Standing::TerminatingFallback)
    }
}

impl From<Place> for Standing {
    fn from(place: Place) -> Self {
        match place {
            Place::Used => Standing::Used,
            Place::LastResort => Standing::TerminatingFallback,
            Place::NotReady => Standing::NotReady,
            Place::Terminating => Standing::Terminating,
            Place::NotServing => Standing::TerminatingNotServing,
            Place::OtherZone => Standing::OtherZone,
            Place::OtherNode => Standing::OtherNode,
            Place::NotLocal => Standing::NotLocal,
        }
    }
}

/// What becomes of topology hints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum HintsUse {
    /// No ready endpoint has one.
    Absent,
    /// Those for this node are followed.
    Node(Arc<str>),
    /// Those for this zone are followed.
    Zone(Arc<str>),
    /// All are ignored, for these ready endpoints have none.
    Incomplete(Vec<SocketAddr>),
    /// All are ignored, for the Node has no label `topology.kubernetes.io/zone`.
    NoZone,
    /// All are ignored, for none names this zone.
    NobodyFor(Arc<str>),
}

/// One entry of one slice, for one number of the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointStanding<'a> {
    /// The slice.
    pub slice: &'a EndpointSlice,
    /// The entry.
    pub endpoint: &'a Endpoint,
    /// Where it listens; `None` where its slice does not say.
    pub port: Option<u16>,
    /// Its standing with the endpoints of the cluster.
    pub cluster: Standing,
    /// Its standing with the endpoints of this node.
    pub local: Standing,
}

/// Every entry of every slice of a Service, as one of its ports sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standings<'a> {
    /// The entries, by slice and position.
    pub entries: Vec<EndpointStanding<'a>>,
    /// What becomes of the hints in the list of the cluster.
    pub hints: HintsUse,
}

/// Tells every entry's standing with a Service port in one family, on the node of `config`. Those
/// that take traffic are the pools of the Intent, wherever it asks for them.
#[must_use]
pub fn standings<'a>(
    cluster: &'a Cluster,
    config: &Config,
    port: &PortName,
    family: Family,
) -> Standings<'a> {
    let node = node_facts(cluster, config);
    let slices: Vec<&EndpointSlice> = cluster.slices(&port.service).map(AsRef::as_ref).collect();
    let candidates = endpoints::endpoints(&slices, &port.port, port.protocol, family);
    let places = categorize::cluster_places(&candidates, &node)
        .into_iter()
        .zip(categorize::local_places(&candidates, &node));
    let places = candidates.iter().map(|candidate| candidate.address).zip(places).collect();
    let speakers = endpoints::speakers(&slices, &port.port, port.protocol, family);
    let told = Told { port, family, places, speakers };
    Standings {
        entries: slices.iter().flat_map(|slice| told.slice(slice)).collect(),
        hints: categorize::hints(&candidates, &node),
    }
}

/// What is known of all entries.
struct Told<'p, 'a> {
    port: &'p PortName,
    family: Family,
    places: BTreeMap<SocketAddr, (Place, Place)>,
    speakers: BTreeMap<SocketAddr, (&'a EndpointSlice, usize)>,
}

impl Told<'_, '_> {
    fn slice<'a>(&self, slice: &'a EndpointSlice) -> Vec<EndpointStanding<'a>> {
        let numbers = endpoints::numbers(slice, &self.port.port, self.port.protocol);
        let numbers: Vec<Option<u16>> =
            if numbers.is_empty() { vec![None] } else { numbers.into_iter().map(Some).collect() };
        let mut entries = Vec::new();
        for port in numbers {
            for (position, endpoint) in slice.endpoints.iter().enumerate() {
                let (cluster, local) = self.entry(slice, position, endpoint.address, port);
                entries.push(EndpointStanding { slice, endpoint, port, cluster, local });
            }
        }
        entries
    }

    fn entry(
        &self,
        slice: &EndpointSlice,
        position: usize,
        address: IpAddr,
        port: Option<u16>,
    ) -> (Standing, Standing) {
        let out = |why: Standing| (why.clone(), why);
        if slice.address_type == AddressType::Fqdn {
            return out(Standing::NotAnAddress);
        }
        if slice.address_type != AddressType::Ip(self.family) || Family::of(address) != self.family
        {
            return out(Standing::WrongFamily);
        }
        if let Some(what) = addresses::forbidden(address) {
            return out(Standing::ForbiddenAddress(what));
        }
        let Some(port) = port else {
            let named = slice.ports.iter().any(|entry| {
                entry.name.as_ref() == Some(&self.port.port) && entry.protocol == self.port.protocol
            });
            return out(if named { Standing::NoPortNumber } else { Standing::NoSuchPort });
        };
        let at = SocketAddr::new(address, port);
        match (self.places.get(&at), self.speakers.get(&at)) {
            (Some(&(cluster, local)), Some(&(speaker, its)))
                if speaker.name == slice.name && its == position =>
            {
                (cluster.into(), local.into())
            }
            (_, Some((speaker, _))) => out(Standing::DuplicateOf(speaker.name.clone())),
            (_, None) => out(Standing::NoSuchPort),
        }
    }
}
