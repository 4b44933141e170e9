//! Reads what this node's kernel holds for one packet. Nothing is written.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};

use explain::kernel::{
    Facts, FlowFound, ForeignEnd, ForeignHeld, ForeignRuleHeld, Held, HeldChains, IptablesNeeds,
    Needs, NftablesNeeds, RouteFound, RouteRefusal, Setting, TableHeld, Walked, walk,
};
use explain::{Enters, Explanation, Packet, Verdict};
use model::{Family, Host};
use render::iptables::{Match, Recent, Table, Target};
use render::nftables::{Data, SetName, Value, names};
use sync::conntrack::{Conntrack, Filter};
use sync::foreign::{self, Ends};
use sync::route::{self, Refusal, Routed};
use sync::watch::TableFamily;

/// How many chains of others a walk may ask for before it is given up.
const CHAINS: usize = 1_000;
/// Of more endpoints than this the routes of the rest are not asked for.
const ROUTES: usize = 16;

/// Reads what bears on an answer.
pub(crate) fn read(needs: &Needs, host: &Host, answer: &Explanation) -> Facts {
    let mut facts = Facts::default();
    let Some(packet) = &answer.packet else { return facts };
    let family = Family::of(packet.destination);
    let held = match needs {
        Needs::Iptables(needs) => iptables(needs, host, packet, answer).map(Held::Iptables),
        Needs::Nftables(needs) => nftables(needs).map(Held::Nftables),
    };
    facts.held = told(&mut facts.unread, "the rules", held);
    let in_iptables_mode = matches!(needs, Needs::Iptables(_));
    let ours = move |of: TableFamily, table: &str| {
        let iptables = [Table::Filter, Table::Nat].iter().any(|known| known.to_string() == table);
        let inet = of == TableFamily::Inet;
        table == names::TABLE || in_iptables_mode && !inet && iptables
    };
    let others = foreign::base_chains(family, ours);
    let others = told(&mut facts.unread, "the tables of others", others);
    facts.foreign = others.into_iter().flatten().map(foreign_chain).collect();
    let pinned = match needs {
        Needs::Iptables(needs) => Ok(recent(needs, packet)),
        Needs::Nftables(needs) => remembered(needs, packet),
    };
    facts.pinned = told(&mut facts.unread, "session affinity", pinned).unwrap_or_default();
    tracked(&mut facts, family, packet);
    let interface = interface(packet);
    let asked = routes(packet, host, answer, interface.as_deref());
    facts.routes = told(&mut facts.unread, "the routes", asked).unwrap_or_default();
    facts.settings = settings(family, interface.as_deref());
    facts
}

/// What was read; a failure is noted.
fn told<T>(unread: &mut Vec<String>, what: &str, read: Result<T, sync::Error>) -> Option<T> {
    read.map_err(|error| unread.push(format!("{what}: {error}"))).ok()
}

/// The chains that are needed, and those of others that the packet meets on its way.
fn iptables(
    needs: &IptablesNeeds,
    host: &Host,
    packet: &Packet,
    answer: &Explanation,
) -> Result<HeldChains, sync::Error> {
    let mut reader = sync::iptables::Reader::open()?;
    let mut addresses = vec![packet.destination];
    if let Some(Verdict::Deliver(backends)) = &answer.routed {
        addresses.extend(backends.keys().map(SocketAddr::ip));
    }
    let mut held = HeldChains::new();
    for id in needs.own.keys().chain(needs.within.keys()) {
        if needs.own.contains_key(id) {
            held.insert(id.clone(), reader.chain(id)?);
        } else if !held.contains_key(id) {
            // Shared chains hold a rule for each frontend of the node.
            held.insert(id.clone(), reader.chain_for(id, &addresses)?);
        }
    }
    for _ in 0..CHAINS {
        let Walked::Missing(id) = walk(&held, host, packet) else { break };
        let rules = reader.chain(&id)?;
        held.insert(id, rules);
    }
    Ok(held)
}

fn nftables(needs: &NftablesNeeds) -> Result<TableHeld, sync::Error> {
    let mut reader = sync::table::Reader::open()?;
    let Some(chains) = reader.chains(needs.family)? else { return Ok(TableHeld::default()) };
    let elements = reader.elements(needs.elements.keys().chain(&needs.absent))?;
    Ok(TableHeld { there: true, chains, elements })
}

/// The endpoint that nftables mode remembers the client by.
fn remembered(needs: &NftablesNeeds, packet: &Packet) -> Result<Vec<SocketAddr>, sync::Error> {
    let sticky = |set: &SetName| matches!(set, SetName::StickyEndpoints(..));
    if !needs.elements.keys().any(|id| sticky(&id.set)) {
        return Ok(Vec::new());
    }
    let mut reader = sync::table::Reader::open()?;
    let frontend = (packet.destination, packet.protocol, packet.port);
    let Some(number) = reader.remembered(packet.source, frontend)? else { return Ok(Vec::new()) };
    let kept = needs
        .elements
        .iter()
        .find(|(id, _)| sticky(&id.set) && id.key.last() == Some(&Value::EndpointId(number)));
    Ok(kept.and_then(|(_, content)| backend(&content.data)).into_iter().collect())
}

fn backend(data: &Data) -> Option<SocketAddr> {
    match data {
        Data::Values(values) => match values.as_slice() {
            [Value::Address(address), Value::Port(port)] => Some(SocketAddr::new(*address, *port)),
            _ => None,
        },
        _ => None,
    }
}

/// The endpoints whose list of clients holds this one, in iptables mode.
fn recent(needs: &IptablesNeeds, packet: &Packet) -> Vec<SocketAddr> {
    let rules = || needs.own.values().flatten();
    let lists = rules().filter_map(|rule| {
        rule.matches.iter().find_map(|one| match one {
            Match::Recent { list, action: Recent::Set } => Some((list, rule.target.as_ref())),
            _ => None,
        })
    });
    let held = |list: &str| {
        let path = format!("/proc/thread-self/net/xt_recent/{list}");
        let text = fs::read_to_string(path).unwrap_or_default();
        let client = format!("src={} ", packet.source);
        text.lines().any(|line| line.starts_with(&client))
    };
    lists
        .filter_map(|(list, target)| match target {
            Some(Target::Dnat(to)) if held(list) => Some(*to),
            _ => None,
        })
        .collect()
}

fn tracked(facts: &mut Facts, family: Family, packet: &Packet) {
    let read = || -> Result<(Vec<FlowFound>, (u32, u32)), sync::Error> {
        let mut conntrack = Conntrack::open()?;
        let fill = conntrack.fill()?;
        let filter = Filter {
            protocol: Some(packet.protocol.number()),
            destination: Some(packet.destination),
            port: Some(packet.port),
            ..Filter::family(family)
        };
        let mut flows = BTreeMap::new();
        conntrack.list(&filter, |entry| {
            if entry.original.source.ip() == packet.source && !entry.is_over() {
                let flow = FlowFound {
                    client: entry.original.source,
                    answers_from: entry.reply.source,
                    answered: entry.is_answered(),
                    timeout: entry.timeout,
                    stale: false,
                };
                flows.insert((flow.client, flow.answers_from), flow);
            }
        })?;
        Ok((flows.into_values().collect(), (fill.entries, fill.limit)))
    };
    let read = read();
    if let Some((flows, fill)) = told(&mut facts.unread, "connection tracking", read) {
        facts.flows = flows;
        facts.tracked = Some(fill);
    }
}

/// The interface that the packet comes in by: the one that was named, else the one by which the
/// kernel would answer.
fn interface(packet: &Packet) -> Option<String> {
    let Enters::Interface(name) = &packet.enters else { return None };
    if nix::net::if_::if_nametoindex(&**name).is_ok() {
        return Some(name.to_string());
    }
    match route::output(packet.source) {
        Ok(Routed::To { interface }) if interface != "lo" => Some(interface),
        _ => None,
    }
}

/// Asks the kernel's routing for the packet's way to each endpoint.
fn routes(
    packet: &Packet,
    host: &Host,
    answer: &Explanation,
    interface: Option<&str>,
) -> Result<Vec<RouteFound>, sync::Error> {
    let Some(Verdict::Deliver(backends)) = &answer.routed else { return Ok(Vec::new()) };
    let mut ends: Vec<IpAddr> = backends.keys().map(SocketAddr::ip).collect();
    ends.sort();
    ends.dedup();
    let mut found = Vec::new();
    for to in ends.into_iter().take(ROUTES) {
        let routed = match (&packet.enters, interface) {
            (Enters::Output, _) => route::output(to)?,
            // The Pod itself: the packet goes back by the interface that it came from.
            (Enters::Interface(_), Some(name)) if to != packet.source || !host.owns(to) => {
                route::input(packet.source, to, name)?
            }
            (Enters::Interface(_), _) => continue,
        };
        let refused = match routed {
            Routed::To { .. } => None,
            Routed::Refused(refusal) => Some(refused(refusal)),
        };
        found.push(RouteFound { to, by: interface.map(str::to_owned), refused });
    }
    Ok(found)
}

fn refused(refusal: Refusal) -> RouteRefusal {
    match refusal {
        Refusal::ReversePath { filter, back } => RouteRefusal::ReversePath { filter, back },
        Refusal::NotForwarding => RouteRefusal::NotForwarding,
        Refusal::NoRoute => RouteRefusal::NoRoute,
        Refusal::Other(why) => RouteRefusal::Other(why),
    }
}

/// Settings that decide over packets of Services; those that are not there are left out.
fn settings(family: Family, interface: Option<&str>) -> Vec<Setting> {
    let mut names = vec!["net/netfilter/nf_conntrack_max".to_owned()];
    match family {
        Family::V4 => {
            names.push("net/ipv4/ip_forward".into());
            names.push("net/ipv4/conf/all/route_localnet".into());
            names.push("net/ipv4/conf/all/rp_filter".into());
            names.extend(interface.map(|name| format!("net/ipv4/conf/{name}/rp_filter")));
        }
        Family::V6 => names.push("net/ipv6/conf/all/forwarding".into()),
    }
    let read = |name: String| {
        let value = sync::sysctl::read(&name).ok()?;
        Some(Setting { name: name.replace('/', "."), value })
    };
    names.into_iter().filter_map(read).collect()
}

fn foreign_chain(base: foreign::BaseChain) -> ForeignHeld {
    let rules = |rules: Vec<foreign::ForeignRule>| rules.into_iter().map(foreign_rule).collect();
    let foreign::BaseChain { family, table, name, kind, hook, priority, drops, chains, .. } = base;
    ForeignHeld {
        name: format!("{family} {table} {name}"),
        kind,
        hook,
        priority,
        drops,
        entry: name,
        chains: chains.into_iter().map(|(name, held)| (name, rules(held))).collect(),
    }
}

fn foreign_rule(rule: foreign::ForeignRule) -> ForeignRuleHeld {
    let foreign::ForeignRule { handle, conditions, ends } = rule;
    let ends = match ends {
        Ends::GoesOn => ForeignEnd::GoesOn,
        Ends::Accept => ForeignEnd::Accept,
        Ends::Drop => ForeignEnd::Drop,
        Ends::Reject => ForeignEnd::Reject,
        Ends::Dnat => ForeignEnd::Dnat,
        Ends::Jump(to) => ForeignEnd::Jump(to),
        Ends::Goto(to) => ForeignEnd::Goto(to),
        Ends::Return => ForeignEnd::Return,
    };
    ForeignRuleHeld { handle, conditions, ends }
}
