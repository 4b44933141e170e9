//! ClusterNetworkPolicies (`policy.networking.k8s.io/v1alpha2`).

use std::sync::Arc;

use model::{
    ClusterNetworkPolicy, Direction, IpBlock, LabelSelector, Namespaces, Notice, Peer, Peers,
    PodSelection, PolicyAction, PolicyPort, PolicyRule, Ports, Protocol, Reason, Tier,
};
use serde_json::Value;

use super::read::{At, Fault, Object, Read};
use super::{cidr, port_name, selector};
use crate::convert::Names;
use crate::convert::notes::{Notes, cluster_scoped};
use crate::wire;

/// The highest `spec.priority`.
const LAST_PRIORITY: u64 = 1000;

/// Reads a ClusterNetworkPolicy.
///
/// A rule with anything unknown or wrong in it fails closed, as the API asks for: one that accepts
/// matches nothing, one that denies or passes denies everything. Without a tier, a priority and a
/// subject nobody can say where and for whom the policy stands; it is left out then.
#[must_use]
pub fn cluster_network_policy(
    wire: &wire::Policy,
    names: &mut Names,
) -> (Option<ClusterNetworkPolicy>, Vec<Notice>) {
    let (name, mut notes) = match cluster_scoped("ClusterNetworkPolicy", &wire.metadata, names) {
        Ok(named) => named,
        Err(notices) => return (None, notices),
    };
    let nothing = Value::Null;
    let spec = At::new(wire.spec.get().unwrap_or(&nothing), "spec");
    match policy(name, &spec, names, &mut notes) {
        Ok(policy) => (Some(policy), notes.list),
        Err(fault) => {
            let follows = "it cannot be told for whom the policy stands, so it is left out";
            notes.add(fault.reason, format!("{}; {follows}", fault.what));
            (None, notes.list)
        }
    }
}

fn policy(
    name: Arc<str>,
    at: &At<'_>,
    names: &mut Names,
    notes: &mut Notes,
) -> Read<ClusterNetworkPolicy> {
    const KNOWN: &[&str] = &["tier", "priority", "subject", "ingress", "egress"];
    // A field that is not known may mean anything, for every rule.
    let (spec, unknown) = match at.object(KNOWN) {
        Ok(spec) => (spec, None),
        Err(fault) => (at.any_object()?, Some(fault)),
    };
    let tier = spec.need("tier")?;
    let tier = match tier.text()? {
        "Admin" => Tier::Admin,
        "Baseline" => Tier::Baseline,
        _ => return Err(tier.fault("Admin or Baseline")),
    };
    let priority = spec.need("priority")?;
    let number = priority.number()?;
    let in_range = u16::try_from(number).ok().filter(|_| number <= LAST_PRIORITY);
    let priority = in_range.ok_or_else(|| priority.fault("a number from 0 to 1000"))?;
    let subject = spec.need("subject")?;
    let subject = selection(&subject.object(&["namespaces", "pods"])?, names)?;
    if let Some(fault) = &unknown {
        let follows = "its rules count as rules that could not be read";
        notes.add(fault.reason, format!("{}; {follows}", fault.what));
    }
    let closed = unknown.is_some();
    let mut rules = |direction| rules(&spec, direction, closed, names, notes);
    Ok(ClusterNetworkPolicy {
        name,
        tier,
        priority,
        subject,
        ingress: rules(Direction::Ingress),
        egress: rules(Direction::Egress),
    })
}

/// `namespaces` or `pods`.
fn selection(object: &Object<'_>, names: &mut Names) -> Read<PodSelection> {
    let (key, at) = object.only(&["namespaces", "pods"])?;
    if key == "namespaces" {
        let namespaces = Namespaces::Selected(selector(&at, names)?);
        return Ok(PodSelection { namespaces, pods: LabelSelector::default() });
    }
    let pods = at.object(&["namespaceSelector", "podSelector"])?;
    let mut part = |key| {
        let at = pods.get(key);
        at.map_or(Ok(LabelSelector::default()), |at| selector(&at, names))
    };
    Ok(PodSelection {
        namespaces: Namespaces::Selected(part("namespaceSelector")?),
        pods: part("podSelector")?,
    })
}

fn rules(
    spec: &Object<'_>,
    direction: Direction,
    closed: bool,
    names: &mut Names,
    notes: &mut Notes,
) -> Vec<PolicyRule> {
    let key = match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    let items = match spec.list(key) {
        Ok(items) => items,
        Err(fault) => {
            let follows = "everything is denied in its place";
            notes.add(fault.reason, format!("{}; {follows}", fault.what));
            return vec![PolicyRule::closed(None, PolicyAction::Deny)];
        }
    };
    let rules = items.iter().map(|item| {
        let (name, action) = head(item, names);
        if closed {
            return PolicyRule::closed(name, action);
        }
        rule(item, direction, names).unwrap_or_else(|fault| {
            let follows = match action {
                PolicyAction::Accept => "its rule matches nothing",
                PolicyAction::Deny | PolicyAction::Pass => "its rule denies everything",
            };
            notes.add(fault.reason, format!("{}; {follows}", fault.what));
            PolicyRule::closed(name, action)
        })
    });
    rules.collect()
}

/// What is known of a rule even where the rest of it cannot be read. Without a known action it
/// counts as one that denies.
fn head(at: &At<'_>, names: &mut Names) -> (Option<Arc<str>>, PolicyAction) {
    let text = |key: &str| at.value().get(key).and_then(Value::as_str);
    let action = match text("action") {
        Some("Accept") => PolicyAction::Accept,
        Some("Pass") => PolicyAction::Pass,
        _ => PolicyAction::Deny,
    };
    (text("name").map(|name| names.intern(name)), action)
}

fn rule(at: &At<'_>, direction: Direction, names: &mut Names) -> Read<PolicyRule> {
    let list = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let rule = at.object(&["name", "action", "protocols", list])?;
    let action = rule.need("action")?;
    let action = match action.text()? {
        "Accept" => PolicyAction::Accept,
        "Deny" => PolicyAction::Deny,
        "Pass" => PolicyAction::Pass,
        _ => return Err(action.fault("Accept, Deny or Pass")),
    };
    let name = rule.get("name").map(|name| name.text()).transpose()?;
    let mut peers = Vec::new();
    for item in rule.list(list)? {
        peer(&item, direction, names, &mut peers)?;
    }
    if peers.is_empty() {
        return Err(rule.fault(format_args!("at least one entry of {list}")));
    }
    let protocols = rule.list("protocols")?;
    let ports: Vec<PolicyPort> =
        protocols.iter().map(|item| port(item, names)).collect::<Read<_>>()?;
    let named = ports.iter().any(|port| matches!(port, PolicyPort::Named { .. }));
    if named && !peers.iter().all(|peer| matches!(peer, Peer::Pods(_))) {
        return Err(rule.fault("Pods alone where protocols name a port"));
    }
    Ok(PolicyRule {
        name: name.map(|name| names.intern(name)),
        action,
        peers: Peers::AnyOf(peers),
        ports: if ports.is_empty() { Ports::Any } else { Ports::AnyOf(ports) },
        closed: false,
    })
}

fn peer(at: &At<'_>, direction: Direction, names: &mut Names, peers: &mut Vec<Peer>) -> Read<()> {
    const EGRESS: &[&str] = &["namespaces", "pods", "networks", "nodes", "domainNames"];
    let known = if direction == Direction::Egress { EGRESS } else { &EGRESS[..2] };
    let object = at.object(known)?;
    let (key, value) = object.only(known)?;
    match key {
        "networks" => {
            for network in value.items()? {
                let cidr = cidr(&network)?;
                peers.push(Peer::Block(IpBlock { cidr, except: Vec::new() }));
            }
        }
        "nodes" => peers.push(Peer::Nodes(selector(&value, names)?)),
        "domainNames" => {
            let what = "domainNames are peers that are not supported".into();
            return Err(Fault { reason: Reason::Unsupported, what });
        }
        _ => peers.push(Peer::Pods(selection(&object, names)?)),
    }
    Ok(())
}

fn port(at: &At<'_>, names: &mut Names) -> Read<PolicyPort> {
    const KNOWN: &[&str] = &["tcp", "udp", "sctp", "destinationNamedPort"];
    let (key, value) = at.object(KNOWN)?.only(KNOWN)?;
    let protocol = match key {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Ok(PolicyPort::Named { name: port_name(&value, names)?, protocol: None }),
    };
    let port = value.object(&["destinationPort"])?.need("destinationPort")?;
    let (key, value) = port.object(&["number", "range"])?.only(&["number", "range"])?;
    if key == "number" {
        let number = value.port()?;
        return Ok(PolicyPort::Range { protocol, first: number, last: number });
    }
    let range = value.object(&["start", "end"])?;
    let (first, last) = (range.need("start")?.port()?, range.need("end")?.port()?);
    if first >= last {
        return Err(range.fault("a start below its end"));
    }
    Ok(PolicyPort::Range { protocol, first, last })
}
