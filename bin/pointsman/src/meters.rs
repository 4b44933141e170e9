//! What only the kernel counts, read at intervals for the metrics.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use health::metrics::{ConntrackTable, Metrics, Mode};
use model::{Direction, Family};
use render::iptables::names::NFACCT_COUNTERS;
use render::nftables::names;
use sync::conntrack::Conntrack;
use sync::netlink::{SendBudget, Socket};
use sync::nftables::counted;
use sync::table::Nftables;
use tracing::debug;

use crate::traffic::Sums;

/// The least time between two readings.
const INTERVAL: Duration = Duration::from_secs(10);
/// How much of the time reading may take, as a divisor: there may be many Services.
const SHARE: u32 = 100;

/// Reads in a thread of its own, for as long as the process lives.
///
/// # Errors
/// What the system says if it gives no thread.
pub(crate) fn start(metrics: Arc<Metrics>, mode: Mode) -> std::io::Result<()> {
    let read = move || {
        let (mut conntrack, mut table, mut sums) = (None, None, Sums::default());
        loop {
            let start = Instant::now();
            read_conntrack(&mut conntrack, &metrics);
            match mode {
                Mode::Iptables => read_counters(&metrics),
                Mode::Nftables => read_traffic(&mut table, &mut sums, &metrics),
            }
            read_denied(&metrics, mode);
            thread::sleep(INTERVAL.max(start.elapsed() * SHARE));
        }
    };
    thread::Builder::new().name("meters".into()).spawn(read).map(drop)
}

/// Opens connection tracking anew after a failure.
fn read_conntrack(open: &mut Option<Conntrack>, metrics: &Metrics) {
    let mut read = || -> Result<(Conntrack, ConntrackTable), sync::Error> {
        let mut conntrack = match open.take() {
            Some(conntrack) => conntrack,
            None => Conntrack::open()?,
        };
        let (fill, sums) = (conntrack.fill()?, conntrack.statistics()?);
        let table = ConntrackTable {
            entries: fill.entries.into(),
            limit: fill.limit.into(),
            insert_failed: sums.insert_failed,
            drop: sums.drop,
            early_drop: sums.early_drop,
        };
        Ok((conntrack, table))
    };
    match read() {
        Ok((conntrack, table)) => {
            *open = Some(conntrack);
            metrics.conntrack_table(table);
        }
        Err(error) => debug!("{error}; the metrics of connection tracking stay as they are"),
    }
}

/// Connections to each Service; the kernel is asked anew after a failure.
fn read_traffic(open: &mut Option<Nftables>, sums: &mut Sums, metrics: &Metrics) {
    let mut read = || -> Result<Nftables, sync::Error> {
        let mut kernel = match open.take() {
            Some(kernel) => kernel,
            None => Nftables::open()?,
        };
        metrics.service_traffic(sums.read(&mut kernel)?);
        Ok(kernel)
    };
    match read() {
        Ok(kernel) => *open = Some(kernel),
        Err(error) => debug!("{error}; connections to Services stay as they were counted"),
    }
}

/// The packets that network policies deny. Where none denies anything, nothing counts.
fn read_denied(metrics: &Metrics, mode: Mode) {
    let read = || -> Result<(), sync::Error> {
        let mut socket = Socket::open(SendBudget::Granted)?;
        for family in Family::ALL {
            for direction in Direction::ALL {
                let (table, chain) = match mode {
                    Mode::Iptables => ("filter", render::iptables::names::deny(direction)),
                    Mode::Nftables => (names::TABLE, names::policy_deny(direction).into()),
                };
                if let Some(packets) = counted(&mut socket, family, table, &chain)? {
                    metrics.policies_denied(family, direction, packets);
                }
            }
        }
        Ok(())
    };
    if let Err(error) = read() {
        debug!("{error}; denied packets are not known");
    }
}

/// The packets that rules of iptables mode count, where the kernel has such counters.
fn read_counters(metrics: &Metrics) {
    let read = || -> Result<Option<(u64, u64)>, sync::Error> {
        let [invalid, localhost] = NFACCT_COUNTERS;
        let counts = (sync::nfacct::packets(invalid)?, sync::nfacct::packets(localhost)?);
        Ok(counts.0.zip(counts.1))
    };
    match read() {
        Ok(Some((invalid, localhost))) => metrics.counted_packets(invalid, localhost),
        Ok(None) => {}
        Err(error) => debug!("{error}; counted packets are not known"),
    }
}
