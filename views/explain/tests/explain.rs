//! Reason codes that no packet of the cases meets, and what stands beside them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

mod fixture;

use explain::{Code, Explanation, Mode, Question, explain};
use fixture::{World, config, everywhere, ip, service, slice};
use model::{Change, IngressMode, LoadBalancerIngress, NamespacedName, Service, ServiceType};

/// The world of the tests: Services of every odd kind, on node `here`.
fn world() -> World {
    let headless =
        Service { headless: true, cluster_ips: Vec::new(), ..service("headless", "172.30.0.90") };
    let alias = Service {
        service_type: ServiceType::ExternalName,
        external_name: Some("db.example".into()),
        ..service("alias", "172.30.0.91")
    };
    let foreign = Service { proxy_name: Some("other".into()), ..service("foreign", "172.30.0.92") };
    let mut proxied = everywhere("proxied", "172.30.0.93", "5.6.7.8", 30093);
    proxied.ingress = vec![LoadBalancerIngress { ip: ip("5.6.7.8"), mode: IngressMode::Proxy }];
    let older = everywhere("older", "172.30.0.41", "1.2.3.4", 30041);
    let newer =
        Service { created: Some(9), ..everywhere("newer", "172.30.0.42", "1.2.3.4", 30042) };
    World::new(
        config(),
        [
            Change::Services(vec![
                headless,
                alias,
                foreign,
                proxied,
                older,
                newer,
                service("bad", "172.30.0.94"),
            ]),
            slice("headless", 8080, &["10.1.0.2 R", "10.1.0.3 N"]),
            slice("proxied", 8080, &["10.1.0.4 R"]),
            slice("older", 8080, &["10.1.0.5 R"]),
            slice("newer", 8080, &["10.1.0.6 R"]),
            slice("bad", 8080, &["169.254.169.254 R"]),
        ],
    )
}

fn ask(world: &World, text: &str) -> Explanation {
    let question: Question = text.parse().unwrap();
    let World { config, cluster, intent } = world;
    explain(cluster, config, intent, cluster.host(), Mode::Iptables, &question)
}

#[test]
fn odd_services_are_told_apart() {
    let world = world();
    for (question, code, exit, detail) in [
        ("tcp 10.0.0.2 -> headless.ns:8080", Code::Headless, 3, "10.1.0.2 is one of its Pods"),
        ("tcp 10.0.0.2 -> alias.ns:80", Code::ExternalName, 3, "db.example"),
        ("tcp 10.0.0.2 -> foreign.ns:80", Code::OtherProxy, 3, "other"),
        ("tcp 10.0.0.2 -> 172.30.0.92:80", Code::OtherProxy, 3, "other"),
        ("tcp 10.0.0.2 -> 5.6.7.8:80", Code::LoadBalancerProxyMode, 3, "ipMode: Proxy"),
        ("tcp 10.0.0.2 -> bad.ns:80", Code::EndpointsUnusable, 1, "no endpoint of Service ns/bad"),
        ("tcp 10.0.0.2 -> 8.8.8.8:53", Code::NotOurs, 3, "no Service known here"),
        ("tcp 10.0.0.2 -> node/here:9999", Code::NotOurs, 3, "is no NodePort"),
        ("tcp outside/203.0.113.2 -> 127.0.0.1:80", Code::LoopbackGuarded, 2, "no loopback"),
        ("tcp 10.0.0.2 -> [fd00:99::1]:80", Code::NoCommonFamily, 3, "no family in common"),
        ("tcp 10.0.0.2 -> older.ns:http", Code::WrongPort, 3, "no TCP port named"),
        ("tcp pod/ns/nobody -> older.ns:80", Code::NameNotFound, 3, "no Pod ns/nobody"),
        ("tcp node/there -> older.ns:80", Code::NameNotFound, 3, "no Node there"),
    ] {
        let told = ask(&world, question);
        assert_eq!(told.reason, code, "{question}: {told:#?}");
        assert_eq!(told.exit_code(), exit, "{question}: {told:#?}");
        assert!(told.detail.contains(detail), "{question}: {}", told.detail);
        let text = told.to_text(explain::Style::default());
        assert!(text.contains(&format!("[{code}]")), "{text}");
    }
}

#[test]
fn losers_of_an_address_are_named_and_the_keeper_answers() {
    let told = ask(&world(), "tcp outside/203.0.113.2 -> 1.2.3.4:80");
    assert_eq!(told.reason, Code::Delivered);
    let met = told.frontend.unwrap();
    assert_eq!(met.port.service, NamespacedName::new("ns", "older"));
    assert_eq!(met.field, "status.loadBalancer.ingress");
    let losers: Vec<String> = met.losers.iter().map(|port| port.service.to_string()).collect();
    assert_eq!(losers, ["ns/newer"]);
}

#[test]
fn colour_is_for_terminals_and_the_codes_are_all_documented() {
    let told = ask(&world(), "tcp 10.0.0.2 -> older.ns:tcp");
    assert_eq!(told.reason, Code::Delivered);
    let plain = told.to_text(explain::Style::default());
    let coloured = told.to_text(explain::Style { colour: true, verbose: false });
    assert!(!plain.contains('\u{1b}'));
    assert_eq!(coloured.replace("\u{1b}[1;32m", "").replace("\u{1b}[0m", ""), plain);
    for code in Code::ALL {
        assert!(!code.meaning().is_empty() && !code.consequence().is_empty(), "{code}");
        assert!(!code.remedy().is_empty(), "{code}");
    }
}
