//! A packet of a case, ready to be judged and to be sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use explain::{Enters, Mode, Packet, Verdict};
use model::Protocol;

use crate::case::{Case, Expect, Fate, Masquerade, PacketFile};
use crate::settings::{home_of, node_with};

/// A packet and the verdict that it must meet.
#[derive(Clone, Debug)]
pub struct Probe {
    /// State, packet and name in one line, for messages.
    pub label: String,
    /// The packet.
    pub packet: Packet,
    /// What must happen to it in iptables mode.
    iptables: Verdict,
    /// What must happen to it in nftables mode.
    nftables: Verdict,
}

impl Probe {
    /// Reads a packet of a case.
    ///
    /// # Panics
    /// If `send` is not `PROTOCOL ADDRESS:PORT`.
    #[must_use]
    pub fn new(file: &PacketFile, case: &Case, state: &str) -> Self {
        let (protocol, destination) = read_send(&file.send);
        let enters = match file.via.as_deref() {
            Some("output") => Enters::Output,
            Some(interface) => Enters::Interface(interface.into()),
            None => enters(file, case),
        };
        let name = file.name.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
        Self {
            label: format!("{state}: {} -> {}{name}", file.from, file.send),
            packet: Packet {
                protocol,
                source: file.from,
                destination: destination.ip(),
                port: destination.port(),
                enters,
            },
            iptables: verdict(&file.expect, file),
            nftables: match &file.nftables {
                Some(otherwise) => verdict(&otherwise.expect, file),
                None => verdict(&file.expect, file),
            },
        }
    }

    /// What must happen to it.
    #[must_use]
    pub fn expected(&self, mode: Mode) -> &Verdict {
        match mode {
            Mode::Iptables => &self.iptables,
            Mode::Nftables => &self.nftables,
        }
    }

    /// The destination.
    #[must_use]
    pub fn to(&self) -> SocketAddr {
        SocketAddr::new(self.packet.destination, self.packet.port)
    }
}

/// Reads `PROTOCOL ADDRESS:PORT`.
pub(crate) fn read_send(text: &str) -> (Protocol, SocketAddr) {
    let (protocol, address) = text.split_once(' ').expect("send: PROTOCOL ADDRESS:PORT");
    let protocol = protocol.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    (protocol, address.parse().unwrap_or_else(|error| panic!("{text}: {error}")))
}

/// Where a packet of this client enters the node: Pods of the node by their links, named as in the
/// lab, everybody else by the wire.
fn enters(file: &PacketFile, case: &Case) -> Enters {
    if case.host.host(&case.node).owns(file.from) {
        return Enters::Output;
    }
    let home = home_of(file.from).or(node_with(file.from));
    let link = match home {
        Some(home) if home == case.node => case.config.bridge().unwrap_or("veth1").into(),
        Some(home) => format!("to-{home}"),
        None => "to-outside".into(),
    };
    Enters::Interface(link.into())
}

fn verdict(expect: &Expect, file: &PacketFile) -> Verdict {
    match expect {
        Expect::Other(Fate::Reject) => Verdict::Reject,
        Expect::Other(Fate::Drop) => Verdict::Drop,
        Expect::Other(Fate::Pass) => Verdict::Pass,
        Expect::Deliver { deliver, masquerade } => {
            let masqueraded = |endpoint: &SocketAddr| match masquerade {
                Masquerade::All(always) => *always,
                Masquerade::OfItself(_) => endpoint.ip() == file.from,
            };
            let all = deliver.iter().map(|endpoint| (*endpoint, masqueraded(endpoint)));
            Verdict::Deliver(all.collect::<BTreeMap<_, _>>())
        }
    }
}
