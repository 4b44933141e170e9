//! From what was read to what overrules the plan.

use std::net::SocketAddr;

use model::{Host, Protocol};
use plan::Standing;
use render::iptables::names;

use super::compare::{self, Difference, Held};
use super::foreign::{ForeignChain, Way};
use super::needs::Needs;
use super::walk::Walked;
use super::{Facts, FlowFound, KernelFinding, KernelTruth, RouteRefusal};
use crate::{Code, EndpointRow, Enters, Explanation, Outcome, Packet, Verdict};

impl Explanation {
    /// Joins what the kernel holds to the answer. What overrules the plan takes its place as the
    /// reason, with what follows and what to do. Without a packet nothing changes.
    pub fn face(&mut self, needs: &Needs, host: &Host, facts: Facts) {
        let Some(packet) = self.packet.clone() else { return };
        let differences = differences(needs, facts.held.as_ref(), &packet);
        let walked = facts.held.as_ref().map(|held| held.walk(host, &packet));
        let (verdict, by, unclear) = match walked {
            Some(Walked::Ended { verdict, by }) => (Some(verdict), by, None),
            Some(Walked::Missing(chain)) => (None, None, Some(format!("{chain} was not read"))),
            Some(Walked::Unclear(why)) => (None, None, Some(why)),
            None => (None, None, None),
        };
        let flows = self.judged_flows(facts.flows.clone());
        let mut findings = Vec::new();
        findings.extend(of_rules(facts.held.as_ref(), &differences));
        if differences.is_empty()
            && let (Some(verdict), Some(planned)) = (&verdict, &self.routed)
            && verdict != planned
        {
            findings.push(overruled(verdict, by.map(|(chain, rule)| format!("{chain}: {rule}"))));
        }
        let way = Way { packet: &packet, host, verdict: self.routed.as_ref() };
        let foreign: Vec<_> = facts.foreign.iter().filter_map(|held| way.judge(held)).collect();
        findings.extend(foreign.iter().filter_map(of_other));
        findings.extend(of_routes(&facts));
        findings.extend(of_tracking(&facts));
        findings.extend(self.of_settings(&facts, &packet));
        findings.extend(flows.iter().filter(|flow| flow.stale).map(stale));
        let truth = KernelTruth {
            compared: needs.count(),
            differences,
            verdict,
            unclear,
            planned: self.reason,
            outcome: findings.first().map(|finding| finding.outcome),
            findings,
            flows,
            pinned: facts.pinned,
            routes: facts.routes,
            foreign,
            settings: facts.settings,
            unread: facts.unread,
        };
        if let Some(first) = truth.findings.first() {
            (self.reason, self.detail) = (first.code, first.detail.clone());
            self.consequence = self.reason.consequence();
            self.remedy = self.reason.remedy();
        }
        self.kernel = Some(truth);
    }

    fn of_settings(&self, facts: &Facts, packet: &Packet) -> Option<KernelFinding> {
        let delivers = matches!(self.routed, Some(Verdict::Deliver(_)));
        let setting = facts.settings.iter().find(|one| one.name.ends_with("route_localnet"))?;
        let needed = packet.destination.is_ipv4()
            && packet.destination.is_loopback()
            && packet.enters == Enters::Output
            && delivers;
        (needed && setting.value == "0").then(|| KernelFinding {
            code: Code::LocalnetClosed,
            detail: format!("{} is 0, and {} is loopback", setting.name, packet.destination),
            outcome: Outcome::Dropped,
        })
    }

    /// Which entries of connection tracking lead where no endpoint is.
    fn judged_flows(&self, mut flows: Vec<FlowFound>) -> Vec<FlowFound> {
        let used = |to: &SocketAddr| match &self.routed {
            Some(Verdict::Deliver(backends)) => backends.contains_key(to),
            _ => false,
        };
        let udp = self.packet.as_ref().is_some_and(|packet| packet.protocol == Protocol::Udp);
        // Connections go on with an endpoint that new ones do not choose, and end with it; what has
        // no end of its own goes on while the endpoint serves.
        let goes_on = |row: &&EndpointRow| match row.standing {
            Standing::NotReady | Standing::Terminating | Standing::TerminatingNotServing => !udp,
            _ => true,
        };
        let rows = self.endpoints.iter().flat_map(|table| &table.rows).filter(goes_on);
        let listed: Vec<SocketAddr> =
            rows.filter_map(|row| Some(SocketAddr::new(row.address, row.port?))).collect();
        let passes = matches!(self.routed, Some(Verdict::Pass) | None);
        for flow in &mut flows {
            let known = used(&flow.answers_from) || listed.contains(&flow.answers_from);
            flow.stale = !known && !passes;
        }
        flows
    }
}

/// What a rule of somebody else does for certain.
fn of_other(chain: &ForeignChain) -> Option<KernelFinding> {
    let ForeignChain { name, at, does, .. } = chain;
    let deed = does.as_ref()?;
    let outcome = match deed.what {
        "drop" => Outcome::Dropped,
        "reject" => Outcome::Rejected,
        _ => Outcome::Undecided,
    };
    let detail = format!("chain {name} ({at}): {} by {}", deed.what, deed.rule);
    Some(KernelFinding { code: Code::ForeignRule, detail, outcome })
}

/// Others' rules decide otherwise than the plan.
fn overruled(verdict: &Verdict, by: Option<String>) -> KernelFinding {
    let by = by.map(|rule| format!(", by {rule}")).unwrap_or_default();
    let outcome = match verdict {
        Verdict::Drop => Outcome::Dropped,
        Verdict::Reject => Outcome::Rejected,
        Verdict::Deliver(_) | Verdict::Pass => Outcome::Undecided,
    };
    let detail = format!("the rules that the kernel holds say {verdict}{by}");
    KernelFinding { code: Code::ForeignRule, detail, outcome }
}

fn differences(needs: &Needs, held: Option<&Held>, packet: &Packet) -> Vec<Difference> {
    match (needs, held) {
        (Needs::Iptables(needs), Some(Held::Iptables(held))) => {
            compare::iptables(needs, held, packet)
        }
        (Needs::Nftables(needs), Some(Held::Nftables(held))) => compare::nftables(needs, held),
        _ => Vec::new(),
    }
}

fn of_routes(facts: &Facts) -> Option<KernelFinding> {
    let found = facts.routes.iter().find(|route| route.refused.is_some())?;
    let by = found.by.as_deref().unwrap_or("no interface");
    let (code, outcome, detail) = match found.refused.as_ref()? {
        RouteRefusal::ReversePath { filter, back } => {
            let back = match back {
                Some(name) => format!("answers would leave by {name}"),
                None => "there is no way back".into(),
            };
            let detail = format!("the packet comes in by {by}, {back}, and rp_filter is {filter}");
            (Code::ReversePathFiltered, Outcome::Dropped, detail)
        }
        RouteRefusal::NotForwarding => {
            let detail =
                format!("the packet for {} comes in by {by}, and forwarding is off", found.to);
            (Code::ForwardingOff, Outcome::Dropped, detail)
        }
        RouteRefusal::NoRoute => {
            (Code::NoRoute, Outcome::Undecided, format!("this node has no route to {}", found.to))
        }
        RouteRefusal::Other(why) => {
            let detail = format!("the kernel does not route the packet to {}: {why}", found.to);
            (Code::NoRoute, Outcome::Undecided, detail)
        }
    };
    Some(KernelFinding { code, detail, outcome })
}

fn of_tracking(facts: &Facts) -> Option<KernelFinding> {
    let (entries, limit) = facts.tracked?;
    (limit > 0 && entries >= limit).then(|| KernelFinding {
        code: Code::ConntrackFull,
        detail: format!("{entries} connections are tracked, and nf_conntrack_max is {limit}"),
        outcome: Outcome::Dropped,
    })
}

fn stale(flow: &FlowFound) -> KernelFinding {
    let FlowFound { client, answers_from, .. } = flow;
    let answered = if flow.answered { "answered" } else { "never answered" };
    let detail = format!(
        "connection tracking sends {client} on to {answers_from} ({answered}), which no rule would \
         choose"
    );
    KernelFinding { code: Code::StaleConnection, detail, outcome: Outcome::Undecided }
}

/// What the rules and elements of ours lack.
fn of_rules(held: Option<&Held>, differences: &[Difference]) -> Option<KernelFinding> {
    let first = differences.first()?;
    let more = match differences.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let lacks = differences.iter().all(|one| one.held.is_none());
    let (code, detail) = if held.is_some_and(is_empty) {
        (Code::KernelEmpty, format!("the kernel holds nothing of ours: {}{more}", first.text()))
    } else if lacks {
        (Code::KernelLacks, format!("{}{more}", first.text()))
    } else {
        let first = differences.iter().find(|one| one.held.is_some()).unwrap_or(first);
        (Code::KernelDiffers, format!("{}{more}", first.text()))
    };
    Some(KernelFinding { code, detail, outcome: Outcome::Undecided })
}

/// Whether nothing of ours is there at all.
fn is_empty(held: &Held) -> bool {
    match held {
        Held::Nftables(table) => !table.there,
        Held::Iptables(chains) => {
            let ours = chains.iter().filter(|(id, _)| names::is_ours(id.table, &id.name));
            ours.map(|(_, rules)| rules.len()).sum::<usize>() == 0
        }
    }
}
