//! Sets and maps of nf_tables, and their elements, as netlink messages.

use super::expression::{self, DATA, NAME, VALUE, Verdict};
use super::{SUBSYSTEM, To, message};
use crate::netlink::{ACK, Attributes, CREATE, DUMP, Encoder, Message, Open};

/// `NFTA_SET_…`
mod attribute {
    pub(super) const TABLE: u16 = 1;
    pub(super) const NAME: u16 = 2;
    pub(super) const FLAGS: u16 = 3;
    pub(super) const KEY_TYPE: u16 = 4;
    pub(super) const KEY_LENGTH: u16 = 5;
    pub(super) const DATA_TYPE: u16 = 6;
    pub(super) const DATA_LENGTH: u16 = 7;
    pub(super) const DESCRIPTION: u16 = 9;
    pub(super) const ID: u16 = 10;
    pub(super) const USERDATA: u16 = 13;
    pub(super) const EXPRESSION: u16 = 17;
    /// `NFTA_SET_DESC_SIZE`, `NFTA_SET_DESC_CONCAT`, `NFTA_SET_FIELD_LEN`
    pub(super) const SIZE: u16 = 1;
    pub(super) const FIELDS: u16 = 2;
    pub(super) const FIELD_LENGTH: u16 = 1;
}

/// `NFTA_SET_ELEM_…` and `NFTA_SET_ELEM_LIST_…`
mod element {
    pub(super) const SET: u16 = 2;
    pub(super) const LIST: u16 = 3;
    pub(super) const ONE: u16 = 1;
    pub(super) const KEY: u16 = 1;
    pub(super) const DATA: u16 = 2;
    pub(super) const FLAGS: u16 = 3;
    pub(super) const USERDATA: u16 = 6;
    pub(super) const EXPRESSION: u16 = 7;
    pub(super) const KEY_END: u16 = 10;
    /// `NFT_SET_ELEM_INTERVAL_END`
    pub(super) const INTERVAL_END: u32 = 1;
}

/// `NFTA_COUNTER_…`
mod counter {
    pub(super) const BYTES: u16 = 1;
    pub(super) const PACKETS: u16 = 2;
}

/// What a set or map is (`NFT_SET_…`).
pub mod set_flags {
    /// Keys may be ranges.
    pub const INTERVAL: u32 = 0x4;
    /// It holds something for each key.
    pub const MAP: u32 = 0x8;
    /// Elements may go by themselves after a time.
    pub const TIMEOUT: u32 = 0x10;
    /// Rules may change it.
    pub const EVAL: u32 = 0x20;
    /// Keys consist of several fields, each with a range of its own.
    pub const CONCAT: u32 = 0x80;
}

/// `NFT_DATA_VERDICT`: the type of data of a map of verdicts, whose length is 0 to us. The kernel
/// tells another one.
pub const VERDICT_TYPE: u32 = 0xffff_ff00;

/// How a set or map is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetShape {
    /// [`set_flags`].
    pub flags: u32,
    /// The type of a key, as nft numbers it.
    pub key_type: u32,
    /// The length of a key in bytes.
    pub key_length: u32,
    /// For maps, the type and length of what is held.
    pub data: Option<(u32, u32)>,
    /// The greatest number of elements; 0 for no bound.
    pub size: u32,
    /// The length of each field in bytes, where the kernel has to know.
    pub fields: Vec<u32>,
    /// What nft notes beside it.
    pub userdata: Vec<u8>,
    /// Whether each element has a counter.
    pub counter: bool,
}

/// What an element holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held<'a> {
    /// Nothing.
    Nothing,
    /// A value.
    Value(&'a [u8]),
    /// A verdict.
    Verdict(Verdict<'a>),
}

/// One element, to write or as the kernel told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// Its key; of a range, the lowest one.
    pub key: &'a [u8],
    /// The highest key of a range, in sets of several fields.
    pub key_end: Option<&'a [u8]>,
    /// Whether this is one past the last key of a range, in sets of one field.
    pub ends_range: bool,
    /// What it holds.
    pub held: Held<'a>,
    /// What nft notes beside it.
    pub userdata: &'a [u8],
    /// Packets and bytes, where it counts; what a new one begins with, if not with nothing.
    pub counted: Option<(u64, u64)>,
}

/// Where a message of elements is open.
#[derive(Debug)]
#[must_use = "what was opened must be closed"]
pub struct OpenElements {
    message: Open,
    list: Open,
}

impl To<'_> {
    /// Makes a set unless it is there. `id` names it within the batch.
    pub fn new_set(&self, out: &mut Encoder, name: &str, id: u32, shape: &SetShape) {
        let message = out.message(self.header(message::NEW_SET, CREATE));
        out.text(attribute::TABLE, self.table);
        out.text(attribute::NAME, name);
        out.be32(attribute::FLAGS, shape.flags);
        out.be32(attribute::KEY_TYPE, shape.key_type);
        out.be32(attribute::KEY_LENGTH, shape.key_length);
        if let Some((kind, length)) = shape.data {
            out.be32(attribute::DATA_TYPE, kind);
            out.be32(attribute::DATA_LENGTH, length);
        }
        out.be32(attribute::ID, id);
        if shape.size > 0 || !shape.fields.is_empty() {
            let description = out.nest(attribute::DESCRIPTION);
            if shape.size > 0 {
                out.be32(attribute::SIZE, shape.size);
            }
            if !shape.fields.is_empty() {
                let fields = out.nest(attribute::FIELDS);
                for &length in &shape.fields {
                    let field = out.nest(element::ONE);
                    out.be32(attribute::FIELD_LENGTH, length);
                    out.close(field);
                }
                out.close(fields);
            }
            out.close(description);
        }
        out.raw(attribute::USERDATA, &shape.userdata);
        if shape.counter {
            let expression = out.nest(attribute::EXPRESSION);
            out.text(NAME, "counter");
            let data = out.nest(DATA);
            out.close(data);
            out.close(expression);
        }
        out.end(message);
    }

    /// Deletes a set. The kernel refuses while a rule uses it.
    pub fn delete_set(&self, out: &mut Encoder, name: &str) {
        let message = out.message(self.header(message::DELETE_SET, 0));
        out.text(attribute::TABLE, self.table);
        out.text(attribute::NAME, name);
        out.end(message);
    }

    /// Takes all elements out of a set.
    pub fn flush_set(&self, out: &mut Encoder, set: &str) {
        let message = out.message(self.header(message::DELETE_ELEMENT, 0));
        out.text(attribute::TABLE, self.table);
        out.text(element::SET, set);
        out.end(message);
    }

    /// Asks for all sets of the table.
    pub fn dump_sets(&self, out: &mut Encoder) {
        let message = out.message(self.header(message::GET_SET, DUMP));
        out.text(attribute::TABLE, self.table);
        out.end(message);
    }

    /// Asks for all elements of a set.
    pub fn dump_elements(&self, out: &mut Encoder, set: &str) {
        let message = out.message(self.header(message::GET_ELEMENT, DUMP));
        out.text(attribute::TABLE, self.table);
        out.text(element::SET, set);
        out.end(message);
    }

    /// Asks for the element of a set that has this key.
    pub fn get_element(&self, out: &mut Encoder, set: &str, key: &[u8]) {
        let elements = self.elements(out, message::GET_ELEMENT, ACK, set);
        let one = out.nest(element::ONE);
        expression::value(out, element::KEY, key);
        out.close(one);
        elements.end(out);
    }

    /// Begins a message that adds elements. One that is there already, with the same data, stays.
    pub fn new_elements(&self, out: &mut Encoder, set: &str) -> OpenElements {
        self.elements(out, message::NEW_ELEMENT, CREATE, set)
    }

    /// Begins a message that takes elements out. The kernel refuses what is not there.
    pub fn delete_elements(&self, out: &mut Encoder, set: &str) -> OpenElements {
        self.elements(out, message::DELETE_ELEMENT, 0, set)
    }

    fn elements(&self, out: &mut Encoder, kind: u16, flags: u16, set: &str) -> OpenElements {
        let message = out.message(self.header(kind, flags));
        out.text(attribute::TABLE, self.table);
        out.text(element::SET, set);
        let list = out.nest(element::LIST);
        OpenElements { message, list }
    }
}

impl OpenElements {
    /// Ends the message.
    pub fn end(self, out: &mut Encoder) {
        out.close(self.list);
        out.end(self.message);
    }
}

impl Element<'_> {
    /// Writes the element into an open message.
    pub fn write(&self, out: &mut Encoder) {
        let one = out.nest(element::ONE);
        if self.ends_range {
            out.be32(element::FLAGS, element::INTERVAL_END);
        }
        expression::value(out, element::KEY, self.key);
        if let Some(end) = self.key_end {
            expression::value(out, element::KEY_END, end);
        }
        match self.held {
            Held::Nothing => {}
            Held::Value(value) => expression::value(out, element::DATA, value),
            Held::Verdict(verdict) => expression::verdict_data(out, element::DATA, verdict),
        }
        if !self.userdata.is_empty() {
            out.raw(element::USERDATA, self.userdata);
        }
        if let Some((packets, bytes)) = self.counted {
            let expression = out.nest(element::EXPRESSION);
            out.text(NAME, "counter");
            let data = out.nest(DATA);
            out.be64(counter::BYTES, bytes);
            out.be64(counter::PACKETS, packets);
            out.close(data);
            out.close(expression);
        }
        out.close(one);
    }
}

/// A set that the kernel told of, with its table and name.
#[must_use]
pub fn read_set<'a>(message: &Message<'a>) -> Option<(&'a str, &'a str, SetShape)> {
    if message.kind != SUBSYSTEM << 8 | message::NEW_SET {
        return None;
    }
    let attributes = message.attributes();
    let number = |kind| attributes.be32(kind).unwrap_or_default();
    let description = attributes.nested(attribute::DESCRIPTION);
    let fields = description.nested(attribute::FIELDS);
    let flags = number(attribute::FLAGS);
    let data = match number(attribute::DATA_TYPE) {
        VERDICT_TYPE => (VERDICT_TYPE, 0),
        other => (other, number(attribute::DATA_LENGTH)),
    };
    let shape = SetShape {
        flags,
        key_type: number(attribute::KEY_TYPE),
        key_length: number(attribute::KEY_LENGTH),
        data: (flags & set_flags::MAP != 0).then_some(data),
        size: description.be32(attribute::SIZE).unwrap_or_default(),
        fields: fields.filter_map(|one| one.nested().be32(attribute::FIELD_LENGTH)).collect(),
        userdata: attributes.get(attribute::USERDATA).unwrap_or_default().to_vec(),
        counter: attributes.nested(attribute::EXPRESSION).text(NAME) == Some("counter"),
    };
    Some((attributes.text(attribute::TABLE)?, attributes.text(attribute::NAME)?, shape))
}

/// The elements that a message of the kernel tells of.
pub fn read_elements<'a>(message: &Message<'a>) -> impl Iterator<Item = Element<'a>> + use<'a> {
    let is_elements = message.kind == SUBSYSTEM << 8 | message::NEW_ELEMENT;
    let list = message.attributes().nested(element::LIST);
    let list = if is_elements { list } else { Attributes::default() };
    list.filter_map(|one| {
        let one = one.nested();
        let data = one.nested(element::DATA);
        let held = match (data.get(VALUE), Verdict::read(data)) {
            (Some(value), _) => Held::Value(value),
            (None, Some(verdict)) => Held::Verdict(verdict),
            (None, None) => Held::Nothing,
        };
        let expression = one.nested(element::EXPRESSION);
        let counter = expression.nested(DATA);
        let counter = expression.text(NAME).filter(|&name| name == "counter").map(|_| counter);
        Some(Element {
            key: one.nested(element::KEY).get(VALUE)?,
            key_end: one.nested(element::KEY_END).get(VALUE),
            ends_range: one.be32(element::FLAGS).unwrap_or_default() & element::INTERVAL_END != 0,
            held,
            userdata: one.get(element::USERDATA).unwrap_or_default(),
            counted: counter.and_then(|counter| {
                Some((counter.be64(counter::PACKETS)?, counter.be64(counter::BYTES)?))
            }),
        })
    })
}
