//! Selectors, and what changes of policy facts concern.

#![allow(clippy::unwrap_used)] // tests: helpers beside the test functions

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{
    Change, Cluster, Demand, LabelSelector, Labels, Namespace, NamespacedName, Namespaces,
    NetworkPolicy, Owner, Peers, Pod, PodSelection, PolicyAction, PolicyFact, PolicyRule,
    Requirement,
};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect()
}

fn one(key: &str, demand: Demand) -> LabelSelector {
    LabelSelector::new([Requirement { key: key.into(), demand }])
}

fn values(list: &[&str]) -> Arc<[Arc<str>]> {
    list.iter().map(|value| Arc::from(*value)).collect()
}

fn pod(name: &str) -> Pod {
    Pod {
        name: NamespacedName::new("shop", name),
        uid: "".into(),
        labels: labels(&[("app", "web")]),
        ips: Arc::new(["10.77.1.4".parse().unwrap()]),
        node: Some("alpha".into()),
        host_network: false,
        finished: false,
        deleting: false,
        ports: Arc::default(),
        started: Some(5),
        created: None,
    }
}

#[test]
fn the_four_demands() {
    // Demand, then whether it meets app=web, app=db and no label at all.
    let table = [
        (Demand::In(values(&["web", "api"])), [true, false, false]),
        (Demand::In(values(&[])), [false, false, false]),
        (Demand::NotIn(values(&["web", "api"])), [false, true, true]),
        (Demand::Exists, [true, true, false]),
        (Demand::DoesNotExist, [false, false, true]),
    ];
    let objects = [labels(&[("app", "web"), ("z", "1")]), labels(&[("app", "db")]), labels(&[])];
    for (demand, expected) in table {
        let selector = one("app", demand);
        let found: Vec<bool> = objects.iter().map(|object| selector.matches(object)).collect();
        assert_eq!(found, expected, "{selector}");
    }
    assert!(objects.iter().all(|object| LabelSelector::default().matches(object)));
}

#[test]
fn all_requirements_must_be_met_and_their_order_is_nothing() {
    let app = Requirement { key: "app".into(), demand: Demand::In(values(&["web", "api"])) };
    let same =
        Requirement { key: "app".into(), demand: Demand::In(values(&["api", "web", "api"])) };
    let tier = Requirement { key: "tier".into(), demand: Demand::Exists };
    let selector = LabelSelector::new([tier.clone(), app.clone()]);
    assert_eq!(selector, LabelSelector::new([app, tier, same]));
    assert_eq!(selector.to_string(), "app in (api,web),tier");
    assert!(selector.matches(&labels(&[("app", "web"), ("tier", "")])));
    assert!(!selector.matches(&labels(&[("app", "web")])));
    assert!(!selector.matches(&labels(&[("tier", "x")])));
}

#[test]
fn a_selection_is_of_one_namespace_or_of_those_with_labels() {
    let web = one("app", Demand::In(values(&["web"])));
    let of_pod = labels(&[("app", "web")]);
    let own = PodSelection { namespaces: Namespaces::Named("shop".into()), pods: web.clone() };
    assert!(own.matches("shop", &labels(&[]), &of_pod));
    assert!(!own.matches("vault", &labels(&[]), &of_pod));
    let team = one("team", Demand::In(values(&["a"])));
    let others = PodSelection { namespaces: Namespaces::Selected(team), pods: web };
    assert!(others.matches("vault", &labels(&[("team", "a")]), &of_pod));
    assert!(!others.matches("vault", &labels(&[("team", "b")]), &of_pod));
    assert!(!others.matches("vault", &labels(&[("team", "a")]), &labels(&[])));
}

#[test]
fn a_rule_that_cannot_be_read_is_closed() {
    let accept = PolicyRule::closed(None, PolicyAction::Accept);
    assert_eq!((accept.action, accept.peers), (PolicyAction::Accept, Peers::AnyOf(vec![])));
    for action in [PolicyAction::Deny, PolicyAction::Pass] {
        let rule = PolicyRule::closed(None, action);
        assert_eq!((rule.action, rule.peers), (PolicyAction::Deny, Peers::Anybody));
    }
}

#[test]
fn policy_facts_concern_themselves_alone() {
    let mut cluster = Cluster::default();
    let concerned = |fact| BTreeSet::from([Owner::Policy(fact)]);
    let name = NamespacedName::new("shop", "a");
    let changed = concerned(PolicyFact::Pod(name.clone()));
    assert_eq!(cluster.apply(Change::Pod(pod("a"))), changed);
    assert_eq!(cluster.apply(Change::Pod(pod("a"))), BTreeSet::new());
    assert_eq!(cluster.apply(Change::Pods(vec![pod("a")])), BTreeSet::new());
    assert_eq!(cluster.apply(Change::PodGone(name)), changed);
    let namespace = Namespace::new("shop".into(), &labels(&[("team", "a")]));
    assert_eq!(
        cluster.apply(Change::Namespaces(vec![namespace])),
        concerned(PolicyFact::Namespace("shop".into()))
    );
    let policy = NetworkPolicy {
        name: NamespacedName::new("shop", "p"),
        pods: LabelSelector::default(),
        ingress: Some(vec![]),
        egress: None,
    };
    assert_eq!(
        cluster.apply(Change::NetworkPolicy(policy.clone())),
        concerned(PolicyFact::NetworkPolicy(policy.name.clone()))
    );
    assert_eq!(
        cluster.apply(Change::NetworkPolicies(vec![])),
        concerned(PolicyFact::NetworkPolicy(policy.name))
    );
}

#[test]
fn namespaces_carry_their_names() {
    let mut cluster = Cluster::default();
    let name: Arc<str> = "shop".into();
    let of_name = labels(&[("kubernetes.io/metadata.name", "shop")]);
    assert_eq!(cluster.namespace_labels(&name), of_name);
    // Another name in the label is put right.
    let given = labels(&[("kubernetes.io/metadata.name", "other"), ("team", "a")]);
    cluster.apply(Change::Namespace(Namespace::new(name.clone(), &given)));
    let expected = labels(&[("kubernetes.io/metadata.name", "shop"), ("team", "a")]);
    assert_eq!(cluster.namespace_labels(&name), expected);
}

#[test]
fn pods_of_a_namespace_are_its_own() {
    let mut cluster = Cluster::default();
    for (namespace, name) in [("sho", "z"), ("shop", "a"), ("shop", "b"), ("shop-2", "a")] {
        let name = NamespacedName::new(namespace, name);
        cluster.apply(Change::Pod(Pod { name, ..pod("x") }));
    }
    let names: Vec<String> =
        cluster.pods_of(&"shop".into()).map(|pod| pod.name.to_string()).collect();
    assert_eq!(names, ["shop/a", "shop/b"]);
}

#[test]
fn of_two_pods_with_one_address_the_younger_has_it() {
    let old = pod("a");
    let young = Pod { started: Some(6), ..pod("0") };
    assert!(young.claim(&old).is_gt());
    let unknown = Pod { started: None, created: Some(99), ..pod("z") };
    assert!(old.claim(&unknown).is_gt(), "one that runs has it before one that does not");
    assert!(!Pod { finished: true, ..pod("a") }.counts());
    assert!(!Pod { host_network: true, ..pod("a") }.counts());
    assert!(!Pod { ips: Arc::default(), ..pod("a") }.counts());
    assert!(Pod { deleting: true, ..pod("a") }.counts());
}
