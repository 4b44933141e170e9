//! Sets of addresses that rules look up, as the tool `ipset` knows them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use model::{Cidr, Family, Protocol};

/// The longest name of a set, in bytes (`IPSET_MAXNAMELEN` without its NUL).
pub const SET_NAME: usize = 31;
/// How many elements a set may have; the kernel allocates none of them ahead.
pub const MAX_ELEMENTS: u32 = 1 << 20;

/// What a set holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetKind {
    /// `hash:ip`: addresses.
    Addresses,
    /// `hash:net`: blocks; an address in one of them is found. The block of all addresses cannot be
    /// a member.
    Blocks,
    /// `hash:ip,port`: addresses with protocol and port.
    Ports,
}

impl SetKind {
    /// All kinds.
    pub const ALL: [SetKind; 3] = [SetKind::Addresses, SetKind::Blocks, SetKind::Ports];

    /// The type's name.
    #[must_use]
    pub fn type_name(self) -> &'static str {
        match self {
            SetKind::Addresses => "hash:ip",
            SetKind::Blocks => "hash:net",
            SetKind::Ports => "hash:ip,port",
        }
    }
}

/// What makes two sets exchangeable but for their elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetHeader {
    /// What the set holds.
    pub kind: SetKind,
    /// Of which family.
    pub family: Family,
    /// After how many seconds elements leave, unless they are put in with another time.
    pub timeout: Option<u32>,
}

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    /// Of [`SetKind::Addresses`].
    Address(IpAddr),
    /// Of [`SetKind::Blocks`].
    Block(Cidr),
    /// Of [`SetKind::Ports`].
    Port(IpAddr, Protocol, u16),
}

impl fmt::Display for Member {
    /// As the tool prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Member::Address(address) => write!(f, "{address}"),
            Member::Block(block) if block.prefix_len() == block.max_prefix_len() => {
                write!(f, "{}", block.addr())
            }
            Member::Block(block) => write!(f, "{block}"),
            Member::Port(address, protocol, port) => {
                write!(f, "{address},{}:{port}", protocol.lower())
            }
        }
    }
}

/// Who decides what is in a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// We do: exactly these.
    Exactly(BTreeSet<Member>),
    /// Packets put elements in, by [`Target::AddToSet`](super::Target::AddToSet); these elements
    /// must not be there.
    ByPackets {
        /// What must not be there.
        never: BTreeSet<Member>,
    },
}

/// One set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpSet {
    /// Its type.
    pub header: SetHeader,
    /// Its elements.
    pub content: Content,
}

impl IpSet {
    /// A set with these elements, which stay.
    #[must_use]
    pub fn of(kind: SetKind, family: Family, members: BTreeSet<Member>) -> Self {
        let header = SetHeader { kind, family, timeout: None };
        Self { header, content: Content::Exactly(members) }
    }

    /// How many buckets the set begins with. One that we fill grows as it must; packets cannot make
    /// a set grow.
    #[must_use]
    pub fn first_size(&self) -> u32 {
        match self.content {
            Content::Exactly(_) => 64,
            Content::ByPackets { .. } => 4096,
        }
    }

    /// The elements that we put in; none where packets do.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        match &self.content {
            Content::Exactly(members) => Some(members),
            Content::ByPackets { .. } => None,
        }
        .into_iter()
        .flatten()
    }
}

/// Sets by name.
pub type IpSets = BTreeMap<Arc<str>, IpSet>;

/// The sets as `ipset save` prints them on a host that holds no others, but for the order of
/// elements and for the size that the kernel has let a set grow to; `ipset restore` takes it.
#[must_use]
pub fn to_text(sets: &IpSets) -> String {
    let mut text = String::new();
    for (name, set) in sets {
        let SetHeader { kind, family, timeout } = set.header;
        let family = match family {
            Family::V4 => "inet",
            Family::V6 => "inet6",
        };
        let timeout = timeout.map(|seconds| format!(" timeout {seconds}")).unwrap_or_default();
        text.push_str(&format!(
            "create {name} {} family {family} hashsize {} maxelem {MAX_ELEMENTS}{timeout}\n",
            kind.type_name(),
            set.first_size(),
        ));
        for member in set.members() {
            text.push_str(&format!("add {name} {member}\n"));
        }
    }
    text
}
