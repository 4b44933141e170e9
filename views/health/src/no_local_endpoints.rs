//! How many Service ports have endpoints, none of them where a `Local` policy allows.

use std::collections::{BTreeMap, BTreeSet};

use model::{Family, NamespacedName, Owner};
use plan::{FrontendKind, Intent, PerFamily, Refusal, Route, VirtualServer};

/// The number of Service ports in one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// By `internalTrafficPolicy`.
    pub internal: u64,
    /// By `externalTrafficPolicy`.
    pub external: u64,
}

/// The numbers for all Services, kept up to date owner by owner.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NoLocalEndpoints {
    /// Services that count at all.
    services: BTreeMap<NamespacedName, PerFamily<Ports>>,
    total: PerFamily<Ports>,
}

impl NoLocalEndpoints {
    /// Takes in what the kernel now holds for some owners.
    pub fn update(&mut self, intent: &Intent, owners: &BTreeSet<Owner>) {
        for owner in owners {
            let Owner::Service(name) = owner else { continue };
            let servers = intent.servers.get(name).map_or(&[][..], |servers| servers);
            let ports = PerFamily::of(|family| count(servers, family));
            let before = if ports == PerFamily::default() {
                self.services.remove(name)
            } else {
                self.services.insert(name.clone(), ports.clone())
            };
            let (total, before) = (&self.total, before.unwrap_or_default());
            self.total = PerFamily::of(|family| {
                let (total, before, now) = (total[family], before[family], ports[family]);
                Ports {
                    internal: total.internal - before.internal + now.internal,
                    external: total.external - before.external + now.external,
                }
            });
        }
    }

    /// The sum over all Services.
    #[must_use]
    pub fn total(&self, family: Family) -> Ports {
        self.total[family]
    }
}

/// A port counts once, by however many addresses it is reached. What Pods and the node may reach
/// by an external address is another matter: the policy binds those from outside.
fn count(servers: &[VirtualServer], family: Family) -> Ports {
    let servers = servers.iter().filter(|server| server.family == family);
    servers.fold(Ports::default(), |mut ports, server| {
        let lacking = |of_kind: fn(FrontendKind) -> bool| {
            let frontends = server.frontends.iter().filter(|frontend| of_kind(frontend.kind));
            frontends
                .map(|frontend| frontend.routes.outside)
                .any(|route| matches!(route, Route::Refuse { why: Refusal::NoLocalEndpoints, .. }))
        };
        ports.internal += u64::from(lacking(|kind| kind == FrontendKind::ClusterIP));
        ports.external += u64::from(lacking(|kind| kind != FrontendKind::ClusterIP));
        ports
    })
}
