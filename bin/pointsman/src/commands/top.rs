//! `pointsman top`: Services and endpoints by new connections a second.
//!
//! Services come from the counters of the map elements, or of the rules of iptables, that lead to
//! them: chains of type nat see the first packet of each connection alone. Endpoints come from what
//! connection tracking announces of new connections: no map counts them, and with iptables it would
//! take to read as many chains as there are.

use std::collections::BTreeMap;
use std::fs;
use std::io::{IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use model::{Family, Protocol};
use nix::poll::PollTimeout;
use render::iptables::{ChainId, Table, names};
use render::nftables::Clients;
use serde::Serialize;
use sync::conntrack::{Announced, Entry};
use sync::iptables::Reader;
use sync::netlink::Wake;
use sync::table::{FrontendCounter, Nftables};

use crate::cli::OutputFormat;
use crate::cli_top::TopArguments;
use crate::terminal::Keys;

/// Whether the kernel announces connections at all.
const EVENTS: &str = "/proc/sys/net/netfilter/nf_conntrack_events";

/// What tells a counter from others.
type Key = (Family, Option<IpAddr>, Protocol, u16, Clients);
/// A frontend as a connection names it; no address for NodePorts.
type Frontend = (Option<IpAddr>, Protocol, u16);

/// What was counted over one interval.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Count {
    /// How long it was, in seconds.
    seconds: f64,
    /// The busiest first.
    services: Vec<ServiceCount>,
    endpoints: Vec<EndpointCount>,
    /// Why endpoints are missing, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoints_incomplete: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceCount {
    /// `namespace/name:port`.
    service: Arc<str>,
    new_per_second: f64,
    /// Connections since the Service is in the kernel; in iptables mode, since its rule was last
    /// written.
    connections: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EndpointCount {
    endpoint: SocketAddr,
    protocol: String,
    service: Arc<str>,
    new_per_second: f64,
}

pub(crate) fn run(arguments: &TopArguments) -> Result<()> {
    let denied = "netfilter cannot be read (root, or CAP_NET_ADMIN in this network namespace)";
    let mut kernel = Kernel::open().context(denied)?;
    let announced = Announced::open().context(denied)?;
    let silent = fs::read_to_string(EVENTS).is_ok_and(|value| value.trim() == "0");
    let keys = Keys::open()?;
    let counters = counters(&mut kernel)?;
    let mut top = Top { kernel, announced, silent, counters, since: Instant::now() };
    let mut out = std::io::stdout().lock();
    loop {
        let endpoints = match top.gather(arguments.interval, &keys)? {
            Some(endpoints) => endpoints,
            None => return Ok(()),
        };
        let count = top.count(endpoints)?;
        match arguments.output {
            OutputFormat::Json => {
                serde_json::to_writer(&mut out, &count)?;
                writeln!(out)?;
            }
            OutputFormat::Text => {
                if !arguments.once && std::io::stdout().is_terminal() {
                    // To the upper left corner, and everything behind it away.
                    write!(out, "\x1b[H\x1b[J")?;
                }
                print(&mut out, &count, arguments.rows)?;
            }
        }
        out.flush()?;
        if arguments.once {
            return Ok(());
        }
    }
}

/// Connections of an interval by the frontend that was asked for and the endpoint that was chosen.
struct Endpoints {
    by_pair: BTreeMap<(Protocol, SocketAddr, SocketAddr), u64>,
    complete: bool,
}

/// The rules of the mode that is in force.
enum Kernel {
    Nftables(Nftables),
    Iptables(Reader),
}

impl Kernel {
    fn open() -> Result<Self> {
        let mut nftables = Nftables::open()?;
        if nftables.is_there()? {
            return Ok(Self::Nftables(nftables));
        }
        let mut iptables = Reader::open()?;
        for family in Family::ALL {
            let services = ChainId::new(family, Table::Nat, names::KUBE_SERVICES);
            if !iptables.chain(&services)?.is_empty() {
                return Ok(Self::Iptables(iptables));
            }
        }
        bail!(
            "there are no Services in this network namespace: neither a table `pointsman` of nftables \
             mode nor rules in the chain KUBE-SERVICES (is `pointsman run` running here?)"
        );
    }

    fn counters(&mut self, family: Family) -> Result<Vec<FrontendCounter>, sync::Error> {
        match self {
            Self::Nftables(kernel) => kernel.counters(family),
            Self::Iptables(kernel) => kernel.counters(family),
        }
    }
}

struct Top {
    kernel: Kernel,
    announced: Announced,
    /// Whether the kernel announces no connections.
    silent: bool,
    counters: BTreeMap<Key, FrontendCounter>,
    since: Instant,
}

impl Top {
    /// Hears of connections for a time; `None` if the reader wants to end.
    fn gather(&mut self, interval: Duration, keys: &Keys) -> Result<Option<Endpoints>> {
        let mut endpoints = Endpoints { by_pair: BTreeMap::new(), complete: true };
        let end = self.since + interval;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Some(endpoints));
            }
            // Not less than a millisecond: it would not wait at all.
            let wait = left.max(Duration::from_millis(1));
            let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
            match self.announced.wait(keys.as_fd(), timeout)? {
                Wake::Stop if keys.wants_end()? => return Ok(None),
                Wake::Stop | Wake::Silence => {}
                Wake::Announcement => {
                    let complete = self.announced.read(|entry| {
                        if let Some(pair) = translated(entry) {
                            *endpoints.by_pair.entry(pair).or_default() += 1;
                        }
                    })?;
                    endpoints.complete &= complete;
                }
            }
        }
    }

    /// What was counted since the last time.
    fn count(&mut self, endpoints: Endpoints) -> Result<Count> {
        let new = counters(&mut self.kernel)?;
        let seconds = self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
        let mut services: BTreeMap<Arc<str>, (u64, u64)> = BTreeMap::new();
        let mut frontends: BTreeMap<Frontend, Arc<str>> = BTreeMap::new();
        for (key, counter) in &new {
            let Some(service) = &counter.service else { continue };
            let before = self.counters.get(key).map_or(0, |before| before.packets);
            // A rule that was written anew counts from nothing again, as does a frontend that went
            // and came back.
            let fresh = counter.packets.checked_sub(before).unwrap_or(counter.packets);
            let sums = services.entry(service.clone()).or_default();
            *sums = (sums.0 + fresh, sums.1 + counter.packets);
            let frontend = (counter.address, counter.protocol, counter.port);
            frontends.insert(frontend, service.clone());
        }
        self.counters = new;
        let per_second = |count: u64| count as f64 / seconds;
        let mut services: Vec<_> = services
            .into_iter()
            .map(|(service, (fresh, connections))| ServiceCount {
                service,
                new_per_second: per_second(fresh),
                connections,
            })
            .collect();
        services.sort_by(|a, b| b.new_per_second.total_cmp(&a.new_per_second));
        let mut by_endpoint: BTreeMap<(Arc<str>, Protocol, SocketAddr), u64> = BTreeMap::new();
        for ((protocol, asked, endpoint), count) in endpoints.by_pair {
            let exactly = frontends.get(&(Some(asked.ip()), protocol, asked.port()));
            let service = exactly.or_else(|| frontends.get(&(None, protocol, asked.port())));
            if let Some(service) = service {
                *by_endpoint.entry((service.clone(), protocol, endpoint)).or_default() += count;
            }
        }
        let mut endpoint_counts: Vec<_> = by_endpoint
            .into_iter()
            .map(|((service, protocol, endpoint), count)| EndpointCount {
                endpoint,
                protocol: protocol.to_string(),
                service,
                new_per_second: per_second(count),
            })
            .collect();
        endpoint_counts.sort_by(|a, b| b.new_per_second.total_cmp(&a.new_per_second));
        Ok(Count {
            seconds,
            services,
            endpoints: endpoint_counts,
            endpoints_incomplete: match (self.silent, endpoints.complete) {
                (true, _) => Some("net.netfilter.nf_conntrack_events is 0"),
                (false, false) => Some("more connections than could be listened to"),
                (false, true) => None,
            },
        })
    }
}

/// The protocol, what was asked for and who answers, of a connection that was sent on.
fn translated(entry: &Entry) -> Option<(Protocol, SocketAddr, SocketAddr)> {
    let flow = entry.flow()?;
    let sent_on = flow.destination != flow.answers_from;
    sent_on.then_some((flow.protocol, flow.destination, flow.answers_from))
}

fn counters(kernel: &mut Kernel) -> Result<BTreeMap<Key, FrontendCounter>> {
    let mut all = BTreeMap::new();
    for family in Family::ALL {
        for counter in kernel.counters(family)? {
            let FrontendCounter { address, protocol, port, clients, .. } = counter;
            all.insert((family, address, protocol, port, clients), counter);
        }
    }
    Ok(all)
}

fn print(out: &mut impl Write, count: &Count, rows: usize) -> std::io::Result<()> {
    let services = count.services.iter().take(rows);
    let width = services.clone().map(|one| one.service.len()).max().unwrap_or(0).max(7);
    let all: f64 = count.services.iter().map(|one| one.new_per_second).sum();
    writeln!(
        out,
        "{all:.1} new connections a second to {} Services, over {:.1} s",
        count.services.len(),
        count.seconds
    )?;
    writeln!(out, "\n{:<width$}  {:>10}  {:>12}", "SERVICE", "NEW/S", "CONNECTIONS")?;
    for ServiceCount { service, new_per_second, connections } in services {
        writeln!(out, "{service:<width$}  {new_per_second:>10.1}  {connections:>12}")?;
    }
    let endpoints: Vec<(String, &EndpointCount)> = count
        .endpoints
        .iter()
        .take(rows)
        .map(|one| (format!("{}/{}", one.endpoint, one.protocol), one))
        .collect();
    let width = endpoints.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(8);
    writeln!(out, "\n{:<width$}  {:>10}  SERVICE", "ENDPOINT", "NEW/S")?;
    for (name, one) in endpoints {
        writeln!(out, "{name:<width$}  {:>10.1}  {}", one.new_per_second, one.service)?;
    }
    if let Some(why) = count.endpoints_incomplete {
        writeln!(out, "endpoints are incomplete: {why}")?;
    }
    Ok(())
}
