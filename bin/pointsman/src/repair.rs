//! When to compare the kernel with what was written: after somebody else touched our rules, after the
//! kernel would not take something, and at intervals.

use std::time::{Duration, Instant};

/// The least time between two comparisons: a burst of foreign changes is answered once.
const SHORTEST: Duration = Duration::from_millis(100);
/// How much of the time comparing may take, as a divisor: a comparison of half a second is not
/// repeated within two.
const SHARE: u32 = 4;
/// When to offer the kernel again what it would not take, doubled each time up to the longest: the
/// reason may pass by itself (a lack of memory) or by an operator's hand (a missing module).
const REFUSED: Duration = Duration::from_millis(800);
const LONGEST_REFUSED: Duration = Duration::from_secs(60);
/// How long nothing may be compared at all.
const AUDIT: Duration = Duration::from_secs(600);

/// Why the kernel is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Somebody else changed our rules.
    Foreign,
    /// The kernel would not take somebody's rules.
    Refused,
    /// It is time to look.
    Audit,
}

/// What is due, and when.
#[derive(Debug)]
pub(crate) struct Repair {
    foreign: bool,
    /// When to offer again what was refused, counted from the last comparison.
    refused: Option<Duration>,
    last: Instant,
    took: Duration,
}

impl Repair {
    pub(crate) fn new(now: Instant) -> Self {
        Self { foreign: false, refused: None, last: now, took: Duration::ZERO }
    }

    /// Somebody else changed our rules.
    pub(crate) fn suspect(&mut self) {
        self.foreign = true;
    }

    /// Everything was compared just now, and the kernel took all of it, or did not.
    pub(crate) fn compared(&mut self, now: Instant, took: Duration, all: bool) {
        let longer = |wait: Duration| (wait * 2).min(LONGEST_REFUSED);
        let refused = (!all).then(|| self.refused.map_or(REFUSED, longer));
        *self = Self { foreign: false, refused, last: now, took };
    }

    /// The kernel would not take a change.
    pub(crate) fn refused(&mut self) {
        self.refused.get_or_insert(REFUSED);
    }

    /// What is due now.
    pub(crate) fn due(&self, now: Instant) -> Option<Cause> {
        let cause = match (self.foreign, self.refused) {
            (true, _) => Cause::Foreign,
            (false, Some(_)) => Cause::Refused,
            (false, None) => Cause::Audit,
        };
        (now >= self.next()).then_some(cause)
    }

    /// When something is due, if nothing else happens.
    pub(crate) fn next(&self) -> Instant {
        let wait = if self.foreign { SHORTEST } else { self.refused.unwrap_or(AUDIT) };
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
    fn what_the_kernel_would_not_take_is_offered_again_more_and_more_seldom() {
        let start = Instant::now();
        let mut repair = Repair::new(start);
        let mut waits = Vec::new();
        for _ in 0..9 {
            repair.compared(start, Duration::ZERO, false);
            // Further changes make it no later.
            repair.refused();
            assert_eq!(repair.due(repair.next()), Some(Cause::Refused));
            waits.push(repair.next().duration_since(start).as_millis());
        }
        assert_eq!(waits, [800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
        repair.compared(start, Duration::ZERO, true);
        assert_eq!(repair.next(), start + AUDIT);
        repair.refused();
        assert_eq!(repair.due(start + REFUSED), Some(Cause::Refused));
    }

    #[test]
    fn a_slow_comparison_takes_a_fifth_of_the_time_at_most() {
        let start = Instant::now();
        let mut repair = Repair::new(start);
        repair.compared(start, Duration::from_secs(5), true);
        repair.suspect();
        assert_eq!(repair.due(start + Duration::from_secs(19)), None);
        assert_eq!(repair.due(start + Duration::from_secs(20)), Some(Cause::Foreign));
        repair.compared(start, Duration::from_secs(1000), true);
        assert_eq!(repair.next(), start + Duration::from_secs(4000));
    }
}
