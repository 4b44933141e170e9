//! Which Services count, and in which families.

use std::collections::BTreeSet;
use std::net::IpAddr;

use model::{Family, Notice, ObjectRef, Reason, Service, ServiceType};

use crate::addresses;
use crate::intent::PerFamily;

/// The cluster IP by which a Service is routed in each family; `None` where the family has no part
/// in it.
///
/// Nothing is routed for a headless Service, for `ExternalName` (even with a cluster IP), nor for a
/// Service that the label `service.kubernetes.io/service-proxy-name` gives to another proxy,
/// whatever the label's value. A cluster IP that no Service may have (loopback, link-local,
/// multicast, unspecified) costs its family and is named.
pub(crate) fn cluster_ips(
    service: &Service,
    notices: &mut BTreeSet<Notice>,
) -> PerFamily<Option<IpAddr>> {
    let ignored = service.headless
        || service.service_type == ServiceType::ExternalName
        || service.proxy_name.is_some();
    PerFamily::of(|family| {
        let ip = if ignored { None } else { service.cluster_ip(family) }?;
        let Some(what) = addresses::forbidden(ip) else { return Some(ip) };
        notices.insert(Notice {
            object: ObjectRef::new("Service", &service.name),
            reason: Reason::ForbiddenAddress,
            message: format!(
                "spec.clusterIPs: {ip} is {what}, where a routable address is expected; the \
                 Service is not routed in {family}"
            ),
        });
        None
    })
}

/// Whether a Service is routed in any family.
pub(crate) fn is_routed(cluster_ips: &PerFamily<Option<IpAddr>>) -> bool {
    Family::ALL.into_iter().any(|family| cluster_ips[family].is_some())
}
