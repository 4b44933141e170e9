//! Cluster IPs and node ports.
//!
//! What is chosen follows from the Service's name: the same manifests get the same addresses in
//! every lab. As on a real server (KEP-3070, KEP-3668), the lower end of each range is left to
//! those who name their address or port, and used by others only when the rest is full.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{needs_address, needs_node_ports};
use crate::ApiError;
use crate::object::{has, items, items_mut, name, namespace, number, set, text, texts};
use crate::resource::SERVICES;
use crate::validate::{Faults, family_of, is_headless, needs_health_check, refuse};

/// How many Services have each cluster IP and each port of the nodes. Kept up with the objects, so
/// that giving an address away costs the same in a large cluster as in a small one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    addresses: BTreeMap<IpAddr, u32>,
    ports: BTreeMap<i64, u32>,
}

impl Taken {
    /// A Service is there.
    pub(crate) fn add(&mut self, service: &Value) {
        for address in addresses_of(service) {
            *self.addresses.entry(address).or_default() += 1;
        }
        for port in ports_of(service) {
            *self.ports.entry(port).or_default() += 1;
        }
    }

    /// A Service that was there is gone.
    pub(crate) fn remove(&mut self, service: &Value) {
        addresses_of(service).for_each(|address| release(&mut self.addresses, &address));
        ports_of(service).for_each(|port| release(&mut self.ports, &port));
    }
}

fn release<K: Ord>(taken: &mut BTreeMap<K, u32>, key: &K) {
    if let Some(count) = taken.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            taken.remove(key);
        }
    }
}

/// What can be given, and what other Services have.
#[derive(Clone, Debug)]
pub(crate) struct Pools {
    pub(crate) cidrs: Vec<IpNet>,
    pub(crate) node_ports: RangeInclusive<u16>,
    taken: Arc<Taken>,
    /// What of it the Service in question has itself.
    own: Taken,
}

impl Pools {
    /// `taken` is what all Services have, `this` the one in question, if it is among them.
    pub(crate) fn new(
        cidrs: Vec<IpNet>,
        node_ports: RangeInclusive<u16>,
        taken: Arc<Taken>,
        this: Option<&Value>,
    ) -> Self {
        let mut own = Taken::default();
        this.into_iter().for_each(|this| own.add(this));
        Self { cidrs, node_ports, taken, own }
    }

    fn has_address(&self, address: &IpAddr) -> bool {
        self.taken.addresses.get(address) > self.own.addresses.get(address)
    }

    fn has_port(&self, port: i64) -> bool {
        self.taken.ports.get(&port) > self.own.ports.get(&port)
    }

    /// The families of the cluster, the primary one first.
    pub(super) fn families(&self) -> &'static [&'static str] {
        let of = |v4: bool| self.cidrs.iter().position(|cidr| cidr.addr().is_ipv4() == v4);
        match (of(true), of(false)) {
            (Some(four), Some(six)) if four < six => &["IPv4", "IPv6"],
            (Some(_), Some(_)) => &["IPv6", "IPv4"],
            (_, None) => &["IPv4"],
            (None, Some(_)) => &["IPv6"],
        }
    }
}

fn addresses_of(service: &Value) -> impl Iterator<Item = IpAddr> {
    items(service, "/spec/clusterIPs").iter().filter_map(|address| address.as_str()?.parse().ok())
}

fn ports_of(service: &Value) -> impl Iterator<Item = i64> {
    let ports = items(service, "/spec/ports").iter().map(|port| number(port, "/nodePort"));
    let health = number(service, "/spec/healthCheckNodePort");
    ports.chain([health]).filter(|port| *port != 0)
}

/// Gives a Service its cluster IPs.
pub(super) fn addresses(
    service: &mut Value,
    old: Option<&Value>,
    pools: &Pools,
) -> Result<(), ApiError> {
    if !needs_address(service) || is_headless(service) {
        return Ok(());
    }
    let before = old.map(|old| texts(old, "/spec/clusterIPs")).unwrap_or_default();
    let mut addresses = texts(service, "/spec/clusterIPs");
    // An address that is no address, or that replaces another, is for validation to refuse.
    let first_time = before.is_empty() || before == ["None"];
    for address in addresses.iter().filter(|address| !before.contains(address)) {
        if let (Ok(read), true) = (address.parse(), first_time) {
            ask_address(service, &addresses, read, pools)?;
        }
    }
    let families = texts(service, "/spec/ipFamilies");
    for family in families.iter().skip(addresses.len()) {
        let key = format!("{}/{}/{family}", namespace(service), name(service));
        let of_family = |cidr: &&IpNet| family_of(cidr.addr()) == family;
        let mut found = pools.cidrs.iter().filter(of_family);
        let found =
            found.find_map(|cidr| free_address(*cidr, &key, |address| pools.has_address(address)));
        let full =
            || ApiError::Internal("failed to allocate a serviceIP: range is full".to_owned());
        addresses.push(found.ok_or_else(full)?.to_string());
    }
    if let Some(first) = addresses.first().cloned() {
        set(service, &["spec", "clusterIP"], first);
        set(service, &["spec", "clusterIPs"], addresses);
    }
    Ok(())
}

fn ask_address(
    service: &Value,
    all: &[String],
    address: IpAddr,
    pools: &Pools,
) -> Result<(), ApiError> {
    let ranges: Vec<_> = pools.cidrs.iter().map(ToString::to_string).collect();
    let cause = if !pools.cidrs.iter().any(|cidr| holds(cidr, address)) {
        let ranges = ranges.join(",");
        format!("provided IP is not in the valid range. The range of valid IPs is {ranges}")
    } else if pools.has_address(&address) {
        "provided IP is already allocated".to_owned()
    } else {
        return Ok(());
    };
    let mut faults = Faults::default();
    let detail = format!("failed to allocate IP {address}: {cause}");
    faults.invalid("spec.clusterIPs", all.to_vec(), &detail);
    refuse(&SERVICES, name(service), faults.causes)
}

/// Whether an address can be a cluster IP of a block: the first one, and the last IPv4 one, cannot.
fn holds(cidr: &IpNet, address: IpAddr) -> bool {
    let last = matches!(cidr, IpNet::V4(cidr) if address == IpAddr::V4(cidr.broadcast()));
    cidr.contains(&address) && address != cidr.network() && !last
}

/// A free address of a block, starting from where a hash of the key points.
fn free_address(cidr: IpNet, key: &str, taken: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
    let bits = u32::from(cidr.max_prefix_len() - cidr.prefix_len());
    // A block of IPv6 has more addresses than anybody looks through.
    let size = 1_u64 << bits.min(32);
    let usable = size.saturating_sub(if cidr.addr().is_ipv4() { 2 } else { 1 });
    let reserved = static_band(usable, 16, 256);
    let at = |offset: u64| match cidr.network() {
        IpAddr::V4(base) => {
            IpAddr::V4(Ipv4Addr::from(u32::from(base).wrapping_add(offset as u32 + 1)))
        }
        IpAddr::V6(base) => {
            IpAddr::V6(Ipv6Addr::from(u128::from(base).wrapping_add(u128::from(offset) + 1)))
        }
    };
    free(usable, reserved, key, |offset| !taken(&at(offset))).map(at)
}

/// How much of a range is left to those who choose: a sixteenth or a thirty-second of it, between
/// 16 and `most`.
fn static_band(size: u64, divisor: u64, most: u64) -> u64 {
    if size < 16 { 0 } else { (size / divisor).clamp(16, most) }
}

/// The first free number of a range, from the hash of a key on, and the reserved ones at last.
fn free(size: u64, reserved: u64, key: &str, is_free: impl Fn(u64) -> bool) -> Option<u64> {
    let rest = size.checked_sub(reserved).filter(|rest| *rest > 0)?;
    let start = hash(key) % rest;
    let upper = (0..rest).map(|step| reserved + (start + step) % rest);
    upper.chain((0..reserved).rev()).find(|number| is_free(*number))
}

fn hash(key: &str) -> u64 {
    let digest = Sha256::digest(key.as_bytes());
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Gives a Service its node ports, and the port of its health check.
pub(super) fn node_ports(
    service: &mut Value,
    old: Option<&Value>,
    pools: &Pools,
) -> Result<(), ApiError> {
    let mine: BTreeSet<_> = old.into_iter().flat_map(ports_of).collect();
    ask_ports(service, &mine, pools)?;
    let mut given = mine;
    given.extend(ports_of(service));
    let (of_namespace, of_name) = (namespace(service).to_owned(), name(service).to_owned());
    let mut next = |what: &str| {
        let key = format!("{of_namespace}/{of_name}/{what}");
        let (first, last) =
            (u64::from(*pools.node_ports.start()), u64::from(*pools.node_ports.end()));
        let size = (last + 1).saturating_sub(first);
        let at = |offset: u64| i64::try_from(first + offset).unwrap_or(i64::MAX);
        let found = free(size, static_band(size, 32, 128), &key, |offset| {
            !given.contains(&at(offset)) && !pools.has_port(at(offset))
        });
        let full = || ApiError::Internal("failed to allocate a nodePort: range is full".to_owned());
        let port = found.map(at).ok_or_else(full)?;
        given.insert(port);
        Ok::<_, ApiError>(port)
    };
    if needs_node_ports(service) {
        // One number serves both protocols of a port, as on a real server.
        let mut before: Vec<(i64, String, i64)> = Vec::new();
        for port in items_mut(service, "/spec/ports") {
            let (number_of, protocol) = (number(port, "/port"), text(port, "/protocol").to_owned());
            if !has(port, "/nodePort") {
                let twin =
                    before.iter().find(|(port, of, _)| *port == number_of && *of != protocol);
                let node_port = match twin {
                    Some((_, _, node_port)) => *node_port,
                    None => next(&format!("{protocol}/{number_of}"))?,
                };
                set(port, &["nodePort"], node_port);
            }
            before.push((number_of, protocol, number(port, "/nodePort")));
        }
    }
    if needs_health_check(service) && !has(service, "/spec/healthCheckNodePort") {
        let port = next("health check")?;
        set(service, &["spec", "healthCheckNodePort"], port);
    }
    Ok(())
}

/// Refuses ports that a Service asks for and cannot have.
fn ask_ports(service: &Value, mine: &BTreeSet<i64>, pools: &Pools) -> Result<(), ApiError> {
    let mut asked = Vec::new();
    if needs_node_ports(service) {
        for (index, port) in items(service, "/spec/ports").iter().enumerate() {
            asked.push((format!("spec.ports[{index}].nodePort"), number(port, "/nodePort")));
        }
    }
    if needs_health_check(service) {
        let health = number(service, "/spec/healthCheckNodePort");
        asked.push(("spec.healthCheckNodePort".to_owned(), health));
    }
    let (first, last) = (pools.node_ports.start(), pools.node_ports.end());
    for (field, port) in asked {
        let inside = u16::try_from(port).is_ok_and(|port| pools.node_ports.contains(&port));
        let detail = if port == 0 || mine.contains(&port) {
            continue;
        } else if !inside {
            format!(
                "provided port is not in the valid range. The range of valid ports is {first}-{last}"
            )
        } else if pools.has_port(port) {
            "provided port is already allocated".to_owned()
        } else {
            continue;
        };
        let mut faults = Faults::default();
        faults.invalid(&field, port, &detail);
        refuse(&SERVICES, name(service), faults.causes)?;
    }
    Ok(())
}
