//! What is asked: `tcp pod/shop/client -> web.shop:80`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use model::{Family, NamespacedName, Protocol, parse_ip};
use thiserror::Error;

use crate::{Enters, Packet};

/// One end of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An address, whoever has it.
    Address(IpAddr),
    /// A client outside the cluster with this address.
    Outside(IpAddr),
    /// A Pod.
    Pod(NamespacedName),
    /// A node, by its own address.
    Node(Arc<str>),
    /// A Service, by its name.
    Service {
        /// The name.
        name: Arc<str>,
        /// The namespace; the client's own where the question names none.
        namespace: Option<Arc<str>>,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Address(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Place::Address(ip) => write!(f, "{ip}"),
            Place::Outside(ip) => write!(f, "outside/{ip}"),
            Place::Pod(name) => write!(f, "pod/{name}"),
            Place::Node(name) => write!(f, "node/{name}"),
            Place::Service { name, namespace: None } => write!(f, "{name}"),
            Place::Service { name, namespace: Some(namespace) } => write!(f, "{name}.{namespace}"),
        }
    }
}

/// The port that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskedPort {
    /// A number.
    Number(u16),
    /// The name of a port of the Service.
    Name(Arc<str>),
}

impl fmt::Display for AskedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskedPort::Number(number) => write!(f, "{number}"),
            AskedPort::Name(name) => write!(f, "{name}"),
        }
    }
}

/// A question about the first packet of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The protocol.
    pub protocol: Protocol,
    /// Who sends.
    pub source: Place,
    /// To whom.
    pub destination: Place,
    /// To which port.
    pub port: AskedPort,
    /// In which family; `None` chooses the first that both ends have.
    pub family: Option<Family>,
    /// How the packet enters the node; `None` finds out.
    pub enters: Option<Enters>,
    /// The endpoint that the asker misses (`--why-not`).
    pub why_not: Option<NamespacedName>,
}

impl Question {
    /// The question that this packet is: both ends are addresses, and how it enters is known.
    #[must_use]
    pub fn about(packet: &Packet) -> Self {
        Self {
            protocol: packet.protocol,
            source: Place::Address(packet.source),
            destination: Place::Address(packet.destination),
            port: AskedPort::Number(packet.port),
            family: None,
            enters: Some(packet.enters.clone()),
            why_not: None,
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, source, destination, port, .. } = self;
        let source = source.to_string();
        // Brackets are needed before a port alone.
        let source = source.trim_start_matches('[').trim_end_matches(']');
        write!(f, "{} {source} -> {destination}:{port}", protocol.lower())
    }
}

/// A text that is no question.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuestionError {
    /// It has not the form of one.
    #[error(
        "{0:?} is no question; ask as in 'tcp pod/shop/client -> web.shop:80' (in quotes, for the \
         shell takes > as its own), or with the word 'to' in place of the arrow"
    )]
    Form(String),
    /// An end cannot be read.
    #[error(
        "{0:?} names no place; expected pod/NAMESPACE/NAME, node/NAME, outside/ADDRESS, an address, \
         or the name of a Service such as web.shop"
    )]
    Place(String),
    /// The destination has no port.
    #[error("{0:?} has no port; write it as in web.shop:80 or [fd00::1]:80")]
    Port(String),
    /// The protocol is none that Services have.
    #[error("{0:?} is not tcp, udp or sctp")]
    Protocol(String),
}

impl FromStr for Question {
    type Err = QuestionError;

    fn from_str(text: &str) -> Result<Self, QuestionError> {
        let words: Vec<&str> =
            text.split_whitespace().filter(|word| !matches!(*word, "->" | "to")).collect();
        let &[protocol, source, destination] = words.as_slice() else {
            return Err(QuestionError::Form(text.into()));
        };
        if destination == "-" {
            // What is left of an arrow whose head the shell took.
            return Err(QuestionError::Form(text.into()));
        }
        let (place, port) =
            destination.rsplit_once(':').ok_or_else(|| QuestionError::Port(destination.into()))?;
        let bracketed = place.starts_with('[') && place.ends_with(']');
        if place.is_empty() || port.is_empty() || (place.contains(':') && !bracketed) {
            return Err(QuestionError::Port(destination.into()));
        }
        Ok(Self {
            protocol: protocol.parse().map_err(|_| QuestionError::Protocol(protocol.into()))?,
            source: self::place(source, false)?,
            destination: self::place(place.trim_matches(['[', ']']), true)?,
            port: match port.parse() {
                Ok(number) => AskedPort::Number(number),
                Err(_) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                    return Err(QuestionError::Port(destination.into()));
                }
                Err(_) => AskedPort::Name(port.into()),
            },
            family: None,
            enters: None,
            why_not: None,
        })
    }
}

/// Reads one end; a bare name is a Service, which cannot send.
fn place(text: &str, may_be_service: bool) -> Result<Place, QuestionError> {
    let bad = || QuestionError::Place(text.into());
    let mut parts = text.split('/');
    let read = match (parts.next().unwrap_or_default(), parts.next(), parts.next(), parts.next()) {
        ("pod", Some(name), None, None) => Place::Pod(NamespacedName::new("default", name)),
        ("pod", Some(space), Some(name), None) => Place::Pod(NamespacedName::new(space, name)),
        ("node", Some(name), None, None) => Place::Node(name.into()),
        ("outside", Some(ip), None, None) => Place::Outside(parse_ip(ip).map_err(|_| bad())?),
        ("svc", Some(space), Some(name), None) if may_be_service => {
            Place::Service { name: name.into(), namespace: Some(space.into()) }
        }
        (name, None, None, None) => match parse_ip(name) {
            Ok(ip) => Place::Address(ip),
            Err(_) if may_be_service => service(name).ok_or_else(bad)?,
            Err(_) => return Err(bad()),
        },
        _ => return Err(bad()),
    };
    let complete = !text.split('/').any(str::is_empty);
    if complete { Ok(read) } else { Err(bad()) }
}

/// `NAME`, `NAME.NAMESPACE`, `NAME.NAMESPACE.svc` or the full name with the cluster's domain.
fn service(text: &str) -> Option<Place> {
    let mut labels = text.trim_end_matches('.').split('.');
    let name = labels.next().filter(|name| !name.is_empty())?;
    let namespace = labels.next();
    let inside = labels.next().is_none_or(|word| word == "svc");
    inside.then(|| Place::Service { name: name.into(), namespace: namespace.map(Into::into) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read_and_written() {
        let same = [
            "tcp pod/shop/client -> web.shop:80",
            "udp node/alpha -> 10.88.0.10:53",
            "sctp outside/198.51.100.7 -> node/alpha:30080",
            "tcp fd77:1::9 -> [fd88::30]:http",
        ];
        for text in same {
            assert_eq!(text.parse::<Question>().unwrap().to_string(), text);
        }
        for (text, meant) in [
            ("TCP pod/client to web:80", "tcp pod/default/client -> web:80"),
            (
                "tcp pod/client web.shop.svc.cluster.local.:80",
                "tcp pod/default/client -> web.shop:80",
            ),
            ("tcp 10.0.0.1 -> svc/shop/web:80", "tcp 10.0.0.1 -> web.shop:80"),
        ] {
            assert_eq!(text.parse::<Question>().unwrap().to_string(), meant);
        }
    }

    #[test]
    fn what_is_no_question_says_what_is_wrong() {
        for (text, expected) in [
            ("tcp pod/shop/client -", "no question"),
            ("tcp web.shop -> web.shop:80", "names no place"),
            ("tcp pod// -> web.shop:80", "names no place"),
            ("tcp 10.0.0.1 -> web.shop", "has no port"),
            ("tcp 10.0.0.1 -> web.shop:70000", "has no port"),
            ("tcp fd00::1 -> fd00::2:80", "has no port"),
            ("icmp 10.0.0.1 -> web.shop:80", "not tcp, udp or sctp"),
            ("tcp 10.0.0.1 -> web.shop.pod.cluster.local:80", "names no place"),
        ] {
            let error = text.parse::<Question>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
