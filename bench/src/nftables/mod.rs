//! nftables mode: load and change, beside the bare kernel and beside `nft -f` with kube-proxy's
//! shape.

mod agent;
mod connect;
mod proxy_shape;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lab::Namespace;
use model::{Change, Cluster, NamespacedName, Owner};
use plan::{Config, DetectLocal, Intent, Planner, VirtualServer};
use render::nftables::{Options, Part, Uses};
use sync::netlink::{SendBudget, Socket};
use sync::nftables::SUBSYSTEM;
use sync::table::Nftables;

use crate::generator::{self, Size};
use crate::report::{Figure, Row, median};

pub(crate) use agent::{memory, storm};
pub(crate) use connect::connect;

/// How many changes are timed one by one, at each size.
const CHANGES: u32 = 201;
/// Up to here kube-proxy's shape is loaded too: beyond, `nft -f` takes minutes.
const PROXY_SHAPE: u32 = 10_000;

fn figure(what: &'static str, value: f64, unit: &'static str) -> Figure {
    Figure { what, value, unit }
}

fn row(measured: &'static str, size: Size, figures: Vec<Figure>) -> Row {
    Row { measured, services: size.services, endpoints_each: size.endpoints, figures }
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

/// What the agent does between its source and the kernel, in the same order.
struct Path {
    cluster: Cluster,
    planner: Planner,
    /// What the kernel took.
    accepted: BTreeMap<NamespacedName, Arc<[VirtualServer]>>,
    uses: Uses,
    kernel: Nftables,
    options: Options,
}

/// What one write came to.
struct Done {
    messages: usize,
    bytes: usize,
    batches: usize,
    /// Until the kernel was asked, in seconds.
    ours: f64,
}

impl Path {
    /// In the calling thread's network namespace.
    fn open() -> Result<Self> {
        let mut config = Config::new("node-0");
        config.detect_local = DetectLocal::ClusterCidr(vec!["10.128.0.0/10".parse()?]);
        Ok(Self {
            cluster: Cluster::default(),
            planner: Planner::new(config),
            accepted: BTreeMap::new(),
            uses: Uses::default(),
            kernel: Nftables::open()?,
            options: Options::default(),
        })
    }

    /// Takes lists in and makes the kernel hold them.
    fn load(&mut self, lists: impl IntoIterator<Item = Change>) -> Result<Done> {
        let start = Instant::now();
        let mut owners = BTreeSet::from([Owner::Node]);
        lists.into_iter().for_each(|change| owners.extend(self.cluster.apply(change)));
        self.planner.update(&self.cluster, &owners);
        let ours = seconds(start);
        self.reconcile(ours)
    }

    /// Compares with the kernel and writes what differs.
    fn reconcile(&mut self, ours: f64) -> Result<Done> {
        let (intent, options) = (self.planner.intent(), self.options);
        let services = intent.servers.keys().cloned().map(Owner::Service);
        let owners: BTreeSet<Owner> = services.chain([Owner::Node]).collect();
        let mut uses = Uses::default();
        let written = self.kernel.reconcile_parts(&options, &mut |take| {
            for owner in &owners {
                if let Ok(Some(part)) = part(intent, owner, &options) {
                    uses.gain(&part);
                    take(owner, &part);
                }
            }
        })?;
        ensure!(written.refused.is_empty(), "the kernel refused {:?}", written.refused);
        self.uses = uses;
        self.accepted = intent.servers.clone();
        let (messages, bytes, batches) = (written.messages, written.bytes, written.batches);
        Ok(Done { messages, bytes, batches, ours })
    }

    /// Takes one change in and writes what it brings.
    fn change(&mut self, change: Change) -> Result<Done> {
        let start = Instant::now();
        let owners = self.cluster.apply(change);
        let changed = self.planner.update(&self.cluster, &owners);
        let next = self.planner.intent();
        let mut parts = Vec::new();
        for owner in &changed {
            let old = match owner {
                Owner::Service(name) => self.accepted.get(name),
                _ => None,
            };
            let old = old
                .map(|servers| render::nftables::owner(&next.node, servers, &self.options))
                .transpose()?;
            parts.push((old, part(next, owner, &self.options)?));
        }
        let pairs = parts.iter().map(|(old, new)| (old.as_ref(), new.as_ref()));
        let change = render::nftables::diff(&self.uses, pairs);
        let ours = seconds(start);
        let written = self.kernel.apply(&change)?;
        self.uses.advance(&change);
        for owner in &changed {
            let Owner::Service(name) = owner else { continue };
            match next.servers.get(name) {
                Some(servers) => self.accepted.insert(name.clone(), servers.clone()),
                None => self.accepted.remove(name),
            };
        }
        let (messages, bytes, batches) = (written.messages, written.bytes, written.batches);
        Ok(Done { messages, bytes, batches, ours })
    }
}

/// What one owner contributes.
fn part(intent: &Intent, owner: &Owner, options: &Options) -> Result<Option<Part>> {
    Ok(match owner {
        Owner::Node => Some(render::nftables::node(&intent.node, options)),
        Owner::Service(name) => intent
            .servers
            .get(name)
            .map(|servers| render::nftables::owner(&intent.node, servers, options))
            .transpose()?,
        Owner::Policy(_) => None,
    })
}

/// From a complete snapshot to the kernel, the kernel alone taking the very same batches, and
/// `nft -f` loading kube-proxy's shape of the same Services.
pub(crate) fn load(size: Size) -> Result<Row> {
    let lists = generator::lists(size);
    let (mut figures, batches) = Namespace::new()?.run(|| -> Result<_> {
        let mut path = Path::open()?;
        path.kernel.socket().record();
        let start = Instant::now();
        let done = path.load(lists)?;
        let whole = seconds(start);
        let batches = path.kernel.socket().recorded();
        let again = Instant::now();
        let idle = path.reconcile(0.0)?;
        ensure!(idle.messages == 0, "a second reconciliation wrote {} messages", idle.messages);
        let figures = vec![
            figure("snapshot to kernel", whole, "s"),
            figure("  of which plan", done.ours, "s"),
            figure("messages", done.messages as f64, ""),
            figure("bytes sent", done.bytes as f64 / 1e6, "MB"),
            figure("batches", done.batches as f64, ""),
            figure("restart on the same rules (0 messages)", seconds(again), "s"),
        ];
        Ok((figures, batches))
    })??;
    let whole = figures.first().map_or(f64::NAN, |first| first.value);
    let bare = bare(&batches)?;
    figures.insert(1, figure("the kernel alone, same batches", bare, "s"));
    figures.insert(2, figure("ratio", whole / bare, ""));
    if size.services <= PROXY_SHAPE {
        let theirs = proxy_shape::load(size)?;
        figures.push(figure("nft -f, a chain for each Service", theirs, "s"));
        figures.push(figure("ratio", theirs / whole, ""));
    }
    Ok(row("nftables load", size, figures))
}

/// Seconds that the kernel takes for these batches.
fn bare(batches: &[Vec<u8>]) -> Result<f64> {
    Namespace::new()?.run(|| -> Result<f64> {
        let mut socket = Socket::open(SendBudget::Forced)?;
        let start = Instant::now();
        for batch in batches {
            let reply = socket.batch(SUBSYSTEM, &[batch])?;
            ensure!(reply.errors.is_empty(), "the bare kernel refused {:?}", reply.errors);
        }
        Ok(seconds(start))
    })?
}

/// One endpoint replaced: from the change entering the cluster to the kernel's answer.
pub(crate) fn change(size: Size) -> Result<Row> {
    let lists = generator::lists(size);
    Namespace::new()?.run(|| {
        let mut path = Path::open()?;
        path.load(lists)?;
        let (mut whole, mut ours, mut messages) = (Vec::new(), Vec::new(), 0);
        for generation in 1..=CHANGES {
            let change = generator::replaced(size.services / 2, size, generation);
            let start = Instant::now();
            let done = path.change(change)?;
            whole.push(seconds(start) * 1e3);
            ours.push(done.ours * 1e6);
            // Every batch has a beginning and an end besides.
            messages = messages.max(done.messages - 2 * done.batches);
        }
        // Counts hold on any machine; times are for whoever reads them.
        ensure!(messages <= 4, "one endpoint change sent {messages} messages");
        ensure!(path.reconcile(0.0)?.messages == 0, "the kernel holds something else");
        let least = ours.iter().copied().min_by(f64::total_cmp).context("no change")?;
        let figures = vec![
            figure("change to kernel's answer, median", median(whole), "ms"),
            figure("  of which plan, render and diff", median(ours), "us"),
            figure("  the same at its least", least, "us"),
            figure("messages in the batch, at most", messages as f64, ""),
        ];
        Ok(row("nftables, one endpoint replaced", size, figures))
    })?
}
