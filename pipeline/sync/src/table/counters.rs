//! The frontends' counters.

use std::net::IpAddr;
use std::sync::Arc;

use model::{Family, Protocol};
use render::nftables::{Clients, Place, SetName};

use super::decode::ip;
use super::difference::{Difference, SetDifference};
use super::layout::address_length;
use super::read;
use super::rows::comment;
use super::wanted::Wanted;
use crate::Error;
use crate::netlink::Socket;

/// How often a frontend was asked for. Chains of type nat see the first packet of each connection
/// alone, so packets are connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrontendCounter {
    /// The Service, as the element's comment has it.
    pub service: Option<Arc<str>>,
    /// The address; `None` for NodePorts.
    pub address: Option<IpAddr>,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// Whose connections were counted: a frontend that treats outsiders otherwise has two counters.
    pub clients: Clients,
    /// Connections.
    pub packets: u64,
    /// Bytes of their first packets.
    pub bytes: u64,
}

pub(super) fn counters(socket: &mut Socket, family: Family) -> Result<Vec<FrontendCounter>, Error> {
    let mut counters = Vec::new();
    if read::table(socket, family)?.is_none() {
        return Ok(counters);
    }
    for place in [Place::Address, Place::NodePort] {
        for clients in [Clients::Outside, Clients::All] {
            let name = SetName::Dispatch(place, clients);
            read::elements(socket, family, &name, &mut |key, element| {
                let Some((packets, bytes)) = element.counted else { return };
                let Some((address, protocol, port)) = frontend(family, place, key) else { return };
                let service = comment(element.userdata).map(Arc::from);
                counters.push(FrontendCounter {
                    service,
                    address,
                    protocol,
                    port,
                    clients,
                    packets,
                    bytes,
                });
            })?;
        }
    }
    counters.sort();
    Ok(counters)
}

/// Reads what those elements have counted that are to be replaced, so that their successors count on:
/// a Service's count does not start anew when it gets one endpoint more. What packets add between
/// this and the replacement is lost.
pub(super) fn carry_over(
    socket: &mut Socket,
    wanted: &Wanted,
    difference: &mut Difference,
) -> Result<(), Error> {
    for (&family, difference) in &mut difference.families {
        for (name, set) in &mut difference.sets {
            let SetDifference { replace, counted, .. } = set;
            let counts = name.declaration(0).counter;
            let Some(rows) = wanted.sets.get(&(family, name.clone())) else { continue };
            if !counts {
                continue;
            }
            let set = name.to_string();
            // One by one, for each answer is a message of its own, and the receive buffer may be small.
            for &number in &*replace {
                let found = read::counted(socket, family, &set, rows.row(number).keys)?;
                counted.extend(found.map(|found| (number, found)));
            }
        }
    }
    Ok(())
}

fn frontend(family: Family, place: Place, key: &[u8]) -> Option<(Option<IpAddr>, Protocol, u16)> {
    let length = match place {
        Place::Address => address_length(family),
        Place::NodePort => 0,
    };
    let (address, rest) = key.split_at_checked(length)?;
    let address = if address.is_empty() { None } else { Some(ip(address)?) };
    let number = *rest.first()?;
    let protocol = Protocol::ALL.into_iter().find(|protocol| protocol.number() == number)?;
    Some((address, protocol, u16::from_be_bytes(rest.get(4..6)?.try_into().ok()?)))
}
