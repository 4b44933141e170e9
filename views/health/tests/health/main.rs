//! What is answered, and where: as functions of the status, and on real sockets in namespaces.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answers;
mod documented;
mod exposition;
mod metrics;
mod node_ports;
mod objects;
mod servers;
