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
    /// Of a Pod: all its containers together, those that start first and go on running (KEP-753)
    /// among them.
    pub(crate) fn of(pod: &Value) -> Self {
        let goes_on = |container: &&Value| text(container, "/restartPolicy") == "Always";
        let sidecars = items(pod, "/spec/initContainers").iter().filter(goes_on);
        let containers: Vec<&Value> =
            items(pod, "/spec/containers").iter().chain(sidecars).collect();
        let words: Vec<&str> =
            containers.iter().flat_map(|one| words(text(one, "/image"))).collect();
        let says = |word: &str| words.contains(&word);
        let mut ports: Vec<Port> = containers.iter().flat_map(|one| ports(one)).collect();
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(image: &str) -> Behaviour {
        Behaviour::of(&json!({"spec": {"containers": [{"image": image}]}}))
    }

    fn shown(behaviour: &Behaviour) -> Vec<String> {
        let ports = behaviour.ports.iter();
        ports.map(|port| format!("{}/{}", port.number, port.protocol)).collect()
    }

    #[test]
    fn names_choose_ports() {
        assert_eq!(shown(&of("echo")), ["8080/TCP", "8080/UDP"]);
        assert_eq!(shown(&of("docker.io/library/nginx:1.27")), ["80/TCP"]);
        assert_eq!(shown(&of("coredns")), ["53/TCP", "53/UDP"]);
        // A part of a word is not the word.
        assert_eq!(shown(&of("nginxlike")), ["8080/TCP", "8080/UDP"]);
    }

    #[test]
    fn declared_ports_come_before_names_and_are_served_once() {
        let ports = json!([
            {"containerPort": 9376}, {"containerPort": 53, "protocol": "UDP"},
            {"containerPort": 9376, "protocol": "TCP"}, {"containerPort": 70000},
        ]);
        let containers = json!([{"image": "nginx", "ports": ports}, {"image": "redis"}]);
        let pod = json!({"spec": {"containers": containers}});
        assert_eq!(shown(&Behaviour::of(&pod)), ["6379/TCP", "9376/TCP", "53/UDP"]);
    }

    #[test]
    fn words_choose_behaviour_wherever_they_stand() {
        assert!(of("slow/echo").delay > Duration::ZERO);
        assert!(of("echo:refusing").refusing);
        assert!(of("echo-lingering:1").lingering);
        assert_eq!(of("unready").readiness, Readiness::Never);
        assert!(matches!(of("echo:crashing").readiness, Readiness::Flapping(_)));
        let plain = of("slowly");
        assert_eq!(plain.delay, Duration::ZERO);
        assert_eq!(plain.readiness, Readiness::After(Duration::ZERO));
        let probe = json!({"initialDelaySeconds": 5});
        let containers = json!([{"image": "echo", "readinessProbe": probe}]);
        let pod = json!({"spec": {"containers": containers}});
        let expected = Readiness::After(Duration::from_secs(5));
        assert_eq!(Behaviour::of(&pod).readiness, expected);
    }
}
