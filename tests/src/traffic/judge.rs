//! Sending packets, and judging what came back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use explain::{Enters, Mode, Verdict};
use lab::{Answer, Outcome, SILENCE};
use model::Family;
use plan::Intent;

use super::Report;
use super::places::Borrowed;
use super::stage::Stage;
use crate::Probe;
use crate::settings::node_number;

/// How long an answer may take that must come: a busy machine is no dropped packet.
const PATIENCE: Duration = Duration::from_secs(3);

impl Stage {
    /// Sends a packet as often as it takes to see every endpoint, and judges what came back.
    pub(super) fn judge(&self, intent: &Intent, probe: &Probe, report: &mut Report) {
        if self.lacking.contains(&probe.packet.protocol) {
            let why = format!("{}: no {} sockets here", probe.label, probe.packet.protocol);
            report.not_sendable.push(why);
            return;
        }
        if probe.packet.destination.is_loopback() && probe.packet.enters != Enters::Output {
            let why = "a host keeps what is for a loopback address";
            report.not_sendable.push(format!("{}: {why}", probe.label));
            return;
        }
        report.sent += 1;
        let borrowed = Borrowed::of(self, probe);
        let expected = probe.expected(self.mode);
        let result = match expected {
            Verdict::Deliver(endpoints) => {
                self.delivered(endpoints, sticks(intent, probe), probe, report)
            }
            Verdict::Reject => self.once(probe, PATIENCE, report).and_then(|outcome| {
                if outcome == Outcome::Unreachable { Ok(()) } else { Err(outcome.to_string()) }
            }),
            Verdict::Drop => self.once(probe, SILENCE, report).and_then(|outcome| {
                if outcome.is_dropped() { Ok(()) } else { Err(outcome.to_string()) }
            }),
            Verdict::Pass => self.passed(probe, report),
        };
        drop(borrowed);
        if let Err(found) = result {
            let label = &probe.label;
            report.wrong.push(format!("{label}\n  expected {expected}\n  found    {found}"));
        }
    }

    fn once(
        &self,
        probe: &Probe,
        timeout: Duration,
        report: &mut Report,
    ) -> Result<Outcome, String> {
        self.ask(probe, timeout, report).map(|(outcome, _)| outcome)
    }

    /// One attempt from a port that no attempt had before, so that nothing is remembered of it.
    fn ask(
        &self,
        probe: &Probe,
        timeout: Duration,
        report: &mut Report,
    ) -> Result<(Outcome, SocketAddr), String> {
        let port = 20_000 + u16::try_from(report.attempts).map_err(|_| "too many attempts")?;
        report.attempts += 1;
        let source = SocketAddr::new(probe.packet.source, port);
        let protocol = probe.packet.protocol;
        let outcome = lab::probe(self.origin(probe), Some(source), protocol, probe.to(), timeout);
        Ok((outcome.map_err(|error| error.to_string())?, source))
    }

    fn passed(&self, probe: &Probe, report: &mut Report) -> Result<(), String> {
        let (outcome, source) = self.ask(probe, PATIENCE, report)?;
        match outcome.answer() {
            Some(answer) if answer.server_address == probe.to() && answer.seen_client == source => {
                Ok(())
            }
            _ => Err(outcome.to_string()),
        }
    }

    fn delivered(
        &self,
        endpoints: &BTreeMap<SocketAddr, bool>,
        sticks: bool,
        probe: &Probe,
        report: &mut Report,
    ) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for attempt in 0..12 * endpoints.len() {
            if seen.len() == endpoints.len() && attempt >= 2 * endpoints.len() {
                break;
            }
            let (outcome, source) = self.ask(probe, PATIENCE, report)?;
            let Some(answer) = outcome.answer() else { return Err(outcome.to_string()) };
            let Some(masqueraded) = endpoints.get(&answer.server_address) else {
                return Err(outcome.to_string());
            };
            self.client_is(answer, source, *masqueraded)?;
            seen.insert(answer.server_address);
        }
        match seen.len() {
            1 if sticks => Ok(()),
            many if sticks => Err(format!("{many} endpoints for one client: {seen:?}")),
            all if all == endpoints.len() => Ok(()),
            _ => Err(format!("only {seen:?}")),
        }
    }

    /// Whether the server saw the client itself, or the node in its place. A masqueraded client has
    /// another port too, for it is chosen at random; in nftables mode beyond those of NodePorts.
    fn client_is(
        &self,
        answer: &Answer,
        source: SocketAddr,
        masqueraded: bool,
    ) -> Result<(), String> {
        let node = lab::node_address(node_number(&self.node), Family::of(source.ip()));
        let port = answer.seen_client.port();
        let another = match self.mode {
            Mode::Iptables => port != source.port(),
            Mode::Nftables => port >= 32_768,
        };
        let expected = if masqueraded {
            answer.seen_client.ip() == node && another
        } else {
            answer.seen_client == source
        };
        let Answer { server_address, seen_client, .. } = answer;
        if expected {
            Ok(())
        } else {
            Err(format!("{server_address} saw {seen_client}, sent from {source}"))
        }
    }
}

/// Whether the virtual server that a packet meets remembers its clients.
fn sticks(intent: &Intent, probe: &Probe) -> bool {
    let servers = intent.servers.values().flat_map(|all| all.iter());
    let mut met = servers.filter(|server| {
        server.protocol() == probe.packet.protocol
            && server.frontends.iter().any(|frontend| {
                frontend.port == probe.packet.port
                    && frontend.address.is_none_or(|address| address == probe.packet.destination)
            })
    });
    met.any(|server| server.affinity_seconds.is_some())
}
