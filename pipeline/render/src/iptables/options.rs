//! What the operator and the kernel leave to the rules.

/// Choices that change how rules are written, not where packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which bit of the packet mark means "masquerade this", 0 to 31 (`iptables.masqueradeBit`).
    pub masquerade_bit: u8,
    /// Whether masquerading chooses source ports fully at random, so that concurrent connections
    /// do not race for one port.
    pub random_fully: bool,
    /// Whether the kernel's nfacct counters `ct_state_invalid_dropped_pkts` and
    /// `localhost_nps_accepted_pkts` exist; rules that name a missing one are refused by the
    /// kernel.
    pub nfacct: bool,
    /// The netlink group that is told of packets that policies forbid, some of each rule in a
    /// second (`NFLOG`).
    pub policy_log: Option<u16>,
}

impl Default for Options {
    /// kube-proxy's defaults, without counters; nobody is told of packets.
    fn default() -> Self {
        Self { masquerade_bit: 14, random_fully: true, nfacct: false, policy_log: None }
    }
}

impl Options {
    /// The mark that means "masquerade this".
    #[must_use]
    pub fn mark(&self) -> u32 {
        1 << (self.masquerade_bit & 31)
    }
}
