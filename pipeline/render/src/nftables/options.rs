//! What the operator leaves to the rules.

/// Choices that change how rules are written, not where packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which bit of the connection's mark means "masquerade this", 0 to 31. It is set with the
    /// connection's first packet, before other bits of the mark are looked at, and alone.
    pub masquerade_bit: u8,
    /// The lowest and the highest source port that masquerading takes. The range keeps off
    /// 30000–32767, for a masqueraded connection that takes a live NodePort as its source port
    /// hides that NodePort from its peer (kubernetes#139276).
    pub masquerade_ports: (u16, u16),
    /// How many pairs of client and frontend session affinity remembers; further clients are
    /// balanced without being remembered. The kernel allocates as they come.
    pub affinity_size: u32,
    /// The NFLOG group that hears of packets which policies drop, at most ten a second for each
    /// place that drops; `None` hands out nothing.
    pub policy_log: Option<u16>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            masquerade_bit: 14,
            masquerade_ports: (32_768, 65_535),
            affinity_size: 1_000_000,
            policy_log: None,
        }
    }
}

impl Options {
    /// The bits of the connection's mark that mean "masquerade this".
    #[must_use]
    pub fn mark(&self) -> u32 {
        1 << (self.masquerade_bit & 31)
    }
}
