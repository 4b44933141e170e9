//! What the agent says of itself: health for load balancers and probes, readiness for people and
//! rollouts, metrics for dashboards.
//!
//! In: what the agent reports, at a [`Moment`] that it names. Out: the answers of kube-proxy's
//! health server (10256) and metrics server (10249), and of every Service's `healthCheckNodePort`.
//! Nothing here writes to the path: routing goes on whatever is answered.

pub mod answer;
mod error;
mod listen;
pub mod metrics;
mod moment;
pub mod no_local_endpoints;
pub mod node_port_servers;
pub mod node_ports;
mod pages;
pub mod server;
pub mod status;

use std::sync::{Arc, Mutex, PoisonError};

pub use error::Error;
pub use moment::Moment;
pub use pages::Pages;
pub use status::{Expectations, NetworkPolicy, Status, Unready, Watch};

/// The status, shared between the agent, who reports, and the servers, who answer.
#[derive(Clone, Debug)]
pub struct Health(Arc<Mutex<Status>>);

impl Health {
    /// Shares a status.
    #[must_use]
    pub fn new(status: Status) -> Self {
        Self(Arc::new(Mutex::new(status)))
    }

    /// Reports something.
    pub fn report<T>(&self, report: impl FnOnce(&mut Status) -> T) -> T {
        report(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at what was reported.
    pub fn read<T>(&self, look: impl FnOnce(&Status) -> T) -> T {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
