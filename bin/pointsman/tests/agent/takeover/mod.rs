//! A node changes hands, from kube-proxy to us and back, under a stream of new connections.

mod fixture;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use lab::{Lab, OUTSIDE, Outcome, node_address, probe};
use model::{Family, Protocol};

use crate::stage::{Running, SERVICE, Stage};
use fixture::{KubeProxy, chains, feed, nftables, shell};

/// Shorter than the second after which a lost SYN is sent again, so that a loss is seen; long
/// enough for a machine that has other work.
const PATIENCE: Duration = Duration::from_millis(900);

/// `NODE:30081`, of the Service `sticky`.
fn node_port() -> SocketAddr {
    SocketAddr::new(node_address(1, Family::V4), 30081)
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ask(lab: &Lab, from: &str, to: SocketAddr) -> Outcome {
    probe(lab.at(from).unwrap(), None, Protocol::Tcp, to, PATIENCE).unwrap()
}

/// A Pod, the node itself and a host outside open one connection after the other while something
/// happens, and until a moment after it. None may be lost.
fn under_connections(stage: &Stage, happening: impl FnOnce()) {
    let clients =
        [("client", address(SERVICE)), ("alpha", address(SERVICE)), (OUTSIDE, node_port())];
    let (ended, asked) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let ask_on = |(from, to): (&'static str, SocketAddr)| {
            let (ended, asked) = (&ended, &asked);
            move || {
                let mut lost = Vec::new();
                while !ended.load(Ordering::Relaxed) {
                    asked.fetch_add(1, Ordering::Relaxed);
                    let outcome = ask(&stage.lab, from, to);
                    if outcome.server().is_none() {
                        lost.push(format!("{from} to {to}: {outcome}"));
                    }
                }
                lost
            }
        };
        let clients: Vec<_> = clients.map(ask_on).into_iter().map(|c| scope.spawn(c)).collect();
        let before = |count| asked.load(Ordering::Relaxed) < count;
        while before(30) && !clients.iter().any(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(5));
        }
        // If it fails, the clients must end all the same.
        let happened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(happening));
        std::thread::sleep(Duration::from_millis(200));
        ended.store(true, Ordering::Relaxed);
        let lost: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        if let Err(panic) = happened {
            std::panic::resume_unwind(panic);
        }
        assert!(lost.is_empty(), "{} of {asked:?} lost: {lost:#?}", lost.len());
    });
    assert!(asked.into_inner() > 100);
}

fn stage() -> Stage {
    let stage = Stage::new();
    stage.folder.write("services.yaml", fixture::MANIFESTS);
    shell(&stage, fixture::FOREIGN);
    stage
}

/// Both families, as `iptables-save` has them and as we would have them; chains of others apart.
fn saved(stage: &Stage, family: &str) -> String {
    stage.tool(if family == "ipv4" { "iptables-save" } else { "ip6tables-save" })
}

/// Whether the node holds our rules, those of others where they were, and nothing else.
fn assert_ours_alone(stage: &Stage) {
    for family in ["ipv4", "ipv6"] {
        let rendered =
            stage.pointsman("render").arg(format!("--family={family}")).output().unwrap();
        let mut expected = chains(&String::from_utf8(rendered.stdout).unwrap());
        let mut found = chains(&saved(stage, family));
        let place = |table: &str, chain: &str| (table.to_owned(), chain.to_owned());
        if family == "ipv4" {
            let mine = "INPUT -p tcp -m tcp --dport 22 -m comment --comment mine -j ACCEPT";
            expected.entry(place("filter", "INPUT")).or_default().push(mine.into());
            let plugin = "PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT";
            expected.entry(place("nat", "PREROUTING")).or_default().push(plugin.into());
            for chain in ["KUBE-KUBELET-CANARY", "KUBE-IPTABLES-HINT"] {
                assert_eq!(found.remove(&place("mangle", chain)), Some(Vec::new()), "{chain}");
            }
            assert_eq!(found.remove(&place("nat", "CNI-HOSTPORT-DNAT")), Some(Vec::new()));
        }
        let built_in = |(_, chain): &(String, String)| !chain.contains('-');
        found.retain(|id, rules| !built_in(id) || !rules.is_empty());
        expected.retain(|id, rules| !built_in(id) || !rules.is_empty());
        assert_eq!(found, expected, "{family}");
    }
    let tables = stage.tool("nft list tables");
    assert!(!tables.contains("kube-proxy"), "{tables}");
    assert!(tables.contains("inet other"), "{tables}");
}

/// Our agent starts beside what is there and makes the node its own.
fn take_over(stage: &Stage) -> Running {
    let agent = Running::start(stage.pointsman("run"));
    stage.until("what kube-proxy left is gone", |stage| {
        let all = stage.tool("nft -s list ruleset");
        all.contains("KUBE-SVC-")
            && !["KUBE-PROXY-CANARY", "GONE", "table ip kube-proxy", "table ip6 kube-proxy"]
                .iter()
                .any(|word| all.contains(word))
    });
    agent
}

#[test]
fn the_rules_of_kube_proxy_are_adopted() {
    for seed in [1, 2, 3] {
        let stage = stage();
        KubeProxy { seed, large: false }.write(&stage);
        let translations = |stage: &Stage| -> Vec<String> {
            let all = stage.tool("nft -a -s list table ip nat");
            all.lines().filter(|line| line.contains("10.77.1.5:8080")).map(str::to_owned).collect()
        };
        let before = translations(&stage);
        assert_eq!(before.iter().filter(|line| line.contains("dnat to")).count(), 2, "{before:?}");
        under_connections(&stage, || drop(take_over(&stage)));
        assert_ours_alone(&stage);
        // Not written again: a rule that was has another handle.
        assert_eq!(translations(&stage), before);
    }
}

#[test]
fn the_rules_of_kube_proxy_on_a_large_cluster_are_replaced() {
    let stage = stage();
    KubeProxy { seed: 4, large: true }.write(&stage);
    assert!(!saved(&stage, "ipv4").contains(" -> 10.77.1.5:8080"));
    under_connections(&stage, || drop(take_over(&stage)));
    assert_ours_alone(&stage);
}

#[test]
fn the_table_of_kube_proxy_in_nftables_mode_is_replaced() {
    let stage = stage();
    feed(&stage, "nft -f -", &nftables(node_address(1, Family::V4)));
    under_connections(&stage, || drop(take_over(&stage)));
    assert_ours_alone(&stage);
    // The rules that refuse went with it, and ours refuse as well.
    let empty = address("10.88.0.33:80");
    assert_eq!(ask(&stage.lab, "client", empty), Outcome::Unreachable);
}

#[test]
fn kube_proxy_takes_the_node_back() {
    let stage = stage();
    let agent = take_over_nothing(&stage);
    let kube_proxy = KubeProxy { seed: 5, large: false };
    under_connections(&stage, || {
        let (code, log) = agent.stop(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(code, Some(0), "{log}");
        kube_proxy.write(&stage);
    });
    let theirs = [saved(&stage, "ipv4"), saved(&stage, "ipv6")].map(|text| chains(&text));
    // What we are told to remove is kube-proxy's by now.
    under_connections(&stage, || {
        let output = stage.pointsman("cleanup").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("kube-proxy has taken"), "{output:?}");
    });
    assert_eq!([saved(&stage, "ipv4"), saved(&stage, "ipv6")].map(|text| chains(&text)), theirs);

    let output = stage.pointsman("cleanup").args(["--kube-proxy", "-o", "json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let left = stage.tool("nft -s list ruleset");
    for chain in ["KUBE-SVC-", "KUBE-SERVICES", "KUBE-PROXY-CANARY"] {
        assert!(!left.contains(chain), "{left}");
    }
    assert!(left.contains("KUBE-KUBELET-CANARY"), "{left}");
}

#[test]
fn kube_proxy_in_nftables_mode_takes_the_node_back() {
    let stage = stage();
    let agent = take_over_nothing(&stage);
    under_connections(&stage, || {
        let (code, log) = agent.stop(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(code, Some(0), "{log}");
        feed(&stage, "nft -f -", &nftables(node_address(1, Family::V4)));
        // At each start in this mode kube-proxy removes the chains itself; should it not have, we do.
        let output = stage.pointsman("cleanup").output().unwrap();
        assert!(output.status.success(), "{output:?}");
    });
    let left = stage.tool("nft -s list ruleset");
    assert!(!left.contains("KUBE-SVC-") && left.contains("table ip kube-proxy"), "{left}");
}

/// Our agent starts on a node that has no proxy.
fn take_over_nothing(stage: &Stage) -> Running {
    let agent = take_over(stage);
    stage.until("sticky answers", |stage| ask(&stage.lab, OUTSIDE, node_port()).server().is_some());
    agent
}

/// Our agent in nftables mode, once its table is all that routes.
fn take_over_by_nftables(stage: &Stage) -> Running {
    let mut program = stage.pointsman("run");
    // Without a Node object there is no primary address.
    program.args(["--proxy-mode=nftables", "--nodeport-addresses=10.9.0.0/24"]);
    let agent = Running::start(program);
    stage.until("our table is alone", |stage| {
        let all = stage.tool("nft -s list ruleset");
        all.contains("table ip pointsman")
            && !["KUBE-SVC-", "KUBE-SERVICES", "KUBE-PROXY-CANARY", " kube-proxy {"]
                .iter()
                .any(|word| all.contains(word))
    });
    agent
}

fn assert_strangers_are_there(stage: &Stage) {
    let all = saved(stage, "ipv4");
    for word in ["KUBE-KUBELET-CANARY", "KUBE-IPTABLES-HINT", "mine", "CNI-HOSTPORT-DNAT"] {
        assert!(all.contains(word), "no {word}: {all}");
    }
}

#[test]
fn nftables_mode_takes_over_from_either_mode() {
    let before: [fn(&Stage); 2] = [
        |stage| KubeProxy { seed: 6, large: false }.write(stage),
        |stage| feed(stage, "nft -f -", &nftables(node_address(1, Family::V4))),
    ];
    for kube_proxy in before {
        let stage = stage();
        kube_proxy(&stage);
        under_connections(&stage, || drop(take_over_by_nftables(&stage)));
        assert_strangers_are_there(&stage);
    }
}

#[test]
fn kube_proxy_takes_the_node_back_from_nftables_mode() {
    let after: [fn(&Stage); 2] = [
        |stage| KubeProxy { seed: 7, large: false }.write(stage),
        |stage| feed(stage, "nft -f -", &nftables(node_address(1, Family::V4))),
    ];
    for kube_proxy in after {
        let stage = stage();
        let agent = take_over_by_nftables(&stage);
        under_connections(&stage, || {
            let (code, log) = agent.stop(nix::sys::signal::Signal::SIGTERM);
            assert_eq!(code, Some(0), "{log}");
            kube_proxy(&stage);
            let output = stage.pointsman("cleanup").output().unwrap();
            assert!(output.status.success(), "{output:?}");
        });
        let left = stage.tool("nft -s list ruleset");
        assert!(!left.contains("table ip pointsman"), "{left}");
        assert_strangers_are_there(&stage);
    }
}
