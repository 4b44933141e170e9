//! NetworkPolicies (`networking.k8s.io/v1`).

use model::{
    Direction, IpBlock, LabelSelector, Namespaces, NetworkPolicy, Notice, Peer, Peers,
    PodSelection, PolicyAction, PolicyPort, PolicyRule, Ports, Protocol,
};

use super::read::{At, Fault, Read};
use super::{cidr, port_name, protocol, selector};
use crate::convert::Names;
use crate::convert::notes::{Notes, namespaced};
use crate::wire;
use crate::wire::Field;

/// Reads a NetworkPolicy.
///
/// What cannot be read fails closed: a rule with anything unknown or wrong in it allows nothing; a
/// wrong `policyTypes` isolates in both directions; a wrong `podSelector` selects every Pod of the
/// namespace, and then no rule allows anything.
#[must_use]
pub fn network_policy(
    wire: &wire::Policy,
    names: &mut Names,
) -> (Option<NetworkPolicy>, Vec<Notice>) {
    let (name, mut notes) = match namespaced("NetworkPolicy", &wire.metadata, names) {
        Ok(named) => named,
        Err(notices) => return (None, notices),
    };
    let nothing = serde_json::json!({});
    let spec = match &wire.spec {
        Field::Is(spec) => At::new(spec, "spec"),
        Field::Absent => At::new(&nothing, "spec"),
        Field::Wrong(_) => At::new(&serde_json::Value::Null, "spec"),
    };
    let mut reader = Reader { own: Namespaces::Named(name.namespace.clone()), names };
    let (pods, ingress, egress) = reader.spec(&spec, &mut notes);
    (Some(NetworkPolicy { name, pods, ingress, egress }), notes.list)
}

struct Reader<'n> {
    own: Namespaces,
    names: &'n mut Names,
}

type Rules = Option<Vec<PolicyRule>>;

impl Reader<'_> {
    fn spec(&mut self, at: &At<'_>, notes: &mut Notes) -> (LabelSelector, Rules, Rules) {
        let spec = match at.object(&["podSelector", "policyTypes", "ingress", "egress"]) {
            Ok(spec) => spec,
            Err(fault) => return self.closed_spec(at, fault, notes),
        };
        let pods = match spec.get("podSelector").map(|it| selector(&it, self.names)).transpose() {
            Ok(pods) => pods.unwrap_or_default(),
            Err(fault) => return self.closed_spec(at, fault, notes),
        };
        let mut rules = |direction: Direction| {
            let list = spec.get(key(direction));
            self.rules(list.as_ref(), direction, notes)
        };
        let (ingress, egress) = (rules(Direction::Ingress), rules(Direction::Egress));
        let types = spec.get("policyTypes").map_or(Ok(Vec::new()), |list| policy_types(&list));
        match types {
            // An unreadable egress list may have held rules.
            Ok(types) if types.is_empty() => {
                let egress = egress.filter(|rules| {
                    let readable = spec.list(key(Direction::Egress)).is_ok();
                    !readable || !rules.is_empty()
                });
                (pods, ingress, egress)
            }
            Ok(types) => {
                let of = |direction, rules: Rules| rules.filter(|_| types.contains(&direction));
                (pods, of(Direction::Ingress, ingress), of(Direction::Egress, egress))
            }
            Err(fault) => {
                let follows = "the policy isolates its Pods in both directions";
                notes.add(fault.reason, format!("{}; {follows}", fault.what));
                (pods, ingress, egress)
            }
        }
    }

    /// Nobody can say what the policy means: its rules, which can only open, do not count, and it
    /// isolates as far as it might.
    fn closed_spec(
        &mut self,
        at: &At<'_>,
        fault: Fault,
        notes: &mut Notes,
    ) -> (LabelSelector, Rules, Rules) {
        let pods = at.value().get("podSelector").filter(|it| !it.is_null());
        let pods = pods.map(|it| selector(&At::new(it, "spec.podSelector"), self.names));
        let (pods, whom) = match pods {
            Some(Ok(pods)) => (pods, "the Pods that it selects"),
            None if at.value().is_object() => (LabelSelector::default(), "its Pods"),
            Some(Err(_)) | None => (LabelSelector::default(), "all Pods of its namespace"),
        };
        let follows = format!("no rule of the policy allows anything, and it isolates {whom}");
        notes.add(fault.reason, format!("{}; {follows}", fault.what));
        let types = at.value().get("policyTypes").map(|list| At::new(list, "spec.policyTypes"));
        let types = types.and_then(|list| policy_types(&list).ok()).unwrap_or_default();
        let of = |direction| (types.is_empty() || types.contains(&direction)).then(Vec::new);
        (pods, of(Direction::Ingress), of(Direction::Egress))
    }

    fn rules(&mut self, list: Option<&At<'_>>, direction: Direction, notes: &mut Notes) -> Rules {
        let items = match list.map_or(Ok(Vec::new()), At::items) {
            Ok(items) => items,
            Err(fault) => {
                notes.add(fault.reason, format!("{}; nothing is allowed by it", fault.what));
                Vec::new()
            }
        };
        let rules = items.iter().map(|item| match self.rule(item, direction) {
            Ok(rule) => rule,
            Err(fault) => {
                notes.add(fault.reason, format!("{}; its rule allows nothing", fault.what));
                PolicyRule::closed(None, PolicyAction::Accept)
            }
        });
        Some(rules.collect())
    }

    fn rule(&mut self, at: &At<'_>, direction: Direction) -> Read<PolicyRule> {
        let peers = match direction {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        };
        let rule = at.object(&[peers, "ports"])?;
        let peers: Vec<Peer> =
            rule.list(peers)?.iter().map(|item| self.peer(item)).collect::<Read<_>>()?;
        let ports: Vec<PolicyPort> =
            rule.list("ports")?.iter().map(|item| port(item, self.names)).collect::<Read<_>>()?;
        Ok(PolicyRule {
            name: None,
            action: PolicyAction::Accept,
            peers: if peers.is_empty() { Peers::Anybody } else { Peers::AnyOf(peers) },
            ports: if ports.is_empty() { Ports::Any } else { Ports::AnyOf(ports) },
            closed: false,
        })
    }

    fn peer(&mut self, at: &At<'_>) -> Read<Peer> {
        let peer = at.object(&["podSelector", "namespaceSelector", "ipBlock"])?;
        let (pods, namespaces) = (peer.get("podSelector"), peer.get("namespaceSelector"));
        match (pods, namespaces, peer.get("ipBlock")) {
            (None, None, Some(block)) => Ok(Peer::Block(ip_block(&block)?)),
            (None, None, None) => {
                Err(peer.fault("one of podSelector, namespaceSelector and ipBlock"))
            }
            (_, _, Some(_)) => Err(peer.fault("ipBlock alone or selectors alone")),
            (pods, namespaces, None) => {
                let pods =
                    pods.map_or(Ok(LabelSelector::default()), |it| selector(&it, self.names))?;
                let namespaces = match namespaces {
                    Some(it) => Namespaces::Selected(selector(&it, self.names)?),
                    None => self.own.clone(),
                };
                Ok(Peer::Pods(PodSelection { namespaces, pods }))
            }
        }
    }
}

fn key(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

fn policy_types(at: &At<'_>) -> Read<Vec<Direction>> {
    let mut types = Vec::new();
    for item in at.items()? {
        types.push(match item.text()? {
            "Ingress" => Direction::Ingress,
            "Egress" => Direction::Egress,
            _ => return Err(item.fault("Ingress or Egress")),
        });
    }
    Ok(types)
}

fn ip_block(at: &At<'_>) -> Read<IpBlock> {
    let block = at.object(&["cidr", "except"])?;
    let whole = cidr(&block.need("cidr")?)?;
    let mut except = Vec::new();
    for item in block.list("except")? {
        let part = cidr(&item)?;
        if !whole.contains(&part) || whole == part {
            return Err(item.fault(format_args!("a block within {whole}, and smaller")));
        }
        except.push(part);
    }
    Ok(IpBlock { cidr: whole, except })
}

/// A port entry without a port is every port of its protocol.
fn port(at: &At<'_>, names: &mut Names) -> Read<PolicyPort> {
    let entry = at.object(&["protocol", "port", "endPort"])?;
    let protocol = entry.get("protocol").map_or(Ok(Protocol::Tcp), |it| protocol(&it))?;
    let (port, end) = (entry.get("port"), entry.get("endPort"));
    match (port, end) {
        (None, None) => Ok(PolicyPort::Range { protocol, first: 0, last: u16::MAX }),
        (None, Some(end)) => Err(end.fault("no endPort without a port")),
        (Some(port), None) if port.as_text().is_some() => {
            Ok(PolicyPort::Named { name: port_name(&port, names)?, protocol: Some(protocol) })
        }
        (Some(port), Some(end)) if port.as_text().is_some() => {
            Err(end.fault("no endPort with the name of a port"))
        }
        (Some(port), end) => {
            let first = port.port()?;
            let last = end.as_ref().map_or(Ok(first), At::port)?;
            match end {
                Some(end) if last < first => Err(end.fault(format_args!("at least {first}"))),
                _ => Ok(PolicyPort::Range { protocol, first, last }),
            }
        }
    }
}
