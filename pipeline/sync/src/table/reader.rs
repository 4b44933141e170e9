//! Reading just what one packet's way needs of our table.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use model::{Family, Protocol};
use render::nftables::{Chain, ChainId, Content, Data, ElementId, Rule, SetName, Value};

use super::read::{self, ChainHook, to};
use super::rows::{Form, put_keys};
use crate::Error;
use crate::netlink::{Encoder, SendBudget, Socket};
use crate::nftables::set::read_elements;

/// Reads our table in one network namespace; writes nothing and asks for nothing that only writing
/// needs.
#[derive(Debug)]
pub struct Reader {
    socket: Socket,
}

impl Reader {
    /// Opens the nftables of the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] without CAP_NET_ADMIN, [`Error::Unsupported`] without nf_tables.
    pub fn open() -> Result<Self, Error> {
        let mut socket = Socket::open(SendBudget::Granted)?;
        crate::iptables::nf_tables(&mut socket)?;
        Ok(Self { socket })
    }

    /// The chains of our table; `None` in place of one that holds what no rule of ours says. There
    /// is a chain for each number of endpoints at most, so all of them are read.
    ///
    /// # Errors
    /// [`Error::Unsettled`] if somebody keeps changing them.
    pub fn chains(
        &mut self,
        family: Family,
    ) -> Result<Option<BTreeMap<ChainId, Option<Chain>>>, Error> {
        if read::table(&mut self.socket, family)?.is_none() {
            return Ok(None);
        }
        let mut rules = read::rules(&mut self.socket, family)?;
        let mut chains = BTreeMap::new();
        for (name, hook) in read::chains(&mut self.socket, family)? {
            let read = rules.remove(&name).unwrap_or_default();
            let known: Option<Vec<Rule>> = read.into_iter().collect();
            let base = hook.as_ref().map(ChainHook::base);
            let chain = match (known, base) {
                (Some(rules), None | Some(Some(_))) => Some(Chain { base: base.flatten(), rules }),
                _ => None,
            };
            chains.insert(ChainId { family, name }, chain);
        }
        Ok(Some(chains))
    }

    /// Those of some elements that are there. Sets of ranges are read as a whole, of all others just
    /// the elements.
    ///
    /// # Errors
    /// What the kernel says, but for what is not there.
    pub fn elements<'a>(
        &mut self,
        ids: impl IntoIterator<Item = &'a ElementId>,
    ) -> Result<BTreeMap<ElementId, Content>, Error> {
        let mut found = BTreeMap::new();
        let mut whole: BTreeMap<(Family, SetName), BTreeMap<ElementId, Content>> = BTreeMap::new();
        for id in ids {
            let content = if Form::of(id.family, &id.set).ranges {
                let all = match whole.entry((id.family, id.set.clone())) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(place) => place.insert(self.ranges(id.family, &id.set)?),
                };
                all.get(id).cloned()
            } else {
                self.element(id)?
            };
            found.extend(content.map(|content| (id.clone(), content)));
        }
        Ok(found)
    }

    fn ranges(
        &mut self,
        family: Family,
        set: &SetName,
    ) -> Result<BTreeMap<ElementId, Content>, Error> {
        let mut all = BTreeMap::new();
        let listed = read::elements(&mut self.socket, family, set, &mut |keys, element| {
            all.extend(read::named_element(family, set, keys, element));
        });
        absent(listed)?;
        Ok(all)
    }

    fn element(&mut self, id: &ElementId) -> Result<Option<Content>, Error> {
        let form = Form::of(id.family, &id.set);
        let mut key = Vec::new();
        put_keys(&mut key, form, &id.key);
        let mut request = Encoder::default();
        let sequence = self.socket.next_sequence();
        to(id.family, sequence).get_element(&mut request, &id.set.to_string(), &key);
        let mut found = None;
        let asked = self.socket.request("look an element up", &request, |reply| {
            for element in read_elements(reply) {
                let named = read::named_element(id.family, &id.set, element.key, &element);
                found = named.map(|(_, content)| content);
            }
        });
        absent(asked)?;
        Ok(found)
    }

    /// The number by which session affinity remembers a client of a frontend, if it does.
    ///
    /// # Errors
    /// As [`Reader::elements`].
    pub fn remembered(
        &mut self,
        client: IpAddr,
        (address, protocol, port): (IpAddr, Protocol, u16),
    ) -> Result<Option<u32>, Error> {
        let key = vec![
            Value::Address(client),
            Value::Address(address),
            Value::Protocol(protocol),
            Value::Port(port),
        ];
        let id = ElementId { family: Family::of(address), set: SetName::Affinity, key };
        let content = self.element(&id)?;
        Ok(content.and_then(|content| match content.data {
            Data::Values(values) => match values.first() {
                Some(Value::EndpointId(id)) => Some(*id),
                _ => None,
            },
            _ => None,
        }))
    }
}

/// What is not there is no failure.
pub(super) fn absent(asked: Result<(), Error>) -> Result<(), Error> {
    match asked {
        Err(error) if error.number() == Some(libc::ENOENT) => Ok(()),
        asked => asked,
    }
}
