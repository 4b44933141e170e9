//! What can go wrong with a cluster.

use lab::LabError;
use lab_api::ApiError;
use thiserror::Error;

/// Why a cluster could not be started or asked.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// The network of namespaces could not be made.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The API refused one of the cluster's own objects.
    #[error("the lab's API refuses what the cluster begins with: {0}")]
    Api(#[from] ApiError),
    /// No thread could be started.
    #[error("cannot start the thread of the {what}: {source}; are there too many processes?")]
    Thread {
        /// Whose thread.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A place was named that the cluster does not have.
    #[error("the lab has no {0}; `pointsman lab status` lists what it has")]
    NoSuchPlace(String),
}
