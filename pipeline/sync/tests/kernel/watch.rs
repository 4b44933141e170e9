//! What others do to nf_tables is heard, what we do is not.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use sync::iptables::Iptables;
use sync::netlink::{SendBudget, Socket};
use sync::watch::{Change, Heard, TableFamily, Watch, generation};

use crate::fixture::{ruleset, services};
use crate::namespace::{sh, within};

/// What others do is heard within a second; what is not heard by then will not be.
const PATIENCE: Duration = Duration::from_secs(1);

fn start(own: &[u32]) -> (Watch, Receiver<Heard>) {
    let (sender, receiver) = channel();
    let watch = Watch::start(own, move |heard| sender.send(heard).is_ok()).unwrap();
    (watch, receiver)
}

/// Everything that is heard until a change meets a condition.
fn until(receiver: &Receiver<Heard>, meets: impl Fn(&Change) -> bool) -> Vec<Change> {
    let deadline = Instant::now() + PATIENCE;
    let mut all = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let heard = receiver.recv_timeout(left).unwrap_or_else(|_| panic!("not heard: {all:#?}"));
        assert!(!heard.overrun);
        assert!(heard.generation.is_some());
        all.extend(heard.changes);
        if all.iter().any(&meets) {
            return all;
        }
    }
}

fn by(change: &Change) -> &str {
    change.process.as_ref().map_or("", |process| &process.name)
}

#[test]
fn what_we_write_is_not_heard_and_iptables_is() {
    within(|| {
        let mut iptables = Iptables::open().unwrap();
        let own = iptables.socket().port().unwrap();
        let (watch, receiver) = start(&[own]);
        iptables.reconcile(&ruleset(&services(50, 3))).unwrap();
        assert_eq!(receiver.recv_timeout(Duration::from_millis(300)).ok(), None);
        sh("iptables -t nat -F");
        let heard = until(&receiver, |change| change.table == "nat");
        let nat = heard.iter().find(|change| change.table == "nat").unwrap();
        assert_eq!((nat.family, by(nat)), (TableFamily::Ip, "iptables"));
        assert!(nat.objects.contains("KUBE-SERVICES"), "{nat:?}");
        assert!(!nat.table_deleted);
        let text = nat.to_string();
        assert!(text.starts_with("table ip nat was changed by iptables (process "), "{text}");
        assert!(watch.is_listening());
    });
}

/// Without being told which sockets are ours, we hear ourselves: the silence above is not deafness.
#[test]
fn without_a_port_we_hear_ourselves() {
    within(|| {
        let mut iptables = Iptables::open().unwrap();
        let (_watch, receiver) = start(&[]);
        iptables.reconcile(&ruleset(&services(2, 1))).unwrap();
        until(&receiver, |change| change.table == "nat" && change.family == TableFamily::Ip6);
    });
}

#[test]
fn a_flushed_ruleset_and_a_deleted_table_are_heard() {
    within(|| {
        let mut iptables = Iptables::open().unwrap();
        iptables.reconcile(&ruleset(&services(3, 2))).unwrap();
        sh("nft add table inet mine
            nft add set inet mine s '{ type ipv4_addr; }'");
        let (_watch, receiver) = start(&[iptables.socket().port().unwrap()]);
        sh("nft add element inet mine s '{ 10.0.0.1 }'");
        let heard = until(&receiver, |change| change.table == "mine");
        assert_eq!(heard.len(), 1);
        assert_eq!((heard[0].family, by(&heard[0])), (TableFamily::Inet, "nft"));
        assert_eq!(heard[0].objects, BTreeSet::from(["s".to_owned()]));
        sh("nft delete table ip6 nat");
        let heard = until(&receiver, |change| change.table == "nat");
        assert!(heard.iter().any(|one| one.family == TableFamily::Ip6 && one.table_deleted));
        sh("nft flush ruleset");
        let heard = until(&receiver, |change| change.table == "mine");
        let gone: BTreeSet<_> = heard
            .iter()
            .filter(|change| change.table_deleted && by(change) == "nft")
            .map(|change| (change.family, change.table.as_str()))
            .collect();
        for place in [(TableFamily::Ip, "nat"), (TableFamily::Ip, "filter")] {
            assert!(gone.contains(&place), "{heard:#?}");
        }
        assert!(gone.contains(&(TableFamily::Inet, "mine")));
    });
}

/// However long the list of what went, who did it is known for all of it.
#[test]
fn a_great_flush_has_one_author() {
    within(|| {
        let mut iptables = Iptables::open().unwrap();
        let (_watch, receiver) = start(&[iptables.socket().port().unwrap()]);
        iptables.reconcile(&ruleset(&services(150, 3))).unwrap();
        sh("nft flush ruleset");
        let heard = until(&receiver, |change| change.table == "nat");
        assert!(heard.iter().all(|change| by(change) == "nft"), "{heard:#?}");
        let nat = heard.iter().find(|change| change.table == "nat").unwrap();
        assert!(nat.table_deleted && nat.more_objects && nat.objects.len() == 256);
    });
}

#[test]
fn another_namespace_is_not_heard() {
    within(|| {
        let (_watch, receiver) = start(&[]);
        sh("unshare -n nft add table ip elsewhere");
        assert_eq!(receiver.recv_timeout(Duration::from_millis(300)).ok(), None);
    });
}

/// When the listener is busy for too long, it learns that something was missed.
#[test]
fn an_overrun_says_that_anything_may_have_changed() {
    within(|| {
        let (go, wait) = channel::<()>();
        let (sender, receiver) = channel();
        let busy = move |heard| {
            let _ = wait.recv();
            sender.send(heard).is_ok()
        };
        let watch = Watch::start_with(&[], 4096, busy).unwrap();
        sh("nft add table ip first");
        std::thread::sleep(Duration::from_millis(200));
        let tables: String = (0..300).map(|n| format!("add table ip t{n}\n")).collect();
        for _ in 0..3 {
            crate::namespace::feed("nft -f -", &tables);
            sh("nft flush ruleset");
        }
        drop(go);
        let first = receiver.recv_timeout(PATIENCE).unwrap();
        assert!(!first.overrun);
        let second = receiver.recv_timeout(PATIENCE).unwrap();
        assert!(second.overrun, "{second:?}");
        // And it goes on listening.
        while receiver.recv_timeout(Duration::from_millis(200)).is_ok() {}
        sh("nft add table ip after");
        let heard = receiver.recv_timeout(PATIENCE).unwrap();
        assert!(heard.changes.iter().any(|change| change.table == "after"), "{heard:?}");
        assert!(watch.is_listening());
    });
}

#[test]
fn listening_ends_with_the_watch_and_with_its_hearer() {
    within(|| {
        let (watch, receiver) = start(&[]);
        drop(watch);
        assert!(receiver.recv().is_err(), "the thread has let go of the channel");
        let watch = Watch::start(&[], |_| false).unwrap();
        sh("nft add table ip x");
        let deadline = Instant::now() + PATIENCE;
        while watch.is_listening() {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

#[test]
fn each_transaction_makes_a_new_generation() {
    within(|| {
        let mut socket = Socket::open(SendBudget::Granted).unwrap();
        let before = generation(&mut socket).unwrap();
        assert_eq!(generation(&mut socket).unwrap(), before);
        let (_watch, receiver) = start(&[]);
        sh("nft add table ip x");
        let heard = receiver.recv_timeout(PATIENCE).unwrap();
        let after = generation(&mut socket).unwrap();
        assert_ne!(after, before);
        assert_eq!(heard.generation, Some(after));
    });
}
