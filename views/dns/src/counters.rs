//! What the server did, counted.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Running counts; every number only grows.
        #[derive(Debug, Default)]
        pub struct Counters {
            $(pub(crate) $name: Counter,)+
        }

        /// The counts at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Counters {
            /// Reads all counts.
            #[must_use]
            pub fn read(&self) -> Counts {
                Counts { $($name: self.$name.0.load(Ordering::Relaxed),)+ }
            }
        }
    };
}

counters! {
    /// Questions over UDP, malformed ones included.
    udp,
    /// Questions over TCP, malformed ones included.
    tcp,
    /// Messages that were no question we can read.
    malformed,
    /// Questions answered from the zone.
    local,
    /// Questions answered with NXDOMAIN from the zone.
    local_missing,
    /// Answers over UDP that did not fit and were cut.
    truncated,
    /// Questions for upstream that the cache answered.
    cache_hits,
    /// Questions for upstream that the cache could not answer.
    cache_misses,
    /// Queries sent to an upstream, retries included.
    upstream_queries,
    /// Queries that an upstream did not answer, or answered with a failure.
    upstream_failures,
    /// Questions turned away because too many waited for upstream.
    overloaded,
}

/// One running count.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
