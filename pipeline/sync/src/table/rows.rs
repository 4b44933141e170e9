//! Elements as bytes in one buffer for each set, as small as they are on the wire.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use model::Family;
use render::nftables::{Content, Data, Holds, SetName, Value, Verdict};

use super::layout::{WORD, joined_length};
use crate::Error;
use crate::nftables::Verdict as Code;
use crate::nftables::set::{Element, Held};

/// The owner of elements whose owner is not known.
pub(super) const NOBODY: u32 = u32::MAX;
/// No comment.
const NONE: u32 = u32::MAX;
/// The longest comment that fits into nft's note of it, which tells its length with the final zero
/// in one byte.
const COMMENT: usize = 254;
/// How long that note is then.
pub(super) const NOTE: usize = COMMENT + 3;

/// What the rows of a set look like: the lowest key, the highest one where there are ranges, what is
/// held, the comment's number and the owner's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// The length of a key.
    pub(super) key: usize,
    /// Whether keys are ranges.
    pub(super) ranges: bool,
    /// Whether keys have one field, so that a range is two elements.
    pub(super) single: bool,
    /// The length of what is held; a verdict is held by its number.
    data: usize,
    verdicts: bool,
}

impl Form {
    pub(super) fn of(family: Family, name: &SetName) -> Self {
        let set = name.declaration(0);
        let (data, verdicts) = match &set.holds {
            Holds::Nothing => (0, false),
            Holds::Verdict => (WORD, true),
            Holds::Data(fields) => (joined_length(family, fields), false),
        };
        Self {
            key: joined_length(family, &set.key),
            ranges: set.interval,
            single: set.key.len() == 1,
            data,
            verdicts,
        }
    }

    /// The length of a key, or of both ends of a range.
    pub(super) fn keys(&self) -> usize {
        if self.ranges { 2 * self.key } else { self.key }
    }

    fn stride(&self) -> usize {
        self.keys() + self.data + 2 * WORD
    }
}

/// Verdicts and comments by number.
#[derive(Debug, Default)]
pub(super) struct Words {
    verdicts: Vec<Verdict>,
    numbers: BTreeMap<Verdict, u32>,
    comments: Vec<Arc<str>>,
}

impl Words {
    fn verdict(&mut self, verdict: &Verdict) -> u32 {
        if let Some(&number) = self.numbers.get(verdict) {
            return number;
        }
        let number = index(self.verdicts.len());
        self.verdicts.push(verdict.clone());
        self.numbers.insert(verdict.clone(), number);
        number
    }

    /// Elements of one Service come one after another, so that looking at the last is enough.
    fn comment(&mut self, comment: Option<&Arc<str>>) -> u32 {
        let Some(comment) = comment else { return NONE };
        if self.comments.last() != Some(comment) {
            self.comments.push(comment.clone());
        }
        index(self.comments.len() - 1)
    }
}

fn index(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// The elements of one set.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) form: Form,
    bytes: Vec<u8>,
    /// The order of the keys, once somebody asked for it.
    sorted: OnceCell<Vec<u32>>,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    /// The key, or both ends of a range.
    pub(super) keys: &'a [u8],
    data: &'a [u8],
    comment: u32,
    pub(super) owner: u32,
}

impl Rows {
    pub(super) fn new(form: Form) -> Self {
        Self { form, bytes: Vec::new(), sorted: OnceCell::new() }
    }

    pub(super) fn len(&self) -> u32 {
        index(self.bytes.len() / self.form.stride())
    }

    pub(super) fn row(&self, number: u32) -> Row<'_> {
        let stride = self.form.stride();
        let start = number as usize * stride;
        let row = self.bytes.get(start..start + stride).unwrap_or_default();
        let (keys, rest) = row.split_at_checked(self.form.keys()).unwrap_or_default();
        let (data, rest) = rest.split_at_checked(self.form.data).unwrap_or_default();
        let number = |at: usize| crate::netlink::read_u32(rest, at).unwrap_or(NONE);
        Row { keys, data, comment: number(0), owner: number(WORD) }
    }

    /// Adds an element; returns its number.
    pub(super) fn push(
        &mut self,
        key: &[Value],
        content: &Content,
        owner: u32,
        words: &mut Words,
    ) -> Result<u32, Error> {
        let number = self.len();
        let start = self.bytes.len();
        self.sorted.take();
        put_keys(&mut self.bytes, self.form, key);
        match &content.data {
            Data::Nothing => {}
            Data::Verdict(verdict) => self.bytes.extend(words.verdict(verdict).to_ne_bytes()),
            Data::Values(values) => put_values(&mut self.bytes, values, false),
        }
        self.bytes.extend(words.comment(content.comment.as_ref()).to_ne_bytes());
        self.bytes.extend(owner.to_ne_bytes());
        let length = self.bytes.len() - start;
        let wrong = if length != self.form.stride() {
            "its fields are not those of its set"
        } else if matches!(content.data, Data::Verdict(Verdict::Reject)) {
            "a map cannot hold the verdict reject, only lead to a chain that rejects"
        } else if content.comment.as_ref().is_some_and(|comment| comment.len() > COMMENT) {
            "its comment is longer than 254 bytes"
        } else {
            return Ok(number);
        };
        self.bytes.truncate(start);
        let object = format!("element {key:?}");
        Err(Error::Unwritable { object, what: wrong.into() })
    }

    /// The numbers of the rows in the order of their keys, those with equal keys in their own.
    pub(super) fn sorted(&self) -> &[u32] {
        self.sorted.get_or_init(|| {
            let mut numbers: Vec<u32> = (0..self.len()).collect();
            numbers.sort_by(|&one, &other| self.row(one).keys.cmp(self.row(other).keys));
            numbers
        })
    }

    /// The place in [`Rows::sorted`] of a key, or of both ends of a range.
    pub(super) fn find(&self, keys: &[u8]) -> Option<usize> {
        self.sorted().binary_search_by(|&number| self.row(number).keys.cmp(keys)).ok()
    }

    /// Leaves out elements that several owners need, but for the first.
    pub(super) fn join_equal(&mut self) {
        let mut sorted = self.sorted().to_vec();
        sorted.dedup_by(|one, other| self.row(*one).keys == self.row(*other).keys);
        if sorted.len() == self.len() as usize {
            return;
        }
        let stride = self.form.stride();
        let mut bytes = Vec::with_capacity(sorted.len() * stride);
        for number in sorted {
            let start = number as usize * stride;
            bytes.extend(self.bytes.get(start..start + stride).unwrap_or_default());
        }
        (self.bytes, self.sorted) = (bytes, OnceCell::new());
    }

    /// The owners of elements whose key another owner has too, but for the first of each.
    pub(super) fn late_claims(&self, owners: &mut BTreeSet<u32>) {
        let pairs = self.sorted().windows(2).map(|pair| (self.row(pair[0]), self.row(pair[1])));
        owners.extend(
            pairs.filter(|(one, other)| one.keys == other.keys).map(|(_, late)| late.owner),
        );
    }

    /// Whether the kernel's element holds what the row says.
    pub(super) fn holds(&self, row: &Row<'_>, element: &Element<'_>, words: &Words) -> bool {
        let held = match (element.held, self.form.verdicts) {
            (Held::Nothing, false) => row.data.is_empty(),
            (Held::Value(value), false) => value == row.data,
            (Held::Verdict(code), true) => {
                words.code(row.data).is_some_and(|wanted| wanted == code)
            }
            _ => false,
        };
        let wanted = words.comments.get(row.comment as usize).map(|text| &**text);
        held && wanted == comment(element.userdata)
    }

    /// Hands the elements that a row is to a function: two for a range of one field, else one. It
    /// begins to count where `counted` ends.
    pub(super) fn elements(
        &self,
        row: &Row<'_>,
        words: &Words,
        counted: Option<(u64, u64)>,
        take: &mut dyn FnMut(&Element<'_>),
    ) {
        let comment = words.comments.get(row.comment as usize);
        let mut note = [0; NOTE];
        let userdata = comment.map_or(&[][..], |comment| comment_note(&mut note, comment));
        let held = match (self.form.verdicts, row.data) {
            (true, data) => match words.code(data) {
                Some(code) => Held::Verdict(code),
                None => return,
            },
            (false, []) => Held::Nothing,
            (false, data) => Held::Value(data),
        };
        keyed(self.form, row.keys, held, userdata, &mut |element| {
            take(&Element { counted, ..*element });
        });
    }
}

impl Words {
    fn code(&self, number: &[u8]) -> Option<Code<'_>> {
        let number = crate::netlink::read_u32(number, 0)?;
        Some(match self.verdicts.get(number as usize)? {
            Verdict::Accept => Code::Accept,
            Verdict::Return => Code::Return,
            Verdict::Drop => Code::Drop,
            Verdict::Jump(chain) => Code::Jump(chain),
            Verdict::Goto(chain) => Code::Goto(chain),
            Verdict::Reject => return None,
        })
    }
}

/// Hands the elements with these keys to a function.
pub(super) fn keyed(
    form: Form,
    keys: &[u8],
    held: Held<'_>,
    userdata: &[u8],
    take: &mut dyn FnMut(&Element<'_>),
) {
    /// nft's note beside the start of a range that goes up to the last address.
    const OPEN: [u8; 6] = {
        let [a, b, c, d] = 1_u32.to_ne_bytes();
        [1, 4, a, b, c, d]
    };
    let (low, high) = keys.split_at_checked(form.key).unwrap_or((keys, &[]));
    let mut element =
        Element { key: low, key_end: None, ends_range: false, held, userdata, counted: None };
    if !form.ranges {
        return take(&element);
    }
    if !form.single {
        element.key_end = Some(high);
        return take(&element);
    }
    let mut past = [0; 16];
    let past = past.get_mut(..high.len()).unwrap_or_default();
    past.copy_from_slice(high);
    if next(past) {
        take(&element);
        take(&Element { key: past, ends_range: true, userdata: &[], ..element });
    } else {
        take(&Element { userdata: &OPEN, ..element });
    }
}

/// Goes to the next address; false after the last one.
pub(super) fn next(address: &mut [u8]) -> bool {
    for byte in address.iter_mut().rev() {
        let (value, carry) = byte.overflowing_add(1);
        *byte = value;
        if !carry {
            return true;
        }
    }
    false
}

/// Goes to the address before; false before the first one.
pub(super) fn previous(address: &mut [u8]) -> bool {
    for byte in address.iter_mut().rev() {
        let (value, borrow) = byte.overflowing_sub(1);
        *byte = value;
        if !borrow {
            return true;
        }
    }
    false
}

/// Writes a key, or both ends of a range.
pub(super) fn put_keys(out: &mut Vec<u8>, form: Form, key: &[Value]) {
    put_values(out, key, false);
    if form.ranges {
        put_values(out, key, true);
    }
}

/// Writes values, each padded. Of a block, the first or the last address.
fn put_values(out: &mut Vec<u8>, values: &[Value], last: bool) {
    for value in values {
        let start = out.len();
        match value {
            Value::Address(std::net::IpAddr::V4(address)) => out.extend(address.octets()),
            Value::Address(std::net::IpAddr::V6(address)) => out.extend(address.octets()),
            Value::Block(IpNet::V4(block)) if last => out.extend(block.broadcast().octets()),
            Value::Block(IpNet::V4(block)) => out.extend(block.network().octets()),
            Value::Block(IpNet::V6(block)) if last => out.extend(block.broadcast().octets()),
            Value::Block(IpNet::V6(block)) => out.extend(block.network().octets()),
            Value::Addresses(range) => match if last { range.last } else { range.first } {
                std::net::IpAddr::V4(address) => out.extend(address.octets()),
                std::net::IpAddr::V6(address) => out.extend(address.octets()),
            },
            Value::Ports(ports) => {
                let port = if last { ports.last } else { ports.first };
                out.extend(port.to_be_bytes());
            }
            Value::Protocol(protocol) => out.push(protocol.number()),
            Value::Port(port) => out.extend(port.to_be_bytes()),
            Value::Index(number) | Value::EndpointId(number) => out.extend(number.to_ne_bytes()),
        }
        out.resize(start + (out.len() - start).next_multiple_of(WORD), 0);
    }
}

/// nft's note of a comment: its type (0), its length with the final zero, the text.
pub(super) fn comment_note<'a>(buffer: &'a mut [u8; NOTE], comment: &str) -> &'a [u8] {
    let text = comment.as_bytes();
    let text = text.get(..COMMENT).unwrap_or(text);
    if let Some(place) = buffer.get_mut(2..2 + text.len()) {
        place.copy_from_slice(text);
    }
    buffer[1] = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    buffer.get(..text.len() + 3).unwrap_or_default()
}

/// The comment in nft's notes beside an element or table; there may be others.
pub(super) fn comment(mut notes: &[u8]) -> Option<&str> {
    loop {
        let (&[kind, length], rest) = notes.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(usize::from(length))?;
        if kind == 0 {
            return crate::netlink::c_text(value);
        }
        notes = rest;
    }
}
