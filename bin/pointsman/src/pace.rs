//! When to try again after a failure, and how often to say so.

use std::time::{Duration, Instant};

/// Doubling waits. They stay short, so that a fault is over for the rules within a second of its
/// end; an attempt that takes long is made less often instead.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_millis(800);
/// How much of the time failing attempts may take, as a divisor.
const SHARE: u32 = 4;
/// The same failure is said again after so long.
const SAID: Duration = Duration::from_secs(30);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The wait before the next try, after one that took so long.
    pub(crate) fn wait(&mut self, took: Duration) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        wait.max(took * SHARE)
    }

    /// It worked: the next failure starts from the shortest wait again.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }
}

/// What was said of a failure that goes on.
#[derive(Debug, Default)]
pub(crate) struct Complaint {
    last: Option<(String, Instant)>,
}

impl Complaint {
    /// Whether to say this now: it is new, or was last said long ago.
    pub(crate) fn is_due(&mut self, what: &str, now: Instant) -> bool {
        let fresh = |(said, at): &(String, Instant)| said == what && now < *at + SAID;
        let due = !self.last.as_ref().is_some_and(fresh);
        if due {
            self.last = Some((what.into(), now));
        }
        due
    }

    /// It worked: the next failure is said at once.
    pub(crate) fn reset(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_anew() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..6).map(|_| backoff.wait(Duration::ZERO).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 800, 800]);
        assert_eq!(backoff.wait(Duration::from_secs(2)), Duration::from_secs(8));
        backoff.reset();
        assert_eq!(backoff.wait(Duration::ZERO), FIRST);
    }

    #[test]
    fn a_failure_is_said_when_it_is_new_and_now_and_then() {
        let (start, mut complaint) = (Instant::now(), Complaint::default());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(complaint.is_due("no memory", start));
        assert!(!complaint.is_due("no memory", after(29)));
        assert!(complaint.is_due("no memory", after(30)));
        assert!(complaint.is_due("no permission", after(31)));
        complaint.reset();
        assert!(complaint.is_due("no permission", after(32)));
    }
}
