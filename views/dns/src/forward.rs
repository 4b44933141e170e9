//! Names outside of the cluster: asked upstream, remembered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use hickory_proto::op::ResponseCode;
use tokio::time::{timeout, timeout_at};

use crate::cache::{Cache, CacheLimits, Key, Upstreams};
use crate::counters::Counters;
use crate::error::DnsError;
use crate::resolv_conf::ResolvConf;
use crate::upstream;

/// The port of name servers.
const PORT: u16 = 53;
/// An upstream that did not answer is asked after all others for so long.
const REST: Duration = Duration::from_secs(10);

/// Whom to ask, how patiently, and how much to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardConfig {
    /// The upstreams, asked in this order.
    pub upstreams: Vec<SocketAddr>,
    /// How long one upstream may take for one question.
    pub timeout: Duration,
    /// How many rounds over all upstreams.
    pub attempts: u32,
    /// How long a question may take in all. A client's resolver gives up after 5 seconds.
    pub deadline: Duration,
    /// How many questions may wait for upstream at once; a further one is answered SERVFAIL.
    pub in_flight: usize,
    /// How much is remembered.
    pub cache: CacheLimits,
}

impl ForwardConfig {
    /// Forwards to these upstreams with two rounds of two seconds.
    #[must_use]
    pub fn new(upstreams: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            upstreams: upstreams.into_iter().collect(),
            timeout: Duration::from_secs(2),
            attempts: 2,
            deadline: Duration::from_millis(4500),
            in_flight: 1000,
            cache: CacheLimits::default(),
        }
    }

    /// Forwards to the name servers of a host's resolver configuration, at most as patiently as
    /// [`ForwardConfig::new`].
    #[must_use]
    pub fn from_resolv_conf(conf: &ResolvConf) -> Self {
        let mut config =
            Self::new(conf.name_servers.iter().map(|&address| SocketAddr::new(address, PORT)));
        config.timeout = conf.timeout.map_or(config.timeout, |given| given.min(config.timeout));
        config.attempts = conf.attempts.unwrap_or(config.attempts);
        config
    }
}

type Pending = Shared<BoxFuture<'static, Arc<Upstreams>>>;

/// Asks upstreams and remembers what they say. Clones share everything.
#[derive(Clone)]
pub(crate) struct Forwarder(Arc<Inner>);

struct Inner {
    config: ForwardConfig,
    counters: Arc<Counters>,
    cache: Mutex<Cache>,
    /// Until when each upstream rests, in the order of the configuration.
    resting: Mutex<Vec<Option<Instant>>>,
    /// Questions that wait for upstream: whoever asks the same waits for the same answer.
    pending: Mutex<BTreeMap<Key, Pending>>,
}

impl Forwarder {
    /// Leaves out the addresses that the server itself listens on: forwarding to oneself never ends.
    pub(crate) fn new(
        mut config: ForwardConfig,
        own: &[SocketAddr],
        counters: Arc<Counters>,
    ) -> Result<Self, DnsError> {
        config.upstreams.retain(|upstream| {
            let ourselves = own.iter().any(|own| {
                own.port() == upstream.port()
                    && (own.ip() == upstream.ip()
                        || own.ip().is_unspecified() && upstream.ip().is_loopback())
            });
            if ourselves {
                tracing::warn!(%upstream, "upstream name server is this server: left out");
            }
            !ourselves
        });
        if config.upstreams.is_empty() {
            return Err(DnsError::NoUpstream);
        }
        Ok(Self(Arc::new(Inner {
            cache: Mutex::new(Cache::new(config.cache)),
            resting: Mutex::new(vec![None; config.upstreams.len()]),
            pending: Mutex::new(BTreeMap::new()),
            counters,
            config,
        })))
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.0.config.in_flight
    }

    /// What is remembered of a question.
    pub(crate) fn remembered(&self, key: &Key) -> Option<Upstreams> {
        let found = lock(&self.0.cache).get(key, Instant::now());
        let counters = &self.0.counters;
        if found.is_some() {
            counters.cache_hits.add()
        } else {
            counters.cache_misses.add()
        }
        found
    }

    /// Asks upstream, or waits for the answer to the same question. A failure of all upstreams is
    /// an answer too: SERVFAIL.
    pub(crate) async fn ask(&self, key: Key) -> Arc<Upstreams> {
        let pending = lock(&self.0.pending)
            .entry(key.clone())
            .or_insert_with(|| self.clone().ask_once(key).boxed().shared())
            .clone();
        pending.await
    }

    async fn ask_once(self, key: Key) -> Arc<Upstreams> {
        let until = tokio::time::Instant::now() + self.0.config.deadline;
        let mut refusal = None;
        let answer = timeout_at(until, self.ask_all(&key, &mut refusal)).await.ok().flatten();
        let answer = Arc::new(answer.or(refusal).unwrap_or_else(Upstreams::failure));
        lock(&self.0.cache).put(key.clone(), &answer, Instant::now());
        lock(&self.0.pending).remove(&key);
        answer
    }

    /// The first answer of any upstream; `refusal` takes the last one that was none.
    async fn ask_all(&self, key: &Key, refusal: &mut Option<Upstreams>) -> Option<Upstreams> {
        let config = &self.0.config;
        for _ in 0..config.attempts.max(1) {
            for (index, upstream) in self.in_order() {
                self.0.counters.upstream_queries.add();
                match timeout(config.timeout, upstream::ask(upstream, key)).await {
                    Ok(Ok(answer)) => {
                        self.rest(index, None);
                        if matches!(answer.code, ResponseCode::NoError | ResponseCode::NXDomain) {
                            return Some(answer);
                        }
                        tracing::debug!(%upstream, name = %key.name, code = %answer.code, "refused");
                        *refusal = Some(answer);
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(%upstream, name = %key.name, %error, "no answer");
                        self.rest(index, Some(Instant::now() + REST));
                    }
                    Err(_) => {
                        tracing::debug!(%upstream, name = %key.name, "no answer in time");
                        self.rest(index, Some(Instant::now() + REST));
                    }
                }
                self.0.counters.upstream_failures.add();
            }
        }
        None
    }

    /// All upstreams, those that rest last.
    fn in_order(&self) -> Vec<(usize, SocketAddr)> {
        let now = Instant::now();
        let resting = lock(&self.0.resting);
        let mut order: Vec<_> = self.0.config.upstreams.iter().copied().enumerate().collect();
        order.sort_by_key(|(index, _)| {
            resting.get(*index).copied().flatten().is_some_and(|until| until > now)
        });
        order
    }

    fn rest(&self, index: usize, until: Option<Instant>) {
        if let Some(place) = lock(&self.0.resting).get_mut(index) {
            *place = until;
        }
    }
}

/// A poisoned lock is taken all the same: no holder leaves half a change behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
