//! The answers of the health server: codes, headers and bodies.

use std::collections::BTreeMap;

use model::{Family, NamespacedName};
use serde::Serialize;

use crate::moment::Moment;
use crate::status::Status;

/// An answer, before it is HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

impl Answer {
    /// JSON that no browser may take for anything else.
    fn json(code: u16, body: String) -> Self {
        Self { code, content_type: JSON, headers: vec![nosniff()], body }
    }

    /// Plain text.
    pub(crate) fn text(code: u16, body: impl Into<String>) -> Self {
        Self { code, content_type: TEXT, headers: vec![nosniff()], body: body.into() }
    }

    /// JSON of a value; an answer of its own if it has none.
    pub(crate) fn json_of(code: u16, value: &impl Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(body) => Self::json(code, body),
            Err(error) => Self::text(500, format!("cannot be written as JSON: {error}\n")),
        }
    }
}

fn nosniff() -> (&'static str, String) {
    ("X-Content-Type-Options", "nosniff".into())
}

/// 200 or 503.
fn code(good: bool) -> u16 {
    if good { 200 } else { 503 }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FamilyBody {
    last_updated: String,
    healthy: bool,
}

/// kube-proxy's body, in its order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HealthBody {
    last_updated: String,
    current_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    status: BTreeMap<String, FamilyBody>,
}

/// `/healthz`: whether load balancers should send new connections to this node. 200 if every family
/// is healthy and the node is eligible; the body's `healthy` leaves eligibility out, as kube-proxy's
/// does.
#[must_use]
pub fn healthz(status: &Status, now: Moment) -> Answer {
    let eligible = status.node_eligible();
    health(status, now, Some(eligible), status.all_healthy(now) && eligible)
}

/// `/livez`: whether the agent works; the node's fate plays no part.
#[must_use]
pub fn livez(status: &Status, now: Moment) -> Answer {
    health(status, now, None, status.all_healthy(now))
}

/// On 200 `lastUpdated` is the current time (readers compare the two), on 503 the newest real one.
fn health(status: &Status, now: Moment, node_eligible: Option<bool>, good: bool) -> Answer {
    let families = status.families().keys().copied();
    let newest = families.clone().map(|family| status.last_updated(family));
    let newest = newest.max_by_key(|moment| moment.steady).unwrap_or(status.started());
    let body = HealthBody {
        last_updated: if good { now } else { newest }.rfc3339(),
        current_time: now.rfc3339(),
        node_eligible,
        healthy: status.all_healthy(now),
        status: families
            .map(|family| {
                let last_updated = status.last_updated(family).rfc3339();
                let healthy = status.healthy(family, now);
                (family.to_string(), FamilyBody { last_updated, healthy })
            })
            .collect(),
    };
    Answer::json_of(code(good), &body)
}

#[derive(Serialize)]
struct ReasonBody {
    reason: &'static str,
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SyncBody {
    last_sync: Option<String>,
    last_failure: Option<String>,
    drift: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WatchBody {
    connected: bool,
    listed: bool,
    last_event_age_seconds: Option<u64>,
    failure: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReadyBody {
    ready: bool,
    current_time: String,
    reasons: Vec<ReasonBody>,
    families: BTreeMap<String, SyncBody>,
    watches: BTreeMap<String, WatchBody>,
    network_policy: Option<PolicyBody>,
}

#[derive(Serialize)]
struct PolicyBody {
    enforced: bool,
    because: String,
}

/// `/readyz`: whether what the kernel holds can be trusted to be what the cluster asks for. 503 with
/// every reason why not; the kernel goes on routing either way.
#[must_use]
pub fn readyz(status: &Status, now: Moment) -> Answer {
    let reasons = status.unready(now);
    let families = status.families().iter().map(|(family, state)| {
        let body = SyncBody {
            last_sync: state.last_success.map(|at| at.rfc3339()),
            last_failure: state.failure.as_ref().map(|failure| failure.cause.clone()),
            drift: state.drift,
        };
        (family.to_string(), body)
    });
    let watches = status.watches().iter().map(|(kind, watch)| {
        let body = WatchBody {
            connected: watch.connected,
            listed: watch.listed,
            last_event_age_seconds: watch
                .last_event
                .map(|_| status.watch_age(watch, now).as_secs()),
            failure: watch.failure.clone(),
        };
        (kind.to_string(), body)
    });
    let body = ReadyBody {
        ready: reasons.is_empty(),
        current_time: now.rfc3339(),
        families: families.collect(),
        watches: watches.collect(),
        network_policy: status.network_policy().map(|policy| PolicyBody {
            enforced: policy.enforced,
            because: policy.because.clone(),
        }),
        reasons: reasons
            .into_iter()
            .map(|(reason, message)| ReasonBody { reason: reason.word(), message })
            .collect(),
    };
    Answer::json_of(code(body.ready), &body)
}

/// The answer on a Service's `healthCheckNodePort`: 200 if this node has an endpoint that takes new
/// connections and the family's rules are kept up, else 503; the weight header counts the endpoints
/// for load balancers that spread by weight.
///
/// The node's eligibility plays no part (KEP-3836: what runs here goes on being served here until it
/// has left), nor does the other family: kube-proxy lets one family's trouble take both away.
#[must_use]
pub fn service(
    status: &Status,
    service: &NamespacedName,
    family: Family,
    local_endpoints: usize,
    now: Moment,
) -> Answer {
    let healthy = status.healthy(family, now);
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let (namespace, name) = (quoted(&service.namespace), quoted(&service.name));
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": {namespace},\n\t\t\"name\": {name}\n\t}},\n\
         \t\"localEndpoints\": {local_endpoints},\n\t\"serviceProxyHealthy\": {healthy}\n}}"
    );
    let mut answer = Answer::json(code(local_endpoints > 0 && healthy), body);
    answer.headers.push(("X-Load-Balancing-Endpoint-Weight", local_endpoints.to_string()));
    answer
}
