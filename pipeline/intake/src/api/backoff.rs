//! How long to wait before the next attempt.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// A duration anywhere from zero to a limit. Not for secrets: it spreads the nodes of a cluster.
pub(super) fn up_to(limit: Duration) -> Duration {
    // Each state has keys of its own, and hashing nothing mixes them.
    let random = RandomState::new().build_hasher().finish();
    limit.mul_f64(random as f64 / u64::MAX as f64)
}

/// Doubling waits, each spread from half of it to the whole, so that clients who failed together
/// do not come back together (kubernetes#85342).
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The next wait.
    pub(super) fn wait(&mut self) -> Duration {
        let whole = self.next.min(self.longest);
        self.next = whole.saturating_mul(2);
        whole / 2 + up_to(whole / 2)
    }

    /// Something went well.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_differ() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(30));
        let mut backoff = Backoff::new(first, longest);
        for whole in [1, 2, 4, 8, 16, 30, 30, 30] {
            let whole = Duration::from_secs(whole);
            let wait = backoff.wait();
            assert!(whole / 2 <= wait && wait <= whole, "{wait:?} of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= first);

        let waits: std::collections::BTreeSet<_> = (0..100).map(|_| up_to(longest)).collect();
        assert!(waits.len() > 90, "100 nodes must not come back together: {waits:?}");
        let spread = *waits.last().unwrap() - *waits.first().unwrap();
        assert!(spread > longest / 2, "{waits:?}");
    }
}
