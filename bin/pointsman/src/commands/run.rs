//! `pointsman run`: the agent of one node.

use std::thread;

use anyhow::{Context, Result, anyhow};
use intake::Delivery;
use intake::api::{ApiOptions, ApiSource};
use intake::folder::FolderSource;
use model::Change;
use render::iptables::Options;
use sync::iptables::Iptables;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tracing::{debug, info, warn};

use crate::agent::Agent;
use crate::cli::{RunArguments, SourceArguments};
use crate::config;
use crate::dataplane::IptablesDataplane;
use crate::views::View;
use crate::views::dns::DnsView;

/// How many deliveries may wait while the kernel is being written; a source waits beyond that.
const DELIVERIES: usize = 64;

pub(crate) fn run(arguments: &RunArguments) -> Result<()> {
    let node = config::node_name(&arguments.source)?;
    let config = config::routing(&node, &arguments.routing)?;
    let kernel = Iptables::open().context(
        "netfilter cannot be written (root, or CAP_NET_ADMIN in this network namespace)",
    )?;
    name_legacy();
    let dns = DnsView::start(&arguments.dns)?;
    let views = dns.into_iter().map(|view| Box::new(view) as Box<dyn View>).collect();
    let options = options(arguments.routing.iptables_masquerade_bit);
    let (deliveries, source) = start(&arguments.source, &node)?;
    info!(node, mode = "iptables", "started; nothing is written before every list is complete");
    let dataplane = IptablesDataplane::new(kernel, options);
    let mut agent = Agent::new(config, dataplane, views);
    let stopped = runtime()?.block_on(async {
        tokio::select! {
            ended = agent.run(deliveries, arguments.once) => ended.map(|()| None),
            signal = stop_signal() => signal.map(Some),
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

/// Starts a thread that reads the cluster and the machine, and hands on what they say.
fn start(arguments: &SourceArguments, node: &str) -> Result<(Receiver<Delivery>, Source)> {
    match &arguments.manifests {
        Some(folder) => {
            let source = FolderSource::new(folder);
            spawn(move |deliveries| async move { Ok(source.run(deliveries).await?) })
        }
        None => start_api(arguments, node),
    }
}

/// The thread of [`start`], for the Kubernetes API.
pub(crate) fn start_api(
    arguments: &SourceArguments,
    node: &str,
) -> Result<(Receiver<Delivery>, Source)> {
    let options = ApiOptions {
        kubeconfig: arguments.kubeconfig.clone(),
        master: arguments.master.clone(),
        node_name: node.into(),
    };
    spawn(move |deliveries| async move {
        let source = ApiSource::new(options).await?;
        Ok(source.run(deliveries).await?)
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
    let first = Delivery { changes: vec![Change::Host(host)], ..Delivery::default() };
    let runtime = runtime()?;
    // Apart from the agent: a long write must not keep a watch from being read.
    let reader = move || {
        runtime.block_on(async {
            deliveries.send(first).await.context("the agent is gone")?;
            tokio::select! {
                ended = source(deliveries.clone()) => ended,
                ended = intake::host::watch_host(deliveries.clone()) => Ok(ended?),
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
fn options(masquerade_bit: u8) -> Options {
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
    Options { masquerade_bit, nfacct, ..Options::default() }
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
async fn stop_signal() -> Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}
