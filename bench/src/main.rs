//! `pointsman-bench`: measures the whole path, and beside it what the kernel alone costs and what
//! the tools of iptables cost for the same rules, all in one run on one machine.
//!
//! Everything happens in network namespaces of its own. `cargo xtask bench` runs it in release.

mod generator;
mod iptables;
mod report;

use anyhow::Result;
use clap::Parser;

use crate::generator::Size;
use crate::report::Report;

/// Measure loading and changing rules, beside the bare kernel and iptables-nft-restore
#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  cargo xtask bench --save bench/results")]
struct Arguments {
    /// Small sizes alone: seconds instead of minutes, to see that everything runs
    #[arg(long)]
    quick: bool,
    /// One of the measurements alone
    #[arg(long, value_enum)]
    only: Option<Measurement>,
    /// Write the results into this folder too, as DATE-iptables.json
    #[arg(long, value_name = "DIR")]
    save: Option<std::path::PathBuf>,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Measurement {
    /// A complete snapshot to the kernel
    Load,
    /// One endpoint replaced
    Change,
    /// The same rules through iptables-nft-restore
    Restore,
}

/// Measures at one size.
type Measure = fn(Size) -> Result<report::Row>;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let sized = |services| Size { services, endpoints: 5 };
    let (loads, changes, restores): (&[u32], &[u32], &[u32]) = if arguments.quick {
        (&[100, 500], &[10, 500], &[100])
    } else {
        (&[1_000, 10_000], &[10, 100, 1_000, 10_000], &[500, 1_000])
    };
    let mut report = Report::start();
    let wanted = |measurement| arguments.only.is_none_or(|only| only == measurement);
    let measurements: [(Measurement, &[u32], Measure); 3] = [
        (Measurement::Load, loads, iptables::load),
        (Measurement::Change, changes, iptables::change),
        (Measurement::Restore, restores, iptables::restore),
    ];
    for (measurement, sizes, measure) in measurements {
        for &services in sizes.iter().filter(|_| wanted(measurement)) {
            report.add(measure(sized(services))?);
        }
    }
    if let Some(folder) = &arguments.save {
        report.save(folder)?;
    }
    Ok(())
}
