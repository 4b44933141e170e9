//! Requests, and who answered how often.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use lab::{Namespace, Outcome, probe_http};

/// A client's patience: longer than one repetition of a lost SYN, so that a slow machine does not
/// look like a rule that drops.
const PATIENCE: Duration = Duration::from_secs(3);

/// What became of a number of requests.
#[derive(Default)]
pub(super) struct Shares {
    answers: BTreeMap<String, u32>,
    // By what the client learned instead of an answer.
    others: BTreeMap<String, u32>,
    seen_as: BTreeSet<IpAddr>,
}

impl Shares {
    /// Sends requests one after the other, each from a new connection.
    pub(super) fn of(from: &Namespace, to: SocketAddr, count: u32) -> Result<Self> {
        let mut shares = Self::default();
        for _ in 0..count {
            match probe_http(from, None, to, PATIENCE)? {
                Outcome::Answer(answer) => {
                    *shares.answers.entry(answer.server).or_default() += 1;
                    shares.seen_as.insert(answer.seen_client.ip());
                }
                other => *shares.others.entry(other.to_string()).or_default() += 1,
            }
        }
        Ok(shares)
    }

    /// How many requests a Pod answered.
    pub(super) fn answered_by(&self, pod: &str) -> u32 {
        self.answers.get(pod).copied().unwrap_or(0)
    }

    /// What happened to requests that nobody answered; empty if there are none.
    pub(super) fn unanswered(&self) -> String {
        let parts: Vec<_> = self.others.iter().map(|(what, n)| format!("{n} × {what}")).collect();
        parts.join(", ")
    }

    /// The client's addresses as the Pods saw them.
    pub(super) fn seen_as(&self) -> &BTreeSet<IpAddr> {
        &self.seen_as
    }
}

/// A table with a column per Pod.
pub(super) struct Table<'a> {
    pods: &'a [&'a str],
}

impl<'a> Table<'a> {
    /// Prints the head.
    pub(super) fn start(pods: &'a [&'a str]) -> Self {
        let columns: String = pods.iter().map(|pod| format!("{pod:>10}")).collect();
        println!("\n  {:<18}{:<30}{columns}   the Pods see", "from", "to");
        Self { pods }
    }

    /// Prints one row.
    pub(super) fn row(&self, from: &str, to: &str, shares: &Shares) {
        let cell = |pod: &&str| format!("{:>10}", shares.answered_by(pod));
        let columns: String = self.pods.iter().map(cell).collect();
        let seen: Vec<_> = shares.seen_as().iter().map(ToString::to_string).collect();
        println!("  {from:<18}{to:<30}{columns}   {}", seen.join(", "));
    }
}
