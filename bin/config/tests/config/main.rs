//! A configuration from the operator's side: what is said, and what is meant.

mod detection;
mod documentation;
mod options;
mod properties;
mod reload;
mod startup;
mod validation;
mod writing;

use clap::Parser;
use config::{Error, Meant, ProxyFlags, Warning};

/// A program that takes the flags, as kube-proxy does.
#[derive(Parser)]
#[command(name = "kube-proxy", version)]
struct Cli {
    #[command(flatten)]
    flags: ProxyFlags,
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
