//! Deployment → ReplicaSets: rollouts, scaling, history.

use lab_api::Object;
use lab_api::resource::{DEPLOYMENTS, REPLICA_SETS};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::action::Action;
use crate::json::{
    condition, controlled_by, is_controlled_by, is_going, name, namespace, now, number, text, uid,
};
use crate::snapshot::Snapshot;

/// The annotation that numbers the ReplicaSets of a Deployment.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// The label that keeps the Pods of different ReplicaSets of a Deployment apart.
const HASH: &str = "pod-template-hash";
/// The letters of generated names: none that makes a word.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

pub(crate) fn reconcile(snapshot: &Snapshot, actions: &mut Vec<Action>) {
    for deployment in snapshot.deployments.iter().filter(|object| !is_going(object)) {
        let sets = snapshot.replica_sets.iter();
        let mut sets: Vec<&Object> =
            sets.filter(|set| is_controlled_by(set, uid(deployment)) && !is_going(set)).collect();
        sets.sort_by_key(|set| revision(set));
        Rollout::new(deployment, sets).step(snapshot, actions);
    }
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["annotations"][REVISION]
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn wanted(object: &Value) -> i64 {
    number(object, "/spec/replicas").unwrap_or(1)
}

/// How many Pods of a set serve. Its status may be older than the number of Pods it shall have.
fn available(set: &Value) -> i64 {
    number(set, "/status/availableReplicas").unwrap_or(0).min(wanted(set))
}

/// A Deployment and its ReplicaSets, by age.
struct Rollout<'a> {
    deployment: &'a Object,
    new: Option<&'a Object>,
    old: Vec<&'a Object>,
}

impl<'a> Rollout<'a> {
    fn new(deployment: &'a Object, sets: Vec<&'a Object>) -> Self {
        let template = &deployment["spec"]["template"];
        let (mut new, old): (Vec<_>, Vec<_>) =
            sets.into_iter().partition(|set| same_template(template, &set["spec"]["template"]));
        Self { deployment, new: new.pop(), old }
    }

    fn sets(&self) -> impl Iterator<Item = &'a Object> {
        self.old.iter().copied().chain(self.new)
    }

    fn step(&self, snapshot: &Snapshot, actions: &mut Vec<Action>) {
        let paused = self.deployment["spec"]["paused"] == true;
        match self.new {
            None if !paused => actions.push(Action::Create(&REPLICA_SETS, self.new_set(snapshot))),
            // A rollback: the set of an earlier template is the newest again.
            Some(new) if revision(new) < self.newest_revision() => {
                let mut set = (**new).clone();
                set["metadata"]["annotations"][REVISION] =
                    (self.newest_revision() + 1).to_string().into();
                actions.push(Action::Update(&REPLICA_SETS, set));
            }
            _ => self.scale(paused, actions),
        }
        self.status(actions);
        self.forget_history(actions);
    }

    fn newest_revision(&self) -> u64 {
        self.sets().map(|set| revision(set)).max().unwrap_or(0)
    }

    /// The ReplicaSet of the present template, with no Pod yet: scaling is the next step.
    fn new_set(&self, snapshot: &Snapshot) -> Value {
        let deployment = self.deployment;
        let mut template = deployment["spec"]["template"].clone();
        let mut attempt = 0;
        let (hash, set_name) = loop {
            let hash = hash(&template, attempt);
            let set_name = format!("{}-{hash}", name(deployment));
            let taken = snapshot
                .replica_sets
                .iter()
                .any(|set| name(set) == set_name && namespace(set) == namespace(deployment));
            if !taken {
                break (hash, set_name);
            }
            attempt += 1;
        };
        let mut selector = deployment["spec"]["selector"].clone();
        selector["matchLabels"][HASH] = hash.clone().into();
        template["metadata"]["labels"][HASH] = hash.into();
        json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": set_name, "namespace": namespace(deployment),
                "labels": template["metadata"]["labels"],
                "annotations": {
                    REVISION: (self.newest_revision() + 1).to_string(),
                    "deployment.kubernetes.io/desired-replicas": wanted(deployment).to_string(),
                },
                "ownerReferences": controlled_by("apps/v1", "Deployment", deployment),
            },
            "spec": {"replicas": 0, "selector": selector, "template": template},
        })
    }

    fn scale(&self, paused: bool, actions: &mut Vec<Action>) {
        let deployment = self.deployment;
        let replicas = wanted(deployment);
        let to = |set: &Object, count: i64, actions: &mut Vec<Action>| {
            if wanted(set) != count {
                let mut set = (**set).clone();
                set["spec"]["replicas"] = count.into();
                actions.push(Action::Update(&REPLICA_SETS, set));
            }
        };
        let living: Vec<_> = self.old.iter().copied().filter(|set| wanted(set) > 0).collect();
        let Some(new) = self.new else {
            // Paused before its first template was rolled out: the last set scales alone.
            if let Some(last) = living.last() {
                to(last, replicas, actions);
            }
            return;
        };
        if living.is_empty() || (paused && wanted(new) > replicas) {
            return to(new, replicas, actions);
        }
        if paused {
            return;
        }
        if deployment["spec"]["strategy"]["type"] == "Recreate" {
            for set in &living {
                to(set, 0, actions);
            }
            return;
        }
        let total: i64 = self.sets().map(|set| wanted(set)).sum();
        let (surge, unavailable) = limits(deployment, replicas);
        let room = replicas + surge - total;
        if wanted(new) > replicas || (wanted(new) < replicas && room > 0) {
            to(new, replicas.min(wanted(new) + room.max(0)), actions);
        }
        self.shrink(&living, replicas - unavailable, &to, actions);
    }

    /// Takes from the old sets what does not serve, then what the new set makes up for.
    fn shrink(
        &self,
        living: &[&Object],
        least: i64,
        to: &dyn Fn(&Object, i64, &mut Vec<Action>),
        actions: &mut Vec<Action>,
    ) {
        let serving: i64 = self.sets().map(|set| available(set)).sum();
        let mut spare = (serving - least).max(0);
        for set in living {
            let idle = wanted(set) - available(set);
            let taken = spare.min(wanted(set) - idle);
            spare -= taken;
            to(set, wanted(set) - idle - taken, actions);
        }
    }

    fn status(&self, actions: &mut Vec<Action>) {
        let deployment = self.deployment;
        let sum = |field: &str| -> i64 {
            let pointer = format!("/status/{field}");
            self.sets().map(|set| number(set, &pointer).unwrap_or(0)).sum()
        };
        let updated = self.new.map_or(0, |set| number(set, "/status/replicas").unwrap_or(0));
        let (total, ready, serving) =
            (sum("replicas"), sum("readyReplicas"), sum("availableReplicas"));
        let replicas = wanted(deployment);
        let mut status = json!({
            "observedGeneration": deployment["metadata"]["generation"],
        });
        for (field, count) in [
            ("replicas", total),
            ("updatedReplicas", updated),
            ("readyReplicas", ready),
            ("availableReplicas", serving),
            ("unavailableReplicas", (replicas - serving).max(0)),
            ("terminatingReplicas", sum("terminatingReplicas")),
        ] {
            if count > 0 {
                status[field] = count.into();
            }
        }
        let (_, unavailable) = limits(deployment, replicas);
        let done = updated == replicas && total == replicas && serving == replicas;
        let set = self.new.map_or("", |set| name(set));
        let enough = serving >= replicas - unavailable;
        let minimum = if enough {
            ("MinimumReplicasAvailable", "Deployment has minimum availability.".to_owned())
        } else {
            let message = "Deployment does not have minimum availability.";
            ("MinimumReplicasUnavailable", message.to_owned())
        };
        let progress = if done {
            let message = format!("ReplicaSet \"{set}\" has successfully progressed.");
            ("NewReplicaSetAvailable", message)
        } else {
            ("ReplicaSetUpdated", format!("ReplicaSet \"{set}\" is progressing."))
        };
        status["conditions"] = json!([
            self.condition("Available", enough, minimum),
            self.condition("Progressing", true, progress),
        ]);
        let mut new = (**deployment).clone();
        let number = self.new.map(|set| revision(set)).filter(|number| *number > 0);
        if let Some(number) = number.filter(|number| *number != revision(deployment)) {
            new["metadata"]["annotations"][REVISION] = number.to_string().into();
            actions.push(Action::Update(&DEPLOYMENTS, new));
        } else if deployment["status"] != status {
            new["status"] = status;
            actions.push(Action::UpdateStatus(&DEPLOYMENTS, new));
        }
    }

    /// A condition whose times change only with what it says.
    fn condition(&self, kind: &str, holds: bool, (reason, message): (&str, String)) -> Value {
        let status = if holds { "True" } else { "False" };
        let old = condition(self.deployment, kind).cloned().unwrap_or_default();
        let time = |same: bool, field: &str| {
            Some(text(&old, &format!("/{field}")).to_owned())
                .filter(|time| same && !time.is_empty())
                .unwrap_or_else(now)
        };
        let same = old["status"] == status;
        let same_words = same && old["reason"] == reason && old["message"] == message;
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": time(same, "lastTransitionTime"),
            "lastUpdateTime": time(same_words, "lastUpdateTime"),
        })
    }

    /// Old sets without Pods are kept for rollbacks, up to `revisionHistoryLimit`.
    fn forget_history(&self, actions: &mut Vec<Action>) {
        let limit = number(self.deployment, "/spec/revisionHistoryLimit").unwrap_or(10);
        let empty =
            |set: &&Object| wanted(set) == 0 && number(set, "/status/replicas").unwrap_or(0) == 0;
        let empty: Vec<_> = self.old.iter().copied().filter(empty).collect();
        let limit = usize::try_from(limit).unwrap_or(0);
        for set in empty.iter().take(empty.len().saturating_sub(limit)) {
            actions.push(Action::Delete(&REPLICA_SETS, (***set).clone()));
        }
    }
}

/// `maxSurge` and `maxUnavailable` in Pods: percentages round up and down, and not both are 0.
fn limits(deployment: &Value, replicas: i64) -> (i64, i64) {
    if deployment["spec"]["strategy"]["type"] == "Recreate" {
        return (0, replicas);
    }
    let of = |field: &str, up: bool| {
        let value = &deployment["spec"]["strategy"]["rollingUpdate"][field];
        let percent = match value {
            Value::String(text) => text.trim_end_matches('%').parse::<i64>().unwrap_or(25),
            Value::Number(_) => return value.as_i64().unwrap_or(0),
            _ => 25,
        };
        (replicas * percent + if up { 99 } else { 0 }) / 100
    };
    let (surge, unavailable) = (of("maxSurge", true), of("maxUnavailable", false).min(replicas));
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

fn same_template(wanted: &Value, of_set: &Value) -> bool {
    let mut bare = of_set.clone();
    if let Some(labels) = bare.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH);
    }
    *wanted == bare
}

/// Ten letters that depend on the template alone.
fn hash(template: &Value, attempt: u32) -> String {
    let digest = Sha256::digest(format!("{template} {attempt}"));
    digest.iter().take(10).map(|byte| char::from(LETTERS[usize::from(*byte) % 27])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits_of(strategy: Value, replicas: i64) -> (i64, i64) {
        limits(&json!({"spec": {"strategy": strategy}}), replicas)
    }

    #[test]
    fn surge_rounds_up_and_unavailability_down() {
        assert_eq!(limits_of(json!({}), 4), (1, 1));
        assert_eq!(limits_of(json!({}), 3), (1, 0));
        assert_eq!(limits_of(json!({}), 10), (3, 2));
        let both = json!({"rollingUpdate": {"maxSurge": "50%", "maxUnavailable": 7}});
        assert_eq!(limits_of(both, 3), (2, 3));
        // A rollout that may neither add nor take a Pod would never end.
        let none = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "10%"}});
        assert_eq!(limits_of(none, 3), (0, 1));
        assert_eq!(limits_of(json!({"type": "Recreate"}), 3), (0, 3));
    }

    #[test]
    fn a_template_is_the_same_whatever_its_hash_label() {
        let wanted = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"x": 1}});
        let of_set =
            |x: i64| json!({"metadata": {"labels": {"app": "a", HASH: "abc"}}, "spec": {"x": x}});
        assert!(same_template(&wanted, &of_set(1)));
        assert!(!same_template(&wanted, &of_set(2)));
        assert_eq!(hash(&wanted, 0), hash(&wanted, 0));
        assert_ne!(hash(&wanted, 0), hash(&wanted, 1));
        assert_eq!(hash(&wanted, 0).len(), 10);
    }
}
