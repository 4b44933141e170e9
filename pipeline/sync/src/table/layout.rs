//! How each set is declared to the kernel, with the notes by which nft prints its fields.

use model::Family;
use render::nftables::{Field, Holds, SetName};

use crate::nftables::set::{SetShape, VERDICT_TYPE, set_flags};

/// nft joins the types of a concatenation by so many bits each.
const TYPE_BITS: u32 = 6;
/// Each field of a concatenation begins at a multiple of this.
pub(super) const WORD: usize = 4;

/// nft's numbers for types of data.
mod data_type {
    pub(super) const INTEGER: u32 = 4;
    pub(super) const IPV4_ADDRESS: u32 = 7;
    pub(super) const IPV6_ADDRESS: u32 = 8;
    pub(super) const PROTOCOL: u32 = 12;
    pub(super) const SERVICE: u32 = 13;
    pub(super) const CLASSID: u32 = 23;
}

/// nft's notes (`NFTNL_UDATA_…`): type, length, value.
mod note {
    pub(super) const KEY_ORDER: u8 = 0;
    pub(super) const DATA_ORDER: u8 = 1;
    pub(super) const KEY: u8 = 3;
    pub(super) const DATA: u8 = 4;
    pub(super) const DATA_INTERVAL: u8 = 6;
    /// Kinds of expressions.
    pub(super) const VERDICT: u32 = 1;
    pub(super) const PAYLOAD: u32 = 7;
    pub(super) const META: u32 = 9;
    pub(super) const CONCAT: u32 = 13;
    pub(super) const NUMGEN: u32 = 23;
    /// Byte orders.
    pub(super) const NONE: u32 = 0;
    pub(super) const HOST: u32 = 1;
    pub(super) const NETWORK: u32 = 2;
}

/// The number of a family in netlink messages.
#[must_use]
pub(super) fn number(family: Family) -> u8 {
    let number = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    number as u8
}

/// The length of an address.
pub(super) fn address_length(family: Family) -> usize {
    match family {
        Family::V4 => 4,
        Family::V6 => 16,
    }
}

/// A field's length in bytes.
pub(super) fn length(family: Family, field: Field) -> usize {
    match field {
        Field::SourceAddress | Field::DestinationAddress => address_length(family),
        Field::Protocol => 1,
        Field::DestinationPort => 2,
        Field::RandomIndex { .. } | Field::EndpointId => 4,
    }
}

/// The length of some fields together, each of them padded; one alone is not.
pub(super) fn joined_length(family: Family, fields: &[Field]) -> usize {
    match fields {
        [one] => length(family, *one),
        several => several.iter().map(|&field| length(family, field).next_multiple_of(WORD)).sum(),
    }
}

fn data_type(family: Family, fields: &[Field]) -> u32 {
    fields.iter().fold(0, |joined, field| {
        let one = match (field, family) {
            (Field::SourceAddress | Field::DestinationAddress, Family::V4) => {
                data_type::IPV4_ADDRESS
            }
            (Field::SourceAddress | Field::DestinationAddress, Family::V6) => {
                data_type::IPV6_ADDRESS
            }
            (Field::Protocol, _) => data_type::PROTOCOL,
            (Field::DestinationPort, _) => data_type::SERVICE,
            (Field::RandomIndex { .. }, _) => data_type::INTEGER,
            (Field::EndpointId, _) => data_type::CLASSID,
        };
        joined << TYPE_BITS | one
    })
}

/// The declaration of a set, as nft sends it. Without `counters`, elements do not count.
pub(super) fn shape(
    family: Family,
    name: &SetName,
    affinity_size: u32,
    counters: bool,
) -> SetShape {
    let set = name.declaration(affinity_size);
    let bytes = |fields: &[Field]| u32::try_from(joined_length(family, fields)).unwrap_or_default();
    let data = match &set.holds {
        Holds::Nothing => None,
        Holds::Verdict => Some((VERDICT_TYPE, 0)),
        Holds::Data(fields) => Some((data_type(family, fields), bytes(fields))),
    };
    let ranges_of_several = set.interval && set.key.len() > 1;
    let mut flags = 0;
    for (present, flag) in [
        (data.is_some(), set_flags::MAP),
        (set.interval, set_flags::INTERVAL),
        (ranges_of_several, set_flags::CONCAT),
        (set.dynamic.is_some(), set_flags::TIMEOUT | set_flags::EVAL),
    ] {
        if present {
            flags |= flag;
        }
    }
    let lengths = set.key.iter().map(|&field| bytes(&[field]));
    SetShape {
        flags,
        key_type: data_type(family, &set.key),
        key_length: bytes(&set.key),
        data,
        size: set.dynamic.unwrap_or_default(),
        fields: if ranges_of_several { lengths.collect() } else { Vec::new() },
        userdata: userdata(family, &set.key, &set.holds),
        counter: set.counter && counters,
    }
}

/// What nft notes beside a set, so that it can print which fields its keys are made of.
fn userdata(family: Family, key: &[Field], holds: &Holds) -> Vec<u8> {
    let mut notes = Vec::new();
    let order = if key.len() == 1 { note::NETWORK } else { note::NONE };
    number_note(&mut notes, note::KEY_ORDER, order);
    let data = match holds {
        Holds::Nothing => None,
        Holds::Verdict => Some((note::NONE, expression(note::VERDICT, &[]))),
        Holds::Data(fields) => {
            let order = if **fields == [Field::EndpointId] { note::HOST } else { note::NONE };
            Some((order, joined(family, fields)))
        }
    };
    if let Some((order, _)) = &data {
        number_note(&mut notes, note::DATA_ORDER, *order);
    }
    put_note(&mut notes, note::KEY, &joined(family, key));
    if let Some((_, expression)) = &data {
        put_note(&mut notes, note::DATA, expression);
        number_note(&mut notes, note::DATA_INTERVAL, 0);
    }
    notes
}

fn put_note(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    out.extend([kind, u8::try_from(value.len()).unwrap_or(u8::MAX)]);
    out.extend(value);
}

fn number_note(out: &mut Vec<u8>, kind: u8, value: u32) {
    put_note(out, kind, &value.to_ne_bytes());
}

fn expression(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    number_note(&mut out, 0, kind);
    put_note(&mut out, 1, body);
    out
}

fn numbered(kind: u32, numbers: &[u32]) -> Vec<u8> {
    let mut body = Vec::new();
    for (place, &number) in (0..).zip(numbers) {
        number_note(&mut body, place, number);
    }
    expression(kind, &body)
}

fn joined(family: Family, fields: &[Field]) -> Vec<u8> {
    if let [one] = fields {
        return field_note(family, *one);
    }
    let mut body = Vec::new();
    for (place, &field) in (0..).zip(fields) {
        put_note(&mut body, place, &field_note(family, field));
    }
    expression(note::CONCAT, &body)
}

fn field_note(family: Family, field: Field) -> Vec<u8> {
    match (field, family) {
        // The numbers of nft's headers and of the fields within them.
        (Field::SourceAddress, Family::V4) => numbered(note::PAYLOAD, &[12, 11]),
        (Field::DestinationAddress, Family::V4) => numbered(note::PAYLOAD, &[12, 12]),
        (Field::SourceAddress, Family::V6) => numbered(note::PAYLOAD, &[13, 8]),
        (Field::DestinationAddress, Family::V6) => numbered(note::PAYLOAD, &[13, 9]),
        (Field::DestinationPort, _) => numbered(note::PAYLOAD, &[11, 2]),
        (Field::Protocol, _) => numbered(note::META, &[16]),
        (Field::EndpointId, _) => numbered(note::META, &[2]),
        (Field::RandomIndex { modulus }, _) => numbered(note::NUMGEN, &[1, modulus, 0]),
    }
}

#[cfg(test)]
mod tests {
    use render::nftables::{Clients, Place};

    use super::*;

    /// The bytes that nft 1.0.6, 1.1.3 and 1.1.7 send for `service-ips`.
    #[test]
    fn notes_are_those_of_nft() {
        let expected = [
            "000400000000",
            "010400000000",
            "0344",
            "00040d000000",
            "013c",
            "0014",
            "000407000000",
            "010c",
            "00040c000000",
            "01040c000000",
            "010e",
            "000409000000",
            "0106",
            "000410000000",
            "0214",
            "000407000000",
            "010c",
            "00040b000000",
            "010402000000",
            "0408",
            "000401000000",
            "0100",
            "060400000000",
        ];
        let name = SetName::Dispatch(Place::Address, Clients::All);
        let shape = shape(Family::V4, &name, 0, true);
        let hex: String = shape.userdata.iter().map(|byte| format!("{byte:02x}")).collect();
        if cfg!(target_endian = "little") {
            assert_eq!(hex, expected.concat());
        }
        assert_eq!((shape.key_type, shape.key_length), (0x730d, 12));
    }
}
