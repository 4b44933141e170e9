//! Nodes and Pods made of network namespaces.
//!
//! In: a description of nodes, Pods and an outside host ([`Lab::star`], [`Lab::full`]). Out: a
//! network of that shape inside namespaces that belong to this process alone, servers and clients
//! with real sockets in it, and for every probe what the client learned ([`Outcome`]). Nothing is
//! ever written in the namespace that the process was started in, and everything disappears when
//! the values are dropped.
//!
//! Making namespaces needs CAP_SYS_ADMIN over the current user namespace: root has it, and
//! everybody has it inside [`sandbox::command`].

mod addresses;
mod builder;
mod error;
mod namespace;
mod network;
mod pods;
mod probe;
pub mod sandbox;
mod script;
mod server;
mod socket;
mod system;

pub use addresses::{
    OUTSIDE, OUTSIDE_V4, OUTSIDE_V6, node_address, outside_address, pod_address, pod_cidr,
};
pub use builder::LabBuilder;
pub use error::LabError;
pub use namespace::Namespace;
pub use network::Lab;
pub use probe::{Answer, Outcome, SILENCE, probe, probe_http};
pub use server::{Server, serve, serve_http, serve_tcp, serve_udp};
