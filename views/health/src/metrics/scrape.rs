//! The metrics that are computed when somebody asks: ages, the judgement of the status, the process,
//! the traffic of Services.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;

use super::process::Process;
use super::traffic::ServiceTraffic;
use crate::Health;
use crate::moment::Moment;
use crate::status::{Status, Unready};

type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Reads the status at each scrape.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) health: Health,
    pub(super) traffic: Arc<Mutex<ServiceTraffic>>,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = self.health.read(Status::clone);
        let now = Moment::now();
        write_watches(&mut encoder, &status, now)?;
        write_judgement(&mut encoder, &status, now)?;
        write_process(&mut encoder, Process::read())?;
        let traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        write_traffic(&mut encoder, &traffic)
    }
}

/// One gauge; without a value it is left out altogether.
fn gauge<'a, V: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels<'a>, V)>,
) -> fmt::Result {
    let mut values = values.into_iter().peekable();
    if values.peek().is_none() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        metric.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

/// One counter, named without the ending `_total`, which the library adds.
fn counter<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels<'a>, f64)>,
) -> fmt::Result {
    let mut values = values.into_iter().peekable();
    if values.peek().is_none() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in values {
        let none: Option<&Exemplar<[(&str, &str); 0], f64>> = None;
        metric.encode_family(&labels)?.encode_counter(&value, none)?;
    }
    Ok(())
}

fn write_watches(encoder: &mut DescriptorEncoder<'_>, status: &Status, now: Moment) -> fmt::Result {
    let watches = || status.watches().iter().map(|(kind, watch)| (vec![("kind", &**kind)], watch));
    gauge(
        encoder,
        "pointsman_watch_connected",
        "Whether the API server answers the watch of a kind",
        watches().map(|(labels, watch)| (labels, u32::from(watch.connected))),
    )?;
    gauge(
        encoder,
        "pointsman_watch_last_event_age_seconds",
        "How long nothing was heard of a kind, bookmarks included",
        watches().map(|(labels, watch)| (labels, status.watch_age(watch, now).as_secs_f64())),
    )?;
    counter(
        encoder,
        "pointsman_watch_lists",
        "How often a kind was listed from nothing",
        watches().map(|(labels, watch)| (labels, watch.lists as f64)),
    )?;
    counter(
        encoder,
        "pointsman_watch_short",
        "Watches that ended at once without an event",
        watches().map(|(labels, watch)| (labels, watch.short_watches as f64)),
    )
}

fn write_judgement(
    encoder: &mut DescriptorEncoder<'_>,
    status: &Status,
    now: Moment,
) -> fmt::Result {
    let reasons = status.unready(now);
    gauge(
        encoder,
        "pointsman_not_ready",
        "Whether a reason keeps the agent from being ready",
        Unready::ALL.into_iter().map(|reason| {
            let holds = reasons.iter().any(|(given, _)| *given == reason);
            (vec![("reason", reason.word())], u32::from(holds))
        }),
    )?;
    gauge(
        encoder,
        "pointsman_node_eligible",
        "Whether the node may get new connections from load balancers",
        [(vec![], u32::from(status.node_eligible()))],
    )?;
    let families: Vec<_> =
        status.families().iter().map(|(family, state)| (family.to_string(), state.drift)).collect();
    gauge(
        encoder,
        "pointsman_drift_objects",
        "Objects of the kernel that differed from what was written when last compared",
        families.iter().map(|(family, drift)| (vec![("ip_family", &**family)], *drift)),
    )?;
    let sockets = status.sockets();
    gauge(
        encoder,
        "pointsman_health_check_node_ports",
        "Sockets that answer for the healthCheckNodePort of a Service",
        [
            (vec![("state", "failed")], sockets.failed as u64),
            (vec![("state", "listening")], sockets.listening as u64),
        ],
    )
}

fn write_process(encoder: &mut DescriptorEncoder<'_>, process: Process) -> fmt::Result {
    let plain = |value: Option<u64>| value.map(|value| (vec![], value as f64));
    counter(
        encoder,
        "process_cpu_seconds",
        "Processor time that this process used",
        process.cpu_seconds.map(|seconds| (vec![], seconds)),
    )?;
    let gauges = [
        ("process_resident_memory_bytes", "Resident memory", plain(process.resident_bytes)),
        ("process_virtual_memory_bytes", "Virtual memory", plain(process.virtual_bytes)),
        (
            "process_virtual_memory_max_bytes",
            "The most virtual memory that this process may have",
            plain(process.virtual_limit_bytes),
        ),
        (
            "process_start_time_seconds",
            "When this process began, in seconds of the Unix epoch",
            process.start_seconds.map(|seconds| (vec![], seconds)),
        ),
        ("process_open_fds", "Open file descriptors", plain(process.open_files)),
        (
            "process_max_fds",
            "The most file descriptors that this process may open",
            plain(process.open_files_limit),
        ),
        ("process_threads", "Threads of this process", plain(process.threads)),
    ];
    for (name, help, value) in gauges {
        gauge(encoder, name, help, value)?;
    }
    Ok(())
}

fn write_traffic(encoder: &mut DescriptorEncoder<'_>, traffic: &ServiceTraffic) -> fmt::Result {
    let services = || {
        traffic.services().iter().map(|(service, traffic)| {
            (vec![("namespace", &*service.namespace), ("service", &*service.name)], traffic)
        })
    };
    counter(
        encoder,
        "pointsman_service_connections",
        "Connections to a Service",
        services().map(|(labels, traffic)| (labels, traffic.connections as f64)),
    )?;
    counter(
        encoder,
        "pointsman_service_bytes",
        "Bytes of the packets that began connections to a Service",
        services().map(|(labels, traffic)| (labels, traffic.bytes as f64)),
    )?;
    let others = traffic.others();
    counter(
        encoder,
        "pointsman_other_services_connections",
        "Connections to all Services without series of their own",
        [(vec![], others.connections as f64)],
    )?;
    counter(
        encoder,
        "pointsman_other_services_bytes",
        "Bytes of the packets that began connections to all Services without series of their own",
        [(vec![], others.bytes as f64)],
    )?;
    gauge(
        encoder,
        "pointsman_other_services",
        "Services without series of their own, for there are more than the limit",
        [(vec![], traffic.omitted() as u64)],
    )
}
