//! Which Pods share rules, and what these are.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Cluster, Direction, Labels, NamespacedName, PolicyName, Tier};

use super::intent::{ClassKey, PolicyClass, PolicyIntent, SetKey, Subject};
use super::planner::PolicyPlanner;
use super::sets::{self, Member};

impl PolicyPlanner {
    /// Gives a Pod of this node its classes.
    pub(super) fn assign(
        &mut self,
        intent: &mut PolicyIntent,
        cluster: &Cluster,
        name: &NamespacedName,
    ) {
        let Some(known) = self.pods.get(name) else { return };
        let new = if self.local.contains(name) {
            let labels = cluster.namespace_labels(&name.namespace);
            let subjects = self.subjects.matching(&name.namespace, &labels, &known.pod.labels);
            let owners = subjects.iter().filter_map(|subject| self.subject_of.get(subject));
            let policies: BTreeSet<&PolicyName> = owners.flatten().collect();
            Subject {
                ingress: self.class_key(&policies, Direction::Ingress),
                egress: self.class_key(&policies, Direction::Egress),
            }
        } else {
            Subject::default()
        };
        for key in [&new.ingress, &new.egress].into_iter().flatten() {
            let count = self.classes.entry(key.clone()).or_default();
            *count += 1;
            if !intent.classes.contains_key(key) {
                let class = Arc::new(self.build(key));
                self.enter(intent, cluster, &class);
                intent.classes.insert(key.clone(), class);
                self.changes.classes.insert(key.clone());
            }
        }
        let Some(known) = self.pods.get_mut(name) else { return };
        let old = std::mem::replace(&mut known.subject, new.clone());
        for address in &known.addresses {
            let same = match intent.subjects.get(address) {
                Some(there) => *there == new,
                None => new == Subject::default(),
            };
            if same {
                continue;
            }
            self.changes.subjects.insert(*address);
            if new == Subject::default() {
                intent.subjects.remove(address);
            } else {
                intent.subjects.insert(*address, new.clone());
            }
        }
        self.leave(&old);
    }

    fn class_key(
        &self,
        policies: &BTreeSet<&PolicyName>,
        direction: Direction,
    ) -> Option<ClassKey> {
        let has_a_say = |name: &PolicyName| {
            self.policies.get(name).is_some_and(|policy| policy.rules(direction).is_some())
        };
        let policies: Arc<[PolicyName]> =
            policies.iter().filter(|name| has_a_say(name)).map(|name| (*name).clone()).collect();
        (!policies.is_empty()).then_some(ClassKey { direction, policies })
    }

    /// The rules of a class, in the order in which they decide.
    fn build(&self, key: &ClassKey) -> PolicyClass {
        let mut class = PolicyClass::default();
        let mut tiered = Vec::new();
        for name in key.policies.iter() {
            let Some(policy) = self.policies.get(name) else { continue };
            let Some(rules) = policy.rules(key.direction) else { continue };
            match policy.tier {
                None => class.network.get_or_insert_default().extend(rules.iter().cloned()),
                Some((tier, priority)) => tiered.push((priority, name, tier, rules)),
            }
        }
        tiered.sort_by_key(|(priority, name, ..)| (*priority, *name));
        for (_, _, tier, rules) in tiered {
            let place = match tier {
                Tier::Admin => &mut class.admin,
                Tier::Baseline => &mut class.baseline,
            };
            place.extend(rules.iter().cloned());
        }
        class
    }

    /// Fills the sets that a class is the first to name.
    fn enter(&mut self, intent: &mut PolicyIntent, cluster: &Cluster, class: &PolicyClass) {
        let new = self.sets.take(class, intent, &mut self.changes);
        if !new.selections.is_empty() {
            // Pods stand by namespace, whose labels are looked up once.
            let mut of: Option<(Arc<str>, Labels)> = None;
            for (name, known) in &mut self.pods {
                let namespace = &name.namespace;
                let labels = match of.take() {
                    Some((last, labels)) if last == *namespace => labels,
                    _ => cluster.namespace_labels(namespace),
                };
                let matching = new
                    .selections
                    .iter()
                    .filter(|selection| selection.matches(namespace, &labels, &known.pod.labels));
                known.selections.extend(matching.cloned());
                of = Some((namespace.clone(), labels));
            }
        }
        for key in &new.sets {
            match key {
                SetKey::Nodes(selector) => {
                    let addresses = sets::node_addresses(cluster, selector);
                    sets::change_set(key, &addresses, true, intent, &mut self.changes);
                }
                SetKey::Pods(selection) => {
                    for known in self.pods.values() {
                        if known.selections.contains(selection) {
                            let addresses = &known.addresses;
                            sets::change_set(key, addresses, true, intent, &mut self.changes);
                        }
                    }
                }
            }
        }
        for key in &new.named {
            for known in self.pods.values() {
                if known.selections.contains(&key.pods) {
                    let member = Member { pod: &known.pod, addresses: &known.addresses };
                    let ports = member.ports(key);
                    sets::change_ports(key, ports, true, intent, &mut self.changes);
                }
            }
        }
    }

    /// Forgets the sets that nothing but this class names.
    fn exit(&mut self, intent: &mut PolicyIntent, class: &PolicyClass) {
        let idle = self.sets.release(class, intent, &mut self.changes);
        if idle.is_empty() {
            return;
        }
        for known in self.pods.values_mut() {
            known.selections.retain(|selection| !idle.contains(selection));
        }
    }

    /// Builds the classes that hold one of these policies anew.
    pub(super) fn rebuild(
        &mut self,
        intent: &mut PolicyIntent,
        cluster: &Cluster,
        policies: &BTreeSet<PolicyName>,
    ) {
        if policies.is_empty() {
            return;
        }
        let holds = |key: &&ClassKey| key.policies.iter().any(|name| policies.contains(name));
        let keys: Vec<ClassKey> = intent.classes.keys().filter(holds).cloned().collect();
        for key in keys {
            let new = Arc::new(self.build(&key));
            let Some(old) = intent.classes.get(&key).cloned() else { continue };
            if old == new {
                continue;
            }
            // In this order, sets that both name stay as they are.
            self.enter(intent, cluster, &new);
            self.exit(intent, &old);
            intent.classes.insert(key.clone(), new);
            self.changes.classes.insert(key);
        }
    }

    /// Forgets the classes that no Pod is a subject of.
    pub(super) fn drop_idle(&mut self, intent: &mut PolicyIntent) {
        let idle = self.classes.iter().filter(|(_, count)| **count == 0);
        let idle: Vec<ClassKey> = idle.map(|(key, _)| key.clone()).collect();
        for key in idle {
            self.classes.remove(&key);
            if let Some(class) = intent.classes.remove(&key) {
                self.exit(intent, &class);
                self.changes.classes.insert(key);
            }
        }
    }

    pub(super) fn leave(&mut self, subject: &Subject) {
        for class in [&subject.ingress, &subject.egress].into_iter().flatten() {
            if let Some(count) = self.classes.get_mut(class) {
                *count -= 1;
            }
        }
    }
}
