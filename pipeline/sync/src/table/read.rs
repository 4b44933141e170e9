//! Reading what the kernel holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Family, Protocol};
use render::nftables::{
    AddressRange, Base, Chain, ChainId, ChainType, Content, Data, ElementId, Field, Holds, Hook,
    Part, PortRange, Rule, SetId, SetName, Value, names,
};

use super::decode::{self, ip};
use super::layout::{WORD, length, number};
use super::reader::absent;
use super::rows::{Form, comment, previous};
use crate::Error;
use crate::netlink::{Encoder, Socket, read_u32};
use crate::nftables::set::{Element, Held as HeldData, SetShape, read_elements, read_set};
use crate::nftables::{self, To, read_chain, read_rule, read_table, table_userdata};

/// Where the kernel calls a chain from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChainHook {
    pub(super) kind: String,
    pub(super) number: u32,
    pub(super) priority: i32,
}

impl ChainHook {
    pub(super) fn of(base: Base) -> Self {
        let hook = hook(base);
        Self { kind: hook.kind.to_owned(), number: hook.number, priority: hook.priority }
    }

    pub(super) fn base(&self) -> Option<Base> {
        let chain_type = match &*self.kind {
            "filter" => ChainType::Filter,
            "nat" => ChainType::Nat,
            _ => return None,
        };
        let hook = HOOKS.get(self.number as usize).copied()?;
        Some(Base { chain_type, hook, priority: self.priority })
    }
}

/// The hooks in the order of their numbers (`NF_INET_…`).
const HOOKS: [Hook; 5] =
    [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];

/// A hook in the kernel's words.
pub(super) fn hook(base: Base) -> nftables::Hook {
    let number = HOOKS.iter().position(|&hook| hook == base.hook).unwrap_or_default();
    nftables::Hook {
        kind: match base.chain_type {
            ChainType::Filter => "filter",
            ChainType::Nat => "nat",
        },
        number: u32::try_from(number).unwrap_or_default(),
        priority: base.priority,
    }
}

/// Addresses a message to our table.
pub(super) fn to(family: Family, sequence: u32) -> To<'static> {
    To { family: number(family), table: names::TABLE, sequence }
}

fn ask(family: Family, question: impl FnOnce(To<'_>, &mut Encoder)) -> Encoder {
    let mut out = Encoder::default();
    // No other request is under way on this socket, so any number will do.
    question(to(family, 1), &mut out);
    out
}

/// What is noted beside our table; `None` where there is no such table.
pub(super) fn table(socket: &mut Socket, family: Family) -> Result<Option<Vec<u8>>, Error> {
    let request = ask(family, |to, out| to.dump_tables(out));
    let mut userdata = None;
    socket.dump("tables", &request, |message| {
        if read_table(message) == Some(names::TABLE) {
            userdata = Some(table_userdata(message).to_vec());
        }
    })?;
    Ok(userdata)
}

/// The chains of our table, with what calls them.
pub(super) fn chains(
    socket: &mut Socket,
    family: Family,
) -> Result<BTreeMap<Arc<str>, Option<ChainHook>>, Error> {
    let request = ask(family, |to, out| to.dump_chains(out));
    let mut chains = BTreeMap::new();
    socket.dump("chains", &request, |message| {
        let Some(seen) = read_chain(message).filter(|seen| seen.table == names::TABLE) else {
            return;
        };
        let hook = seen.hook.map(|(kind, number, priority)| ChainHook {
            kind: kind.to_owned(),
            number,
            priority,
        });
        chains.insert(seen.name.into(), hook);
    })?;
    Ok(chains)
}

/// The rules of our table by chain; `None` for what no rule of ours says.
pub(super) fn rules(
    socket: &mut Socket,
    family: Family,
) -> Result<BTreeMap<Arc<str>, Vec<Option<Rule>>>, Error> {
    let names = decode::names();
    let request = ask(family, |to, out| to.dump_rules(out, None));
    let mut rules: BTreeMap<Arc<str>, Vec<Option<Rule>>> = BTreeMap::new();
    socket.dump("rules", &request, |message| {
        if let Some(seen) = read_rule(message) {
            let rule = decode::read_rule(family, &seen, &names);
            rules.entry(seen.chain.into()).or_default().push(rule);
        }
    })?;
    Ok(rules)
}

/// The declarations of the sets of our table.
pub(super) fn sets(
    socket: &mut Socket,
    family: Family,
) -> Result<BTreeMap<String, SetShape>, Error> {
    let request = ask(family, |to, out| to.dump_sets(out));
    let mut sets = BTreeMap::new();
    socket.dump("sets", &request, |message| {
        if let Some((names::TABLE, name, shape)) = read_set(message) {
            sets.insert(name.to_owned(), shape);
        }
    })?;
    Ok(sets)
}

/// Hands each element of a set to a function, with its key or both ends of its range.
pub(super) fn elements(
    socket: &mut Socket,
    family: Family,
    name: &SetName,
    take: &mut dyn FnMut(&[u8], &Element<'_>),
) -> Result<(), Error> {
    let form = Form::of(family, name);
    let request = ask(family, |to, out| to.dump_elements(out, &name.to_string()));
    let mut keys = Vec::new();
    // Ranges of one field come as their ends, in whatever order.
    let mut ends: Vec<(Vec<u8>, bool)> = Vec::new();
    socket.dump("elements", &request, |message| {
        for element in read_elements(message) {
            if form.ranges && form.single {
                ends.push((element.key.to_vec(), !element.ends_range));
                continue;
            }
            keys.clear();
            keys.extend(element.key);
            if form.ranges {
                keys.extend(element.key_end.unwrap_or(element.key));
            }
            take(&keys, &element);
        }
    })?;
    // At the same address, the end of one range comes before the start of the next.
    ends.sort();
    let mut ends = ends.into_iter().peekable();
    while let Some((low, starts)) = ends.next() {
        if !starts {
            continue;
        }
        let mut high = match ends.peek() {
            Some((end, false)) => end.clone(),
            _ => vec![0; low.len()],
        };
        previous(&mut high);
        let element = Element {
            key: &low,
            key_end: Some(&high),
            ends_range: false,
            held: HeldData::Nothing,
            userdata: &[],
            counted: None,
        };
        take(&[&*low, &*high].concat(), &element);
    }
    Ok(())
}

/// What an element has counted, in packets and bytes; `None` if it is not there or does not count.
pub(super) fn counted(
    socket: &mut Socket,
    family: Family,
    set: &str,
    key: &[u8],
) -> Result<Option<(u64, u64)>, Error> {
    let request = ask(family, |to, out| to.get_element(out, set, key));
    let mut counted = None;
    let asked = socket.request("look an element up", &request, |reply| {
        counted = read_elements(reply).find_map(|element| element.counted);
    });
    absent(asked)?;
    Ok(counted)
}

/// What our tables hold, in the words of the renderer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Chains and elements, but those that packets made.
    pub part: Part,
    /// What is in the tables and nothing of ours can say, each as a short text.
    pub unreadable: Vec<String>,
}

/// Everything in our tables.
pub(super) fn everything(socket: &mut Socket, families: &[Family]) -> Result<Held, Error> {
    let mut held = Held::default();
    for &family in families {
        if table(socket, family)?.is_none() {
            continue;
        }
        let mut rules = rules(socket, family)?;
        for (name, hook) in chains(socket, family)? {
            let read = rules.remove(&name).unwrap_or_default();
            let known: Option<Vec<Rule>> = read.into_iter().collect();
            let base = hook.as_ref().map(ChainHook::base);
            match (known, base) {
                (Some(rules), None | Some(Some(_))) => {
                    let chain = Chain { base: base.flatten(), rules };
                    held.part.chains.insert(ChainId { family, name }, chain);
                }
                _ => held.unreadable.push(format!("{family} chain {name}")),
            }
        }
        for text in sets(socket, family)?.into_keys() {
            let Some(name) = SetName::named(&text) else {
                held.unreadable.push(format!("{family} set {text}"));
                continue;
            };
            if matches!(name, SetName::Policy(_)) {
                held.part.sets.insert(SetId { family, name: name.clone() });
            }
            if name.declaration(0).dynamic.is_none() {
                read_values(socket, family, &name, &mut held)?;
            }
        }
    }
    Ok(held)
}

fn read_values(
    socket: &mut Socket,
    family: Family,
    name: &SetName,
    held: &mut Held,
) -> Result<(), Error> {
    elements(socket, family, name, &mut |keys, element| match named_element(
        family, name, keys, element,
    ) {
        Some((id, content)) => drop(held.part.elements.insert(id, content)),
        None => held.unreadable.push(format!("{family} element of {name}: {keys:02x?}")),
    })
}

/// An element in the words of the renderer; `None` for one that is not ours to say.
pub(super) fn named_element(
    family: Family,
    name: &SetName,
    keys: &[u8],
    element: &Element<'_>,
) -> Option<(ElementId, Content)> {
    let set = name.declaration(0);
    let form = Form::of(family, name);
    let (low, high) = keys.split_at_checked(form.key).unwrap_or_default();
    let key = values(family, &set.key, low, form.ranges.then_some(high))?;
    let data = match (&set.holds, element.held) {
        (Holds::Nothing, HeldData::Nothing) => Some(Data::Nothing),
        (Holds::Verdict, HeldData::Verdict(code)) => decode::read_verdict(code).map(Data::Verdict),
        (Holds::Data(fields), HeldData::Value(value)) => {
            values(family, fields, value, None).map(Data::Values)
        }
        _ => None,
    };
    let comment = comment(element.userdata).map(Arc::from);
    Some((ElementId { family, set: name.clone(), key }, Content { data: data?, comment }))
}

/// The values of some fields; the first address is a block where there is a highest key.
fn values(
    family: Family,
    fields: &[Field],
    mut low: &[u8],
    mut high: Option<&[u8]>,
) -> Option<Vec<Value>> {
    let mut values = Vec::new();
    for &field in fields {
        let length = length(family, field);
        let bytes = low.get(..length)?;
        let padded = length.next_multiple_of(WORD);
        low = low.get(padded..).unwrap_or_default();
        values.push(match field {
            Field::SourceAddress | Field::DestinationAddress => {
                let last = high.filter(|_| values.is_empty());
                match last {
                    Some(last) => Value::of_addresses(AddressRange {
                        first: ip(bytes)?,
                        last: ip(last.get(..length)?)?,
                    }),
                    None => Value::Address(ip(bytes)?),
                }
            }
            Field::Protocol => {
                let number = *bytes.first()?;
                let mut known = Protocol::ALL.into_iter();
                Value::Protocol(known.find(|protocol| protocol.number() == number)?)
            }
            Field::DestinationPort => {
                let port = |bytes: &[u8]| Some(u16::from_be_bytes(bytes.try_into().ok()?));
                let last = high.map_or(Some(bytes), |high| high.get(..length))?;
                Value::of_ports(PortRange { first: port(bytes)?, last: port(last)? })
            }
            Field::RandomIndex { .. } => Value::Index(read_u32(bytes, 0)?),
            Field::EndpointId => Value::EndpointId(read_u32(bytes, 0)?),
        });
        high = high.map(|high| high.get(padded..).unwrap_or_default());
    }
    Some(values)
}
