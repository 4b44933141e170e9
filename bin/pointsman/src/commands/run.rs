//! `pointsman run`: the agent of one node.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use config::flags::ProxyFlags;
use config::{Meant, NetworkPolicyMode, ProxyMode, Task};
use health::metrics::Metrics;
use intake::Delivery;
use intake::api::{
    ApiOptions, ApiSource, EventQueue, PolicyDecision, Request, RequestObserver, Timing,
    event_queue,
};
use intake::folder::FolderSource;
use model::Change;
use render::iptables::Options;
use sync::iptables::Iptables;
use sync::table::Nftables;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::agent::{Agent, Inputs};
use crate::cli::{CleanupArguments, OutputFormat, RunArguments};
use crate::dataplane::{Dataplane, IptablesDataplane, NftablesDataplane};
use crate::network_policy;
use crate::reload::{self, Reach};
use crate::views::View;
use crate::views::dns::{self, DnsView};
use crate::views::events::EventsView;
use crate::views::health::{HealthView, Served, Serving, follow_watches};
use crate::views::status::StatusView;
use crate::{asked, journal, meters, startup, tuning};

/// How many deliveries may wait while the kernel is being written; a source waits beyond that.
const DELIVERIES: usize = 64;

pub(crate) fn run(arguments: &RunArguments) -> Result<()> {
    let meant = meant(&arguments.proxy)?;
    match &meant.task {
        Task::WriteConfig(path) => write_config(&meant, path),
        Task::Cleanup => {
            let all = CleanupArguments { kube_proxy: true, output: OutputFormat::Text };
            super::cleanup::run(&all)
        }
        Task::InitOnly => {
            tuning::conntrack(&meant.conntrack);
            if meant.route_localnet {
                sync::sysctl::write(sync::sysctl::ROUTE_LOCALNET, "1")?;
            }
            Ok(())
        }
        Task::Serve => serve(&meant, arguments),
    }
}

/// What is meant by the flags and the file of `--config`; starts the log.
pub(crate) fn meant(said: &ProxyFlags) -> Result<Meant> {
    let (meant, warnings) = config::load(said, &host_name())?;
    journal::start(&meant.logging);
    warnings.iter().for_each(|warning| warn!("{warning}"));
    Ok(meant)
}

/// What the host calls itself.
pub(crate) fn host_name() -> String {
    nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned()
}

fn write_config(meant: &Meant, path: &Path) -> Result<()> {
    let written = config::write_config(meant).context("the configuration cannot be written")?;
    written.lost.iter().for_each(|lost| warn!("{lost}"));
    std::fs::write(path, written.yaml).with_context(|| format!("write {}", path.display()))
}

fn serve(meant: &Meant, arguments: &RunArguments) -> Result<()> {
    let denied = "netfilter cannot be written (root, or CAP_NET_ADMIN in this network namespace)";
    match meant.mode {
        ProxyMode::Iptables => {
            let kernel = Iptables::open().context(denied)?;
            name_legacy();
            work(meant, arguments, IptablesDataplane::new(kernel, options(meant)))
        }
        ProxyMode::Nftables => {
            let kernel = Nftables::open().context(denied)?;
            let options = network_policy::nftables_options(meant)?;
            work(meant, arguments, NftablesDataplane::new(kernel, options))
        }
    }
}

/// Runs the agent over a dataplane.
fn work<D: Dataplane>(meant: &Meant, arguments: &RunArguments, mut dataplane: D) -> Result<()> {
    let node = &meant.routing.node_name;
    tuning::conntrack(&meant.conntrack);
    let mut views: Vec<Box<dyn View>> = Vec::new();
    if let Some(dns) = DnsView::start(&arguments.dns)? {
        views.push(Box::new(dns));
    }
    let (served, events) =
        if arguments.once { (None, None) } else { report(meant, arguments, &mut views)? };
    let (heard, foreign) = mpsc::unbounded_channel();
    let _watch =
        sync::watch::Watch::start(&dataplane.ports()?, move |news| heard.send(news).is_ok())
            .context("changes of nf_tables by others cannot be heard of")?;
    let (orders, ordered) = mpsc::unbounded_channel();
    let decisions = watch::Sender::new(None);
    let decision = decisions.subscribe();
    let network_policy = meant.network_policy.mode;
    let silence = Some(arguments.silence());
    let names = !arguments.dns.dns_address.is_empty();
    let reports =
        Reports { served: served.clone(), events, silence, names, network_policy, decisions };
    let (deliveries, source) = start(meant, reports)?;
    let denied = network_policy::log(meant, network_policy, &mut views)?;
    let asked = asked::start(meant, !arguments.once)?;
    let inputs = Inputs { deliveries, foreign, orders: ordered, decision, denied, asked };
    let reach = Reach { orders, served };
    let mode = meant.mode.name();
    info!(%node, mode, "started; nothing is written before every list is complete");
    let mut routing = meant.routing.clone();
    routing.network_policy.dns_listeners = dns::listeners(&arguments.dns)?;
    let existing = network_policy::existing(meant, network_policy);
    let configured = meant.clone();
    let mut agent = Agent::new(routing, dataplane, views, rest(meant), existing)
        .checked_by(move |cluster| startup::check(&configured, cluster));
    let stopped = runtime()?.block_on(async {
        tokio::select! {
            ended = agent.run(inputs, arguments.once) => ended.map(|()| None),
            signal = stop_signal() => signal.map(Some),
            changed = reload::follow(&arguments.proxy, meant.clone(), &reach) => {
                changed.map(|()| None)
            }
        }
    })?;
    match stopped {
        Some(signal) => info!("stopped by {signal}; the rules stay in place"),
        None if arguments.once => info!("written once; the rules stay in place"),
        // The source has ended by itself: only it knows why.
        None => return source.join().unwrap_or_else(|_| Err(anyhow!("intake ended by a panic"))),
    }
    Ok(())
}

/// Starts what tells of the agent: health, metrics, Events (where there is an API) and the answers
/// to `pointsman status`.
fn report(
    meant: &Meant,
    arguments: &RunArguments,
    views: &mut Vec<Box<dyn View>>,
) -> Result<(Option<Served>, Option<EventQueue>)> {
    let node = &meant.routing.node_name;
    tuning::oom_score(meant.oom_score_adj);
    let (sink, events) = if meant.source.manifests.is_none() {
        let (sink, queue) = event_queue();
        views.push(Box::new(EventsView::new(sink.clone(), node)));
        (Some(sink), Some(queue))
    } else {
        (None, None)
    };
    let serving = serving(meant)?;
    let mode = serving.mode;
    let health = HealthView::start(node, serving, sink)?;
    let handle = health.served();
    meters::start(handle.metrics(), mode).context("the kernel's counters cannot be followed")?;
    // A connection that died is replaced after the first silence; that may take as long again as two
    // thirds of it.
    let stale = arguments.silence() * 5 / 3;
    handle.health().report(|status| status.set_watch_silence(stale));
    views.push(Box::new(health));
    views.push(Box::new(StatusView::start(node, meant.mode.name(), handle.health())?));
    Ok((Some(handle), events))
}

/// kube-proxy rests for a second between two syncs because each costs it that much. Here whatever
/// waits is written at once and together; an operator who says another time gets it.
pub(crate) fn rest(meant: &Meant) -> Duration {
    let said = meant.pace.min_sync_period;
    if said == Duration::from_secs(1) { Duration::ZERO } else { said }
}

pub(crate) fn serving(meant: &Meant) -> Result<Serving> {
    let configz = serde_json::to_value(&meant.effective)?;
    Ok(Serving {
        healthz: meant.healthz,
        metrics: Some(meant.metrics),
        hard_fail: meant.bind_address_hard_fail,
        mode: match meant.mode {
            ProxyMode::Iptables => health::metrics::Mode::Iptables,
            ProxyMode::Nftables => health::metrics::Mode::Nftables,
        },
        node_object: meant.source.manifests.is_none(),
        gates: config::gates(&meant.effective.feature_gates).collect(),
        sync_timeout: meant.pace.sync_period * 2,
        pages: health::Pages {
            mode: meant.mode.name().into(),
            configz,
            flags: std::env::args().skip(1).filter_map(flag).collect(),
            version: env!("CARGO_PKG_VERSION").into(),
            flagz: meant.features.flagz,
            statusz: meant.features.statusz,
        },
    })
}

/// `--name=value` of the command line, for `/flagz`.
fn flag(word: String) -> Option<(String, String)> {
    let (name, value) = word.strip_prefix("--")?.split_once('=')?;
    Some((name.into(), value.into()))
}

/// What the thread that reads is to read, and what it tells to whom.
pub(crate) struct Reports {
    /// Hears how the watches fare, and how requests end.
    pub(crate) served: Option<Served>,
    /// What is posted to the API.
    pub(crate) events: Option<EventQueue>,
    /// The longest silence of a connection that still counts as alive.
    pub(crate) silence: Option<Duration>,
    /// Whether somebody answers for names, which takes objects that routing does without.
    pub(crate) names: bool,
    /// Whether to read what network policies depend on.
    pub(crate) network_policy: NetworkPolicyMode,
    /// Hears whether policies are enforced.
    pub(crate) decisions: watch::Sender<Option<PolicyDecision>>,
}

impl Reports {
    /// Nobody hears anything.
    pub(crate) fn to_nobody(network_policy: NetworkPolicyMode) -> Self {
        let decisions = watch::Sender::new(None);
        Self { served: None, events: None, silence: None, names: false, network_policy, decisions }
    }
}

/// Starts a thread that reads the cluster and the machine, and hands on what they say.
fn start(meant: &Meant, reports: Reports) -> Result<(Receiver<Delivery>, Source)> {
    match &meant.source.manifests {
        Some(folder) => {
            let decision = network_policy::of_folder(reports.network_policy);
            reports.decisions.send_replace(Some(decision));
            let source = FolderSource::new(folder);
            spawn(move |deliveries| async move { Ok(source.run(deliveries).await?) })
        }
        None => start_api(meant, reports),
    }
}

/// The thread of [`start`], for the Kubernetes API.
pub(crate) fn start_api(meant: &Meant, reports: Reports) -> Result<(Receiver<Delivery>, Source)> {
    let options = ApiOptions {
        kubeconfig: meant.source.kubeconfig.clone(),
        master: meant.source.master.clone(),
        node_name: meant.routing.node_name.clone(),
    };
    spawn(move |deliveries| async move {
        let mut timing = Timing::default();
        if let Some(silence) = reports.silence {
            timing.silence = silence;
            timing.list_silence = timing.list_silence.min(silence);
        }
        let wanted = network_policy::of_api(reports.network_policy);
        let source = ApiSource::new(options).await?.with_timing(timing).with_names(reports.names);
        let mut source = source.with_network_policy(wanted).with_decisions(reports.decisions);
        if let Some(served) = &reports.served {
            source = source.with_request_observer(count_requests(served.metrics()));
        }
        let states = source.states();
        let follow = async {
            match reports.served {
                Some(served) => follow_watches(served.health(), states).await,
                None => drop(states),
            }
            std::future::pending().await
        };
        let events = reports.events.map(|queue| source.post_events(queue));
        let post = async {
            if let Some(posting) = events {
                posting.await;
            }
            std::future::pending().await
        };
        tokio::select! {
            ended = source.run(deliveries) => Ok(ended?),
            () = follow => Ok(()),
            () = post => Ok(()),
        }
    })
}

/// Counts requests to the API server under client-go's names.
fn count_requests(metrics: Arc<Metrics>) -> RequestObserver {
    Arc::new(move |request: &Request<'_>| {
        let code = request.code.map_or_else(|| "<error>".into(), |code| code.to_string());
        metrics.api_request(request.host, request.method, &code, request.took);
    })
}

/// The thread that reads; it ends when its source does.
pub(crate) type Source = thread::JoinHandle<Result<()>>;

fn spawn<F>(
    source: impl FnOnce(Sender<Delivery>) -> F + Send + 'static,
) -> Result<(Receiver<Delivery>, Source)>
where
    F: Future<Output = Result<()>>,
{
    let host = intake::host::read_host().context("the machine's own addresses cannot be read")?;
    let (deliveries, receiver) = mpsc::channel(DELIVERIES);
    let first = Delivery { changes: vec![Change::Host(host.clone())], ..Delivery::default() };
    let runtime = runtime()?;
    // Apart from the agent: a long write must not keep a watch from being read.
    let reader = move || {
        runtime.block_on(async {
            deliveries.send(first).await.context("the agent is gone")?;
            tokio::select! {
                ended = source(deliveries.clone()) => ended,
                ended = intake::host::watch_host(host, deliveries.clone()) => Ok(ended?),
            }
        })
    };
    let handle = thread::Builder::new().name("intake".into()).spawn(reader)?;
    Ok((receiver, handle))
}

/// A runtime for one thread.
pub(crate) fn runtime() -> Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("the operating system gives no event loop")
}

/// Which of a renderer's choices this machine can carry.
fn options(meant: &Meant) -> Options {
    let counters = sync::nfacct::supported().and_then(|supported| {
        if supported {
            sync::nfacct::ensure(render::iptables::names::NFACCT_COUNTERS)?;
        }
        Ok(supported)
    });
    let nfacct = counters.unwrap_or_else(|error| {
        warn!("{error}; dropped INVALID packets and loopback NodePorts are not counted");
        false
    });
    let policy_log = network_policy::log_group(meant);
    Options { masquerade_bit: meant.masquerade_bit, nfacct, policy_log, ..Options::default() }
}

/// Says what the legacy iptables of this machine hold: their rules would decide beside ours.
fn name_legacy() {
    match sync::legacy::survey() {
        Ok(report) if report.needs_attention() => {
            report.to_string().lines().for_each(|line| warn!("{line}"));
        }
        Ok(report) => report.to_string().lines().for_each(|line| debug!("{line}")),
        Err(error) => warn!("{error}; whether legacy iptables hold rules is unknown"),
    }
}

/// Waits for SIGTERM or SIGINT and names it.
pub(crate) async fn stop_signal() -> Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}
