//! What each chain holds, as text, beside kube-proxy's contract for it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fixture;

use fixture::{
    backends, chain, deliver, external_cluster, external_local, frontend, intent, internal, many,
    no_endpoints, node, refuse, server,
};
use model::{Family, Owner, Protocol};
use plan::{
    FrontendKind, Intent, LocalTraffic, NodeIntent, NodePortAccept, PerFamily, PoolName, Refusal,
    Refuse, Routes, VirtualServer,
};
use render::iptables::{Options, Ruleset, Table, diff, names, owner, probability, ruleset};

const V4: Family = Family::V4;

fn rules(servers: Vec<VirtualServer>) -> Ruleset {
    ruleset(&intent(node(), servers), &Options::default())
}

fn nat(ruleset: &Ruleset, name: &str) -> Vec<String> {
    chain(ruleset, V4, Table::Nat, name)
}

fn filter(ruleset: &Ruleset, name: &str) -> Vec<String> {
    chain(ruleset, V4, Table::Filter, name)
}

fn web(endpoints: &[&str]) -> VirtualServer {
    let mut web = server("ns1/svc1:p80", V4);
    let routes = if endpoints.is_empty() { no_endpoints() } else { internal(PoolName::Cluster) };
    web.cluster = backends(endpoints);
    web.frontends = vec![frontend(FrontendKind::ClusterIP, "10.88.0.41", 80, routes)];
    web
}

/// A load balancer's Service with every kind of frontend, and one source range.
fn everything(endpoints: u32) -> VirtualServer {
    let mut all = server("ns5/svc5:p80", V4);
    let (inner, outer) = if endpoints == 0 {
        (no_endpoints(), no_endpoints())
    } else {
        (internal(PoolName::Cluster), external_cluster())
    };
    all.cluster = many(endpoints);
    all.frontends = vec![
        frontend(FrontendKind::ClusterIP, "10.88.0.45", 80, inner),
        frontend(FrontendKind::ExternalIP, "192.168.99.11", 80, outer),
        frontend(FrontendKind::LoadBalancerIP, "1.2.3.4", 80, outer),
        frontend(FrontendKind::NodePort, "", 3002, outer),
    ];
    all.frontends[2].sources = Some(vec!["203.0.113.0/25".parse().unwrap()].into());
    all
}

/// An external Service with `externalTrafficPolicy: Local`.
fn local(here: bool) -> VirtualServer {
    let mut local = server("ns2/svc2:p80", V4);
    local.cluster = backends(&["10.77.2.1:80"]);
    local.local = if here { backends(&["10.77.1.1:80"]) } else { backends(&[]) };
    let routes = external_local(here);
    local.frontends = vec![
        frontend(FrontendKind::ClusterIP, "10.88.0.42", 80, internal(PoolName::Cluster)),
        frontend(FrontendKind::LoadBalancerIP, "1.2.3.4", 80, routes),
        frontend(FrontendKind::NodePort, "", 3001, routes),
    ];
    local.health_check_node_port = Some(30000);
    local
}

#[test]
fn cluster_ip() {
    let rules = rules(vec![web(&["10.77.1.10:80", "10.77.1.2:80", "10.77.1.3:80"])]);
    assert_eq!(
        nat(&rules, "KUBE-SERVICES")[0],
        "-d 10.88.0.41/32 -p tcp -m comment --comment \"ns1/svc1:p80 cluster IP\" \
         -m tcp --dport 80 -j KUBE-SVC-XPGD46QRK7WJZT7O"
    );
    let svc = nat(&rules, "KUBE-SVC-XPGD46QRK7WJZT7O");
    assert_eq!(
        svc[0],
        "! -s 10.77.0.0/16 -d 10.88.0.41/32 -p tcp -m comment --comment \"ns1/svc1:p80 cluster \
         IP\" -m tcp --dport 80 -j KUBE-MARK-MASQ"
    );
    let endpoint = |text: &str| names::sep(&web(&[]).name, text.parse().unwrap());
    assert_eq!(
        svc[1],
        format!(
            "-m comment --comment \"ns1/svc1:p80 -> 10.77.1.10:80\" -m statistic --mode random \
             --probability 0.33333333349 -j {}",
            endpoint("10.77.1.10:80")
        )
    );
    assert!(svc[2].contains("--probability 0.50000000000"), "{svc:#?}");
    assert_eq!(
        svc[3],
        format!(
            "-m comment --comment \"ns1/svc1:p80 -> 10.77.1.3:80\" -j {}",
            endpoint("10.77.1.3:80")
        )
    );
    assert_eq!(
        nat(&rules, &endpoint("10.77.1.3:80")),
        [
            "-s 10.77.1.3/32 -m comment --comment \"ns1/svc1:p80\" -j KUBE-MARK-MASQ",
            "-p tcp -m comment --comment \"ns1/svc1:p80\" -m tcp -j DNAT --to-destination \
             10.77.1.3:80",
        ]
    );
    let text = rules.to_text(V4);
    assert!(!text.contains("KUBE-EXT-") && !text.contains("KUBE-SVL-"), "{text}");
}

#[test]
fn cluster_ip_with_internal_policy_local_uses_the_local_chain_alone() {
    let mut web = web(&["10.77.2.1:80"]);
    web.local = backends(&["10.77.1.1:80"]);
    web.frontends[0].routes = internal(PoolName::Local);
    let rules = rules(vec![web]);
    assert!(nat(&rules, "KUBE-SERVICES")[0].ends_with("-j KUBE-SVL-XPGD46QRK7WJZT7O"));
    let svl = nat(&rules, "KUBE-SVL-XPGD46QRK7WJZT7O");
    assert_eq!(svl.len(), 2);
    assert!(svl[0].ends_with("-j KUBE-MARK-MASQ"), "{svl:#?}");
    let text = rules.to_text(V4);
    assert!(!text.contains("KUBE-SVC-"), "a chain that nothing leads to: {text}");
    assert!(!text.contains("10.77.2.1"), "an endpoint that nothing leads to: {text}");
}

#[test]
fn cluster_ip_masquerade() {
    let masquerade = |local: LocalTraffic, pod: bool, outside: bool| {
        let mut node = node();
        node.local_traffic.ipv4 = local;
        let mut web = web(&["10.77.1.1:80"]);
        let outside = deliver(PoolName::Cluster, outside);
        let pod = deliver(PoolName::Cluster, pod);
        web.frontends[0].routes = Routes { pod, node: outside, outside };
        let rules = ruleset(&intent(node, vec![web]), &Options::default());
        let svc = nat(&rules, "KUBE-SVC-XPGD46QRK7WJZT7O");
        let rule = svc.iter().find(|rule| rule.ends_with("KUBE-MARK-MASQ"))?;
        Some(rule.split(" -d 10.88.0.41/32").next().unwrap().to_owned())
    };
    let pods = || LocalTraffic::Source("10.77.0.0/16".parse().unwrap());
    assert_eq!(masquerade(pods(), false, true).unwrap(), "! -s 10.77.0.0/16");
    assert!(masquerade(pods(), true, true).unwrap().starts_with("-d 10.88.0.41/32"));
    assert_eq!(masquerade(pods(), false, false), None);
    assert_eq!(masquerade(LocalTraffic::Unknown, false, false), None);
    assert!(masquerade(LocalTraffic::Unknown, true, true).unwrap().starts_with("-d "));
    let everybody = LocalTraffic::Source("0.0.0.0/0".parse().unwrap());
    assert_eq!(masquerade(everybody, false, true), None);
    let interface = |local| {
        let mut node = node();
        node.local_traffic.ipv4 = local;
        let rules = ruleset(&intent(node, vec![web(&["10.77.1.1:80"])]), &Options::default());
        nat(&rules, "KUBE-SVC-XPGD46QRK7WJZT7O").remove(0)
    };
    let bridge = interface(LocalTraffic::Interface("cbr0".into()));
    assert!(bridge.starts_with("-d 10.88.0.41/32 ! -i cbr0 -p tcp "), "{bridge}");
    let prefix = interface(LocalTraffic::InterfacePrefix("cali".into()));
    assert!(prefix.starts_with("-d 10.88.0.41/32 ! -i cali+ -p tcp "), "{prefix}");
}

#[test]
fn session_affinity() {
    let mut web = web(&["10.77.1.1:53", "10.77.1.2:53"]);
    web.name.protocol = Protocol::Udp;
    web.affinity_seconds = Some(10800);
    let rules = rules(vec![web.clone()]);
    let lists: Vec<_> =
        web.cluster.iter().map(|backend| names::sep(&web.name, backend.address)).collect();
    let svc = nat(&rules, &names::svc(&web.name));
    assert_eq!(svc.len(), 1 + 2 + 2);
    for (rule, list) in svc[1..3].iter().zip(&lists) {
        let tail = format!(
            "-m recent --rcheck --seconds 10800 --reap --name {list} --mask 255.255.255.255 \
             --rsource -j {list}"
        );
        assert!(rule.ends_with(&tail), "{rule}");
    }
    assert_eq!(
        nat(&rules, &lists[1])[1],
        format!(
            "-p udp -m comment --comment \"ns1/svc1:p80\" -m recent --set --name {} --mask \
             255.255.255.255 --rsource -m udp -j DNAT --to-destination 10.77.1.2:53",
            lists[1]
        )
    );
}

#[test]
fn external_traffic_policy_cluster_with_source_ranges() {
    let rules = rules(vec![everything(1)]);
    let hash = "NUKIZ6OKUXPJNT4C";
    let services = nat(&rules, "KUBE-SERVICES");
    let to = |rule: &str| rule.rsplit(' ').next().unwrap().to_owned();
    assert_eq!(to(&services[0]), format!("KUBE-SVC-{hash}"));
    assert!(services[1].contains("ns5/svc5:p80 external IP"));
    assert_eq!(to(&services[1]), format!("KUBE-EXT-{hash}"));
    assert!(services[2].contains("ns5/svc5:p80 loadbalancer IP"));
    assert_eq!(to(&services[2]), format!("KUBE-FW-{hash}"));
    assert_eq!(
        nat(&rules, "KUBE-NODEPORTS"),
        [format!(
            "-p tcp -m comment --comment \"ns5/svc5:p80\" -m tcp --dport 3002 -j KUBE-EXT-{hash}"
        )]
    );
    assert_eq!(
        nat(&rules, &format!("KUBE-EXT-{hash}")),
        [
            "-m comment --comment \"masquerade traffic for ns5/svc5:p80 external destinations\" \
             -j KUBE-MARK-MASQ"
                .to_owned(),
            format!("-j KUBE-SVC-{hash}"),
        ]
    );
    assert_eq!(
        nat(&rules, &format!("KUBE-FW-{hash}")),
        [
            format!(
                "-s 203.0.113.0/25 -m comment --comment \"ns5/svc5:p80 loadbalancer IP\" \
                 -j KUBE-EXT-{hash}"
            ),
            "-m comment --comment \"other traffic to ns5/svc5:p80 will be dropped by \
             KUBE-PROXY-FIREWALL\""
                .to_owned(),
        ]
    );
    assert_eq!(
        filter(&rules, "KUBE-PROXY-FIREWALL"),
        [format!(
            "-d 1.2.3.4/32 -p tcp -m comment --comment \"ns5/svc5:p80 traffic not accepted by \
             KUBE-FW-{hash}\" -m tcp --dport 80 -j DROP"
        )]
    );
    assert_eq!(filter(&rules, "KUBE-EXTERNAL-SERVICES"), [""; 0]);
}

#[test]
fn external_traffic_policy_local() {
    let hash = "GNZBNJ2PO5MGZ6GT";
    let short_circuit = [
        format!(
            "-s 10.77.0.0/16 -m comment --comment \"pod traffic for ns2/svc2:p80 external \
             destinations\" -j KUBE-SVC-{hash}"
        ),
        "-m comment --comment \"masquerade LOCAL traffic for ns2/svc2:p80 external destinations\" \
         -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ"
            .to_owned(),
        format!(
            "-m comment --comment \"route LOCAL traffic for ns2/svc2:p80 external destinations\" \
             -m addrtype --src-type LOCAL -j KUBE-SVC-{hash}"
        ),
    ];
    let here = rules(vec![local(true)]);
    let mut expected = short_circuit.to_vec();
    expected.push(format!("-j KUBE-SVL-{hash}"));
    assert_eq!(nat(&here, &format!("KUBE-EXT-{hash}")), expected);
    assert_eq!(filter(&here, "KUBE-EXTERNAL-SERVICES"), [""; 0]);

    let elsewhere = rules(vec![local(false)]);
    assert_eq!(nat(&elsewhere, &format!("KUBE-EXT-{hash}")), short_circuit);
    assert_eq!(
        filter(&elsewhere, "KUBE-EXTERNAL-SERVICES"),
        [
            "-d 1.2.3.4/32 -p tcp -m comment --comment \"ns2/svc2:p80 has no local endpoints\" \
             -m tcp --dport 80 -j DROP",
            "-p tcp -m comment --comment \"ns2/svc2:p80 has no local endpoints\" -m addrtype \
             --dst-type LOCAL -m tcp --dport 3001 -j DROP",
        ]
    );

    let mut blind = node();
    blind.local_traffic.ipv4 = LocalTraffic::Unknown;
    let blind = ruleset(&intent(blind, vec![local(true)]), &Options::default());
    assert_eq!(nat(&blind, &format!("KUBE-EXT-{hash}")), expected[1..]);
}

#[test]
fn no_endpoints_refuse_everywhere() {
    let rules = rules(vec![everything(0)]);
    assert_eq!(
        filter(&rules, "KUBE-SERVICES"),
        ["-d 10.88.0.45/32 -p tcp -m comment --comment \"ns5/svc5:p80 has no endpoints\" -m tcp \
          --dport 80 -j REJECT --reject-with icmp-port-unreachable"]
    );
    let external = filter(&rules, "KUBE-EXTERNAL-SERVICES");
    assert_eq!(external.len(), 3);
    assert!(external.iter().all(|rule| rule.contains("has no endpoints")
        && rule.ends_with("-j REJECT --reject-with icmp-port-unreachable")));
    assert_eq!(filter(&rules, "KUBE-PROXY-FIREWALL"), [""; 0]);
    assert!(rules.chains().keys().all(|chain| !names::is_dynamic(&chain.name)));
}

#[test]
fn internal_policy_local_without_endpoints_drops_or_rejects() {
    for (with, words) in [
        (Refuse::Drop, "-j DROP"),
        (Refuse::Reject, "-j REJECT --reject-with icmp-port-unreachable"),
    ] {
        let mut web = web(&["10.77.2.1:80"]);
        web.frontends[0].routes = Routes::all(refuse(Refusal::NoLocalEndpoints, with));
        let rules = rules(vec![web]);
        assert_eq!(
            filter(&rules, "KUBE-SERVICES"),
            [format!(
                "-d 10.88.0.41/32 -p tcp -m comment --comment \"ns1/svc1:p80 has no local \
                 endpoints\" -m tcp --dport 80 {words}"
            )]
        );
        assert!(!rules.to_text(V4).contains("KUBE-SVC-"));
    }
}

#[test]
fn node_ports() {
    let tail = |v4, v6| {
        let node = NodeIntent { node_ports: PerFamily { ipv4: v4, ipv6: v6 }, ..node() };
        let rules = ruleset(&intent(node, vec![]), &Options::default());
        Family::ALL.map(|family| chain(&rules, family, Table::Nat, "KUBE-SERVICES"))
    };
    let comment = "-m comment --comment \"kubernetes service nodeports; NOTE: this must be the \
                   last rule in this chain\"";
    let any = |loopback| NodePortAccept::AnyLocal { loopback };
    let local = "-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS";
    let [v4, v6] = tail(any(true), any(false));
    assert_eq!(v4, [format!("{comment} {local}")]);
    assert_eq!(v6, [format!("! -d ::1/128 {comment} {local}")]);
    let [v4, _] = tail(any(false), any(false));
    assert_eq!(v4, [format!("! -d 127.0.0.0/8 {comment} {local}")]);
    let listed = NodePortAccept::Addresses(
        ["10.9.0.1", "192.0.2.9"].iter().map(|ip| ip.parse().unwrap()).collect(),
    );
    let [v4, v6] = tail(listed, NodePortAccept::Addresses([].into()));
    let one = |ip| format!("-d {ip}/32 {comment} -j KUBE-NODEPORTS");
    assert_eq!(v4, [one("10.9.0.1"), one("192.0.2.9")]);
    assert_eq!(v6, [""; 0]);
}

#[test]
fn node_ports_on_localhost_are_counted_where_a_counter_is() {
    let options = Options { nfacct: true, ..Options::default() };
    let counted = ruleset(&intent(node(), vec![everything(1)]), &options);
    assert_eq!(
        nat(&counted, "KUBE-NODEPORTS"),
        [
            "-d 127.0.0.0/8 -p tcp -m comment --comment \"ns5/svc5:p80\" -m tcp --dport 3002 -m \
             nfacct --nfacct-name  localhost_nps_accepted_pkts -j KUBE-EXT-NUKIZ6OKUXPJNT4C",
            "-p tcp -m comment --comment \"ns5/svc5:p80\" -m tcp --dport 3002 -j \
             KUBE-EXT-NUKIZ6OKUXPJNT4C",
        ]
    );
    let mut away = node();
    away.localhost_node_ports = false;
    let uncounted = ruleset(&intent(away, vec![everything(1)]), &options);
    assert_eq!(nat(&uncounted, "KUBE-NODEPORTS").len(), 1);
}

/// A fresh host ends with the jumps in this order, since each was put first in its turn.
#[test]
fn jumps_from_built_in_chains() {
    let text = rules(vec![]).to_text(V4);
    let built_in: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("-A ") && !line.starts_with("-A KUBE-"))
        .collect();
    let new = "-m conntrack --ctstate NEW -m comment --comment";
    let external = "\"kubernetes externally-visible service portals\" -j KUBE-EXTERNAL-SERVICES";
    let balancer = "\"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL";
    let portals = "\"kubernetes service portals\" -j KUBE-SERVICES";
    let forwarding = "\"kubernetes forwarding rules\" -j KUBE-FORWARD";
    let health = "\"kubernetes health check service ports\" -j KUBE-NODEPORTS";
    let postrouting = "\"kubernetes postrouting rules\" -j KUBE-POSTROUTING";
    assert_eq!(
        built_in,
        [
            "-A INPUT -j KUBE-FIREWALL".to_owned(),
            format!("-A INPUT {new} {balancer}"),
            format!("-A INPUT -m comment --comment {health}"),
            format!("-A INPUT {new} {external}"),
            format!("-A FORWARD {new} {balancer}"),
            format!("-A FORWARD -m comment --comment {forwarding}"),
            format!("-A FORWARD {new} {portals}"),
            format!("-A FORWARD {new} {external}"),
            "-A OUTPUT -j KUBE-FIREWALL".to_owned(),
            format!("-A OUTPUT {new} {balancer}"),
            format!("-A OUTPUT {new} {portals}"),
            format!("-A PREROUTING -m comment --comment {portals}"),
            format!("-A OUTPUT -m comment --comment {portals}"),
            format!("-A POSTROUTING -m comment --comment {postrouting}"),
        ]
    );
    let jumps = &rules(vec![]).parts[&Owner::Node].jumps;
    assert_eq!(jumps.iter().filter(|jump| jump.chain.family == V4).count(), 14);
}

#[test]
fn kubelet_firewall_is_only_filled_where_loopback_answers() {
    let on = rules(vec![]);
    assert_eq!(
        filter(&on, "KUBE-FIREWALL"),
        ["! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment \"block incoming localnet \
          connections\" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP"]
    );
    assert!(!on.to_text(Family::V6).contains("KUBE-FIREWALL"));
    let off = NodeIntent { localhost_node_ports: false, ..node() };
    let off = ruleset(&intent(off, vec![]), &Options::default());
    assert!(!off.to_text(V4).contains("KUBE-FIREWALL"));
    let change = diff(&Owner::Node, on.parts.get(&Owner::Node), off.parts.get(&Owner::Node));
    assert!(change.delete.is_empty(), "kubelet may rely on it: {change:?}");
}

#[test]
fn masquerade_rule() {
    let postrouting =
        |options| nat(&ruleset(&intent(node(), vec![]), &options), "KUBE-POSTROUTING");
    let comment = "-m comment --comment \"kubernetes service traffic requiring SNAT\"";
    assert_eq!(
        postrouting(Options::default()),
        [
            "-m mark ! --mark 0x4000/0x4000 -j RETURN".to_owned(),
            "-j MARK --set-xmark 0x4000/0x0".to_owned(),
            format!("{comment} -j MASQUERADE --random-fully"),
        ]
    );
    let plain = Options { random_fully: false, masquerade_bit: 3, ..Options::default() };
    let rules = postrouting(plain);
    assert_eq!(rules[0], "-m mark ! --mark 0x8/0x8 -j RETURN");
    assert_eq!(rules[2], format!("{comment} -j MASQUERADE"));
}

#[test]
fn drop_invalid_rule() {
    let forward = |drop_invalid, nfacct| {
        let node = NodeIntent { drop_invalid, ..node() };
        let options = Options { nfacct, ..Options::default() };
        filter(&ruleset(&intent(node, vec![]), &options), "KUBE-FORWARD")
    };
    let rest = [
        "-m comment --comment \"kubernetes forwarding rules\" -m mark --mark 0x4000/0x4000 \
         -j ACCEPT",
        "-m comment --comment \"kubernetes forwarding conntrack rule\" -m conntrack --ctstate \
         RELATED,ESTABLISHED -j ACCEPT",
    ];
    for nfacct in [false, true] {
        assert_eq!(forward(false, nfacct), rest);
        assert_eq!(forward(true, nfacct)[1..], rest);
    }
    assert_eq!(forward(true, false)[0], "-m conntrack --ctstate INVALID -j DROP");
    assert_eq!(
        forward(true, true)[0],
        "-m conntrack --ctstate INVALID -m nfacct --nfacct-name  ct_state_invalid_dropped_pkts \
         -j DROP"
    );
}

#[test]
fn health_check_node_port() {
    let rule = "-p tcp -m comment --comment \"ns2/svc2:p80 health check node port\" -m tcp --dport \
                30000 -j ACCEPT";
    assert_eq!(filter(&rules(vec![local(true)]), "KUBE-NODEPORTS"), [rule]);
    assert_eq!(filter(&rules(vec![local(false)]), "KUBE-NODEPORTS"), [rule]);
    let mut second = local(true);
    second.name.port = "p81".into();
    second.name.protocol = Protocol::Udp;
    let twice = filter(&rules(vec![local(true), second]), "KUBE-NODEPORTS");
    assert_eq!(twice, [rule.to_owned(), rule.replace("p80", "p81")]);
    assert_eq!(filter(&rules(vec![everything(1)]), "KUBE-NODEPORTS"), [""; 0]);
}

#[test]
fn shared_rules_stand_by_owner_then_server_and_node_ports_last() {
    let named = |name: &str, ip: &str| {
        let mut server = web(&["10.77.1.1:80"]);
        server.name = fixture::server(name, V4).name;
        server.frontends[0].address = Some(ip.parse().unwrap());
        server
    };
    let rules = rules(vec![
        named("b/a:x", "10.88.0.3"),
        named("a/z:second", "10.88.0.2"),
        named("a/z:first", "10.88.0.1"),
    ]);
    let services = nat(&rules, "KUBE-SERVICES");
    let found: Vec<_> = services.iter().map(|rule| rule.split(' ').nth(1).unwrap()).collect();
    assert_eq!(found[..3], ["10.88.0.2/32", "10.88.0.1/32", "10.88.0.3/32"]);
    assert!(services[3].ends_with("-j KUBE-NODEPORTS"));
    assert_eq!(services.len(), 4);
}

#[test]
fn number_of_iptables_rules() {
    let counted = Options { nfacct: true, ..Options::default() };
    let count = |servers: Vec<VirtualServer>, options: &Options| {
        let rules = ruleset(&intent(node(), servers), options);
        (rules.rule_count(V4, Table::Filter), rules.rule_count(V4, Table::Nat))
    };
    let plain = Options::default();
    assert_eq!(count(vec![], &plain), (4, 5));
    assert_eq!(count(vec![web(&[])], &plain), (4 + 1, 5));
    for n in [1, 2, 7] {
        let mut one = web(&["10.77.1.1:80"]);
        one.cluster = many(n);
        let n = n as usize;
        assert_eq!(count(vec![one], &plain), (4, 5 + 2 + 3 * n));
        assert_eq!(count(vec![everything(n as u32)], &counted), (4 + 1, 5 + 10 + 3 * n));
        // One less where localhost NodePorts are not counted.
        assert_eq!(count(vec![everything(n as u32)], &plain), (4 + 1, 5 + 9 + 3 * n));
    }
    assert_eq!(count(vec![everything(0)], &counted), (4 + 4, 5));
}

#[test]
fn compute_probability() {
    let mut last = u32::MAX;
    for left in 1..=100_000 {
        let now = probability(left);
        assert!((1..=last).contains(&now), "{left}: {now} after {last}");
        let exact = f64::from(1u32 << 31) / f64::from(left);
        assert!((f64::from(now) - exact).abs() <= 0.5, "{left}: {now}, exactly {exact}");
        last = now;
    }
}

/// kubernetes#37932: five digits made some endpoints of a few hundred unfairly busy.
#[test]
fn every_endpoint_gets_the_same_share() {
    for n in [1u32, 2, 3, 7, 320, 1001, 5000] {
        let mut server = web(&["10.77.1.1:80"]);
        server.cluster = many(n);
        let part = owner(&node(), &[server.clone()], &Options::default());
        let svc =
            &part.chains[&render::iptables::ChainId::new(V4, Table::Nat, names::svc(&server.name))];
        let mut left = 1.0_f64;
        let mut shares = Vec::new();
        for rule in &svc[1..] {
            let chance = rule.matches.iter().find_map(|one| match one {
                render::iptables::Match::Random(units) => Some(f64::from(*units) / 2f64.powi(31)),
                _ => None,
            });
            let chance = chance.unwrap_or(1.0);
            shares.push(left * chance);
            left *= 1.0 - chance;
        }
        assert_eq!(shares.len(), n as usize);
        assert!(left == 0.0, "some packets of {n} endpoints would go nowhere: {left}");
        // Half a unit of 2⁻³¹ is all that the kernel's resolution can be off by, per endpoint and
        // carried over from the endpoints before it.
        let bound = f64::from(n) / 2f64.powi(31);
        for (index, share) in shares.iter().enumerate() {
            let off = (share * f64::from(n) - 1.0).abs();
            assert!(off <= bound, "endpoint {index} of {n}: off by {off:e}, allowed {bound:e}");
        }
    }
}

/// Comments are kept at any size, and growing past kube-proxy's threshold of 1000 endpoints touches
/// nobody else's rules (docs/decisions/0004-comments-at-any-size.md).
#[test]
fn large_cluster_mode() {
    let options = Options::default();
    let of_size = |n: u32| -> Intent {
        let mut big = web(&["10.77.1.1:80"]);
        big.cluster = many(n);
        intent(node(), vec![big, everything(3)])
    };
    let (small, large) = (ruleset(&of_size(997), &options), ruleset(&of_size(998), &options));
    for (name, old) in &small.parts {
        let change = diff(name, Some(old), large.parts.get(name));
        let touched = change.write.len() + change.insert.len() + change.remove.len();
        // The grown service's chain, and its new endpoint's.
        let expected = if *name == fixture::owner_of(&web(&[])) { 2 } else { 0 };
        assert_eq!(touched, expected, "{name:?}");
        assert!(change.delete.is_empty());
    }
    let chains = large.chains();
    let mut endpoints = chains.iter().filter(|(chain, _)| chain.name.starts_with("KUBE-SEP-"));
    assert!(endpoints.all(|(_, rules)| {
        rules.iter().all(|rule| rule.to_string().contains("-m comment --comment"))
    }));
}
