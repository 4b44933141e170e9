//! How many answers a second one core gives, by `dnsperf` (Debian: dnsperf) in a network namespace.
//!
//! `cargo bench -p pointsman-dns`. The server runs on the first processor, the load tool on the
//! others. First as many questions as are answered, then 50,000 a second with the time of each.
//! `-- rate` or `-- time` does one of the two. Fails below the bars: 50,000 answers per second of the
//! server's processor time, and 99 of 100 within a millisecond. On a machine that is busy with
//! something else, the second needs `chrt --fifo 1` before it, or it measures who else is running.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use dns::{DnsServer, ServerConfig, SharedZone, Zone, ZoneConfig};
use lab::Namespace;
use model::{
    AddressType, Change, Cluster, Endpoint, EndpointPort, EndpointSlice, Family, NamespacedName,
    Protocol, Service, ServicePort,
};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::Pid;
use tokio::sync::oneshot;

const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 4;
const RATE: &str = "50000";
const BAR_RATE: f64 = 50_000.0;
/// In microseconds.
const BAR_P99: f64 = 1000.0;

fn main() {
    // `cargo test` runs benches too, once and without asking for numbers.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("load: run with `cargo bench -p pointsman-dns`");
        return;
    }
    let namespace = Namespace::new().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let (tell, told) = channel();
    let inside = namespace.clone();
    let server = thread::spawn(move || {
        inside.run(move || serve(&tell, stopped)).unwrap();
    });
    let (port, used) = told.recv().unwrap();
    let questions = std::env::temp_dir().join(format!("pointsman-dns-{}", std::process::id()));
    std::fs::write(&questions, questions_text()).unwrap();

    let wants = |part: &str| {
        let named = |name: &str| std::env::args().any(|argument| argument == name);
        named(part) || !["rate", "time"].into_iter().any(named)
    };
    println!("{SERVICES} Services with {ENDPOINTS} endpoints each");
    let mut met = true;
    if wants("rate") {
        met &= rate(&namespace, port, &questions, &used);
    }
    if wants("time") {
        met &= time(&namespace, port, &questions);
    }
    std::fs::remove_file(questions).unwrap();
    drop(stop);
    server.join().unwrap();
    if !met {
        println!("below the bar of {BAR_RATE} answers per second of one core, p99 of 1000 µs");
        std::process::exit(1);
    }
}

/// As many questions as are answered.
fn rate(namespace: &Namespace, port: u16, questions: &Path, used: &Used) -> bool {
    let before = used();
    let run = dnsperf(namespace, port, questions, &["-l", "4"]);
    let per_core = number(&run, "Queries completed:") / (used() - before).as_secs_f64();
    println!(
        "as many as are answered: {:.0} answers a second, {} lost",
        number(&run, "Queries per second:"),
        number(&run, "Queries lost:")
    );
    println!("per second of one core: {per_core:.0} answers ({:.1} µs each)", 1e6 / per_core);
    per_core >= BAR_RATE
}

/// The time of each answer at a steady rate.
fn time(namespace: &Namespace, port: u16, questions: &Path) -> bool {
    let run = dnsperf(namespace, port, questions, &["-l", "4", "-Q", RATE, "-v"]);
    let times = times(&run);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize] * 1e6;
    println!(
        "at {:.0} a second: {} answers, median {:.0} µs, p99 {:.0} µs, p99.9 {:.0} µs",
        number(&run, "Queries per second:"),
        times.len(),
        at(0.5),
        at(0.99),
        at(0.999)
    );
    at(0.99) <= BAR_P99
}

type Used = Box<dyn Fn() -> Duration + Send>;

/// Runs the server on this thread, bound to the first processor.
fn serve(tell: &std::sync::mpsc::Sender<(u16, Used)>, stopped: oneshot::Receiver<()>) {
    let mut first = CpuSet::new();
    first.set(0).unwrap();
    sched_setaffinity(Pid::from_raw(0), &first).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = ServerConfig::default();
        let server = DnsServer::bind(&["127.0.0.1:0".parse().unwrap()], config).unwrap();
        // This process does nothing but serve while the load tool runs.
        let used: Used = Box::new(|| {
            let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
            let time = |value: nix::sys::time::TimeVal| {
                Duration::new(value.tv_sec() as u64, value.tv_usec() as u32 * 1000)
            };
            time(usage.user_time()) + time(usage.system_time())
        });
        let zone = Zone::new(ZoneConfig::new("cluster.local").unwrap(), &cluster());
        tell.send((server.addresses()[0].port(), used)).unwrap();
        server.serve(SharedZone::new(zone), async { drop(stopped.await) }).await.unwrap();
    });
}

fn dnsperf(namespace: &Namespace, port: u16, questions: &Path, more: &[&str]) -> String {
    let mut command = namespace.command("taskset");
    let others = format!("1-{}", thread::available_parallelism().map_or(1, usize::from).max(2) - 1);
    command.args(["-c", &others, "dnsperf", "-s", "127.0.0.1", "-p", &port.to_string()]);
    command.arg("-d").arg(questions).args(more);
    // Into a file: a pipe's reader would compete for the load tool's processor.
    let report = questions.with_extension("report");
    command.stdout(Stdio::from(std::fs::File::create(&report).unwrap()));
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: is dnsperf installed?");
    let text = std::fs::read_to_string(&report).unwrap();
    std::fs::remove_file(report).unwrap();
    text
}

fn number(run: &str, label: &str) -> f64 {
    let line = run.lines().find(|line| line.contains(label));
    let text = line.and_then(|line| line.split(label).nth(1)?.split_whitespace().next());
    text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no {label} in:\n{run}"))
}

/// The time of each answer in seconds, sorted. A line of `-v` is `> CODE NAME TYPE SECONDS`.
fn times(run: &str) -> Vec<f64> {
    let answers = run.lines().filter(|line| line.starts_with("> "));
    let mut times: Vec<f64> =
        answers.filter_map(|line| line.split_whitespace().last()?.parse().ok()).collect();
    assert!(!times.is_empty(), "dnsperf reported no answers");
    times.sort_by(f64::total_cmp);
    times
}

/// What Pods ask: names that are there, their other family, and search domains that are not.
fn questions_text() -> String {
    let mut text = String::new();
    for number in (0..SERVICES).step_by(7) {
        let namespace = format!("ns-{}", number % 50);
        let name = format!("service-{number}.{namespace}.svc.cluster.local");
        writeln!(text, "{name} A\n{name} AAAA").unwrap();
        writeln!(text, "api.github.com.{namespace}.svc.cluster.local A").unwrap();
        writeln!(text, "api.github.com.svc.cluster.local AAAA").unwrap();
        writeln!(text, "_web._tcp.{name} SRV").unwrap();
        let [a, b, c, d] = cluster_ip(number).octets();
        writeln!(text, "{d}.{c}.{b}.{a}.in-addr.arpa PTR").unwrap();
    }
    text
}

fn cluster_ip(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a60_0000 + number)
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::default();
    let web: Arc<str> = "web".into();
    for number in 0..SERVICES {
        // Every tenth Service is headless, as in clusters with many stateful sets.
        let headless = number % 10 == 9;
        let name = NamespacedName::new(format!("ns-{}", number % 50), format!("service-{number}"));
        let address = (!headless).then(|| IpAddr::V4(cluster_ip(number)));
        cluster.apply(Change::Service(service(name.clone(), address, &web)));
        let first = 0x0a80_0000 + number * ENDPOINTS;
        cluster.apply(Change::Slice(EndpointSlice {
            name: NamespacedName::new(name.namespace.clone(), format!("{}-a", name.name)),
            service: Some(name),
            version: 0,
            last_change_trigger: None,
            address_type: AddressType::Ip(Family::V4),
            ports: vec![EndpointPort {
                name: Some(web.clone()),
                protocol: Protocol::Tcp,
                port: Some(8080),
            }],
            endpoints: (first..first + ENDPOINTS).map(endpoint).collect(),
        }));
    }
    cluster
}

fn service(name: NamespacedName, cluster_ip: Option<IpAddr>, port: &Arc<str>) -> Service {
    Service {
        cluster_ips: cluster_ip.into_iter().collect(),
        headless: cluster_ip.is_none(),
        ip_families: vec![Family::V4],
        ports: vec![ServicePort {
            name: port.clone(),
            protocol: Protocol::Tcp,
            port: 80,
            target_port: None,
            node_port: None,
        }],
        ..Service::new(name)
    }
}

fn endpoint(address: u32) -> Endpoint {
    Endpoint { ..Endpoint::new(IpAddr::V4(Ipv4Addr::from(address))) }
}
