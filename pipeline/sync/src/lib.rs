//! Changes → kernel, whole or not at all.
//!
//! In: rules and what differs between two sets of them ([`render`]). Out: netlink batches, and what
//! the kernel holds. No tool is executed. Everything happens in the network namespace of the
//! calling thread. Nothing here decides what a rule says.

pub mod address;
pub mod conntrack;
mod error;
pub mod foreign;
pub mod ipset;
pub mod iptables;
pub mod kube_proxy;
pub mod legacy;
pub mod netlink;
pub mod nfacct;
pub mod nflog;
pub mod nftables;
pub mod route;
pub mod sysctl;
pub mod table;
pub mod watch;
pub mod xt;

pub use error::Error;
