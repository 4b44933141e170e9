//! What an update touches, what it returns, and what stays shared.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Change, Host, Owner};

use super::{
    alpha, cluster, config, load_balancer, named, node_object, owner, pool, servers, service, slice,
};
use crate::{Config, Planner};

#[test]
fn an_empty_planner_is_the_plan_of_nothing() {
    let planner = Planner::new(config());
    let (intent, notices) = crate::plan(&model::Cluster::default(), &config());
    assert_eq!(planner.intent(), &intent);
    assert_eq!(planner.notices().cloned().collect::<Vec<_>>(), notices);
}

#[test]
fn one_endpoint_change_touches_one_service() {
    let mut cluster = cluster([
        alpha(),
        Change::Service(service("ns/a", &["10.88.0.1", "fd88::1"])),
        Change::Service(service("ns/b", &["10.88.0.2"])),
        Change::Slice(slice("ns/a", "4", 80, &["10.77.1.2 R"])),
        Change::Slice(slice("ns/a", "6", 80, &["fd77::2 R"])),
        Change::Slice(slice("ns/b", "4", 80, &["10.77.1.3 R"])),
    ]);
    let mut planner = Planner::new(config());
    planner.update(&cluster, &[owner("ns/a"), owner("ns/b"), Owner::Node].into());
    let before = planner.intent().clone();
    let owners =
        cluster.apply(Change::Slice(slice("ns/a", "4", 80, &["10.77.1.2 R", "10.77.1.9 R"])));
    assert_eq!(planner.update(&cluster, &owners), [owner("ns/a")].into());
    let after = planner.intent();
    let shared = |name| Arc::ptr_eq(&before.servers[&named(name)], &after.servers[&named(name)]);
    assert!(shared("ns/b") && !shared("ns/a"));
    let (old, new) = (servers(&before, "ns/a"), servers(after, "ns/a"));
    assert_eq!(pool(&new[0].cluster), ["10.77.1.2:80", "10.77.1.9:80"]);
    assert!(Arc::ptr_eq(&old[1].cluster, &new[1].cluster), "the other family's pool is shared");
    assert!(Arc::ptr_eq(&before.node, &after.node));
}

/// A change that leads to the same plan keeps the allocation and concerns nobody.
#[test]
fn equal_results_change_nothing() {
    let mut cluster = cluster([
        alpha(),
        Change::Service(service("ns/a", &["10.88.0.1"])),
        Change::Slice(slice("ns/a", "1", 80, &["10.77.1.2 R", "10.77.1.3 R"])),
    ]);
    let mut planner = Planner::new(config());
    planner.update(&cluster, &[owner("ns/a"), Owner::Node].into());
    let before = planner.intent().clone();
    let mut reordered = slice("ns/a", "1", 80, &["10.77.1.3 R", "10.77.1.2 R"]);
    reordered.version = 99;
    let mut labelled = service("ns/a", &["10.88.0.1"]);
    labelled.selector.insert("app".into(), "a".into());
    let same_node = Change::Node(model::Node {
        taints: vec![model::Taint { key: "k".into(), effect: "NoSchedule".into() }],
        ..node_object("alpha", "10.9.0.1", Some("red"))
    });
    let unheard_of = Change::Slice(slice("ns/unknown", "1", 80, &["10.77.1.2 R"]));
    for change in [Change::Slice(reordered), Change::Service(labelled), same_node, unheard_of] {
        let owners = cluster.apply(change);
        assert_eq!(owners.len(), 1);
        assert!(planner.update(&cluster, &owners).is_empty(), "{owners:?}");
        let a = named("ns/a");
        assert!(Arc::ptr_eq(&before.servers[&a], &planner.intent().servers[&a]));
        assert!(Arc::ptr_eq(&before.node, &planner.intent().node));
    }
}

/// A node's zone and address concern Services, its other facts do not.
#[test]
fn node_facts_concern_those_that_depend_on_them() {
    let mut ranged = load_balancer("ns/ranged", "10.88.0.1", "203.0.113.4");
    ranged.source_ranges = vec![super::cidr("10.9.5.0/24")];
    let mut cluster = cluster([
        alpha(),
        Change::Service(ranged),
        Change::Service(service("ns/hinted", &["10.88.0.2"])),
        Change::Slice(slice(
            "ns/hinted",
            "1",
            80,
            &["10.77.1.2 R zones=red", "10.77.1.3 R zones=blue"],
        )),
    ]);
    let mut planner = Planner::new(config());
    planner.update(&cluster, &[owner("ns/ranged"), owner("ns/hinted"), Owner::Node].into());
    let mut step = |address: &str, zone| {
        let owners = cluster.apply(Change::Node(node_object("alpha", address, zone)));
        assert_eq!(owners, BTreeSet::from([Owner::Node]));
        planner.update(&cluster, &owners)
    };
    assert_eq!(step("10.9.0.1", Some("blue")), [owner("ns/hinted")].into());
    assert_eq!(step("10.9.5.1", Some("blue")), [owner("ns/ranged")].into());
    assert_eq!(step("10.9.5.1", Some("green")), [owner("ns/hinted")].into());
    // No zone is as good as one that no hint names.
    assert_eq!(step("10.9.5.1", None), [].into());
    assert_eq!(step("10.9.5.1", Some("")), [].into());
    let owners =
        cluster.apply(Change::Host(Host { conntrack_be_liberal: true, ..Host::default() }));
    assert_eq!(planner.update(&cluster, &owners), [Owner::Node].into());
}

/// A Service and its slices may come in any order, and go in any order.
#[test]
fn slices_before_their_service() {
    let mut cluster = cluster([alpha()]);
    let mut planner = Planner::new(config());
    planner.update(&cluster, &[Owner::Node].into());
    let mut step = |change| {
        let owners = cluster.apply(change);
        let changed = planner.update(&cluster, &owners);
        let pools = servers(planner.intent(), "ns/a").iter().map(|s| s.cluster.len()).collect();
        (changed.len(), pools)
    };
    let nothing: Vec<usize> = vec![];
    assert_eq!(step(Change::Slice(slice("ns/a", "1", 80, &["10.77.1.2 R"]))), (0, nothing.clone()));
    assert_eq!(step(Change::Service(service("ns/a", &["10.88.0.1"]))), (1, vec![1]));
    assert_eq!(step(Change::SliceGone(named("ns/a-1"))), (1, vec![0]));
    assert_eq!(step(Change::ServiceGone(named("ns/a"))), (1, nothing));
}

/// B5, kpng#8: 200 Services with 200 slices in one burst.
#[test]
fn a_burst_reaches_every_service() {
    let mut cluster = cluster([alpha()]);
    let mut planner = Planner::new(config());
    let mut owners: BTreeSet<Owner> = [Owner::Node].into();
    for n in 0..200 {
        let name = format!("ns/s{n}");
        let endpoints: Vec<String> = (0..4).map(|e| format!("10.77.{n}.{e} R")).collect();
        let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
        let object = Change::Service(service(&name, &[&format!("10.88.1.{n}")]));
        let slice = Change::Slice(slice(&name, "1", 80, &endpoints));
        let pair = if n % 2 == 0 { [object, slice] } else { [slice, object] };
        pair.into_iter().for_each(|change| owners.extend(cluster.apply(change)));
    }
    assert_eq!(planner.update(&cluster, &owners).len(), 200);
    assert!(planner.intent().servers.values().all(|servers| servers[0].cluster.len() == 4));
}

/// The Intent is a border: it prints as JSON.
#[test]
fn the_intent_prints() {
    let (intent, _) = super::planned([
        Change::Service(load_balancer("ns/a", "10.88.0.1", "203.0.113.4")),
        Change::Slice(slice("ns/a", "1", 80, &["10.77.1.2@alpha R"])),
    ]);
    let text = serde_json::to_string(&intent).unwrap();
    for part in ["\"ns/a\"", "10.88.0.1", "10.77.1.2:80", "\"node\":\"alpha\""] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

/// A name that differs in case or is empty is another node.
#[test]
fn locality_needs_this_nodes_name() {
    let here = Change::Slice(slice("ns/a", "1", 80, &["10.77.1.2@alpha R"]));
    let cluster = cluster([Change::Service(service("ns/a", &["10.88.0.1"])), here]);
    for (name, local) in [("alpha", true), ("Alpha", false), ("", false)] {
        let config = Config { node_name: name.into(), ..config() };
        let (intent, _) = crate::plan(&cluster, &config);
        assert_eq!(servers(&intent, "ns/a")[0].cluster[0].local, local, "{name:?}");
    }
}
