//! Kubernetes Events: what an operator finds by `kubectl get events`.
//!
//! Telling is never waited for. What comes too fast, or while nobody takes it, is dropped and
//! counted. An API that is away, or does not let us post, costs one line of log.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use model::ObjectRef;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::ApiSource;
use super::backoff::Backoff;
use super::connection::{Connection, Refusal, Told};

/// The API's path of Events, up to the namespace.
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces";
/// How many Events may wait for the API.
const WAITING: usize = 256;
/// How many may come at once.
const BURST: f64 = 50.0;
/// How many may come each second in the long run: one node of thousands.
const RATE: f64 = 0.2;
/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often an Event is tried while the API is away, at growing intervals.
const TRIES: u32 = 8;
/// For how long a repetition counts as the same series.
const SERIES: Duration = Duration::from_secs(6 * 60);
/// The API takes notes of less than 1024 bytes.
const NOTE: usize = 1000;

/// How grave an Event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing to worry about.
    Normal,
    /// Something that somebody should look at.
    Warning,
}

/// What there is to tell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// The object that it is about.
    pub object: ObjectRef,
    /// How grave it is.
    pub severity: Severity,
    /// Why, as one stable word in PascalCase.
    pub reason: Cow<'static, str>,
    /// What was done or tried, as one stable word in PascalCase.
    pub action: &'static str,
    /// One sentence for the operator; beyond 1,000 bytes it is cut.
    pub note: String,
    /// Whether every node says the same: it is then posted once for the cluster and not once for
    /// each node.
    pub of_cluster: bool,
}

/// Takes Events. Never waits.
#[derive(Clone, Debug)]
pub struct EventSink {
    events: mpsc::Sender<Event>,
    bucket: Arc<Mutex<Bucket>>,
    dropped: Arc<AtomicU64>,
}

/// What a sink took, on its way to the API.
#[derive(Debug)]
pub struct EventQueue {
    events: mpsc::Receiver<Event>,
    dropped: Arc<AtomicU64>,
}

/// A sink, and the queue that [`ApiSource::post_events`] empties.
#[must_use]
pub fn event_queue() -> (EventSink, EventQueue) {
    let (sender, events) = mpsc::channel(WAITING);
    let dropped = Arc::new(AtomicU64::new(0));
    let bucket = Arc::new(Mutex::new(Bucket { tokens: BURST, since: Instant::now() }));
    (EventSink { events: sender, bucket, dropped: dropped.clone() }, EventQueue { events, dropped })
}

impl EventSink {
    /// Tells something, if it does not come too fast.
    pub fn tell(&self, event: Event) {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = bucket.take(Instant::now()) && self.events.try_send(event).is_ok();
        if !taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many Events were dropped, or could not be posted.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Limits a rate, with some slack.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    since: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.since).as_secs_f64() * RATE;
        self.tokens = (self.tokens + earned).min(BURST);
        self.since = now;
        let there = self.tokens >= 1.0;
        if there {
            self.tokens -= 1.0;
        }
        there
    }
}

impl ApiSource {
    /// Posts what a queue holds, until no sink is left. It can run beside [`ApiSource::run`].
    pub fn post_events(&self, queue: EventQueue) -> impl Future<Output = ()> + Send + use<> {
        let poster = Poster {
            connection: self.connection.clone(),
            node: self.scope.node_name.clone(),
            backoff: Backoff::new(self.timing.first_wait, self.timing.longest_wait),
            series: BTreeMap::new(),
            silenced: false,
        };
        poster.run(queue)
    }
}

struct Poster {
    connection: Arc<Connection>,
    node: Arc<str>,
    backoff: Backoff,
    /// What was posted of late.
    series: BTreeMap<Event, (Value, Instant)>,
    /// Whether the last attempt failed, which is said once.
    silenced: bool,
}

/// Why an Event is not there.
enum Failure {
    /// A later attempt may succeed.
    Passing(String),
    /// No attempt will.
    Final(String),
}

impl Poster {
    async fn run(mut self, mut queue: EventQueue) {
        while let Some(event) = queue.events.recv().await {
            if !self.deliver(&event).await {
                queue.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Tries until it is posted, or there is no hope; says whether it is posted.
    async fn deliver(&mut self, event: &Event) -> bool {
        for _ in 0..TRIES {
            let why = match self.post(event).await {
                Ok(()) => {
                    self.backoff.reset();
                    self.silenced = false;
                    return true;
                }
                Err(Failure::Final(why)) => {
                    self.complain(&why);
                    return false;
                }
                Err(Failure::Passing(why)) => why,
            };
            self.complain(&why);
            sleep(self.backoff.wait()).await;
        }
        false
    }

    fn complain(&mut self, why: &str) {
        if !std::mem::replace(&mut self.silenced, true) {
            tracing::warn!(
                "an Event cannot be posted: {why}; routing goes on, and this is not said again \
                 until one can (create and patch of events.events.k8s.io are needed)"
            );
        }
    }

    async fn post(&mut self, event: &Event) -> Result<(), Failure> {
        let now = Instant::now();
        self.series.retain(|_, (_, last)| now.duration_since(*last) < SERIES);
        let before = self.series.get(event).map(|(posted, _)| posted.clone());
        let known = before.is_some();
        let posted = match before {
            Some(posted) => again(posted),
            None => first(event, &self.node),
        };
        let text = |field: &str| posted["metadata"][field].as_str().unwrap_or_default();
        let path = format!("{EVENTS}/{}/events", text("namespace"));
        let told = if known {
            Told::Merged { name: text("name"), patch: json!({ "series": posted["series"] }) }
        } else {
            Told::Created(posted.to_string().into_bytes())
        };
        match self.connection.tell(&path, told, PATIENCE).await {
            Ok(()) => {}
            // Another node, or an earlier run, has said it.
            Err(Refusal::Answer(409, _)) if event.of_cluster => {}
            // It has expired: the next one begins a series.
            Err(Refusal::Answer(404, why)) if known => {
                self.series.remove(event);
                return Err(Failure::Passing(why));
            }
            Err(Refusal::Answer(code, why)) if code < 500 && code != 401 && code != 429 => {
                return Err(Failure::Final(why));
            }
            Err(Refusal::Answer(_, why) | Refusal::Silence(why)) => {
                return Err(Failure::Passing(why));
            }
        }
        self.series.insert(event.clone(), (posted, now));
        Ok(())
    }
}

/// An Event (`events.k8s.io/v1`) as it is posted first.
fn first(event: &Event, node: &str) -> Value {
    let regarding = reference(&event.object);
    let now = Timestamp::now();
    let suffix =
        if event.of_cluster { fingerprint(event) } else { format!("{:x}", now.as_nanosecond()) };
    let name = format!("{}.{suffix}", regarding["name"].as_str().unwrap_or_default());
    // Events of objects without a namespace belong into this one.
    let namespace = regarding["namespace"].as_str().unwrap_or("default");
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": { "name": name, "namespace": namespace },
        "type": format!("{:?}", event.severity),
        "reason": event.reason,
        "action": event.action,
        "note": cut(&event.note),
        "eventTime": micro_time(now),
        "regarding": regarding,
        "reportingController": "pointsman",
        "reportingInstance": node,
    })
}

/// The same, once more.
fn again(mut posted: Value) -> Value {
    let count = posted["series"]["count"].as_u64().unwrap_or(1) + 1;
    let last = micro_time(Timestamp::now());
    posted["series"] = json!({ "count": count, "lastObservedTime": last });
    posted
}

/// `MicroTime` of the API.
fn micro_time(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// The same for all who say the same.
fn fingerprint(event: &Event) -> String {
    let said = [event.object.kind, &event.reason, event.action, &event.note].join("\n");
    Sha256::digest(said).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn cut(note: &str) -> String {
    if note.len() <= NOTE {
        return note.into();
    }
    let end = (0..=NOTE).rev().find(|&end| note.is_char_boundary(end)).unwrap_or_default();
    format!("{}…", &note[..end])
}

fn reference(object: &ObjectRef) -> Value {
    let (namespace, name) = match object.name.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, &*object.name),
    };
    let api_version = match object.kind {
        "EndpointSlice" => "discovery.k8s.io/v1",
        "ServiceCIDR" | "NetworkPolicy" => "networking.k8s.io/v1",
        "ClusterNetworkPolicy" => "policy.networking.k8s.io/v1alpha2",
        _ => "v1",
    };
    let mut reference = json!({ "apiVersion": api_version, "kind": object.kind, "name": name });
    if let Some(namespace) = namespace {
        reference["namespace"] = namespace.into();
    }
    if object.kind == "Node" {
        // `kubectl describe node` looks for Events by this, as the kubelet writes them.
        reference["uid"] = name.into();
    }
    reference
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_to_a_burst_and_what_is_earned_since() {
        let start = Instant::now();
        let mut bucket = Bucket { tokens: BURST, since: start };
        let taken = (0..1000).filter(|_| bucket.take(start)).count();
        assert_eq!(taken, 50);
        let later = start + Duration::from_secs(11);
        assert_eq!((0..10).filter(|_| bucket.take(later)).count(), 2);
        let much_later = later + Duration::from_secs(100_000);
        assert_eq!((0..1000).filter(|_| bucket.take(much_later)).count(), 50);
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let long = "ä".repeat(1000);
        let cut = cut(&long);
        assert!(cut.len() <= 1003 && cut.ends_with("ä…"), "{}", cut.len());
        assert_eq!(super::cut("short"), "short");
    }
}
