//! The whole plan, from nothing or for the owners that a change concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{Cluster, NamespacedName, Notice, Owner, PolicyFact};

use crate::config::Config;
use crate::conflicts::{Claims, Touched};
use crate::draft::{Draft, draft, reuse};
use crate::intent::{Intent, VirtualServer};
use crate::node::{NodeFacts, node_facts, node_intent};
use crate::policy::{PolicyChanges, PolicyPlanner};

/// Plans everything from nothing: the [`Intent`] of the node that `config` names, and what had to be
/// left out, sorted by owner.
#[must_use]
pub fn plan(cluster: &Cluster, config: &Config) -> (Intent, Vec<Notice>) {
    let mut planner = Planner::new(config.clone());
    planner.update(cluster, &owners(cluster));
    let notices = planner.notices().cloned().collect();
    (Arc::unwrap_or_clone(planner.intent), notices)
}

/// Every owner that a cluster gives a part of the Intent to.
#[must_use]
pub fn owners(cluster: &Cluster) -> BTreeSet<Owner> {
    let services = cluster.services().keys().cloned().map(Owner::Service);
    // The labels of Namespaces are looked up for the Pods in them.
    let pods = cluster.pods().keys().cloned().map(PolicyFact::Pod);
    let policies = cluster.network_policies().keys().cloned().map(PolicyFact::NetworkPolicy);
    let of_cluster = cluster.cluster_network_policies().keys().cloned();
    let of_cluster = of_cluster.map(PolicyFact::ClusterNetworkPolicy);
    let facts = pods.chain(policies).chain(of_cluster).map(Owner::Policy);
    services.chain(facts).chain([Owner::Node]).collect()
}

/// Keeps an [`Intent`] up to date as a [`Cluster`] changes. After any sequence of updates it holds
/// what [`plan`] computes from nothing, provided that each update names the owners that
/// [`Cluster::apply`] named since the last one.
#[derive(Clone, Debug)]
pub struct Planner {
    config: Config,
    facts: NodeFacts,
    intent: Arc<Intent>,
    /// What each Service would ask for if it were alone; one that asks and says nothing is not here.
    drafts: BTreeMap<NamespacedName, Draft>,
    claims: Claims,
    node_notices: Vec<Notice>,
    /// What each Service lost to others, where it lost anything.
    losses: BTreeMap<NamespacedName, Vec<Notice>>,
    /// Services whose own draft leaves something out.
    faulty: BTreeSet<NamespacedName>,
    /// Whether the notices may be others than when somebody last asked.
    notices_differ: bool,
    policy: PolicyPlanner,
}

impl Planner {
    /// The plan of an empty cluster. It counts as known: [`Planner::update`] names what differs from
    /// it, so whoever begins to render takes the whole [`Planner::intent`] first.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let nothing = Cluster::default();
        let (node, node_notices) = node_intent(&nothing, &config);
        let policy = PolicyPlanner::new(&config);
        Self {
            facts: node_facts(&nothing, &config),
            intent: Arc::new(Intent {
                node: Arc::new(node),
                servers: BTreeMap::new(),
                policy: policy.nothing(),
            }),
            policy,
            drafts: BTreeMap::new(),
            claims: Claims::default(),
            node_notices,
            losses: BTreeMap::new(),
            faulty: BTreeSet::new(),
            notices_differ: true,
            config,
        }
    }

    /// Recomputes these owners, and those that a change of them drags along: the Services that win
    /// or lose an address by it, or all Services when a fact of the node changes that they depend
    /// on (its zone, its addresses, whether Pods can be told). Returns the owners whose part of the
    /// Intent is different now; parts that came out equal keep their allocation. What differs of the
    /// policies is not among them: [`Planner::take_policy_changes`] says it.
    pub fn update(&mut self, cluster: &Cluster, owners: &BTreeSet<Owner>) -> BTreeSet<Owner> {
        let intent = Arc::make_mut(&mut self.intent);
        self.policy.update(&mut intent.policy, cluster, owners);
        let of_policies = owners.iter().any(|owner| matches!(owner, Owner::Policy(_)));
        self.notices_differ |= of_policies;
        let mut changed = BTreeSet::new();
        let mut concerned: BTreeSet<NamespacedName> = owners
            .iter()
            .filter_map(|owner| match owner {
                Owner::Service(name) => Some(name.clone()),
                Owner::Node | Owner::Policy(_) => None,
            })
            .collect();
        if owners.contains(&Owner::Node) {
            self.update_node(cluster, &mut changed, &mut concerned);
        }
        let mut touched = Touched::default();
        concerned.retain(|name| self.update_draft(cluster, name, &mut touched));
        let mut unsettled = concerned;
        unsettled.extend(self.claims.dragged_along(&touched));
        let settled = unsettled.into_iter().filter(|name| self.settle(name));
        // All at once: in order, that takes no comparison of names where there was nothing before.
        changed.append(&mut settled.map(Owner::Service).collect());
        changed
    }

    fn update_node(
        &mut self,
        cluster: &Cluster,
        changed: &mut BTreeSet<Owner>,
        concerned: &mut BTreeSet<NamespacedName>,
    ) {
        let (node, notices) = node_intent(cluster, &self.config);
        self.notices_differ |= self.node_notices != notices;
        self.node_notices = notices;
        if *self.intent.node != node {
            Arc::make_mut(&mut self.intent).node = Arc::new(node);
            changed.insert(Owner::Node);
        }
        let facts = node_facts(cluster, &self.config);
        if self.facts != facts {
            self.facts = facts;
            concerned.extend(cluster.services().keys().cloned());
        }
    }

    /// Plans a Service by itself again; says whether that came out different.
    fn update_draft(
        &mut self,
        cluster: &Cluster,
        name: &NamespacedName,
        touched: &mut Touched,
    ) -> bool {
        let mut new = draft(cluster, name, &self.facts, &self.config);
        let old = self.drafts.remove(name).unwrap_or_default();
        reuse(&mut new, &old);
        let differs = new != old;
        if new.notices != old.notices {
            self.notices_differ = true;
            if new.notices.is_empty() {
                self.faulty.remove(name);
            } else {
                self.faulty.insert(name.clone());
            }
        }
        if differs {
            self.claims.withdraw(&old, touched);
            self.claims.enter(&new, touched);
        }
        if !new.servers.is_empty() || !new.notices.is_empty() {
            self.drafts.insert(name.clone(), new);
        }
        differs
    }

    /// Puts what remains of a Service's draft into the Intent; says whether that is different now.
    fn settle(&mut self, name: &NamespacedName) -> bool {
        let draft = self.drafts.get(name);
        let settled = draft.and_then(|draft| self.claims.settle(draft));
        let (servers, losses): (Arc<[VirtualServer]>, _) = match (draft, settled) {
            (_, Some((servers, losses))) => (servers.into(), losses),
            (Some(draft), None) => (draft.servers.clone(), Vec::new()),
            (None, None) => (Arc::default(), Vec::new()),
        };
        let lost_before = if losses.is_empty() {
            self.losses.remove(name)
        } else {
            self.losses.insert(name.clone(), losses)
        };
        self.notices_differ |= lost_before.as_ref() != self.losses.get(name);
        if self.intent.servers.get(name).map_or(&[][..], AsRef::as_ref) == servers.as_ref() {
            return false;
        }
        if servers.is_empty() {
            Arc::make_mut(&mut self.intent).servers.remove(name);
        } else {
            Arc::make_mut(&mut self.intent).servers.insert(name.clone(), servers);
        }
        true
    }

    /// What this node must do now.
    #[must_use]
    pub fn intent(&self) -> &Intent {
        &self.intent
    }

    /// The same to keep: it stays as it is now, whatever is planned later.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Intent> {
        self.intent.clone()
    }

    /// What differs of [`Intent::policy`] since the last call, or since the plan of an empty cluster.
    pub fn take_policy_changes(&mut self) -> PolicyChanges {
        self.policy.take_changes()
    }

    /// Whether [`Planner::notices`] may say something else than at the last call of this. Most changes
    /// leave it alone, so that nobody needs to look through the notices of a large cluster each time.
    pub fn take_notices_differ(&mut self) -> bool {
        std::mem::take(&mut self.notices_differ)
    }

    /// Everything that is left out now: the node's, then each Service's, first what is wrong with it,
    /// then what it lost to others.
    pub fn notices(&self) -> impl Iterator<Item = &Notice> {
        let services: BTreeSet<&NamespacedName> =
            self.faulty.iter().chain(self.losses.keys()).collect();
        let of_services = services.into_iter().flat_map(|name| {
            let own = self.drafts.get(name).into_iter().flat_map(|draft| &draft.notices);
            own.chain(self.losses.get(name).into_iter().flatten())
        });
        self.node_notices.iter().chain(of_services).chain(self.policy.notices())
    }
}
