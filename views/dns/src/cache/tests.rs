use hickory_proto::rr::rdata::{A, SOA};

use super::*;

fn key(name: &str) -> Key {
    Key {
        name: Name::from_ascii(name).unwrap(),
        record_type: RecordType::A,
        dnssec_ok: false,
        checking_disabled: false,
    }
}

fn positive(ttl: u32) -> Arc<Upstreams> {
    let name = Name::from_ascii("example.com.").unwrap();
    let record = Record::from_rdata(name, ttl, RData::A(A([192, 0, 2, 1].into())));
    let sections = Sections { answers: vec![record], ..Sections::default() };
    Arc::new(Upstreams { code: ResponseCode::NoError, authentic: false, sections })
}

fn negative(code: ResponseCode, soa: Option<(u32, u32)>) -> Arc<Upstreams> {
    let name = Name::from_ascii("com.").unwrap();
    let authorities = soa.map(|(ttl, minimum)| {
        let soa = SOA::new(name.clone(), name.clone(), 1, 1, 1, 1, minimum);
        Record::from_rdata(name, ttl, RData::SOA(soa))
    });
    let sections =
        Sections { authorities: authorities.into_iter().collect(), ..Sections::default() };
    Arc::new(Upstreams { code, authentic: false, sections })
}

/// For how many seconds an answer is kept, found by looking every second.
fn kept(answer: &Arc<Upstreams>) -> u64 {
    let start = Instant::now();
    let mut cache = Cache::new(CacheLimits::default());
    cache.put(key("a."), answer, start);
    let at = |second| start + Duration::from_secs(second);
    (0..).find(|&second| cache.get(&key("a."), at(second)).is_none()).unwrap()
}

#[test]
fn lifetimes_stay_within_their_limits() {
    let (missing, no_data) = (ResponseCode::NXDomain, ResponseCode::NoError);
    assert_eq!(kept(&positive(60)), 60);
    assert_eq!(kept(&positive(0)), 5, "the shortest time");
    assert_eq!(kept(&positive(86400)), 3600);
    assert_eq!(kept(&negative(missing, Some((300, 60)))), 60, "the SOA record's minimum");
    assert_eq!(kept(&negative(missing, Some((60, 300)))), 60, "the SOA record's own time");
    assert_eq!(kept(&negative(no_data, Some((86400, 86400)))), 1800);
    assert_eq!(kept(&negative(missing, None)), 0, "RFC 2308 forbids to keep it");
    assert_eq!(kept(&negative(no_data, None)), 0);
    assert_eq!(kept(&negative(ResponseCode::ServFail, None)), 5);
    let both = |code, ttl, soa| {
        let mut answer = Upstreams::clone(&negative(code, soa));
        answer.sections.answers = positive(ttl).sections.answers.clone();
        Arc::new(answer)
    };
    assert_eq!(kept(&both(no_data, 600, Some((60, 60)))), 60, "an alias to nothing");
    assert_eq!(kept(&both(missing, 20, Some((60, 60)))), 20);
    assert_eq!(kept(&both(missing, 20, None)), 0);
}

#[test]
fn times_count_down() {
    let start = Instant::now();
    let mut cache = Cache::new(CacheLimits::default());
    let ttl_after = |cache: &mut Cache, seconds| {
        let found = cache.get(&key("a."), start + Duration::from_secs(seconds)).unwrap();
        found.sections.answers[0].ttl
    };
    cache.put(key("a."), &positive(60), start);
    assert_eq!([0, 1, 59].map(|seconds| ttl_after(&mut cache, seconds)), [60, 59, 1]);
    cache.put(key("a."), &positive(86400), start);
    assert_eq!(ttl_after(&mut cache, 10), 3590, "not longer than it is kept");
    cache.put(key("a."), &positive(1), start);
    assert_eq!(ttl_after(&mut cache, 4), 0);
}

#[test]
fn questions_differ_by_all_that_changes_the_answer() {
    let now = Instant::now();
    let mut cache = Cache::new(CacheLimits::default());
    cache.put(key("A.Example."), &positive(60), now);
    assert!(cache.get(&key("a.eXAMPLE."), now).is_some(), "case is none of it");
    assert!(cache.get(&key("b.example."), now).is_none());
    for other in [
        Key { record_type: RecordType::AAAA, ..key("a.example.") },
        Key { dnssec_ok: true, ..key("a.example.") },
        Key { checking_disabled: true, ..key("a.example.") },
    ] {
        assert!(cache.get(&other, now).is_none(), "{other:?}");
    }
}

#[test]
fn the_least_recently_used_leaves_first() {
    let now = Instant::now();
    let mut cache = Cache::new(CacheLimits { entries: 2, ..CacheLimits::default() });
    cache.put(key("a."), &positive(60), now);
    cache.put(key("b."), &positive(60), now);
    assert!(cache.get(&key("a."), now).is_some());
    cache.put(key("c."), &positive(60), now);
    assert!(cache.get(&key("b."), now).is_none());
    assert!(cache.get(&key("a."), now).is_some());
    assert!(cache.get(&key("c."), now).is_some());
    assert_eq!((cache.entries.len(), cache.by_use.len()), (2, 2));
}

#[test]
fn bytes_are_bounded_and_given_back() {
    let now = Instant::now();
    let one = size(&positive(60));
    let mut cache = Cache::new(CacheLimits { bytes: 10 * one, ..CacheLimits::default() });
    for number in 0..1000 {
        cache.put(key(&format!("n{number}.")), &positive(60), now);
        assert!(cache.bytes <= 10 * one);
    }
    assert_eq!(cache.entries.len(), 10);
    for number in 0..1000 {
        assert!(cache.get(&key(&format!("n{number}.")), now + Duration::from_secs(60)).is_none());
    }
    assert_eq!((cache.entries.len(), cache.by_use.len(), cache.bytes), (0, 0, 0));
    let mut none = Cache::new(CacheLimits { entries: 0, ..CacheLimits::default() });
    none.put(key("a."), &positive(60), now);
    assert!(none.get(&key("a."), now).is_none());
}
