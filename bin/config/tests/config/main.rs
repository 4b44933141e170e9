//! A configuration from the operator's side: what is said, and what is meant.

#![allow(clippy::unwrap_used, clippy::panic)] // tests: helpers beside the test functions

mod detection;
mod documentation;
mod options;
mod properties;
mod reload;
mod startup;
mod validation;
mod writing;

use clap::Parser;
use config::flags::LoggingFlags;
use config::{Error, Meant, ProxyFlags, Warning};

/// A program that takes the flags, as kube-proxy does.
#[derive(Parser)]
#[command(name = "kube-proxy", version)]
struct Cli {
    #[command(flatten)]
    flags: ProxyFlags,
}

/// A program of which the proxy is one command, with flags of logging for all of them.
#[derive(Parser)]
#[command(name = "pointsman", version, propagate_version = true)]
struct Program {
    #[command(flatten)]
    logging: LoggingFlags,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Run(Box<ProxyFlags>),
    Cleanup,
}

#[test]
fn the_flags_live_in_a_command_beside_global_ones() {
    use clap::CommandFactory;
    Program::command().debug_assert();
    for words in [
        &["pointsman", "run", "-v=3", "--node=x", "--logging-format=json"][..],
        &["pointsman", "-v", "3", "--logging-format=json", "run", "--node", "x"],
        &["pointsman", "cleanup", "-v3", "--logging-format", "json"],
    ] {
        let program = Program::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(program.logging.v, Some(3), "{words:?}");
        assert_eq!(program.logging.logging_format.as_deref(), Some("json"), "{words:?}");
        if let Command::Run(flags) = program.command {
            assert_eq!(flags.logging, program.logging, "{words:?}");
            assert_eq!(flags.source.hostname_override.as_deref(), Some("x"));
        }
    }
    let version = Program::try_parse_from(["pointsman", "run", "--version"]).err().unwrap();
    assert_eq!(version.kind(), clap::error::ErrorKind::DisplayVersion);
}

fn flags(words: &[&str]) -> ProxyFlags {
    let words = ["kube-proxy"].iter().chain(words).map(Into::into);
    Cli::try_parse_from(config::normalize(words)).unwrap_or_else(|error| panic!("{error}")).flags
}

/// What flags alone mean.
fn by_flags(words: &[&str]) -> Result<(Meant, Vec<Warning>), Error> {
    config::understand(&flags(words), None, "alpha")
}

/// What a file means, given without its head, beside some flags.
fn by_file(fields: &str, words: &[&str]) -> Result<(Meant, Vec<Warning>), Error> {
    let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
    let mut all = vec!["--config=proxy.yaml"];
    all.extend(words);
    config::understand(&flags(&all), Some(&format!("{head}{fields}")), "alpha")
}

fn texts(warnings: &[Warning]) -> Vec<String> {
    warnings.iter().map(Warning::to_string).collect()
}

/// The faults of a refused configuration.
fn faults(result: Result<(Meant, Vec<Warning>), Error>) -> Vec<String> {
    match result {
        Err(Error::Invalid(faults)) => faults.iter().map(ToString::to_string).collect(),
        other => panic!("expected faults, found {other:?}"),
    }
}
