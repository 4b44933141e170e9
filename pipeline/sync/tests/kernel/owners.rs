//! Reconciling, changing and cleaning up.

use std::collections::BTreeMap;

use model::{Family, Owner};
use render::iptables::{ChainId, Change, Inverted, Part, Rule, Ruleset, Table, Target, diff};
use sync::Error;
use sync::iptables::Iptables;
use sync::netlink::{SendBudget, Socket};

use crate::fixture::{World, owner, ruleset, services};
use crate::namespace::{save, sh, sorted, within};

/// Both families' rules, as saved.
pub(crate) fn saved() -> Vec<String> {
    Family::ALL.iter().flat_map(|&family| sorted(&save(family))).collect()
}

pub(crate) fn text(ruleset: &Ruleset) -> Vec<String> {
    Family::ALL.iter().flat_map(|&family| sorted(&ruleset.to_text(family))).collect()
}

fn load(ruleset: &Ruleset) -> Iptables {
    let mut iptables = Iptables::open().unwrap();
    let written = iptables.reconcile(ruleset).unwrap();
    assert!(written.refused.is_empty(), "{:?}", written.refused);
    assert_unchanged(&mut iptables, ruleset);
    iptables
}

/// Another look at the kernel finds nothing to do.
fn assert_unchanged(iptables: &mut Iptables, ruleset: &Ruleset) {
    let again = iptables.reconcile(ruleset).unwrap();
    assert_eq!((again.messages, again.batches, again.bytes), (0, 0, 0));
}

pub(crate) fn changes(old: &Ruleset, new: &Ruleset) -> BTreeMap<Owner, Change> {
    let owners = old.parts.keys().chain(new.parts.keys());
    let changes = owners
        .map(|owner| (owner.clone(), diff(owner, old.parts.get(owner), new.parts.get(owner))));
    changes.filter(|(_, change)| *change != Change::default()).collect()
}

/// A second process finds the first one's rules and leaves them alone.
#[test]
fn up_to_date_rules_are_not_written_again() {
    within(|| {
        let ruleset = ruleset(&services(30, 3));
        load(&ruleset);
        let before = saved();
        let mut other = Iptables::open().unwrap();
        assert_unchanged(&mut other, &ruleset);
        assert_eq!(saved(), before);
    });
}

#[test]
fn one_replaced_endpoint_takes_few_messages() {
    within(|| {
        let mut world = services(300, 5);
        let old = ruleset(&world);
        let mut iptables = load(&old);
        // With affinity (every seventh) and without; both families are written.
        for number in [70, 71] {
            world.get_mut(&number).unwrap()[2] += 10_000;
        }
        let new = ruleset(&world);
        for (owner, change) in changes(&old, &new) {
            let both = iptables.apply(&BTreeMap::from([(owner, change)])).unwrap();
            assert_eq!(both.batches, 1);
            assert!(both.messages - 2 < 2 * 18, "{both:?}");
        }
        assert_eq!(saved(), text(&new));
        assert_unchanged(&mut iptables, &new);
    });
}

#[test]
fn changes_one_by_one_equal_a_load_from_nothing() {
    within(|| {
        let mut world = services(40, 3);
        let mut old = ruleset(&world);
        let mut iptables = load(&old);
        let mut step = |change: &dyn Fn(&mut World)| {
            change(&mut world);
            let new = ruleset(&world);
            let written = iptables.apply(&changes(&old, &new)).unwrap();
            assert!(written.refused.is_empty(), "{:?}", written.refused);
            assert_eq!(saved(), text(&new));
            old = new;
        };
        // Before, between and behind the others, and in their place.
        step(&|world| drop(world.insert(100, vec![1, 2])));
        step(&|world| drop(world.insert(200, vec![])));
        step(&|world| drop(world.remove(&0)));
        step(&|world| drop(world.insert(0, vec![7])));
        step(&|world| world.get_mut(&10).unwrap().clear());
        step(&|world| world.get_mut(&10).unwrap().extend([500, 501]));
        step(&|world| world.retain(|number, _| !number.is_multiple_of(3)));
        step(&|world| world.extend([(3, vec![9]), (21, vec![8, 9]), (999, vec![1])]));
        step(&|world| world.values_mut().for_each(|endpoints| endpoints.push(60)));
        step(&|world| world.clear());
        step(&|world| *world = services(12, 1));
        let new = ruleset(&services(12, 1));
        assert_unchanged(&mut iptables, &new);
    });
}

/// More answers than the socket's buffer holds get lost; the handles are then read.
#[test]
fn many_changes_at_once() {
    within(|| {
        let old = ruleset(&services(2, 1));
        let mut iptables = Iptables::open_with(SendBudget::Bytes(400_000)).unwrap();
        iptables.reconcile(&old).unwrap();
        let new = ruleset(&services(900, 1));
        iptables.socket().record();
        let written = iptables.apply(&changes(&old, &new)).unwrap();
        assert!(written.batches > 4);
        // It is indeed so that answers get lost.
        let batches = iptables.socket().recorded();
        within(move || {
            let mut socket = Socket::open(SendBudget::Bytes(400_000)).unwrap();
            Iptables::open().unwrap().reconcile(&old).unwrap();
            assert!(socket.batch(10, &[&batches[0]]).unwrap().lost);
        });
        assert_eq!(saved(), text(&new));
        // Handles of all of them are known.
        let newest = ruleset(&services(1, 1));
        iptables.apply(&changes(&new, &newest)).unwrap();
        assert_eq!(saved(), text(&newest));
    });
}

#[test]
fn a_small_send_buffer_loads_a_thousand_owners() {
    within(|| {
        let ruleset = ruleset(&services(1000, 2));
        let mut iptables = Iptables::open_with(SendBudget::Bytes(60_000)).unwrap();
        let written = iptables.reconcile(&ruleset).unwrap();
        assert!(written.refused.is_empty() && written.batches > 50, "{written:?}");
        assert!(written.bytes / written.batches < 60_100);
        assert_eq!(saved(), text(&ruleset));
        assert_unchanged(&mut iptables, &ruleset);
    });
}

#[test]
fn an_owner_larger_than_the_send_buffer_is_sent_in_pieces() {
    within(|| {
        let mut world = services(3, 1);
        let old = ruleset(&world);
        let mut iptables = Iptables::open_with(SendBudget::Bytes(20_000)).unwrap();
        iptables.reconcile(&old).unwrap();
        world.insert(5, (0..200).collect());
        let new = ruleset(&world);
        let written = iptables.apply(&changes(&old, &new)).unwrap();
        assert!(written.batches > 5 && written.refused.is_empty(), "{written:?}");
        assert_eq!(saved(), text(&new));
        iptables.apply(&changes(&new, &old)).unwrap();
        assert_eq!(saved(), text(&old));
        let mut from_nothing = Iptables::open_with(SendBudget::Bytes(20_000)).unwrap();
        from_nothing.reconcile(&new).unwrap();
        assert_eq!(saved(), text(&new));
    });
}

const FOREIGN: &str = "
    iptables -t nat -N CNI-HOSTPORT-DNAT
    iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
    iptables -t nat -A POSTROUTING -s 10.244.0.0/16 -j MASQUERADE
    iptables -t nat -A CNI-HOSTPORT-DNAT -p tcp -m multiport --dports 80,81 -j RETURN
    iptables -N KUBE-ROUTER-INPUT
    iptables -A INPUT -j KUBE-ROUTER-INPUT
    iptables -P FORWARD DROP
    iptables -t mangle -N KUBE-KUBELET-CANARY
    iptables -t raw -A PREROUTING -p icmp -j ACCEPT
    ip6tables -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
    ip6tables -t nat -N KUBE-SVC-NO; ip6tables -N KUBE-SVC-NO
    ip6tables -t nat -X KUBE-SVC-NO
    nft add table inet other
    nft add chain inet other c '{ type filter hook input priority 5; }'
    nft add rule inet other c tcp dport 9 drop";

/// Chains of ours in kube-proxy's manner, for a cleanup to find.
const LEFTOVERS: &str = "
    iptables -t nat -N KUBE-PROXY-CANARY; iptables -N KUBE-PROXY-CANARY
    iptables -t mangle -N KUBE-PROXY-CANARY";

fn listing() -> String {
    sh("nft -s list ruleset")
}

#[test]
fn foreign_rules_survive_everything_and_cleanup_leaves_nothing_else() {
    within(|| {
        sh(FOREIGN);
        let (before, listed) = (saved(), listing());
        sh(LEFTOVERS);
        let mut world = services(20, 2);
        let old = ruleset(&world);
        let mut iptables = load(&old);
        world.remove(&3);
        world.insert(4, vec![77]);
        iptables.apply(&changes(&old, &ruleset(&world))).unwrap();
        let held: Vec<_> = saved();
        for line in before.iter().filter(|line| line.contains(" -A ")) {
            assert!(held.contains(line), "{line} is gone");
        }
        let cleaned = iptables.cleanup().unwrap();
        assert!(cleaned.kept.is_empty(), "{cleaned}");
        assert!(cleaned.to_string().contains("IPv4 nat PREROUTING: removed 1 rules"), "{cleaned}");
        // kubelet is there, so its chain stays, with the jumps to it.
        let firewall = |line: &String| line.contains("KUBE-FIREWALL");
        let (kept, rest): (Vec<_>, Vec<_>) = saved().into_iter().partition(firewall);
        assert_eq!(kept.len(), 4, "{kept:?}");
        assert_eq!(rest, before);
        sh("iptables -t mangle -X KUBE-KUBELET-CANARY");
        iptables.cleanup().unwrap();
        sh("iptables -t mangle -N KUBE-KUBELET-CANARY");
        assert_eq!(saved(), before);
        // Built-in chains that were made for our jumps stay, empty.
        let others = |text: &str| text.split("table ").last().map(str::to_owned);
        assert_eq!(others(&listing()), others(&listed));
        let nothing = iptables.cleanup().unwrap();
        assert_eq!(nothing.to_string(), "nothing of ours was there");
    });
}

#[test]
fn cleanup_keeps_what_somebody_else_leads_to() {
    within(|| {
        let mut iptables = load(&ruleset(&services(3, 1)));
        sh("iptables -t nat -N CNI; iptables -t nat -A CNI -p tcp -j KUBE-MARK-MASQ");
        let cleaned = iptables.cleanup().unwrap();
        assert_eq!(cleaned.kept.len(), 1, "{cleaned}");
        assert!(
            cleaned.to_string().contains("kept IPv4 nat KUBE-MARK-MASQ: a rule of IPv4 nat CNI")
        );
        let nat = sh("iptables-save -t nat");
        assert!(nat.contains("-A CNI -p tcp -j KUBE-MARK-MASQ") && !nat.contains("KUBE-SERVICES"));
        sh("iptables -t nat -F CNI");
        assert_eq!(iptables.cleanup().unwrap().chains.len(), 1);
    });
}

/// A verdict map's element leads to a chain without any rule that says so.
#[test]
fn cleanup_names_a_chain_that_the_kernel_does_not_let_go() {
    within(|| {
        let mut iptables = load(&ruleset(&services(60, 2)));
        let held = iptables.read().unwrap();
        let mut chains =
            held.keys().filter(|id| id.family == Family::V4 && id.name.starts_with("KUBE-SEP"));
        let used = chains.nth(30).unwrap().clone();
        sh(&format!(
            "nft add map ip nat m '{{ type ipv4_addr : verdict ; }}'
             nft add element ip nat m '{{ 10.0.0.1 : goto {} }}'",
            used.name
        ));
        let cleaned = iptables.cleanup().unwrap();
        let [(kept, why)] = &cleaned.kept[..] else { panic!("{cleaned}") };
        assert_eq!(*kept, used);
        assert!(why.contains("refused to delete the chain IPv4 nat KUBE-SEP-"), "{why}");
        assert_eq!(
            cleaned.chains.len() + 1,
            held.keys().filter(|id| id.name.starts_with("KUBE")).count()
        );
        let nat = sh("iptables-save -t nat");
        assert_eq!(nat.matches("KUBE").count(), 1, "{nat}");
    });
}

#[test]
fn stale_chains_go_unless_somebody_leads_to_them() {
    within(|| {
        sh("iptables -t nat -N KUBE-SVC-STALE; iptables -t nat -N KUBE-SEP-STALE
            iptables -t nat -N KUBE-SEP-USED; iptables -t nat -N KUBE-XLB-OTHER
            iptables -t nat -A KUBE-SVC-STALE -j KUBE-SEP-STALE
            iptables -t nat -A KUBE-SEP-USED -p tcp -j DNAT --to-destination 10.0.0.1:80
            iptables -t nat -N CNI; iptables -t nat -A CNI -j KUBE-SEP-USED
            iptables -t nat -N KUBE-SERVICES
            iptables -t nat -A KUBE-SERVICES -d 10.0.0.9 -j KUBE-SVC-STALE
            iptables -N KUBE-SVC-STALE");
        let ruleset = ruleset(&services(3, 1));
        let mut iptables = Iptables::open().unwrap();
        let written = iptables.reconcile(&ruleset).unwrap();
        assert!(written.refused.is_empty(), "{:?}", written.refused);
        let nat = sh("iptables-save -t nat");
        assert!(!nat.contains("STALE") && !nat.contains("-A KUBE-SEP-USED"), "{nat}");
        assert!(
            nat.contains("-A CNI -j KUBE-SEP-USED") && nat.contains(":KUBE-XLB-OTHER"),
            "{nat}"
        );
        assert!(sh("iptables-save -t filter").contains(":KUBE-SVC-STALE"), "not ours in filter");
    });
}

/// kube-proxy's rules, written by the real tools in another order, with a stale one among them.
#[test]
fn rules_of_a_predecessor_are_adopted() {
    within(|| {
        let ruleset = ruleset(&services(12, 2));
        let mut iptables = Iptables::open().unwrap();
        for family in Family::ALL {
            let mut text = ruleset.to_text(family);
            let dispatch = |line: &&str| line.starts_with("-A KUBE-SERVICES ");
            let mut rules: Vec<_> = text.lines().filter(dispatch).collect();
            rules.swap(2, 7);
            rules.insert(5, "-A KUBE-SERVICES -j RETURN");
            let rest: Vec<_> = text.lines().filter(|line| !dispatch(line)).collect();
            let nat = rest.iter().rposition(|line| *line == "COMMIT").unwrap();
            let lines: Vec<_> = rest[..nat].iter().chain(&rules).chain(&rest[nat..]).collect();
            text = lines.iter().map(|line| format!("{line}\n")).collect();
            let tool = crate::namespace::tool(family);
            // Services are in both tables; the filter's dispatch rules are none here.
            crate::namespace::feed(&format!("{tool}-restore"), &text);
        }
        let written = iptables.reconcile(&ruleset).unwrap();
        // Per family: two rules moved, one removed.
        assert_eq!(written.messages - 2 * written.batches, 2 * 5, "{written:?}");
        assert_eq!(saved(), text(&ruleset));
        assert_unchanged(&mut iptables, &ruleset);
    });
}

#[test]
fn jumps_are_put_first_where_missing_and_left_where_they_stand() {
    within(|| {
        let ruleset = ruleset(&services(1, 1));
        let mut iptables = load(&ruleset);
        sh("iptables -t nat -I PREROUTING -p icmp -j ACCEPT
            iptables -t nat -D OUTPUT 1; iptables -t nat -A OUTPUT -p icmp -j ACCEPT");
        let written = iptables.reconcile(&ruleset).unwrap();
        assert_eq!(written.messages, 3);
        let nat = sh("iptables -t nat -S");
        let of = |chain: &str| -> Vec<_> {
            let start = format!("-A {chain} ");
            nat.lines().filter(|line| line.starts_with(&start)).collect()
        };
        assert!(of("PREROUTING")[0].contains("icmp") && of("PREROUTING")[1].contains("KUBE"));
        assert!(of("OUTPUT")[0].contains("KUBE") && of("OUTPUT")[1].contains("icmp"));
        // The node's own change does the same.
        sh("iptables -t nat -F OUTPUT");
        let node = &ruleset.parts[&Owner::Node];
        let change =
            diff(&Owner::Node, None, Some(&Part { jumps: node.jumps.clone(), ..Part::default() }));
        let written = iptables.apply(&BTreeMap::from([(Owner::Node, change)])).unwrap();
        assert_eq!(written.messages, 3);
        assert_unchanged(&mut iptables, &ruleset);
    });
}

#[test]
fn what_somebody_else_broke_is_noticed_and_healed() {
    within(|| {
        let mut world = services(20, 2);
        let old = ruleset(&world);
        let mut iptables = load(&old);
        world.get_mut(&3).unwrap().push(60);
        let new = ruleset(&world);
        for damage in [
            "iptables -t nat -F; iptables -t nat -X",
            "nft flush ruleset",
            "iptables -t nat -F KUBE-SERVICES",
            "ip6tables -F; ip6tables -X",
            "iptables -t nat -I KUBE-SERVICES -j RETURN",
            "iptables -t nat -A KUBE-MARK-MASQ -j RETURN",
        ] {
            sh(damage);
            let first = iptables.apply(&changes(&old, &new));
            if let Err(error) = first {
                assert!(matches!(error, Error::OutOfStep { .. }), "{damage}: {error}");
                // The doubt stays until the kernel was looked at.
                let again = iptables.apply(&BTreeMap::new()).unwrap_err();
                assert!(matches!(again, Error::OutOfStep { .. }), "{again}");
            }
            iptables.reconcile(&new).unwrap();
            assert_eq!(saved(), text(&new), "{damage}");
            iptables.apply(&changes(&new, &old)).unwrap();
            assert_eq!(saved(), text(&old), "{damage}");
        }
        // A chain that is missing makes the change fail, not vanish.
        sh("iptables -t nat -F; iptables -t nat -X");
        let error = iptables.apply(&changes(&old, &new)).unwrap_err();
        assert!(error.to_string().contains("reconcile before the next change"), "{error}");
    });
}

#[test]
fn a_change_before_the_first_look_is_an_error() {
    within(|| {
        let error = Iptables::open().unwrap().apply(&BTreeMap::new()).unwrap_err();
        assert!(matches!(error, Error::OutOfStep { .. }), "{error}");
    });
}

/// Asked without CAP_NET_ADMIN: the test runs itself once more, with fewer capabilities.
#[test]
fn without_permission_the_error_says_what_to_do() {
    const UNPRIVILEGED: &str = "POINTSMAN_TEST_UNPRIVILEGED";
    if std::env::var_os(UNPRIVILEGED).is_some() {
        let error = Iptables::open().unwrap_err();
        assert!(matches!(error, Error::NotPermitted), "{error}");
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
        return;
    }
    let this = std::env::current_exe().unwrap();
    let output = std::process::Command::new("setpriv")
        .args(["--bounding-set", "-net_admin", "--inh-caps", "-net_admin"])
        .arg(this)
        .args(["--exact", "owners::without_permission_the_error_says_what_to_do"])
        .env(UNPRIVILEGED, "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

/// Dumps that others disturb are made again, and are whole.
#[test]
fn reading_is_whole_while_others_write() {
    within(|| {
        let ruleset = ruleset(&services(400, 2));
        let mut iptables = load(&ruleset);
        let quiet = iptables.read().unwrap();
        // The writer ends when its own end of the channel is alone, also where an assertion fails.
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let writer = std::thread::spawn(move || {
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                sh("nft add table ip other; nft add chain ip other c; nft delete table ip other");
            }
        });
        for _ in 0..10 {
            assert_eq!(iptables.read().unwrap(), quiet);
            assert_unchanged(&mut iptables, &ruleset);
        }
        drop(stop);
        writer.join().unwrap();
    });
}

/// Rules that the kernel or iptables cannot take.
fn bad_parts() -> Vec<Part> {
    let rule = || Rule::to(Target::Return);
    let jump = |to: &str| Rule::to(Target::Jump(to.into()));
    let rules = vec![
        rule().comment(&"x".repeat(256)),
        jump("KUBE-SVC-NOT-THERE"),
        jump(&"x".repeat(29)),
        // DNAT in the filter table is refused by the kernel; see below.
        Rule { source: Some(Inverted::is("fd00::/64".parse().unwrap())), ..rule() },
        Rule::to(Target::Dnat("[fd00::1]:80".parse().unwrap())),
        Rule { in_interface: Some(Inverted::is("sixteen-letters-".into())), ..rule() },
        jump("KUBE-SVC-BAD"),
    ];
    let mut parts: Vec<_> = rules
        .into_iter()
        .map(|rule| {
            let chain = ChainId::new(Family::V4, Table::Nat, "KUBE-SVC-BAD");
            let shared = ChainId::new(Family::V4, Table::Nat, "KUBE-SERVICES");
            Part {
                chains: BTreeMap::from([(chain, vec![rule])]),
                shared: BTreeMap::from([(shared, vec![jump("KUBE-SVC-BAD")])]),
                ..Part::default()
            }
        })
        .collect();
    let chain = ChainId::new(Family::V4, Table::Nat, "KUBE-SVC-NAME-OF-29-BYTES-XXXX".to_owned());
    parts.push(Part { chains: BTreeMap::from([(chain, vec![])]), ..Part::default() });
    parts
}

#[test]
fn an_owner_that_the_kernel_refuses_costs_only_itself() {
    within(|| {
        let good = ruleset(&services(250, 1));
        for (number, part) in bad_parts().into_iter().enumerate() {
            let mut ruleset = good.clone();
            ruleset.parts.insert(owner(1234), part.clone());
            let mut iptables = Iptables::open().unwrap();
            let written = iptables.reconcile(&ruleset).unwrap();
            let [(refused, error)] = &written.refused[..] else { panic!("{number}: {written:?}") };
            assert_eq!(*refused, owner(1234), "{error}");
            assert_eq!(saved(), text(&good), "{number}");
            // The next change of another owner is taken; one of this owner waits for a new look.
            let touch = |number: usize, part: &Part| {
                BTreeMap::from([(owner(number), diff(&owner(number), None, Some(part)))])
            };
            let other = &good.parts[&owner(7)];
            let gone = BTreeMap::from([(owner(7), diff(&owner(7), Some(other), None))]);
            assert!(iptables.apply(&gone).unwrap().refused.is_empty());
            assert!(iptables.apply(&touch(7, other)).unwrap().refused.is_empty());
            let waits = iptables.apply(&touch(1234, &part)).unwrap();
            assert!(matches!(waits.refused[..], [(_, Error::OutOfStep { .. })]), "{waits:?}");
            assert_eq!(saved(), text(&good));
        }
    });
}

/// In a change, refusals that do not come from a wrong picture of the kernel cost the owner alone.
#[test]
fn an_incremental_refusal_costs_only_its_owner() {
    within(|| {
        let id = |table, name: &str| ChainId::new(Family::V4, table, name);
        let to = |name: &str| Rule::to(Target::Jump(name.into()));
        // Refused by itself: this target belongs into another table. Refused with the whole batch,
        // without saying for whom: a loop.
        let masquerade = vec![Rule::to(Target::Masquerade { random_fully: true })];
        for (chain, rules) in [
            (id(Table::Filter, "KUBE-BAD"), masquerade),
            (id(Table::Nat, "KUBE-SVC-LOOP"), vec![to("KUBE-SVC-LOOP")]),
        ] {
            let old = ruleset(&services(5, 1));
            let mut iptables = load(&old);
            let good = ruleset(&services(9, 1));
            let mut new = good.clone();
            let part = new.parts.get_mut(&owner(6)).unwrap();
            part.shared.insert(id(chain.table, "KUBE-SERVICES"), vec![to(&chain.name)]);
            part.chains.insert(chain, rules);
            let written = iptables.apply(&changes(&old, &new)).unwrap();
            let [(refused, error)] = &written.refused[..] else { panic!("{written:?}") };
            assert_eq!(*refused, owner(6), "{error}");
            let mut without = good.clone();
            without.parts.remove(&owner(6));
            assert_eq!(saved(), text(&without));
            let healed = iptables.reconcile(&good).unwrap();
            assert!(healed.refused.is_empty());
            assert_eq!(saved(), text(&good));
            iptables.cleanup().unwrap();
            sh("iptables -F; iptables -X");
        }
    });
}
