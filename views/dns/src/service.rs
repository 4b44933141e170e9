//! What one Service says in DNS.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hickory_proto::rr::Name;
use model::{AddressType, EndpointSlice, NamespacedName, Protocol, Service, ServiceType};

use crate::zone::Pointer;

/// A port that an SRV record can name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    /// Empty where the port has no name.
    pub name: Arc<str>,
    pub protocol: Protocol,
    pub number: u16,
}

/// A ready endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Host {
    /// The label below the Service's name.
    pub label: Arc<str>,
    pub address: IpAddr,
    /// Whether the label is the endpoint's own `hostname`.
    pub own_name: bool,
    pub ports: Arc<[Port]>,
}

/// What the bare name of a Service stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its cluster IPs.
    ClusterIp,
    /// Its ready endpoints.
    Headless,
    /// Another name; `None` if `externalName` is none (an IP address, for example).
    Alias(Option<Name>),
}

/// The records of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceRecords {
    pub service: NamespacedName,
    /// `SERVICE.NAMESPACE.svc.DOMAIN`.
    pub name: Name,
    pub kind: Kind,
    /// The addresses of the bare name.
    pub v4: Vec<Ipv4Addr>,
    pub v6: Vec<Ipv6Addr>,
    /// `spec.ports`; endpoints have their own.
    pub ports: Vec<Port>,
    /// Ready endpoints, by label and address.
    pub hosts: Vec<Host>,
}

impl ServiceRecords {
    /// `None` if the name does not fit into DNS.
    pub(crate) fn new<'a>(
        service: &Service,
        slices: impl Iterator<Item = &'a EndpointSlice>,
        domain: &Name,
    ) -> Option<Self> {
        let labels = [service.name.name.as_bytes(), service.name.namespace.as_bytes(), b"svc"];
        let name = Name::from_labels(labels).ok()?.append_domain(domain).ok()?;
        let kind = match service.service_type {
            ServiceType::ExternalName => Kind::Alias(alias(service.external_name.as_deref())),
            _ if service.headless => Kind::Headless,
            _ => Kind::ClusterIp,
        };
        let hosts = match kind {
            Kind::Alias(_) => Vec::new(),
            Kind::ClusterIp | Kind::Headless => hosts(slices),
        };
        let addresses: BTreeSet<IpAddr> = match kind {
            Kind::ClusterIp => service.cluster_ips.iter().copied().collect(),
            Kind::Headless => hosts.iter().map(|host| host.address).collect(),
            Kind::Alias(_) => BTreeSet::new(),
        };
        let mut records = Self {
            service: service.name.clone(),
            name,
            kind,
            v4: Vec::new(),
            v6: Vec::new(),
            ports: service
                .ports
                .iter()
                .map(|port| Port {
                    name: port.name.clone(),
                    protocol: port.protocol,
                    number: port.port,
                })
                .collect(),
            hosts,
        };
        for address in addresses {
            match address {
                IpAddr::V4(address) => records.v4.push(address),
                IpAddr::V6(address) => records.v6.push(address),
            }
        }
        Some(records)
    }

    /// Whether the bare name is there. A headless Service without a ready endpoint has no name, as
    /// CoreDNS has it (coredns#5159).
    pub(crate) fn exists(&self) -> bool {
        match &self.kind {
            Kind::ClusterIp => true,
            Kind::Headless => !self.hosts.is_empty(),
            Kind::Alias(target) => target.is_some(),
        }
    }

    /// The endpoints of a label.
    pub(crate) fn hosts_named(&self, label: &str) -> &[Host] {
        let from = self.hosts.partition_point(|host| &*host.label < label);
        let rest = self.hosts.get(from..).unwrap_or_default();
        rest.get(..rest.partition_point(|host| &*host.label == label)).unwrap_or_default()
    }

    /// All ports that the Service's SRV records are about, with the label of the endpoint that has
    /// them where the Service is headless.
    pub(crate) fn targets(&self) -> BTreeSet<(Option<&Arc<str>>, &Port)> {
        match self.kind {
            Kind::ClusterIp => self.ports.iter().map(|port| (None, port)).collect(),
            Kind::Headless => targets_of(&self.hosts),
            Kind::Alias(_) => BTreeSet::new(),
        }
    }

    /// The addresses that point back to this Service.
    pub(crate) fn pointers(&self) -> BTreeSet<(IpAddr, Pointer)> {
        let mut pointers = BTreeSet::new();
        if self.kind == Kind::ClusterIp {
            let v4 = self.v4.iter().copied().map(IpAddr::V4);
            let v6 = self.v6.iter().copied().map(IpAddr::V6);
            pointers.extend(
                v4.chain(v6).map(|address| (address, Pointer::ClusterIp(self.service.clone()))),
            );
        }
        for host in &self.hosts {
            let (service, label) = (self.service.clone(), host.label.clone());
            if host.own_name {
                pointers.insert((host.address, Pointer::Hostname(service, label)));
            } else if self.kind == Kind::Headless {
                pointers.insert((host.address, Pointer::Dashed(service, label)));
            }
        }
        pointers
    }
}

/// The ports of some endpoints, each once per label.
pub(crate) fn targets_of(hosts: &[Host]) -> BTreeSet<(Option<&Arc<str>>, &Port)> {
    hosts.iter().flat_map(|host| host.ports.iter().map(|port| (Some(&host.label), port))).collect()
}

/// The target of an ExternalName; an address is no name (CoreDNS leaves such a Service out).
fn alias(external_name: Option<&str>) -> Option<Name> {
    let text = external_name?;
    if text.parse::<IpAddr>().is_ok() {
        return None;
    }
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    (!name.is_root()).then_some(name)
}

fn hosts<'a>(slices: impl Iterator<Item = &'a EndpointSlice>) -> Vec<Host> {
    let mut hosts = BTreeSet::new();
    for slice in slices.filter(|slice| slice.address_type != AddressType::Fqdn) {
        // A port without a number makes no SRV record; the endpoint still has its address.
        let ports: Arc<[Port]> = slice
            .ports
            .iter()
            .filter_map(|port| {
                let name = port.name.clone().unwrap_or_default();
                Some(Port { name, protocol: port.protocol, number: port.port? })
            })
            .collect();
        for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.ready) {
            let own = endpoint.hostname.as_deref().filter(|name| !name.is_empty());
            hosts.insert(Host {
                label: own.map_or_else(|| dashed(endpoint.address), str::to_ascii_lowercase).into(),
                address: endpoint.address,
                own_name: own.is_some(),
                ports: ports.clone(),
            });
        }
    }
    hosts.into_iter().collect()
}

/// The label of an endpoint without a `hostname`, as CoreDNS chooses it: the address with dashes,
/// and a `0` where it would end in one.
pub(crate) fn dashed(address: IpAddr) -> String {
    let mut label = address.to_string().replace(['.', ':'], "-");
    if label.ends_with('-') {
        label.push('0');
    }
    label
}
