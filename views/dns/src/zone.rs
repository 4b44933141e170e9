//! The cluster's names, kept in step with the snapshot.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::Name;
use model::{Cluster, NamespacedName, Owner, PolicyFact};

use crate::error::DnsError;
use crate::service::ServiceRecords;
use crate::shards::Shards;

/// Whether `a-b-c-d.NAMESPACE.pod.DOMAIN` resolves to `a.b.c.d`. The schema dropped these records in
/// 1.1; clusters set up by kubeadm still have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodRecords {
    /// No name below `pod` has an address.
    Disabled,
    /// Every address in the name of an existing namespace resolves, whether a Pod has it or not
    /// (CoreDNS calls this `pods insecure`).
    Insecure,
}

/// What a [`Zone`] does not learn from the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneConfig {
    pub(crate) domain: Name,
    pub(crate) ttl: u32,
    pub(crate) name_servers: Vec<IpAddr>,
    pub(crate) pod_records: PodRecords,
}

impl ZoneConfig {
    /// A cluster domain with a time to live of 5 seconds, Pod records as kubeadm has them, and no
    /// address for `ns.dns.DOMAIN`.
    ///
    /// # Errors
    /// [`DnsError::Domain`] if it is no domain name or leaves no room for a Service's name.
    pub fn new(domain: &str) -> Result<Self, DnsError> {
        let bad = |reason: String| DnsError::Domain { domain: domain.into(), reason };
        let mut name = Name::from_ascii(domain).map_err(|error| bad(error.to_string()))?;
        name.set_fqdn(true);
        if name.is_root() {
            return Err(bad("it is empty".into()));
        }
        // The longest Service name is two labels of 63 below `svc`.
        if name.len() > 255 - 132 {
            return Err(bad("it leaves no room for the names of Services".into()));
        }
        let domain = name.to_lowercase();
        let (name_servers, pod_records) = (Vec::new(), PodRecords::Insecure);
        Ok(Self { domain, ttl: 5, name_servers, pod_records })
    }

    /// Sets how long clients may keep an answer, positive or negative, in seconds.
    ///
    /// # Errors
    /// [`DnsError::TimeToLive`] above 3600.
    pub fn ttl(mut self, seconds: u32) -> Result<Self, DnsError> {
        if seconds > 3600 {
            return Err(DnsError::TimeToLive(seconds));
        }
        self.ttl = seconds;
        Ok(self)
    }

    /// Sets the addresses of `ns.dns.DOMAIN`: those that this server is reached at.
    #[must_use]
    pub fn name_servers(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let distinct: BTreeSet<_> = addresses.into_iter().collect();
        self.name_servers = distinct.into_iter().collect();
        self
    }

    /// Sets whether Pods' addresses have names.
    #[must_use]
    pub fn pod_records(mut self, records: PodRecords) -> Self {
        self.pod_records = records;
        self
    }
}

/// Where an address points back to. The order is the order of preference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pointer {
    /// A Service's cluster IP.
    ClusterIp(NamespacedName),
    /// A ready endpoint with a `hostname`.
    Hostname(NamespacedName, Arc<str>),
    /// A ready endpoint of a headless Service, by the name that its address makes.
    Dashed(NamespacedName, Arc<str>),
}

/// All names of the cluster domain and all addresses that point back to them.
///
/// A copy is cheap and shares what does not change afterwards: readers keep theirs while a new one
/// is made.
#[derive(Clone, Debug)]
pub struct Zone {
    pub(crate) config: Arc<ZoneConfig>,
    /// Whether the lists were complete; before that an absent name may be there.
    pub(crate) synced: bool,
    /// Counts the updates, for the SOA record.
    pub(crate) serial: u32,
    /// By `name.namespace`.
    services: Shards<Arc<str>, Arc<ServiceRecords>>,
    /// How many Services each namespace has, and one more if the Namespace itself is known.
    namespaces: Shards<Arc<str>, u32>,
    /// The Namespaces that are known by themselves, where they are watched.
    known: Shards<Arc<str>, ()>,
    reverse: Shards<IpAddr, Arc<BTreeSet<Pointer>>>,
}

/// Two zones are equal if they answer alike, however many updates led there.
impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config
            && self.synced == other.synced
            && self.services == other.services
            && self.namespaces == other.namespaces
            && self.known == other.known
            && self.reverse == other.reverse
    }
}

impl Zone {
    /// A zone before the first snapshot: it answers SERVFAIL, because NXDOMAIN would be remembered
    /// by clients for a name that may well exist.
    #[must_use]
    pub fn unsynced(config: ZoneConfig) -> Self {
        Self {
            config: Arc::new(config),
            synced: false,
            serial: 0,
            services: Shards::new(),
            namespaces: Shards::new(),
            known: Shards::new(),
            reverse: Shards::new(),
        }
    }

    /// The zone of a snapshot whose lists are complete.
    #[must_use]
    pub fn new(config: ZoneConfig, cluster: &Cluster) -> Self {
        let mut zone = Self::unsynced(config);
        zone.update(cluster, &BTreeSet::new());
        zone
    }

    /// Brings the named owners up to date with a snapshot whose lists are complete; the first time
    /// it takes in the whole of it. Costs as much as the owners have endpoints, however many other
    /// Services there are.
    pub fn update(&mut self, cluster: &Cluster, owners: &BTreeSet<Owner>) {
        if self.synced {
            for owner in owners {
                match owner {
                    Owner::Service(name) => self.replace(name, self.records_of(cluster, name)),
                    Owner::Policy(PolicyFact::Namespace(name)) => {
                        self.know(name, cluster.namespaces().contains_key(name));
                    }
                    Owner::Node | Owner::Policy(_) => {}
                }
            }
        } else {
            for name in cluster.services().keys() {
                self.replace(name, self.records_of(cluster, name));
            }
            for name in cluster.namespaces().keys() {
                self.know(name, true);
            }
            self.synced = true;
        }
        self.serial = self.serial.wrapping_add(1);
    }

    /// The cluster domain.
    #[must_use]
    pub fn domain(&self) -> &Name {
        &self.config.domain
    }

    /// Whether the zone has taken in a snapshot.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    pub(crate) fn service(&self, namespace: &str, name: &str) -> Option<&ServiceRecords> {
        self.services.get(key(namespace, name).as_str()).map(|records| &**records)
    }

    /// Whether a namespace is known to exist: by itself, or because some Service is in it.
    pub(crate) fn has_namespace(&self, namespace: &str) -> bool {
        self.namespaces.get(namespace).is_some()
    }

    /// The preferred names of an address: a cluster IP's Service, else the endpoints with a
    /// `hostname`, else the endpoints of headless Services.
    pub(crate) fn pointers(&self, address: IpAddr) -> Option<impl Iterator<Item = &Pointer>> {
        let all = self.reverse.get(&address)?;
        let best = std::mem::discriminant(all.first()?);
        // Two Services can claim one cluster IP; only the first is the address's name.
        let most = if matches!(all.first()?, Pointer::ClusterIp(_)) { 1 } else { usize::MAX };
        Some(all.iter().filter(move |&one| std::mem::discriminant(one) == best).take(most))
    }

    fn records_of(&self, cluster: &Cluster, name: &NamespacedName) -> Option<Arc<ServiceRecords>> {
        let service = cluster.service(name)?;
        let slices = cluster.slices(name).map(|slice| &**slice);
        ServiceRecords::new(service, slices, &self.config.domain).map(Arc::new)
    }

    fn replace(&mut self, name: &NamespacedName, new: Option<Arc<ServiceRecords>>) {
        let key = key(&name.namespace, &name.name);
        let old = self.services.get(key.as_str()).cloned();
        if old == new {
            return;
        }
        self.point(old.as_deref(), new.as_deref());
        match (&old, &new) {
            (None, Some(_)) => self.count_namespace(&name.namespace, 1),
            (Some(_), None) => self.count_namespace(&name.namespace, -1),
            _ => {}
        }
        match new {
            Some(records) => self.services.insert(key.into(), records),
            None => self.services.remove(key.as_str()),
        }
    }

    /// Learns that a Namespace is there, or is not.
    fn know(&mut self, name: &Arc<str>, there: bool) {
        match (self.known.get(&**name).is_some(), there) {
            (false, true) => {
                self.known.insert(name.clone(), ());
                self.count_namespace(name, 1);
            }
            (true, false) => {
                self.known.remove(&**name);
                self.count_namespace(name, -1);
            }
            _ => {}
        }
    }

    fn count_namespace(&mut self, namespace: &Arc<str>, step: i32) {
        let count = self.namespaces.get(namespace).copied().unwrap_or(0);
        match count.saturating_add_signed(step) {
            0 => self.namespaces.remove(namespace),
            count => self.namespaces.insert(namespace.clone(), count),
        }
    }

    /// Takes back the pointers that only the old records have, and adds those that only the new
    /// ones have: untouched addresses stay shared with earlier copies.
    fn point(&mut self, old: Option<&ServiceRecords>, new: Option<&ServiceRecords>) {
        let pointers = |records: Option<&ServiceRecords>| {
            records.map(ServiceRecords::pointers).unwrap_or_default()
        };
        let (old, new) = (pointers(old), pointers(new));
        for (address, pointer) in old.difference(&new) {
            let Some(known) = self.reverse.get(address) else { continue };
            let left: BTreeSet<_> = known.iter().filter(|one| *one != pointer).cloned().collect();
            if left.is_empty() {
                self.reverse.remove(address);
            } else {
                self.reverse.insert(*address, Arc::new(left));
            }
        }
        for (address, pointer) in new.difference(&old) {
            let mut more = self.reverse.get(address).map(|set| (**set).clone()).unwrap_or_default();
            more.insert(pointer.clone());
            self.reverse.insert(*address, Arc::new(more));
        }
    }
}

/// Names of Services and namespaces are labels without a dot, so the two parts stay apart.
fn key(namespace: &str, name: &str) -> String {
    let mut key = String::with_capacity(namespace.len() + name.len() + 1);
    key.push_str(name);
    key.push('.');
    key.push_str(namespace);
    key
}
