//! iptables mode: load, change, and the tool's own way.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lab::Namespace;
use model::{Change, Cluster, Family, Owner};
use plan::{Config, DetectLocal, Planner};
use render::iptables::{Options, Ruleset};
use sync::iptables::Iptables;
use sync::netlink::{SendBudget, Socket};

use crate::generator::{self, Size};
use crate::report::{Figure, Row, median, resident};

/// `NFNL_SUBSYS_NFTABLES`
const NFTABLES: u16 = 10;
/// How many changes are timed one by one.
const CHANGES: u32 = 21;

/// A planned cluster.
struct Planned {
    cluster: Cluster,
    planner: Planner,
}

fn config() -> Result<Config> {
    let mut config = Config::new("node-0");
    config.detect_local = DetectLocal::ClusterCidr(vec!["10.128.0.0/10".parse()?]);
    Ok(config)
}

fn planned(changes: [Change; 2]) -> Result<Planned> {
    let mut cluster = Cluster::default();
    let mut owners = BTreeSet::from([Owner::Node]);
    changes.into_iter().for_each(|change| owners.extend(cluster.apply(change)));
    let mut planner = Planner::new(config()?);
    planner.update(&cluster, &owners);
    Ok(Planned { cluster, planner })
}

fn rules(planned: &Planned) -> Ruleset {
    render::iptables::ruleset(planned.planner.intent(), &Options::default())
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

fn figure(what: &'static str, value: f64, unit: &'static str) -> Figure {
    Figure { what, value, unit }
}

/// From a complete snapshot to the kernel, and the kernel alone taking the very same batches.
pub(crate) fn load(size: Size) -> Result<Row> {
    let lists = generator::lists(size);
    let namespace = Namespace::new()?;
    let (figures, batches) = namespace.run(|| -> Result<_> {
        let mut kernel = Iptables::open()?;
        kernel.socket().record();
        let start = Instant::now();
        let planned = planned(lists)?;
        let plan = seconds(start);
        let ruleset = rules(&planned);
        let render = seconds(start) - plan;
        let written = kernel.reconcile(&ruleset)?;
        let whole = seconds(start);
        ensure!(written.refused.is_empty(), "the kernel refused {:?}", written.refused);
        drop(ruleset);
        let batches = kernel.socket().recorded();
        let again = Instant::now();
        let idle = kernel.reconcile(&rules(&planned))?;
        ensure!(idle.messages == 0, "a second reconciliation wrote {} messages", idle.messages);
        let figures = vec![
            figure("snapshot to kernel", whole, "s"),
            figure("  of which plan", plan, "s"),
            figure("  of which render", render, "s"),
            figure("messages", written.messages as f64, ""),
            figure("bytes sent", written.bytes as f64 / 1e6, "MB"),
            figure("batches", written.batches as f64, ""),
            figure("restart on the same rules (0 messages)", seconds(again), "s"),
        ];
        Ok((figures, batches))
    })??;
    let bare = Namespace::new()?.run(|| -> Result<f64> {
        let mut socket = Socket::open(SendBudget::Forced)?;
        let start = Instant::now();
        for batch in &batches {
            let reply = socket.batch(NFTABLES, &[batch])?;
            ensure!(reply.errors.is_empty(), "the bare kernel refused {:?}", reply.errors);
        }
        Ok(seconds(start))
    })??;
    let whole = figures.first().map_or(f64::NAN, |first| first.value);
    let mut figures = figures;
    figures.insert(1, figure("the kernel alone, same batches", bare, "s"));
    figures.insert(2, figure("ratio", whole / bare, ""));
    Ok(row("load", size, figures))
}

fn row(measured: &'static str, size: Size, figures: Vec<Figure>) -> Row {
    Row { measured, services: size.services, endpoints_each: size.endpoints, figures }
}

/// One endpoint replaced: from the change entering the cluster to the kernel's answer.
pub(crate) fn change(size: Size) -> Result<Row> {
    let lists = generator::lists(size);
    Namespace::new()?.run(|| {
        let mut kernel = Iptables::open()?;
        let mut planned = planned(lists)?;
        kernel.reconcile(&rules(&planned))?;
        let (mut whole, mut ours, mut messages) = (Vec::new(), Vec::new(), 0);
        for generation in 1..=CHANGES {
            let change = generator::replaced(size.services / 2, size, generation);
            let before = planned.planner.intent().clone();
            let start = Instant::now();
            let owners = planned.cluster.apply(change);
            let changed = planned.planner.update(&planned.cluster, &owners);
            let changes = differences(&before, planned.planner.intent(), &changed);
            ours.push(seconds(start) * 1e6);
            let written = kernel.apply(&changes)?;
            whole.push(seconds(start) * 1e3);
            ensure!(written.refused.is_empty(), "the kernel refused {:?}", written.refused);
            messages = messages.max(written.messages);
        }
        ensure!(messages < 20, "one endpoint change sent {messages} messages");
        let figures = vec![
            figure("change to kernel's answer, median", median(whole), "ms"),
            figure("  of which plan, render and diff", median(ours), "us"),
            figure("messages, at most", messages as f64, ""),
            // Not in `load`, which keeps the batches to send them once more.
            figure("resident memory of the whole process", resident(), "MB"),
        ];
        Ok(row("one endpoint replaced", size, figures))
    })?
}

fn differences(
    before: &plan::Intent,
    now: &plan::Intent,
    owners: &BTreeSet<Owner>,
) -> BTreeMap<Owner, render::iptables::Change> {
    let options = Options::default();
    let part = |intent: &plan::Intent, owner: &Owner| match owner {
        Owner::Node => Some(render::iptables::node(&intent.node, &options)),
        Owner::Service(name) => {
            let servers = intent.servers.get(name)?;
            Some(render::iptables::owner(&intent.node, servers, &options))
        }
        Owner::Policy(_) => None,
    };
    let change = |owner: &Owner| {
        let (old, new) = (part(before, owner), part(now, owner));
        (owner.clone(), render::iptables::diff(owner, old.as_ref(), new.as_ref()))
    };
    owners.iter().map(change).collect()
}

/// The same rules as text through `iptables-nft-restore`, and by us.
pub(crate) fn restore(size: Size) -> Result<Row> {
    let planned = planned(generator::lists(size))?;
    let ruleset = rules(&planned);
    let text = ruleset.to_text(Family::V4);
    let tool = Namespace::new()?;
    let start = Instant::now();
    let mut child = tool
        .command("iptables-nft-restore")
        .arg("--noflush")
        .stdin(Stdio::piped())
        .spawn()
        .context("iptables-nft-restore (Debian package iptables)")?;
    child.stdin.take().context("no pipe")?.write_all(text.as_bytes())?;
    ensure!(child.wait()?.success(), "iptables-nft-restore refused the rules");
    let theirs = seconds(start);
    let ours = Namespace::new()?.run(|| -> Result<f64> {
        let mut kernel = Iptables::open()?;
        let start = Instant::now();
        kernel.reconcile(&ruleset)?;
        Ok(seconds(start))
    })??;
    let figures = vec![
        figure("iptables-nft-restore, IPv4", theirs, "s"),
        figure("ours, both families", ours, "s"),
        figure("ratio", theirs / ours, ""),
    ];
    Ok(row("the same rules through the tool", size, figures))
}
