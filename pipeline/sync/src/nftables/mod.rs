//! The objects of nf_tables as netlink messages: tables, chains and rules.
//!
//! One message each; a batch of them is one transaction. Numbers are those of
//! `linux/netfilter/nf_tables.h`. Sets, maps and elements of native rulesets are further objects of
//! the same kind and go beside these.

mod counted;
pub mod expression;
pub mod native;
pub mod set;

pub use counted::counted;
pub use expression::{Expression, Expressions, Extension, Verdict};

use crate::netlink::{
    APPEND, Attributes, CREATE, DUMP, ECHO, EXCL, Encoder, Header, Message, REQUEST,
};

/// `NFNL_SUBSYS_NFTABLES`
pub const SUBSYSTEM: u16 = 10;

/// What can be done to an object: the low bytes of the message types.
mod message {
    pub(super) const NEW_TABLE: u16 = 0;
    pub(super) const GET_TABLE: u16 = 1;
    pub(super) const DELETE_TABLE: u16 = 2;
    pub(super) const NEW_CHAIN: u16 = 3;
    pub(super) const GET_CHAIN: u16 = 4;
    pub(super) const DELETE_CHAIN: u16 = 5;
    pub(super) const NEW_RULE: u16 = 6;
    pub(super) const GET_RULE: u16 = 7;
    pub(super) const DELETE_RULE: u16 = 8;
    pub(super) const NEW_SET: u16 = 9;
    pub(super) const GET_SET: u16 = 10;
    pub(super) const DELETE_SET: u16 = 11;
    pub(super) const NEW_ELEMENT: u16 = 12;
    pub(super) const GET_ELEMENT: u16 = 13;
    pub(super) const DELETE_ELEMENT: u16 = 14;
    pub(super) const GET_GENERATION: u16 = 16;
}

/// `NFTA_TABLE_…`
mod table_attribute {
    pub(super) const NAME: u16 = 1;
    pub(super) const USERDATA: u16 = 6;
}

/// `NFTA_CHAIN_…` and `NFTA_HOOK_…`
mod chain_attribute {
    pub(super) const TABLE: u16 = 1;
    pub(super) const NAME: u16 = 3;
    pub(super) const HOOK: u16 = 4;
    pub(super) const POLICY: u16 = 5;
    pub(super) const TYPE: u16 = 7;
    pub(super) const HOOK_NUMBER: u16 = 1;
    pub(super) const HOOK_PRIORITY: u16 = 2;
}

/// `NFTA_RULE_…` and `NFTA_RULE_COMPAT_…`
mod rule_attribute {
    pub(super) const TABLE: u16 = 1;
    pub(super) const CHAIN: u16 = 2;
    pub(super) const HANDLE: u16 = 3;
    pub(super) const EXPRESSIONS: u16 = 4;
    pub(super) const COMPAT: u16 = 5;
    pub(super) const POSITION: u16 = 6;
    pub(super) const USERDATA: u16 = 7;
    pub(super) const COMPAT_PROTOCOL: u16 = 1;
    pub(super) const COMPAT_FLAGS: u16 = 2;
}

/// `NF_ACCEPT`, the policy of a base chain.
const POLICY_ACCEPT: u32 = 1;
/// `NF_DROP`, the policy of a base chain.
const POLICY_DROP: u32 = 0;

/// The table that a message is about, and the number by which it is answered.
#[derive(Clone, Copy, Debug)]
pub struct To<'a> {
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    /// The table.
    pub table: &'a str,
    /// Told back with errors and echoes.
    pub sequence: u32,
}

/// Where a base chain is called from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// `filter`, `nat` or `route`.
    pub kind: &'static str,
    /// `NF_INET_…`
    pub number: u32,
    /// Lower ones are called first.
    pub priority: i32,
}

/// Where in its chain a new rule goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the beginning.
    First,
    /// Before the rule with this handle.
    Before(u64),
    /// After the rule with this handle.
    After(u64),
    /// At the end.
    Last,
}

impl RuleSeen<'_> {
    /// What it consists of, as native rules have it.
    #[must_use]
    pub fn natives(&self) -> native::Natives<'_> {
        native::Natives(self.expressions.0)
    }
}

impl<'a> RuleSeen<'a> {
    /// The kernel's names of its expressions, in the order of [`RuleSeen::natives`].
    pub fn names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let expressions = self.expressions.0;
        expressions.map(|one| one.nested().text(expression::NAME).unwrap_or_default())
    }
}

impl To<'_> {
    fn header(&self, message: u16, flags: u16) -> Header {
        Header {
            kind: SUBSYSTEM << 8 | message,
            flags: REQUEST | flags,
            sequence: self.sequence,
            family: self.family,
            resource: 0,
        }
    }

    /// Makes the table unless it is there.
    pub fn new_table(&self, out: &mut Encoder) {
        let message = out.message(self.header(message::NEW_TABLE, CREATE));
        out.text(table_attribute::NAME, self.table);
        out.end(message);
    }

    /// Makes the table unless it is there, with what nft notes beside it.
    pub fn new_table_noted(&self, out: &mut Encoder, userdata: &[u8]) {
        let message = out.message(self.header(message::NEW_TABLE, CREATE));
        out.text(table_attribute::NAME, self.table);
        out.raw(table_attribute::USERDATA, userdata);
        out.end(message);
    }

    /// Deletes the table with all that is in it.
    pub fn delete_table(&self, out: &mut Encoder) {
        let message = out.message(self.header(message::DELETE_TABLE, 0));
        out.text(table_attribute::NAME, self.table);
        out.end(message);
    }

    /// Makes a chain unless it is there.
    pub fn new_chain(&self, out: &mut Encoder, chain: &str) {
        self.plain_chain(out, chain, CREATE);
    }

    /// Makes a chain that packets enter by jumps only. The kernel refuses if it is there already.
    pub fn new_fresh_chain(&self, out: &mut Encoder, chain: &str) {
        self.plain_chain(out, chain, CREATE | EXCL);
    }

    fn plain_chain(&self, out: &mut Encoder, chain: &str, flags: u16) {
        let message = out.message(self.header(message::NEW_CHAIN, flags));
        out.text(chain_attribute::TABLE, self.table);
        out.text(chain_attribute::NAME, chain);
        out.end(message);
    }

    /// Makes a base chain that lets everything through.
    pub fn new_base_chain(&self, out: &mut Encoder, chain: &str, hook: Hook) {
        let message = out.message(self.header(message::NEW_CHAIN, CREATE));
        out.text(chain_attribute::TABLE, self.table);
        out.text(chain_attribute::NAME, chain);
        let nest = out.nest(chain_attribute::HOOK);
        out.be32(chain_attribute::HOOK_NUMBER, hook.number);
        out.raw(chain_attribute::HOOK_PRIORITY, &hook.priority.to_be_bytes());
        out.close(nest);
        out.be32(chain_attribute::POLICY, POLICY_ACCEPT);
        out.text(chain_attribute::TYPE, hook.kind);
        out.end(message);
    }

    /// Deletes a chain with its rules. The kernel refuses while another rule jumps to it.
    pub fn delete_chain(&self, out: &mut Encoder, chain: &str) {
        let message = out.message(self.header(message::DELETE_CHAIN, 0));
        out.text(chain_attribute::TABLE, self.table);
        out.text(chain_attribute::NAME, chain);
        out.end(message);
    }

    /// Makes a rule. `fill` writes its expressions; `protocol` is what extensions of iptables ask
    /// for (`NFTA_RULE_COMPAT`); with `echo` the kernel tells the handle back.
    pub fn new_rule(
        &self,
        out: &mut Encoder,
        chain: &str,
        place: Place,
        echo: bool,
        protocol: Option<u8>,
        fill: impl FnOnce(&mut Encoder),
    ) {
        let append = if matches!(place, Place::Last | Place::After(_)) { APPEND } else { 0 };
        let echo = if echo { ECHO } else { 0 };
        let message = out.message(self.header(message::NEW_RULE, CREATE | append | echo));
        out.text(rule_attribute::TABLE, self.table);
        out.text(rule_attribute::CHAIN, chain);
        if let Place::Before(handle) | Place::After(handle) = place {
            out.be64(rule_attribute::POSITION, handle);
        }
        let expressions = out.nest(rule_attribute::EXPRESSIONS);
        fill(out);
        out.close(expressions);
        if let Some(protocol) = protocol {
            let nest = out.nest(rule_attribute::COMPAT);
            out.be32(rule_attribute::COMPAT_PROTOCOL, protocol.into());
            out.be32(rule_attribute::COMPAT_FLAGS, 0);
            out.close(nest);
        }
        out.end(message);
    }

    /// Makes a rule at the end of its chain, with what nft notes beside it. `fill` writes its
    /// expressions.
    pub fn new_noted_rule(
        &self,
        out: &mut Encoder,
        chain: &str,
        userdata: &[u8],
        fill: impl FnOnce(&mut Encoder),
    ) {
        let message = out.message(self.header(message::NEW_RULE, CREATE | APPEND));
        out.text(rule_attribute::TABLE, self.table);
        out.text(rule_attribute::CHAIN, chain);
        let expressions = out.nest(rule_attribute::EXPRESSIONS);
        fill(out);
        out.close(expressions);
        if !userdata.is_empty() {
            out.raw(rule_attribute::USERDATA, userdata);
        }
        out.end(message);
    }

    /// Deletes one rule by its handle.
    pub fn delete_rule(&self, out: &mut Encoder, chain: &str, handle: u64) {
        let message = out.message(self.header(message::DELETE_RULE, 0));
        out.text(rule_attribute::TABLE, self.table);
        out.text(rule_attribute::CHAIN, chain);
        out.be64(rule_attribute::HANDLE, handle);
        out.end(message);
    }

    /// Deletes all rules of a chain; there need not be any.
    pub fn flush_chain(&self, out: &mut Encoder, chain: &str) {
        let message = out.message(self.header(message::DELETE_RULE, 0));
        out.text(rule_attribute::TABLE, self.table);
        out.text(rule_attribute::CHAIN, chain);
        out.end(message);
    }

    /// Asks for all tables of the family.
    pub fn dump_tables(&self, out: &mut Encoder) {
        let message = out.message(self.header(message::GET_TABLE, DUMP));
        out.end(message);
    }

    /// Asks for all chains of all tables of the family.
    pub fn dump_chains(&self, out: &mut Encoder) {
        let message = out.message(self.header(message::GET_CHAIN, DUMP));
        out.end(message);
    }

    /// Asks for one chain.
    pub fn get_chain(&self, out: &mut Encoder, chain: &str) {
        let message = out.message(self.header(message::GET_CHAIN, crate::netlink::ACK));
        out.text(chain_attribute::TABLE, self.table);
        out.text(chain_attribute::NAME, chain);
        out.end(message);
    }

    /// Asks for all rules of the table, or of one chain. The kernel's time for a whole table grows
    /// with the square of its rules.
    pub fn dump_rules(&self, out: &mut Encoder, chain: Option<&str>) {
        let message = out.message(self.header(message::GET_RULE, DUMP));
        out.text(rule_attribute::TABLE, self.table);
        if let Some(chain) = chain {
            out.text(rule_attribute::CHAIN, chain);
        }
        out.end(message);
    }

    /// Asks which generation of the ruleset is in force: the cheapest question there is.
    pub fn get_generation(&self, out: &mut Encoder) {
        let message = out.message(self.header(message::GET_GENERATION, crate::netlink::ACK));
        out.end(message);
    }
}

/// A table that the kernel told of.
#[must_use]
pub fn read_table<'a>(message: &Message<'a>) -> Option<&'a str> {
    let is_table = message.kind == SUBSYSTEM << 8 | message::NEW_TABLE;
    message.attributes().text(table_attribute::NAME).filter(|_| is_table)
}

/// What is noted beside a table that the kernel told of.
#[must_use]
pub fn table_userdata<'a>(message: &Message<'a>) -> &'a [u8] {
    message.attributes().get(table_attribute::USERDATA).unwrap_or_default()
}

/// A chain that the kernel told of.
#[derive(Clone, Copy, Debug)]
pub struct ChainSeen<'a> {
    /// Its table.
    pub table: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Whether a hook calls it.
    pub base: bool,
    /// The hook that calls it: type, number (`NF_INET_…`) and priority.
    pub hook: Option<(&'a str, u32, i32)>,
    /// Whether it drops what no rule of it decides.
    pub drops: bool,
}

/// A chain that the kernel told of.
#[must_use]
pub fn read_chain<'a>(message: &Message<'a>) -> Option<ChainSeen<'a>> {
    if message.kind != SUBSYSTEM << 8 | message::NEW_CHAIN {
        return None;
    }
    let attributes = message.attributes();
    Some(ChainSeen {
        table: attributes.text(chain_attribute::TABLE)?,
        name: attributes.text(chain_attribute::NAME)?,
        base: attributes.get(chain_attribute::HOOK).is_some(),
        hook: read_hook(attributes),
        drops: attributes.be32(chain_attribute::POLICY) == Some(POLICY_DROP),
    })
}

fn read_hook(chain: Attributes<'_>) -> Option<(&str, u32, i32)> {
    let hook = chain.nested(chain_attribute::HOOK);
    let number = hook.be32(chain_attribute::HOOK_NUMBER)?;
    let priority = hook.be32(chain_attribute::HOOK_PRIORITY)?.cast_signed();
    Some((chain.text(chain_attribute::TYPE)?, number, priority))
}

/// A rule that the kernel told of.
#[derive(Clone, Copy, Debug)]
pub struct RuleSeen<'a> {
    /// Its chain.
    pub chain: &'a str,
    /// Its handle.
    pub handle: u64,
    /// What it consists of.
    pub expressions: Expressions<'a>,
    /// What its writer noted beside it.
    pub userdata: &'a [u8],
}

/// A rule that the kernel told of.
#[must_use]
pub fn read_rule<'a>(message: &Message<'a>) -> Option<RuleSeen<'a>> {
    if message.kind != SUBSYSTEM << 8 | message::NEW_RULE {
        return None;
    }
    let attributes = message.attributes();
    Some(RuleSeen {
        chain: attributes.text(rule_attribute::CHAIN)?,
        handle: attributes.be64(rule_attribute::HANDLE)?,
        expressions: Expressions(attributes.nested(rule_attribute::EXPRESSIONS)),
        userdata: attributes.get(rule_attribute::USERDATA).unwrap_or_default(),
    })
}

/// `NFTA_SET_NAME`, which is also `NFTA_SET_ELEM_LIST_SET`
const SET_NAME: u16 = 2;

/// The family and the table of a message of ours that makes a rule; `None` for any other.
#[must_use]
pub(crate) fn table_of_new_rule<'a>(message: &Message<'a>) -> Option<(u8, &'a str)> {
    let is_rule = message.kind == SUBSYSTEM << 8 | message::NEW_RULE;
    let table = message.attributes().text(rule_attribute::TABLE).filter(|_| is_rule)?;
    Some((message.family(), table))
}

/// Which object a message of ours is about, for error messages: `NFTA_RULE_TABLE` and
/// `NFTA_CHAIN_TABLE` share their number, the chain's name does not.
#[must_use]
pub fn describe(message: &Message<'_>) -> String {
    let attributes: Attributes<'_> = message.attributes();
    let family = if message.family() == libc::AF_INET6 as u8 { "IPv6" } else { "IPv4" };
    let table = attributes.text(table_attribute::NAME).unwrap_or_default();
    let (what, chain) = match message.kind & 0xff {
        message::NEW_TABLE => ("make the table", None),
        message::DELETE_TABLE => ("delete the table", None),
        message::NEW_SET => ("make the set", Some(SET_NAME)),
        message::DELETE_SET => ("delete the set", Some(SET_NAME)),
        message::NEW_ELEMENT => ("add an element to the set", Some(SET_NAME)),
        message::DELETE_ELEMENT => ("take an element out of the set", Some(SET_NAME)),
        message::NEW_CHAIN => ("make the chain", Some(chain_attribute::NAME)),
        message::DELETE_CHAIN => ("delete the chain", Some(chain_attribute::NAME)),
        message::NEW_RULE => ("write a rule into", Some(rule_attribute::CHAIN)),
        message::DELETE_RULE if attributes.get(rule_attribute::HANDLE).is_some() => {
            ("delete a rule of", Some(rule_attribute::CHAIN))
        }
        message::DELETE_RULE => ("empty the chain", Some(rule_attribute::CHAIN)),
        _ => ("do something to", None),
    };
    let chain = chain.and_then(|kind| attributes.text(kind)).unwrap_or_default();
    format!("{what} {family} {table} {chain}").trim_end().to_owned()
}
