//! healthz, livez, readyz and the answers of `healthCheckNodePort`, as functions of the status.

use std::time::{Duration, Instant, SystemTime};

use health::answer::{self, Answer};
use health::{Expectations, Moment, NetworkPolicy, Status, Unready, Watch};
use model::{Family, NamespacedName, Node, Taint};
use serde_json::{Value, json};

use super::objects::node;

const TIMEOUT: Duration = Duration::from_secs(60);

/// A clock that stands still until it is told to go on.
struct Clock(Moment);

impl Clock {
    fn new() -> Self {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        Self(Moment { steady: Instant::now(), wall })
    }

    /// Somebody sets the clock that people read back.
    fn set_back(&mut self, seconds: u64) {
        self.0.wall -= Duration::from_secs(seconds);
    }

    fn after(&mut self, seconds: u64) -> Moment {
        let step = Duration::from_secs(seconds);
        self.0 = Moment { steady: self.0.steady + step, wall: self.0.wall + step };
        self.0
    }
}

fn status(clock: &Clock) -> Status {
    let mut status = Status::new(Expectations::default(), clock.0);
    status.node(Some(&node("alpha")));
    status
}

fn body(answer: &Answer) -> Value {
    assert_eq!(answer.content_type, "application/json");
    assert!(answer.headers.contains(&("X-Content-Type-Options", "nosniff".into())));
    serde_json::from_str(&answer.body).unwrap()
}

/// Codes of healthz and livez.
#[track_caller]
fn codes(status: &Status, now: Moment, expected: [u16; 2]) {
    let answers = [answer::healthz(status, now), answer::livez(status, now)];
    assert_eq!(answers.map(|answer| answer.code), expected);
}

fn words(status: &Status, now: Moment) -> Vec<&'static str> {
    status.unready(now).into_iter().map(|(reason, _)| reason.word()).collect()
}

#[test]
fn healthz_has_the_fields_of_kube_proxy_in_their_order() {
    let mut clock = Clock::new();
    let mut status = status(&clock);
    status.synced(Family::V4, clock.after(5));
    let now = clock.after(10);
    let answer = answer::healthz(&status, now);
    assert_eq!(answer.code, 200);
    // On 200 lastUpdated is the current time; a family without a sync counts from the start.
    assert_eq!(
        answer.body,
        "{\"lastUpdated\":\"2023-11-14T22:13:35Z\",\"currentTime\":\"2023-11-14T22:13:35Z\",\
         \"nodeEligible\":true,\"healthy\":true,\"status\":{\
         \"IPv4\":{\"lastUpdated\":\"2023-11-14T22:13:25Z\",\"healthy\":true},\
         \"IPv6\":{\"lastUpdated\":\"2023-11-14T22:13:20Z\",\"healthy\":true}}}"
    );
    let livez = body(&answer::livez(&status, now));
    assert_eq!(livez.get("nodeEligible"), None);
    assert_eq!(livez["healthy"], json!(true));
}

#[test]
fn healthz_follows_the_taint_of_the_autoscaler_and_deletion_while_livez_does_not() {
    let clock = Clock::new();
    let mut status = status(&clock);
    codes(&status, clock.0, [200, 200]);
    for effect in ["NoSchedule", "PreferNoSchedule", "NoExecute"] {
        let taint = Taint { key: "ToBeDeletedByClusterAutoscaler".into(), effect: effect.into() };
        status.node(Some(&Node { taints: vec![taint], ..node("alpha") }));
        codes(&status, clock.0, [503, 200]);
        // `healthy` speaks of the rules alone.
        let healthz = body(&answer::healthz(&status, clock.0));
        assert_eq!((&healthz["nodeEligible"], &healthz["healthy"]), (&json!(false), &json!(true)));
        status.node(Some(&node("alpha")));
        codes(&status, clock.0, [200, 200]);
    }
    let other =
        Taint { key: "node.kubernetes.io/unschedulable".into(), effect: "NoExecute".into() };
    status.node(Some(&Node { taints: vec![other], ..node("alpha") }));
    codes(&status, clock.0, [200, 200]);
    status.node(Some(&Node { deleting: true, ..node("alpha") }));
    codes(&status, clock.0, [503, 200]);
}

#[test]
fn a_node_not_yet_known_is_not_eligible_and_one_that_vanished_stays_what_it_was() {
    let clock = Clock::new();
    let mut status = Status::new(Expectations::default(), clock.0);
    codes(&status, clock.0, [503, 200]);
    assert!(!words(&status, clock.0).contains(&"node-missing"), "nothing was heard yet");
    status.node(None);
    codes(&status, clock.0, [503, 200]);
    assert!(words(&status, clock.0).contains(&"node-missing"));
    status.node(Some(&node("alpha")));
    codes(&status, clock.0, [200, 200]);
    assert!(!words(&status, clock.0).contains(&"node-missing"));
    status.node(None);
    codes(&status, clock.0, [200, 200]);
    assert!(words(&status, clock.0).contains(&"node-missing"));
}

#[test]
fn without_a_node_object_to_expect_the_node_is_eligible() {
    let clock = Clock::new();
    let expectations = Expectations { node_object: false, ..Expectations::default() };
    let mut status = Status::new(expectations, clock.0);
    status.node(None);
    codes(&status, clock.0, [200, 200]);
    assert_eq!(words(&status, clock.0), ["not-synced", "not-synced"]);
    // If there is one all the same, it counts until it is gone.
    status.node(Some(&Node { deleting: true, ..node("node-0") }));
    codes(&status, clock.0, [503, 200]);
    status.node(None);
    codes(&status, clock.0, [200, 200]);
}

#[test]
fn per_family_queue_timeouts() {
    let mut clock = Clock::new();
    let mut status = status(&clock);
    // Nothing asked for, nothing late: not even after an hour.
    codes(&status, clock.after(3600), [200, 200]);
    status.queued(Family::V4, clock.0);
    codes(&status, clock.after(59), [200, 200]);
    // A later request does not make the oldest younger.
    status.queued(Family::V4, clock.0);
    codes(&status, clock.after(1), [503, 503]);
    let healthz = body(&answer::healthz(&status, clock.0));
    assert_eq!(healthz["status"]["IPv4"]["healthy"], json!(false));
    assert_eq!(healthz["status"]["IPv6"]["healthy"], json!(true));
    assert_eq!(healthz["healthy"], json!(false));
    // On 503 lastUpdated is the newest real one.
    assert_eq!(healthz["lastUpdated"], json!("2023-11-14T22:13:20Z"));
    status.synced(Family::V6, clock.0);
    codes(&status, clock.0, [503, 503]);
    status.synced(Family::V4, clock.0);
    codes(&status, clock.after(TIMEOUT.as_secs()), [200, 200]);
    // The next request counts from its own time.
    status.queued(Family::V6, clock.0);
    codes(&status, clock.after(59), [200, 200]);
    codes(&status, clock.after(1), [503, 503]);
}

#[test]
fn a_family_that_is_not_written_is_not_reported() {
    let mut clock = Clock::new();
    let expectations = Expectations { families: vec![Family::V4], ..Expectations::default() };
    let mut status = Status::new(expectations, clock.0);
    status.node(Some(&node("alpha")));
    status.queued(Family::V6, clock.0);
    let now = clock.after(3600);
    codes(&status, now, [200, 200]);
    assert_eq!(body(&answer::healthz(&status, now))["status"].as_object().unwrap().len(), 1);
}

#[test]
fn a_failure_makes_unready_at_once_and_unhealthy_when_it_lasts() {
    let mut clock = Clock::new();
    let mut status = status(&clock);
    Family::ALL.into_iter().for_each(|family| status.synced(family, clock.0));
    assert_eq!(answer::readyz(&status, clock.0).code, 200);
    // Nothing was queued: what the failed write should have brought waits from now on.
    status.failed(Family::V6, clock.0, "the kernel has no memory");
    codes(&status, clock.0, [200, 200]);
    let readyz = answer::readyz(&status, clock.after(3));
    assert_eq!(readyz.code, 503);
    let readyz = body(&readyz);
    assert_eq!(readyz["ready"], json!(false));
    assert_eq!(
        readyz["reasons"],
        json!([{
            "reason": "sync-failed",
            "message": "IPv6: the last write failed 3 s ago: the kernel has no memory",
        }])
    );
    status.failed(Family::V6, clock.after(57), "the kernel has no memory");
    codes(&status, clock.0, [503, 503]);
    assert_eq!(words(&status, clock.0), ["sync-failed", "sync-late"]);
    status.synced(Family::V6, clock.0);
    codes(&status, clock.0, [200, 200]);
    assert_eq!(answer::readyz(&status, clock.0).code, 200);
}

#[test]
fn before_the_first_write_it_is_healthy_and_not_ready() {
    let mut clock = Clock::new();
    let mut status = status(&clock);
    codes(&status, clock.after(3600), [200, 200]);
    assert_eq!(words(&status, clock.0), ["not-synced", "not-synced"]);
    status.synced(Family::V4, clock.0);
    assert_eq!(words(&status, clock.0), ["not-synced"]);
    status.synced(Family::V6, clock.0);
    assert_eq!(words(&status, clock.0), [""; 0]);
}

#[test]
fn a_silent_watch_makes_unready_and_leaves_the_node_in_service() {
    let mut clock = Clock::new();
    let mut status = status(&clock);
    Family::ALL.into_iter().for_each(|family| status.synced(family, clock.0));
    let heard = Watch {
        connected: true,
        listed: true,
        last_event: Some(clock.0.steady),
        ..Watch::default()
    };
    status.watch("Services", heard.clone());
    status.watch("ServiceCIDRs", Watch { optional: true, ..heard.clone() });
    assert_eq!(words(&status, clock.after(150)), [""; 0]);
    // Half-open: connected as far as anybody knows.
    assert_eq!(words(&status, clock.after(1)), ["watch-stale"]);
    codes(&status, clock.0, [200, 200]);
    let readyz = body(&answer::readyz(&status, clock.0));
    assert_eq!(readyz["networkPolicy"], Value::Null, "not decided yet");
    status.decided(NetworkPolicy { enforced: true, because: "switched on".into() });
    let decided = body(&answer::readyz(&status, clock.0));
    let expected = json!({"enforced": true, "because": "switched on"});
    assert_eq!(decided["networkPolicy"], expected);
    let services = &readyz["watches"]["Services"];
    assert_eq!(services["lastEventAgeSeconds"], json!(151));
    assert_eq!(services["connected"], json!(true));
    let failure = Some("connection refused".to_owned());
    status.watch("Services", Watch { connected: false, failure, ..heard.clone() });
    let (_, text) = status.unready(clock.0).remove(0);
    assert_eq!(text, "nothing heard of Services for 151 s: connection refused");
    status.watch("Services", Watch { last_event: Some(clock.0.steady), ..heard });
    assert_eq!(words(&status, clock.0), [""; 0]);
}

#[test]
fn a_watch_that_never_heard_anything_is_stale_in_time() {
    let mut clock = Clock::new();
    let mut status = status(&clock);
    Family::ALL.into_iter().for_each(|family| status.synced(family, clock.0));
    status.watch("Services", Watch::default());
    assert_eq!(words(&status, clock.after(150)), [""; 0]);
    assert_eq!(words(&status, clock.after(1)), ["watch-stale"]);
    let readyz = body(&answer::readyz(&status, clock.0));
    assert_eq!(readyz["watches"]["Services"]["lastEventAgeSeconds"], Value::Null);
}

#[test]
fn drift_makes_unready_until_it_is_repaired() {
    let clock = Clock::new();
    let mut status = status(&clock);
    Family::ALL.into_iter().for_each(|family| status.synced(family, clock.0));
    status.drift(Family::V4, 7);
    let unready = status.unready(clock.0);
    let text = "IPv4: 7 objects of the kernel differ from the plan".to_owned();
    assert_eq!(unready, [(Unready::Drift, text)]);
    assert_eq!(body(&answer::readyz(&status, clock.0))["families"]["IPv4"]["drift"], json!(7));
    codes(&status, clock.0, [200, 200]);
    status.drift(Family::V4, 0);
    assert_eq!(words(&status, clock.0), [""; 0]);
}

#[test]
fn a_wall_clock_that_is_set_back_changes_no_judgement() {
    let mut clock = Clock::new();
    let mut status = status(&clock);
    status.queued(Family::V4, clock.0);
    status.watch("Services", Watch { last_event: Some(clock.0.steady), ..Watch::default() });
    let mut later = clock.after(200);
    later.wall -= Duration::from_secs(86_400);
    codes(&status, later, [503, 503]);
    assert!(words(&status, later).contains(&"watch-stale"));
}

#[test]
fn service_answers() {
    let mut clock = Clock::new();
    let mut status = status(&clock);
    let name = NamespacedName::new("ns", "a");
    let ask =
        |status: &Status, family, count, now| answer::service(status, &name, family, count, now);
    let answer = ask(&status, Family::V4, 3, clock.0);
    assert_eq!((answer.code, answer.content_type), (200, "application/json"));
    assert_eq!(
        answer.headers,
        [
            ("X-Content-Type-Options", "nosniff".to_owned()),
            ("X-Load-Balancing-Endpoint-Weight", "3".to_owned()),
        ]
    );
    assert_eq!(
        answer.body,
        "{\n\t\"service\": {\n\t\t\"namespace\": \"ns\",\n\t\t\"name\": \"a\"\n\t},\n\
         \t\"localEndpoints\": 3,\n\t\"serviceProxyHealthy\": true\n}"
    );
    let none = ask(&status, Family::V4, 0, clock.0);
    assert_eq!(none.code, 503);
    assert_eq!(body(&none)["serviceProxyHealthy"], json!(true));
    assert_eq!(none.headers[1].1, "0");
    // The node's fate plays no part.
    status.node(Some(&Node { deleting: true, ..node("alpha") }));
    assert_eq!(ask(&status, Family::V4, 3, clock.0).code, 200);
    // kubernetes#115825: not while the rules cannot be written; each family for itself.
    status.failed(Family::V4, clock.0, "no");
    let now = clock.after(60);
    let late = ask(&status, Family::V4, 3, now);
    assert_eq!((late.code, &body(&late)["serviceProxyHealthy"]), (503, &json!(false)));
    assert_eq!(late.headers[1].1, "3");
    assert_eq!(ask(&status, Family::V6, 3, now).code, 200);
}

#[test]
fn a_clock_that_is_set_back_makes_nothing_look_late_or_fresh() {
    let mut clock = Clock::new();
    let mut status = status(&clock);
    let watch = Watch {
        connected: true,
        listed: true,
        last_event: Some(clock.0.steady),
        ..Watch::default()
    };
    status.watch("Service", watch);
    Family::ALL.into_iter().for_each(|family| status.synced(family, clock.after(1)));
    clock.set_back(86_400);
    status.queued(Family::V4, clock.after(1));
    // Nothing is late yet, and what waits too long is late though the clock says yesterday.
    codes(&status, clock.after(50), [200, 200]);
    codes(&status, clock.after(20), [503, 503]);
    assert!(words(&status, clock.0).contains(&"sync-late"), "{:?}", words(&status, clock.0));
    status.synced(Family::V4, clock.after(1));
    codes(&status, clock.0, [200, 200]);
    // A watch that says nothing grows old by the steady clock.
    let now = clock.after(400);
    assert!(words(&status, now).contains(&"watch-stale"), "{:?}", words(&status, now));
}
