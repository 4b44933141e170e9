//! The sockets on which load balancers ask for a Service's endpoints: opened, closed and handed to
//! another Service as the checks change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::NamespacedName;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Health;
use crate::answer::{self, Answer};
use crate::listen::{self, Wildcard};
use crate::moment::Moment;
use crate::node_ports::Checks;
use crate::status::PortCounts;

/// What became of a port; told when it changes, not at every try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortEvent {
    /// The socket could not be opened: somebody else has the port, or the node does not have the
    /// address (yet). It is tried again. kube-proxy's Event for it is
    /// `FailedToStartServiceHealthcheck`, action `Listen`, on the Service.
    Failed {
        /// Whose port.
        service: NamespacedName,
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        error: String,
    },
    /// A socket that could not be opened is open now.
    Mended {
        /// Whose port.
        service: NamespacedName,
        /// Which address.
        address: SocketAddr,
    },
}

/// How often a socket that could not be opened is tried again, besides every change of the checks.
pub const RETRY: Duration = Duration::from_secs(5);

/// The sockets for the current checks.
pub struct NodePortServers {
    health: Health,
    wanted: watch::Receiver<Arc<Checks>>,
    events: Box<dyn FnMut(PortEvent) + Send>,
    retry: Duration,
    open: BTreeMap<SocketAddr, JoinHandle<()>>,
    failed: BTreeSet<SocketAddr>,
}

impl NodePortServers {
    /// Servers that will follow `wanted`. `events` is called on the servers' own thread; it must not
    /// wait.
    pub fn new(
        health: Health,
        wanted: watch::Receiver<Arc<Checks>>,
        events: impl FnMut(PortEvent) + Send + 'static,
    ) -> Self {
        Self {
            health,
            wanted,
            events: Box::new(events),
            retry: RETRY,
            open: BTreeMap::new(),
            failed: BTreeSet::new(),
        }
    }

    /// Changes the wait between tries.
    #[must_use]
    pub fn with_retry(mut self, retry: Duration) -> Self {
        self.retry = retry;
        self
    }

    /// Serves until nobody can change the checks any more, then closes everything. Dropped before,
    /// it closes everything as well.
    pub async fn run(mut self) {
        loop {
            let checks = self.wanted.borrow_and_update().clone();
            self.follow(&checks).await;
            let again = async {
                if self.failed.is_empty() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(self.retry).await;
            };
            tokio::select! {
                changed = self.wanted.changed() => if changed.is_err() { break },
                () = again => {}
            }
        }
    }

    /// Closes first: an unspecified address cannot be had while one of its addresses is taken. A
    /// socket that only changes its Service stays open; each request looks up whose it is.
    async fn follow(&mut self, checks: &Checks) {
        let gone: Vec<SocketAddr> =
            self.open.keys().filter(|address| !checks.contains_key(address)).copied().collect();
        for address in gone {
            if let Some(server) = self.open.remove(&address) {
                server.abort();
                // The socket is closed when the task is gone, not before.
                let _ = server.await;
            }
        }
        self.failed.retain(|address| checks.contains_key(address));
        for (&address, check) in checks {
            if self.open.contains_key(&address) {
                continue;
            }
            let service = check.service.clone();
            match listen::bind(address, Wildcard::OneFamily) {
                Ok(listener) => {
                    let respond = self.respond(address);
                    let server = tokio::spawn(async move {
                        listen::answer(listener, respond).await;
                    });
                    self.open.insert(address, server);
                    if self.failed.remove(&address) {
                        (self.events)(PortEvent::Mended { service, address });
                    }
                }
                Err(error) if self.failed.insert(address) => {
                    let error = error.to_string();
                    (self.events)(PortEvent::Failed { service, address, error });
                }
                Err(_) => {}
            }
        }
        let counts = PortCounts { listening: self.open.len(), failed: self.failed.len() };
        self.health.report(|status| status.health_check_sockets(counts));
    }

    fn respond(&self, address: SocketAddr) -> listen::Respond {
        let (health, wanted) = (self.health.clone(), self.wanted.clone());
        Arc::new(move |_path: &str| {
            let check = wanted.borrow().get(&address).cloned();
            match check {
                Some(check) => health.read(|status| {
                    let (service, count) = (&check.service, check.local_endpoints);
                    answer::service(status, service, check.family, count, Moment::now())
                }),
                // The socket is about to be closed.
                None => Answer::text(503, ""),
            }
        })
    }
}

impl Drop for NodePortServers {
    fn drop(&mut self) {
        self.open.values().for_each(JoinHandle::abort);
    }
}
