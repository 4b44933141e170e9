//! What one packet's way asks of the kernel: the rules, chains and elements that it may meet, and no
//! others.

use std::collections::{BTreeMap, BTreeSet};

use model::{Family, Host};
use plan::{Frontend, Intent, VirtualServer};
use render::nftables::{Clients, ElementId, Place, SetName, Value};
use render::{iptables, nftables};

use crate::decide::{decision, servers};
use crate::{Enters, Mode, Packet};

/// What the kernel should hold for one packet.
#[derive(Clone, Debug)]
pub enum Needs {
    /// In iptables mode.
    Iptables(IptablesNeeds),
    /// In nftables mode.
    Nftables(NftablesNeeds),
}

/// What the tables of iptables should hold for one packet.
#[derive(Clone, Debug, Default)]
pub struct IptablesNeeds {
    /// Chains that hold exactly these rules.
    pub own: BTreeMap<iptables::ChainId, Vec<iptables::Rule>>,
    /// Rules that stand in chains where others' stand as well.
    pub within: BTreeMap<iptables::ChainId, Vec<iptables::Rule>>,
    /// Rules for the packet's destination that somebody wants; any other one for it is stale.
    pub(super) known: Vec<iptables::Rule>,
}

/// What the table of nftables mode should hold for one packet.
#[derive(Clone, Debug)]
pub struct NftablesNeeds {
    /// The packet's family.
    pub family: Family,
    /// Chains that hold exactly these rules.
    pub chains: BTreeMap<nftables::ChainId, nftables::Chain>,
    /// Elements.
    pub elements: BTreeMap<ElementId, nftables::Content>,
    /// Elements that would catch the packet and that nobody wants.
    pub absent: BTreeSet<ElementId>,
}

impl Needs {
    /// What a packet needs of the kernel in a mode. `masquerade_bit` is the option of that name,
    /// which the agent writes its rules with.
    #[must_use]
    pub fn of(
        intent: &Intent,
        host: &Host,
        packet: &Packet,
        mode: Mode,
        masquerade_bit: u8,
    ) -> Self {
        let by = decision(intent, host, packet, mode).by;
        match mode {
            Mode::Iptables => {
                let options = iptables::Options { masquerade_bit, ..Default::default() };
                Self::Iptables(of_iptables(intent, packet, by, &options))
            }
            Mode::Nftables => {
                let options = nftables::Options { masquerade_bit, ..Default::default() };
                Self::Nftables(of_nftables(intent, packet, by, &options))
            }
        }
    }

    /// How many rules, chains and elements are compared.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Iptables(needs) => {
                let rules = needs.own.values().chain(needs.within.values());
                rules.map(Vec::len).sum()
            }
            Self::Nftables(needs) => needs.chains.len() + needs.elements.len(),
        }
    }
}

/// The server with this frontend alone.
fn only(server: &VirtualServer, frontend: &Frontend) -> VirtualServer {
    VirtualServer { frontends: vec![frontend.clone()], ..server.clone() }
}

/// All servers that have a frontend which the packet may name, whether it gets that far or not.
fn named<'a>(intent: &'a Intent, packet: &Packet) -> Vec<(&'a VirtualServer, &'a Frontend)> {
    let all = servers(intent, packet.destination, packet.protocol)
        .flat_map(|server| server.frontends.iter().map(move |frontend| (server, frontend)));
    all.filter(|(_, frontend)| {
        frontend.port == packet.port
            && frontend.address.is_none_or(|address| address == packet.destination)
    })
    .collect()
}

/// The built-in chains that a packet may pass.
fn passes(packet: &Packet, built_in: &str) -> bool {
    match packet.enters {
        Enters::Output => ["OUTPUT", "INPUT", "POSTROUTING"].contains(&built_in),
        Enters::Interface(_) => built_in != "OUTPUT",
    }
}

fn of_iptables(
    intent: &Intent,
    packet: &Packet,
    by: Option<(&VirtualServer, &Frontend)>,
    options: &iptables::Options,
) -> IptablesNeeds {
    let family = Family::of(packet.destination);
    let mut needs = IptablesNeeds::default();
    let node = iptables::node(&intent.node, options);
    needs.own.extend(node.chains.into_iter().filter(|(id, _)| id.family == family));
    for (id, rules) in node.shared.into_iter().filter(|(id, _)| id.family == family) {
        needs.known.extend(rules.iter().cloned());
        needs.within.entry(id).or_default().extend(rules);
    }
    for jump in node.jumps {
        if jump.chain.family == family && passes(packet, &jump.chain.name) {
            needs.within.entry(jump.chain).or_default().push(jump.rule);
        }
    }
    for (server, frontend) in named(intent, packet) {
        let part = iptables::owner(&intent.node, &[only(server, frontend)], options);
        needs.known.extend(part.shared.into_values().flatten());
    }
    if let Some((server, frontend)) = by {
        // The chains depend on all frontends of the server, the rules that lead there on this one.
        let all = iptables::owner(&intent.node, std::slice::from_ref(server), options);
        let one = iptables::owner(&intent.node, &[only(server, frontend)], options);
        let mut ahead: Vec<iptables::ChainId> = targets(one.shared.iter());
        for (id, rules) in one.shared {
            needs.within.entry(id).or_default().extend(rules);
        }
        while let Some(id) = ahead.pop() {
            if let Some((id, rules)) = all.chains.get_key_value(&id)
                && !needs.own.contains_key(id)
            {
                ahead.extend(targets([(id, rules)].into_iter()));
                needs.own.insert(id.clone(), rules.clone());
            }
        }
    }
    needs
}

/// The chains that rules lead to.
fn targets<'a>(
    chains: impl Iterator<Item = (&'a iptables::ChainId, &'a Vec<iptables::Rule>)>,
) -> Vec<iptables::ChainId> {
    let leads = |id: &iptables::ChainId, rule: &iptables::Rule| match &rule.target {
        Some(iptables::Target::Jump(name)) => {
            Some(iptables::ChainId { name: name.clone(), ..id.clone() })
        }
        _ => None,
    };
    chains.flat_map(|(id, rules)| rules.iter().filter_map(move |rule| leads(id, rule))).collect()
}

fn of_nftables(
    intent: &Intent,
    packet: &Packet,
    by: Option<(&VirtualServer, &Frontend)>,
    options: &nftables::Options,
) -> NftablesNeeds {
    let family = Family::of(packet.destination);
    let mut part = nftables::node(&intent.node, options);
    let mut wanted = BTreeSet::new();
    for (server, frontend) in named(intent, packet) {
        // A route that this mode cannot say is left out by the agent too.
        let Ok(one) = nftables::owner(&intent.node, &[only(server, frontend)], options) else {
            continue;
        };
        wanted.extend(one.elements.keys().cloned());
        if by.is_some_and(|by| by.0 == server && by.1 == frontend) {
            part.chains.extend(one.chains);
            part.elements.extend(one.elements);
        }
    }
    part.chains.retain(|id, _| id.family == family);
    part.elements.retain(|id, _| id.family == family);
    let (address, port) = (Value::Address(packet.destination), Value::Port(packet.port));
    let protocol = Value::Protocol(packet.protocol);
    let catching = [
        (SetName::Dispatch(Place::Address, Clients::Outside), vec![address, protocol, port]),
        (SetName::Dispatch(Place::Address, Clients::All), vec![address, protocol, port]),
        (SetName::Dispatch(Place::NodePort, Clients::Outside), vec![protocol, port]),
        (SetName::Dispatch(Place::NodePort, Clients::All), vec![protocol, port]),
        (SetName::Guarded, vec![address, protocol, port]),
    ];
    let absent = catching.map(|(set, key)| ElementId { family, set, key });
    let absent = absent.into_iter().filter(|id| !wanted.contains(id)).collect();
    NftablesNeeds { family, chains: part.chains, elements: part.elements, absent }
}
