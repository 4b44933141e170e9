//! Which selections a Pod may match, without asking all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{Demand, LabelSelector, Labels, Namespaces, PodSelection};

/// A fact that must hold for a selector to match. A selector is filed under one; where that is a
/// choice of values, under each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Anchor {
    /// None in particular.
    Nothing,
    /// The object's own name.
    Named(Arc<str>),
    /// A label with any value.
    Key(Arc<str>),
    /// A label with this value.
    Label(Arc<str>, Arc<str>),
}

fn anchors_of(selector: &LabelSelector) -> Vec<Anchor> {
    let mut best = vec![Anchor::Nothing];
    for requirement in selector.requirements() {
        let key = &requirement.key;
        match &requirement.demand {
            Demand::In(values) => {
                let label = |value: &Arc<str>| Anchor::Label(key.clone(), value.clone());
                return values.iter().map(label).collect();
            }
            Demand::Exists => best = vec![Anchor::Key(key.clone())],
            Demand::NotIn(_) | Demand::DoesNotExist => {}
        }
    }
    best
}

/// Everything that a selector of matching labels may be filed under.
fn anchors_for(labels: &Labels) -> Vec<Anchor> {
    let mut anchors = vec![Anchor::Nothing];
    for (key, value) in labels.iter() {
        anchors.push(Anchor::Key(key.clone()));
        anchors.push(Anchor::Label(key.clone(), value.clone()));
    }
    anchors
}

/// Selections, filed by what must hold of namespace and Pod.
#[derive(Clone, Debug, Default)]
pub(super) struct SelectionIndex {
    filed: BTreeMap<(Anchor, Anchor), BTreeSet<Arc<PodSelection>>>,
}

impl SelectionIndex {
    pub(super) fn insert(&mut self, selection: &Arc<PodSelection>) {
        for place in places(selection) {
            self.filed.entry(place).or_default().insert(selection.clone());
        }
    }

    pub(super) fn remove(&mut self, selection: &Arc<PodSelection>) {
        for place in places(selection) {
            if let Some(filed) = self.filed.get_mut(&place) {
                filed.remove(selection);
                if filed.is_empty() {
                    self.filed.remove(&place);
                }
            }
        }
    }

    /// The selections that match a Pod. The cost depends on its labels and on what is filed under
    /// them, not on how many selections there are.
    pub(super) fn matching(
        &self,
        namespace: &Arc<str>,
        of_namespace: &Labels,
        of_pod: &Labels,
    ) -> BTreeSet<Arc<PodSelection>> {
        let mut found = BTreeSet::new();
        let mut namespaces = anchors_for(of_namespace);
        namespaces.push(Anchor::Named(namespace.clone()));
        let pods = anchors_for(of_pod);
        for outer in namespaces {
            for inner in &pods {
                let filed = self.filed.get(&(outer.clone(), inner.clone())).into_iter().flatten();
                let matching =
                    filed.filter(|selection| selection.matches(namespace, of_namespace, of_pod));
                found.extend(matching.cloned());
            }
        }
        found
    }
}

fn places(selection: &PodSelection) -> Vec<(Anchor, Anchor)> {
    let outer = match &selection.namespaces {
        Namespaces::Named(name) => vec![Anchor::Named(name.clone())],
        Namespaces::Selected(selector) => anchors_of(selector),
    };
    let inner = anchors_of(&selection.pods);
    let all = outer.iter().flat_map(|outer| inner.iter().map(move |inner| (outer, inner)));
    all.map(|(outer, inner)| (outer.clone(), inner.clone())).collect()
}
