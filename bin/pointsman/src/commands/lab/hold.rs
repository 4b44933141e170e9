//! `pointsman lab hold`: the process that is a lab.
//!
//! It runs in a sandbox. Standard input is the API's listener on the machine's loopback, standard
//! output the listener for questions, standard error the log.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab_api::{Server, Store, StoreOptions};
use lab_cluster::{Cluster, ClusterOptions, node_name};
use model::Family;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tracing::{info, warn};

use super::agents::Agent;
use super::control::{Answer, Door, Question, Status};
use super::load;
use crate::cli_lab::UpArguments;
use crate::commands::run::runtime;
use crate::journal;

/// Where the holder keeps what its agents and the shells of its places read. `/run` is the lab's
/// own there.
pub(super) const INSIDE: &str = "/run/pointsman";

/// What it says to who starts it by hand.
const STARTED_BY_UP: &str = "`pointsman lab hold` is started by `pointsman lab up` alone";

/// How long the agents may take until their first rules are written.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often the agents are looked after.
const LOOK: Duration = Duration::from_millis(100);

/// A kubeconfig for an API without secrets.
pub(super) fn kubeconfig(api: SocketAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: lab\n\
         clusters:\n- name: lab\n  cluster: {{server: \"http://{api}\"}}\n\
         contexts:\n- name: lab\n  context: {{cluster: lab, user: lab}}\n\
         users:\n- name: lab\n  user: {{}}\n"
    )
}

pub(super) fn hold(arguments: &UpArguments) -> Result<()> {
    ensure!(lab::sandbox::inside(), STARTED_BY_UP);
    // The terminal that started it may close.
    nix::unistd::setsid().context("cannot leave the terminal")?;
    journal::of_lab();
    runtime()?.block_on(live(arguments))
}

fn options(arguments: &UpArguments) -> ClusterOptions {
    let families = match (arguments.ipv6, arguments.dual_stack) {
        (true, _) => vec![Family::V6],
        (_, true) => vec![Family::V4, Family::V6],
        _ => vec![Family::V4],
    };
    ClusterOptions { nodes: arguments.nodes, families }
}

async fn live(arguments: &UpArguments) -> Result<()> {
    let api = std::net::TcpListener::from(inherited(std::io::stdin())?);
    let control = std::os::unix::net::UnixListener::from(inherited(std::io::stdout())?);
    let address = api.local_addr().context(STARTED_BY_UP)?;
    let options = options(arguments);
    let store = Store::new(StoreOptions {
        service_cidrs: options.service_cidrs(),
        server_port: address.port(),
        ..StoreOptions::default()
    })?;
    let captured = arguments.objects.as_deref().map(load::read).transpose()?.unwrap_or_default();
    load::objects(&store, &captured)?;
    let handle = tokio::runtime::Handle::current();
    let cluster = Cluster::start(store.clone(), options, &handle)?;
    load::labels(&store, &captured)?;
    serve_api(api, address, &store, &cluster)?;
    let mut agents = start_agents(&cluster, address, arguments)?;
    let ended = tokio::select! {
        ended = serve_control(control, &cluster, &mut agents, arguments) => ended,
        signal = crate::commands::run::stop_signal() => signal.map(|name| info!("{name}")),
    };
    agents.iter_mut().for_each(Agent::stop);
    ended
}

/// One of the descriptors that `up` has opened for this process.
fn inherited(stream: impl AsFd) -> Result<OwnedFd> {
    let owned = stream.as_fd().try_clone_to_owned();
    owned.context(STARTED_BY_UP)
}

/// The API answers at one address in the machine's own network, on each node and in here.
fn serve_api(
    outer: std::net::TcpListener,
    address: SocketAddr,
    store: &Store,
    cluster: &Cluster,
) -> Result<()> {
    let mut listeners = vec![outer, std::net::TcpListener::bind(address)?];
    for number in 1..=cluster.options().nodes {
        let node = cluster.place(&format!("node/{}", node_name(number)))?;
        listeners.push(node.network.run(|| std::net::TcpListener::bind(address))??);
    }
    for listener in listeners {
        listener.set_nonblocking(true)?;
        let server = Server::on(TcpListener::from_std(listener)?, store.clone())?;
        tokio::spawn(server.run());
    }
    Ok(())
}

fn start_agents(cluster: &Cluster, api: SocketAddr, arguments: &UpArguments) -> Result<Vec<Agent>> {
    let inside = Path::new(INSIDE);
    fs::create_dir_all(inside)?;
    let path: PathBuf = inside.join("kubeconfig");
    fs::write(&path, kubeconfig(api))?;
    let start = |number| {
        let name = node_name(number);
        let node = cluster.place(&format!("node/{name}"))?;
        Agent::start(&name, &node.network, &path, cluster.options(), arguments.mode)
    };
    (1..=cluster.options().nodes).map(start).collect()
}

/// Answers questions, one after the other, once every agent has written its first rules.
async fn serve_control(
    listener: std::os::unix::net::UnixListener,
    cluster: &Cluster,
    agents: &mut [Agent],
    arguments: &UpArguments,
) -> Result<()> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let failed = first_rules(agents).await;
    info!("lab {:?} is up", arguments.lab.name);
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            _ = look.tick() => {
                // A lab that did not come up is left as it is, to be looked at and ended.
                if failed.is_empty() {
                    agents.iter_mut().for_each(Agent::revive);
                }
                continue;
            }
        };
        let status = status(cluster, agents, &failed, arguments);
        let answered = answer(stream, cluster, status);
        match tokio::time::timeout(Duration::from_secs(1), answered).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!("a question was not answered: {error:#}"),
            Err(_elapsed) => warn!("a question was begun and not asked"),
        }
    }
}

/// Waits for the agents, which need this thread to answer them meanwhile.
async fn first_rules(agents: &mut [Agent]) -> Vec<String> {
    let until = Instant::now() + PATIENCE;
    let mut failed = Vec::new();
    for agent in agents {
        failed.extend(agent.wait(until).await.err());
    }
    failed
}

fn status(
    cluster: &Cluster,
    agents: &mut [Agent],
    failed: &[String],
    arguments: &UpArguments,
) -> Status {
    let mut now = failed.to_vec();
    now.extend(agents.iter_mut().filter_map(Agent::failure));
    now.sort();
    now.dedup();
    let restarts = agents.iter().filter(|agent| agent.restarts() > 0);
    Status {
        mode: arguments.mode.word().to_owned(),
        places: cluster.places(),
        restarts: restarts.map(|it| (format!("node/{}", it.node()), it.restarts())).collect(),
        failed: now,
    }
}

async fn answer(stream: UnixStream, cluster: &Cluster, status: Status) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line)? {
        Question::Status => Answer::Status(status),
        Question::Place(name) => match cluster.place(&name) {
            Ok(place) => Answer::Place(Door {
                holder: std::process::id(),
                network: place.network.path(),
                hostname: place.hostname,
                resolv_conf: place.resolv_conf,
            }),
            Err(error) => Answer::Refused(error.to_string()),
        },
    };
    let line = serde_json::to_string(&answer)? + "\n";
    stream.get_mut().write_all(line.as_bytes()).await?;
    Ok(())
}
