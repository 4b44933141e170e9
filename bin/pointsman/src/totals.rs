//! How much the kernel routes, kept up with each write: to count it anew would cost every change the
//! more, the larger the cluster is.

use std::collections::BTreeMap;

use model::Owner;
use plan::policy::PolicyIntent;
use plan::{Intent, VirtualServer};

/// How much an Intent has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Ports of Services, in each family.
    pub(crate) virtual_servers: usize,
    /// Endpoints that take connections, of each of them.
    pub(crate) backends: usize,
}

impl Totals {
    /// The kernel said yes to one owner's part: it passes from the next Intent into the accepted one,
    /// whose totals these are.
    pub(crate) fn accept(&mut self, accepted: &mut Intent, next: &Intent, owner: &Owner) {
        let Owner::Service(name) = owner else {
            accepted.node = next.node.clone();
            return;
        };
        let (before, now) = match next.servers.get(name) {
            Some(now) => (accepted.servers.insert(name.clone(), now.clone()), Some(now)),
            None => (accepted.servers.remove(name), None),
        };
        if let Some(before) = before {
            self.virtual_servers -= before.len();
            self.backends -= backends(&before);
        }
        if let Some(now) = now {
            self.virtual_servers += now.len();
            self.backends += backends(now);
        }
    }
}

/// What is accepted on the way to an Intent before any owner is.
pub(crate) fn nothing(next: &Intent) -> Intent {
    Intent { node: next.node.clone(), servers: BTreeMap::new(), policy: PolicyIntent::default() }
}

fn backends(servers: &[VirtualServer]) -> usize {
    servers.iter().map(|server| server.cluster.len().max(server.local.len())).sum()
}
