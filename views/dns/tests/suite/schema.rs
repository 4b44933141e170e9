//! The records of the DNS schema 1.1.0 and the negative behaviour of CoreDNS, one by one.

use dns::{PodRecords, Reply, Zone, ZoneConfig};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType::{A, AAAA, CNAME, MX, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RecordType};
use model::{Change, Labels, Namespace};

use crate::ask::{ask, data, no_data, no_name, reply, say, words};
use crate::cluster::{config, example, external, service, zone};

#[test]
fn schema_version() {
    let answer = ask(&zone(), "dns-version.cluster.local.", TXT);
    assert_eq!(data(&answer), ["TXT 1.1.0"]);
    assert_eq!(answer.answers[0].ttl, 28800);
    no_data(&zone(), "dns-version.cluster.local.", A);
}

#[test]
fn cluster_ip_has_addresses_per_family() {
    let zone = zone();
    assert_eq!(say(&zone, "my-service.default.svc.cluster.local.", A), ["A 10.96.0.80"]);
    assert_eq!(say(&zone, "dual.default.svc.cluster.local.", A), ["A 10.96.0.81"]);
    assert_eq!(say(&zone, "dual.default.svc.cluster.local.", AAAA), ["AAAA fd00:96::81"]);
    assert_eq!(say(&zone, "six.default.svc.cluster.local.", AAAA), ["AAAA fd00:96::6"]);
}

#[test]
fn the_other_family_of_a_single_stack_service_is_no_data() {
    no_data(&zone(), "my-service.default.svc.cluster.local.", AAAA);
    no_data(&zone(), "six.default.svc.cluster.local.", A);
    no_data(&zone(), "plain.db.svc.cluster.local.", MX);
    no_data(&zone(), "portless.db.svc.cluster.local.", AAAA);
}

#[test]
fn an_empty_namespace_exists_where_namespaces_are_known() {
    let mut cluster = example();
    no_name(&Zone::new(config(), &cluster), "empty.svc.cluster.local.");
    let empty = Namespace { name: "empty".into(), labels: Labels::default() };
    cluster.apply(Change::Namespace(empty));
    let zone = Zone::new(config(), &cluster);
    for name in ["empty.svc.cluster.local.", "empty.pod.cluster.local."] {
        no_data(&zone, name, A);
    }
    no_name(&zone, "my-service.empty.svc.cluster.local.");
    // A namespace of a Service is known by it.
    no_data(&zone, "db.svc.cluster.local.", A);
}

#[test]
fn other_types_of_an_existing_service_are_no_data() {
    for other in [TXT, MX, NS, SOA, CNAME, PTR, RecordType::ANY, RecordType::HTTPS] {
        no_data(&zone(), "my-service.default.svc.cluster.local.", other);
    }
}

#[test]
fn named_ports_have_srv_records() {
    let zone = zone();
    let name = "_http._tcp.my-service.default.svc.cluster.local.";
    let expected = ["SRV 0 100 80 my-service.default.svc.cluster.local."];
    assert_eq!(say(&zone, name, SRV), expected);
    assert_eq!(words(&ask(&zone, name, SRV).additionals), ["A 10.96.0.80"]);
    let dns = "_dns._udp.my-service.default.svc.cluster.local.";
    assert_eq!(say(&zone, dns, SRV), ["SRV 0 100 53 my-service.default.svc.cluster.local."]);
    no_data(&zone, name, A);
    // The label of a protocol alone has names below it.
    no_data(&zone, "_tcp.my-service.default.svc.cluster.local.", A);
    no_name(&zone, "_sctp.my-service.default.svc.cluster.local.");
}

#[test]
fn the_underscores_may_be_left_out() {
    let name = "http.tcp.my-service.default.svc.cluster.local.";
    assert_eq!(say(&zone(), name, SRV).len(), 1);
}

#[test]
fn a_port_or_protocol_that_the_service_has_not_is_no_name() {
    for name in [
        "_https._tcp.my-service.default.svc.cluster.local.",
        "_http._udp.my-service.default.svc.cluster.local.",
        "_http._quic.my-service.default.svc.cluster.local.",
        "_._tcp.dual.default.svc.cluster.local.",
        "_pg._udp.sts.db.svc.cluster.local.",
        "_http._tcp.alias.default.svc.cluster.local.",
    ] {
        no_name(&zone(), name);
    }
}

#[test]
fn srv_of_the_bare_name_lists_all_ports() {
    let zone = zone();
    let target = "my-service.default.svc.cluster.local.";
    let expected = [format!("SRV 0 50 53 {target}"), format!("SRV 0 50 80 {target}")];
    assert_eq!(say(&zone, target, SRV), expected);
    // A port without a name has no name of its own and is listed here.
    let dual = "dual.default.svc.cluster.local.";
    assert_eq!(say(&zone, dual, SRV), [format!("SRV 0 100 80 {dual}")]);
    let additionals = words(&ask(&zone, dual, SRV).additionals);
    assert_eq!(additionals, ["A 10.96.0.81", "AAAA fd00:96::81"]);
}

#[test]
fn headless_has_the_addresses_of_ready_endpoints() {
    let zone = zone();
    assert_eq!(say(&zone, "sts.db.svc.cluster.local.", A), ["A 10.1.1.1", "A 10.1.1.2"]);
    assert_eq!(say(&zone, "sts.db.svc.cluster.local.", AAAA), ["AAAA fd00:1::1"]);
    assert_eq!(say(&zone, "portless.db.svc.cluster.local.", A), ["A 10.1.3.1"]);
}

#[test]
fn headless_endpoints_have_names() {
    let zone = zone();
    assert_eq!(say(&zone, "sts-0.sts.db.svc.cluster.local.", A), ["A 10.1.1.1"]);
    assert_eq!(say(&zone, "sts-0.sts.db.svc.cluster.local.", AAAA), ["AAAA fd00:1::1"]);
    assert_eq!(say(&zone, "sts-1.sts.db.svc.cluster.local.", A), ["A 10.1.1.2"]);
    no_data(&zone, "sts-1.sts.db.svc.cluster.local.", AAAA);
    no_name(&zone, "sts-2.sts.db.svc.cluster.local.");
    no_name(&zone, "sts-3.sts.db.svc.cluster.local.");
}

#[test]
fn endpoints_without_hostname_are_named_by_their_address() {
    let zone = zone();
    assert_eq!(say(&zone, "10-1-2-3.plain.db.svc.cluster.local.", A), ["A 10.1.2.3"]);
    // The label must not end in a dash: CoreDNS adds a 0.
    assert_eq!(say(&zone, "fd00-1--0.plain.db.svc.cluster.local.", AAAA), ["AAAA fd00:1::"]);
    no_name(&zone, "10-1-2-4.plain.db.svc.cluster.local.");
}

#[test]
fn headless_srv_names_each_endpoint_with_its_own_port() {
    let zone = zone();
    let name = "_pg._tcp.sts.db.svc.cluster.local.";
    let expected = [
        "SRV 0 50 15432 sts-0.sts.db.svc.cluster.local.",
        "SRV 0 50 15432 sts-1.sts.db.svc.cluster.local.",
    ];
    assert_eq!(say(&zone, name, SRV), expected);
    let additionals = words(&ask(&zone, name, SRV).additionals);
    assert_eq!(additionals, ["A 10.1.1.1", "A 10.1.1.2", "AAAA fd00:1::1"]);
    assert_eq!(say(&zone, "sts.db.svc.cluster.local.", SRV), expected);
    let one = ["SRV 0 100 15432 sts-1.sts.db.svc.cluster.local."];
    assert_eq!(say(&zone, "sts-1.sts.db.svc.cluster.local.", SRV), one);
    let plain = say(&zone, "_pg._tcp.plain.db.svc.cluster.local.", SRV);
    assert!(plain.contains(&"SRV 0 33 5432 10-1-2-3.plain.db.svc.cluster.local.".into()));
}

#[test]
fn endpoints_without_ports_have_addresses_and_no_srv_records() {
    no_data(&zone(), "portless.db.svc.cluster.local.", SRV);
    assert_eq!(say(&zone(), "10-1-3-1.portless.db.svc.cluster.local.", A), ["A 10.1.3.1"]);
}

#[test]
fn headless_without_ready_endpoints_is_no_name() {
    for name in ["unready.db", "first.unready.db", "_pg._tcp.unready.db"] {
        no_name(&zone(), &format!("{name}.svc.cluster.local."));
    }
}

#[test]
fn endpoints_of_a_cluster_ip_service_have_names_too() {
    let zone = zone();
    assert_eq!(say(&zone, "second.my-service.default.svc.cluster.local.", A), ["A 10.1.0.2"]);
    assert_eq!(say(&zone, "10-1-0-1.my-service.default.svc.cluster.local.", A), ["A 10.1.0.1"]);
    let srv = say(&zone, "second.my-service.default.svc.cluster.local.", SRV);
    assert_eq!(srv, ["SRV 0 100 8080 second.my-service.default.svc.cluster.local."]);
}

#[test]
fn pointers_lead_to_cluster_ips_first_and_then_to_endpoints() {
    let zone = zone();
    let pointers = |name: &str| say(&zone, name, PTR);
    assert_eq!(pointers("80.0.96.10.in-addr.arpa."), ["PTR my-service.default.svc.cluster.local."]);
    // Also an endpoint of db/plain, where it has no name of its own.
    assert_eq!(pointers("1.1.1.10.in-addr.arpa."), ["PTR sts-0.sts.db.svc.cluster.local."]);
    assert_eq!(pointers("3.2.1.10.in-addr.arpa."), ["PTR 10-1-2-3.plain.db.svc.cluster.local."]);
    assert_eq!(
        pointers("2.0.1.10.in-addr.arpa."),
        ["PTR second.my-service.default.svc.cluster.local."]
    );
    let mut name = Name::from("fd00:96::81".parse::<std::net::IpAddr>().unwrap());
    name.set_fqdn(true);
    assert_eq!(pointers(&name.to_string()), ["PTR dual.default.svc.cluster.local."]);
}

#[test]
fn unknown_addresses_are_upstreams() {
    let zone = zone();
    for name in [
        "1.1.168.192.in-addr.arpa.",
        "3.1.1.10.in-addr.arpa.",
        "1.0.1.10.in-addr.arpa.",
        "1.4.1.10.in-addr.arpa.",
        "10.in-addr.arpa.",
    ] {
        let Reply::ReverseElsewhere(answer) = reply(&zone, name, PTR) else { panic!("{name}") };
        assert_eq!(answer.code, ResponseCode::NXDomain, "without upstream there is no such name");
    }
    let Reply::Here(answer) = reply(&zone, "80.0.96.10.in-addr.arpa.", A) else { panic!() };
    assert_eq!((answer.code, answer.answers.len()), (ResponseCode::NoError, 0));
    assert_eq!(answer.authorities[0].name.to_string(), "in-addr.arpa.");
}

#[test]
fn external_names_are_aliases() {
    let zone = zone();
    for record_type in [A, AAAA] {
        let answer = ask(&zone, "alias.default.svc.cluster.local.", record_type);
        assert_eq!(data(&answer), ["CNAME example.com."]);
        assert_eq!(answer.follow.unwrap().to_string(), "example.com.");
    }
    let answer = ask(&zone, "alias.default.svc.cluster.local.", CNAME);
    assert_eq!((data(&answer), answer.follow), (vec!["CNAME example.com.".into()], None));
    no_data(&zone, "alias.default.svc.cluster.local.", SRV);
    no_data(&zone, "alias.default.svc.cluster.local.", TXT);
    no_name(&zone, "host.alias.default.svc.cluster.local.");
    no_name(&zone, "number.default.svc.cluster.local.");
}

#[test]
fn aliases_within_the_cluster_are_followed() {
    let zone = zone();
    let near = ask(&zone, "near.default.svc.cluster.local.", A);
    assert_eq!(data(&near), ["A 10.96.0.80", "CNAME my-service.default.svc.cluster.local."]);
    assert_eq!(near.answers[0].record_type(), CNAME, "the alias comes first");
    assert_eq!(near.answers[1].name.to_string(), "my-service.default.svc.cluster.local.");
    let far = ask(&zone, "far.default.svc.cluster.local.", A);
    assert_eq!(far.answers.len(), 3);
    // The target has no address of this family: its SOA record says for how long.
    let six = ask(&zone, "near.default.svc.cluster.local.", AAAA);
    assert_eq!((six.code, six.answers.len()), (ResponseCode::NoError, 1));
    assert_eq!(six.authorities.len(), 1);
    let dangling = ask(&zone, "dangling.default.svc.cluster.local.", A);
    assert_eq!((dangling.code, dangling.answers.len()), (ResponseCode::NXDomain, 1));
    let circle = ask(&zone, "loop-a.default.svc.cluster.local.", A);
    assert_eq!(circle.code, ResponseCode::ServFail);
}

#[test]
fn names_between_exist_without_records() {
    for name in [
        "svc.cluster.local.",
        "pod.cluster.local.",
        "default.svc.cluster.local.",
        "db.svc.cluster.local.",
        "default.pod.cluster.local.",
        "dns.cluster.local.",
    ] {
        for record_type in [A, AAAA, TXT, SRV, NS] {
            no_data(&zone(), name, record_type);
        }
    }
    for record_type in [A, AAAA, TXT, MX] {
        no_data(&zone(), "cluster.local.", record_type);
    }
}

#[test]
fn what_is_not_there_is_no_name() {
    for name in [
        "nothing.default.svc.cluster.local.",
        "my-service.nowhere.svc.cluster.local.",
        "nowhere.svc.cluster.local.",
        "nowhere.pod.cluster.local.",
        "host.my-service.default.svc.cluster.local.",
        "a.b.c.my-service.default.svc.cluster.local.",
        "x.a.b.c.my-service.default.svc.cluster.local.",
        "node.cluster.local.",
        "my-service.default.node.cluster.local.",
        "x.dns-version.cluster.local.",
        "x.ns.dns.cluster.local.",
        "*.default.svc.cluster.local.",
        "any.default.svc.cluster.local.",
        "my\\.service.default.svc.cluster.local.",
        "my-service\\.default.svc.cluster.local.",
    ] {
        no_name(&zone(), name);
    }
}

#[test]
fn the_apex_has_its_authority_and_name_server() {
    let zone = zone();
    let soa = say(&zone, "cluster.local.", SOA);
    assert!(soa[0].starts_with("SOA ns.dns.cluster.local. hostmaster.cluster.local."), "{soa:?}");
    assert_eq!(say(&zone, "cluster.local.", NS), ["NS ns.dns.cluster.local."]);
    let additionals = words(&ask(&zone, "cluster.local.", NS).additionals);
    assert_eq!(additionals, ["A 169.254.20.10"]);
    assert_eq!(say(&zone, "ns.dns.cluster.local.", A), ["A 169.254.20.10"]);
    no_data(&zone, "ns.dns.cluster.local.", AAAA);
}

#[test]
fn pods_are_named_by_their_address() {
    let zone = zone();
    assert_eq!(say(&zone, "10-1-2-3.default.pod.cluster.local.", A), ["A 10.1.2.3"]);
    assert_eq!(say(&zone, "fd00-1--5.default.pod.cluster.local.", AAAA), ["AAAA fd00:1::5"]);
    no_data(&zone, "10-1-2-3.default.pod.cluster.local.", AAAA);
    for name in ["10-1-2-3.nowhere", "10-1-2.default", "10-1-2-300.default", "x.10-1-2-3.default"] {
        no_name(&zone, &format!("{name}.pod.cluster.local."));
    }
    let without = Zone::new(config().pod_records(PodRecords::Disabled), &example());
    no_name(&without, "10-1-2-3.default.pod.cluster.local.");
}

#[test]
fn names_are_compared_without_case_and_keep_their_spelling() {
    let name = "My-SERVICE.Default.SVC.Cluster.LOCAL.";
    assert_eq!(say(&zone(), name, A), ["A 10.96.0.80"]);
    let upper = "_HTTP._TCP.MY-SERVICE.DEFAULT.SVC.CLUSTER.LOCAL.";
    assert_eq!(say(&zone(), upper, SRV).len(), 1);
    assert_eq!(say(&zone(), "1.0.96.10.IN-ADDR.ARPA.", PTR).len(), 1);
}

#[test]
fn other_names_are_upstreams() {
    for name in ["example.com.", "local.", ".", "notcluster.local.", "cluster.local.example.com."] {
        assert_eq!(reply(&zone(), name, A), Reply::Elsewhere, "{name}");
    }
}

#[test]
fn before_the_first_snapshot_nothing_is_denied() {
    let zone = Zone::unsynced(config());
    for name in
        ["my-service.default.svc.cluster.local.", "cluster.local.", "1.0.96.10.in-addr.arpa."]
    {
        let answer = ask(&zone, name, A);
        assert_eq!(answer.code, ResponseCode::ServFail, "{name}");
        assert!(answer.authorities.is_empty() && answer.answers.is_empty());
    }
    assert_eq!(reply(&zone, "example.com.", A), Reply::Elsewhere);
}

#[test]
fn addresses_rotate() {
    let zone = zone();
    let name = Name::from_ascii("sts.db.svc.cluster.local.").unwrap();
    let first = |rotation| match dns::answer(&zone, &name, A, rotation) {
        Reply::Here(answer) => answer.answers[0].data.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!([first(0), first(1), first(2)], ["10.1.1.1", "10.1.1.2", "10.1.1.1"]);
}

#[test]
fn the_cluster_domain_may_be_any_name() {
    let mut cluster = example();
    cluster.apply(model::Change::Service(service("default/web", &["10.96.0.9"])));
    cluster.apply(model::Change::Service(external("default/out", "web.default.svc.cluster.local")));
    let config = ZoneConfig::new("K8s.Example.ORG").unwrap().ttl(30).unwrap();
    let zone = Zone::new(config, &cluster);
    let answer = ask(&zone, "web.default.svc.k8s.example.org.", A);
    assert_eq!((data(&answer), answer.answers[0].ttl), (vec!["A 10.96.0.9".into()], 30));
    assert_eq!(reply(&zone, "web.default.svc.cluster.local.", A), Reply::Elsewhere);
    let out = ask(&zone, "out.default.svc.k8s.example.org.", A);
    assert_eq!(out.follow.unwrap().to_string(), "web.default.svc.cluster.local.");
    for bad in ["", ".", "a..b", &"a.".repeat(120)] {
        assert!(ZoneConfig::new(bad).unwrap_err().to_string().contains("clusterDomain"), "{bad}");
    }
    assert!(ZoneConfig::new("cluster.local").unwrap().ttl(3601).is_err());
}
