//! An ordered map in many parts, so that a copy with one change shares all other parts.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// With 10,000 entries a part holds about 20, so a change copies 20 entries and 512 pointers.
const PARTS: u64 = 512;

/// What a key is spread over the parts by; equal keys must give equal bytes.
pub(crate) trait Spread {
    fn spread(&self) -> u64;
}

impl Spread for str {
    fn spread(&self) -> u64 {
        fnv1a(self.as_bytes())
    }
}

impl Spread for Arc<str> {
    fn spread(&self) -> u64 {
        (**self).spread()
    }
}

impl Spread for IpAddr {
    fn spread(&self) -> u64 {
        match self {
            IpAddr::V4(address) => fnv1a(&address.octets()),
            IpAddr::V6(address) => fnv1a(&address.octets()),
        }
    }
}

/// FNV-1a: the same on every run, and even enough for names and addresses.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[derive(Clone, Debug)]
pub(crate) struct Shards<K, V> {
    parts: Vec<Arc<BTreeMap<K, V>>>,
}

impl<K: Ord + Clone + Spread, V: Clone> Shards<K, V> {
    pub(crate) fn new() -> Self {
        let empty = Arc::new(BTreeMap::new());
        Self { parts: (0..PARTS).map(|_| Arc::clone(&empty)).collect() }
    }

    pub(crate) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Ord + Spread + ?Sized,
    {
        self.parts.get(index(key))?.get(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if let Some(part) = self.parts.get_mut(index(&key)) {
            Arc::make_mut(part).insert(key, value);
        }
    }

    pub(crate) fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Ord + Spread + ?Sized,
    {
        let Some(part) = self.parts.get_mut(index(key)) else { return };
        if part.contains_key(key) {
            Arc::make_mut(part).remove(key);
        }
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for Shards<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.parts == other.parts
    }
}

fn index<Q: Spread + ?Sized>(key: &Q) -> usize {
    usize::try_from(key.spread() % PARTS).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_shares_all_but_what_changes() {
        let mut old: Shards<Arc<str>, u32> = Shards::new();
        for number in 0..1000 {
            old.insert(number.to_string().into(), number);
        }
        let mut new = old.clone();
        new.insert("7".into(), 8);
        new.remove("not there");
        let shared =
            old.parts.iter().zip(&new.parts).filter(|(old, new)| Arc::ptr_eq(old, new)).count();
        assert_eq!(shared, 511);
        assert_eq!((old.get("7"), new.get("7")), (Some(&7), Some(&8)));
        assert_ne!(old, new);
        new.insert("7".into(), 7);
        assert_eq!(old, new);
        new.remove("7");
        assert_eq!(new.get("7"), None);
        assert_eq!(new.parts.iter().map(|part| part.len()).sum::<usize>(), 999);
    }

    #[test]
    fn keys_spread_evenly() {
        let mut names: Shards<Arc<str>, ()> = Shards::new();
        let mut addresses: Shards<IpAddr, ()> = Shards::new();
        for number in 0..20_480_u32 {
            names.insert(format!("service-{number}.default").into(), ());
            addresses.insert(IpAddr::V4((0x0a60_0000 + number).into()), ());
        }
        let fullest = |sizes: Vec<usize>| sizes.into_iter().max();
        assert!(fullest(names.parts.iter().map(|part| part.len()).collect()) < Some(80));
        assert!(fullest(addresses.parts.iter().map(|part| part.len()).collect()) < Some(80));
    }
}
