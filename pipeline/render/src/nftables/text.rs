//! Tables, rules and changes in the words of `nft`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter, Write};

use model::{Cidr, Family};

use super::names::{LAYOUT, TABLE};
use super::{
    AddressRange, Base, Chain, ChainType, Change, Content, CtState, Data, ElementId, End, Field,
    Holds, Hook, PortRange, Rule, Ruleset, Set, SetName, Statement, Value, Verdict,
};

/// The family as nft writes it, as that of a table and as that of a header.
fn family_word(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

impl Ruleset {
    /// The table of a family, as `nft -f` loads it into a namespace without one.
    #[must_use]
    pub fn to_text(&self, family: Family) -> String {
        let all = self.merged();
        let mut text =
            format!("table {} {TABLE} {{\n\tcomment \"{LAYOUT}\"\n", family_word(family));
        let mut elements: BTreeMap<SetName, Vec<String>> = BTreeMap::new();
        for (id, content) in all.elements.iter().filter(|(id, _)| id.family == family) {
            elements.entry(id.set.clone()).or_default().push(element(id, content));
        }
        let of_policies = all.sets.into_iter().filter(|id| id.family == family);
        let names = of_policies.map(|id| id.name).chain(SetName::all());
        for name in names.collect::<BTreeSet<_>>() {
            let set = name.declaration(self.options.affinity_size);
            let none = Vec::new();
            declare(&mut text, family, &name, &set, elements.get(&name).unwrap_or(&none));
        }
        for (id, chain) in all.chains.iter().filter(|(id, _)| id.family == family) {
            let _ = write!(text, "\tchain {} {{\n{}\t}}\n\n", id.name, Body { family, chain });
        }
        text.truncate(text.trim_end().len());
        text.push_str("\n}\n");
        text
    }
}

impl Change {
    /// The change to the table of a family, as `nft -f` applies it in one transaction.
    #[must_use]
    pub fn to_text(&self, family: Family) -> String {
        let mut text = String::new();
        let table = format!("{} {TABLE}", family_word(family));
        for id in self.new_sets.iter().filter(|id| id.family == family) {
            let set = id.name.declaration(0);
            let _ = writeln!(text, "add {} {table} {} {{", kind(&set), id.name);
            describe(&mut text, family, &set, "\t");
            text.push_str("}\n");
        }
        let written = || self.write.iter().filter(|(id, _)| id.family == family);
        for (id, chain) in written() {
            let hooked = chain.base.map(|base| format!(" {{ {base} }}")).unwrap_or_default();
            let _ = writeln!(text, "add chain {table} {}{hooked}", id.name);
            let _ = writeln!(text, "flush chain {table} {}", id.name);
        }
        for (id, chain) in written() {
            for rule in &chain.rules {
                let rule = Line { family, rule };
                let _ = writeln!(text, "add rule {table} {} {rule}", id.name);
            }
        }
        for id in self.remove.iter().filter(|id| id.family == family) {
            let key = Joined(&id.key);
            let _ = writeln!(text, "delete element {table} {} {{ {key} }}", id.set);
        }
        for (id, content) in self.add.iter().filter(|(id, _)| id.family == family) {
            let element = element(id, content);
            let _ = writeln!(text, "add element {table} {} {{ {element} }}", id.set);
        }
        let deleted = || self.delete.iter().filter(|id| id.family == family);
        for id in deleted() {
            let _ = writeln!(text, "flush chain {table} {}", id.name);
        }
        for id in self.dead_sets.iter().filter(|id| id.family == family) {
            let _ = writeln!(text, "delete {} {table} {}", kind(&id.name.declaration(0)), id.name);
        }
        for id in deleted() {
            let _ = writeln!(text, "delete chain {table} {}", id.name);
        }
        text
    }
}

fn kind(set: &Set) -> &'static str {
    if set.holds == Holds::Nothing { "set" } else { "map" }
}

/// What stands between the braces of a declaration, but for the elements.
fn describe(text: &mut String, family: Family, set: &Set, indent: &str) {
    let key = Fields { family, fields: &set.key };
    let _ = write!(text, "{indent}typeof {key}");
    let _ = match &set.holds {
        Holds::Nothing => Ok(()),
        Holds::Verdict => write!(text, " : verdict"),
        Holds::Data(fields) => write!(text, " : {}", Fields { family, fields }),
    };
    text.push('\n');
    if let Some(size) = set.dynamic {
        let _ = write!(text, "{indent}size {size}\n{indent}flags dynamic,timeout\n");
    }
    if set.interval {
        let _ = writeln!(text, "{indent}flags interval");
    }
    if set.counter {
        let _ = writeln!(text, "{indent}counter");
    }
}

fn declare(text: &mut String, family: Family, name: &SetName, set: &Set, elements: &[String]) {
    let _ = writeln!(text, "\t{} {name} {{", kind(set));
    describe(text, family, set, "\t\t");
    if !elements.is_empty() {
        let elements = elements.join(",\n\t\t\t     ");
        let _ = writeln!(text, "\t\telements = {{ {elements} }}");
    }
    text.push_str("\t}\n\n");
}

/// A rule of the table of a family, as nft lists it.
#[must_use]
pub fn rule_text(family: Family, rule: &Rule) -> String {
    Line { family, rule }.to_string()
}

/// An element with its comment and what it holds, as nft lists it but for its counter.
#[must_use]
pub fn element_text(id: &ElementId, content: &Content) -> String {
    element(id, content)
}

fn element(id: &ElementId, content: &Content) -> String {
    let mut text = Joined(&id.key).to_string();
    if let Some(comment) = &content.comment {
        let _ = write!(text, " comment \"{comment}\"");
    }
    let _ = match &content.data {
        Data::Nothing => Ok(()),
        Data::Verdict(verdict) => write!(text, " : {verdict}"),
        Data::Values(values) => write!(text, " : {}", Joined(values)),
    };
    text
}

struct Body<'a> {
    family: Family,
    chain: &'a Chain,
}

impl Display for Body<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(base) = self.chain.base {
            writeln!(f, "\t\t{base}")?;
        }
        for rule in &self.chain.rules {
            writeln!(f, "\t\t{}", Line { family: self.family, rule })?;
        }
        Ok(())
    }
}

impl Display for Base {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let chain_type = match self.chain_type {
            ChainType::Filter => "filter",
            ChainType::Nat => "nat",
        };
        let hook = match self.hook {
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        };
        write!(f, "type {chain_type} hook {hook} priority {}; policy accept;", self.priority)
    }
}

/// A rule as nft lists it.
pub(super) struct Line<'a> {
    pub(super) family: Family,
    pub(super) rule: &'a Rule,
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (place, statement) in self.rule.iter().enumerate() {
            if place > 0 {
                f.write_char(' ')?;
            }
            self.statement(f, statement)?;
        }
        Ok(())
    }
}

impl Line<'_> {
    fn fields<'a>(&self, fields: &'a [Field]) -> Fields<'a> {
        Fields { family: self.family, fields }
    }

    fn statement(&self, f: &mut Formatter<'_>, statement: &Statement) -> fmt::Result {
        let not = |inverted: &bool| if *inverted { "!= " } else { "" };
        let family = family_word(self.family);
        let id = self.fields(&[Field::EndpointId]);
        match statement {
            Statement::Address { end, inverted, block } => {
                write!(f, "{family} {end} {}{}", not(inverted), Block(block))
            }
            Statement::InInterface { inverted, name } => {
                write!(f, "iifname {}\"{name}\"", not(inverted))
            }
            Statement::Local { end, inverted } => {
                write!(f, "fib {end} type {}local", not(inverted))
            }
            Statement::Protocol(protocol) => write!(f, "meta l4proto {}", protocol.lower()),
            Statement::CtState(CtState::New) => f.write_str("ct state new"),
            Statement::CtState(CtState::Established) => f.write_str("ct state established,related"),
            Statement::CtState(CtState::Invalid) => f.write_str("ct state invalid"),
            Statement::Translated => f.write_str("ct status dnat"),
            Statement::CtMark(bits) => write!(f, "ct mark & 0x{bits:08x} == 0x{bits:08x}"),
            Statement::In { key, inverted, set } => {
                write!(f, "{} {}@{set}", self.fields(key), not(inverted))
            }
            Statement::Dispatch { key, map } => write!(f, "{} vmap @{map}", self.fields(key)),
            Statement::AddCtMark(bits) => write!(f, "ct mark set ct mark | 0x{bits:08x}"),
            Statement::LoadEndpointId { key, map } => {
                write!(f, "{id} set {} map @{map}", self.fields(key))
            }
            Statement::Remember { key, map, seconds } => {
                let (key, time) = (self.fields(key), Duration(*seconds));
                write!(f, "update @{map} {{ {key} timeout {time} : {id} }}")
            }
            Statement::Forget { key, map } => {
                write!(f, "delete @{map} {{ {} : {id} }}", self.fields(key))
            }
            Statement::Dnat { key, map } => {
                write!(f, "dnat {family} to {} map @{map}", self.fields(key))
            }
            Statement::Masquerade { first, last } => {
                write!(f, "masquerade to :{first}-{last} fully-random")
            }
            Statement::Verdict(verdict) => write!(f, "{verdict}"),
            of_policies => self.of_policies(f, of_policies),
        }
    }

    /// The statements that only policies need.
    fn of_policies(&self, f: &mut Formatter<'_>, statement: &Statement) -> fmt::Result {
        match statement {
            Statement::DestinationPorts { protocol, ports } => {
                write!(f, "{} dport {}", protocol.lower(), Ports(*ports))
            }
            Statement::NeighbourDiscovery => f.write_str("icmpv6 type 133-137"),
            Statement::NotSyn => f.write_str("tcp flags != syn / fin,syn,rst,ack"),
            Statement::Keep { key, set, seconds } => {
                let (key, time) = (self.fields(key), Duration(*seconds));
                write!(f, "update @{set} {{ {key} timeout {time} }}")
            }
            Statement::Counter => f.write_str("counter packets 0 bytes 0"),
            Statement::Limit { per_second } => {
                write!(f, "limit rate {per_second}/second burst {per_second} packets")
            }
            Statement::Log { prefix, group } => {
                write!(f, "log prefix \"{prefix}\" group {group}")
            }
            Statement::Comment(text) => write!(f, "comment \"{text}\""),
            _ => Ok(()),
        }
    }
}

impl Display for End {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::Source => "saddr",
            End::Destination => "daddr",
        })
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Return => f.write_str("return"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Reject => f.write_str("reject"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
            Verdict::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

struct Fields<'a> {
    family: Family,
    fields: &'a [Field],
}

impl Display for Fields<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let family = family_word(self.family);
        for (place, field) in self.fields.iter().enumerate() {
            if place > 0 {
                f.write_str(" . ")?;
            }
            match field {
                Field::SourceAddress => write!(f, "{family} saddr")?,
                Field::DestinationAddress => write!(f, "{family} daddr")?,
                Field::Protocol => f.write_str("meta l4proto")?,
                Field::DestinationPort => f.write_str("th dport")?,
                Field::RandomIndex { modulus } => write!(f, "numgen random mod {modulus}")?,
                Field::EndpointId => f.write_str("meta priority")?,
            }
        }
        Ok(())
    }
}

struct Joined<'a>(&'a [Value]);

impl Display for Joined<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (place, value) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(" . ")?;
            }
            write!(f, "{value}")?;
        }
        Ok(())
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Value::Address(address) => write!(f, "{address}"),
            Value::Block(block) => Block(block).fmt(f),
            Value::Addresses(AddressRange { first, last }) => write!(f, "{first}-{last}"),
            Value::Protocol(protocol) => f.write_str(protocol.lower()),
            Value::Port(port) => write!(f, "{port}"),
            Value::Ports(ports) => Ports(*ports).fmt(f),
            Value::Index(index) => write!(f, "{index}"),
            // A priority is a class of a queueing discipline to nft: major and minor number.
            Value::EndpointId(id) => write!(f, "{:x}:{:x}", id >> 16, id & 0xffff),
        }
    }
}

struct Ports(PortRange);

impl Display for Ports {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let PortRange { first, last } = self.0;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

/// A block; one of a single address is that address to nft.
struct Block<'a>(&'a Cidr);

impl Display for Block<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            write!(f, "{}", self.0.addr())
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// A time as nft lists it: `3h`, `1m30s`.
struct Duration(u32);

impl Display for Duration {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];
        let mut rest = self.0;
        for (size, unit) in units {
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        if self.0 == 0 { f.write_str("0s") } else { Ok(()) }
    }
}
