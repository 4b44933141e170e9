//! Changes: what was sent bit by bit is what a load from nothing leaves, and little is sent.

use std::collections::BTreeMap;

use model::{Family, Owner};
use render::nftables::{Change, Options, Part, Ruleset, Uses, diff};
use sync::Error;
use sync::netlink::SendBudget;
use sync::table::{Nftables, Written};

use crate::fixture::{
    Kind, World, every_kind, intent_of, name, node, owner, plain, rendered, ruleset, same, server,
};
use crate::namespace::{assert_same, listing, sh, within};

/// An agent's memory: the rules as the kernel took them.
#[derive(Default)]
pub(crate) struct Memory {
    uses: Uses,
    pub(crate) parts: BTreeMap<Owner, Part>,
}

impl Memory {
    /// As after a reconciliation.
    pub(crate) fn of(ruleset: &Ruleset) -> Self {
        let mut memory = Self::default();
        memory.take(ruleset.parts.iter().map(|(owner, part)| (owner.clone(), Some(part.clone()))));
        memory
    }

    pub(crate) fn take(&mut self, new: impl IntoIterator<Item = (Owner, Option<Part>)>) -> Change {
        let new: Vec<(Owner, Option<Part>)> = new.into_iter().collect();
        let pairs = new.iter().map(|(owner, part)| (self.parts.get(owner), part.as_ref()));
        let change = diff(&self.uses, pairs);
        self.uses.advance(&change);
        for (owner, part) in new {
            match part {
                Some(part) => drop(self.parts.insert(owner, part)),
                None => drop(self.parts.remove(&owner)),
            }
        }
        change
    }

    pub(crate) fn ruleset(&self) -> Ruleset {
        Ruleset { parts: self.parts.clone(), policy: Part::default(), options: Options::default() }
    }
}

/// A Service's part in both families; `None` for one that is gone.
pub(crate) fn part(number: u32, kind: Option<&Kind>) -> (Owner, Option<Part>) {
    let part = kind.map(|kind| {
        let servers = Family::ALL.map(|family| server(family, number, kind));
        render::nftables::owner(&node(), &servers, &Options::default()).unwrap()
    });
    (owner(number), part)
}

/// Messages without the two that frame each transaction.
pub(crate) fn content(written: &Written) -> usize {
    written.messages - 2 * written.batches
}

type Step = Vec<(u32, Option<Kind>)>;

fn steps() -> Vec<Step> {
    let kinds = every_kind();
    let with = |number, endpoints: &[u32]| {
        let kind = Kind { endpoints: endpoints.to_vec(), ..kinds[&number].clone() };
        (number, Some(kind))
    };
    let guarded_no_more = Kind { outside: false, ..kinds[&4].clone() };
    vec![
        kinds.iter().map(|(&number, kind)| (number, Some(kind.clone()))).collect(),
        vec![with(1, &[3, 4, 6])],
        vec![with(1, &[3])],
        vec![with(2, &[4, 5, 6, 7]), with(3, &[9, 10])],
        vec![with(3, &[]), with(5, &[22, 23, 24])],
        vec![(4, Some(guarded_no_more)), (8, None)],
        vec![with(4, &[1, 2, 3]), (1, None), (6, Some(kinds[&3].clone()))],
        (1..9).map(|number| (number, None)).collect(),
    ]
}

#[test]
fn changes_one_by_one_are_the_whole() {
    for budget in [SendBudget::Forced, SendBudget::Bytes(6_000)] {
        within(move || {
            let mut nftables = Nftables::open_with(budget).unwrap();
            let nothing = ruleset(&World::new());
            nftables.reconcile(&nothing).unwrap();
            let mut memory = Memory::of(&nothing);
            for (number, step) in steps().into_iter().enumerate() {
                let parts = step.iter().map(|(number, kind)| part(*number, kind.as_ref()));
                let change = memory.take(parts.collect::<Vec<_>>());
                let written = nftables.apply(&change).unwrap();
                assert!(written.messages > 0, "step {number}");
                let ruleset = memory.ruleset();
                same(&nftables.read().unwrap().part, &ruleset.merged());
                let again = Nftables::open().unwrap().reconcile(&ruleset).unwrap();
                assert_eq!(again.messages, 0, "step {number} left something to do");
                let listed = listing();
                let whole = within(move || {
                    Nftables::open().unwrap().reconcile(&ruleset).unwrap();
                    listing()
                });
                assert_same(&listed, &whole, &format!("step {number}"));
            }
        });
    }
}

#[test]
fn nothing_to_do_sends_nothing() {
    within(|| {
        let ruleset = ruleset(&every_kind());
        let mut nftables = Nftables::open().unwrap();
        assert!(nftables.reconcile(&ruleset).unwrap().messages > 0);
        let again = nftables.reconcile(&ruleset).unwrap();
        assert_eq!((again.messages, again.bytes, again.batches), (0, 0, 0));
        let nothing = nftables.apply(&Change::default()).unwrap();
        assert_eq!((nothing.messages, nothing.bytes, nothing.batches), (0, 0, 0));
    });
}

/// A reconciliation from any state, by an agent that knows nothing of what was before.
#[test]
fn whatever_was_there_is_brought_to_the_ruleset() {
    within(|| {
        let mut nftables = Nftables::open().unwrap();
        let mut world = World::new();
        for step in steps() {
            for (number, kind) in step {
                match kind {
                    Some(kind) => drop(world.insert(number, kind)),
                    None => drop(world.remove(&number)),
                }
            }
            let ruleset = ruleset(&world);
            Nftables::open().unwrap().reconcile(&ruleset).unwrap();
            same(&nftables.read().unwrap().part, &ruleset.merged());
        }
        // Damage of every kind.
        let ruleset = ruleset(&every_kind());
        nftables.reconcile(&ruleset).unwrap();
        let whole = listing();
        for damage in [
            "delete table ip pointsman",
            "flush chain ip pointsman services",
            "insert rule ip6 pointsman stray accept",
            "add rule ip pointsman mark-unless-pod counter",
            "add chain ip pointsman stranger; add rule ip pointsman stranger jump stray",
            "add set ip pointsman strange { type ipv4_addr; }",
            "flush map ip pointsman service-ips",
            "delete element ip pointsman node-ips { 192.168.56.101 }",
            "add element ip pointsman node-ips { 192.168.56.102 comment \"by hand\" }",
            "flush set ip pointsman service-cidrs",
            "add element ip pointsman service-cidrs { 192.0.2.0/24 }",
            "delete element ip6 pointsman service-cidrs { fd00:0:0:60::/63 }",
            "flush set ip pointsman allowed-sources",
            "delete element ip pointsman cluster-ips { 10.96.0.1 }; \
             add element ip pointsman cluster-ips { 10.96.0.1 comment \"another\" }",
            "delete element ip pointsman service-ips { 10.96.0.1 . tcp . 80 }; \
             add element ip pointsman service-ips { 10.96.0.1 . tcp . 80 : drop }",
        ] {
            sh("nft -f -", &format!("{damage}\n").replace("; add", "\nadd"));
            assert_ne!(listing(), whole, "{damage}");
            let written = Nftables::open().unwrap().reconcile(&ruleset).unwrap();
            assert!(content(&written) > 0, "{damage}");
            assert_eq!(written.batches, 1, "{damage}");
            assert_same(&listing(), &whole, damage);
        }
    });
}

#[test]
fn a_table_of_another_layout_is_replaced_in_one_transaction() {
    within(|| {
        let ruleset = ruleset(&every_kind());
        Nftables::open().unwrap().reconcile(&ruleset).unwrap();
        let whole = listing();
        for old in [
            // Another layout, none, another declaration, another hook.
            "table ip pointsman {\n comment \"layout 0\"\n}",
            "table ip pointsman {\n chain lb-3 {\n drop\n }\n}",
            "table ip pointsman {\n comment \"layout 1\"\n set node-ips {\n type ipv4_addr\n }\n}",
            "table ip pointsman {\n comment \"layout 1\"\n chain nat-output {\n type filter hook \
             output priority 0\n }\n}",
        ] {
            sh("nft -f -", &format!("delete table ip pointsman\n{old}\n"));
            let written = Nftables::open().unwrap().reconcile(&ruleset).unwrap();
            assert_eq!(written.batches, 1, "{old}");
            assert_same(&listing(), &whole, old);
        }
    });
}

/// An agent that was killed in the middle of a load leaves nothing that the next one does not mend.
#[test]
fn a_load_that_was_cut_off_is_taken_over() {
    let ruleset = ruleset(&every_kind());
    let batches = within({
        let ruleset = ruleset.clone();
        move || {
            let mut nftables = Nftables::open_with(SendBudget::Bytes(5_000)).unwrap();
            nftables.socket().record();
            nftables.reconcile(&ruleset).unwrap();
            nftables.socket().recorded()
        }
    });
    assert!(batches.len() > 5, "{}", batches.len());
    for taken in 0..batches.len() {
        let (ruleset, batches) = (ruleset.clone(), batches[..taken].to_vec());
        within(move || {
            let mut socket = sync::netlink::Socket::open(SendBudget::default()).unwrap();
            for batch in &batches {
                let reply = socket.batch(sync::nftables::SUBSYSTEM, &[batch]).unwrap();
                assert!(reply.errors.is_empty());
            }
            let mut nftables = Nftables::open().unwrap();
            nftables.reconcile(&ruleset).unwrap();
            same(&nftables.read().unwrap().part, &ruleset.merged());
        });
    }
}

#[test]
fn a_change_needs_to_know_what_is_there() {
    within(|| {
        let mut nftables = Nftables::open().unwrap();
        let world = every_kind();
        let before = ruleset(&world);
        let mut memory = Memory::of(&before);
        let change = memory.take([part(1, Some(&plain(1, 5)))]);
        assert!(matches!(nftables.apply(&change), Err(Error::OutOfStep { .. })));
        nftables.reconcile(&before).unwrap();
        sh("nft delete table ip pointsman", "");
        assert!(matches!(nftables.apply(&change), Err(Error::OutOfStep { .. })));
        assert!(matches!(nftables.apply(&Change::default()), Err(Error::OutOfStep { .. })));
        let after = memory.ruleset();
        nftables.reconcile(&after).unwrap();
        same(&nftables.read().unwrap().part, &after.merged());
    });
}

/// Two Services more in each map, none of them touched: what packets remembered stays too.
#[test]
fn what_packets_remembered_is_left_alone() {
    within(|| {
        let mut nftables = Nftables::open().unwrap();
        let world = every_kind();
        nftables.reconcile(&ruleset(&world)).unwrap();
        let element = "add element ip pointsman affinity \
             { 10.64.9.9 . 10.96.0.2 . tcp . 80 timeout 3h : 4000:10 }\n";
        sh("nft -f -", element);
        let remembered = || sh("nft list map ip pointsman affinity", "").contains("10.64.9.9");
        assert!(remembered());
        let nothing = nftables.reconcile(&ruleset(&world)).unwrap();
        assert_eq!(nothing.messages, 0);
        let mut less = world;
        less.remove(&2);
        nftables.reconcile(&ruleset(&less)).unwrap();
        assert!(remembered());
        assert!(
            !nftables
                .read()
                .unwrap()
                .part
                .elements
                .keys()
                .any(|id| { id.set == render::nftables::SetName::Affinity })
        );
    });
}

/// An endpoint more or less makes a frontend lead elsewhere, which takes another element in its
/// place: by a change and by a comparison with the kernel.
#[test]
fn a_frontend_counts_on_when_its_endpoints_become_more_or_less() {
    within(|| {
        let mut nftables = Nftables::open().unwrap();
        let mut world = World::from([(1, plain(1, 3)), (2, plain(2, 3))]);
        let mut memory = Memory::of(&ruleset(&world));
        nftables.reconcile(&ruleset(&world)).unwrap();
        let counted = |nftables: &mut Nftables| -> Vec<(u64, u64)> {
            let counters = nftables.counters(Family::V4).unwrap();
            counters.iter().map(|counter| (counter.packets, counter.bytes)).collect()
        };
        assert_eq!(counted(&mut nftables), [(0, 0); 2]);
        let busy = sh("nft list table ip pointsman", "");
        let busy = busy.replace("packets 0 bytes 0", "packets 7 bytes 420");
        sh("nft -f -", &format!("delete table ip pointsman\n{busy}"));
        assert_eq!(counted(&mut nftables), [(7, 420); 2]);
        let change = memory.take([part(1, Some(&plain(1, 4)))]);
        nftables.apply(&change).unwrap();
        assert_eq!(counted(&mut nftables), [(7, 420); 2], "after a change");
        world.insert(1, plain(1, 4));
        world.insert(2, plain(2, 1));
        nftables.reconcile(&ruleset(&world)).unwrap();
        assert_eq!(counted(&mut nftables), [(7, 420); 2], "after a comparison");
        same(&nftables.read().unwrap().part, &ruleset(&world).merged());
    });
}

#[test]
fn others_tables_are_not_touched() {
    within(|| {
        let others = "table inet firewall {\n chain input {\n type filter hook input priority 0\n \
             tcp dport 22 accept\n }\n}\ntable ip pointsman-probe {\n}\ntable ip6 kube-proxy {\n}\n";
        sh("nft -f -", others);
        let before = listing();
        let mut nftables = Nftables::open().unwrap();
        assert_eq!(listing(), before);
        nftables.reconcile(&ruleset(&every_kind())).unwrap();
        assert!(listing().starts_with(before.trim_end()));
        let cleaned = nftables.cleanup().unwrap();
        assert_eq!(cleaned.tables.len(), 2);
        assert_eq!(listing(), before);
        assert_eq!(nftables.cleanup().unwrap().to_string(), "no table of ours was there");
    });
}

#[test]
fn one_family_leaves_the_other_empty_but_for_the_node() {
    within(|| {
        let mut nftables = Nftables::open().unwrap();
        let ruleset = rendered(&intent_of(&every_kind(), node(), &[Family::V6]));
        nftables.reconcile(&ruleset).unwrap();
        same(&nftables.read().unwrap().part, &ruleset.merged());
        assert!(ruleset.parts.contains_key(&Owner::Service(name(2))));
    });
}
