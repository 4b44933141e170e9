//! Sets of addresses that rules of iptables look up (`ipset`), by netlink.
//!
//! Sets are not part of any transaction of nf_tables, and the kernel announces none of their changes.
//! A set cannot be destroyed while a rule names it, but it can be emptied. Numbers are those of
//! `linux/netfilter/ipset/ip_set.h`.

mod message;
mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use render::iptables::ipset::{IpSet, Member, SetKind};

pub use seen::SeenSet;

use crate::Error;
use crate::netlink::{Encoder, Message, Socket};
use message::{Request, attribute, command};

/// How many elements one message carries; each takes up to 44 bytes of the 65,535 that an attribute
/// can have.
const AT_ONCE: usize = 1000;

/// `IPSET_ERR_BUSY`: a rule names the set.
const BUSY: i32 = 4100;
/// `IPSET_ERR_FIND_TYPE`
const NO_SUCH_TYPE: i32 = 4098;

/// The numbers by which rules name sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetNumbers {
    by_name: BTreeMap<Arc<str>, u16>,
    by_number: BTreeMap<u16, Arc<str>>,
}

impl SetNumbers {
    /// The number of a set, if it is known.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u16> {
        self.by_name.get(name).copied()
    }

    /// The name of a number, if it is known.
    #[must_use]
    pub fn name(&self, number: u16) -> Option<&Arc<str>> {
        self.by_number.get(&number)
    }

    /// A set is known by this number.
    pub fn insert(&mut self, name: Arc<str>, number: u16) {
        self.by_number.insert(number, name.clone());
        self.by_name.insert(name, number);
    }

    /// A set is no longer there.
    pub fn remove(&mut self, name: &str) {
        if let Some(number) = self.by_name.remove(name) {
            self.by_number.remove(&number);
        }
    }
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// The sets of one network namespace.
pub(crate) struct Sets<'s> {
    pub(crate) socket: &'s mut Socket,
    pub(crate) sent: Sent,
}

impl<'s> Sets<'s> {
    pub(crate) fn new(socket: &'s mut Socket) -> Self {
        Self { socket, sent: Sent::default() }
    }

    /// Makes an empty set. One of that name and type may be there already; it stays as it is.
    pub(crate) fn make(&mut self, name: &str, set: &IpSet) -> Result<(), Error> {
        let request = Request::new(self.socket, command::CREATE, name).create(set);
        self.write(&format!("make the set {name}"), &request)
    }

    /// Puts elements in. Those that the kernel will not have are handed back with its reason; all
    /// others are in.
    pub(crate) fn add<'m>(
        &mut self,
        name: &str,
        members: impl IntoIterator<Item = &'m Member>,
    ) -> Result<Vec<(Member, Error)>, Error> {
        self.change(command::ADD, name, members)
    }

    /// Takes elements out, if they are there.
    pub(crate) fn remove<'m>(
        &mut self,
        name: &str,
        members: impl IntoIterator<Item = &'m Member>,
    ) -> Result<(), Error> {
        self.change(command::DELETE, name, members).map(drop)
    }

    fn change<'m>(
        &mut self,
        command: u16,
        name: &str,
        members: impl IntoIterator<Item = &'m Member>,
    ) -> Result<Vec<(Member, Error)>, Error> {
        let all: Vec<Member> = members.into_iter().copied().collect();
        let mut refused = Vec::new();
        for some in all.chunks(AT_ONCE) {
            let whole = self.change_at_once(command, name, some);
            if !whole.as_ref().is_err_and(of_an_element) {
                whole?;
                continue;
            }
            // The kernel stops at the first that it will not have: each is asked for by itself.
            for one in some {
                match self.change_at_once(command, name, std::slice::from_ref(one)) {
                    Err(error) if of_an_element(&error) => refused.push((*one, error)),
                    asked => asked?,
                }
            }
        }
        Ok(refused)
    }

    fn change_at_once(
        &mut self,
        command: u16,
        name: &str,
        members: &[Member],
    ) -> Result<(), Error> {
        let request = Request::new(self.socket, command, name).members(members);
        let deed = if command == command::ADD { "put into" } else { "take out of" };
        let example = members.first().map(ToString::to_string).unwrap_or_default();
        let what = match members.len() {
            1 => format!("{deed} the set {name} {example}"),
            count => format!("{deed} the set {name} {example} and {} others", count - 1),
        };
        self.write(&what, &request)
    }

    /// Empties a set.
    pub(crate) fn flush(&mut self, name: &str) -> Result<(), Error> {
        let request = Request::new(self.socket, command::FLUSH, name).end();
        self.write(&format!("empty the set {name}"), &request)
    }

    /// Exchanges the names of two sets of one type, so that rules find the other's elements.
    pub(crate) fn swap(&mut self, name: &str, other: &str) -> Result<(), Error> {
        let request = Request::new(self.socket, command::SWAP, name).other(other);
        self.write(&format!("exchange the sets {name} and {other}"), &request)
    }

    /// Destroys a set; false if a rule names it still, or did until a moment ago: the kernel works
    /// off deleted rules later. One that is not there counts as destroyed.
    pub(crate) fn destroy(&mut self, name: &str) -> Result<bool, Error> {
        let request = Request::new(self.socket, command::DESTROY, name).end();
        match self.write(&format!("destroy the set {name}"), &request) {
            Err(error) if error.number() == Some(BUSY) => Ok(false),
            Err(error) if error.number() == Some(libc::ENOENT) => Ok(true),
            done => done.map(|()| true),
        }
    }

    /// The number of a set; `None` if there is none of that name.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<u16>, Error> {
        let request = Request::new(self.socket, command::GET_BY_NAME, name).end();
        let mut number = None;
        let asked = self.ask(&format!("find the set {name}"), &request, |reply| {
            let index = reply.attributes().get(attribute::INDEX);
            number = index.and_then(|index| index.try_into().ok()).map(u16::from_be_bytes);
        });
        match asked {
            Err(error) if error.number() == Some(libc::ENOENT) => Ok(None),
            asked => asked.map(|()| number),
        }
    }

    /// Lists the sets whose names have a prefix; their elements too, or only how many there are. A
    /// kernel without sets has none.
    pub(crate) fn list(
        &mut self,
        prefix: &str,
        elements: bool,
    ) -> Result<BTreeMap<Arc<str>, SeenSet>, Error> {
        let request = message::list(self.socket, elements);
        let mut seen: BTreeMap<Arc<str>, SeenSet> = BTreeMap::new();
        let listed = self.socket.dump("sets", &request, |message| {
            let Some(name) = message.attributes().text(attribute::SET_NAME) else { return };
            if name.starts_with(prefix) {
                seen.entry(name.into()).or_default().take(message.attributes());
            }
        });
        match listed {
            Err(error) if no_sets_at_all(&error) => Ok(BTreeMap::new()),
            listed => listed.map(|()| seen),
        }
    }

    /// Makes sure that the kernel has a type of sets.
    pub(crate) fn supports(&mut self, kind: SetKind) -> Result<bool, Error> {
        let request = message::ask_type(self.socket, kind);
        match self.ask(&format!("ask for the type {}", kind.type_name()), &request, |_| {}) {
            Err(error) if error.number() == Some(NO_SUCH_TYPE) || no_sets_at_all(&error) => {
                Ok(false)
            }
            asked => asked.map(|()| true),
        }
    }

    fn write(&mut self, what: &str, request: &Encoder) -> Result<(), Error> {
        self.sent.messages += 1;
        self.sent.bytes += request.len();
        self.ask(what, request, |_| {})
    }

    fn ask(
        &mut self,
        what: &str,
        request: &Encoder,
        answer: impl FnMut(&Message<'_>),
    ) -> Result<(), Error> {
        self.socket.request(what, request, answer).map_err(in_words)
    }
}

/// The numbers of the sets for network policies that are there.
///
/// # Errors
/// What the kernel says.
pub(crate) fn numbers(socket: &mut Socket) -> Result<SetNumbers, Error> {
    let mut sets = Sets::new(socket);
    let there = sets.list(render::iptables::names::POLICY_PREFIX, false)?;
    let mut numbers = SetNumbers::default();
    for name in there.into_keys() {
        // One that is gone by now is named by no rule.
        if let Some(number) = sets.number(&name)? {
            numbers.insert(name, number);
        }
    }
    Ok(numbers)
}

/// Whether a refusal is about one element, not about the set or about everything.
fn of_an_element(error: &Error) -> bool {
    /// From `IPSET_ERR_EXIST` on: what is wrong with an element, general or special to a type.
    const ELEMENT: std::ops::Range<i32> = 4103..5000;
    error.number().is_some_and(|number| ELEMENT.contains(&number))
}

/// The kernel's word where nobody answers for sets.
fn no_sets_at_all(error: &Error) -> bool {
    matches!(error.number(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

/// Sets have error numbers of their own, which the system has no words for.
fn in_words(error: Error) -> Error {
    let Error::Refused { what, source, text: None } = error else { return error };
    let words = source.raw_os_error().and_then(|number| {
        Some(match number {
            4097 => "it does not speak this version of the protocol",
            NO_SUCH_TYPE => "it has no such type of sets: load the module ip_set_hash_…",
            4099 => "there are too many sets",
            BUSY => "a rule names it",
            4101 => "there is a set of that name already",
            4102 => "the two sets are of different types",
            4103 => "the element is there already, or is not there",
            4104 => "no block of that length can be an element",
            4352 => "the set is full",
            4353 => "this address cannot be an element",
            4354 => "this protocol cannot be an element",
            _ => return None,
        })
    });
    let text = words.map(str::to_owned);
    Error::Refused { what, source, text }
}

/// All elements of sets that are listed.
impl SeenSet {
    /// What a set lacks, and what it has too many.
    pub(crate) fn differences(&self, wanted: &BTreeSet<Member>) -> (Vec<Member>, Vec<Member>) {
        (
            wanted.difference(&self.members).copied().collect(),
            self.members.difference(wanted).copied().collect(),
        )
    }
}
