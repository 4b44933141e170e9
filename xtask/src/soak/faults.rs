//! What breaks.

use std::fmt;

use super::Mode;
use super::world::Dice;

/// One fault.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// `kill -9` for the agent, which is started again.
    Kill,
    /// The node gets or loses an address.
    Address,
    /// Somebody writes beside our rules.
    Stranger(&'static str),
    /// Somebody writes over them.
    Flush(&'static str),
}

const STRANGERS: [&str; 4] = [
    "iptables -I INPUT 1 -p tcp --dport 22 -j ACCEPT; iptables -D INPUT -p tcp --dport 22 -j ACCEPT",
    "iptables -t nat -N CNI; iptables -t nat -A PREROUTING -j CNI; \
     iptables -t nat -D PREROUTING -j CNI; iptables -t nat -X CNI",
    "nft add table inet other; nft add chain inet other c; nft delete table inet other",
    "ip6tables -A FORWARD -m comment --comment mine; ip6tables -D FORWARD -m comment --comment mine",
];

const FLUSHES: [&str; 7] = [
    "iptables -F",
    "iptables -t nat -F",
    "ip6tables -t nat -F",
    "iptables -t nat -F KUBE-SERVICES",
    "iptables -t nat -D PREROUTING -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES",
    // The agent may be quicker than the second command, which then finds chains in use.
    "iptables -t nat -F; iptables -t nat -X || true",
    "nft flush ruleset",
];

const TABLE_FLUSHES: [&str; 6] = [
    "nft flush ruleset",
    "nft delete table ip pointsman",
    "nft flush table ip pointsman",
    "nft flush table ip6 pointsman",
    "nft flush map ip pointsman service-ips",
    "nft flush chain ip pointsman services",
];

/// Chooses faults, and counts them.
pub(super) struct Faults {
    flushing: &'static [&'static str],
    dice: Dice,
    kills: u32,
    addresses: u32,
    strangers: u32,
    flushes: u32,
}

impl Faults {
    pub(super) fn new(mode: Mode, seed: u64) -> Self {
        let dice = Dice::new(seed ^ 0x0fa0_17f5);
        let flushing: &[&str] = match mode {
            Mode::Iptables => &FLUSHES,
            Mode::Nftables => &TABLE_FLUSHES,
        };
        Self { flushing, dice, kills: 0, addresses: 0, strangers: 0, flushes: 0 }
    }

    pub(super) fn choose(&mut self, kill: bool) -> Fault {
        let (count, fault) = match self.dice.below(6) {
            0 | 1 if kill => (&mut self.kills, Fault::Kill),
            0..=2 => (&mut self.addresses, Fault::Address),
            3 => (&mut self.strangers, Fault::Stranger(self.dice.one_of(&STRANGERS))),
            _ => (&mut self.flushes, Fault::Flush(self.dice.one_of(self.flushing))),
        };
        *count += 1;
        fault
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, addresses, strangers, flushes, .. } = self;
        write!(
            f,
            "{kills} kills, {addresses} address changes, {strangers} strangers, {flushes} flushes"
        )
    }
}
