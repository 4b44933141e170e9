//! The shape: what is there, and what is not.

use std::collections::BTreeSet;

use model::Family;
use plan::{Backend, PoolName, Refusal, Refuse, Route, Routes};

use super::super::balance::endpoint_ids;
use super::super::{
    Clients, Content, Data, ElementId, Error, Options, Place, SetName, Value, Verdict, owner,
};
use super::fixture::{
    cluster_ip, cluster_policy, deliver, everything, ip, local, local_policy, node as fixture_node,
    node_port, part_of, rendered, server, sticky, with,
};

fn backends(count: u32) -> Vec<Backend> {
    let address = |index: u32| std::net::Ipv4Addr::from(0x0af4_0000 + index);
    let backend =
        |index| Backend { address: (address(index), 8080).into(), local: false, unplaced: false };
    (0..count).map(backend).collect()
}

#[test]
fn a_hundred_objects_need_no_chain_more_than_one() {
    let service = |number: u32| {
        let one = server(&format!("web{number}"), &["10.244.1.10:8080", "10.244.1.11:8080"]);
        with(one, cluster_ip(&format!("10.96.1.{number}"), cluster_policy()))
    };
    let one = rendered(vec![service(1)]).merged();
    let hundred = rendered((1..=100).map(service).collect()).merged();
    assert_eq!(one.chains, hundred.chains);
    // A cluster IP, a frontend and two endpoints each; the two hairpins are the same.
    assert_eq!(hundred.elements.len() - one.elements.len(), 99 * 4);
}

/// Each slot holds another backend, so that a random number below the count is a uniform choice.
#[test]
fn every_endpoint_has_one_slot() {
    for count in [1, 3, 320, 5_000] {
        let mut one = server("web", &[]);
        one.cluster = backends(count).into();
        let part = part_of(with(one, cluster_ip("10.96.0.1", cluster_policy())));
        let part = part.unwrap();
        let slots: Vec<_> = part
            .elements
            .iter()
            .filter(|(id, _)| id.set == SetName::Endpoints(Place::Address, PoolName::Cluster))
            .collect();
        let indices = slots.iter().map(|(id, _)| id.key.last().copied().unwrap());
        assert!(indices.eq((0..count).map(Value::Index)));
        let data: BTreeSet<String> =
            slots.iter().map(|(_, content)| format!("{:?}", content.data)).collect();
        assert_eq!(data.len(), count as usize);
        let chain = format!("lb-{count}-masquerade-unless-pod");
        assert!(part.chains.keys().any(|id| *id.name == chain), "{chain}");
    }
}

#[test]
fn an_endpoint_keeps_its_id_while_others_come_and_go() {
    let all = backends(5_000);
    let ids = endpoint_ids(&all);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 5_000, "ids are distinct");
    for id in &ids {
        assert_eq!((id & 0xf, id >> 30), (0, 1), "{id:x} means something to queueing");
    }
    let (few, expected): (Vec<Backend>, Vec<u32>) =
        all.iter().zip(&ids).step_by(7).map(|(backend, id)| (*backend, *id)).unzip();
    let kept = endpoint_ids(&few).iter().zip(&expected).filter(|(one, other)| one == other).count();
    // Those that once hashed like an earlier one have another id now; with 5,000 endpoints and
    // 2²⁶ ids that is one in a thousand at most.
    assert!(kept + 2 >= few.len(), "{kept} of {}", few.len());
}

#[test]
fn outsiders_have_a_map_of_their_own_where_they_are_treated_otherwise() {
    let three = ["10.244.1.10:8080", "10.244.1.11:8080", "10.244.1.12:8080"];
    let edge = local(server("edge", &three), &three[..1]);
    let edge = with(edge, cluster_ip("10.96.0.20", cluster_policy()));
    let part = part_of(with(edge, node_port(30_090, local_policy()))).unwrap();
    let verdicts: Vec<String> = part
        .elements
        .iter()
        .filter(|(id, _)| matches!(id.set, SetName::Dispatch(..)))
        .map(|(id, content)| match &content.data {
            Data::Verdict(Verdict::Goto(chain)) => format!("{}: {chain}", id.set),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        verdicts,
        [
            "service-ips: lb-3-masquerade-unless-pod",
            "outside-node-ports: local-node-port-lb-1",
            "node-ports: node-port-lb-3-masquerade-unless-pod",
        ]
    );
}

#[test]
fn a_refusal_says_why_in_the_name_of_its_chain() {
    for (why, with_what, chain, verdict) in [
        (Refusal::NoEndpoints, Refuse::Reject, "no-endpoints-reject", Verdict::Reject),
        (Refusal::NoEndpoints, Refuse::Drop, "no-endpoints-drop", Verdict::Drop),
        (Refusal::NoLocalEndpoints, Refuse::Reject, "no-local-endpoints-reject", Verdict::Reject),
        (Refusal::NoLocalEndpoints, Refuse::Drop, "no-local-endpoints-drop", Verdict::Drop),
    ] {
        let routes = Routes::all(Route::Refuse { why, with: with_what });
        let part = part_of(with(server("x", &[]), cluster_ip("10.96.0.9", routes)));
        let part = part.unwrap();
        let (id, refusing) = part.chains.first_key_value().unwrap();
        assert_eq!((&*id.name, part.chains.len()), (chain, 1));
        assert_eq!(refusing.rules, [[super::super::Statement::Verdict(verdict)]]);
    }
}

#[test]
fn source_blocks_are_joined_and_everybody_is_no_guard() {
    let guarded = |sources: &[&str]| {
        let mut frontend = cluster_ip("203.0.113.1", cluster_policy());
        frontend.kind = plan::FrontendKind::LoadBalancerIP;
        frontend.sources = Some(sources.iter().map(|text| text.parse().unwrap()).collect());
        let part = part_of(with(server("lb", &["10.244.1.10:80"]), frontend));
        let keys = part.unwrap().elements.into_keys();
        let of = |set: SetName, keys: &[ElementId]| {
            let keys = keys.iter().filter(|id| id.set == set);
            keys.map(|id| id.key.clone()).collect::<Vec<_>>()
        };
        let keys: Vec<ElementId> = keys.collect();
        (of(SetName::Guarded, &keys).len(), of(SetName::AllowedSources, &keys))
    };
    let (count, allowed) = guarded(&["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8"]);
    assert_eq!((count, allowed.len()), (1, 1));
    assert_eq!(allowed[0][0], Value::Block("10.0.0.0/7".parse().unwrap()));
    assert_eq!(guarded(&["0.0.0.0/1", "128.0.0.0/1"]), (0, vec![]));
    assert_eq!(guarded(&[]), (1, vec![]), "no source is nobody");
}

#[test]
fn a_comment_is_never_longer_than_nft_takes() {
    let long = "n".repeat(63);
    let one = with(server(&long, &["10.244.1.10:80"]), cluster_ip("10.96.0.1", cluster_policy()));
    let mut one = one;
    one.name.service.namespace = long.as_str().into();
    let part = part_of(one).unwrap();
    let dispatch = SetName::Dispatch(Place::Address, Clients::All);
    let (_, content) = part.elements.iter().find(|(id, _)| id.set == dispatch).unwrap();
    let comment = content.comment.as_deref().unwrap();
    assert_eq!(comment.len(), Content::COMMENT);
    assert!(comment.ends_with("..."), "{comment}");
}

#[test]
fn what_the_shape_cannot_say_is_an_error() {
    let to = |pod, node| {
        let outside = deliver(PoolName::Cluster, true);
        let frontend = cluster_ip("10.96.0.1", Routes { pod, node, outside });
        part_of(with(server("web", &["10.244.1.10:80"]), frontend))
    };
    let (plain, marked) = (deliver(PoolName::Cluster, false), deliver(PoolName::Cluster, true));
    assert!(to(plain, marked).is_ok());
    let error = to(marked, plain).unwrap_err();
    assert_eq!(error, Error::PodAndNodeDiffer { port: "default/web:http".into() });
    assert!(to(plain, deliver(PoolName::Local, false)).is_err());
    let empty = with(server("web", &[]), cluster_ip("10.96.0.1", cluster_policy()));
    assert!(matches!(part_of(empty), Err(Error::EmptyPool { .. })));
}

/// Without a way to tell Pods, their routes are those of outsiders, and so differ from the node's.
#[test]
fn where_pods_cannot_be_told_their_routes_do_not_matter() {
    let mut node = fixture_node();
    node.local_traffic.ipv4 = plan::LocalTraffic::Unknown;
    let local_only = deliver(PoolName::Local, false);
    let routes =
        Routes { pod: local_only, node: deliver(PoolName::Cluster, true), outside: local_only };
    let two = ["10.244.1.10:8080", "10.244.1.11:8080"];
    let edge = with(local(server("edge", &two), &two[..1]), node_port(30_090, routes));
    assert!(part_of(edge.clone()).is_err());
    let part = owner(&node, &[edge], &Options::default()).unwrap();
    let chains: Vec<&str> = part.chains.keys().map(|id| &*id.name).collect();
    assert_eq!(chains, ["local-node-port-lb-1", "node-port-lb-2-masquerade"]);
}

#[test]
fn affinity_is_one_map_whoever_asks_for_it() {
    let two = ["10.244.1.10:8080", "10.244.1.11:8080"];
    let service = |number: u32, seconds| {
        let one = sticky(server(&format!("s{number}"), &two), seconds);
        with(one, cluster_ip(&format!("10.96.2.{number}"), cluster_policy()))
    };
    let text =
        rendered(vec![service(1, 60), service(2, 60), service(3, 10_800)]).to_text(Family::V4);
    assert_eq!(text.matches("flags dynamic,timeout").count(), 1);
    assert_eq!(text.matches("chain lb-2-sticky-").count(), 2, "one chain for each timeout");
    assert!(text.contains("timeout 1m : meta priority"), "{text}");
    assert!(text.contains("timeout 3h : meta priority"), "{text}");
}

#[test]
fn both_families_are_told_apart() {
    let all = rendered(everything());
    let (four, six) = (all.to_text(Family::V4), all.to_text(Family::V6));
    assert!(!four.contains("ip6") && !four.contains("fd96::"));
    assert!(!six.contains("ip daddr") && !six.contains("10.96."));
    assert!(six.contains(&ip("fd44::1:10").to_string()));
}
