//! Byte layouts: the real tool reads what we write, and we read what the real tool writes.

use model::Family;
use render::iptables::{ChainId, Rule, Table};
use sync::iptables::Iptables;

use crate::fixture::{every_filter_rule, every_rule, everything};
use crate::namespace::{feed, save, sh, sorted, tool, within};

const CHAINS: [(Table, &str); 2] =
    [(Table::Nat, "KUBE-SVC-EVERYTHING"), (Table::Filter, "KUBE-EVERYTHING")];

/// The counters that rules of the fixture name.
fn counters() {
    sync::nfacct::ensure(["localhost_nps_accepted_pkts"]).unwrap();
}

/// A rule's words for a shell. `iptables-save` escapes single quotes within double ones, which only
/// `iptables-restore` takes back.
fn words(rule: &Rule, family: Family) -> String {
    rule.display(family).to_string().replace("\\'", "'")
}

fn rules(family: Family, table: Table) -> Vec<Rule> {
    if table == Table::Nat { every_rule(family) } else { every_filter_rule() }
}

#[test]
fn iptables_save_prints_what_was_written() {
    within(|| {
        counters();
        let ruleset = everything();
        let written = Iptables::open().unwrap().reconcile(&ruleset).unwrap();
        assert!(written.refused.is_empty(), "{:?}", written.refused);
        for family in Family::ALL {
            assert_eq!(sorted(&save(family)), sorted(&ruleset.to_text(family)));
        }
    });
}

#[test]
fn what_was_written_is_read_back() {
    within(|| {
        counters();
        let mut iptables = Iptables::open().unwrap();
        iptables.reconcile(&everything()).unwrap();
        let mut ids = Vec::new();
        for family in Family::ALL {
            for (table, name) in CHAINS {
                let id = ChainId::new(family, table, name);
                let held = iptables.read_chain(&id).unwrap();
                let held: Vec<_> = held.into_iter().map(|held| held.rule.unwrap()).collect();
                assert_eq!(held, rules(family, table), "{id}");
                ids.push(id);
            }
        }
        let held = iptables.read().unwrap();
        assert!(held.contains_key(&ids[0]) && !held.contains_key(&ids[1]), "no name of ours");
    });
}

#[test]
fn rules_of_the_real_tool_are_understood() {
    within(|| {
        counters();
        let mut iptables = Iptables::open().unwrap();
        for family in Family::ALL {
            sh(&format!("{} -t nat -N KUBE-MARK-MASQ", tool(family)));
            for (table, name) in CHAINS {
                let (tool, id) = (tool(family), ChainId::new(family, table, name));
                sh(&format!("{tool} -t {table} -N {name}"));
                for rule in rules(family, table) {
                    let words = words(&rule, family);
                    sh(&format!("{tool} -t {table} -A {name} {words}"));
                    let held = iptables.read_chain(&id).unwrap();
                    let last = held.last().unwrap().rule.clone();
                    assert_eq!(last, Some(rule), "{tool} {words}");
                }
            }
        }
    });
}

#[test]
fn the_real_tool_finds_lists_and_deletes_our_rules() {
    within(|| {
        counters();
        Iptables::open().unwrap().reconcile(&everything()).unwrap();
        for family in Family::ALL {
            let tool = tool(family);
            for (table, name) in CHAINS {
                let listed = sh(&format!("{tool} -t {table} -L {name} -n -v"));
                assert_eq!(listed.lines().count(), rules(family, table).len() + 2, "{listed}");
            }
            feed(&format!("{tool}-restore --test"), &save(family));
            for (table, name) in CHAINS {
                for rule in rules(family, table) {
                    // The tool does not find its own `-m recent` by the mask that it prints, only
                    // by the words that were typed.
                    let words = words(&rule, family).replace(" --mask 255.255.255.255", "");
                    sh(&format!("{tool} -t {table} -C {name} {words}"));
                    sh(&format!("{tool} -t {table} -D {name} {words}"));
                }
                assert_eq!(sh(&format!("{tool} -t {table} -S {name}")).lines().count(), 1);
            }
        }
    });
}

/// Forms that other versions write, made here by nft where it can.
#[test]
fn other_forms_of_the_same_rules_are_understood() {
    within(|| {
        sh("iptables -t nat -N X; ip6tables -t nat -N X
            nft add rule ip nat X ip saddr 10.0.0.0/8 ip protocol tcp tcp dport 80 counter return
            nft add rule ip nat X meta mark and 0x4000 == 0x4000 counter return
            nft add rule ip6 nat X ip6 saddr fd00::/64 meta l4proto udp udp dport 53 return");
        let mut iptables = Iptables::open().unwrap();
        let mut read = |family| -> Vec<String> {
            let id = ChainId::new(family, Table::Nat, "X");
            let held = iptables.read_chain(&id).unwrap();
            held.iter().map(|held| held.rule.as_ref().unwrap().to_string()).collect()
        };
        assert_eq!(
            read(Family::V4),
            [
                "-s 10.0.0.0/8 -p tcp -m tcp --dport 80 -j RETURN",
                "-m mark --mark 0x4000/0x4000 -j RETURN"
            ]
        );
        assert_eq!(read(Family::V6), ["-s fd00::/64 -p udp -m udp --dport 53 -j RETURN"]);
    });
}

#[test]
fn what_we_never_write_is_no_rule_of_ours() {
    within(|| {
        let foreign = [
            "-p tcp -m tcp --sport 80 -j RETURN",
            "-p tcp -m tcp ! --dport 80 -j RETURN",
            "-p tcp -m tcp --dport 80:90 -j RETURN",
            "-p tcp -m multiport ! --dports 80,90 -j RETURN",
            "-p tcp -m multiport --sports 80,90 -j RETURN",
            "-p tcp --syn -j RETURN",
            "! -p tcp -j RETURN",
            "-p icmp -j RETURN",
            "-o eth0 -j RETURN",
            "-m addrtype ! --dst-type LOCAL -j RETURN",
            "-m addrtype --dst-type LOCAL --limit-iface-in -j RETURN",
            "-m statistic --mode nth --every 2 --packet 0 -j RETURN",
            "-m statistic --mode random ! --probability 0.5 -j RETURN",
            "-m recent --name A --rcheck --seconds 5 --hitcount 2 -j RETURN",
            "-m recent --name A --update -j RETURN",
            "-m recent --name A --set --rdest -j RETURN",
            "-m conntrack --ctstate SNAT -j RETURN",
            "-m conntrack --ctproto 6 -j RETURN",
            "-p tcp -j DNAT --to-destination 10.0.0.1-10.0.0.2",
            "-p tcp -j DNAT --to-destination 10.0.0.1",
            "-p tcp -j DNAT --to-destination 10.0.0.1:80 --random",
            "-p tcp -j MASQUERADE --to-ports 80",
            "-j LOG",
            "-m limit --limit 1/minute -j RETURN",
            "-m connmark ! --mark 1 -j RETURN",
            "-j NFLOG --nflog-group 1 --nflog-threshold 5 --nflog-prefix a",
        ];
        sh("iptables -t nat -N X; iptables -t nat -N Y");
        for words in foreign {
            sh(&format!("iptables -t nat -A X {words}"));
        }
        let id = ChainId::new(Family::V4, Table::Nat, "X");
        let held = Iptables::open().unwrap().read_chain(&id).unwrap();
        for (held, words) in held.iter().zip(foreign) {
            assert_eq!(held.rule, None, "{words}");
        }
        assert_eq!(held.len(), foreign.len());
    });
}
