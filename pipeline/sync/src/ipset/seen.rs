//! Sets as the kernel tells of them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use model::{Family, Protocol};
use render::iptables::ipset::{MAX_ELEMENTS, Member, SetHeader, SetKind};

use super::message::{attribute, data};
use crate::netlink::Attributes;

/// A set that the kernel told of, over several messages if it is long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenSet {
    /// What it is; `None` for what we would not make.
    pub header: Option<SetHeader>,
    /// Its elements, as far as they were asked for.
    pub members: BTreeSet<Member>,
    /// How many there are.
    pub count: usize,
}

impl SeenSet {
    /// Takes one message in.
    pub(super) fn take(&mut self, message: Attributes<'_>) {
        if let Some(header) = message.get(attribute::DATA).map(Attributes) {
            self.header = read_header(message, header);
            let count = header.be32(data::ELEMENT_COUNT).unwrap_or_default();
            self.count = usize::try_from(count).unwrap_or(usize::MAX);
        }
        let Some(SetHeader { kind, .. }) = self.header else { return };
        let elements = message.nested(attribute::ELEMENTS);
        self.members.extend(elements.filter_map(|one| read_member(kind, one.nested())));
    }
}

fn read_header(message: Attributes<'_>, header: Attributes<'_>) -> Option<SetHeader> {
    let name = message.text(attribute::TYPE_NAME)?;
    let family = match i32::from(*message.get(attribute::FAMILY)?.first()?) {
        libc::AF_INET => Family::V4,
        libc::AF_INET6 => Family::V6,
        _ => return None,
    };
    (header.be32(data::MAX_ELEMENTS)? == MAX_ELEMENTS).then_some(())?;
    Some(SetHeader {
        kind: SetKind::ALL.into_iter().find(|kind| kind.type_name() == name)?,
        family,
        timeout: header.be32(data::TIMEOUT),
    })
}

fn read_member(kind: SetKind, element: Attributes<'_>) -> Option<Member> {
    let address = read_address(element.nested(data::ADDRESS))?;
    match kind {
        SetKind::Addresses => Some(Member::Address(address)),
        SetKind::Blocks => {
            let whole = if address.is_ipv4() { 32 } else { 128 };
            let prefix = element.get(data::PREFIX).and_then(|it| it.first().copied());
            IpNet::new(address, prefix.unwrap_or(whole)).ok().map(Member::Block)
        }
        SetKind::Ports => {
            let number = *element.get(data::PROTOCOL)?.first()?;
            let protocol = Protocol::ALL.into_iter().find(|one| one.number() == number)?;
            let port = u16::from_be_bytes(element.get(data::PORT)?.try_into().ok()?);
            Some(Member::Port(address, protocol, port))
        }
    }
}

fn read_address(address: Attributes<'_>) -> Option<IpAddr> {
    if let Some(four) = address.get(data::ADDRESS_V4) {
        return Some(Ipv4Addr::from(<[u8; 4]>::try_from(four).ok()?).into());
    }
    let six = address.get(data::ADDRESS_V6)?;
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(six).ok()?).into())
}
