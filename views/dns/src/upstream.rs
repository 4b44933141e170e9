//! One question to one upstream name server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_proto::op::{Edns, Header, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Record};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::cache::{Key, Upstreams};
use crate::wire::{OUR_UDP, Sections, decode};

/// More than an upstream sends to somebody who takes [`OUR_UDP`].
const LONGEST: usize = 4096;

/// Asks an upstream over UDP, and over TCP if the answer is truncated. Waits for as long as the
/// caller does.
pub(crate) async fn ask(upstream: SocketAddr, key: &Key) -> io::Result<Upstreams> {
    let answer = over_udp(upstream, key, true).await?;
    // A server from before EDNS does not understand the OPT record (RFC 6891, section 7).
    if answer.response_code == ResponseCode::FormErr {
        return Ok(received(over_udp(upstream, key, false).await?));
    }
    if answer.truncation {
        return Ok(received(over_tcp(upstream, key).await?));
    }
    Ok(received(answer))
}

/// Each question has a socket of its own, so that the kernel chooses a port that is hard to guess
/// and hands over what comes from the upstream's address alone.
async fn over_udp(upstream: SocketAddr, key: &Key, edns: bool) -> io::Result<Message> {
    let any: IpAddr = match upstream {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(upstream).await?;
    let question = question(key, edns);
    socket.send(&question.to_vec().map_err(io::Error::other)?).await?;
    let mut buffer = vec![0; LONGEST];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What does not fit the question may be forged: the true answer may still come.
        if let Some(answer) = matching(&question, buffer.get(..length).unwrap_or_default()) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(upstream: SocketAddr, key: &Key) -> io::Result<Message> {
    let mut stream = TcpStream::connect(upstream).await?;
    let question = question(key, true);
    let bytes = question.to_vec().map_err(io::Error::other)?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend(bytes);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    matching(&question, &answer)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no answer to the question"))
}

fn question(key: &Key, edns: bool) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = key.checking_disabled;
    message.add_query(Query::query(key.name.clone(), key.record_type));
    if edns {
        let mut opt = Edns::new();
        opt.set_max_payload(OUR_UDP).set_dnssec_ok(key.dnssec_ok);
        message.set_edns(opt);
    }
    message
}

/// Reads a message if it is the answer to the question.
fn matching(question: &Message, bytes: &[u8]) -> Option<Message> {
    let header = Header::read(&mut BinDecoder::new(bytes)).ok()?;
    let answers = header.metadata.message_type == MessageType::Response;
    if header.metadata.id != question.id || !answers || header.counts.queries > 1 {
        return None;
    }
    let mut answer = decode(bytes)?;
    // A server that could not read the question may leave it out.
    let unread = answer.queries.is_empty() && answer.response_code == ResponseCode::FormErr;
    if !unread && answer.queries != question.queries {
        return None;
    }
    answer.queries.clear();
    Some(answer)
}

fn received(answer: Message) -> Upstreams {
    let in_class = |records: Vec<Record>| {
        records.into_iter().filter(|record| record.dns_class == DNSClass::IN).collect()
    };
    Upstreams {
        code: answer.metadata.response_code,
        authentic: answer.metadata.authentic_data,
        sections: Sections {
            answers: in_class(answer.answers),
            authorities: in_class(answer.authorities),
            additionals: in_class(answer.additionals),
        },
    }
}
