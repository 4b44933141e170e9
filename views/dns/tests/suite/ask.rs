//! Questions to a zone, and answers in words.

use dns::{Answer, Reply, Zone, answer};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};

pub(crate) fn ask(zone: &Zone, name: &str, record_type: RecordType) -> Answer {
    match reply(zone, name, record_type) {
        Reply::Here(answer) => answer,
        other => panic!("{name} {record_type}: {other:?}"),
    }
}

pub(crate) fn reply(zone: &Zone, name: &str, record_type: RecordType) -> Reply {
    answer(zone, &Name::from_ascii(name).unwrap(), record_type, 0)
}

/// The data of an answer's records, sorted.
pub(crate) fn data(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.code, ResponseCode::NoError, "{answer:?}");
    words(&answer.answers)
}

pub(crate) fn words(records: &[Record]) -> Vec<String> {
    let mut words: Vec<_> =
        records.iter().map(|record| format!("{} {}", record.record_type(), record.data)).collect();
    words.sort();
    words
}

/// What the records of a name and type say.
pub(crate) fn say(zone: &Zone, name: &str, record_type: RecordType) -> Vec<String> {
    let answer = ask(zone, name, record_type);
    let expected = Name::from_ascii(name).unwrap();
    for record in &answer.answers {
        assert_eq!(record.name.to_string(), expected.to_string(), "the owner keeps its spelling");
        assert_eq!(record.ttl, 5, "{record}");
    }
    assert!(!answer.answers.is_empty(), "{name} {record_type} has no records: {answer:?}");
    data(&answer)
}

/// Holds that a name exists without records of the type.
#[track_caller]
pub(crate) fn no_data(zone: &Zone, name: &str, record_type: RecordType) {
    negative(zone, name, record_type, ResponseCode::NoError);
}

/// Holds that a name does not exist, whatever the type.
#[track_caller]
pub(crate) fn no_name(zone: &Zone, name: &str) {
    for record_type in [RecordType::A, RecordType::AAAA, RecordType::SRV, RecordType::TXT] {
        negative(zone, name, record_type, ResponseCode::NXDomain);
    }
}

#[track_caller]
fn negative(zone: &Zone, name: &str, record_type: RecordType, code: ResponseCode) {
    let answer = ask(zone, name, record_type);
    assert_eq!(answer.code, code, "{name} {record_type}");
    assert!(answer.answers.is_empty(), "{name} {record_type}: {answer:?}");
    let [soa] = &*answer.authorities else { panic!("{name}: {:?}", answer.authorities) };
    assert_eq!(soa.name, *zone.domain());
    assert_eq!(soa.ttl, 5);
    let RData::SOA(data) = &soa.data else { panic!("{soa}") };
    assert_eq!(data.minimum, 5, "a negative answer may be kept for the time to live");
    assert_eq!((data.refresh, data.retry, data.expire), (7200, 1800, 86400));
    assert!(data.mname.to_string().starts_with("ns.dns."), "{data}");
    assert!(data.rname.to_string().starts_with("hostmaster."), "{data}");
}
