//! What the API server adds to a Service when it is stored: defaults, addresses and node ports.
//!
//! A folder has no allocator that remembers, so each choice follows from the names alone: it starts
//! at a hash of the Service's name, and goes on to the next free number. What manifests name
//! themselves is taken first; Services are served in the order of their names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::{Cidr, Family, NamespacedName, Notice, ObjectRef, Protocol, Reason, ServiceCidr};

use crate::stable_hash::stable_hash;
use crate::wire::{self, Field, IntOrText};

/// `--service-node-port-range` of kube-apiserver: first port and how many.
const NODE_PORTS: (u16, u16) = (30_000, 2_768);

/// A Service of a manifest, with the fields that only the API server reads.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) wire: wire::Service,
    /// `spec.ipFamilyPolicy`.
    pub(super) family_policy: String,
    /// `spec.allocateLoadBalancerNodePorts`, true where nothing is said.
    pub(super) allocate_node_ports: bool,
}

/// What was chosen for Services that did not name it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Allocated {
    pub(super) addresses: Vec<(NamespacedName, IpAddr)>,
    pub(super) node_ports: Vec<(NamespacedName, u16)>,
    pub(super) notices: Vec<Notice>,
}

/// Fills in what the API server would.
pub(super) fn fill(
    services: &mut BTreeMap<NamespacedName, Draft>,
    cidrs: &[ServiceCidr],
) -> Allocated {
    let ranges = Ranges::new(cidrs);
    let mut taken_addresses = BTreeSet::new();
    let mut taken_ports = BTreeSet::new();
    for spec in services.values().filter_map(|draft| draft.wire.spec.get()) {
        taken_addresses.extend(explicit(spec).unwrap_or_default());
        taken_ports.extend(explicit_ports(spec));
    }
    let mut allocated = Allocated::default();
    for (name, draft) in services {
        let Field::Is(spec) = &mut draft.wire.spec else { continue };
        if spec.service_type.text() == "ExternalName" {
            continue;
        }
        default_target_ports(spec);
        fill_addresses(
            name,
            spec,
            &draft.family_policy,
            &ranges,
            &mut taken_addresses,
            &mut allocated,
        );
        let balanced = spec.service_type.text() == "LoadBalancer";
        if spec.service_type.text() == "NodePort" || balanced && draft.allocate_node_ports {
            fill_node_ports(name, spec, &mut taken_ports, &mut allocated);
        }
        if balanced && spec.external_traffic_policy.text() == "Local" {
            fill_health_check(name, spec, &mut taken_ports, &mut allocated);
        }
    }
    allocated
}

fn default_target_ports(spec: &mut wire::ServiceSpec) {
    let Field::Is(ports) = &mut spec.ports else { return };
    for port in ports {
        let Field::Is(port) = port else { continue };
        let unset = match &port.target_port {
            Field::Absent | Field::Is(IntOrText::Int(0)) => true,
            Field::Is(IntOrText::Text(name)) => name.is_empty(),
            Field::Is(IntOrText::Int(_)) | Field::Wrong(_) => false,
        };
        if let (true, Some(&number)) = (unset, port.port.get()) {
            port.target_port = Field::Is(IntOrText::Int(number));
        }
    }
}

/// The addresses that a Service names; nothing if one of them cannot be read.
fn explicit(spec: &wire::ServiceSpec) -> Option<Vec<IpAddr>> {
    let read = |field: &Field<String>| match field {
        Field::Absent => Some(None),
        Field::Is(text) if text.trim().is_empty() => Some(None),
        Field::Is(text) => model::parse_ip(text).ok().map(Some),
        Field::Wrong(_) => None,
    };
    let listed: Option<Vec<_>> = spec.cluster_ips.items().iter().map(read).collect();
    let mut addresses: Vec<_> = listed?.into_iter().flatten().collect();
    if addresses.is_empty() {
        addresses.extend(read(&spec.cluster_ip)?);
    }
    Some(addresses)
}

fn fill_addresses(
    name: &NamespacedName,
    spec: &mut wire::ServiceSpec,
    policy: &str,
    ranges: &Ranges,
    taken: &mut BTreeSet<IpAddr>,
    allocated: &mut Allocated,
) {
    let headless = spec.cluster_ip.text() == "None"
        || spec.cluster_ips.items().first().is_some_and(|ip| ip.text() == "None");
    let given = if headless { Some(Vec::new()) } else { explicit(spec) };
    let (Some(mut addresses), Some(listed)) = (given, listed_families(spec)) else {
        // What stands there is wrong: reading it will say so.
        return;
    };
    let families = ranges.families(listed, &addresses, policy);
    if !headless {
        for &family in families.iter().skip(addresses.len()) {
            let Some(address) = ranges.allocate(name, family, taken) else {
                allocated.notices.push(exhausted(name, &format!("{family} address in {ranges}")));
                break;
            };
            taken.insert(address);
            addresses.push(address);
            allocated.addresses.push((name.clone(), address));
        }
        let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        spec.cluster_ip = texts.first().cloned().map_or(Field::Absent, Field::Is);
        spec.cluster_ips = Field::Is(texts.into_iter().map(Field::Is).collect());
    }
    let texts = families.iter().map(|family| Field::Is(family.to_string()));
    spec.ip_families = Field::Is(texts.collect());
}

/// `spec.ipFamilies`; nothing if an entry is no family.
fn listed_families(spec: &wire::ServiceSpec) -> Option<Vec<Family>> {
    if let Field::Wrong(_) = spec.ip_families {
        return None;
    }
    let entries = spec.ip_families.items().iter();
    entries
        .map(|entry| Family::ALL.into_iter().find(|family| family.to_string() == entry.text()))
        .collect()
}

/// The blocks that cluster IPs come from.
struct Ranges {
    /// In the order of the ServiceCIDRs' names.
    blocks: Vec<Cidr>,
    /// The family of a Service that asks for none: that of the first block of the ServiceCIDR that
    /// the API server itself writes, `kubernetes`, or else of the first ServiceCIDR.
    primary: Family,
}

impl Ranges {
    fn new(cidrs: &[ServiceCidr]) -> Self {
        let main = cidrs.iter().find(|cidr| &*cidr.name == "kubernetes").or(cidrs.first());
        let blocks: Vec<_> = cidrs.iter().flat_map(|cidr| cidr.cidrs.clone()).collect();
        let primary = main.and_then(|cidr| cidr.cidrs.first()).or(blocks.first());
        Self { primary: primary.map_or(Family::V4, Family::of_cidr), blocks }
    }

    /// The families that a Service has, the first being that of `spec.clusterIP` (KEP-563). A
    /// cluster has a second family if one of its blocks has; where there are no blocks at all,
    /// whatever a Service asks for can be had.
    fn families(&self, listed: Vec<Family>, given: &[IpAddr], policy: &str) -> Vec<Family> {
        let mut families = listed;
        if families.is_empty() {
            families.extend(given.iter().map(|&address| Family::of(address)));
        }
        if families.is_empty() {
            families.push(self.primary);
        }
        let [only] = families[..] else { return families };
        let second = if only == Family::V4 { Family::V6 } else { Family::V4 };
        let possible = self.blocks.is_empty() || self.has(second);
        if policy == "RequireDualStack" || policy == "PreferDualStack" && possible {
            families.push(second);
        }
        families
    }

    fn has(&self, family: Family) -> bool {
        self.blocks.iter().any(|block| Family::of_cidr(block) == family)
    }

    fn allocate(
        &self,
        name: &NamespacedName,
        family: Family,
        taken: &BTreeSet<IpAddr>,
    ) -> Option<IpAddr> {
        let blocks = self.blocks.iter().copied().filter(|block| Family::of_cidr(block) == family);
        let mut blocks: Vec<_> = blocks.collect();
        if blocks.is_empty() {
            blocks.push(default_block(family));
        }
        let hash = stable_hash(&format!("{name} {family}"));
        blocks.into_iter().find_map(|block| {
            let (base, size) = base_and_size(block);
            // The first address is the block's name, and the last of an IPv4 block is broadcast.
            let end = if family == Family::V4 { size.saturating_sub(1) } else { size };
            let floor = (size / 16).clamp(16, 256).min(end.max(1));
            let mut offsets = candidates(hash, (1, end), floor);
            offsets.find_map(|offset| {
                let address = at(base, offset, family)?;
                (!taken.contains(&address)).then_some(address)
            })
        })
    }
}

impl std::fmt::Display for Ranges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.blocks.is_empty() {
            return write!(f, "{} or {}", default_block(Family::V4), default_block(Family::V6));
        }
        let texts: Vec<_> = self.blocks.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join(", "))
    }
}

/// The block of a cluster that was set up by kubeadm's own example.
fn default_block(family: Family) -> Cidr {
    match family {
        Family::V4 => Cidr::V4(ipnet::Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 12)),
        Family::V6 => {
            let base = Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0);
            Cidr::V6(ipnet::Ipv6Net::new_assert(base, 112))
        }
    }
}

/// The first address as a number, and how many follow (at most 2⁶⁴).
fn base_and_size(block: Cidr) -> (u128, u128) {
    let free = block.max_prefix_len() - block.prefix_len();
    let base = match block.network() {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    };
    (base, 1 << free.min(64))
}

fn at(base: u128, offset: u128, family: Family) -> Option<IpAddr> {
    let number = base.checked_add(offset)?;
    match family {
        Family::V4 => Some(IpAddr::V4(u32::try_from(number).ok()?.into())),
        Family::V6 => Some(IpAddr::V6(number.into())),
    }
}

/// The numbers from `first` up to `end`, starting at a hash above `floor`, and those below the floor
/// last: people choose low numbers (KEP-3070, KEP-3668).
fn candidates(hash: u64, (first, end): (u128, u128), floor: u128) -> impl Iterator<Item = u128> {
    let width = end.saturating_sub(floor);
    let start = if width == 0 { floor } else { floor + u128::from(hash) % width };
    (start..end).chain(floor..start.min(end)).chain(first..floor.min(end))
}

/// The ports that a Service names, by protocol.
fn explicit_ports(spec: &wire::ServiceSpec) -> Vec<(Protocol, u16)> {
    let ports = spec.ports.items().iter().filter_map(Field::get);
    let ports = ports.filter_map(|port| Some((protocol(port)?, number(&port.node_port)?)));
    let health_check = number(&spec.health_check_node_port).map(|port| (Protocol::Tcp, port));
    ports.chain(health_check).collect()
}

fn protocol(port: &wire::ServicePort) -> Option<Protocol> {
    match &port.protocol {
        Field::Absent => Some(Protocol::Tcp),
        field => field.get()?.parse().ok(),
    }
}

fn number(field: &Field<i64>) -> Option<u16> {
    field.get().and_then(|&number| u16::try_from(number).ok()).filter(|&number| number != 0)
}

/// Absent, or 0, which the API takes for absent.
fn is_unset(field: &Field<i64>) -> bool {
    matches!(field, Field::Absent | Field::Is(0))
}

fn fill_node_ports(
    name: &NamespacedName,
    spec: &mut wire::ServiceSpec,
    taken: &mut BTreeSet<(Protocol, u16)>,
    allocated: &mut Allocated,
) {
    let Field::Is(ports) = &mut spec.ports else { return };
    for port in ports {
        let Field::Is(port) = port else { continue };
        let (true, Some(protocol)) = (is_unset(&port.node_port), protocol(port)) else { continue };
        // Without the protocol: one port number in two protocols gets one node port where it can.
        let key = format!("{name} {}", port.port.get().copied().unwrap_or_default());
        match free_port(&key, protocol, taken) {
            Some(free) => {
                port.node_port = Field::Is(free.into());
                allocated.node_ports.push((name.clone(), free));
            }
            None => allocated.notices.push(exhausted(name, "node port")),
        }
    }
}

fn fill_health_check(
    name: &NamespacedName,
    spec: &mut wire::ServiceSpec,
    taken: &mut BTreeSet<(Protocol, u16)>,
    allocated: &mut Allocated,
) {
    if !is_unset(&spec.health_check_node_port) {
        return;
    }
    match free_port(&format!("{name} healthCheckNodePort"), Protocol::Tcp, taken) {
        Some(free) => {
            spec.health_check_node_port = Field::Is(free.into());
            allocated.node_ports.push((name.clone(), free));
        }
        None => allocated.notices.push(exhausted(name, "node port")),
    }
}

fn free_port(key: &str, protocol: Protocol, taken: &mut BTreeSet<(Protocol, u16)>) -> Option<u16> {
    let (first, size) = NODE_PORTS;
    let end = u128::from(size);
    let floor = (end / 32).clamp(16, 128);
    let mut ports = candidates(stable_hash(key), (0, end), floor)
        .filter_map(|offset| first.checked_add(u16::try_from(offset).ok()?));
    let free = ports.find(|&port| !taken.contains(&(protocol, port)))?;
    taken.insert((protocol, free));
    Some(free)
}

fn exhausted(name: &NamespacedName, what: &str) -> Notice {
    Notice {
        object: ObjectRef::new("Service", name),
        reason: Reason::Conflict,
        message: format!("there is no free {what} left; name one in the manifest, or free some"),
    }
}

#[cfg(test)]
#[path = "allocation_tests.rs"]
mod tests;
