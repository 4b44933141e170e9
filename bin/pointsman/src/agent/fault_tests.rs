//! The kernel fails the agent for a while: it says so by its counters, and afterwards the kernel holds
//! what is wanted.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use health::metrics::{Metrics, Mode};
use lab::Namespace;
use model::{AddressType, Endpoint, EndpointPort, EndpointSlice, Protocol, Service, ServicePort};
use nix::errno::Errno;
use sync::iptables::Iptables;
use sync::netlink::{Call, Fault};
use sync::table::Nftables;
use tokio::sync::mpsc;

use super::*;
use crate::commands::run::runtime;
use crate::dataplane::{IptablesDataplane, NftablesDataplane};
use crate::views::health::{HealthView, Serving};

/// How long something may take on a busy machine. Nobody waits so long: the next try comes within a
/// second (`pace.rs`, `repair.rs`).
const PATIENCE: Duration = Duration::from_secs(20);

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Three Services with an endpoint each; `last` is the last byte of the first one's address.
fn state(last: u8) -> Vec<Change> {
    let services = (1..=3u8).map(|number| Service {
        cluster_ips: vec![address(&format!("10.96.0.{number}"))],
        ip_families: vec![Family::V4],
        ports: vec![ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 80,
            target_port: None,
            node_port: None,
        }],
        ..Service::new(NamespacedName::new("shop", format!("s{number}")))
    });
    let slices = (1..=3u8).map(|number| EndpointSlice {
        name: NamespacedName::new("shop", format!("s{number}-a")),
        service: Some(NamespacedName::new("shop", format!("s{number}"))),
        version: u64::from(last),
        last_change_trigger: None,
        address_type: AddressType::Ip(Family::V4),
        ports: vec![EndpointPort {
            name: Some("http".into()),
            protocol: Protocol::Tcp,
            port: Some(8080),
        }],
        endpoints: vec![Endpoint::new(match number {
            1 => address(&format!("10.77.1.{last}")),
            _ => address(&format!("10.77.2.{number}")),
        })],
    });
    vec![Change::Services(services.collect()), Change::Slices(slices.collect())]
}

fn delivery(last: u8) -> Delivery {
    Delivery { changes: state(last), complete: true, ..Delivery::default() }
}

fn health(mode: Mode) -> HealthView {
    let serving = Serving {
        healthz: None,
        metrics: None,
        hard_fail: false,
        mode,
        node_object: false,
        sync_timeout: Duration::from_secs(60),
        pages: health::Pages {
            mode: String::new(),
            configz: serde_json::Value::Null,
            flags: BTreeMap::new(),
            version: String::new(),
            flagz: false,
            statusz: false,
        },
        gates: Vec::new(),
    };
    HealthView::start("node", serving, None).unwrap()
}

/// The sum of a metric's series.
fn counted(metrics: &Metrics, name: &str) -> f64 {
    let text = metrics.render().unwrap();
    let lines = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Fails every call of a kind while it is switched on.
fn fault(on: &Arc<AtomicBool>, call: Call, errno: Errno) -> Fault {
    let on = on.clone();
    Box::new(move |met| (met == call && on.load(Ordering::Relaxed)).then_some(errno))
}

/// Waits for a condition while the agent works.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The kernel fails while an endpoint changes; one of the counters must move.
fn survives<D: Dataplane>(dataplane: D, mode: Mode, on: &AtomicBool, holds: impl Fn(&str) -> bool) {
    let view = health(mode);
    let metrics = view.served().metrics();
    let existing = Existing::open(config::ExistingConnections::Keep);
    let config = Config::new("node");
    let mut agent = Agent::new(config, dataplane, vec![Box::new(view)], Duration::ZERO, existing);
    let (deliveries, source) = mpsc::channel(4);
    let (_foreign, foreign) = mpsc::unbounded_channel();
    let (_orders, orders) = mpsc::unbounded_channel();
    let (_decision, decision) = watch::channel(None);
    let (_denied, denied) = mpsc::channel(1);
    let (_asked, asked) = mpsc::unbounded_channel();
    let inputs = Inputs { deliveries: source, foreign, orders, decision, denied, asked };
    let troubles = || {
        let failures = match mode {
            Mode::Iptables => "kubeproxy_sync_proxy_rules_iptables_restore_failures_total",
            Mode::Nftables => "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
        };
        counted(&metrics, failures) + counted(&metrics, "pointsman_refused_owners")
    };
    let script = async {
        deliveries.send(delivery(1)).await.unwrap();
        until("the first endpoint", || holds("10.77.1.1")).await;
        assert_eq!(troubles(), 0.0);
        on.store(true, Ordering::Relaxed);
        deliveries.send(delivery(2)).await.unwrap();
        until("a counter moves", || troubles() > 0.0).await;
        // Others go on to be written or wait; in any case the agent lives.
        deliveries.send(delivery(3)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!holds("10.77.1.3"), "the fault fails nothing");
        on.store(false, Ordering::Relaxed);
        until("the last endpoint", || holds("10.77.1.3") && !holds("10.77.1.1")).await;
        until("nothing is refused", || counted(&metrics, "pointsman_refused_owners") == 0.0).await;
    };
    runtime().unwrap().block_on(async {
        tokio::select! {
            ended = agent.run(inputs, false) => panic!("the agent ended: {ended:?}"),
            () = script => {}
        }
    });
    // Whatever was written in between, the kernel equals the plan.
    let again = agent.dataplane.reconcile(agent.planner.intent()).unwrap();
    assert_eq!(again.messages, 0);
}

fn in_iptables_mode(call: Call, errno: Errno) {
    let test = move || {
        let on = Arc::new(AtomicBool::new(false));
        let mut kernel = Iptables::open().unwrap();
        kernel.socket().fail_by(Some(fault(&on, call, errno)));
        let dataplane = IptablesDataplane::new(kernel, render::iptables::Options::default());
        survives(dataplane, Mode::Iptables, &on, |address| {
            let held = Iptables::open().unwrap().read().unwrap();
            format!("{held:?}").contains(&format!("{address}:8080"))
        });
    };
    Namespace::new().unwrap().run(test).unwrap();
}

fn in_nftables_mode(call: Call, errno: Errno) {
    let test = move || {
        let on = Arc::new(AtomicBool::new(false));
        let mut kernel = Nftables::open().unwrap();
        kernel.socket().fail_by(Some(fault(&on, call, errno)));
        let dataplane = NftablesDataplane::new(kernel, render::nftables::Options::default());
        survives(dataplane, Mode::Nftables, &on, |address| {
            let held = Nftables::open().unwrap().read().unwrap();
            format!("{held:?}").contains(&format!("{address}:8080"))
                || format!("{held:?}").contains(address)
        });
    };
    Namespace::new().unwrap().run(test).unwrap();
}

#[test]
fn a_kernel_without_memory() {
    in_iptables_mode(Call::Send, Errno::ENOBUFS);
    in_nftables_mode(Call::Send, Errno::ENOBUFS);
}

/// Objects vanish under every change (kubernetes#121362).
#[test]
fn a_kernel_that_misses_an_object() {
    in_iptables_mode(Call::Batch, Errno::ENOENT);
    in_nftables_mode(Call::Batch, Errno::ENOENT);
}

#[test]
fn a_kernel_that_permits_nothing() {
    in_iptables_mode(Call::Batch, Errno::EPERM);
    in_nftables_mode(Call::Batch, Errno::EPERM);
}
