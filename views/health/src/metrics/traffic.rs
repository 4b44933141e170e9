//! Connections and bytes per Service, from counters that start anew whenever their rule is
//! rewritten, and for a limited number of Services.

use std::collections::BTreeMap;

use model::NamespacedName;

/// What went to a Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections (for UDP: flows).
    pub connections: u64,
    /// Bytes of the packets that were counted.
    pub bytes: u64,
}

impl Traffic {
    fn add(&mut self, more: Traffic) {
        self.connections += more.connections;
        self.bytes += more.bytes;
    }

    /// What came since the last reading; a smaller number means that the counter began anew.
    fn since(self, last: Traffic) -> Traffic {
        let grown = |now: u64, last: u64| now.checked_sub(last).unwrap_or(now);
        Traffic {
            connections: grown(self.connections, last.connections),
            bytes: grown(self.bytes, last.bytes),
        }
    }
}

/// The sums. A Service keeps its own series as long as it exists; who finds no room counts with
/// the others, so that no cluster can make the metrics grow without bound.
#[derive(Debug)]
pub(super) struct ServiceTraffic {
    limit: usize,
    readings: BTreeMap<NamespacedName, Traffic>,
    sums: BTreeMap<NamespacedName, Traffic>,
    others: Traffic,
}

impl ServiceTraffic {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, readings: BTreeMap::new(), sums: BTreeMap::new(), others: Traffic::default() }
    }

    /// Takes in the kernel's counters of all Services; one that is not among them is gone.
    pub(super) fn read(&mut self, now: &BTreeMap<NamespacedName, Traffic>) {
        self.sums.retain(|service, _| now.contains_key(service));
        for (service, &reading) in now {
            let last = self.readings.get(service).copied().unwrap_or_default();
            let more = reading.since(last);
            // What a Service had before it found room is among the others already.
            let room = self.sums.len() < self.limit || self.sums.contains_key(service);
            let sum =
                if room { self.sums.entry(service.clone()).or_default() } else { &mut self.others };
            sum.add(more);
        }
        self.readings = now.clone();
    }

    /// The Services with series of their own.
    pub(super) fn services(&self) -> &BTreeMap<NamespacedName, Traffic> {
        &self.sums
    }

    /// All others together.
    pub(super) fn others(&self) -> Traffic {
        self.others
    }

    /// How many Services have no series of their own.
    pub(super) fn omitted(&self) -> usize {
        self.readings.len().saturating_sub(self.sums.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(list: &[(&str, u64, u64)]) -> BTreeMap<NamespacedName, Traffic> {
        list.iter()
            .map(|&(name, connections, bytes)| {
                (NamespacedName::new("ns", name), Traffic { connections, bytes })
            })
            .collect()
    }

    fn sum(traffic: &ServiceTraffic, name: &str) -> Option<(u64, u64)> {
        let sum = traffic.services().get(&NamespacedName::new("ns", name))?;
        Some((sum.connections, sum.bytes))
    }

    #[test]
    fn a_counter_that_begins_anew_loses_nothing() {
        let mut traffic = ServiceTraffic::new(10);
        traffic.read(&readings(&[("a", 5, 500)]));
        traffic.read(&readings(&[("a", 7, 700)]));
        traffic.read(&readings(&[("a", 2, 200)]));
        traffic.read(&readings(&[("a", 3, 300)]));
        assert_eq!(sum(&traffic, "a"), Some((10, 1000)));
    }

    #[test]
    fn who_finds_no_room_counts_with_the_others() {
        let mut traffic = ServiceTraffic::new(2);
        traffic.read(&readings(&[("a", 1, 10), ("b", 2, 20), ("c", 3, 30)]));
        assert_eq!((sum(&traffic, "a"), sum(&traffic, "b")), (Some((1, 10)), Some((2, 20))));
        assert_eq!((sum(&traffic, "c"), traffic.omitted()), (None, 1));
        assert_eq!(traffic.others(), Traffic { connections: 3, bytes: 30 });
        // A Service keeps its series though another one comes before it in order.
        traffic.read(&readings(&[("0", 9, 90), ("a", 1, 10), ("b", 2, 20), ("c", 3, 30)]));
        assert_eq!((sum(&traffic, "a"), sum(&traffic, "0")), (Some((1, 10)), None));
        assert_eq!((traffic.omitted(), traffic.others().connections), (2, 12));
        // The room of one that is gone is taken; the sum of the others never falls.
        traffic.read(&readings(&[("a", 1, 10), ("b", 2, 20), ("c", 4, 40)]));
        traffic.read(&readings(&[("a", 1, 10), ("c", 6, 60)]));
        assert_eq!((sum(&traffic, "b"), sum(&traffic, "c")), (None, Some((2, 20))));
        assert_eq!((traffic.others().connections, traffic.omitted()), (13, 0));
    }

    #[test]
    fn without_room_everything_is_others() {
        let mut traffic = ServiceTraffic::new(0);
        traffic.read(&readings(&[("a", 1, 10)]));
        assert_eq!((traffic.services().len(), traffic.others().bytes), (0, 10));
    }
}
