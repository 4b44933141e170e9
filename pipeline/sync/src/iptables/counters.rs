//! The frontends' counters.

use std::sync::Arc;

use model::Family;
use render::iptables::{ChainId, Inverted, Match, Rule, Table, Target, names};
use render::nftables::Clients;

use super::{decode, read};
use crate::Error;
use crate::ipset::SetNumbers;
use crate::netlink::Socket;
use crate::nftables::{Expression, RuleSeen};
use crate::table::FrontendCounter;

/// The dispatch rules of the nat table, which sees the first packet of each connection alone, so that
/// packets are connections.
pub(super) fn counters(socket: &mut Socket, family: Family) -> Result<Vec<FrontendCounter>, Error> {
    // Rules that lead to Services name no set.
    let sets = SetNumbers::default();
    let mut counters = Vec::new();
    for chain in [names::KUBE_SERVICES, names::KUBE_NODEPORTS] {
        let id = ChainId::new(family, Table::Nat, chain);
        read::rules(socket, &id, |seen| {
            let rule = decode::read_rule(family, seen, &sets);
            counters.extend(rule.and_then(|rule| counter(seen, &rule)));
        })?;
    }
    counters.sort();
    Ok(counters)
}

/// What a rule counts, if it leads to a Service.
fn counter(seen: &RuleSeen<'_>, rule: &Rule) -> Option<FrontendCounter> {
    let mut expressions = seen.expressions;
    let (packets, bytes) = expressions.find_map(|expression| match expression {
        Expression::Counter { packets, bytes } => Some((packets, bytes)),
        _ => None,
    })?;
    let Some(Target::Jump(_)) = rule.target else { return None };
    // Jumps for all packets, such as the one to KUBE-NODEPORTS, name no port.
    let (protocol, port) = rule.matches.iter().find_map(|one| match one {
        Match::DestinationPort(protocol, port) => Some((*protocol, *port)),
        _ => None,
    })?;
    let comment = rule.matches.iter().find_map(|one| match one {
        Match::Comment(text) => Some(text),
        _ => None,
    });
    // "shop/web:http cluster IP"
    let service = comment.and_then(|text| text.split(' ').next()).map(Arc::from);
    let address = match &rule.destination {
        Some(Inverted { inverted: false, value }) => Some(value.network()),
        Some(_) => return None,
        None => None,
    };
    let clients = Clients::All;
    Some(FrontendCounter { service, address, protocol, port, clients, packets, bytes })
}
