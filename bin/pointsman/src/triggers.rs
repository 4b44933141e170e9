//! When the changes of endpoints began that wait for the kernel: network programming latency (SIG
//! Scalability) is measured from there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use model::{AddressType, Change, Cluster, EndpointSlice, Family, NamespacedName};

/// What a change says of a Service's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trigger {
    service: NamespacedName,
    /// Which family's rules follow it, and when it began. `None` where a slice is gone: the date
    /// that it has is that of its last change and says nothing of its end, so that nothing is
    /// measured of the Service, as in kube-proxy.
    began: Option<(Family, SystemTime)>,
}

/// The dated changes of endpoints or ports in what is about to be applied. A slice of which only
/// something else has changed still has the date of an earlier change.
pub(crate) fn triggers(cluster: &Cluster, change: &Change) -> Vec<Trigger> {
    match change {
        Change::Slice(slice) => trigger(cluster, slice).into_iter().collect(),
        Change::Slices(list) => list.iter().filter_map(|slice| trigger(cluster, slice)).collect(),
        Change::SliceGone(name) => {
            let service = cluster.slice(name).and_then(|slice| slice.service.clone());
            service.map(|service| Trigger { service, began: None }).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn trigger(cluster: &Cluster, slice: &EndpointSlice) -> Option<Trigger> {
    let AddressType::Ip(family) = slice.address_type else { return None };
    let known = cluster.slice(&slice.name);
    if known.is_some_and(|known| known.endpoints == slice.endpoints && known.ports == slice.ports) {
        return None;
    }
    let since = Duration::from_millis(u64::try_from(slice.last_change_trigger?).ok()?);
    let began = SystemTime::UNIX_EPOCH.checked_add(since)?;
    Some(Trigger { service: slice.service.clone()?, began: Some((family, began)) })
}

/// What the kernel does not hold yet.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    began: BTreeMap<NamespacedName, Vec<(Family, SystemTime)>>,
}

impl Waiting {
    pub(crate) fn add(&mut self, trigger: Trigger) {
        match trigger.began {
            Some(began) => self.began.entry(trigger.service).or_default().push(began),
            None => drop(self.began.remove(&trigger.service)),
        }
    }

    /// Takes out what the kernel holds now: everything but what it would not take.
    pub(crate) fn written(
        &mut self,
        refused: &BTreeSet<&NamespacedName>,
    ) -> Vec<(Family, SystemTime)> {
        let all = std::mem::take(&mut self.began);
        let (still, written): (BTreeMap<_, _>, BTreeMap<_, _>) =
            all.into_iter().partition(|(service, _)| refused.contains(service));
        self.began = still;
        written.into_values().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(name: &str, ready: bool, trigger: Option<i64>) -> EndpointSlice {
        EndpointSlice {
            name: NamespacedName::new("shop", name),
            service: Some(NamespacedName::new("shop", "web")),
            version: 1,
            last_change_trigger: trigger,
            address_type: AddressType::Ip(Family::V4),
            ports: Vec::new(),
            endpoints: vec![model::Endpoint {
                ready,
                serving: ready,
                ..model::Endpoint::new([10, 77, 1, 4].into())
            }],
        }
    }

    fn at(millis: u64) -> (Family, SystemTime) {
        (Family::V4, SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
    }

    /// Applies changes and says what would be measured once they are written.
    fn measured(changes: Vec<Change>) -> Vec<(Family, SystemTime)> {
        let (mut cluster, mut waiting) = (Cluster::default(), Waiting::default());
        for change in changes {
            triggers(&cluster, &change).into_iter().for_each(|trigger| waiting.add(trigger));
            cluster.apply(change);
        }
        waiting.written(&BTreeSet::new())
    }

    #[test]
    fn every_dated_change_of_endpoints_counts() {
        let changes = vec![
            Change::Slice(slice("web-a", true, Some(1_000))),
            Change::Slice(slice("web-a", false, Some(2_500))),
            // The same endpoints: whatever else has changed has no date.
            Change::Slice(EndpointSlice { version: 3, ..slice("web-a", false, Some(2_500)) }),
            Change::Slice(slice("web-a", true, None)),
            Change::Slices(vec![slice("web-a", true, Some(9)), slice("web-b", true, Some(3_000))]),
        ];
        assert_eq!(measured(changes), [at(1_000), at(2_500), at(3_000)]);
    }

    #[test]
    fn a_slice_that_is_gone_takes_its_services_dates_with_it() {
        let gone = || Change::SliceGone(NamespacedName::new("shop", "web-a"));
        let changes = vec![Change::Slice(slice("web-a", true, Some(1_000))), gone()];
        assert_eq!(measured(changes), []);
        assert_eq!(measured(vec![gone()]), []);
    }

    #[test]
    fn what_the_kernel_refused_waits() {
        let mut waiting = Waiting::default();
        let change = Change::Slice(slice("web-a", true, Some(1_000)));
        triggers(&Cluster::default(), &change).into_iter().for_each(|one| waiting.add(one));
        let web = NamespacedName::new("shop", "web");
        assert_eq!(waiting.written(&[&web].into()), []);
        assert_eq!(waiting.written(&BTreeSet::new()), [at(1_000)]);
        assert_eq!(waiting.written(&BTreeSet::new()), []);
    }
}
