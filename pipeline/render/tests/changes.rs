//! What differs between two states of an owner: enough, and no more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fixture;

use std::collections::BTreeMap;
use std::sync::Arc;

use fixture::{
    backends, deliver, external_cluster, external_local, frontend, internal, many, no_endpoints,
    node, owner_of, refuse, server,
};
use model::{Family, Owner};
use plan::{FrontendKind, NodeIntent, PoolName, Refusal, Refuse, Routes, VirtualServer};
use proptest::prelude::*;
use render::iptables::{ChainId, Change, Options, Part, Rule, diff, owner};

/// What the kernel does with a change, for one owner.
fn apply(part: &Part, change: &Change) -> Part {
    let mut chains = part.chains.clone();
    chains.extend(change.write.clone());
    let mut shared: BTreeMap<ChainId, Vec<(u32, Rule)>> = BTreeMap::new();
    for (chain, rules) in &part.shared {
        shared.insert(chain.clone(), (0..).zip(rules.iter().cloned()).collect());
    }
    for new in &change.insert {
        let rules = shared.entry(new.chain.clone()).or_default();
        rules.push((new.key.index, new.rule.clone()));
    }
    for old in &change.remove {
        let rules = shared.get_mut(&old.chain).expect("a rule is removed from a known chain");
        let known = rules.iter().position(|(at, rule)| *at == old.key.index && *rule == old.rule);
        rules.remove(known.expect("a rule is removed that stands there"));
    }
    for chain in &change.delete {
        chains.remove(chain).expect("a known chain is deleted");
    }
    let in_order = |mut rules: Vec<(u32, Rule)>| {
        rules.sort_by_key(|(at, _)| *at);
        let places: Vec<_> = rules.iter().map(|(at, _)| *at).collect();
        let expected: Vec<_> = (0..).take(places.len()).collect();
        assert_eq!(places, expected, "one rule per place");
        rules.into_iter().map(|(_, rule)| rule).collect::<Vec<_>>()
    };
    let shared = shared.into_iter().map(|(chain, rules)| (chain, in_order(rules)));
    let shared = shared.filter(|(_, rules)| !rules.is_empty()).collect();
    let mut jumps = part.jumps.clone();
    jumps.extend(change.jumps.clone());
    Part { chains, shared, jumps }
}

fn routes() -> impl Strategy<Value = (Routes, Routes)> {
    let no_local = refuse(Refusal::NoLocalEndpoints, Refuse::Drop);
    prop_oneof![
        Just((internal(PoolName::Cluster), external_cluster())),
        Just((internal(PoolName::Cluster), external_local(true))),
        Just((internal(PoolName::Local), external_local(true))),
        Just((Routes::all(no_local), external_local(false))),
        Just((Routes::all(deliver(PoolName::Cluster, true)), external_cluster())),
        Just((no_endpoints(), no_endpoints())),
    ]
}

prop_compose! {
    fn one_server()(
        port in 0..3u16,
        family in prop_oneof![Just(Family::V4), Just(Family::V6)],
        (inner, outer) in routes(),
        kinds in prop::sample::subsequence(vec![0, 1, 2, 3], 0..=4),
        endpoints in 1..5u32,
        sticky in prop::option::of(1..100u32),
        fence in any::<bool>(),
        health in prop::option::of(Just(31000)),
    ) -> VirtualServer {
        let mut server = server(&format!("ns/svc:p{port}"), family);
        server.cluster = many(endpoints);
        server.local = server.cluster[..1].into();
        server.affinity_seconds = sticky;
        server.health_check_node_port = health;
        let all = [
            (FrontendKind::ClusterIP, "10.88.0.1", inner),
            (FrontendKind::ExternalIP, "192.0.2.1", outer),
            (FrontendKind::LoadBalancerIP, "192.0.2.2", outer),
            (FrontendKind::NodePort, "", outer),
        ];
        server.frontends = kinds
            .into_iter()
            .map(|index: usize| {
                let (kind, address, routes) = all[index];
                let mut frontend = frontend(kind, address, 80 + port, routes);
                if fence && kind == FrontendKind::LoadBalancerIP {
                    frontend.sources = Some(vec!["198.51.100.0/24".parse().unwrap()].into());
                }
                frontend
            })
            .collect();
        server
    }
}

fn some_owner() -> impl Strategy<Value = Option<Part>> {
    prop::option::of(prop::collection::vec(one_server(), 0..4))
        .prop_map(|servers| servers.map(|servers| owner(&node(), &servers, &Options::default())))
}

proptest! {
    #[test]
    fn a_change_makes_the_old_state_the_new_one(old in some_owner(), new in some_owner()) {
        let name = owner_of(&server("ns/svc", Family::V4));
        let change = diff(&name, old.as_ref(), new.as_ref());
        let result = apply(&old.clone().unwrap_or_default(), &change);
        prop_assert_eq!(result, new.clone().unwrap_or_default());
        for (chain, rules) in &change.write {
            let known = old.as_ref().and_then(|part| part.chains.get(chain));
            prop_assert_ne!(known, Some(rules), "an equal chain is sent again");
        }
        for rule in &change.insert {
            prop_assert!(!change.remove.contains(rule), "an equal rule is sent again");
            prop_assert_eq!(&rule.key.owner, &name);
        }
    }

    #[test]
    fn nothing_differs_from_itself(part in some_owner()) {
        let name = owner_of(&server("ns/svc", Family::V4));
        prop_assert_eq!(diff(&name, part.as_ref(), part.as_ref()), Change::default());
    }

    /// Every chain that is jumped to exists, and every chain that exists is jumped to.
    #[test]
    fn no_chain_is_missing_or_idle(servers in prop::collection::vec(one_server(), 0..4)) {
        let mut distinct: BTreeMap<_, VirtualServer> = BTreeMap::new();
        for server in servers {
            distinct.insert((server.name.clone(), server.family), server);
        }
        let servers: Vec<_> = distinct.into_values().collect();
        let intent = fixture::intent(node(), servers);
        let rules = render::iptables::ruleset(&intent, &Options::default());
        let (own, built_in) = (rules.chains(), rules.built_in());
        let mut reached = std::collections::BTreeSet::new();
        for (chain, rules) in own.iter().chain(&built_in) {
            for rule in rules {
                if let Some(render::iptables::Target::Jump(to)) = &rule.target {
                    let to = ChainId::new(chain.family, chain.table, to.clone());
                    prop_assert!(own.contains_key(&to), "{chain} leads to the missing {to}");
                    reached.insert(to);
                }
            }
        }
        for chain in own.keys() {
            let idle_base = &*chain.name == "KUBE-MARK-MASQ";
            prop_assert!(idle_base || reached.contains(chain), "nothing leads to {chain}");
        }
    }
}

#[test]
fn one_endpoint_more_touches_its_pools_chain_and_its_own() {
    let with = |endpoints: &[&str]| {
        let mut web = server("ns/web", Family::V4);
        web.cluster = backends(endpoints);
        web.frontends = vec![
            frontend(FrontendKind::ClusterIP, "10.88.0.1", 80, internal(PoolName::Cluster)),
            frontend(FrontendKind::NodePort, "", 30080, external_cluster()),
        ];
        (owner_of(&web), owner(&node(), &[web], &Options::default()))
    };
    let (name, old) = with(&["10.77.1.1:80", "10.77.1.2:80"]);
    let (_, new) = with(&["10.77.1.1:80", "10.77.1.3:80"]);
    let change = diff(&name, Some(&old), Some(&new));
    let starts = |chains: Vec<&ChainId>| {
        chains.iter().map(|chain| chain.name[..9].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(starts(change.write.keys().collect()), ["KUBE-SEP-", "KUBE-SVC-"]);
    assert_eq!(starts(change.delete.iter().collect()), ["KUBE-SEP-"]);
    assert!(change.insert.is_empty() && change.remove.is_empty() && change.jumps.is_empty());
}

#[test]
fn the_node_sends_its_jumps_once() {
    let (intent, options) = (node(), Options::default());
    let part = render::iptables::node(&intent, &options);
    let change = diff(&Owner::Node, None, Some(&part));
    assert_eq!(change.jumps, part.jumps);
    assert_eq!(change.write, part.chains);
    let liberal = NodeIntent { drop_invalid: false, ..intent };
    let new = render::iptables::node(&liberal, &options);
    let change = diff(&Owner::Node, Some(&part), Some(&new));
    let forward: Vec<Arc<str>> = change.write.keys().map(|chain| chain.name.clone()).collect();
    assert_eq!(forward, ["KUBE-FORWARD".into(), "KUBE-FORWARD".into()]);
    assert!(change.jumps.is_empty() && change.insert.is_empty() && change.delete.is_empty());
}
