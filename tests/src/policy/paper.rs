//! The rules that a plan becomes, walked on paper.

use std::collections::BTreeSet;
use std::net::IpAddr;

use explain::nftables::trace_policy;
use explain::policy::PolicyPacket;
use explain::trace_iptables_policy;
use model::{Host, HostAddress};
use plan::policy::PolicyIntent;
use render::{iptables, nftables};

use crate::of_policies;

/// What one node plans, and its rules.
pub(super) struct Paper {
    /// The plan.
    pub(super) intent: PolicyIntent,
    iptables: iptables::Ruleset,
    nftables: nftables::Ruleset,
    host: Host,
}

impl Paper {
    /// The rules of a plan, on a node with an address.
    pub(super) fn of(intent: PolicyIntent, own: IpAddr) -> Self {
        let options = nftables::Options::default();
        let nftables = of_policies(nftables::policy::part(&intent, &options), options);
        let policy = iptables::policy::policy(&intent, &iptables::Options::default());
        let iptables = iptables::Ruleset { policy, ..iptables::Ruleset::default() };
        let own = HostAddress { address: own, interface: "eth0".into() };
        let host = Host { addresses: BTreeSet::from([own]), conntrack_be_liberal: false };
        Self { intent, iptables, nftables, host }
    }

    /// Holds the rules to what must become of a packet.
    pub(super) fn hold(&self, packet: &PolicyPacket, passes: bool) {
        let walked = trace_policy(&self.nftables, &self.host, packet).unwrap();
        let steps: Vec<&String> = walked.steps.iter().map(|step| &step.rule).collect();
        assert_eq!(walked.passes, passes, "nftables: {packet:?}: {steps:#?}");
        let walked = trace_iptables_policy(&self.iptables, packet).unwrap();
        assert_eq!(walked.passes, passes, "iptables: {packet:?}: {:#?}", walked.steps);
    }
}
