//! One kind's watch: list, follow, and begin anew where the thread is lost.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use model::{Notice, ObjectRef, Reason};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::backoff::{Backoff, up_to};
use super::connection::Connection;
use super::kind::{Kind, Scope, Watched};
use super::state::StateOf;
use super::{Batch, Timing};
use crate::Error;
use crate::convert::Names;

/// Objects a page.
pub(super) const PAGE: &str = "500";

/// How many very short watches in a row make the list be fetched in pages instead.
const SHORT_WATCHES: u32 = 3;

/// How long a server's wish for rest is granted at most: a slip of its configuration must not cut
/// the node off for a day.
const LONGEST_REST: Duration = Duration::from_secs(120);

/// HTTP 410: the resourceVersion is older than what the server remembers.
const GONE: u16 = 410;

/// How a watch ended without a failure.
pub(super) enum End {
    /// The list is complete.
    Listed,
    /// By the server, in its time.
    InTime,
    /// By the server, soon after it began.
    Soon,
    /// By the server, soon after it began and without an event.
    AtOnce,
    /// Nobody takes batches any more.
    Unheard,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A watch that begins with the list (KEP-3157).
    StreamList,
    /// A list in one piece, or what the server makes of it.
    List,
    /// A list that the server is made to page.
    PagedList,
    /// A watch from the version that is known.
    Follow,
}

pub(super) struct Watch<K: Watched> {
    pub(super) connection: Arc<Connection>,
    pub(super) scope: Scope,
    optional: bool,
    pub(super) timing: Timing,
    pub(super) state: StateOf,
    pub(super) batches: mpsc::Sender<Batch>,
    pub(super) names: Names,
    backoff: Backoff,
    pub(super) step: Step,
    /// Whether the server can stream a list, as far as is known.
    streams: bool,
    /// The newest resourceVersion that is known.
    pub(super) version: String,
    /// Whether the kind was ever handed on completely.
    listed: bool,
    /// Very short watches in a row.
    pub(super) short: u32,
    /// The last request was refused for its credentials.
    unauthorized: bool,
    /// The failure that was logged last.
    logged: Option<(String, Instant)>,
    kind: PhantomData<fn() -> K>,
}

impl<K: Watched> Watch<K> {
    pub(super) fn new(
        connection: Arc<Connection>,
        (scope, optional): (Scope, bool),
        timing: Timing,
        state: StateOf,
        batches: mpsc::Sender<Batch>,
    ) -> Self {
        Self {
            connection,
            scope,
            optional,
            timing,
            state,
            batches,
            names: Names::default(),
            backoff: Backoff::new(timing.first_wait, timing.longest_wait),
            step: Step::StreamList,
            streams: true,
            version: String::new(),
            listed: false,
            short: 0,
            unauthorized: false,
            logged: None,
            kind: PhantomData,
        }
    }

    /// Watches until nobody takes batches any more.
    pub(super) async fn run(mut self) {
        loop {
            let done = match self.step {
                Step::StreamList | Step::Follow => self.stream().await,
                Step::List | Step::PagedList => self.list().await,
            };
            self.state.change(|state| state.connected = false);
            let wait = match done {
                Ok(End::Unheard) => return,
                Ok(End::Listed | End::InTime) => Duration::ZERO,
                Ok(End::Soon) => self.backoff.wait(),
                Ok(End::AtOnce) => {
                    self.state.change(|state| state.short_watches += 1);
                    self.after_short_watch();
                    self.backoff.wait()
                }
                Err(error) => self.after(error).await,
            };
            if self.batches.is_closed() {
                return;
            }
            sleep(wait).await;
        }
    }

    /// How a list is asked for now.
    pub(super) fn list_step(&self) -> Step {
        if self.streams { Step::StreamList } else { Step::List }
    }

    /// A watch that ends at once, or a streamed list that breaks off, again and again, may hold an
    /// object larger than the server can send on a watch: a paged list gets past it
    /// (kubernetes#73324).
    fn after_short_watch(&mut self) {
        self.short += 1;
        if self.short >= SHORT_WATCHES {
            self.short = 0;
            self.step = Step::PagedList;
            tracing::warn!(
                kind = %K::KIND,
                "the server ended {SHORT_WATCHES} watches in a row at once; listing in pages"
            );
        }
    }

    /// Decides on the next step after a failure, and how long to wait before it.
    async fn after(&mut self, error: Error) -> Duration {
        // What was being done when it failed: a streamed list that is complete is a watch.
        let step = self.step;
        let unauthorized_before = std::mem::take(&mut self.unauthorized);
        let mut wait = self.backoff.wait();
        match &error {
            Error::Refused { code: GONE, .. } | Error::Ended { code: GONE, .. } => {
                self.step = self.list_step();
                wait = up_to(self.timing.relist_spread);
            }
            // Servers that cannot stream a list refuse the parameters (400, 422) or the feature.
            Error::Refused { code: 400 | 405 | 406 | 415 | 422 | 501, .. }
                if step == Step::StreamList =>
            {
                tracing::debug!(kind = %K::KIND, "{error}; listing without streaming from now on");
                self.streams = false;
                self.step = Step::List;
                return Duration::ZERO;
            }
            Error::Refused { code: 401, .. } => {
                // The credentials were read anew: ask at once, but not twice.
                self.unauthorized = true;
                if !unauthorized_before {
                    wait = Duration::ZERO;
                }
            }
            Error::Refused { code: 403 | 404, .. } if self.optional => {
                self.step = self.list_step();
                wait = self.timing.refused_again / 2 + up_to(self.timing.refused_again / 2);
                self.go_without(&error).await;
                let unserved = matches!(error, Error::Refused { code: 404, .. });
                if K::KIND == Kind::ClusterNetworkPolicy && unserved {
                    // Most clusters do not have them; one that gets them should not wait long.
                    tracing::debug!(kind = %K::KIND, "{error}; there are none until it serves them");
                    self.version.clear();
                    return wait / 10;
                }
            }
            Error::Refused { retry_after: Some(asked), .. } => {
                wait += (*asked).min(LONGEST_REST);
            }
            // A streamed list that does not come to its end: some server or store cannot do it.
            Error::Silent { .. } if step == Step::StreamList => self.step = Step::List,
            Error::Cut { .. } if step == Step::StreamList => self.after_short_watch(),
            // Quiet or half open: a new connection tells which.
            Error::Silent { .. } if step == Step::Follow => {
                tracing::debug!(kind = %K::KIND, "{error}; connecting anew");
                return Duration::ZERO;
            }
            // What the lost event said, or how to go on from it, only a new list can tell.
            Error::Ended { .. } | Error::Unreadable { .. } => self.step = self.list_step(),
            _ => {}
        }
        if matches!(error, Error::Refused { .. }) && step != Step::Follow {
            // A store that was restored from a backup never reaches the version known before.
            self.version.clear();
        }
        self.report(&error, wait);
        wait
    }

    /// Says what went wrong: at once if it is new, else once a minute.
    fn report(&mut self, error: &Error, wait: Duration) {
        let text = error.to_string();
        self.state.change(|state| state.failure = Some(text.clone()));
        let known = self.logged.as_ref().is_some_and(|(logged, when)| {
            *logged == text && when.elapsed() < Duration::from_secs(60)
        });
        if !known {
            tracing::warn!(kind = %K::KIND, "{text}; next attempt in {:.1} s", wait.as_secs_f32());
            self.logged = Some((text, Instant::now()));
        }
    }

    /// The server will not show an optional kind: it counts as empty, unless more was known.
    async fn go_without(&mut self, error: &Error) {
        if self.listed {
            return;
        }
        let notices = match K::KIND {
            Kind::Node => vec![self.node_missing(&error.to_string())],
            _ => Vec::new(),
        };
        self.hand_on_list(Vec::new(), notices).await;
    }

    pub(super) fn node_missing(&self, cause: &str) -> Notice {
        Notice {
            object: ObjectRef::new("Node", &self.scope.node_name),
            reason: Reason::NodeMissing,
            message: format!(
                "{cause}: expected the Node of this machine; its zone, addresses and Pod blocks \
                 count as unknown"
            ),
        }
    }

    /// Something was heard.
    pub(super) fn heard(&mut self) {
        self.backoff.reset();
        self.unauthorized = false;
        if self.logged.take().is_some() {
            tracing::info!(kind = %K::KIND, "the Kubernetes API answers again");
        }
        let now = std::time::Instant::now();
        self.state.change(|state| {
            state.connected = true;
            state.last_event = Some(now);
            state.failure = None;
        });
    }

    pub(super) async fn hand_on(&self, batch: Batch) -> bool {
        self.batches.send(batch).await.is_ok()
    }

    pub(super) async fn hand_on_list(
        &mut self,
        facts: Vec<K::Fact>,
        mut notices: Vec<Notice>,
    ) -> bool {
        if K::KIND == Kind::Node && facts.is_empty() && notices.is_empty() {
            notices.push(self.node_missing("there is no such Node"));
        }
        let changes = vec![K::all(facts)];
        let handed = self.hand_on(Batch { changes, notices, listed: vec![K::KIND] }).await;
        self.listed = true;
        self.names.forget_unused();
        self.state.change(|state| {
            state.listed = true;
            state.lists += 1;
        });
        handed
    }
}
