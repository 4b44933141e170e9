//! Connections to each Service, from the counters of nftables mode.
//!
//! An element that is rewritten (another endpoint makes it another one) counts from nothing again, so
//! differences are summed up here, element by element. What was counted between the last reading and a
//! rewrite is lost.

use std::collections::BTreeMap;
use std::net::IpAddr;

use health::metrics::Traffic;
use model::{Family, NamespacedName, Protocol};
use render::nftables::Clients;
use sync::table::{FrontendCounter, Nftables};

/// What tells an element from others.
type Key = (Family, Option<IpAddr>, Protocol, u16, Clients);

/// The sums since the start.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    counted: BTreeMap<Key, Traffic>,
    of: BTreeMap<NamespacedName, Traffic>,
}

impl Sums {
    /// Reads the kernel's counters.
    ///
    /// # Errors
    /// What keeps them from being read; the sums stay as they were.
    pub(crate) fn read(
        &mut self,
        kernel: &mut Nftables,
    ) -> Result<&BTreeMap<NamespacedName, Traffic>, sync::Error> {
        let mut all = Vec::new();
        for family in Family::ALL {
            all.extend(kernel.counters(family)?.into_iter().map(|counter| (family, counter)));
        }
        self.add(all);
        Ok(&self.of)
    }

    fn add(&mut self, counters: Vec<(Family, FrontendCounter)>) {
        let mut counted = BTreeMap::new();
        let mut of = BTreeMap::new();
        for (family, counter) in counters {
            let Some(service) = counter.service.as_deref().and_then(service) else { continue };
            let FrontendCounter { address, protocol, port, clients, packets, bytes, .. } = counter;
            let key = (family, address, protocol, port, clients);
            let now = Traffic { connections: packets, bytes };
            let last = self.counted.get(&key).copied().unwrap_or_default();
            let before = self.of.remove(&service).unwrap_or_default();
            let sum: &mut Traffic = of.entry(service).or_default();
            sum.connections += before.connections;
            sum.bytes += before.bytes;
            let anew = now.connections < last.connections || now.bytes < last.bytes;
            let base = if anew { Traffic::default() } else { last };
            sum.connections += now.connections - base.connections;
            sum.bytes += now.bytes - base.bytes;
            counted.insert(key, now);
        }
        // Who has no element any more has no series either.
        (self.counted, self.of) = (counted, of);
    }
}

/// The Service of an element's comment, `namespace/name:port`.
fn service(comment: &str) -> Option<NamespacedName> {
    let (namespace, rest) = comment.split_once('/')?;
    let name = rest.split_once(':').map_or(rest, |(name, _)| name);
    Some(NamespacedName::new(namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(comment: &str, port: u16, packets: u64) -> (Family, FrontendCounter) {
        let counter = FrontendCounter {
            service: Some(comment.into()),
            address: Some([10, 88, 0, 1].into()),
            protocol: Protocol::Tcp,
            port,
            clients: Clients::All,
            packets,
            bytes: packets * 60,
        };
        (Family::V4, counter)
    }

    fn sum(sums: &Sums, name: &str) -> Option<(u64, u64)> {
        let sum = sums.of.get(&NamespacedName::new("shop", name))?;
        Some((sum.connections, sum.bytes))
    }

    #[test]
    fn elements_are_summed_up_though_one_begins_anew() {
        let mut sums = Sums::default();
        sums.add(vec![counter("shop/web:http", 80, 5), counter("shop/web:admin", 81, 100)]);
        assert_eq!(sum(&sums, "web"), Some((105, 6_300)));
        sums.add(vec![counter("shop/web:http", 80, 2), counter("shop/web:admin", 81, 101)]);
        assert_eq!(sum(&sums, "web"), Some((108, 6_480)));
        sums.add(vec![counter("shop/web:http", 80, 3), counter("shop/other", 81, 7)]);
        assert_eq!((sum(&sums, "web"), sum(&sums, "other")), (Some((109, 6_540)), Some((7, 420))));
        sums.add(Vec::new());
        assert_eq!(sum(&sums, "web"), None);
    }
}
