//! The row of a Pod.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::or;
use super::since;
use crate::object::{has, items, number, text};

pub(super) fn row(pod: &Value, name: String, age: String, now: Timestamp) -> Vec<Value> {
    let statuses = items(pod, "/status/containerStatuses");
    let total = items(pod, "/spec/containers").len();
    let is_ready = |status: &&Value| {
        status["ready"] == true && (has(status, "/state/running") || !has(status, "/state"))
    };
    let ready = statuses.iter().filter(is_ready).count();
    let restarts: i64 = statuses.iter().map(|status| number(status, "/restartCount")).sum();
    let last = statuses
        .iter()
        .filter(|status| has(status, "/lastState/terminated/finishedAt"))
        .max_by_key(|status| text(status, "/lastState/terminated/finishedAt").to_owned());
    let restarts = match last {
        Some(status) if restarts > 0 => {
            let ago = since(status, "/lastState/terminated/finishedAt", now);
            format!("{restarts} ({ago} ago)")
        }
        _ => restarts.to_string(),
    };
    let gates = items(pod, "/spec/readinessGates");
    let gates = if gates.is_empty() {
        "<none>".to_owned()
    } else {
        let met = gates.iter().filter(|gate| {
            items(pod, "/status/conditions").iter().any(|condition| {
                condition["type"] == gate["conditionType"] && condition["status"] == "True"
            })
        });
        format!("{}/{}", met.count(), gates.len())
    };
    vec![
        name.into(),
        format!("{ready}/{total}").into(),
        status(pod, statuses).into(),
        restarts.into(),
        age.into(),
        or(text(pod, "/status/podIP"), "<none>").into(),
        or(text(pod, "/spec/nodeName"), "<none>").into(),
        or(text(pod, "/status/nominatedNodeName"), "<none>").into(),
        gates.into(),
    ]
}

/// The word for a Pod: its phase, unless a container or its end says more.
fn status(pod: &Value, statuses: &[Value]) -> String {
    let phase = text(pod, "/status/phase");
    let ended = ["Failed", "Succeeded"].contains(&phase);
    if has(pod, "/metadata/deletionTimestamp") {
        if text(pod, "/status/reason") == "NodeLost" {
            return "Unknown".to_owned();
        }
        if !ended {
            return "Terminating".to_owned();
        }
    }
    let mut word = or(text(pod, "/status/reason"), phase).to_owned();
    // The first container that is not well names the Pod.
    for container in statuses.iter().rev() {
        let waiting = text(container, "/state/waiting/reason");
        let terminated = text(container, "/state/terminated/reason");
        if !waiting.is_empty() {
            word = waiting.to_owned();
        } else if !terminated.is_empty() {
            word = terminated.to_owned();
        } else if has(container, "/state/terminated") {
            let signal = number(container, "/state/terminated/signal");
            let code = number(container, "/state/terminated/exitCode");
            word =
                if signal != 0 { format!("Signal:{signal}") } else { format!("ExitCode:{code}") };
        }
    }
    word
}
