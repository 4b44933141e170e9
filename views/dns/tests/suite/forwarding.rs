//! Names outside of the cluster, with upstreams of every manner.

use std::time::{Duration, Instant};

use dns::{CacheLimits, DnsError, DnsServer, ForwardConfig, ResolvConf, ServerConfig};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType::{A, AAAA, PTR};
use lab::Namespace;

use crate::ask::words;
use crate::served::{Served, question, receive};
use crate::upstream::{Manner, Upstream};

struct World {
    served: Served,
    upstreams: Vec<Upstream>,
}

fn world(manners: &[Manner]) -> World {
    let namespace = Namespace::new().unwrap();
    let upstreams: Vec<_> =
        manners.iter().map(|&manner| Upstream::start(&namespace, manner)).collect();
    let addresses: Vec<_> = upstreams.iter().map(|upstream| upstream.address).collect();
    World { served: Served::forwarding(&namespace, &addresses), upstreams }
}

#[test]
fn an_answer_is_asked_for_once_and_then_remembered() {
    let World { served, upstreams } = world(&[Manner::Answer]);
    for _ in 0..5 {
        let answer = served.ask("example.com.", A);
        assert_eq!(words(&answer.answers), ["A 192.0.2.1"]);
        assert!(answer.recursion_available && !answer.authoritative);
        assert!((58..=60).contains(&answer.answers[0].ttl), "{answer}");
    }
    assert_eq!(upstreams[0].asked(), (1, 0));
    let counts = served.counters.read();
    assert_eq!((counts.cache_misses, counts.cache_hits), (1, 4));
    assert_eq!((counts.upstream_queries, counts.upstream_failures), (1, 0));
    assert_eq!((counts.udp, counts.local), (5, 0));
    // A remembered answer is spelled as the next client spells it.
    let answer = served.ask("EXAMPLE.com.", A);
    assert_eq!(answer.answers[0].name.to_string(), "EXAMPLE.com.");
    assert_eq!(upstreams[0].asked(), (1, 0));
}

#[test]
fn a_denial_is_remembered_too() {
    let World { served, upstreams } = world(&[Manner::Deny]);
    for _ in 0..3 {
        let answer = served.ask("nothing.example.", A);
        assert_eq!(answer.response_code, ResponseCode::NXDomain);
        assert_eq!(answer.authorities.len(), 1);
    }
    assert_eq!(upstreams[0].asked(), (1, 0));
}

#[test]
fn many_who_ask_the_same_at_once_wait_for_one_question() {
    let World { served, upstreams } = world(&[Manner::Slow(Duration::from_millis(150))]);
    let socket = served.client();
    for _ in 0..50 {
        socket.send(&question("busy.example.", A).to_vec().unwrap()).unwrap();
    }
    for _ in 0..50 {
        let answer = hickory_proto::op::Message::from_vec(&receive(&socket)).unwrap();
        assert_eq!(answer.answers.len(), 1);
    }
    assert_eq!(upstreams[0].asked(), (1, 0));
}

#[test]
fn a_silent_upstream_is_passed_over_and_then_asked_last() {
    let World { served, upstreams } = world(&[Manner::Silent, Manner::Answer]);
    let start = Instant::now();
    assert_eq!(words(&served.ask("a.example.", A).answers), ["A 192.0.2.1"]);
    assert!(start.elapsed() >= Duration::from_millis(300), "the first was given its time");
    let start = Instant::now();
    assert_eq!(words(&served.ask("b.example.", A).answers), ["A 192.0.2.1"]);
    assert!(start.elapsed() < Duration::from_millis(300), "the silent one rests");
    assert_eq!((upstreams[0].asked(), upstreams[1].asked()), ((1, 0), (2, 0)));
    assert_eq!(served.counters.read().upstream_failures, 1);
}

#[test]
fn a_failing_upstream_is_passed_over() {
    for code in [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::NotImp] {
        let World { served, upstreams } = world(&[Manner::Fail(code), Manner::Answer]);
        assert_eq!(words(&served.ask("example.com.", A).answers), ["A 192.0.2.1"]);
        assert_eq!((upstreams[0].asked(), upstreams[1].asked()), ((1, 0), (1, 0)));
    }
}

#[test]
fn nobody_answering_is_servfail_within_the_deadline_and_remembered_briefly() {
    let World { served, upstreams } = world(&[Manner::Silent, Manner::Silent]);
    let start = Instant::now();
    assert_eq!(served.ask("example.com.", A).response_code, ResponseCode::ServFail);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(1100) && took < Duration::from_secs(3), "{took:?}");
    assert_eq!((upstreams[0].asked(), upstreams[1].asked()), ((2, 0), (2, 0)), "two rounds");
    // RFC 9520: a failure is not looked for again at once.
    let start = Instant::now();
    assert_eq!(served.ask("example.com.", A).response_code, ResponseCode::ServFail);
    assert!(start.elapsed() < Duration::from_millis(200));
    // Other names go on, and so does the upstream once it answers.
    upstreams[0].set(Manner::Answer);
    assert_eq!(words(&served.ask("other.example.", A).answers), ["A 192.0.2.1"]);
}

#[test]
fn a_port_that_nobody_listens_on_is_noticed_at_once() {
    let namespace = Namespace::new().unwrap();
    let answering = Upstream::start(&namespace, Manner::Answer);
    let closed = "127.0.0.1:1".parse().unwrap();
    let served = Served::forwarding(&namespace, &[closed, answering.address]);
    let start = Instant::now();
    assert_eq!(words(&served.ask("example.com.", A).answers), ["A 192.0.2.1"]);
    assert!(start.elapsed() < Duration::from_millis(250));
    assert_eq!(served.counters.read().upstream_queries, 2);
    assert_eq!(words(&served.ask("other.example.", A).answers), ["A 192.0.2.1"]);
    assert_eq!(served.counters.read().upstream_queries, 3, "the closed one rests");
}

#[test]
fn a_truncated_answer_is_fetched_over_tcp() {
    let World { served, upstreams } = world(&[Manner::Truncate(200)]);
    let over_udp = served.ask("large.example.", A);
    assert!(over_udp.truncation, "the client's own limit holds");
    assert!(over_udp.answers.len() < 200);
    let over_tcp = served.ask_tcp("large.example.", A);
    assert_eq!((over_tcp.answers.len(), over_tcp.truncation), (200, false));
    assert_eq!(upstreams[0].asked(), (1, 1));
}

#[test]
fn an_upstream_without_edns_is_asked_without() {
    let World { served, upstreams } = world(&[Manner::WithoutEdns]);
    assert_eq!(words(&served.ask("example.com.", A).answers), ["A 192.0.2.1"]);
    assert_eq!(upstreams[0].asked(), (2, 0));
}

#[test]
fn forged_and_broken_answers_are_ignored() {
    for manner in [Manner::Forged, Manner::Garbage] {
        let World { served, .. } = world(&[manner]);
        assert_eq!(words(&served.ask("example.com.", A).answers), ["A 192.0.2.1"], "{manner:?}");
        assert_eq!(served.counters.read().upstream_failures, 0);
    }
}

#[test]
fn an_alias_is_completed_by_upstream() {
    let World { served, upstreams } = world(&[Manner::Answer]);
    let answer = served.ask("alias.default.svc.cluster.local.", A);
    assert_eq!(words(&answer.answers), ["A 192.0.2.1", "CNAME example.com."]);
    assert_eq!(answer.answers[1].name.to_string(), "example.com.");
    assert_eq!(upstreams[0].names(), ["example.com."]);
    upstreams[0].set(Manner::Deny);
    let answer = served.ask("alias.default.svc.cluster.local.", AAAA);
    assert_eq!(answer.response_code, ResponseCode::NXDomain, "RFC 6604: of the last name");
    assert_eq!(words(&answer.answers), ["CNAME example.com."]);
    upstreams[0].set(Manner::Fail(ResponseCode::ServFail));
    let answer =
        served.ask("alias.default.svc.cluster.local.", hickory_proto::rr::RecordType::CNAME);
    assert_eq!(answer.response_code, ResponseCode::NoError, "the alias alone needs no upstream");
}

#[test]
fn addresses_outside_of_the_cluster_are_asked_upstream() {
    let World { served, upstreams } = world(&[Manner::Deny]);
    let outside = served.ask("1.1.168.192.in-addr.arpa.", PTR);
    assert_eq!(outside.response_code, ResponseCode::NXDomain);
    let inside = served.ask("80.0.96.10.in-addr.arpa.", PTR);
    assert_eq!(words(&inside.answers), ["PTR my-service.default.svc.cluster.local."]);
    assert_eq!(upstreams[0].names(), ["1.1.168.192.in-addr.arpa."]);
}

#[test]
fn questions_beyond_the_bound_fail_and_the_cluster_still_answers() {
    let namespace = Namespace::new().unwrap();
    let upstream = Upstream::start(&namespace, Manner::Slow(Duration::from_millis(400)));
    let mut forward = ForwardConfig::new([upstream.address]);
    forward.in_flight = 3;
    let served = Served::with_forward(&namespace, forward);
    let socket = served.client();
    for number in 0..10 {
        let name = format!("n{number}.example.");
        socket.send(&question(&name, A).to_vec().unwrap()).unwrap();
    }
    // The seven that found no place are told at once.
    for _ in 0..7 {
        let answer = hickory_proto::op::Message::from_vec(&receive(&socket)).unwrap();
        assert_eq!(answer.response_code, ResponseCode::ServFail);
    }
    let start = Instant::now();
    assert_eq!(served.ask("my-service.default.svc.cluster.local.", A).answers.len(), 1);
    assert!(start.elapsed() < Duration::from_millis(200));
    for _ in 0..3 {
        let answer = hickory_proto::op::Message::from_vec(&receive(&socket)).unwrap();
        assert_eq!(answer.response_code, ResponseCode::NoError);
    }
    assert_eq!(served.counters.read().overloaded, 7);
    // The places are free again.
    assert_eq!(served.ask("later.example.", A).answers.len(), 1);
}

#[test]
fn without_upstream_other_names_are_refused() {
    let served = Served::start(crate::cluster::zone(), ServerConfig::default());
    assert_eq!(served.ask("example.com.", A).response_code, ResponseCode::Refused);
    let reverse = served.ask("1.1.168.192.in-addr.arpa.", PTR);
    assert_eq!(reverse.response_code, ResponseCode::NXDomain);
    let alias = served.ask("alias.default.svc.cluster.local.", A);
    assert_eq!(words(&alias.answers), ["CNAME example.com."]);
    assert!(!alias.recursion_available);
}

#[test]
fn nobody_forwards_to_oneself() {
    let namespace = Namespace::new().unwrap();
    let told = namespace.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let own = "127.0.0.1:53".parse().unwrap();
            let forward = Some(ForwardConfig::new([own]));
            DnsServer::bind(&[own], ServerConfig { forward, ..ServerConfig::default() })
        })
    });
    assert!(matches!(told.unwrap(), Err(DnsError::NoUpstream)));
}

#[test]
fn the_resolver_configuration_of_the_host_is_followed() {
    let text = "nameserver 127.0.0.1\nnameserver fd00::1\noptions timeout:1 attempts:3\n";
    let config = ForwardConfig::from_resolv_conf(&ResolvConf::parse(text));
    let expected: [std::net::SocketAddr; 2] =
        ["127.0.0.1:53".parse().unwrap(), "[fd00::1]:53".parse().unwrap()];
    assert_eq!(config.upstreams, expected);
    assert_eq!((config.timeout, config.attempts), (Duration::from_secs(1), 3));
    let patient = ResolvConf::parse("nameserver 127.0.0.1\noptions timeout:30\n");
    assert_eq!(ForwardConfig::from_resolv_conf(&patient).timeout, Duration::from_secs(2));
}

#[test]
fn a_cache_of_size_zero_remembers_nothing() {
    let namespace = Namespace::new().unwrap();
    let upstream = Upstream::start(&namespace, Manner::Answer);
    let mut forward = ForwardConfig::new([upstream.address]);
    forward.cache = CacheLimits { entries: 0, ..CacheLimits::default() };
    let served = Served::with_forward(&namespace, forward);
    for _ in 0..3 {
        assert_eq!(served.ask("example.com.", A).answers.len(), 1);
    }
    assert_eq!(upstream.asked(), (3, 0));
}
