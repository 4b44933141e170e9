//! What upstream said, for as long as it may be kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::wire::Sections;

/// How much is kept, and for how long. The defaults are those of CoreDNS's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// The most answers that are kept; 0 keeps none.
    pub entries: usize,
    /// About how many bytes they may use.
    pub bytes: usize,
    /// The longest time for a positive answer, whatever its records allow.
    pub positive: Duration,
    /// The longest time for a negative answer.
    pub negative: Duration,
    /// The shortest time for either.
    pub shortest: Duration,
    /// The time for a failure of all upstreams; RFC 9520 wants at least a second.
    pub failure: Duration,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self {
            entries: 9984,
            bytes: 16 << 20,
            positive: Duration::from_secs(3600),
            negative: Duration::from_secs(1800),
            shortest: Duration::from_secs(5),
            failure: Duration::from_secs(5),
        }
    }
}

/// What was asked upstream; questions that may be answered differently differ here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// Compares without regard to case.
    pub name: Name,
    pub record_type: RecordType,
    pub dnssec_ok: bool,
    pub checking_disabled: bool,
}

/// An answer of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Upstreams {
    pub code: ResponseCode,
    /// Whether upstream vouches for the signatures (the AD bit).
    pub authentic: bool,
    pub sections: Sections,
}

impl Upstreams {
    /// What stands for an answer that nobody gave.
    pub(crate) fn failure() -> Self {
        let sections = Sections::default();
        Self { code: ResponseCode::ServFail, authentic: false, sections }
    }

    /// The answer as it is after `age` in the cache.
    pub(crate) fn aged(&self, age: Duration, most: Duration) -> Self {
        let (age, most) = (seconds(age), seconds(most));
        let mut aged = self.clone();
        let Sections { answers, authorities, additionals } = &mut aged.sections;
        for record in answers.iter_mut().chain(authorities).chain(additionals) {
            record.ttl = record.ttl.min(most).saturating_sub(age);
        }
        aged
    }

    /// How long the answer may be kept.
    fn lifetime(&self, limits: &CacheLimits) -> Option<Duration> {
        let Sections { answers, authorities, .. } = &self.sections;
        let limit = |ttl: u32, longest: Duration| {
            Duration::from_secs(ttl.into()).min(longest).max(limits.shortest)
        };
        // Of a negative answer, the SOA record says for how long it holds (RFC 2308); without one
        // it must not be kept.
        let negative = || {
            authorities.iter().find_map(|record| match &record.data {
                RData::SOA(soa) => Some(limit(record.ttl.min(soa.minimum), limits.negative)),
                _ => None,
            })
        };
        let shortest = answers.iter().map(|record| record.ttl).min();
        let positive = shortest.map(|ttl| limit(ttl, limits.positive));
        match self.code {
            // An alias whose target is not there is both: records, and the denial of others.
            ResponseCode::NoError => positive.into_iter().chain(negative()).min(),
            ResponseCode::NXDomain => negative().map(|time| time.min(positive.unwrap_or(time))),
            _ => Some(limits.failure),
        }
    }
}

#[derive(Debug)]
struct Entry {
    answer: Arc<Upstreams>,
    stored: Instant,
    lifetime: Duration,
    bytes: usize,
    used: u64,
}

/// Answers by question, the least recently used leaving first.
#[derive(Debug)]
pub(crate) struct Cache {
    limits: CacheLimits,
    entries: BTreeMap<Key, Entry>,
    by_use: BTreeMap<u64, Key>,
    uses: u64,
    bytes: usize,
}

impl Cache {
    pub(crate) fn new(limits: CacheLimits) -> Self {
        let (entries, by_use) = (BTreeMap::new(), BTreeMap::new());
        Self { limits, entries, by_use, uses: 0, bytes: 0 }
    }

    /// The answer, its remaining times counted down, if it still holds.
    pub(crate) fn get(&mut self, key: &Key, now: Instant) -> Option<Upstreams> {
        let entry = self.entries.get_mut(key)?;
        let age = now.saturating_duration_since(entry.stored);
        if age >= entry.lifetime {
            self.remove(key);
            return None;
        }
        let key = self.by_use.remove(&entry.used)?;
        self.uses += 1;
        entry.used = self.uses;
        self.by_use.insert(self.uses, key);
        Some(entry.answer.aged(age, entry.lifetime.max(self.limits.shortest)))
    }

    /// Keeps an answer if it may be kept.
    pub(crate) fn put(&mut self, key: Key, answer: &Arc<Upstreams>, now: Instant) {
        let Some(lifetime) = answer.lifetime(&self.limits) else { return };
        let bytes = size(answer);
        if self.limits.entries == 0 || lifetime.is_zero() || bytes > self.limits.bytes {
            return;
        }
        self.remove(&key);
        while self.entries.len() >= self.limits.entries || self.bytes + bytes > self.limits.bytes {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.remove(&oldest);
        }
        self.uses += 1;
        let entry =
            Entry { answer: Arc::clone(answer), stored: now, lifetime, bytes, used: self.uses };
        self.by_use.insert(self.uses, key.clone());
        self.entries.insert(key, entry);
        self.bytes += bytes;
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.used);
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }
}

/// About how many bytes an answer uses: the records themselves, and the names and texts in them.
fn size(answer: &Upstreams) -> usize {
    let Sections { answers, authorities, additionals } = &answer.sections;
    let records = answers.iter().chain(authorities).chain(additionals);
    let each = |record: &Record| size_of::<Record>() + data_size(&record.data);
    2 * size_of::<Key>() + size_of::<Entry>() + records.map(each).sum::<usize>()
}

fn data_size(data: &RData) -> usize {
    match data {
        RData::A(_) | RData::AAAA(_) => 0,
        RData::TXT(text) => text.txt_data.iter().map(|part| part.len() + 16).sum(),
        RData::Unknown { rdata, .. } => rdata.anything.len(),
        _ => 256,
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
