//! What the kernel, and the real `iptables`, make of what we write. Each test makes its own network
//! namespace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod conntrack;
mod faults;
mod fixture;
mod flows;
mod host;
mod layout;
mod namespace;
mod nflog;
mod owners;
mod policy;
#[path = "../../../plan/src/tests/policy_world.rs"]
mod policy_world;
mod watch;
