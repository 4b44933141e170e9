//! Requests about sets.

use std::net::IpAddr;

use model::Family;
use render::iptables::ipset::{IpSet, MAX_ELEMENTS, Member, SetKind};

use crate::netlink::{ACK, DUMP, Encoder, Header, Open, REQUEST, Socket};

/// `NFNL_SUBSYS_IPSET`
const SUBSYSTEM: u16 = 6;
/// The oldest protocol that every kernel still takes.
const PROTOCOL: u8 = 6;
/// The protocol that questions for numbers are part of (Linux 4.20).
const PROTOCOL_OF_NUMBERS: u8 = 7;
/// `NLA_F_NET_BYTEORDER`: sets want to be told of it.
const NETWORK_ORDER: u16 = 1 << 14;
/// `IPSET_FLAG_LIST_HEADER`: no elements.
const HEADERS_ALONE: u32 = 1 << 2;

/// `IPSET_CMD_…`
pub(super) mod command {
    pub(in super::super) const CREATE: u16 = 2;
    pub(in super::super) const DESTROY: u16 = 3;
    pub(in super::super) const FLUSH: u16 = 4;
    pub(in super::super) const SWAP: u16 = 6;
    pub(super) const LIST: u16 = 7;
    pub(in super::super) const ADD: u16 = 9;
    pub(in super::super) const DELETE: u16 = 10;
    pub(super) const TYPE: u16 = 13;
    pub(in super::super) const GET_BY_NAME: u16 = 14;
}

/// `IPSET_ATTR_…` of messages.
pub(super) mod attribute {
    pub(super) const PROTOCOL: u16 = 1;
    pub(in super::super) const SET_NAME: u16 = 2;
    pub(in super::super) const TYPE_NAME: u16 = 3;
    pub(super) const OTHER_SET_NAME: u16 = 3;
    pub(super) const REVISION: u16 = 4;
    pub(in super::super) const FAMILY: u16 = 5;
    pub(super) const FLAGS: u16 = 6;
    pub(in super::super) const DATA: u16 = 7;
    pub(in super::super) const ELEMENTS: u16 = 8;
    pub(super) const LINE: u16 = 9;
    pub(in super::super) const INDEX: u16 = 11;
}

/// `IPSET_ATTR_…` of headers and elements.
pub(super) mod data {
    pub(in super::super) const ADDRESS: u16 = 1;
    pub(in super::super) const PREFIX: u16 = 3;
    pub(in super::super) const PORT: u16 = 4;
    pub(in super::super) const TIMEOUT: u16 = 6;
    pub(in super::super) const PROTOCOL: u16 = 7;
    pub(super) const FIRST_SIZE: u16 = 18;
    pub(in super::super) const MAX_ELEMENTS: u16 = 19;
    pub(in super::super) const ELEMENT_COUNT: u16 = 24;
    pub(in super::super) const ADDRESS_V4: u16 = 1;
    pub(in super::super) const ADDRESS_V6: u16 = 2;
}

/// The oldest revision of a type that has all we use, so that tools of any age can list the set.
/// Ports of SCTP came with revision 1.
fn revision(kind: SetKind) -> u8 {
    match kind {
        SetKind::Addresses | SetKind::Blocks => 0,
        SetKind::Ports => 1,
    }
}

fn number(family: Family) -> u8 {
    let number = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    number as u8
}

/// A request that is being written.
pub(super) struct Request {
    out: Encoder,
    message: Open,
}

impl Request {
    fn begin(socket: &mut Socket, command: u16, flags: u16) -> Self {
        let mut out = Encoder::default();
        let message = out.message(Header {
            kind: SUBSYSTEM << 8 | command,
            flags: REQUEST | flags,
            sequence: socket.next_sequence(),
            family: number(Family::V4),
            resource: 0,
        });
        let of_numbers = command == command::GET_BY_NAME;
        let protocol = if of_numbers { PROTOCOL_OF_NUMBERS } else { PROTOCOL };
        out.raw(attribute::PROTOCOL, &[protocol]);
        Self { out, message }
    }

    /// A request about one set. Without `NLM_F_EXCL`, what is so already is no error.
    pub(super) fn new(socket: &mut Socket, command: u16, name: &str) -> Self {
        let mut request = Self::begin(socket, command, ACK);
        request.out.text(attribute::SET_NAME, name);
        request
    }

    pub(super) fn end(mut self) -> Encoder {
        self.out.end(self.message);
        self.out
    }

    pub(super) fn other(mut self, name: &str) -> Encoder {
        self.out.text(attribute::OTHER_SET_NAME, name);
        self.end()
    }

    pub(super) fn create(mut self, set: &IpSet) -> Encoder {
        let out = &mut self.out;
        let header = set.header;
        out.text(attribute::TYPE_NAME, header.kind.type_name());
        out.raw(attribute::REVISION, &[revision(header.kind)]);
        out.raw(attribute::FAMILY, &[number(header.family)]);
        let nest = out.nest(attribute::DATA);
        out.be32(data::FIRST_SIZE | NETWORK_ORDER, set.first_size());
        out.be32(data::MAX_ELEMENTS | NETWORK_ORDER, MAX_ELEMENTS);
        if let Some(seconds) = header.timeout {
            out.be32(data::TIMEOUT | NETWORK_ORDER, seconds);
        }
        out.close(nest);
        self.end()
    }

    pub(super) fn members(mut self, members: &[Member]) -> Encoder {
        let out = &mut self.out;
        // The kernel asks for the number of a line wherever there may be several.
        out.raw(attribute::LINE, &0u32.to_ne_bytes());
        let nest = out.nest(attribute::ELEMENTS);
        for member in members {
            let one = out.nest(attribute::DATA);
            match *member {
                Member::Address(address) => write_address(out, address),
                Member::Block(block) => {
                    write_address(out, block.network());
                    out.raw(data::PREFIX, &[block.prefix_len()]);
                }
                Member::Port(address, protocol, port) => {
                    write_address(out, address);
                    out.raw(data::PORT | NETWORK_ORDER, &port.to_be_bytes());
                    out.raw(data::PROTOCOL, &[protocol.number()]);
                }
            }
            out.close(one);
        }
        out.close(nest);
        self.end()
    }
}

fn write_address(out: &mut Encoder, address: IpAddr) {
    let nest = out.nest(data::ADDRESS);
    match address {
        IpAddr::V4(address) => out.raw(data::ADDRESS_V4 | NETWORK_ORDER, &address.octets()),
        IpAddr::V6(address) => out.raw(data::ADDRESS_V6 | NETWORK_ORDER, &address.octets()),
    }
    out.close(nest);
}

/// Asks for all sets.
pub(super) fn list(socket: &mut Socket, elements: bool) -> Encoder {
    let mut request = Request::begin(socket, command::LIST, DUMP);
    if !elements {
        request.out.be32(attribute::FLAGS | NETWORK_ORDER, HEADERS_ALONE);
    }
    request.end()
}

/// Asks for a type of sets.
pub(super) fn ask_type(socket: &mut Socket, kind: SetKind) -> Encoder {
    let mut request = Request::begin(socket, command::TYPE, ACK);
    request.out.text(attribute::TYPE_NAME, kind.type_name());
    request.out.raw(attribute::FAMILY, &[number(Family::V4)]);
    request.end()
}
