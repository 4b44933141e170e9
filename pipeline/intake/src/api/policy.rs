//! Whether policies are enforced, and the watches that this takes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch as channel};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::backoff::Backoff;
use super::kind::{ClusterNetworkPolicies, Kind, Namespaces, NetworkPolicies, Pods};
use super::{ApiSource, Batch};
use crate::Error;

/// What the operator asks for (`--network-policy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkPolicyMode {
    /// Enforce policies if the API server lets us read what that takes. kube-proxy's permissions do
    /// not, so where it is merely replaced, policies stay with whoever enforces them now.
    Auto,
    /// Enforce policies; wait until they can be read.
    On,
    /// Leave policies to others.
    #[default]
    Off,
}

/// What was decided, and why. It holds until the process ends: permissions that are lost later
/// change nothing that is enforced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDecision {
    /// Whether policies are enforced.
    pub enforce: bool,
    /// Why, in words for the operator.
    pub because: String,
}

impl fmt::Display for PolicyDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.enforce { "enforced" } else { "left to others" };
        write!(f, "{what}: {}", self.because)
    }
}

impl ApiSource {
    /// Decides, and then watches what policies depend on until nobody takes batches any more.
    pub(super) async fn policies(
        self: Arc<Self>,
        decisions: channel::Sender<Option<PolicyDecision>>,
        batches: mpsc::Sender<Batch>,
    ) {
        let decision = tokio::select! {
            decision = self.decide() => decision,
            () = batches.closed() => return,
        };
        tracing::info!("network policies are {decision}");
        let enforce = decision.enforce;
        decisions.send_replace(Some(decision));
        if !enforce {
            let names = self.scope.names;
            // Nobody need wait for these.
            let listed = Kind::POLICY.into_iter();
            let listed = listed.filter(|kind| !names || *kind != Kind::Namespace).collect();
            let none = Batch { changes: Vec::new(), notices: Vec::new(), listed };
            // Unheard only at the end of everything.
            let _ = batches.send(none).await;
            if names {
                // An empty Namespace has a name too. Without the right to read them, a Namespace is
                // known by its Services.
                let mut watches = JoinSet::new();
                self.start_as::<Namespaces>(true, &mut watches, &batches);
                watched(watches).await;
            }
            return batches.closed().await;
        }
        let mut watches = JoinSet::new();
        self.start::<Pods>(&mut watches, &batches);
        self.start::<Namespaces>(&mut watches, &batches);
        self.start::<NetworkPolicies>(&mut watches, &batches);
        self.start::<ClusterNetworkPolicies>(&mut watches, &batches);
        drop(batches);
        watched(watches).await;
    }

    async fn decide(&self) -> PolicyDecision {
        match self.network_policy {
            NetworkPolicyMode::Off => {
                PolicyDecision { enforce: false, because: "switched off".into() }
            }
            NetworkPolicyMode::On => {
                PolicyDecision { enforce: true, because: "switched on".into() }
            }
            NetworkPolicyMode::Auto => self.decide_by_permissions().await,
        }
    }

    /// Tries to list one object of each kind. A refusal decides; whatever else goes wrong does not.
    async fn decide_by_permissions(&self) -> PolicyDecision {
        let mut backoff = Backoff::new(self.timing.first_wait, self.timing.longest_wait);
        let mut kinds = Kind::POLICY.into_iter().filter(|kind| !kind.is_optional()).peekable();
        while let Some(kind) = kinds.peek().copied() {
            let query = [("limit", "1".to_owned())];
            let asked = self.connection.get(kind.path(), &query, self.timing.silence).await;
            let answer = match asked {
                Ok(answer) => answer.all().await.map(drop),
                Err(error) => Err(error),
            };
            match answer {
                Ok(()) => drop(kinds.next()),
                Err(error @ Error::Refused { code: 403 | 404, .. }) => {
                    let because = format!(
                        "{kind} cannot be read ({error}); grant list and watch of Pods, Namespaces \
                         and NetworkPolicies to have policies enforced from the next start on"
                    );
                    return PolicyDecision { enforce: false, because };
                }
                Err(error) => {
                    let wait: Duration = backoff.wait();
                    tracing::warn!(
                        "{error}; whether policies can be read is asked again in {:.1} s",
                        wait.as_secs_f32()
                    );
                    sleep(wait).await;
                }
            }
        }
        let because = "Pods, Namespaces and NetworkPolicies can be read".into();
        PolicyDecision { enforce: true, because }
    }
}

/// Waits for the end of watches; a defect in one goes on here.
async fn watched(mut watches: JoinSet<()>) {
    while let Some(ended) = watches.join_next().await {
        if let Err(error) = ended
            && let Ok(defect) = error.try_into_panic()
        {
            std::panic::resume_unwind(defect);
        }
    }
}
