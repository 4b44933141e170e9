//! Held against nft: the same bytes in the kernel, the same listing, and a listing that loads.

use std::collections::BTreeSet;
use std::fmt::Write;

use model::Family;
use plan::{LocalTraffic, NodePortAccept, PerFamily};
use render::nftables::names::TABLE;
use render::nftables::{Ruleset, SetName};
use sync::netlink::{Attribute, Encoder, Message, SendBudget, Socket};
use sync::nftables::{SUBSYSTEM, To};
use sync::table::Nftables;

use crate::fixture::{World, every_kind, intent_of, node, rendered, ruleset, same};
use crate::namespace::{assert_same, listing, sh, within};

/// Everything that the kernel tells of our table, with the handles left out, sorted where the order
/// says nothing.
fn told(family: Family) -> Vec<String> {
    let mut socket = Socket::open(SendBudget::default()).unwrap();
    let number = if family == Family::V4 { libc::AF_INET } else { libc::AF_INET6 };
    let to = To { family: u8::try_from(number).unwrap(), table: TABLE, sequence: 1 };
    let mut lines = Vec::new();
    let mut ask = |fill: &dyn Fn(&mut Encoder), handles: &'static [u16], sort: bool| {
        let mut request = Encoder::default();
        fill(&mut request);
        let mut told = Vec::new();
        socket.dump("everything", &request, |message| told.extend(show(message, handles))).unwrap();
        if sort {
            told.sort();
        }
        lines.extend(told);
    };
    // NFTA_TABLE_USE, NFTA_TABLE_HANDLE; NFTA_CHAIN_HANDLE, NFTA_CHAIN_USE; NFTA_RULE_HANDLE,
    // NFTA_RULE_POSITION; NFTA_SET_HANDLE.
    ask(&|out| to.dump_tables(out), &[3, 4], true);
    ask(&|out| to.dump_chains(out), &[2, 6], true);
    ask(&|out| to.dump_sets(out), &[16], true);
    for name in SetName::all() {
        ask(&|out| to.dump_elements(out, &name.to_string()), &[], true);
    }
    let chains: BTreeSet<String> = lines
        .iter()
        .filter_map(|line| line.split_once("chain=")?.1.split_once(' ').map(|(name, _)| name))
        .map(str::to_owned)
        .collect();
    assert!(chains.len() > 10, "{chains:?}");
    for chain in &chains {
        let mut request = Encoder::default();
        to.dump_rules(&mut request, Some(chain));
        socket.dump("rules", &request, |message| lines.extend(show(message, &[3, 6]))).unwrap();
    }
    lines
}

/// A message as text; each element of a set is a line of its own.
fn show(message: &Message<'_>, handles: &[u16]) -> Vec<String> {
    /// `NFTA_SET_ELEM_LIST_ELEMENTS`
    const ELEMENTS: u16 = 3;
    /// `NFTA_RULE_EXPRESSIONS`
    const EXPRESSIONS: u16 = 4;
    /// `NFTA_TABLE_USERDATA`
    const TABLE_USERDATA: u16 = 6;
    if message.kind >> 8 != SUBSYSTEM {
        return Vec::new();
    }
    let kind = message.kind & 0xff;
    let mut line = format!("{kind}");
    let mut lines = Vec::new();
    if kind == 3 {
        let _ = write!(line, " chain={} ", message.attributes().text(3).unwrap());
    }
    for one in message.attributes() {
        if kind == 12 && one.kind == ELEMENTS {
            let set = message.attributes().text(2).unwrap();
            lines.extend(one.nested().map(|element| format!("{set} {:02x?}", element.value)));
        } else if kind == 6 && one.kind == EXPRESSIONS {
            // What older nft writes and newer does not, and what does nothing.
            let names = |one: &Attribute<'_>| one.nested().text(1) != Some("byteorder");
            let said: Vec<&[u8]> = one.nested().filter(names).map(|one| one.value).collect();
            let _ = write!(line, " {said:02x?}");
        } else if kind == 0 && one.kind == TABLE_USERDATA {
            // Newer nft notes its own version behind the comment.
            let comment = one.value.get(..2 + usize::from(one.value[1])).unwrap();
            let _ = write!(line, " {comment:02x?}");
        } else if !handles.contains(&one.kind) {
            let _ = write!(line, " {}:{:02x?}", one.kind, one.value);
        }
    }
    // Messages of elements have no lines but their elements.
    if kind == 12 { lines } else { vec![line] }
}

/// Without session affinity in IPv6, whose text nft 1.0.6 cannot load.
fn loadable(family: Family) -> World {
    let mut world = every_kind();
    if family == Family::V6 {
        world.retain(|_, kind| kind.sticky.is_none());
    }
    world
}

fn every_node(family: Family) -> Vec<Ruleset> {
    let mut nodes = vec![node()];
    for local in [
        LocalTraffic::Interface("cni0".into()),
        LocalTraffic::InterfacePrefix("veth".into()),
        LocalTraffic::Unknown,
    ] {
        let mut node = node();
        node.local_traffic = PerFamily::of(|_| local.clone());
        node.node_ports = PerFamily::of(|_| NodePortAccept::AnyLocal { loopback: false });
        node.drop_invalid = false;
        nodes.push(node);
    }
    // Blocks that end within a byte, one up to the last address, and none.
    let mut last = node();
    last.local_traffic = PerFamily {
        ipv4: LocalTraffic::Source("10.64.0.0/11".parse().unwrap()),
        ipv6: LocalTraffic::Source("fd00:0:0:40::/61".parse().unwrap()),
    };
    last.service_cidrs = PerFamily {
        ipv4: BTreeSet::from(["240.0.0.0/4".parse().unwrap()]),
        ipv6: BTreeSet::from(["ffff::/16".parse().unwrap(), "::/8".parse().unwrap()]),
    };
    nodes.push(last);
    let mut none = node();
    none.service_cidrs = PerFamily::default();
    nodes.push(none);
    let world = loadable(family);
    nodes.into_iter().map(|node| rendered(&intent_of(&world, node, &[family]))).collect()
}

#[test]
fn the_kernel_holds_the_bytes_that_nft_sends() {
    for family in Family::ALL {
        for ruleset in every_node(family) {
            let text = ruleset.to_text(family);
            let by_nft = within(move || {
                sh("nft -f -", &text);
                (told(family), sh("nft list ruleset", ""))
            });
            let by_us = within(move || {
                Nftables::open().unwrap().reconcile(&ruleset).unwrap();
                let list = format!("nft list table {} {TABLE}", word(family));
                (told(family), sh(&list, ""))
            });
            assert_same(&by_us.1, &by_nft.1, "as listed");
            for (ours, theirs) in by_us.0.iter().zip(&by_nft.0) {
                assert_eq!(ours, theirs);
            }
            assert_eq!(by_us.0.len(), by_nft.0.len());
        }
    }
}

fn word(family: Family) -> &'static str {
    if family == Family::V4 { "ip" } else { "ip6" }
}

#[test]
fn what_is_read_is_what_was_written() {
    for family in Family::ALL {
        for ruleset in every_node(family) {
            within(move || {
                let mut nftables = Nftables::open().unwrap();
                nftables.reconcile(&ruleset).unwrap();
                let held = nftables.read().unwrap();
                assert_eq!(held.unreadable, Vec::<String>::new());
                same(&held.part, &ruleset.merged());
            });
        }
    }
    within(|| {
        let ruleset = ruleset(&every_kind());
        let mut nftables = Nftables::open().unwrap();
        nftables.reconcile(&ruleset).unwrap();
        same(&nftables.read().unwrap().part, &ruleset.merged());
    });
}

/// nft lists, loads what it listed, and we find nothing to do.
#[test]
fn a_listing_loads_and_is_ours_again() {
    within(|| {
        let mut world = every_kind();
        let with_affinity = ruleset(&world);
        let mut nftables = Nftables::open().unwrap();
        nftables.reconcile(&with_affinity).unwrap();
        assert!(listing().contains("typeof ip6 saddr . ip6 daddr . meta l4proto . th dport"));
        // nft 1.0.6 cannot load the rules of affinity in IPv6.
        world.retain(|_, kind| kind.sticky.is_none());
        let without = ruleset(&world);
        nftables.reconcile(&without).unwrap();
        let listed = listing();
        sh("nft flush ruleset; nft -f -", &listed);
        assert_same(&listing(), &listed, "loaded again");
        let written = Nftables::open().unwrap().reconcile(&without).unwrap();
        assert_eq!((written.messages, written.batches), (0, 0));
    });
}

#[test]
fn opening_writes_nothing() {
    within(|| {
        let nftables = Nftables::open().unwrap();
        assert_eq!(nftables.features().families, Family::ALL);
        assert!(nftables.features().counters);
        assert_eq!(listing(), "");
    });
}
