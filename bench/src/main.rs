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
    /// Write the results into this folder too, as DATE-iptables.json
    #[arg(long, value_name = "DIR")]
    save: Option<std::path::PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let sized = |services| Size { services, endpoints: 5 };
    let (loads, changes, restores): (&[u32], &[u32], &[u32]) = if arguments.quick {
        (&[100, 500], &[10, 500], &[100])
    } else {
        (&[1_000, 10_000], &[10, 100, 1_000, 10_000], &[500, 1_000])
    };
    let mut report = Report::start();
    for &services in loads {
        report.add(iptables::load(sized(services))?);
    }
    for &services in changes {
        report.add(iptables::change(sized(services))?);
    }
    for &services in restores {
        report.add(iptables::restore(sized(services))?);
    }
    if let Some(folder) = &arguments.save {
        report.save(folder)?;
    }
    Ok(())
}
