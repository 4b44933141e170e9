//! The cluster's names, answered from the same snapshot as the rules.
//!
//! In: a [`model::Cluster`] and the owners that changed ([`Zone`]), questions from Pods
//! ([`DnsServer`]). Out: answers by the Kubernetes DNS schema 1.1.0, with the negative behaviour that
//! clients know from CoreDNS; whatever lies outside the cluster domain is asked upstream and
//! remembered. [`Zone`] and [`answer`] are pure; sockets and time are in the server and forwarder.
//!
//! Nothing here writes to the snapshot, to an interface or to a rule: the addresses to listen on
//! must be there before [`DnsServer::bind`].

mod answer;
mod arpa;
mod cache;
mod counters;
mod datagram;
mod error;
mod forward;
mod place;
mod resolv_conf;
mod respond;
mod server;
mod service;
mod shards;
mod shared;
mod stream;
mod upstream;
mod wire;
mod zone;

pub use answer::{Answer, Reply, answer};
pub use cache::CacheLimits;
pub use counters::{Counters, Counts};
pub use error::DnsError;
pub use forward::ForwardConfig;
pub use resolv_conf::ResolvConf;
pub use server::{DnsServer, ServerConfig};
pub use shared::SharedZone;
pub use zone::{PodRecords, Zone, ZoneConfig};
