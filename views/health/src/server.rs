//! The health server and the metrics server.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;

use crate::Health;
use crate::answer::{self, Answer};
use crate::error::Error;
use crate::listen::{self, Wildcard};
use crate::metrics::{self, Metrics};
use crate::moment::Moment;
use crate::pages::Pages;

/// Which questions a server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// `/healthz`, `/livez`, `/readyz` (`healthzBindAddress`, port 10256).
    Health,
    /// `/metrics` and the pages that describe the process (`metricsBindAddress`, port 10249);
    /// `/healthz` says no more than `ok` here, and `/livez` is not there.
    Metrics,
    /// Both on one address, which kube-proxy cannot do; health is answered as by its own server.
    Both,
}

impl Surface {
    fn name(self) -> &'static str {
        match self {
            Surface::Health => "health",
            Surface::Metrics => "metrics",
            Surface::Both => "health and metrics",
        }
    }

    fn has_health(self) -> bool {
        self != Surface::Metrics
    }

    fn has_metrics(self) -> bool {
        self != Surface::Health
    }
}

/// One server's address and manners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where. An unspecified address of either family takes the packets of both.
    pub address: SocketAddr,
    /// What is answered there.
    pub surface: Surface,
    /// Whether a taken address ends the server (`bindAddressHardFail`) or is tried again.
    pub hard_fail: bool,
    /// The wait between tries.
    pub retry: Duration,
}

impl Listen {
    /// A server as kube-proxy's: a taken address is tried again every 5 s.
    #[must_use]
    pub fn new(address: SocketAddr, surface: Surface) -> Self {
        Self { address, surface, hard_fail: false, retry: Duration::from_secs(5) }
    }

    /// The servers for kube-proxy's two addresses; `None` (an empty `healthzBindAddress`) means
    /// none. Equal addresses make one server.
    #[must_use]
    pub fn both(
        healthz: Option<SocketAddr>,
        metrics: Option<SocketAddr>,
        hard_fail: bool,
    ) -> Vec<Self> {
        let listen = |address, surface| Self { hard_fail, ..Self::new(address, surface) };
        match (healthz, metrics) {
            (Some(one), Some(other)) if one == other => vec![listen(one, Surface::Both)],
            (healthz, metrics) => {
                let healthz = healthz.map(|address| listen(address, Surface::Health));
                let metrics = metrics.map(|address| listen(address, Surface::Metrics));
                healthz.into_iter().chain(metrics).collect()
            }
        }
    }
}

/// What the servers answer from. Clones share it.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The status.
    pub health: Health,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    pages: Arc<Mutex<Pages>>,
}

/// The paths of the metrics server.
const METRICS_PATHS: [&str; 8] = [
    "/metrics",
    "/metrics/slis",
    "/healthz",
    "/readyz",
    "/proxyMode",
    "/configz",
    "/statusz",
    "/flagz",
];

impl Sources {
    /// Puts the sources together.
    #[must_use]
    pub fn new(health: Health, metrics: Arc<Metrics>, pages: Pages) -> Self {
        Self { health, metrics, pages: Arc::new(Mutex::new(pages)) }
    }

    /// The configuration was loaded anew.
    pub fn set_pages(&self, pages: Pages) {
        *self.pages.lock().unwrap_or_else(PoisonError::into_inner) = pages;
    }

    /// Answers a request, whatever its method.
    #[must_use]
    pub fn answer(&self, surface: Surface, path: &str, now: Moment) -> Answer {
        let health = if surface.has_health() { self.health_answer(path, now) } else { None };
        let metrics = || if surface.has_metrics() { self.metrics_answer(path, now) } else { None };
        health.or_else(metrics).unwrap_or_else(|| Answer::text(404, "404 page not found\n"))
    }

    fn health_answer(&self, path: &str, now: Moment) -> Option<Answer> {
        Some(match path {
            "/healthz" => {
                let answer = self.health.read(|status| answer::healthz(status, now));
                self.metrics.healthz_answered(answer.code);
                answer
            }
            "/livez" => {
                let answer = self.health.read(|status| answer::livez(status, now));
                self.metrics.livez_answered(answer.code);
                answer
            }
            "/readyz" => self.health.read(|status| answer::readyz(status, now)),
            _ => return None,
        })
    }

    fn metrics_answer(&self, path: &str, now: Moment) -> Option<Answer> {
        let pages = || self.pages.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(match path {
            "/metrics" => match self.metrics.render() {
                Ok(text) => exposition(text),
                Err(error) => Answer::text(500, format!("{error}\n")),
            },
            "/metrics/slis" => {
                exposition(self.health.read(|status| metrics::service_level(status, now)))
            }
            "/healthz" => Answer::text(200, "ok"),
            "/readyz" => self.health.read(|status| answer::readyz(status, now)),
            "/proxyMode" => pages().proxy_mode(),
            "/configz" => pages().configz(),
            "/flagz" => pages().flagz()?,
            "/statusz" => {
                let started = self.health.read(|status| status.started());
                pages().statusz(started, now, &METRICS_PATHS)?
            }
            _ => return None,
        })
    }
}

fn exposition(text: String) -> Answer {
    let mut answer = Answer::text(200, text);
    answer.content_type = metrics::CONTENT_TYPE;
    answer
}

/// Listens and answers until it is dropped. `refused` is told when the address could not be had,
/// once until it could; kube-proxy's Events for it are `FailedToStartProxierHealthcheck` and
/// `FailedToStartMetricServer` on the Node.
///
/// # Errors
/// [`Error::Bind`] with `hard_fail` alone.
pub async fn serve(
    listen: &Listen,
    sources: Sources,
    mut refused: impl FnMut(&Error),
) -> Result<Infallible, Error> {
    let listener = open(listen, &mut refused).await?;
    let surface = listen.surface;
    tracing::info!(address = %listen.address, "the {} server listens", surface.name());
    let respond = move |path: &str| sources.answer(surface, path, Moment::now());
    Ok(listen::answer(listener, Arc::new(respond)).await)
}

async fn open(listen: &Listen, refused: &mut impl FnMut(&Error)) -> Result<TcpListener, Error> {
    let (address, server) = (listen.address, listen.surface.name());
    let mut told = false;
    loop {
        let source = match listen::bind(address, Wildcard::BothFamilies) {
            Ok(listener) => return Ok(listener),
            Err(source) => source,
        };
        let error = Error::Bind { server, address, source };
        if !told {
            refused(&error);
            told = true;
        }
        if listen.hard_fail {
            return Err(error);
        }
        tokio::time::sleep(listen.retry).await;
    }
}
