//! The same object in two groups, and the Scale of a workload.

use serde_json::{Value, json};

use crate::Resource;
use crate::object::{has, number, remove, set, text};
use crate::resource::EVENTS_EVENTS;
use crate::table::selector;

/// The names of the fields of an Event: in the core, in `events.k8s.io`.
const EVENT: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// From the stored form to the one that a resource shows.
pub(crate) fn shown(resource: &Resource, stored: &Value) -> Value {
    let mut object = stored.clone();
    if *resource == EVENTS_EVENTS {
        rename(&mut object, |(core, events)| (core, events));
        set(&mut object, &["apiVersion"], resource.api_version());
    }
    object
}

/// From the form that a resource shows to the stored one.
pub(crate) fn stored(resource: &Resource, shown: Value) -> Value {
    let mut object = shown;
    if *resource == EVENTS_EVENTS {
        rename(&mut object, |(core, events)| (events, core));
        remove(&mut object, &["apiVersion"]);
    }
    object
}

fn rename(
    event: &mut Value,
    order: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str),
) {
    for pair in EVENT {
        let (from, to) = order(pair);
        if let Some(value) = remove(event, &[from]) {
            set(event, &[to], value);
        }
    }
}

/// The Scale of a Deployment or a ReplicaSet.
pub(crate) fn scale(object: &Value) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if has(object, &format!("/metadata/{field}")) {
            set(&mut metadata, &[field], text(object, &format!("/metadata/{field}")));
        }
    }
    let mut spec = json!({});
    match number(object, "/spec/replicas") {
        0 => {}
        replicas => set(&mut spec, &["replicas"], replicas),
    }
    let selected = selector(object, "/spec/selector");
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec,
        "status": {"replicas": number(object, "/status/replicas"), "selector": selected},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_the_same_in_both_groups() {
        let core = json!({
            "apiVersion": "v1", "kind": "Event", "involvedObject": {"name": "a"}, "message": "m",
            "count": 2,
        });
        let event = shown(&EVENTS_EVENTS, &core);
        assert_eq!(event["regarding"]["name"], "a");
        assert_eq!(event["apiVersion"], "events.k8s.io/v1");
        assert_eq!(event.get("message"), None);
        let mut back = stored(&EVENTS_EVENTS, event);
        set(&mut back, &["apiVersion"], "v1");
        assert_eq!(back, core);
    }

    #[test]
    fn a_scale_says_how_many_are_wanted_and_how_many_there_are() {
        let object = json!({
            "metadata": {"name": "d", "uid": "u", "labels": {}},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}}},
            "status": {"replicas": 2},
        });
        let scale = scale(&object);
        assert_eq!(scale["spec"], json!({"replicas": 3}));
        assert_eq!(scale["status"], json!({"replicas": 2, "selector": "a=b"}));
        assert_eq!(scale["metadata"], json!({"name": "d", "uid": "u"}));
    }
}
