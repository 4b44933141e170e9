//! Sets and maps: the few that there are, and what an element of them is.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use model::{Cidr, Protocol};
use plan::PoolName;

use super::policy::PolicySet;
use super::{AddressRange, Field, PortRange, Verdict};

/// How a frontend is told from others: a NodePort has no address of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// By address, protocol and port.
    Address,
    /// By protocol and port of any address that NodePorts answer on.
    NodePort,
}

impl Place {
    /// The fields by which a packet names its frontend.
    #[must_use]
    pub fn key(self) -> Vec<Field> {
        match self {
            Place::Address => {
                vec![Field::DestinationAddress, Field::Protocol, Field::DestinationPort]
            }
            Place::NodePort => vec![Field::Protocol, Field::DestinationPort],
        }
    }
}

/// Whom a dispatch map is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Clients {
    /// Packets that are neither a Pod's nor the node's. Asked first; holds only the frontends that
    /// treat these otherwise.
    Outside,
    /// Everybody that was not sent on before.
    All,
}

/// A set or map. Their order is the order in which a large load fills them: what packets enter by
/// comes last, so nothing is reachable half built.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetName {
    /// Addresses that NodePorts answer on.
    NodeIps,
    /// Cluster IPs.
    ClusterIps,
    /// Blocks that cluster IPs come from.
    ServiceCidrs,
    /// Backends with themselves as client.
    Hairpin,
    /// Source blocks that may reach a guarded frontend.
    AllowedSources,
    /// Frontends that some sources alone may reach.
    Guarded,
    /// Frontend and random index to backend.
    Endpoints(Place, PoolName),
    /// Frontend and random index to endpoint id, for session affinity.
    StickySlots(Place, PoolName),
    /// Frontend and endpoint id to backend, for session affinity.
    StickyEndpoints(Place, PoolName),
    /// Client and frontend to endpoint id, filled by packets.
    Affinity,
    /// What policies need. The others are always there, these while something needs them.
    Policy(PolicySet),
    /// Frontend to verdict.
    Dispatch(Place, Clients),
}

/// What a set holds for each key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Nothing: it is a plain set.
    Nothing,
    /// A verdict.
    Verdict,
    /// Values of these fields.
    Data(Vec<Field>),
}

/// How a set or map is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// The fields of a key.
    pub key: Vec<Field>,
    /// What is held for a key.
    pub holds: Holds,
    /// `flags interval`: keys may be blocks.
    pub interval: bool,
    /// `counter`: every element counts the packets that met it.
    pub counter: bool,
    /// `flags dynamic,timeout` and the greatest number of elements: packets fill it.
    pub dynamic: Option<u32>,
}

impl SetName {
    /// Those that are always there, in order.
    #[must_use]
    pub fn all() -> Vec<SetName> {
        const PLACES: [Place; 2] = [Place::Address, Place::NodePort];
        const POOLS: [PoolName; 2] = [PoolName::Cluster, PoolName::Local];
        let pools = || PLACES.into_iter().flat_map(|place| POOLS.map(|pool| (place, pool)));
        let plain = [
            SetName::NodeIps,
            SetName::ClusterIps,
            SetName::ServiceCidrs,
            SetName::Hairpin,
            SetName::AllowedSources,
            SetName::Guarded,
        ];
        let mut all = plain.to_vec();
        all.extend(pools().map(|(place, pool)| SetName::Endpoints(place, pool)));
        all.extend(pools().map(|(place, pool)| SetName::StickySlots(place, pool)));
        all.extend(pools().map(|(place, pool)| SetName::StickyEndpoints(place, pool)));
        all.push(SetName::Affinity);
        for place in PLACES {
            all.extend([Clients::Outside, Clients::All].map(|who| SetName::Dispatch(place, who)));
        }
        all
    }

    /// Whether several owners may need the same element, which then is there once: every backend is
    /// its own client, and two Services may claim one cluster IP on different ports.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, SetName::Hairpin | SetName::ClusterIps)
    }

    /// The set of a name; `None` where no set of ours is called so.
    #[must_use]
    pub fn named(name: &str) -> Option<SetName> {
        let of_policies = PolicySet::named(name).map(SetName::Policy);
        of_policies.or_else(|| SetName::all().into_iter().find(|set| set.to_string() == name))
    }

    /// The declaration. `affinity_size` is how many clients may be remembered.
    #[must_use]
    pub fn declaration(&self, affinity_size: u32) -> Set {
        let backend = || Holds::Data(vec![Field::DestinationAddress, Field::DestinationPort]);
        let id = || Holds::Data(vec![Field::EndpointId]);
        // The modulus of a declaration says nothing: rules with any other one use the map as well.
        let index = Field::RandomIndex { modulus: 65_536 };
        let with = |place: &Place, field| [place.key(), vec![field]].concat();
        let (key, holds) = match self {
            SetName::Policy(set) => return set.declaration(),
            SetName::NodeIps | SetName::ClusterIps | SetName::ServiceCidrs => {
                (vec![Field::DestinationAddress], Holds::Nothing)
            }
            SetName::Hairpin => {
                (vec![Field::SourceAddress, Field::DestinationAddress], Holds::Nothing)
            }
            SetName::Guarded => (Place::Address.key(), Holds::Nothing),
            SetName::AllowedSources => (client_and_frontend(), Holds::Nothing),
            SetName::Endpoints(place, _) => (with(place, index), backend()),
            SetName::StickySlots(place, _) => (with(place, index), id()),
            SetName::StickyEndpoints(place, _) => (with(place, Field::EndpointId), backend()),
            SetName::Affinity => (client_and_frontend(), id()),
            SetName::Dispatch(place, _) => (place.key(), Holds::Verdict),
        };
        Set {
            key,
            holds,
            interval: matches!(self, SetName::AllowedSources | SetName::ServiceCidrs),
            counter: matches!(self, SetName::Dispatch(..)),
            dynamic: (*self == SetName::Affinity).then_some(affinity_size),
        }
    }
}

/// The source, and the address, protocol and port that it asked for.
pub(super) fn client_and_frontend() -> Vec<Field> {
    [vec![Field::SourceAddress], Place::Address.key()].concat()
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pooled = |place: &Place, pool: &PoolName| match (pool, place) {
            (PoolName::Cluster, Place::Address) => "",
            (PoolName::Cluster, Place::NodePort) => "node-port-",
            (PoolName::Local, Place::Address) => "local-",
            (PoolName::Local, Place::NodePort) => "local-node-port-",
        };
        match self {
            SetName::NodeIps => f.write_str("node-ips"),
            SetName::ClusterIps => f.write_str("cluster-ips"),
            SetName::ServiceCidrs => f.write_str("service-cidrs"),
            SetName::Hairpin => f.write_str("hairpin"),
            SetName::AllowedSources => f.write_str("allowed-sources"),
            SetName::Guarded => f.write_str("guarded"),
            SetName::Endpoints(place, pool) => write!(f, "{}endpoints", pooled(place, pool)),
            SetName::StickySlots(place, pool) => write!(f, "{}sticky-slots", pooled(place, pool)),
            SetName::StickyEndpoints(place, pool) => {
                write!(f, "{}sticky-endpoints", pooled(place, pool))
            }
            SetName::Affinity => f.write_str("affinity"),
            SetName::Policy(set) => write!(f, "{set}"),
            SetName::Dispatch(Place::Address, Clients::All) => f.write_str("service-ips"),
            SetName::Dispatch(Place::NodePort, Clients::All) => f.write_str("node-ports"),
            SetName::Dispatch(Place::Address, Clients::Outside) => {
                f.write_str("outside-service-ips")
            }
            SetName::Dispatch(Place::NodePort, Clients::Outside) => {
                f.write_str("outside-node-ports")
            }
        }
    }
}

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// An address.
    Address(IpAddr),
    /// A block of addresses, in sets with `flags interval`.
    Block(Cidr),
    /// Addresses that are no block, in sets with `flags interval`.
    Addresses(AddressRange),
    /// A transport protocol.
    Protocol(Protocol),
    /// A port.
    Port(u16),
    /// Several ports, in sets with `flags interval`.
    Ports(PortRange),
    /// A random index.
    Index(u32),
    /// An endpoint's id.
    EndpointId(u32),
}

impl Value {
    /// A range of addresses, as a block if it is one.
    #[must_use]
    pub fn of_addresses(range: AddressRange) -> Self {
        match range.blocks().as_slice() {
            [block] => Self::Block(*block),
            _ => Self::Addresses(range),
        }
    }

    /// A range of ports, as one port if it is one.
    #[must_use]
    pub fn of_ports(ports: PortRange) -> Self {
        if ports.first == ports.last { Self::Port(ports.first) } else { Self::Ports(ports) }
    }
}

/// What an element holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// For its key.
    pub data: Data,
    /// Whom it is for, at most [`Content::COMMENT`] bytes.
    pub comment: Option<Arc<str>>,
}

impl Content {
    /// The longest comment that nft loads, in bytes.
    pub const COMMENT: usize = 128;
}

/// What is held for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nothing.
    Nothing,
    /// A verdict.
    Verdict(Verdict),
    /// Values.
    Values(Vec<Value>),
}
