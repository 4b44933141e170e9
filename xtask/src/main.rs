//! The project's tasks. `cargo xtask --help` lists them.

mod cargo;
mod demo;
mod kubectl;
mod nft;
mod soak;
mod tally;
mod test;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

/// The project's tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run all tests, in network namespaces of their own
    #[command(after_help = TEST_HELP)]
    Test(TestArguments),
    /// Show a Service at work: two nodes, four Pods, real packets
    #[command(after_help = DEMO_HELP)]
    Demo(DemoArguments),
    /// Rewrite the golden files of cases/ to what is rendered now
    #[command(after_help = "Example:\n  cargo xtask bless && git diff cases/")]
    Bless,
    /// Measure load time, change time, netlink messages and memory (release build)
    #[command(after_help = "Example:\n  cargo xtask bench\n  cargo xtask bench -- --help")]
    Bench {
        /// Handed on to the benchmark
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Random events and faults for a long time: nothing diverges, leaks or loses a connection
    #[command(after_help = SOAK_HELP)]
    Soak(soak::SoakArguments),
    /// Build the program as the image ships it, and fail if it is larger than it may be
    #[command(after_help = "Example:\n  cargo xtask size")]
    Size,
    /// What a change must pass: format, clippy, documentation, tests
    #[command(after_help = "Example:\n  cargo xtask check")]
    Check,
}

const TEST_HELP: &str = "\
Examples:
  cargo xtask test
  cargo xtask test --quick affinity

Missing programs are installed with apt-get when run as root, and named otherwise. Root is not \
needed: the tests run in a sandbox of own namespaces. With CI=true a skipped test is a failure.";

const DEMO_HELP: &str = "\
Examples:
  cargo xtask demo
  cargo xtask demo --pointsman /usr/local/bin/pointsman

Works as root and as an ordinary user; nothing outside the demo's own namespaces is touched. \
Ends with an error if anything that it says does not happen.";

const SOAK_HELP: &str = "\
Examples:
  cargo xtask soak
  cargo xtask soak --minutes 0.5 --seed 7

Ends with an error at the first divergence, the first lost connection, or if memory grows. Works as \
root and as an ordinary user; nothing outside its own namespaces is touched.";

#[derive(Args)]
struct TestArguments {
    /// Fewer generated inputs and no documentation tests
    #[arg(long)]
    quick: bool,
    /// Only tests whose names contain one of these
    filter: Vec<String>,
}

#[derive(Args)]
struct DemoArguments {
    /// Use this program rather than build one
    #[arg(long, value_name = "FILE")]
    pointsman: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Test(TestArguments { quick, filter }) => test::run(quick, &filter),
        Task::Demo(DemoArguments { pointsman }) => demo::run(pointsman),
        Task::Bless => cargo::bless(),
        Task::Bench { arguments } => cargo::bench(&arguments),
        Task::Soak(arguments) => soak::run(&arguments),
        Task::Size => cargo::size(),
        Task::Check => cargo::check(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_task_explains_itself_with_an_example() {
        let mut cli = Cli::command();
        cli.build();
        for task in cli.get_subcommands_mut().filter(|task| task.get_name() != "help") {
            let help = task.render_long_help().to_string();
            let example = format!("cargo xtask {}", task.get_name());
            assert!(help.contains("Example") && help.matches(&example).count() > 1, "{help}");
        }
    }
}
