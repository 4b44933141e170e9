//! Messages and attributes, written into one growing buffer without any allocation of their own.

use super::KEPT_MEMORY;

/// Every netlink header, attribute and payload starts at a multiple of this.
const ALIGN: usize = 4;
/// Length of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// Length of `struct nfgenmsg`, which follows the header in all messages of netfilter.
pub(crate) const NFGEN: usize = 4;
/// Marks an attribute that holds attributes.
const NLA_F_NESTED: u16 = 1 << 15;

/// Where an attribute or message begins whose length is not known yet.
#[derive(Debug)]
#[must_use = "what was opened must be closed"]
pub struct Open(usize);

/// A buffer of netlink messages.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
    /// Whether some attribute grew past the 65,535 bytes that its length field can tell.
    too_long: bool,
}

impl Encoder {
    /// What was written.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes were written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets everything, keeps some of the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_MEMORY);
        self.too_long = false;
    }

    /// Forgets what was written after a place.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Forgets what was written before a place.
    pub fn drop_front(&mut self, len: usize) {
        self.bytes.drain(..len);
    }

    /// Whether an attribute was too long since this was last asked.
    pub fn take_too_long(&mut self) -> bool {
        std::mem::take(&mut self.too_long)
    }

    /// Begins a message of a netfilter subsystem.
    pub fn message(&mut self, header: Header) -> Open {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&header.kind.to_ne_bytes());
        self.bytes.extend_from_slice(&header.flags.to_ne_bytes());
        self.bytes.extend_from_slice(&header.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&[header.family, 0]);
        self.bytes.extend_from_slice(&header.resource.to_be_bytes());
        Open(start)
    }

    /// Ends a message.
    pub fn end(&mut self, message: Open) {
        let length = u32::try_from(self.bytes.len() - message.0).unwrap_or(u32::MAX);
        if let Some(field) = self.bytes.get_mut(message.0..message.0 + 4) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
    }

    /// Begins an attribute that holds attributes.
    pub fn nest(&mut self, kind: u16) -> Open {
        self.open(kind | NLA_F_NESTED)
    }

    /// Begins an attribute that holds anything.
    pub fn open(&mut self, kind: u16) -> Open {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&0u16.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        Open(start)
    }

    /// Ends an attribute and pads it.
    pub fn close(&mut self, attribute: Open) {
        let length = u16::try_from(self.bytes.len() - attribute.0).unwrap_or_else(|_| {
            self.too_long = true;
            u16::MAX
        });
        if let Some(field) = self.bytes.get_mut(attribute.0..attribute.0 + 2) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
        self.pad();
    }

    /// Writes an attribute of raw bytes.
    pub fn raw(&mut self, kind: u16, value: &[u8]) {
        let attribute = self.open(kind);
        self.bytes.extend_from_slice(value);
        self.close(attribute);
    }

    /// Writes an attribute of text, with its closing NUL.
    pub fn text(&mut self, kind: u16, value: &str) {
        let attribute = self.open(kind);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.close(attribute);
    }

    /// Writes a 32-bit number in network order, as nf_tables wants it.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.raw(kind, &value.to_be_bytes());
    }

    /// Writes a 64-bit number in network order.
    pub fn be64(&mut self, kind: u16, value: u64) {
        self.raw(kind, &value.to_be_bytes());
    }

    /// Writes bytes into an attribute that is open.
    pub fn put(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
    }

    /// Fills an open attribute with zeros up to a length counted from `from`.
    pub fn zeros_until(&mut self, from: usize, length: usize) {
        let end = (from + length).max(self.bytes.len());
        self.bytes.resize(end, 0);
    }

    fn pad(&mut self) {
        let end = self.bytes.len().next_multiple_of(ALIGN);
        self.bytes.resize(end, 0);
    }
}

/// What stands at the head of a message.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Subsystem (high byte) and message (low byte).
    pub kind: u16,
    /// `NLM_F_…`
    pub flags: u16,
    /// Told back with errors and echoes.
    pub sequence: u32,
    /// `AF_INET`, `AF_INET6` or 0.
    pub family: u8,
    /// The subsystem, in the messages that frame a batch; else 0.
    pub resource: u16,
}
