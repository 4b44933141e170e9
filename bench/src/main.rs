//! `pointsman-bench`: measures the whole path, and beside it what the kernel alone costs and what
//! the tools of iptables cost for the same rules, all in one run on one machine. The start of the
//! program is timed with the program that lies beside this one.
//!
//! Everything happens in network namespaces of its own. `cargo xtask bench` runs it in release.

mod generator;
mod iptables;
mod report;
mod start;

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
    /// Write the results into this folder too, as DATE-iptables.json (with --only, DATE-NAME.json)
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
    /// The program itself, from its start to its first write
    Start,
}

impl Measurement {
    fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Change => "change",
            Self::Restore => "restore",
            Self::Start => "start",
        }
    }
}

/// Measures at one size.
type Measure = fn(Size) -> Result<report::Row>;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let sized = |services| Size { services, endpoints: 5 };
    let (loads, changes, restores, starts): (&[u32], &[u32], &[u32], &[u32]) = if arguments.quick {
        (&[100, 500], &[10, 500], &[100], &[100])
    } else {
        (&[1_000, 10_000], &[10, 100, 1_000, 10_000], &[500, 1_000], &[1_000])
    };
    let mut report = Report::start();
    let wanted = |measurement| arguments.only.is_none_or(|only| only == measurement);
    let measurements: [(Measurement, &[u32], Measure); 4] = [
        (Measurement::Load, loads, iptables::load),
        (Measurement::Change, changes, iptables::change),
        (Measurement::Restore, restores, iptables::restore),
        (Measurement::Start, starts, start::start),
    ];
    for (measurement, sizes, measure) in measurements {
        for &services in sizes.iter().filter(|_| wanted(measurement)) {
            report.add(measure(sized(services))?);
        }
    }
    if let Some(folder) = &arguments.save {
        report.save(folder, arguments.only.map_or("iptables", Measurement::name))?;
    }
    Ok(())
}
