//! What cannot be rendered.

use plan::PoolName;
use thiserror::Error;

/// An Intent that no chain of this shape says. A plan from a cluster makes none of these; whoever
/// meets one has found a defect of the plan, and the Service is left as it was.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// Pods and the node itself are sent to different pools, or the one is refused and the other
    /// not, or Pods are masqueraded and the node is not.
    #[error(
        "{port}: Pods and the node itself are treated in a way that nftables mode cannot tell apart; report this as a defect of the plan"
    )]
    PodAndNodeDiffer {
        /// The Service port.
        port: String,
    },
    /// A route delivers to a pool without endpoints.
    #[error(
        "{port}: a route leads to the empty {pool:?} pool; report this as a defect of the plan"
    )]
    EmptyPool {
        /// The Service port.
        port: String,
        /// The pool.
        pool: PoolName,
    },
}
