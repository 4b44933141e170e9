//! What the kernel does not take costs its own Service alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Family, Owner};
use render::nftables::{
    Chain, ChainId, Clients, Content, Data, ElementId, Field, Part, Place, Ruleset, SetName,
    Statement, Value, Verdict,
};
use sync::Error;
use sync::netlink::SendBudget;
use sync::table::Nftables;

use crate::changes::Memory;
use crate::fixture::{Kind, World, address, owner, plain, ruleset, same};
use crate::namespace::within;

/// A frontend that claims another Service's cluster IP for a chain of its own.
fn claim(number: u32, of: u32, family: Family) -> (Owner, Part) {
    let key = vec![
        Value::Address(address(family, 96, of)),
        Value::Protocol(model::Protocol::Tcp),
        Value::Port(80),
    ];
    let chain = ChainId { family, name: format!("lb-of-{number}").into() };
    let set = SetName::Dispatch(Place::Address, Clients::All);
    let data = Data::Verdict(Verdict::Goto(chain.name.clone()));
    let mut part = Part::default();
    part.chains.insert(chain, Chain::default());
    part.elements.insert(ElementId { family, set, key }, Content { data, comment: None });
    (owner(number), part)
}

fn many(count: u32) -> World {
    (1..=count).map(|number| (number, plain(number, 3))).collect()
}

/// What is written where some owners are refused is what would be written without them.
fn refuses(mut ruleset: Ruleset, bad: BTreeMap<Owner, Part>, budget: SendBudget) {
    within(move || {
        let expected = ruleset.merged();
        let mut names: Vec<Owner> = bad.keys().cloned().collect();
        names.sort();
        ruleset.parts.extend(bad);
        let mut nftables = Nftables::open_with(budget).unwrap();
        let written = nftables.reconcile(&ruleset).unwrap();
        let refused: Vec<Owner> = written.refused.iter().map(|(owner, _)| owner.clone()).collect();
        assert_eq!(refused, names, "{:?}", written.refused);
        same(&nftables.read().unwrap().part, &expected);
        // The others may change; nothing is to be done for what was left out.
        let without = Ruleset {
            parts: ruleset.parts.clone().into_iter().filter(|(o, _)| !names.contains(o)).collect(),
            policy: ruleset.policy.clone(),
            options: ruleset.options,
        };
        let change = Memory::of(&without).take([super::changes::part(1, Some(&plain(1, 7)))]);
        nftables.apply(&change).unwrap();
        assert_eq!(nftables.reconcile(&ruleset).unwrap().refused.len(), names.len());
        same(&nftables.read().unwrap().part, &expected);
    });
}

#[test]
fn an_element_that_is_refused_costs_its_own_service() {
    for budget in [SendBudget::Forced, SendBudget::Bytes(20_000)] {
        refuses(ruleset(&many(300)), BTreeMap::from([claim(900, 150, Family::V4)]), budget);
    }
}

#[test]
fn each_of_several_is_found() {
    let bad = [(900, 3, Family::V4), (901, 250, Family::V4), (902, 7, Family::V6)];
    let bad = bad.into_iter().map(|(number, of, family)| claim(number, of, family));
    refuses(ruleset(&many(300)), bad.collect(), SendBudget::Forced);
}

/// A source block that overlaps with another's, of the frontend of a Service.
fn overlap(number: u32, of: u32, block: &str) -> (Owner, Part) {
    let key = vec![
        Value::Block(block.parse().unwrap()),
        Value::Address(address(Family::V4, 112, of)),
        Value::Protocol(model::Protocol::Tcp),
        Value::Port(80),
    ];
    let id = ElementId { family: Family::V4, set: SetName::AllowedSources, key };
    let nothing = Content { data: Data::Nothing, comment: None };
    (owner(number), Part { elements: BTreeMap::from([(id, nothing)]), ..Part::default() })
}

/// Only the kernel knows what overlaps.
#[test]
fn source_ranges_that_overlap_are_refused_one_by_one() {
    let world: World =
        (1..=200).map(|number| (number, Kind { outside: true, ..plain(number, 2) })).collect();
    for budget in [SendBudget::Forced, SendBudget::Bytes(100_000)] {
        let bad = [
            overlap(900, 3, "10.64.0.0/13"),
            overlap(901, 150, "198.51.100.128/25"),
            overlap(902, 199, "198.51.100.64/26"),
        ];
        refuses(ruleset(&world), BTreeMap::from(bad), budget);
    }
}

/// A chain that the kernel does not take costs those who need it.
#[test]
fn a_chain_that_is_refused_costs_those_who_need_it() {
    let id = ChainId { family: Family::V4, name: "lb-broken".into() };
    // A set where a map of verdicts is needed.
    let key = vec![Field::DestinationAddress];
    let rule = Statement::Dispatch { key, map: SetName::NodeIps };
    let chain = Chain { base: None, rules: vec![vec![rule]] };
    let part = Part { chains: BTreeMap::from([(id, chain)]), ..Part::default() };
    let bad = BTreeMap::from([(owner(900), part.clone()), (owner(901), part)]);
    refuses(ruleset(&many(20)), bad, SendBudget::Forced);
}

#[test]
fn what_cannot_be_told_to_the_kernel_is_refused_before_it_is_sent() {
    let id = ElementId {
        family: Family::V4,
        set: SetName::ClusterIps,
        key: vec![Value::Address(address(Family::V4, 96, 900))],
    };
    let with =
        |content| Part { elements: BTreeMap::from([(id.clone(), content)]), ..Part::default() };
    let long: Arc<str> = "x".repeat(300).into();
    let bad = BTreeMap::from([
        (owner(900), with(Content { data: Data::Nothing, comment: Some(long) })),
        (owner(901), with(Content { data: Data::Values(vec![Value::Port(1)]), comment: None })),
        (owner(902), {
            let id = ChainId { family: Family::V4, name: "n".repeat(256).into() };
            Part { chains: BTreeMap::from([(id, Chain::default())]), ..Part::default() }
        }),
    ]);
    refuses(ruleset(&many(20)), bad, SendBudget::Forced);
}

/// A change does not say whose its elements are: it is refused as a whole, and the reconciliation
/// that must follow tells.
#[test]
fn a_refused_change_asks_for_a_reconciliation() {
    within(|| {
        let before = ruleset(&many(20));
        let mut nftables = Nftables::open().unwrap();
        nftables.reconcile(&before).unwrap();
        let mut memory = Memory::of(&before);
        let (bad, part) = claim(900, 3, Family::V4);
        let change = memory.take([(bad.clone(), Some(part))]);
        let error = nftables.apply(&change).unwrap_err();
        assert!(matches!(error, Error::OutOfStep { .. }), "{error}");
        assert!(error.to_string().contains("service-ips"), "{error}");
        same(&nftables.read().unwrap().part, &before.merged());
        let written = nftables.reconcile(&memory.ruleset()).unwrap();
        assert_eq!(written.refused[0].0, bad);
        assert_eq!(written.refused.len(), 1);
        same(&nftables.read().unwrap().part, &before.merged());
    });
}

/// Without the node's own chains nothing makes sense.
#[test]
fn what_the_node_needs_is_an_error() {
    within(|| {
        let mut broken = ruleset(&many(3));
        let id = ChainId { family: Family::V4, name: "services".into() };
        let part = broken.parts.get_mut(&Owner::Node).unwrap();
        let key = vec![Field::SourceAddress];
        let wrong = Statement::Dispatch { key, map: SetName::NodeIps };
        part.chains.get_mut(&id).unwrap().rules.push(vec![wrong]);
        let mut nftables = Nftables::open().unwrap();
        let error = nftables.reconcile(&broken).unwrap_err();
        assert!(error.to_string().contains("services"), "{error}");
        assert_eq!(crate::namespace::listing(), "");
    });
}
