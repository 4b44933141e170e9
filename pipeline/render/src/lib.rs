//! Intent → Ruleset → Changes → text, for each dataplane.
//!
//! In: a [`plan::Intent`]. Out: rules as values, what differs between two sets of them, and their
//! text. Nothing here reads the cluster or touches the kernel; nothing here decides where a packet
//! goes, only how netfilter is told.

pub mod iptables;
pub mod nftables;
