//! Whether policies let a connection through, as a question of its own: the policy section of an
//! [`Explanation`](crate::Explanation) without the rest, and tables of it.

mod matrix;
mod text;

use model::Cluster;
use plan::{Config, Intent, PolicyOptions};
use serde::Serialize;

pub use matrix::{Cell, CellDecision, Column, Matrix, MatrixError, Row, matrix};

use crate::explain::{PolicyJudgement, Question, explain};
use crate::{Code, Mode, Verdict};

/// Whether policies let a connection through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Permitted {
    /// 0: on every way.
    Allowed,
    /// 1: on none.
    Denied,
    /// 2: to some of the endpoints of the Service alone.
    Partly,
    /// 3: there is no connection to judge, by another cause than policies.
    NotAsked,
}

/// The answer to whether a connection is allowed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Permission {
    /// What was asked.
    pub question: String,
    /// The answer.
    pub decision: Permitted,
    /// The reason: that of the policies, else why there is nothing to judge.
    pub reason: Code,
    /// The reason in this case.
    pub detail: String,
    /// What the policies say at each end of each way.
    pub policy: PolicyJudgement,
}

impl Permission {
    /// The program's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.decision as u8
    }
}

/// The options that a question for policies alone goes by: they are enforced, and no address is held
/// back, which lasts for seconds.
fn asked_of(options: &PolicyOptions) -> PolicyOptions {
    PolicyOptions { enforce: true, hold_unknown_seconds: None, ..options.clone() }
}

/// Answers whether policies let a connection through, as they do where they are enforced: whether
/// the node of `config` does is not asked. The other arguments are those of [`explain`].
#[must_use]
pub fn can(
    cluster: &Cluster,
    config: &Config,
    intent: &Intent,
    mode: Mode,
    question: &Question,
) -> Permission {
    let network_policy = asked_of(&config.network_policy);
    let config = Config { network_policy, ..config.clone() };
    let told = explain(cluster, &config, intent, cluster.host(), mode, question);
    let ways = &told.policy.ways;
    let decision = match ways.iter().filter(|way| way.passes()).count() {
        _ if ways.is_empty() => Permitted::NotAsked,
        0 => Permitted::Denied,
        passing if passing == ways.len() => Permitted::Allowed,
        _ => Permitted::Partly,
    };
    debug_assert!(decision != Permitted::Denied || told.verdict == Some(Verdict::Drop));
    Permission {
        question: told.question,
        decision,
        reason: told.reason,
        detail: told.detail,
        policy: told.policy,
    }
}
