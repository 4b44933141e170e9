//! One rule and one packet: its statements from left to right, as far as they hold.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use model::Family;
use render::nftables::{
    ChainType, CtState, Data, End, Field, Holds, Hook, Rule, SetName, Statement, Value, Verdict,
    rule_text,
};

use super::flight::Flight;
use super::lookup::{Element, Why, source};
use super::walk::{Place, Walk};
use super::{Then, TraceError};
use crate::policy::{NEIGHBOUR_DISCOVERY, Traffic};

/// A way that a packet may take at a rule.
pub(super) struct Way {
    /// The packet as the rule leaves it: what a rule did before it ended stays done.
    pub(super) flight: Flight,
    /// What followed, with the element that decided; `None` where the rule ended early.
    pub(super) met: Option<(Option<String>, Then)>,
}

/// What one statement says.
enum Said {
    /// The rule ends here.
    No,
    /// The next statement is asked.
    Yes,
    /// It is done with the packet, which takes this way.
    End(Then),
}

/// A statement's word on a packet, with the element that it is by.
type Word = (Flight, Said, Option<String>);

impl Walk<'_> {
    /// Every way that a packet may take at a rule.
    pub(super) fn rule(
        &self,
        rule: &Rule,
        place: &Place<'_>,
        flight: Flight,
    ) -> Result<Vec<Way>, TraceError> {
        let wrong = |why| TraceError::Shape {
            chain: place.chain.clone(),
            rule: rule_text(self.family, rule),
            why,
        };
        let mut ways = Vec::new();
        let mut live = BTreeSet::from([(flight, None)]);
        let mut ended = false;
        for statement in rule {
            if matches!(statement, Statement::Comment(_)) {
                break;
            }
            if ended {
                return Err(wrong("nothing can follow what ends a rule"));
            }
            let mut next = BTreeSet::new();
            for (flight, element) in live {
                for (flight, said, by) in self.say(statement, place, flight).map_err(wrong)? {
                    let element = by.or_else(|| element.clone());
                    match said {
                        Said::No => ways.push(Way { flight, met: None }),
                        Said::Yes => drop(next.insert((flight, element))),
                        Said::End(then) => ways.push(Way { flight, met: Some((element, then)) }),
                    }
                }
            }
            live = next;
            ended = matches!(
                statement,
                Statement::Verdict(_)
                    | Statement::Dispatch { .. }
                    | Statement::Dnat { .. }
                    | Statement::Masquerade { .. }
            );
        }
        ways.extend(live.into_iter().map(|(flight, element)| {
            let met = Some((element, Then::Nothing));
            Way { flight, met }
        }));
        Ok(ways)
    }

    fn say(
        &self,
        statement: &Statement,
        place: &Place<'_>,
        flight: Flight,
    ) -> Result<Vec<Word>, Why> {
        let (hook, nat) = (place.hook, place.chain_type == ChainType::Nat);
        match statement {
            Statement::In { key, inverted, set } => self.is_in(key, *inverted, set, flight),
            Statement::Dispatch { key, map } => self.dispatch(key, map, place, flight),
            Statement::LoadEndpointId { key, map } => self.load(key, map, flight),
            Statement::Dnat { .. } if !nat || !is_before_routing(hook) => {
                Err("destinations are translated in nat chains of prerouting and output")
            }
            Statement::Dnat { key, map } => self.dnat(key, map, flight),
            Statement::Masquerade { .. } if !nat || hook != Hook::Postrouting => {
                Err("sources are translated in nat chains of postrouting")
            }
            Statement::Masquerade { first, last } if first > last => Err("a range of no port"),
            Statement::Masquerade { .. } => {
                let flight = Flight { source: None, masqueraded: true, ..flight };
                Ok(vec![(flight, Said::End(Then::Masquerade), None)])
            }
            Statement::Remember { key, map, .. } | Statement::Forget { key, map } => {
                self.declared(key, map, |holds| *holds == endpoint_id())?;
                if map.declaration(self.affinity_size).dynamic.is_none() {
                    return Err("packets change maps with `flags dynamic` alone");
                }
                // To forget what is not there is no reason to stop, either.
                Ok(vec![(flight, Said::Yes, None)])
            }
            Statement::Keep { key, set, .. } => {
                self.declared(key, set, |holds| *holds == Holds::Nothing)?;
                if set.declaration(self.affinity_size).dynamic.is_none() {
                    return Err("packets change sets with `flags dynamic` alone");
                }
                Ok(vec![(flight, Said::Yes, None)])
            }
            // The first packets of many are logged, and it is one.
            Statement::Counter | Statement::Limit { .. } | Statement::Log { .. } => {
                Ok(vec![(flight, Said::Yes, None)])
            }
            Statement::Verdict(verdict) => Ok(vec![(flight, end(verdict, place)?, None)]),
            Statement::AddCtMark(bits) => {
                let flight = Flight { mark: flight.mark | bits, ..flight };
                Ok(vec![(flight, Said::Yes, None)])
            }
            condition => {
                let said =
                    if self.holds(condition, place, &flight)? { Said::Yes } else { Said::No };
                Ok(vec![(flight, said, None)])
            }
        }
    }

    /// Conditions that look at no set.
    fn holds(
        &self,
        condition: &Statement,
        place: &Place<'_>,
        flight: &Flight,
    ) -> Result<bool, Why> {
        let address = |end: &End| match end {
            End::Source => source(flight),
            End::Destination => Ok(flight.destination.ip()),
        };
        match condition {
            Statement::Address { block, .. } if Family::of_cidr(block) != self.family => {
                Err("an address of the other family")
            }
            Statement::Address { end, inverted, block } => {
                Ok(block.contains(&address(end)?) != *inverted)
            }
            Statement::InInterface { .. } if place.hook == Hook::Postrouting => {
                Err("the interface that a packet came in by, where it leaves")
            }
            Statement::InInterface { inverted, name } => {
                let is = place.interface.is_some_and(|by| interface_is(name, by));
                Ok(is != *inverted)
            }
            Statement::Local { end, inverted } => Ok(self.host.owns(address(end)?) != *inverted),
            Statement::Protocol(protocol) => Ok(self.protocol() == Some(*protocol)),
            Statement::DestinationPorts { protocol, ports } => {
                let port = flight.destination.port();
                Ok(self.protocol() == Some(*protocol) && (ports.first..=ports.last).contains(&port))
            }
            Statement::NeighbourDiscovery => Ok(self.family == Family::V6
                && matches!(self.traffic, Traffic::Icmp { kind } if NEIGHBOUR_DISCOVERY.contains(&kind))),
            // It is the first of its connection, or one of a connection that is known.
            Statement::NotSyn => Ok(false),
            Statement::CtState(CtState::New) => Ok(!self.established),
            Statement::CtState(CtState::Established) => Ok(self.established),
            Statement::CtState(CtState::Invalid) => Ok(false),
            Statement::Translated => Ok(flight.translated),
            Statement::CtMark(bits) => Ok(flight.mark & bits == *bits),
            _ => Err("a statement that the tracer does not know"),
        }
    }

    fn is_in(
        &self,
        key: &[Field],
        inverted: bool,
        set: &SetName,
        flight: Flight,
    ) -> Result<Vec<Word>, Why> {
        self.declared(key, set, |holds| *holds == Holds::Nothing)?;
        let keys = self.keys(key, &flight)?;
        let found = self.find_elements(set, &keys);
        let word = |found: Option<Element<'_>>| {
            let said = if found.is_some() == inverted { Said::No } else { Said::Yes };
            (flight.clone(), said, found.map(Element::text))
        };
        Ok(found.into_iter().map(word).collect())
    }

    fn dispatch(
        &self,
        key: &[Field],
        map: &SetName,
        place: &Place<'_>,
        flight: Flight,
    ) -> Result<Vec<Word>, Why> {
        self.declared(key, map, |holds| *holds == Holds::Verdict)?;
        self.each(key, map, &flight, |element| match &element.content.data {
            Data::Verdict(Verdict::Reject) => Err("an element cannot reject"),
            Data::Verdict(verdict) => Ok((flight.clone(), end(verdict, place)?)),
            _ => Err("an element of the map holds no verdict"),
        })
    }

    fn load(&self, key: &[Field], map: &SetName, flight: Flight) -> Result<Vec<Word>, Why> {
        self.declared(key, map, |holds| *holds == endpoint_id())?;
        self.each(key, map, &flight, |element| match &element.content.data {
            Data::Values(values) => match values.as_slice() {
                [Value::EndpointId(id)] => {
                    Ok((Flight { priority: *id, ..flight.clone() }, Said::Yes))
                }
                _ => Err("an element of the map holds no id"),
            },
            _ => Err("an element of the map holds no id"),
        })
    }

    fn dnat(&self, key: &[Field], map: &SetName, flight: Flight) -> Result<Vec<Word>, Why> {
        let backend = Holds::Data(vec![Field::DestinationAddress, Field::DestinationPort]);
        self.declared(key, map, |holds| *holds == backend)?;
        self.each(key, map, &flight, |element| match &element.content.data {
            Data::Values(values) => match values.as_slice() {
                [Value::Address(address), Value::Port(port)]
                    if Family::of(*address) == self.family =>
                {
                    let destination = SocketAddr::new(*address, *port);
                    let flight = Flight { destination, translated: true, ..flight.clone() };
                    Ok((flight, Said::End(Then::Dnat(destination))))
                }
                _ => Err("an element of the map holds no address and port of this family"),
            },
            _ => Err("an element of the map holds no address and port"),
        })
    }

    /// What each element that chance may choose says; a key without one ends the rule.
    fn each(
        &self,
        key: &[Field],
        map: &SetName,
        flight: &Flight,
        say: impl Fn(&Element<'_>) -> Result<(Flight, Said), Why>,
    ) -> Result<Vec<Word>, Why> {
        let keys = self.keys(key, flight)?;
        let found = self.find_elements(map, &keys);
        let word = |found: Option<Element<'_>>| match found {
            None => Ok((flight.clone(), Said::No, None)),
            Some(element) => {
                let (flight, said) = say(&element)?;
                Ok((flight, said, Some(element.text())))
            }
        };
        found.into_iter().map(word).collect()
    }

    /// Whether a set takes a key of these fields and holds what the statement needs.
    fn declared(
        &self,
        key: &[Field],
        set: &SetName,
        holds: impl Fn(&Holds) -> bool,
    ) -> Result<(), Why> {
        let declared = set.declaration(self.affinity_size);
        let same = |(one, other): (&Field, &Field)| match (one, other) {
            // A range of numbers is none of the declaration's business.
            (Field::RandomIndex { .. }, Field::RandomIndex { .. }) => true,
            (Field::SourceAddress | Field::DestinationAddress, _) => {
                matches!(other, Field::SourceAddress | Field::DestinationAddress)
            }
            _ => one == other,
        };
        if key.len() != declared.key.len() || !key.iter().zip(&declared.key).all(same) {
            return Err("the set takes other keys");
        }
        if holds(&declared.holds) { Ok(()) } else { Err("the set holds something else") }
    }
}

fn endpoint_id() -> Holds {
    Holds::Data(vec![Field::EndpointId])
}

fn is_before_routing(hook: Hook) -> bool {
    matches!(hook, Hook::Prerouting | Hook::Output)
}

fn end(verdict: &Verdict, place: &Place<'_>) -> Result<Said, Why> {
    Ok(Said::End(match verdict {
        Verdict::Accept => Then::Accept,
        Verdict::Return => Then::Return,
        Verdict::Drop => Then::Drop,
        // The kernel takes it in chains of either type, at every hook but this.
        Verdict::Reject if place.hook == Hook::Postrouting => {
            return Err("nothing can be refused by an error where it leaves");
        }
        Verdict::Reject => Then::Reject,
        Verdict::Jump(to) => Then::Jump(to.clone()),
        Verdict::Goto(to) => Then::Goto(to.clone()),
    }))
}

/// Whether an interface has a name, or starts with it where it ends in `*`.
fn interface_is(wanted: &str, name: &str) -> bool {
    wanted.strip_suffix('*').map_or(name == wanted, |prefix| name.starts_with(prefix))
}
