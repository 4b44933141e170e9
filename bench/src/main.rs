//! `pointsman-bench`: measures the whole path, and beside it what the kernel alone costs and what
//! the tools of iptables cost for the same rules, all in one run on one machine. The start of the
//! program, its memory and a storm of changes are measured with the program that lies beside this
//! one, fed by a small API server.
//!
//! Everything happens in network namespaces of its own. `cargo xtask bench` runs it in release.

mod generator;
mod iptables;
mod nftables;
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
    /// One of the measurements alone (may be given again)
    #[arg(long, value_enum)]
    only: Vec<Measurement>,
    /// Write the results into this folder too, as DATE-all.json (with --only, DATE-NAME.json)
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
    /// The program itself, from its start to its first write, with an API that answers at once
    Start,
    /// nftables mode: a complete snapshot to the kernel, and kube-proxy's shape through nft
    LoadNft,
    /// nftables mode: one endpoint replaced
    ChangeNft,
    /// nftables mode: the memory of the whole agent, reading from an API server
    Memory,
    /// nftables mode: what Services add to a new connection
    Connect,
    /// nftables mode: ten thousand changes in a second
    Storm,
}

impl Measurement {
    fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Change => "change",
            Self::Restore => "restore",
            Self::Start => "start",
            Self::LoadNft => "load-nft",
            Self::ChangeNft => "change-nft",
            Self::Memory => "memory",
            Self::Connect => "connect",
            Self::Storm => "storm",
        }
    }
}

/// Measures at one size.
type Measure = fn(Size) -> Result<report::Row>;

/// What is measured, by what, and at which sizes: (Services, endpoints each).
type Planned = (Measurement, Measure, &'static [(u32, u32)]);

const FULL: [Planned; 9] = [
    (Measurement::Load, iptables::load, &[(1_000, 5), (10_000, 5)]),
    (Measurement::Change, iptables::change, &[(10, 5), (100, 5), (1_000, 5), (10_000, 5)]),
    (Measurement::Restore, iptables::restore, &[(500, 5), (1_000, 5)]),
    (Measurement::Start, start::start, &[(1_000, 5)]),
    (Measurement::LoadNft, nftables::load, &[(1_000, 5), (10_000, 5), (50_000, 5), (5_000, 50)]),
    (Measurement::ChangeNft, nftables::change, &[(10, 5), (1_000, 5), (10_000, 5), (50_000, 5)]),
    (Measurement::Memory, nftables::memory, &[(1_000, 5), (10_000, 5), (50_000, 5)]),
    (Measurement::Connect, nftables::connect, &[(50_000, 5)]),
    (Measurement::Storm, nftables::storm, &[(10_000, 5)]),
];

const QUICK: [Planned; 9] = [
    (Measurement::Load, iptables::load, &[(100, 5), (500, 5)]),
    (Measurement::Change, iptables::change, &[(10, 5), (500, 5)]),
    (Measurement::Restore, iptables::restore, &[(100, 5)]),
    (Measurement::Start, start::start, &[(100, 5)]),
    (Measurement::LoadNft, nftables::load, &[(100, 5), (500, 5)]),
    (Measurement::ChangeNft, nftables::change, &[(10, 5), (1_000, 5)]),
    (Measurement::Memory, nftables::memory, &[(100, 5)]),
    (Measurement::Connect, nftables::connect, &[(1_000, 5)]),
    (Measurement::Storm, nftables::storm, &[(100, 5)]),
];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut report = Report::start();
    let wanted = |measurement| arguments.only.is_empty() || arguments.only.contains(&measurement);
    for (measurement, measure, sizes) in if arguments.quick { QUICK } else { FULL } {
        for &(services, endpoints) in sizes.iter().filter(|_| wanted(measurement)) {
            report.add(measure(Size { services, endpoints })?);
        }
    }
    if let Some(folder) = &arguments.save {
        let names: Vec<_> = arguments.only.iter().map(|only| only.name()).collect();
        let all = String::from("all");
        report.save(folder, &if names.is_empty() { all } else { names.join("-") })?;
    }
    Ok(())
}
