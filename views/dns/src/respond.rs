//! From the bytes of a question to the bytes of its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::{Metadata, ResponseCode};
use hickory_proto::rr::{Name, Record};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answer::{Answer, Reply, answer};
use crate::cache::{Key, Upstreams};
use crate::counters::Counters;
use crate::forward::Forwarder;
use crate::shared::SharedZone;
use crate::wire::{self, Parsed, Request, Sections};

/// What happens with a message.
pub(crate) enum Response {
    /// Its answer.
    Ready(Vec<u8>),
    /// Upstream has to be asked first; see [`Responder::finish`].
    Upstream(Box<Waiting>),
    /// No answer.
    None,
}

/// A question whose answer waits for upstream. Holds its place among those that may wait.
pub(crate) struct Waiting {
    request: Request,
    /// What the zone said already: an alias that leads outside.
    begun: Option<Answer>,
    key: Key,
    limit: u16,
    _place: OwnedSemaphorePermit,
}

/// How an answer travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// Answers questions, from any task. Clones share everything.
#[derive(Clone)]
pub(crate) struct Responder {
    zone: SharedZone,
    forwarder: Option<Forwarder>,
    places: Arc<Semaphore>,
    rotation: Arc<AtomicUsize>,
    counters: Arc<Counters>,
    udp_limit: u16,
}

impl Responder {
    pub(crate) fn new(
        zone: SharedZone,
        forwarder: Option<Forwarder>,
        counters: Arc<Counters>,
        udp_limit: u16,
    ) -> Self {
        let in_flight = forwarder.as_ref().map_or(0, Forwarder::in_flight);
        let places = Arc::new(Semaphore::new(in_flight.min(Semaphore::MAX_PERMITS)));
        Self { zone, forwarder, places, rotation: Arc::default(), counters, udp_limit }
    }

    /// Answers at once what the zone or the cache knows.
    pub(crate) fn begin(&self, bytes: &[u8], transport: Transport) -> Response {
        match transport {
            Transport::Udp => self.counters.udp.add(),
            Transport::Tcp => self.counters.tcp.add(),
        }
        let request = match wire::parse(bytes) {
            Parsed::Request(request) => *request,
            Parsed::Reject(bytes, code) => {
                if code == ResponseCode::FormErr {
                    self.counters.malformed.add();
                }
                return Response::Ready(bytes);
            }
            Parsed::Ignore => {
                self.counters.malformed.add();
                return Response::None;
            }
        };
        let limit = match transport {
            Transport::Udp => request.udp_limit(self.udp_limit),
            Transport::Tcp => u16::MAX,
        };
        let rotation = self.rotation.fetch_add(1, Ordering::Relaxed);
        match answer(&self.zone.load(), request.name(), request.record_type(), rotation) {
            Reply::Here(mut answer) => {
                match answer.follow.take() {
                    Some(target) if self.forwarder.is_some() => {
                        self.forward(request, target, Some(answer), limit)
                    }
                    // Without upstream the alias is all that is known.
                    _ => self.local(&request, answer, limit),
                }
            }
            Reply::ReverseElsewhere(answer) if self.forwarder.is_none() => {
                self.local(&request, answer, limit)
            }
            Reply::Elsewhere | Reply::ReverseElsewhere(_) => {
                let name = request.name().clone();
                self.forward(request, name, None, limit)
            }
        }
    }

    /// Waits for upstream and completes the answer.
    pub(crate) async fn finish(&self, waiting: Waiting) -> Vec<u8> {
        let Waiting { request, begun, key, limit, _place } = waiting;
        let upstreams = match &self.forwarder {
            Some(forwarder) => forwarder.ask(key).await,
            None => Arc::new(Upstreams::failure()),
        };
        self.complete(&request, begun, Upstreams::clone(&upstreams), limit)
    }

    fn forward(&self, request: Request, name: Name, begun: Option<Answer>, limit: u16) -> Response {
        let Some(forwarder) = &self.forwarder else {
            let refused = Upstreams { code: ResponseCode::Refused, ..Upstreams::failure() };
            return Response::Ready(self.complete(&request, begun, refused, limit));
        };
        let key = Key {
            name,
            record_type: request.record_type(),
            dnssec_ok: request.dnssec_ok(),
            checking_disabled: request.metadata.checking_disabled,
        };
        if let Some(found) = forwarder.remembered(&key) {
            return Response::Ready(self.complete(&request, begun, found, limit));
        }
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(_place) => {
                Response::Upstream(Box::new(Waiting { request, begun, key, limit, _place }))
            }
            Err(_) => {
                self.counters.overloaded.add();
                let failed = Upstreams::failure();
                Response::Ready(self.complete(&request, begun, failed, limit))
            }
        }
    }

    /// An answer of the zone alone.
    fn local(&self, request: &Request, answer: Answer, limit: u16) -> Response {
        self.counters.local.add();
        if answer.code == ResponseCode::NXDomain {
            self.counters.local_missing.add();
        }
        let mut metadata = self.metadata(request, answer.code);
        metadata.authoritative = answer.code != ResponseCode::ServFail;
        let Answer { answers, authorities, additionals, .. } = answer;
        let sections = Sections { answers, authorities, additionals };
        Response::Ready(self.write(request, &metadata, sections, limit))
    }

    /// What upstream said, after what the zone said.
    fn complete(
        &self,
        request: &Request,
        begun: Option<Answer>,
        upstreams: Upstreams,
        limit: u16,
    ) -> Vec<u8> {
        let mut metadata = self.metadata(request, upstreams.code);
        metadata.authoritative = begun.is_some();
        // RFC 6840: the AD bit is for those who show that they understand it.
        let wants_it = request.metadata.authentic_data || request.dnssec_ok();
        metadata.authentic_data = upstreams.authentic && wants_it && begun.is_none();
        let mut sections = upstreams.sections;
        let records = sections.answers.iter_mut().chain(&mut sections.authorities);
        records.for_each(|record| spell_as(record, request.name()));
        if let Some(begun) = begun {
            sections.answers.splice(0..0, begun.answers);
        }
        self.write(request, &metadata, sections, limit)
    }

    fn metadata(&self, request: &Request, code: ResponseCode) -> Metadata {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.recursion_available = self.forwarder.is_some();
        metadata.response_code = code;
        metadata
    }

    fn write(
        &self,
        request: &Request,
        metadata: &Metadata,
        sections: Sections,
        limit: u16,
    ) -> Vec<u8> {
        let bytes = wire::answer(request, metadata, sections, limit);
        if wire::is_truncated(&bytes) {
            self.counters.truncated.add();
        }
        bytes
    }
}

/// Some clients compare the owner's name with what they asked for letter by letter.
fn spell_as(record: &mut Record, name: &Name) {
    if record.name == *name {
        record.name = name.clone();
    }
}
