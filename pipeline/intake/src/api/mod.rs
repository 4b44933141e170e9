//! The Kubernetes API as a source.
//!
//! Each kind has a watch of its own, which lists and then follows (`watch.rs`); what they say is
//! gathered here into deliveries. The choice of an own watch loop is argued in
//! `docs/decisions/0003-watching-the-api.md`.

mod backoff;
mod config;
mod connection;
mod events;
mod follow;
mod item;
mod kind;
mod kubeconfig;
mod list;
mod objects;
mod policy;
mod state;
mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::{Change, Notice};
use tokio::sync::{mpsc, watch as channel};
use tokio::task::JoinSet;

pub use config::ApiOptions;
pub use connection::{Request, RequestObserver};
pub use events::{Event, EventQueue, EventSink, Severity, event_queue};
pub use kind::Kind;
pub use objects::Objects;
pub use policy::{NetworkPolicyMode, PolicyDecision};
pub use state::{WatchState, WatchStates};

use crate::{Delivery, Error};
use connection::Connection;
use kind::{EndpointSlices, Nodes, Scope, ServiceCidrs, Services, Watched};
use state::StateOf;
use watch::Watch;

/// How many changes go into one delivery at most (a list counts as one).
const BATCH: usize = 4096;

/// How many changes may wait while a delivery is being taken; the watches wait beyond that.
const WAITING: usize = 1024;

/// How patient the source is.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The longest silence of a connection that still counts as alive. Servers send a bookmark
    /// about every minute.
    pub silence: Duration,
    /// The longest silence before a streamed list is complete; after it, the list is asked for in
    /// one piece.
    pub list_silence: Duration,
    /// The first wait after a failure; each further one is twice as long.
    pub first_wait: Duration,
    /// The longest wait after a failure.
    pub longest_wait: Duration,
    /// After an expired resourceVersion, which all nodes of a cluster meet at once, each lists
    /// again at some time within so long.
    pub relist_spread: Duration,
    /// A watch that ends sooner, without an event, is a very short one.
    pub short_watch: Duration,
    /// When to ask again for a kind that the server refuses and that is not essential.
    pub refused_again: Duration,
    /// How long a watch is asked to last, at least; at most it is twice as long.
    pub watch_length: Duration,
    /// How long a server may overrun the end of a watch that it was asked for.
    pub overrun: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(90),
            list_silence: Duration::from_secs(30),
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(30),
            relist_spread: Duration::from_secs(10),
            short_watch: Duration::from_secs(1),
            refused_again: Duration::from_secs(600),
            watch_length: Duration::from_secs(300),
            overrun: Duration::from_secs(30),
        }
    }
}

/// The Kubernetes API as a source of changes.
pub struct ApiSource {
    connection: Arc<Connection>,
    scope: Scope,
    timing: Timing,
    states: channel::Sender<WatchStates>,
    network_policy: NetworkPolicyMode,
    decisions: channel::Sender<Option<PolicyDecision>>,
}

/// What a watch hands to the gathering.
struct Batch {
    changes: Vec<Change>,
    notices: Vec<Notice>,
    /// The kinds that this makes complete.
    listed: Vec<Kind>,
}

impl ApiSource {
    /// Reads the configuration. Nothing is asked of the API server yet.
    ///
    /// # Errors
    /// What waiting cannot mend: [`Error::Kubeconfig`], [`Error::InCluster`], [`Error::Master`] or
    /// [`Error::Client`].
    pub async fn new(options: ApiOptions) -> Result<Self, Error> {
        let scope = Scope { node_name: options.node_name.clone(), names: false };
        let connection = Arc::new(Connection::open(options).await?);
        let states = Kind::ROUTING.into_iter().map(|kind| (kind, WatchState::default())).collect();
        let (states, _) = channel::channel(states);
        Ok(Self {
            connection,
            scope,
            timing: Timing::default(),
            states,
            network_policy: NetworkPolicyMode::Off,
            decisions: channel::Sender::new(None),
        })
    }

    /// Watches what policies depend on too, if that is wanted; it is not by default.
    #[must_use]
    pub fn with_network_policy(mut self, mode: NetworkPolicyMode) -> Self {
        self.network_policy = mode;
        self
    }

    /// Says through this channel whether policies are enforced: before the first complete delivery is
    /// handed on.
    #[must_use]
    pub fn with_decisions(mut self, decisions: channel::Sender<Option<PolicyDecision>>) -> Self {
        self.decisions = decisions;
        self
    }

    /// Watches what names depend on too (headless Services, and Namespaces where they may be read);
    /// it does not by default.
    #[must_use]
    pub fn with_names(mut self, wanted: bool) -> Self {
        self.scope.names = wanted;
        self
    }

    /// Whether policies are enforced; `None` until that is decided, which comes before the first
    /// complete delivery.
    #[must_use]
    pub fn policy_decision(&self) -> channel::Receiver<Option<PolicyDecision>> {
        self.decisions.subscribe()
    }

    /// Changes the source's patience.
    #[must_use]
    pub fn with_timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Tells of every request to the API server, so that it can be counted.
    #[must_use]
    pub fn with_request_observer(self, observer: RequestObserver) -> Self {
        self.connection.observe(observer);
        self
    }

    /// How the watches fare, from now on. A failure, also of the first list, appears here (and in
    /// the log) at once.
    #[must_use]
    pub fn states(&self) -> channel::Receiver<WatchStates> {
        self.states.subscribe()
    }

    /// Lists and watches until nobody takes deliveries any more. Whatever goes wrong is logged and
    /// tried again, at growing intervals; what was delivered stays valid meanwhile.
    ///
    /// # Errors
    /// [`Error::Defect`] alone.
    pub async fn run(self, deliveries: mpsc::Sender<Delivery>) -> Result<(), Error> {
        let (batches, received) = mpsc::channel(WAITING);
        // Dropped with this future, the set ends its tasks.
        let mut watches = JoinSet::new();
        self.start::<Services>(&mut watches, &batches);
        self.start::<EndpointSlices>(&mut watches, &batches);
        self.start::<Nodes>(&mut watches, &batches);
        self.start::<ServiceCidrs>(&mut watches, &batches);
        let decisions = self.decisions.clone();
        watches.spawn(Arc::new(self).policies(decisions, batches));
        tokio::select! {
            () = gather(received, deliveries) => Ok(()),
            // A watch ends by itself only when nobody takes its batches.
            Some(Err(error)) = watches.join_next() => {
                Err(Error::Defect { cause: error.to_string() })
            }
        }
    }

    fn start<K: Watched>(&self, watches: &mut JoinSet<()>, batches: &mpsc::Sender<Batch>) {
        self.start_as::<K>(K::KIND.is_optional(), watches, batches);
    }

    /// Starts a watch that may, or may not, be refused by the server for good.
    fn start_as<K: Watched>(
        &self,
        optional: bool,
        watches: &mut JoinSet<()>,
        batches: &mpsc::Sender<Batch>,
    ) {
        let watch = Watch::<K>::new(
            self.connection.clone(),
            (self.scope.clone(), optional),
            self.timing,
            StateOf::new(K::KIND, self.states.clone()),
            batches.clone(),
        );
        watches.spawn(watch.run());
    }
}

/// Puts what is there already into one delivery, so that a burst costs one pass of the stages that
/// follow.
async fn gather(mut batches: mpsc::Receiver<Batch>, deliveries: mpsc::Sender<Delivery>) {
    let mut listed = BTreeSet::new();
    let mut complete = false;
    loop {
        let first = tokio::select! {
            batch = batches.recv() => batch,
            // With a quiet cluster, nothing else would notice.
            () = deliveries.closed() => None,
        };
        let Some(first) = first else { return };
        let mut next = Some(first);
        let mut delivery = Delivery::default();
        while let Some(batch) = next {
            delivery.changes.extend(batch.changes);
            delivery.notices.extend(batch.notices);
            listed.extend(batch.listed);
            next = if delivery.changes.len() < BATCH { batches.try_recv().ok() } else { None };
        }
        delivery.complete = listed.len() == Kind::ROUTING.len() + Kind::POLICY.len();
        let news = delivery.complete && !std::mem::replace(&mut complete, delivery.complete);
        let empty = delivery.changes.is_empty() && delivery.notices.is_empty() && !news;
        if !empty && deliveries.send(delivery).await.is_err() {
            return;
        }
    }
}
