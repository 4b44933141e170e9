//! Questions and answers as bytes.

use std::panic::catch_unwind;

use hickory_proto::ProtoError;
use hickory_proto::op::{
    Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode, emit_message_parts,
};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder};

/// Length of a message's header.
const HEADER: usize = 12;
/// Length of an OPT record without options.
const OPT: u16 = 11;
/// What a client takes over UDP if it does not say (RFC 1035).
pub(crate) const PLAIN_UDP: u16 = 512;
/// What this server takes over UDP, and asks upstream for: fits into any path (DNS flag day 2020).
pub(crate) const OUR_UDP: u16 = 1232;

/// A question of class IN.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub metadata: Metadata,
    pub query: Query,
    pub edns: Option<ClientEdns>,
}

/// What the client said in its OPT record (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientEdns {
    /// The largest UDP payload that it takes; at least 512.
    pub payload: u16,
    pub dnssec_ok: bool,
}

/// What became of a message.
#[derive(Debug, PartialEq)]
pub(crate) enum Parsed {
    /// A question to answer.
    Request(Box<Request>),
    /// Something that is refused with these bytes.
    Reject(Vec<u8>, ResponseCode),
    /// Something that deserves no answer: too short for one, or an answer itself.
    Ignore,
}

/// The sections of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sections {
    pub answers: Vec<Record>,
    pub authorities: Vec<Record>,
    pub additionals: Vec<Record>,
}

impl Request {
    pub(crate) fn name(&self) -> &Name {
        self.query.name()
    }

    pub(crate) fn record_type(&self) -> RecordType {
        self.query.query_type()
    }

    pub(crate) fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// How many bytes an answer over UDP may have.
    pub(crate) fn udp_limit(&self, ours: u16) -> u16 {
        self.edns.map_or(PLAIN_UDP, |edns| edns.payload.min(ours.max(PLAIN_UDP)))
    }
}

/// Reads a message that a client sent.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let Ok(header) = Header::read(&mut BinDecoder::new(bytes)) else { return Parsed::Ignore };
    let metadata = header.metadata;
    if metadata.message_type == MessageType::Response {
        return Parsed::Ignore;
    }
    if metadata.op_code != OpCode::Query {
        return reject(&metadata, None, None, ResponseCode::NotImp);
    }
    // The counts are checked before anything is allocated for them.
    let counts = header.counts;
    if counts.queries != 1
        || counts.answers != 0
        || counts.authorities > 1
        || counts.additionals > 8
    {
        return reject(&metadata, None, None, ResponseCode::FormErr);
    }
    let Some(message) = decode(bytes) else {
        return reject(&metadata, None, None, ResponseCode::FormErr);
    };
    let Some(query) = message.queries.into_iter().next() else { return Parsed::Ignore };
    let edns = message.edns.as_ref().map(|edns| ClientEdns {
        payload: edns.max_payload().max(PLAIN_UDP),
        dnssec_ok: edns.flags().dnssec_ok,
    });
    if message.edns.is_some_and(|edns| edns.version() > 0) {
        return reject(&metadata, Some(&query), edns, ResponseCode::BADVERS);
    }
    let transfer = matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR);
    if transfer || query.query_class() != DNSClass::IN {
        return reject(&metadata, Some(&query), edns, ResponseCode::Refused);
    }
    Parsed::Request(Box::new(Request { metadata, query, edns }))
}

/// Reads a whole message. The library holds some impossible cases by assertion; should bytes from
/// outside ever reach one, that costs the message and not the server.
pub(crate) fn decode(bytes: &[u8]) -> Option<Message> {
    catch_unwind(|| Message::from_vec(bytes)).ok()?.ok()
}

fn reject(
    metadata: &Metadata,
    query: Option<&Query>,
    edns: Option<ClientEdns>,
    code: ResponseCode,
) -> Parsed {
    let mut reply = Metadata::response_from_request(metadata);
    reply.response_code = code;
    let query = query.map_or(&[][..], std::slice::from_ref);
    match emit(&reply, query, &Sections::default(), edns, PLAIN_UDP) {
        Ok(bytes) => Parsed::Reject(bytes, code),
        Err(_) => Parsed::Ignore,
    }
}

/// Writes an answer of at most `limit` bytes. Additional records are left out before anything else
/// is; if answers had to be left out, the answer says that it is truncated.
pub(crate) fn answer(
    request: &Request,
    metadata: &Metadata,
    mut sections: Sections,
    limit: u16,
) -> Vec<u8> {
    let query = std::slice::from_ref(&request.query);
    let edns = request.edns;
    // With a limit the library needs room for each name before it is compressed, so the limit is
    // only told where the whole is really too long.
    let fits = |bytes: &Vec<u8>| bytes.len() <= usize::from(limit);
    let whole = |sections: &Sections| emit(metadata, query, sections, edns, u16::MAX);
    let mut bytes = whole(&sections);
    if !bytes.as_ref().is_ok_and(fits) && !sections.additionals.is_empty() {
        sections.additionals.clear();
        bytes = whole(&sections);
    }
    if !bytes.as_ref().is_ok_and(fits) {
        bytes = emit(metadata, query, &sections, edns, limit);
    }
    bytes.unwrap_or_else(|_| {
        // A record that cannot be written: rather no record than no answer.
        let mut failed = *metadata;
        failed.response_code = ResponseCode::ServFail;
        emit(&failed, query, &Sections::default(), edns, limit).unwrap_or_default()
    })
}

/// Whether a message says that it is truncated.
pub(crate) fn is_truncated(bytes: &[u8]) -> bool {
    bytes.get(2).is_some_and(|flags| flags & 2 != 0)
}

/// The library writes the OPT record last and drops it when the message is full, so room is kept
/// and the record is added here.
fn emit(
    metadata: &Metadata,
    query: &[Query],
    sections: &Sections,
    edns: Option<ClientEdns>,
    limit: u16,
) -> Result<Vec<u8>, ProtoError> {
    let mut bytes = Vec::with_capacity(usize::from(PLAIN_UDP));
    let room = if edns.is_some() { OPT } else { 0 };
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(limit.saturating_sub(room));
    emit_message_parts(
        metadata,
        &mut query.iter(),
        &mut sections.answers.iter(),
        &mut sections.authorities.iter(),
        &mut sections.additionals.iter(),
        None,
        None,
        &mut encoder,
    )?;
    if let Some(client) = edns {
        let mut opt = Edns::new();
        opt.set_max_payload(OUR_UDP).set_rcode_high(metadata.response_code.high());
        opt.set_dnssec_ok(client.dnssec_ok);
        encoder.set_max_size(limit);
        opt.emit(&mut encoder)?;
        count_one_more(&mut bytes);
    }
    Ok(bytes)
}

/// Counts one more additional record in a message's header.
fn count_one_more(bytes: &mut [u8]) {
    if let Some([high, low]) = bytes.get_mut(HEADER - 2..HEADER) {
        let count = u16::from_be_bytes([*high, *low]).saturating_add(1);
        [*high, *low] = count.to_be_bytes();
    }
}
