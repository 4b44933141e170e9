//! A point in time, by two clocks.

use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

/// A point in time by the steady clock, which every decision uses, and by the wall clock, which is
/// only ever shown: a wall clock that is set back must not make anything look fresh or late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By the clock that never jumps.
    pub steady: Instant,
    /// By the clock that people read.
    pub wall: SystemTime,
}

impl Moment {
    /// Reads both clocks.
    #[must_use]
    pub fn now() -> Self {
        Self { steady: Instant::now(), wall: SystemTime::now() }
    }

    /// How long ago another moment was; nothing if it is yet to come.
    #[must_use]
    pub fn since(&self, earlier: Moment) -> Duration {
        self.steady.saturating_duration_since(earlier.steady)
    }

    /// The wall clock as Kubernetes writes it (RFC 3339, UTC).
    #[must_use]
    pub fn rfc3339(&self) -> String {
        Timestamp::try_from(self.wall).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
    }

    /// The wall clock in seconds of the Unix epoch, as metrics write it; 0 before the epoch.
    #[must_use]
    pub fn unix_seconds(&self) -> f64 {
        self.wall.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
    }
}
