//! What is left out now: what intake could not read, and what the plan could not use.

use std::collections::{BTreeMap, BTreeSet};

use intake::Delivery;
use model::{Change, Notice, ObjectRef};
use tracing::warn;

/// Everything that is left out, each named in the log when it first is.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    /// By object: a newer word on an object replaces the older one.
    unreadable: BTreeMap<ObjectRef, BTreeSet<Notice>>,
    said: BTreeSet<Notice>,
    /// Whether `unreadable` is another than when `said` was made.
    differs: bool,
}

impl LeftOut {
    /// Takes in what a source said of the objects that it hands on.
    pub(crate) fn take(&mut self, delivery: &Delivery) {
        for change in &delivery.changes {
            match about(change) {
                About::Object(object) => {
                    self.differs |= self.unreadable.remove(&object).is_some();
                }
                About::Kind(kind) => {
                    self.differs = true;
                    self.unreadable.retain(|object, _| object.kind != kind);
                }
                About::Nothing => {}
            }
        }
        for notice in &delivery.notices {
            self.differs = true;
            self.unreadable.entry(notice.object.clone()).or_default().insert(notice.clone());
        }
    }

    /// All of it, with what the plan says, if that is not what it was before. What is new is named.
    /// `plan` is looked at only if it `differs` from last time, or something else does.
    pub(crate) fn update<'a>(
        &mut self,
        differs: bool,
        plan: impl Iterator<Item = &'a Notice>,
    ) -> Option<&BTreeSet<Notice>> {
        if !std::mem::take(&mut self.differs) && !differs {
            return None;
        }
        let unreadable = self.unreadable.values().flatten().cloned();
        let now: BTreeSet<Notice> = unreadable.chain(plan.cloned()).collect();
        if now == self.said {
            return None;
        }
        for notice in now.difference(&self.said) {
            warn!(object = %notice.object, reason = ?notice.reason, "{}", notice.message);
        }
        self.said = now;
        Some(&self.said)
    }
}

/// What a change is the last word on.
enum About {
    Object(ObjectRef),
    Kind(&'static str),
    Nothing,
}

fn about(change: &Change) -> About {
    let object = |kind, name: &dyn std::fmt::Display| About::Object(ObjectRef::new(kind, name));
    match change {
        Change::Service(service) => object("Service", &service.name),
        Change::ServiceGone(name) => object("Service", name),
        Change::Services(_) => About::Kind("Service"),
        Change::Slice(slice) => object("EndpointSlice", &slice.name),
        Change::SliceGone(name) => object("EndpointSlice", name),
        Change::Slices(_) => About::Kind("EndpointSlice"),
        Change::Node(node) => object("Node", &node.name),
        Change::NodeGone(name) => object("Node", name),
        Change::Nodes(_) => About::Kind("Node"),
        Change::ServiceCidr(cidr) => object("ServiceCIDR", &cidr.name),
        Change::ServiceCidrGone(name) => object("ServiceCIDR", name),
        Change::ServiceCidrs(_) => About::Kind("ServiceCIDR"),
        Change::Pod(pod) => object("Pod", &pod.name),
        Change::PodGone(name) => object("Pod", name),
        Change::Pods(_) => About::Kind("Pod"),
        Change::NetworkPolicy(policy) => object("NetworkPolicy", &policy.name),
        Change::NetworkPolicyGone(name) => object("NetworkPolicy", name),
        Change::NetworkPolicies(_) => About::Kind("NetworkPolicy"),
        Change::ClusterNetworkPolicy(policy) => object("ClusterNetworkPolicy", &policy.name),
        Change::ClusterNetworkPolicyGone(name) => object("ClusterNetworkPolicy", name),
        Change::ClusterNetworkPolicies(_) => About::Kind("ClusterNetworkPolicy"),
        Change::Namespace(namespace) => object("Namespace", &namespace.name),
        Change::NamespaceGone(name) => object("Namespace", name),
        Change::Namespaces(_) => About::Kind("Namespace"),
        Change::Host(_) => About::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use model::{NamespacedName, Reason};

    use super::*;

    fn notice(name: &str) -> Notice {
        Notice {
            object: ObjectRef::new("Service", name),
            reason: Reason::InvalidField,
            message: "spec.ports[0].port: 99999".into(),
        }
    }

    fn unlooked_at() -> impl Iterator<Item = &'static Notice> {
        std::iter::from_fn(|| panic!("nothing differs, and yet every notice is looked at"))
    }

    #[test]
    fn a_newer_word_on_an_object_replaces_the_older() {
        let mut left_out = LeftOut::default();
        let gone = |name: &str| Change::ServiceGone(NamespacedName::new("ns", name));
        let bad = Delivery { notices: vec![notice("ns/a"), notice("ns/b")], ..Delivery::default() };
        left_out.take(&bad);
        assert_eq!(left_out.update(false, [].iter()).map(BTreeSet::len), Some(2));
        assert_eq!(left_out.update(false, [].iter()), None, "nothing new to say");
        left_out.take(&Delivery { changes: vec![gone("a")], ..Delivery::default() });
        assert_eq!(left_out.update(false, [].iter()).map(BTreeSet::len), Some(1));
        let of_plan = [notice("ns/c")];
        assert_eq!(left_out.update(true, of_plan.iter()).map(BTreeSet::len), Some(2));
        assert_eq!(left_out.update(false, unlooked_at()), None);
        let list = Delivery { changes: vec![Change::Services(vec![])], ..Delivery::default() };
        left_out.take(&list);
        assert_eq!(left_out.update(false, [].iter()).map(BTreeSet::len), Some(0));
    }
}
