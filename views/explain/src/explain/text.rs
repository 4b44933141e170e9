//! An explanation as people read it: aligned, one screen for the usual case.

use std::fmt::Write;

use plan::{FrontendKind, PoolName, SourceClass};

use super::endpoints::{hints, words};
use super::{EndpointRow, EndpointTable, Explanation, Outcome};
use crate::{Enters, Verdict};

/// How an explanation is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether every endpoint is listed, and every way.
    pub verbose: bool,
    /// Whether escape sequences may colour it.
    pub colour: bool,
}

/// How many endpoints and ways are listed where not all are asked for.
const FEW: usize = 8;

impl Explanation {
    /// The text for a terminal.
    #[must_use]
    pub fn to_text(&self, style: Style) -> String {
        let mut page = Page { text: String::new(), style };
        page.heading(self);
        page.ends(self);
        page.frontend(self);
        if let Some(table) = &self.endpoints {
            page.endpoints(table);
        }
        page.nat(self);
        if let Some(why_not) = &self.why_not {
            page.line("why not", &format!("pod/{}: {}", why_not.pod, why_not.answer));
        }
        page.kernel(self);
        page.verdict(self);
        page.text
    }
}

struct Page {
    text: String,
    style: Style,
}

impl Page {
    /// One labelled line; a label that is empty continues the one above.
    fn line(&mut self, label: &str, text: &str) {
        let line = format!("{label:<11} {text}");
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn heading(&mut self, answer: &Explanation) {
        let (question, node, mode) = (&answer.question, &answer.node, answer.mode);
        let _ = writeln!(self.text, "{question}   (on node {node}, mode {mode})\n");
    }

    fn ends(&mut self, answer: &Explanation) {
        for (label, end) in ["from", "to"].into_iter().zip(&answer.resolved) {
            let addresses: Vec<String> = end.addresses.iter().map(ToString::to_string).collect();
            let node = match (&end.node, end.from.contains("Node ")) {
                (Some(node), false) => format!(", on node {node}"),
                _ => String::new(),
            };
            self.line(
                label,
                &format!("{} = {} ({}{node})", end.asked, addresses.join(", "), end.from),
            );
        }
        if let Some(packet) = &answer.packet {
            let enters = match &packet.enters {
                Enters::Output => "sent by this node".to_owned(),
                Enters::Interface(name) => format!("comes in by {name}"),
            };
            let to = std::net::SocketAddr::new(packet.destination, packet.port);
            let protocol = packet.protocol.lower();
            self.line("packet", &format!("{protocol} {} -> {to}, {enters}", packet.source));
        }
        if let Some(found) = &answer.class {
            let class = match found.class {
                SourceClass::Pod => "a Pod",
                SourceClass::Node => "this node",
                SourceClass::Outside => "outside",
            };
            self.line("client", &format!("{class}: {}", found.evidence));
        }
    }

    fn frontend(&mut self, answer: &Explanation) {
        let Some(met) = &answer.frontend else { return };
        let kind = match met.kind {
            FrontendKind::ClusterIP => "cluster IP",
            FrontendKind::ExternalIP => "external IP",
            FrontendKind::LoadBalancerIP => "load balancer IP",
            FrontendKind::NodePort => "NodePort",
        };
        let port = if met.port.port.is_empty() {
            String::new()
        } else {
            format!(" port {}", met.port.port)
        };
        let service = &met.port.service;
        self.line(
            "frontend",
            &format!("{kind} {} of Service {service}{port} ({})", met.place, met.field),
        );
        self.line("", &met.policy);
        for loser in &met.losers {
            self.line("", &format!("also claimed by Service {loser}, which does not get it"));
        }
        if let Some(found) = &met.ranges {
            let ranges: Vec<String> = found.ranges.iter().map(ToString::to_string).collect();
            let result = match (found.guarded, found.admitted) {
                (true, true) => "admit the client",
                (true, false) => "do not admit the client",
                (false, _) => "do NOT guard this frontend",
            };
            self.line("", &format!("source ranges {} {result}", ranges.join(", ")));
        }
    }

    fn endpoints(&mut self, table: &EndpointTable) {
        let list = match table.list {
            PoolName::Cluster => "of the cluster",
            PoolName::Local => "of this node",
        };
        let used = table.rows.iter().filter(|row| row.standing.takes()).count();
        let affinity = match table.affinity_seconds {
            Some(seconds) => format!("; a client stays with its endpoint for {seconds} s"),
            None => String::new(),
        };
        let total = table.rows.len();
        let reached = table.rows.iter().any(|row| row.percent > 0.0);
        let word = if reached { "used" } else { "usable" };
        self.line("endpoints", &format!("{used} of {total} {word} ({list}){affinity}"));
        if let Some(text) = hints(&table.hints).filter(|_| table.list == PoolName::Cluster) {
            self.line("", &format!("topology hints {text}"));
        }
        let limit = if self.style.verbose { usize::MAX } else { FEW };
        let mut rows: Vec<[String; 4]> =
            table.rows.iter().take(limit).map(|row| cells(row, table)).collect();
        let slices = self.style.verbose;
        for (row, cells) in table.rows.iter().zip(&mut rows).filter(|_| slices) {
            let _ = write!(cells[3], "  [EndpointSlice {}]", row.slice.name);
        }
        self.table(&rows);
        if total > limit {
            self.line("", &format!("and {} more (--verbose lists all)", total - limit));
        }
    }

    fn table(&mut self, rows: &[[String; 4]]) {
        let width = |column: usize| {
            rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        let (first, second, third) = (width(0), width(1), width(2));
        for [one, two, three, four] in rows {
            self.line("", &format!("  {one:<first$}  {two:<second$}  {three:<third$}  {four}"));
        }
    }

    fn nat(&mut self, answer: &Explanation) {
        let limit = if self.style.verbose { usize::MAX } else { FEW };
        let mut groups: Vec<(String, usize)> = Vec::new();
        for tuple in &answer.nat {
            let word = if tuple.masquerade { "SNAT to the node" } else { "no SNAT" };
            let text = format!("{word} ({})", tuple.rule.text());
            match groups.iter_mut().find(|(known, _)| *known == text) {
                Some((_, count)) => *count += 1,
                None => groups.push((text, 1)),
            }
        }
        match groups.as_slice() {
            [] => {}
            [(text, _)] => self.line("NAT", &format!("DNAT to a used endpoint, {text}")),
            _ => {
                for (index, tuple) in answer.nat.iter().take(limit).enumerate() {
                    let label = if index == 0 { "NAT" } else { "" };
                    let word = if tuple.masquerade { "SNAT to the node" } else { "no SNAT" };
                    let text = format!("{} {word} ({})", tuple.destination, tuple.rule.text());
                    self.line(label, &format!("DNAT to {text}"));
                }
            }
        }
    }

    fn kernel(&mut self, answer: &Explanation) {
        let lines = answer.kernel.as_ref().map(|truth| truth.lines(self.style.verbose));
        for (index, line) in lines.into_iter().flatten().enumerate() {
            self.line(if index == 0 { "kernel" } else { "" }, &line);
        }
    }

    fn verdict(&mut self, answer: &Explanation) {
        if answer.packet.is_some() {
            let lines = super::policy_text::lines(&answer.policy, self.style.verbose);
            for (index, line) in lines.iter().enumerate() {
                self.line(if index == 0 { "policy" } else { "" }, line);
            }
        }
        let (word, colour) = match answer.outcome() {
            Outcome::Delivered => ("DELIVERED", "32"),
            Outcome::Rejected => ("REJECTED", "31"),
            Outcome::Dropped => ("DROPPED", "31"),
            Outcome::Undecided if answer.is_overruled() => ("NOT AS PLANNED", "31"),
            Outcome::Undecided if answer.verdict == Some(Verdict::Pass) => ("NOT OURS", "33"),
            Outcome::Undecided => ("NO PACKET", "33"),
        };
        let verdict = format!("{word} [{}] {}", answer.reason, answer.detail);
        let verdict = if self.style.colour {
            verdict.replacen(word, &format!("\u{1b}[1;{colour}m{word}\u{1b}[0m"), 1)
        } else {
            verdict
        };
        self.text.push('\n');
        self.line("verdict", &verdict);
        self.line("so", answer.consequence);
        self.line("do", answer.remedy);
    }
}

/// Address, place, share, reason.
fn cells(row: &EndpointRow, table: &EndpointTable) -> [String; 4] {
    let address = match row.port {
        Some(port) => std::net::SocketAddr::new(row.address, port).to_string(),
        None => row.address.to_string(),
    };
    let pod = row.pod.as_deref().map(|pod| format!("pod/{pod}"));
    let on = row.node.as_deref().map(|node| match row.zone.as_deref() {
        Some(zone) => format!("on {node}/{zone}"),
        None => format!("on {node}"),
    });
    let place: Vec<String> = pod.into_iter().chain(on).collect();
    let (share, reason) = match words(row, &table.hints) {
        None if row.percent == 0.0 => ("-".into(), "usable, but not reached".into()),
        None if row.standing == plan::Standing::TerminatingFallback => {
            (format!("{}%", row.percent), "used, though terminating: none is ready".into())
        }
        None => (format!("{}%", row.percent), "used".into()),
        Some(reason) => ("-".into(), reason),
    };
    [address, place.join(" "), share, reason]
}
