//! The packet that a question is about.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use model::Protocol;
use serde::Serialize;

/// How a packet enters the node's packet path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Enters {
    /// A process in the node's own network namespace sends it.
    Output,
    /// It arrives by this interface.
    Interface(Arc<str>),
}

/// The first packet of a new connection, as it enters the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Packet {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The source address.
    pub source: IpAddr,
    /// The destination address, of the same family.
    pub destination: IpAddr,
    /// The destination port.
    pub port: u16,
    /// Where it comes from.
    pub enters: Enters,
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, source, destination, port, enters } = self;
        let protocol = protocol.lower();
        write!(f, "{protocol} {source} -> {destination} port {port}, ")?;
        match enters {
            Enters::Output => f.write_str("sent by the node itself"),
            Enters::Interface(name) => write!(f, "in by {name}"),
        }
    }
}
