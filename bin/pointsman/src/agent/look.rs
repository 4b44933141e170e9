//! Noticing what others do to what is ours.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};
use tracing::warn;

use super::Agent;
use crate::dataplane::Dataplane;

/// How often the kernel is asked for what it announces to nobody. Together with the time that a
/// comparison waits for others, what was changed so is whole again within a second.
const GLANCE: Duration = Duration::from_millis(500);

/// The times to look.
pub(super) fn glances() -> Interval {
    let mut glances = tokio::time::interval(GLANCE);
    glances.set_missed_tick_behavior(MissedTickBehavior::Delay);
    glances
}

impl<D: Dataplane> Agent<D> {
    /// Looks for changes that the kernel announces to nobody; says whether there are any.
    pub(super) fn look(&mut self) -> bool {
        if self.accepted.is_none() {
            return false;
        }
        let unannounced = self.dataplane.unannounced();
        self.suspect(unannounced)
    }

    /// Takes note of what was found to be touched; says whether anything was.
    pub(super) fn suspect(&mut self, touched: Result<Option<String>, sync::Error>) -> bool {
        match touched {
            Ok(None) => return false,
            Ok(Some(what)) => {
                warn!("{what}; comparing with the kernel");
                self.deed.get_or_insert(what);
            }
            Err(error) => {
                warn!("{error}; comparing with the kernel, for somebody changed something");
            }
        }
        self.repair.suspect();
        true
    }
}
