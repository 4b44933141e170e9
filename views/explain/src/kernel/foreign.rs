//! What base chains of others do to a packet, as far as their rules can be read: for certain, or
//! perhaps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use model::Host;
use render::iptables::ipset::IpSets;
use render::iptables::{Match, Rule};
use serde::Serialize;

use crate::trace::{Flight, Lasting, Meets, Surroundings};
use crate::{Enters, Packet, Verdict};

/// Where we translate destinations (`NF_IP_PRI_NAT_DST`).
const TRANSLATION: i32 = -100;
/// How deep jumps may nest (`NFT_JUMP_STACK_SIZE`).
const DEEPEST: usize = 16;
/// Of more endpoints than this the rest is not tried.
const TRIED: usize = 16;

/// A base chain of somebody else, as it was read.
#[derive(Clone, Debug)]
pub struct ForeignHeld {
    /// Family, table and chain, as nft has them.
    pub name: String,
    /// `filter`, `nat` or `route`.
    pub kind: String,
    /// The hook, as nft names it.
    pub hook: &'static str,
    /// Lower ones are called first.
    pub priority: i32,
    /// Whether it drops what no rule decides.
    pub drops: bool,
    /// The name of the base chain among the chains.
    pub entry: String,
    /// Its rules, and those of the chains that they lead to.
    pub chains: BTreeMap<String, Vec<ForeignRuleHeld>>,
}

/// A rule of somebody else, as it was read.
#[derive(Clone, Debug)]
pub struct ForeignRuleHeld {
    /// The kernel's number for it.
    pub handle: u64,
    /// Its conditions; `None` where they cannot be said.
    pub conditions: Option<Rule>,
    /// What it does.
    pub ends: ForeignEnd,
}

/// What a rule of somebody else does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForeignEnd {
    /// The packet goes on to the next rule.
    GoesOn,
    /// It leaves the base chain.
    Accept,
    /// It vanishes.
    Drop,
    /// It is refused.
    Reject,
    /// It gets another destination.
    Dnat,
    /// It goes into another chain, and comes back.
    Jump(String),
    /// It goes into another chain for good.
    Goto(String),
    /// It goes back to the calling chain.
    Return,
}

/// A base chain of somebody else on the packet's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ForeignChain {
    /// Family, table and chain, as nft has them.
    pub name: String,
    /// Type, hook and priority.
    pub at: String,
    /// What its rules may do to this packet, as far as they can be read: `drop`, `reject`, `dnat`.
    pub can: BTreeSet<&'static str>,
    /// What it does to this packet for certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub does: Option<ForeignDeed>,
}

/// A rule of somebody else that meets the packet, whatever else is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ForeignDeed {
    /// What it does: `drop`, `reject`, `dnat`.
    pub what: &'static str,
    /// Where it stands.
    pub rule: String,
}

/// The packet and where it may go by the plan.
pub(super) struct Way<'a> {
    pub(super) packet: &'a Packet,
    pub(super) host: &'a Host,
    pub(super) verdict: Option<&'a Verdict>,
}

impl Way<'_> {
    /// Judges a base chain; `None` where the packet does not pass it, or nothing can happen there.
    pub(super) fn judge(&self, held: &ForeignHeld) -> Option<ForeignChain> {
        let mut can = BTreeSet::new();
        let mut does = None;
        for destination in self.destinations(held) {
            let mut walk = Walk::new(self, held, destination);
            let end = walk.chain(&held.entry, true, 0);
            if end == End::Through && held.drops {
                let rule = format!("the policy of chain {}", held.entry);
                walk.deed("drop", rule, !walk.left);
            }
            can.extend(walk.can);
            does = does.or(walk.does);
        }
        if held.kind != "nat" {
            can.remove("dnat");
        }
        let nothing = can.is_empty() && does.is_none();
        let ForeignHeld { name, kind, hook, priority, .. } = held;
        let at = format!("{kind}, {hook}, priority {priority}");
        (!nothing).then(|| ForeignChain { name: name.clone(), at, can, does })
    }

    /// The destinations that the packet may have by the time when a base chain sees it; none if it
    /// does not get there.
    fn destinations(&self, held: &ForeignHeld) -> Vec<SocketAddr> {
        let asked = SocketAddr::new(self.packet.destination, self.packet.port);
        let translated: Vec<SocketAddr> = match self.verdict {
            Some(Verdict::Deliver(backends)) => backends.keys().copied().take(TRIED).collect(),
            Some(Verdict::Pass) | None => vec![asked],
            // It ends by a rule of ours; others may still take it away first.
            Some(Verdict::Reject | Verdict::Drop) => Vec::new(),
        };
        let own = |to: &SocketAddr| self.host.owns(to.ip());
        let first = match self.packet.enters {
            Enters::Output => "output",
            Enters::Interface(_) => "prerouting",
        };
        if held.kind == "nat" && held.hook != first {
            return Vec::new();
        }
        match held.hook {
            hook if hook == first => match (held.kind.as_str(), held.priority) {
                // The first that translates decides, and nobody else is asked after it.
                ("nat", priority) if priority > TRANSLATION => Vec::new(),
                ("nat", _) => vec![asked],
                (_, priority) if priority <= TRANSLATION => vec![asked],
                _ => translated,
            },
            "input" => translated.into_iter().filter(own).collect(),
            "forward" if first == "prerouting" => {
                translated.into_iter().filter(|to| !own(to)).collect()
            }
            "postrouting" if first == "output" => translated,
            "postrouting" => translated.into_iter().filter(|to| !own(to)).collect(),
            _ => Vec::new(),
        }
    }
}

/// How the packet leaves a chain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// By its last rule, or by one that returns.
    Through,
    /// For good.
    Decided,
}

struct Walk<'a> {
    way: &'a Way<'a>,
    held: &'a ForeignHeld,
    flight: Flight,
    /// Whether the packet comes to where the walk is, unless it left before.
    here: bool,
    /// Whether it may have left before.
    left: bool,
    can: BTreeSet<&'static str>,
    does: Option<ForeignDeed>,
}

impl<'a> Walk<'a> {
    fn new(way: &'a Way<'a>, held: &'a ForeignHeld, destination: SocketAddr) -> Self {
        let flight = Flight { destination, ..Flight::new(way.packet) };
        Self { way, held, flight, here: true, left: false, can: BTreeSet::new(), does: None }
    }

    fn deed(&mut self, what: &'static str, rule: String, certain: bool) {
        // Who translates at our own place may come before us or after us.
        let first = self.held.kind != "nat" || self.held.priority < TRANSLATION;
        if certain && first {
            self.does.get_or_insert(ForeignDeed { what, rule });
        } else {
            self.can.insert(what);
        }
    }

    fn chain(&mut self, name: &str, base: bool, depth: usize) -> End {
        let held = self.held;
        for rule in held.chains.get(name).into_iter().flatten() {
            let met = self.meets(rule);
            if met == Meets::No {
                continue;
            }
            let sure = met == Meets::Yes;
            match &rule.ends {
                ForeignEnd::GoesOn => {}
                ForeignEnd::Return if sure && !base => return End::Through,
                ForeignEnd::Return => self.here = false,
                ForeignEnd::Accept | ForeignEnd::Drop | ForeignEnd::Reject | ForeignEnd::Dnat => {
                    let place = format!("rule {} of chain {name}", rule.handle);
                    let certain = sure && self.here && !self.left;
                    match rule.ends {
                        ForeignEnd::Drop => self.deed("drop", place, certain),
                        ForeignEnd::Reject => self.deed("reject", place, certain),
                        ForeignEnd::Dnat => self.deed("dnat", place, certain),
                        _ => {}
                    }
                    self.left |= !(sure && self.here);
                    if sure {
                        return End::Decided;
                    }
                }
                ForeignEnd::Jump(to) | ForeignEnd::Goto(to) if depth < DEEPEST => {
                    let here = self.here;
                    self.here &= sure;
                    let end = self.chain(to, false, depth + 1);
                    self.here = here;
                    let goes = matches!(rule.ends, ForeignEnd::Goto(_));
                    if sure && (end == End::Decided || goes) {
                        return end;
                    }
                    self.here &= !goes;
                }
                ForeignEnd::Jump(_) | ForeignEnd::Goto(_) => self.left = true,
            }
        }
        End::Through
    }

    fn meets(&self, rule: &ForeignRuleHeld) -> Meets {
        let Some(conditions) = &rule.conditions else { return Meets::Perhaps };
        let packet = self.way.packet;
        let interface = match (&packet.enters, self.held.hook) {
            (Enters::Interface(name), "prerouting" | "input" | "forward") => Some(&**name),
            _ => None,
        };
        // Rules of others name sets that are not known here; such a rule has no conditions to ask.
        let (lasting, sets) = (Lasting::of(packet), IpSets::new());
        let (host, packet) = (self.way.host, &lasting);
        let around = Surroundings { packet, host, sets: &sets, interface };
        // A mark may be set by anybody before.
        let unknown = conditions
            .matches
            .iter()
            .any(|one| matches!(one, Match::Mark { .. } | Match::Recent { .. }));
        match self.flight.meets(conditions, &around) {
            Meets::Yes if unknown => Meets::Perhaps,
            met => met,
        }
    }
}
