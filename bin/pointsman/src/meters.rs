//! What only the kernel counts, read at intervals for the metrics.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use health::metrics::{ConntrackTable, Metrics};
use render::iptables::names::NFACCT_COUNTERS;
use sync::conntrack::Conntrack;
use tracing::debug;

/// The time between two readings.
const INTERVAL: Duration = Duration::from_secs(10);

/// Reads in a thread of its own, for as long as the process lives.
///
/// # Errors
/// What the system says if it gives no thread.
pub(crate) fn start(metrics: Arc<Metrics>) -> std::io::Result<()> {
    let read = move || {
        let mut conntrack = None;
        loop {
            read_conntrack(&mut conntrack, &metrics);
            read_counters(&metrics);
            thread::sleep(INTERVAL);
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
