//! The server, driven by the real kubectl, and compared with what kubectl got from a real server.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agent;
mod cluster;
mod http;
mod kubectl;
mod recordings;
mod transcript;
mod verbs;
mod wire;
