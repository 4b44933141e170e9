//! Changes: incremental equals whole, on paper and in the kernel.

use model::{Family, NamespacedName, Owner};
use plan::VirtualServer;

use super::super::{Change, Options, Part, Ruleset, SetName, Uses, diff, node};
use super::fixture::{
    cluster_ip, cluster_policy, everything, local, local_policy, node as fixture_node, node_port,
    part_of, rendered, server, sticky, sticky_everything, with,
};
use super::kernel::in_namespace;

/// An agent's memory: the rules as the kernel took them.
#[derive(Default)]
struct Agent {
    uses: Uses,
    parts: std::collections::BTreeMap<Owner, Part>,
}

impl Agent {
    /// Takes new parts for some owners; an owner without servers is gone.
    fn update(&mut self, owners: &[(&str, Option<VirtualServer>)]) -> Change {
        let new: Vec<(Owner, Option<Part>)> = owners
            .iter()
            .map(|(name, server)| {
                let owner_name = Owner::Service(NamespacedName::new("default", *name));
                let part = server.as_ref().map(|server| part_of(server.clone()).unwrap());
                (owner_name, part)
            })
            .collect();
        self.take(new)
    }

    fn take(&mut self, new: Vec<(Owner, Option<Part>)>) -> Change {
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

    fn with_node() -> (Self, Change) {
        let mut agent = Self::default();
        let part = node(&fixture_node(), &Options::default());
        let change = agent.take(vec![(Owner::Node, Some(part))]);
        (agent, change)
    }

    fn ruleset(&self) -> Ruleset {
        Ruleset { parts: self.parts.clone(), policy: Part::default(), options: Options::default() }
    }
}

/// What a kernel would hold.
fn apply(held: &mut Part, change: &Change) {
    for (id, chain) in &change.write {
        held.chains.insert(id.clone(), chain.clone());
    }
    for id in &change.remove {
        assert!(held.elements.remove(id).is_some(), "{id:?} is not there to remove");
    }
    for (id, content) in &change.add {
        assert!(held.elements.insert(id.clone(), content.clone()).is_none(), "{id:?} is there");
    }
    for id in &change.delete {
        assert!(held.chains.remove(id).is_some(), "{id:?} is not there to delete");
    }
}

type Step = Vec<(&'static str, Option<VirtualServer>)>;

fn steps() -> Vec<Step> {
    let [a, b, c] = ["10.244.1.10:8080", "10.244.1.11:8080", "10.244.1.12:8080"];
    let web = |pods: &[&str]| with(server("web", pods), cluster_ip("10.96.0.10", cluster_policy()));
    let api = |pods: &[&str], vip| with(server("api", pods), cluster_ip(vip, cluster_policy()));
    let edge = |pods: &[&str]| {
        with(local(server("edge", pods), &pods[..1]), node_port(30_090, local_policy()))
    };
    let pinned = |pods: &[&str]| {
        with(sticky(server("pinned", pods), 60), cluster_ip("10.96.0.50", cluster_policy()))
    };
    vec![
        vec![("web", Some(web(&[a, b]))), ("edge", Some(edge(&[a, b, c])))],
        vec![("api", Some(api(&[a, c], "10.96.0.11")))],
        vec![("web", Some(web(&[a, c])))],
        vec![("web", Some(web(&[a])))],
        vec![("pinned", Some(pinned(&[a, b])))],
        vec![("pinned", Some(pinned(&[b, c]))), ("web", Some(web(&[a, b, c])))],
        // The address passes from one to the other.
        vec![("api", Some(api(&[a, c], "10.96.0.10"))), ("web", None)],
        vec![("edge", None), ("api", None)],
        vec![("pinned", None)],
    ]
}

#[test]
fn incremental_equals_whole() {
    let (mut agent, first) = Agent::with_node();
    let mut held = Part::default();
    apply(&mut held, &first);
    for (number, step) in steps().iter().enumerate() {
        let change = agent.update(step);
        apply(&mut held, &change);
        assert_eq!(held, agent.ruleset().merged(), "step {number}");
        assert!(agent.update(step).is_empty(), "step {number} again changes nothing");
    }
    let (mut empty, _) = Agent::with_node();
    assert_eq!(agent.uses, empty.uses);
    assert!(empty.update(&[("web", None)]).is_empty());
}

#[test]
fn one_endpoint_replaced_is_two_elements() {
    let (mut agent, _) = Agent::with_node();
    let web = |pods: &[&str]| with(server("web", pods), cluster_ip("10.96.0.10", cluster_policy()));
    agent.update(&[("web", Some(web(&["10.244.1.10:8080", "10.244.1.11:8080"])))]);
    let change = agent.update(&[("web", Some(web(&["10.244.1.10:8080", "10.244.1.12:8080"])))]);
    let sets = |ids: Vec<SetName>| ids.iter().map(SetName::to_string).collect::<Vec<_>>();
    assert_eq!(
        sets(change.remove.iter().map(|id| id.set.clone()).collect()),
        ["hairpin", "endpoints"]
    );
    assert_eq!(
        sets(change.add.keys().map(|id| id.set.clone()).collect()),
        ["hairpin", "endpoints"]
    );
    assert!(change.write.is_empty() && change.delete.is_empty(), "no chain, so no validation");
}

/// The elements of every change applied by nft, one change after another, leave what a load from
/// nothing leaves. The chains are all there from the start: nft up to 1.1.7 loads a rule with `dnat
/// to … map @endpoints` together with the map, but not into a table that has the map ("conflicting
/// protocols specified: ip vs. th"); our own encoder is not concerned.
#[test]
fn changes_lead_the_kernel_to_the_whole() {
    let (mut agent, _) = Agent::with_node();
    let everything: Vec<Change> = steps().iter().map(|step| agent.update(step)).collect();
    let written = everything.iter().flat_map(|change| &change.write);
    let chains = written.map(|(id, chain)| (id.clone(), chain.clone())).collect();
    let chains = Part { chains, ..Part::default() };
    let with_chains = |agent: &Agent| {
        let mut ruleset = agent.ruleset();
        let spare = Owner::Service(NamespacedName::new("test", "chains"));
        ruleset.parts.insert(spare, chains.clone());
        ruleset.to_text(Family::V4)
    };
    let (mut agent, _) = Agent::with_node();
    let mut changes = vec![with_chains(&agent)];
    let mut whole = changes.clone();
    for step in steps() {
        let text = agent.update(&step).to_text(Family::V4);
        let elements = text.lines().filter(|line| line.contains(" element "));
        changes.push(elements.map(|line| format!("{line}\n")).collect());
        whole.push(with_chains(&agent));
    }
    let script = r#"
        half=$(($# / 2)); number=0
        for change in "$@"; do
            number=$((number + 1)); [ $number -gt $half ] && break
            eval "load=\${$((number + half))}"
            $NFT -f "$change"
            $NFT list ruleset > "$change.changed"
            unshare --net sh -ec '$NFT -f "$1"; $NFT list ruleset' sh "$load" > "$change.loaded"
            diff "$change.loaded" "$change.changed" >&2
            rm "$change.loaded" "$change.changed"
        done
        echo $((number - 1)) compared
    "#;
    let all: Vec<&str> = changes.iter().chain(&whole).map(String::as_str).collect();
    let compared = in_namespace(script, &all).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(compared.trim(), format!("{} compared", changes.len()));
}

/// Two Services on different ports of one cluster IP: it is theirs until the last has left.
#[test]
fn a_cluster_ip_of_two_services_stays_with_the_second() {
    let (mut agent, _) = Agent::with_node();
    let at = |name, port| {
        let mut frontend = cluster_ip("10.96.0.10", cluster_policy());
        frontend.port = port;
        Some(with(server(name, &["10.244.1.10:8080"]), frontend))
    };
    let cluster_ips = |change: &Change| {
        let count = |ids: Vec<SetName>| ids.iter().filter(|id| **id == SetName::ClusterIps).count();
        let added = count(change.add.keys().map(|id| id.set.clone()).collect());
        (added, count(change.remove.iter().map(|id| id.set.clone()).collect()))
    };
    assert_eq!(cluster_ips(&agent.update(&[("web", at("web", 80))])), (1, 0));
    assert_eq!(cluster_ips(&agent.update(&[("api", at("api", 443))])), (0, 0));
    assert_eq!(cluster_ips(&agent.update(&[("web", None)])), (0, 0));
    assert_eq!(cluster_ips(&agent.update(&[("api", None)])), (0, 1));
}

#[test]
fn the_order_of_owners_does_not_matter() {
    let mut servers = [everything(), sticky_everything()].concat();
    let text = rendered(servers.clone()).to_text(Family::V4);
    servers.reverse();
    assert_eq!(rendered(servers).to_text(Family::V4), text);
}
