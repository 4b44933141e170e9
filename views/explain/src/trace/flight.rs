//! A packet on its way, and whether a rule meets it.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use model::{Host, Protocol};
use render::iptables::ipset::{Content, IpSet, IpSets, Member};
use render::iptables::{CtStates, Inverted, Lookup, Match, Recent, Rule};

use crate::Packet;
use crate::policy::Traffic;

/// What rules have made of a packet so far. Its source is the packet's own all the way: only
/// POSTROUTING changes it, and nothing looks at it after.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Flight {
    pub(crate) destination: SocketAddr,
    pub(crate) mark: u32,
    pub(crate) translated: bool,
    pub(crate) masqueraded: bool,
}

/// Whether a rule meets a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meets {
    Yes,
    No,
    /// Chance decides.
    Perhaps,
}

impl From<bool> for Meets {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// What of a packet no rule changes before it leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lasting {
    pub(super) source: IpAddr,
    /// What it carries; the port is the one that it came with.
    pub(super) traffic: Traffic,
    /// Whether it belongs to a connection that is known, or is an error about one.
    pub(super) established: bool,
}

impl Lasting {
    pub(crate) fn of(packet: &Packet) -> Self {
        let Packet { protocol, port, source, .. } = *packet;
        Self { source, traffic: Traffic::Port { protocol, port }, established: false }
    }

    fn is(&self, wanted: Protocol) -> bool {
        matches!(self.traffic, Traffic::Port { protocol, .. } if protocol == wanted)
    }
}

/// What stays the same while a packet is in one hook.
pub(crate) struct Surroundings<'a> {
    pub(crate) packet: &'a Lasting,
    pub(crate) host: &'a Host,
    pub(crate) sets: &'a IpSets,
    /// The interface that the packet came in by, where the hook knows one.
    pub(crate) interface: Option<&'a str>,
}

impl Flight {
    pub(crate) fn new(packet: &Packet) -> Self {
        Self::to(SocketAddr::new(packet.destination, packet.port))
    }

    pub(crate) fn to(destination: SocketAddr) -> Self {
        Self { destination, mark: 0, translated: false, masqueraded: false }
    }

    /// Whether the packet is, by now, for the host itself.
    pub(crate) fn is_for(&self, host: &Host) -> bool {
        host.owns(self.destination.ip())
    }

    pub(crate) fn meets(&self, rule: &Rule, around: &Surroundings<'_>) -> Meets {
        let within = |condition: &Option<Inverted<IpNet>>, address| {
            condition.as_ref().is_none_or(|Inverted { inverted, value }| {
                value.contains::<&std::net::IpAddr>(&address) != *inverted
            })
        };
        let generic = within(&rule.source, around.packet.source)
            && within(&rule.destination, self.destination.ip())
            && rule.in_interface.as_ref().is_none_or(|Inverted { inverted, value }| {
                around.interface.is_some_and(|name| interface_is(value, name)) != *inverted
            })
            && rule.protocol.is_none_or(|protocol| around.packet.is(protocol));
        let mut meets = Meets::from(generic);
        for one in &rule.matches {
            meets = match (meets, self.meets_one(one, around)) {
                (Meets::No, _) | (_, Meets::No) => return Meets::No,
                (Meets::Perhaps, _) | (_, Meets::Perhaps) => Meets::Perhaps,
                (Meets::Yes, Meets::Yes) => Meets::Yes,
            };
        }
        meets
    }

    fn meets_one(&self, one: &Match, around: &Surroundings<'_>) -> Meets {
        let of = |protocol: Protocol| around.packet.is(protocol);
        match one {
            Match::Comment(_) | Match::Nfacct(_) => Meets::Yes,
            Match::DestinationPort(protocol, port) => {
                (of(*protocol) && self.destination.port() == *port).into()
            }
            Match::Bare(protocol) => of(*protocol).into(),
            Match::Mark { inverted, value, mask } => {
                ((self.mark & mask == *value) != *inverted).into()
            }
            Match::SourceLocal => around.host.owns(around.packet.source).into(),
            Match::DestinationLocal => around.host.owns(self.destination.ip()).into(),
            Match::CtState { inverted, states } => {
                (self.is_in(*states, around.packet.established) != *inverted).into()
            }
            // Nobody is remembered before a first packet.
            Match::Recent { action: Recent::Check { .. }, .. } => Meets::No,
            Match::Recent { action: Recent::Set, .. } => Meets::Yes,
            Match::Random(0) => Meets::No,
            Match::Random(units) if *units >= 1 << 31 => Meets::Yes,
            Match::Random(_) => Meets::Perhaps,
            Match::Set { inverted, set, lookup } => {
                let found =
                    around.sets.get(set).is_some_and(|set| self.is_member(set, *lookup, around));
                (found != *inverted).into()
            }
            // Nobody has marked the connection.
            Match::ConnMark { value, .. } => (*value == 0).into(),
            Match::DestinationPorts(ranges) => {
                let port = self.destination.port();
                let with_ports = matches!(around.packet.traffic, Traffic::Port { .. });
                let found = ranges.iter().any(|range| (range.first..=range.last).contains(&port));
                (with_ports && found).into()
            }
            Match::Icmpv6Type(wanted) => {
                let is_v6 = around.packet.source.is_ipv6();
                let kind = Traffic::Icmp { kind: *wanted };
                (is_v6 && around.packet.traffic == kind).into()
            }
            // Connections begin as they should.
            Match::NotSyn => around.packet.established.into(),
            Match::SourceIsDestination => (around.packet.source == self.destination.ip()).into(),
            Match::Limit { .. } => Meets::Perhaps,
        }
    }

    fn is_member(&self, set: &IpSet, lookup: Lookup, around: &Surroundings<'_>) -> bool {
        // No packet has put anybody in before.
        let Content::Exactly(members) = &set.content else { return false };
        let address = match lookup {
            Lookup::Source => around.packet.source,
            Lookup::Destination => self.destination.ip(),
            Lookup::DestinationPort => {
                let Traffic::Port { protocol, .. } = around.packet.traffic else { return false };
                let (address, port) = (self.destination.ip(), self.destination.port());
                return members.contains(&Member::Port(address, protocol, port));
            }
        };
        members.contains(&Member::Address(address))
            || members.iter().any(|member| match member {
                Member::Block(block) => block.contains(&address),
                Member::Address(_) | Member::Port(..) => false,
            })
    }

    /// The first packet of a connection is NEW, and DNAT once it is translated.
    fn is_in(&self, states: CtStates, established: bool) -> bool {
        if established {
            return states.established || states.related;
        }
        states.new || (states.dnat && self.translated)
    }
}

/// Whether an interface has a name, or starts with it where it ends in `+`.
fn interface_is(wanted: &str, name: &str) -> bool {
    wanted.strip_suffix('+').map_or(name == wanted, |prefix| name.starts_with(prefix))
}
