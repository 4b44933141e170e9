//! What the kernel, and the real `nft`, make of our own tables. Each test makes its own network
//! namespace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod changes;
mod faults;
mod fixture;
mod namespace;
mod nft;
mod policy;
#[path = "../../../plan/src/tests/policy_world.rs"]
mod policy_world;
mod properties;
mod refusals;
mod sizes;
mod stream;
