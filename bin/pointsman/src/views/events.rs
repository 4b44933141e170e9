//! What an operator should find by `kubectl get events` and `kubectl describe`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use health::node_port_servers::PortEvent;
use health::server::Surface;
use intake::api::{Event, EventSink, Severity};
use model::{NamespacedName, Notice, ObjectRef, Owner};

use super::{Synced, View};
use crate::denied::{Denied, End};

/// How long writes may fail before that is an Event: most failures are over within a second.
const FAILING: Duration = Duration::from_secs(30);
/// How often one denial is told: a client that is denied tries again and again.
const DENIED: Duration = Duration::from_secs(60);
/// How many denials are remembered for that.
const DENIALS: usize = 1000;

/// Tells Events of what the agent does.
pub(crate) struct EventsView {
    sink: EventSink,
    node: Arc<str>,
    left_out: BTreeSet<Notice>,
    refused: BTreeSet<(Owner, String)>,
    /// Since when writes fail, and whether that was told.
    failing: Option<(Instant, bool)>,
    /// What was denied lately, by the words of the Event, and when it was told.
    denied: BTreeMap<(NamespacedName, String), Instant>,
}

impl EventsView {
    pub(crate) fn new(sink: EventSink, node: &str) -> Self {
        let view = Self {
            sink,
            node: node.into(),
            left_out: BTreeSet::new(),
            refused: BTreeSet::new(),
            failing: None,
            denied: BTreeMap::new(),
        };
        // Reason and action are kube-proxy's.
        let note = format!("pointsman {} takes care of this node", env!("CARGO_PKG_VERSION"));
        view.of_node(Severity::Normal, "Starting", "StartKubeProxy", note);
        view
    }

    fn of_node(
        &self,
        severity: Severity,
        reason: &'static str,
        action: &'static str,
        note: impl Into<String>,
    ) {
        let object = ObjectRef::new("Node", &self.node);
        let (reason, note) = (reason.into(), note.into());
        self.sink.tell(Event { object, severity, reason, action, note, of_cluster: false });
    }

    fn tell_refused(&mut self, synced: &Synced<'_>) {
        let mut now = BTreeSet::new();
        for (owner, refusal) in synced.refused {
            let said = (owner.clone(), refusal.clone());
            if !self.refused.contains(&said) {
                let object = match owner {
                    Owner::Service(name) => ObjectRef::new("Service", name),
                    _ => ObjectRef::new("Node", &self.node),
                };
                let (reason, action) = ("RulesRefused".into(), "WriteRules");
                let note = format!("the kernel of {} refused its rules: {refusal}", self.node);
                let severity = Severity::Warning;
                self.sink.tell(Event { object, severity, reason, action, note, of_cluster: false });
            }
            now.insert(said);
        }
        self.refused = now;
    }
}

impl View for EventsView {
    fn left_out(&mut self, notices: &BTreeSet<Notice>) {
        for notice in notices.difference(&self.left_out) {
            self.sink.tell(of_notice(notice));
        }
        self.left_out = notices.clone();
    }

    fn synced(&mut self, synced: &Synced<'_>) {
        if let Some((since, true)) = self.failing.take() {
            let seconds = since.elapsed().as_secs();
            let note = format!("the rules are right again, after {seconds} s of failures");
            self.of_node(Severity::Normal, "SyncRecovered", "WriteRules", note);
        }
        if synced.repaired {
            let who = synced.foreign.unwrap_or("somebody changed our rules");
            let note = format!("{who}; the rules are whole again");
            self.of_node(Severity::Warning, "RulesRepaired", "RepairRules", note);
        }
        if synced.drifted {
            let note = "an audit found that the kernel held other rules than were written; they \
                        are right again";
            self.of_node(Severity::Warning, "RulesDrifted", "RepairRules", note);
        }
        self.tell_refused(synced);
    }

    fn denied(&mut self, denied: &Denied) {
        let Some(subject) = denied.subject() else { return };
        let told = (subject.clone(), words_of(denied));
        let again = self.denied.get(&told).is_some_and(|when| when.elapsed() < DENIED);
        if again {
            return;
        }
        if self.denied.len() >= DENIALS {
            self.denied.retain(|_, when| when.elapsed() < DENIED);
        }
        if self.denied.len() >= DENIALS {
            return;
        }
        let (object, reason) = (ObjectRef::new("Pod", subject), "PolicyDenied".into());
        let (severity, note) = (Severity::Warning, told.1.clone());
        self.sink.tell(Event { object, severity, reason, action: "Deny", note, of_cluster: false });
        self.denied.insert(told, Instant::now());
    }

    fn failed(&mut self, failure: &sync::Error, _full: bool, _took: Duration) {
        let (since, told) = *self.failing.get_or_insert((Instant::now(), false));
        if !told && since.elapsed() >= FAILING {
            self.failing = Some((since, true));
            let note = format!("rules cannot be written, the kernel keeps what it had: {failure}");
            self.of_node(Severity::Warning, "SyncFailing", "WriteRules", note);
        }
    }
}

/// A denial in words that are the same for every attempt: without the port that the client chose.
fn words_of(denied: &Denied) -> String {
    let who = |end: &End| match &end.pod {
        Some(pod) => format!("Pod {pod} ({})", end.address),
        None => end.address.to_string(),
    };
    let Denied { direction, protocol, source, destination, why, .. } = denied;
    let port = destination.port.map(|port| format!(" port {port}")).unwrap_or_default();
    let (from, to) = (who(source), who(destination));
    format!("{protocol} from {from} to {to}{port} is denied, {direction}: {why}")
}

/// Every node reads the same object and says the same of it, except of itself.
fn of_notice(notice: &Notice) -> Event {
    Event {
        object: notice.object.clone(),
        severity: Severity::Warning,
        reason: format!("{:?}", notice.reason).into(),
        action: "LeaveOut",
        note: notice.message.clone(),
        of_cluster: notice.object.kind != "Node",
    }
}

/// What became of a Service's health check port, under kube-proxy's names.
pub(crate) fn of_port(event: &PortEvent, node: &str) -> Event {
    let (service, severity, reason, note) = match event {
        PortEvent::Failed { service, address, error } => (
            service,
            Severity::Warning,
            "FailedToStartServiceHealthcheck",
            format!("node {node} failed to start healthcheck on {address}: {error}"),
        ),
        PortEvent::Mended { service, address } => (
            service,
            Severity::Normal,
            "StartedServiceHealthcheck",
            format!("node {node} listens on {address} now"),
        ),
    };
    let object = ObjectRef::new("Service", service);
    let reason = reason.into();
    Event { object, severity, reason, action: "Listen", note, of_cluster: false }
}

/// A server's address could not be had, under kube-proxy's names.
pub(crate) fn of_server(surface: Surface, refused: &health::Error, node: &str) -> Event {
    let reason = match surface {
        Surface::Health | Surface::Both => "FailedToStartProxierHealthcheck",
        Surface::Metrics => "FailedToStartMetricServer",
    };
    Event {
        object: ObjectRef::new("Node", node),
        severity: Severity::Warning,
        reason: reason.into(),
        action: "StartKubeProxy",
        note: refused.to_string(),
        of_cluster: false,
    }
}

#[cfg(test)]
mod tests {
    use model::Reason;

    use super::*;

    #[test]
    fn a_fault_of_an_object_is_the_clusters_and_one_of_the_node_its_own() {
        let notice = |kind| Notice {
            object: ObjectRef::new(kind, "shop/a"),
            reason: Reason::Conflict,
            message: "10.0.0.1:80 is shop/b's".into(),
        };
        let event = of_notice(&notice("Service"));
        assert!(event.of_cluster);
        assert_eq!((&*event.reason, &*event.note), ("Conflict", "10.0.0.1:80 is shop/b's"));
        assert!(!of_notice(&notice("Node")).of_cluster);
    }
}
