//! Addresses of this node that nobody is known to have yet.

use model::{Cluster, Direction, Family};

use super::intent::{Held, PolicyIntent};
use super::planner::PolicyPlanner;

impl PolicyPlanner {
    /// Which addresses are held back.
    pub(super) fn hold(&mut self, intent: &mut PolicyIntent, cluster: &Cluster) {
        let new = self.held(cluster);
        if intent.held != new {
            intent.held = new;
            self.changes.held = true;
        }
    }

    fn held(&self, cluster: &Cluster) -> Option<Held> {
        let seconds = self.options.hold_unknown_seconds?;
        let mut blocks = cluster.node(&self.node)?.pod_cidrs.clone();
        blocks.sort_unstable_by_key(|block| (Family::of_cidr(block), *block));
        blocks.dedup();
        let denies = |direction| self.policies.values().any(|policy| policy.may_deny(direction));
        let (ingress, egress) = (denies(Direction::Ingress), denies(Direction::Egress));
        if blocks.is_empty() || !(ingress || egress) {
            return None;
        }
        let of_pods = self.local.iter().filter_map(|name| self.pods.get(name));
        let of_pods = of_pods.flat_map(|known| known.addresses.iter().copied());
        let of_host = cluster.host().addresses.iter().map(|own| own.address);
        let known = of_pods
            .chain(of_host)
            .filter(|address| blocks.iter().any(|block| block.contains(address)))
            .collect();
        Some(Held { blocks, known, ingress, egress, seconds })
    }
}
