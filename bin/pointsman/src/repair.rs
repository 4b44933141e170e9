//! When to compare the kernel with what was written: after somebody else touched our rules, and at
//! intervals.

use std::time::{Duration, Instant};

/// The least time between two comparisons: a burst of foreign changes is answered once.
const SHORTEST: Duration = Duration::from_millis(100);
/// How much of the time comparing may take, as a divisor: a comparison of half a second is not
/// repeated within two.
const SHARE: u32 = 4;
/// How long nothing may be compared at all.
const AUDIT: Duration = Duration::from_secs(600);

/// Why the kernel is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Somebody else changed our rules.
    Foreign,
    /// It is time to look.
    Audit,
}

/// What is due, and when.
#[derive(Debug)]
pub(crate) struct Repair {
    foreign: bool,
    last: Instant,
    took: Duration,
}

impl Repair {
    pub(crate) fn new(now: Instant) -> Self {
        Self { foreign: false, last: now, took: Duration::ZERO }
    }

    /// Somebody else changed our rules.
    pub(crate) fn suspect(&mut self) {
        self.foreign = true;
    }

    /// Everything was compared just now.
    pub(crate) fn compared(&mut self, now: Instant, took: Duration) {
        *self = Self { foreign: false, last: now, took };
    }

    /// What is due now.
    pub(crate) fn due(&self, now: Instant) -> Option<Cause> {
        (now >= self.next()).then_some(if self.foreign { Cause::Foreign } else { Cause::Audit })
    }

    /// When something is due, if nothing else happens.
    pub(crate) fn next(&self) -> Instant {
        let wait = if self.foreign { SHORTEST } else { AUDIT };
        self.last + wait.max(self.took * SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_change_is_answered_soon_and_an_audit_comes_late() {
        let start = Instant::now();
        let mut repair = Repair::new(start);
        assert_eq!(repair.due(start + Duration::from_secs(599)), None);
        assert_eq!(repair.due(start + AUDIT), Some(Cause::Audit));
        repair.suspect();
        assert_eq!(repair.due(start), None);
        assert_eq!(repair.due(start + SHORTEST), Some(Cause::Foreign));
    }

    #[test]
    fn a_slow_comparison_takes_a_fifth_of_the_time_at_most() {
        let start = Instant::now();
        let mut repair = Repair::new(start);
        repair.compared(start, Duration::from_secs(5));
        repair.suspect();
        assert_eq!(repair.due(start + Duration::from_secs(19)), None);
        assert_eq!(repair.due(start + Duration::from_secs(20)), Some(Cause::Foreign));
        repair.compared(start, Duration::from_secs(1000));
        assert_eq!(repair.next(), start + Duration::from_secs(4000));
    }
}
