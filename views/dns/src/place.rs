//! Where a name lies in the cluster's zone.

use std::net::IpAddr;

use hickory_proto::rr::Name;
use model::Protocol;

use crate::service::{Host, Kind, Port, ServiceRecords};
use crate::zone::{PodRecords, Zone};

/// What stands at a name of the cluster domain.
#[derive(Debug)]
pub(crate) enum Place<'z> {
    /// The name does not exist.
    Missing,
    /// The name exists and has no records of its own.
    Empty,
    /// The domain itself.
    Apex,
    /// `dns-version.DOMAIN`.
    Version,
    /// `ns.dns.DOMAIN`.
    NameServer,
    /// `SERVICE.NAMESPACE.svc.DOMAIN`.
    Service(&'z ServiceRecords),
    /// `HOST.SERVICE.NAMESPACE.svc.DOMAIN`: at least one endpoint.
    Hosts(&'z ServiceRecords, &'z [Host]),
    /// `_PORT._PROTOCOL.SERVICE.NAMESPACE.svc.DOMAIN`, and the wanted port.
    Port(&'z ServiceRecords, Wanted),
    /// `a-b-c-d.NAMESPACE.pod.DOMAIN`.
    Pod(IpAddr),
}

/// The port that a name asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    name: String,
    protocol: Protocol,
}

impl Wanted {
    pub(crate) fn is(&self, port: &Port) -> bool {
        *port.name == *self.name && port.protocol == self.protocol
    }
}

/// Finds the place of a name that lies in the zone's domain.
pub(crate) fn find<'z>(zone: &'z Zone, name: &Name) -> Place<'z> {
    let depth = name.iter().len().saturating_sub(zone.domain().iter().len());
    // Kubernetes allows no more than a port, a protocol, a Service, a namespace and the kind.
    if depth > 5 {
        return Place::Missing;
    }
    let Some(labels) = name.iter().take(depth).map(readable).collect::<Option<Vec<_>>>() else {
        return Place::Missing;
    };
    let mut path = labels.iter().rev().map(String::as_str);
    match (path.next(), path.next(), path.next(), path.next(), path.next()) {
        (None, ..) => Place::Apex,
        (Some("dns-version"), None, ..) => Place::Version,
        // Something exists below `dns`, so RFC 8020 forbids to deny it.
        (Some("dns" | "svc" | "pod"), None, ..) => Place::Empty,
        (Some("dns"), Some("ns"), None, ..) => Place::NameServer,
        (Some("svc" | "pod"), Some(namespace), None, ..) => {
            if zone.has_namespace(namespace) {
                Place::Empty
            } else {
                Place::Missing
            }
        }
        (Some("svc"), Some(namespace), Some(service), fourth, fifth) => {
            let records = zone.service(namespace, service).filter(|records| records.exists());
            records.map_or(Place::Missing, |records| within(records, fourth, fifth))
        }
        (Some("pod"), Some(namespace), Some(pod), None, _) => pod_place(zone, namespace, pod),
        _ => Place::Missing,
    }
}

/// A label as it is compared: in lower case. Other bytes than those of a host name or an underscore
/// are in no name of ours.
fn readable(label: &[u8]) -> Option<String> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !label.iter().all(plain) {
        return None;
    }
    String::from_utf8(label.to_ascii_lowercase()).ok()
}

/// What one or two labels below a Service's name stand for.
fn within<'z>(records: &'z ServiceRecords, fourth: Option<&str>, fifth: Option<&str>) -> Place<'z> {
    match (fourth, fifth) {
        (None, _) => Place::Service(records),
        (Some(label), None) => match records.hosts_named(label) {
            // `_tcp` alone has no records, but `_http._tcp` below it may.
            [] if label.starts_with('_') && has_named_port(records, label) => Place::Empty,
            [] => Place::Missing,
            hosts => Place::Hosts(records, hosts),
        },
        (Some(protocol), Some(port)) => {
            let Some(wanted) = wanted(port, protocol) else { return Place::Missing };
            if has_port(records, |port| wanted.is(port)) {
                Place::Port(records, wanted)
            } else {
                Place::Missing
            }
        }
    }
}

/// CoreDNS accepts both labels without their underscore.
fn wanted(port: &str, protocol: &str) -> Option<Wanted> {
    let bare = |label: &str| label.strip_prefix('_').unwrap_or(label).to_owned();
    let (name, protocol) = (bare(port), bare(protocol).parse().ok()?);
    (!name.is_empty()).then_some(Wanted { name, protocol })
}

fn has_named_port(records: &ServiceRecords, label: &str) -> bool {
    let protocol = label.strip_prefix('_').and_then(|bare| bare.parse::<Protocol>().ok());
    protocol.is_some_and(|wanted| {
        has_port(records, |port| port.protocol == wanted && !port.name.is_empty())
    })
}

fn has_port(records: &ServiceRecords, is: impl Fn(&Port) -> bool) -> bool {
    match records.kind {
        Kind::ClusterIp => records.ports.iter().any(is),
        Kind::Headless => records.hosts.iter().any(|host| host.ports.iter().any(&is)),
        Kind::Alias(_) => false,
    }
}

fn pod_place<'z>(zone: &'z Zone, namespace: &str, pod: &str) -> Place<'z> {
    if zone.config.pod_records == PodRecords::Disabled || !zone.has_namespace(namespace) {
        return Place::Missing;
    }
    let separator = if pod.matches('-').count() == 3 && !pod.contains("--") { "." } else { ":" };
    match pod.replace('-', separator).parse() {
        Ok(address) => Place::Pod(address),
        Err(_) => Place::Missing,
    }
}
