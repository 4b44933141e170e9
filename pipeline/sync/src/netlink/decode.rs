//! Messages and attributes as the kernel sends them. Nothing is copied; what is cut short is left
//! out.

use super::encode::{HEADER, NFGEN};

/// A reply that ends a dump.
const NLMSG_DONE: u16 = 3;
/// A reply that carries an error number, or 0 for an acknowledgement.
const NLMSG_ERROR: u16 = 2;
/// The dump saw the tables change under it and may be inconsistent.
const NLM_F_DUMP_INTR: u16 = 0x10;
/// Attributes follow the error: text and offset.
const NLM_F_ACK_TLVS: u16 = 0x200;
/// The text within them.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// One message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Subsystem (high byte) and message (low byte).
    pub kind: u16,
    flags: u16,
    /// Of the request that it answers.
    pub sequence: u32,
    /// The [`port`](super::Socket::port) of the socket whose request it answers or announces.
    pub port: u32,
    body: &'a [u8],
}

/// The messages in a buffer.
#[derive(Clone, Debug)]
pub struct Messages<'a>(pub &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = read_u32(self.0, 0)? as usize;
        let message = Message {
            kind: read_u16(self.0, 4)?,
            flags: read_u16(self.0, 6)?,
            sequence: read_u32(self.0, 8)?,
            port: read_u32(self.0, 12)?,
            body: self.0.get(HEADER..length)?,
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

impl<'a> Message<'a> {
    /// The attributes of a netfilter message.
    #[must_use]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes(self.body.get(NFGEN..).unwrap_or_default())
    }

    /// `nfgen_family`.
    #[must_use]
    pub fn family(&self) -> u8 {
        self.body.first().copied().unwrap_or_default()
    }

    /// `res_id`: the CPU, the queue or the generation that the message is about.
    #[must_use]
    pub fn resource(&self) -> u16 {
        self.body.get(2..NFGEN).and_then(|id| id.try_into().ok()).map_or(0, u16::from_be_bytes)
    }

    /// Whether this ends a dump.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.kind == NLMSG_DONE
    }

    /// Whether the dump has to be made again.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.flags & NLM_F_DUMP_INTR != 0
    }

    /// The error number (positive; 0 is an acknowledgement) that this message or the end of a dump
    /// carries.
    #[must_use]
    pub fn error(&self) -> Option<i32> {
        let told = matches!(self.kind, NLMSG_ERROR | NLMSG_DONE);
        let number = read_u32(self.body, 0).filter(|_| told)?;
        Some((number as i32).checked_neg().unwrap_or(i32::MAX))
    }

    /// What the kernel says about the error, if it says anything.
    #[must_use]
    pub fn error_text(&self) -> Option<&'a str> {
        if self.kind != NLMSG_ERROR || self.flags & NLM_F_ACK_TLVS == 0 {
            return None;
        }
        // The request's header alone is told back: the socket asks for NETLINK_CAP_ACK.
        let attributes = Attributes(self.body.get(4 + HEADER..)?);
        attributes.text(NLMSGERR_ATTR_MSG)
    }
}

/// One attribute.
#[derive(Clone, Copy, Debug)]
pub struct Attribute<'a> {
    /// Its type, without the nesting and byte order flags.
    pub kind: u16,
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The attributes within.
    #[must_use]
    pub fn nested(&self) -> Attributes<'a> {
        Attributes(self.value)
    }
}

/// The attributes in a buffer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let length = usize::from(read_u16(self.0, 0)?);
        let attribute =
            Attribute { kind: read_u16(self.0, 2)? & 0x3fff, value: self.0.get(4..length)? };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(attribute)
    }
}

impl<'a> Attributes<'a> {
    /// The value of the first attribute of a type.
    #[must_use]
    pub fn get(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find(|attribute| attribute.kind == kind).map(|attribute| attribute.value)
    }

    /// The attributes within the first attribute of a type.
    #[must_use]
    pub fn nested(self, kind: u16) -> Attributes<'a> {
        Attributes(self.get(kind).unwrap_or_default())
    }

    /// A number in network order.
    #[must_use]
    pub fn be32(self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    /// A number in network order.
    #[must_use]
    pub fn be64(self, kind: u16) -> Option<u64> {
        Some(u64::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    /// A text, up to its NUL.
    #[must_use]
    pub fn text(self, kind: u16) -> Option<&'a str> {
        c_text(self.get(kind)?)
    }
}

/// A text in a field of fixed length: up to the first NUL, or all of it.
#[must_use]
pub fn c_text(field: &[u8]) -> Option<&str> {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    std::str::from_utf8(field.get(..end)?).ok()
}

/// A 16-bit number in the machine's order.
#[must_use]
pub fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// A 32-bit number in the machine's order.
#[must_use]
pub fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
