//! What a container image does, by its name: there are no images, names choose.

use std::time::Duration;

use model::Protocol;
use serde_json::Value;

use crate::json::{items, number, text};

/// A port of a Pod and what speaks there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    pub(crate) protocol: Protocol,
    pub(crate) number: u16,
}

/// What a Pod's processes do. Words in the image's name choose, wherever they stand between `/`,
/// `:` and `-`: `echo:slow`, `refusing`, `example.com/shop-unready:1.2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Behaviour {
    pub(crate) ports: Vec<Port>,
    /// `slow`: how long a client waits for its answer.
    pub(crate) delay: Duration,
    /// `refusing`: nothing listens.
    pub(crate) refusing: bool,
    /// `unready` never becomes ready; `flapping` does and loses it, in turn, after this time.
    pub(crate) readiness: Readiness,
    /// `lingering`: it goes on until the end of its grace period, where others end soon.
    pub(crate) lingering: bool,
}

/// How a Pod's readiness goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Ready after this time.
    After(Duration),
    Never,
    /// Ready and not ready in turn, each for this time.
    Flapping(Duration),
}

const SLOW: Duration = Duration::from_secs(1);
const FLAPPING: Duration = Duration::from_secs(3);

/// Where well-known images listen; all others at 8080, TCP and UDP.
const KNOWN: [(&str, Protocol, u16); 8] = [
    ("nginx", Protocol::Tcp, 80),
    ("httpd", Protocol::Tcp, 80),
    ("redis", Protocol::Tcp, 6379),
    ("postgres", Protocol::Tcp, 5432),
    ("mysql", Protocol::Tcp, 3306),
    ("mongo", Protocol::Tcp, 27017),
    ("coredns", Protocol::Udp, 53),
    ("coredns", Protocol::Tcp, 53),
];

impl Behaviour {
    /// Of a Pod: all its containers together.
    pub(crate) fn of(pod: &Value) -> Self {
        let containers = items(pod, "/spec/containers");
        let words: Vec<&str> =
            containers.iter().flat_map(|one| words(text(one, "/image"))).collect();
        let says = |word: &str| words.contains(&word);
        let mut ports: Vec<Port> = containers.iter().flat_map(ports).collect();
        ports.sort_unstable();
        ports.dedup();
        let delays = containers.iter().filter_map(|container| {
            u64::try_from(number(container, "/readinessProbe/initialDelaySeconds")?).ok()
        });
        let readiness = if says("unready") {
            Readiness::Never
        } else if says("flapping") || says("crashing") {
            Readiness::Flapping(FLAPPING)
        } else {
            Readiness::After(Duration::from_secs(delays.max().unwrap_or(0)))
        };
        Self {
            ports,
            delay: if says("slow") { SLOW } else { Duration::ZERO },
            refusing: says("refusing"),
            readiness,
            lingering: says("lingering"),
        }
    }
}

fn words(image: &str) -> impl Iterator<Item = &str> {
    image.split(['/', ':', '-', '@'])
}

/// The ports that a container declares; without any, those of its image.
fn ports(container: &Value) -> Vec<Port> {
    let declared = items(container, "/ports").iter().filter_map(|port| {
        let number = u16::try_from(number(port, "/containerPort")?).ok()?;
        let protocol = match text(port, "/protocol") {
            "" => Protocol::Tcp,
            text => text.parse().ok()?,
        };
        Some(Port { protocol, number })
    });
    let declared: Vec<Port> = declared.collect();
    if !declared.is_empty() {
        return declared;
    }
    let words: Vec<&str> = words(text(container, "/image")).collect();
    let known = KNOWN.iter().filter(|(name, ..)| words.contains(name));
    let known: Vec<Port> = known.map(|&(_, protocol, number)| Port { protocol, number }).collect();
    if known.is_empty() {
        [Protocol::Tcp, Protocol::Udp].map(|protocol| Port { protocol, number: 8080 }).into()
    } else {
        known
    }
}
