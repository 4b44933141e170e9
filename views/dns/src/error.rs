//! What can go wrong, and what to do next.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;

/// An error of this crate.
#[derive(Debug, Error)]
pub enum DnsError {
    /// The cluster domain is no domain name.
    #[error(
        "cluster domain {domain:?} is no domain name ({reason}): give the kubelet's clusterDomain, \
         such as cluster.local"
    )]
    Domain {
        /// What was given.
        domain: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A time to live outside the range of 0 to 3600 seconds.
    #[error("time to live {0} is too long: give 0 to 3600 seconds")]
    TimeToLive(u32),
    /// An address that cannot be listened on.
    #[error(
        "cannot listen for DNS on {address} ({protocol}): {source}; the address must be on an \
         interface of this node, its port 53 free, and CAP_NET_BIND_SERVICE held"
    )]
    Bind {
        /// The address and port.
        address: SocketAddr,
        /// `UDP` or `TCP`.
        protocol: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A listener ended before it was told to.
    #[error("a DNS listener ended: bind and serve again")]
    Stopped,
    /// Forwarding without anybody to forward to.
    #[error(
        "no upstream name server: list one as `nameserver ADDRESS` in the resolver configuration, \
         other than the addresses that are served here"
    )]
    NoUpstream,
}
