//! What shows only beside the kernel's and the node's facts: kube-proxy's checks at a start.

use model::{Cidr, Family};
use plan::{DetectLocal, NodePortAddresses};

use crate::error::{Fault, Warning};
use crate::meant::{Meant, ProxyMode};

/// What is known of kernel and node when a proxy starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartupFacts<'f> {
    /// The family of the node's first address ([`crate::detect_node_ips`]).
    pub primary: Family,
    /// Whether the kernel routes the other family too.
    pub dual_stack: bool,
    /// The Node's `spec.podCIDRs`.
    pub pod_cidrs: &'f [Cidr],
}

/// What a start should say, and what should end it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartupCheck {
    /// It goes on.
    pub warnings: Vec<Warning>,
    /// It ends.
    pub faults: Vec<Fault>,
}

impl Meant {
    /// Checks the configuration against the families of this node.
    pub fn check_startup(&self, facts: &StartupFacts<'_>) -> StartupCheck {
        let mut check = StartupCheck::default();
        self.check_node_ports(facts, &mut check);
        let only_other = |blocks: &[Cidr]| {
            !blocks.is_empty() && blocks.iter().all(|cidr| Family::of_cidr(cidr) != facts.primary)
        };
        let stack = if facts.dual_stack { "dual-stack" } else { "single-stack" };
        let problem = |what: &str| {
            format!("{what} holds no {} block, but this {stack} node is {0}", facts.primary)
        };
        match &self.routing.detect_local {
            DetectLocal::ClusterCidr(blocks) if only_other(blocks) => {
                let (place, text) = ("clusterCIDR".to_owned(), problem("clusterCIDR"));
                if facts.dual_stack {
                    check.warnings.push(Warning { place, text });
                } else {
                    check.faults.push(Fault { place, problem: text });
                }
            }
            DetectLocal::NodeCidr if only_other(facts.pod_cidrs) => {
                let place = "detectLocalMode".to_owned();
                check.faults.push(Fault { place, problem: problem("spec.podCIDRs of the Node") });
            }
            _ => {}
        }
        for (place, address) in
            [("healthzBindAddress", self.healthz), ("metricsBindAddress", Some(self.metrics))]
        {
            let Some(address) = address else { continue };
            // A socket on [::] hears IPv4 too.
            let any = address.ip().is_unspecified();
            if Family::of(address.ip()) != facts.primary && !facts.dual_stack && !any {
                let text = format!("{address} is not of this node's family, {}", facts.primary);
                check.warnings.push(Warning { place: place.into(), text });
            }
        }
        check
    }

    fn check_node_ports(&self, facts: &StartupFacts<'_>, check: &mut StartupCheck) {
        let mut warn = |text: String| {
            check.warnings.push(Warning { place: "nodePortAddresses".into(), text });
        };
        match &self.routing.node_port_addresses {
            NodePortAddresses::All if self.mode == ProxyMode::Iptables => {
                warn("unset: NodePorts answer on every address; consider \"primary\"".into());
            }
            NodePortAddresses::Cidrs(blocks) => {
                for family in Family::ALL {
                    let concerns = facts.dual_stack || family == facts.primary;
                    if concerns && !blocks.iter().any(|cidr| Family::of_cidr(cidr) == family) {
                        warn(format!("no {family} block: {family} NodePorts answer everywhere"));
                    }
                }
            }
            NodePortAddresses::All | NodePortAddresses::Primary => {}
        }
    }
}
