//! Facts of one kind, by their keys: what a change of one of them concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::{
    ClusterNetworkPolicy, Namespace, NamespacedName, NetworkPolicy, Node, Owner, Pod, PolicyFact,
    Service, ServiceCidr,
};

/// An object that is kept under its name.
pub(crate) trait Fact: PartialEq {
    /// Its name.
    type Key: Ord + Clone;

    fn key(&self) -> Self::Key;

    /// Whom a change of the object concerns.
    fn owner(key: Self::Key) -> Owner;
}

macro_rules! facts {
    ($($fact:ty, $key:ty => $owner:expr;)*) => {
        $(impl Fact for $fact {
            type Key = $key;

            fn key(&self) -> $key {
                self.name.clone()
            }

            fn owner(key: $key) -> Owner {
                $owner(key)
            }
        })*
    };
}

facts! {
    Service, NamespacedName => Owner::Service;
    Node, Arc<str> => |_| Owner::Node;
    ServiceCidr, Arc<str> => |_| Owner::Node;
    Pod, NamespacedName => |name| Owner::Policy(PolicyFact::Pod(name));
    Namespace, Arc<str> => |name| Owner::Policy(PolicyFact::Namespace(name));
    NetworkPolicy, NamespacedName => |name| Owner::Policy(PolicyFact::NetworkPolicy(name));
    ClusterNetworkPolicy, Arc<str> => |name| Owner::Policy(PolicyFact::ClusterNetworkPolicy(name));
}

/// All facts of a kind.
pub(crate) type Facts<F> = BTreeMap<<F as Fact>::Key, Arc<F>>;

/// A fact is new or different.
pub(crate) fn put<F: Fact>(facts: &mut Facts<F>, fact: F, owners: &mut BTreeSet<Owner>) {
    let key = fact.key();
    if facts.get(&key).is_some_and(|known| **known == fact) {
        return;
    }
    owners.insert(F::owner(key.clone()));
    facts.insert(key, Arc::new(fact));
}

/// A fact is gone.
pub(crate) fn gone<F: Fact>(facts: &mut Facts<F>, key: &F::Key, owners: &mut BTreeSet<Owner>) {
    if facts.remove(key).is_some() {
        owners.insert(F::owner(key.clone()));
    }
}

/// The complete list of a kind: what it does not name is gone.
pub(crate) fn put_all<F: Fact>(facts: &mut Facts<F>, list: Vec<F>, owners: &mut BTreeSet<Owner>) {
    let listed: BTreeSet<F::Key> = list.iter().map(Fact::key).collect();
    let missing: Vec<F::Key> = facts.keys().filter(|key| !listed.contains(*key)).cloned().collect();
    missing.iter().for_each(|key| gone(facts, key, owners));
    list.into_iter().for_each(|fact| put(facts, fact, owners));
}
