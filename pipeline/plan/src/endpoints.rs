//! From EndpointSlices to one list of endpoints for one port of a Service.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use model::{AddressType, Endpoint, EndpointSlice, Family, Notice, ObjectRef, Protocol, Reason};

use crate::addresses;

/// An endpoint of one Service port, after all slices that name its address were weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate<'a> {
    /// Where it listens: the slice's port number, never the Service's `targetPort`.
    pub(crate) address: SocketAddr,
    /// What the winning slice says of it.
    pub(crate) endpoint: &'a Endpoint,
}

/// One mention of an endpoint, with what its weight depends on.
#[derive(Clone, Copy)]
struct Mention<'a> {
    slice: &'a EndpointSlice,
    position: usize,
    endpoint: &'a Endpoint,
}

impl<'a> Mention<'a> {
    /// Greater is newer: the slice's version, then its name, then the later entry.
    fn age(&self) -> (u64, &'a str, usize) {
        (self.slice.version, &self.slice.name.name, self.position)
    }

    /// Greater is better: ready, then not terminating, then newer.
    fn merit(&self) -> (bool, Reverse<bool>, (u64, &'a str, usize)) {
        (self.endpoint.ready, Reverse(self.endpoint.terminating), self.age())
    }
}

/// The endpoints of one Service port in one family, sorted by the text of their `address:port`.
///
/// Slices match by port name and protocol alone, so a named `targetPort` that differs from Pod to
/// Pod mixes several numbers in one list (kubernetes#109627). A port without a name or a number, and
/// a slice of another family or of names, give nothing. Addresses that no endpoint may have are
/// left out; [`notices`] names them.
///
/// An address and port that several entries mention counts once (kubernetes#135266,
/// kubernetes#121231):
/// of entries for one Pod (equal `targetRef.uid`), the newest slice speaks; between different Pods,
/// or where no uid tells, a ready one wins, then one that is not terminating, then the newest.
/// "Newest" is the greater `resourceVersion`, then the greater slice name. The outcome is a function
/// of the set of slices, not of their order.
pub(crate) fn endpoints<'a>(
    slices: &[&'a EndpointSlice],
    port: &str,
    protocol: Protocol,
    family: Family,
) -> Vec<Candidate<'a>> {
    let mut all: Vec<Candidate<'a>> = mentions(slices, port, protocol, family)
        .chunk_by(|(one, _), (other, _)| one == other)
        .filter_map(|same| {
            let (address, _) = *same.first()?;
            Some(Candidate { address, endpoint: decide(same)?.endpoint })
        })
        .collect();
    all.sort_by_cached_key(|candidate| Text::of(candidate.address));
    all
}

/// The text of an address and port, in an order that is the text's: shorter ones end in zeros, which
/// no text has. Nothing is allocated for it, as there is one for each endpoint of the cluster.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Text {
    bytes: [u8; Self::LENGTH],
    length: usize,
}

impl Text {
    /// As long as IPv6 addresses get: eight groups with their colons, brackets and the port. No
    /// endpoint has a scope.
    const LENGTH: usize = 48;

    fn of(address: SocketAddr) -> Self {
        let mut text = Self { bytes: [0; Self::LENGTH], length: 0 };
        // What would not fit would be cut off, and order nothing.
        let _ = write!(text, "{address}");
        text
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = self.length + part.len();
        let place = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        place.copy_from_slice(part.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Every mention of an address and port that counts at all, in the order of the addresses.
fn mentions<'a>(
    slices: &[&'a EndpointSlice],
    port: &str,
    protocol: Protocol,
    family: Family,
) -> Vec<(SocketAddr, Mention<'a>)> {
    let mut mentions: Vec<(SocketAddr, Mention<'a>)> = Vec::new();
    for slice in slices.iter().filter(|slice| slice.address_type == AddressType::Ip(family)) {
        for number in numbers(slice, port, protocol) {
            for (position, endpoint) in slice.endpoints.iter().enumerate() {
                if is_usable(endpoint.address, family) {
                    let address = SocketAddr::new(endpoint.address, number);
                    mentions.push((address, Mention { slice, position, endpoint }));
                }
            }
        }
    }
    mentions.sort_by_key(|(address, _)| *address);
    mentions
}

/// The numbers that a slice gives to a port; none where it does not know the port.
pub(crate) fn numbers(slice: &EndpointSlice, port: &str, protocol: Protocol) -> BTreeSet<u16> {
    let entries = slice.ports.iter();
    entries
        .filter(|entry| entry.name.as_deref() == Some(port) && entry.protocol == protocol)
        .filter_map(|entry| entry.port.filter(|&number| number != 0))
        .collect()
}

/// Which entry speaks for each address and port: its slice, and its position in it.
pub(crate) fn speakers<'a>(
    slices: &[&'a EndpointSlice],
    port: &str,
    protocol: Protocol,
    family: Family,
) -> BTreeMap<SocketAddr, (&'a EndpointSlice, usize)> {
    let all = mentions(slices, port, protocol, family);
    all.chunk_by(|(one, _), (other, _)| one == other)
        .filter_map(|same| {
            let ((address, _), winner) = (same.first()?, decide(same)?);
            Some((*address, (winner.slice, winner.position)))
        })
        .collect()
}

/// Whom to believe of several mentions of one address: first the newest word about each Pod, then
/// the best of the Pods. In two steps, for pairwise comparison alone would go round in circles.
fn decide<'a>(mentions: &[(SocketAddr, Mention<'a>)]) -> Option<Mention<'a>> {
    if let [(_, only)] = mentions {
        return Some(*only);
    }
    let mut pods: BTreeMap<&str, Mention<'a>> = BTreeMap::new();
    let mut all = Vec::with_capacity(mentions.len());
    for (_, mention) in mentions {
        match mention.endpoint.target_uid.as_deref().filter(|uid| !uid.is_empty()) {
            None => all.push(*mention),
            Some(uid) => {
                let known = pods.entry(uid).or_insert(*mention);
                if mention.age() > known.age() {
                    *known = *mention;
                }
            }
        }
    }
    all.into_iter().chain(pods.into_values()).max_by_key(Mention::merit)
}

fn is_usable(address: IpAddr, family: Family) -> bool {
    Family::of(address) == family && addresses::forbidden(address).is_none()
}

/// What of a Service's slices routes nothing: names instead of addresses, ports without name or
/// number, addresses that no endpoint may have or that are not of the slice's family.
pub(crate) fn notices(slices: &[&EndpointSlice], notices: &mut BTreeSet<Notice>) {
    for slice in slices {
        let mut note = |reason, message| {
            let object = ObjectRef::new("EndpointSlice", &slice.name);
            notices.insert(Notice { object, reason, message });
        };
        let AddressType::Ip(family) = slice.address_type else {
            let text = "addressType FQDN: packets are sent to addresses, not to names; the slice \
                        routes nothing";
            note(Reason::Unsupported, text.into());
            continue;
        };
        for port in &slice.ports {
            let name: Option<&Arc<str>> = port.name.as_ref();
            if name.is_none() {
                let text = format!("ports: an entry for {} has no name", port.protocol);
                note(Reason::Unsupported, format!("{text}, so it matches no Service port"));
            } else if port.port.is_none_or(|number| number == 0) {
                let name = name.map_or("", AsRef::as_ref);
                let text = format!("ports: entry {name:?} for {} has no number", port.protocol);
                note(Reason::Unsupported, format!("{text}, so its endpoints get no traffic"));
            }
        }
        for address in slice.endpoints.iter().map(|endpoint| endpoint.address) {
            if Family::of(address) != family {
                let text = format!("endpoints: {address} is not an {family} address");
                let text = format!("{text}, as addressType says; the endpoint is left out");
                note(Reason::WrongFamily, text);
            } else if let Some(what) = addresses::forbidden(address) {
                let text = format!("endpoints: {address} is {what}; the endpoint is left out");
                note(Reason::ForbiddenAddress, text);
            }
        }
    }
}
