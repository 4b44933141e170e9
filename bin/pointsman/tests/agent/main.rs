//! The program as its user runs it, in network namespaces of its own.

#![allow(clippy::unwrap_used, clippy::panic)] // tests: helpers beside the test functions

mod api;
mod bad_input;
mod events;
mod faults;
#[path = "../folder/mod.rs"]
mod folder;
mod lesson;
mod meters;
mod names;
mod nftables;
mod operation;
mod policy;
mod reload;
mod restart;
mod stage;
mod start;
mod takeover;
mod top;
