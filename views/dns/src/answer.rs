//! A question, answered from a zone: no socket, no clock.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::arpa::{self, Arpa};
use crate::place::{Place, find};
use crate::service::{Host, Kind, Port, ServiceRecords, targets_of};
use crate::zone::{Pointer, Zone};

/// The version of the DNS schema that the records follow.
const SCHEMA_VERSION: &str = "1.1.0";
/// How long the schema version may be kept, in seconds; the schema's own example.
const SCHEMA_TTL: u32 = 28800;
/// An alias of an alias of an alias: more than this many is a loop or a mistake.
const MOST_ALIASES: usize = 8;

/// The records of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// NoError, NXDomain or ServFail.
    pub code: ResponseCode,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The authority section: the SOA record of a negative answer.
    pub authorities: Vec<Record>,
    /// The additional section: the addresses of targets.
    pub additionals: Vec<Record>,
    /// The name outside of the zone that the last alias leads to, whose records of the type asked
    /// for belong to the answer.
    pub follow: Option<Name>,
}

/// Who knows the answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// This zone does.
    Here(Answer),
    /// The name is in no zone of the cluster; upstream may know it.
    Elsewhere,
    /// An address that is nobody's in the cluster. Upstream may know its name; without upstream
    /// there is none.
    ReverseElsewhere(Answer),
}

/// Answers a question of class IN. `rotation` is where lists of addresses begin; a server counts it
/// up, so that clients that take the first address are spread.
#[must_use]
pub fn answer(zone: &Zone, name: &Name, record_type: RecordType, rotation: usize) -> Reply {
    let asked = Asked { zone, name, record_type, rotation };
    if zone.domain().zone_of(name) {
        return Reply::Here(if zone.synced { asked.forward() } else { Answer::failure() });
    }
    match arpa::parse(name) {
        None => Reply::Elsewhere,
        // Whose an address is cannot be known yet.
        Some(_) if !zone.synced => Reply::Here(Answer::failure()),
        Some(Arpa::Address(address)) => asked.reverse(address),
        Some(Arpa::Other) => Reply::ReverseElsewhere(asked.nothing(ResponseCode::NXDomain)),
    }
}

impl Answer {
    fn of(answers: Vec<Record>) -> Self {
        Self {
            code: ResponseCode::NoError,
            answers,
            authorities: Vec::new(),
            additionals: Vec::new(),
            follow: None,
        }
    }

    fn failure() -> Self {
        Self { code: ResponseCode::ServFail, ..Self::of(Vec::new()) }
    }
}

struct Asked<'a> {
    zone: &'a Zone,
    name: &'a Name,
    record_type: RecordType,
    rotation: usize,
}

impl Asked<'_> {
    /// A name in the cluster domain.
    fn forward(&self) -> Answer {
        match find(self.zone, self.name) {
            Place::Missing => self.nothing(ResponseCode::NXDomain),
            Place::Empty => self.nothing(ResponseCode::NoError),
            Place::Apex => self.apex(),
            Place::Version if self.record_type == RecordType::TXT => {
                let data = RData::TXT(TXT::new(vec![SCHEMA_VERSION.into()]));
                Answer::of(vec![Record::from_rdata(self.name.clone(), SCHEMA_TTL, data)])
            }
            Place::Version => self.nothing(ResponseCode::NoError),
            Place::NameServer => self.addresses(self.zone.config.name_servers.iter().copied()),
            Place::Service(records) => self.service(records),
            Place::Hosts(records, hosts) if self.record_type == RecordType::SRV => {
                self.services(records, targets_of(hosts))
            }
            Place::Hosts(_, hosts) => self.addresses(distinct(hosts).into_iter()),
            Place::Port(records, wanted) if self.record_type == RecordType::SRV => {
                let mut targets = records.targets();
                targets.retain(|(_, port)| wanted.is(port));
                self.services(records, targets)
            }
            Place::Port(..) => self.nothing(ResponseCode::NoError),
            Place::Pod(address) => self.addresses(std::iter::once(address)),
        }
    }

    fn apex(&self) -> Answer {
        match self.record_type {
            RecordType::SOA => Answer::of(vec![self.authority(self.name.clone())]),
            RecordType::NS => {
                let Some(server) = self.name_server() else {
                    return self.nothing(ResponseCode::NoError);
                };
                let mut answer = Answer::of(vec![self.record(RData::NS(NS(server.clone())))]);
                answer.additionals = self.address_records(&server, &self.zone.config.name_servers);
                answer
            }
            _ => self.nothing(ResponseCode::NoError),
        }
    }

    fn service(&self, records: &ServiceRecords) -> Answer {
        match (&records.kind, self.record_type) {
            (Kind::Alias(Some(target)), RecordType::A | RecordType::AAAA | RecordType::CNAME) => {
                self.alias(target)
            }
            (Kind::Alias(_), _) => self.nothing(ResponseCode::NoError),
            (_, RecordType::A) => self.addresses(records.v4.iter().copied().map(IpAddr::V4)),
            (_, RecordType::AAAA) => self.addresses(records.v6.iter().copied().map(IpAddr::V6)),
            (_, RecordType::SRV) => self.services(records, records.targets()),
            _ => self.nothing(ResponseCode::NoError),
        }
    }

    /// The alias, and what it leads to as far as this zone knows.
    fn alias(&self, first: &Name) -> Answer {
        let mut answer = Answer::of(vec![self.record(RData::CNAME(CNAME(first.clone())))]);
        if self.record_type == RecordType::CNAME {
            return answer;
        }
        let mut target = first.clone();
        for _ in 0..MOST_ALIASES {
            if !self.zone.domain().zone_of(&target) {
                answer.follow = Some(target);
                return answer;
            }
            let asked = Asked { name: &target, ..*self };
            let next = match find(self.zone, &target) {
                Place::Service(ServiceRecords { kind: Kind::Alias(Some(next)), .. }) => {
                    answer.answers.push(asked.record(RData::CNAME(CNAME(next.clone()))));
                    next.clone()
                }
                _ => {
                    let last = asked.forward();
                    answer.answers.extend(last.answers);
                    return Answer { answers: answer.answers, ..last };
                }
            };
            target = next;
        }
        Answer::failure()
    }

    /// The name of an address.
    fn reverse(&self, address: IpAddr) -> Reply {
        let Some(pointers) = self.zone.pointers(address) else {
            return Reply::ReverseElsewhere(self.nothing(ResponseCode::NXDomain));
        };
        if self.record_type != RecordType::PTR {
            return Reply::Here(self.nothing(ResponseCode::NoError));
        }
        let names = pointers.filter_map(|pointer| {
            let (service, label) = match pointer {
                Pointer::ClusterIp(service) => (service, None),
                Pointer::Hostname(service, label) | Pointer::Dashed(service, label) => {
                    (service, Some(label))
                }
            };
            let records = self.zone.service(&service.namespace, &service.name)?;
            target_name(records, label)
        });
        Reply::Here(Answer::of(names.map(|name| self.record(RData::PTR(PTR(name)))).collect()))
    }

    /// The addresses that are of the type asked for, or NODATA.
    fn addresses(&self, all: impl Iterator<Item = IpAddr>) -> Answer {
        let mut answers: Vec<_> = all
            .filter(|address| match self.record_type {
                RecordType::A => address.is_ipv4(),
                RecordType::AAAA => address.is_ipv6(),
                _ => false,
            })
            .map(|address| self.record(address_data(address)))
            .collect();
        if answers.is_empty() {
            return self.nothing(ResponseCode::NoError);
        }
        let first = self.rotation % answers.len();
        answers.rotate_left(first);
        Answer::of(answers)
    }

    /// The SRV records of some ports, and the addresses of their targets.
    fn services(
        &self,
        records: &ServiceRecords,
        targets: BTreeSet<(Option<&Arc<str>>, &Port)>,
    ) -> Answer {
        if targets.is_empty() {
            return self.nothing(ResponseCode::NoError);
        }
        let weight = u16::try_from(100 / targets.len()).unwrap_or(1).max(1);
        let mut answer = Answer::of(Vec::with_capacity(targets.len()));
        let mut labels = BTreeSet::new();
        for (label, port) in targets {
            let Some(target) = target_name(records, label) else { continue };
            labels.insert(label);
            let srv = SRV::new(0, weight, port.number, target);
            answer.answers.push(self.record(RData::SRV(srv)));
        }
        for label in labels {
            let Some(target) = target_name(records, label) else { continue };
            let v4 = records.v4.iter().copied().map(IpAddr::V4);
            let addresses: Vec<_> = match label {
                None => v4.chain(records.v6.iter().copied().map(IpAddr::V6)).collect(),
                Some(label) => distinct(records.hosts_named(label)),
            };
            answer.additionals.extend(self.address_records(&target, &addresses));
        }
        answer
    }

    /// A negative answer: NXDOMAIN, or NODATA as NOERROR without records.
    fn nothing(&self, code: ResponseCode) -> Answer {
        let mut answer = Answer { code, ..Answer::of(Vec::new()) };
        let zone = arpa::zone_of(self.name).unwrap_or_else(|| self.zone.domain().clone());
        answer.authorities.push(self.authority(zone));
        answer
    }

    /// The SOA record; its minimum is how long a negative answer may be kept (RFC 2308).
    fn authority(&self, zone: Name) -> Record {
        let domain = self.zone.domain();
        let below = |label: &[&[u8]]| {
            let name = Name::from_labels(label.iter().copied());
            name.and_then(|name| name.append_domain(domain)).unwrap_or_else(|_| domain.clone())
        };
        let (server, master) = (below(&[b"ns", b"dns"]), below(&[b"hostmaster"]));
        let ttl = self.zone.config.ttl;
        let soa = SOA::new(server, master, self.zone.serial, 7200, 1800, 86400, ttl);
        Record::from_rdata(zone, ttl, RData::SOA(soa))
    }

    fn name_server(&self) -> Option<Name> {
        let name = Name::from_labels([b"ns".as_slice(), b"dns"]).ok()?;
        name.append_domain(self.zone.domain()).ok()
    }

    fn address_records(&self, name: &Name, addresses: &[IpAddr]) -> Vec<Record> {
        let record = |&address| {
            Record::from_rdata(name.clone(), self.zone.config.ttl, address_data(address))
        };
        addresses.iter().map(record).collect()
    }

    /// A record of the name that was asked for, spelled as it was asked for.
    fn record(&self, data: RData) -> Record {
        Record::from_rdata(self.name.clone(), self.zone.config.ttl, data)
    }
}

fn address_data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

fn distinct(hosts: &[Host]) -> Vec<IpAddr> {
    let addresses: BTreeSet<_> = hosts.iter().map(|host| host.address).collect();
    addresses.into_iter().collect()
}

/// A Service's name, or an endpoint's below it; `None` if it is too long for DNS.
fn target_name(records: &ServiceRecords, label: Option<&Arc<str>>) -> Option<Name> {
    let Some(label) = label else { return Some(records.name.clone()) };
    Name::from_labels([label.as_bytes()]).ok()?.append_domain(&records.name).ok()
}
