//! Cluster + which node am I → Intent: every decision about where a packet goes, as pure functions.
//!
//! In: a [`model::Cluster`] and a [`Config`]. Out: an [`Intent`]. Nothing here knows of chains,
//! sets, tables or any other netfilter thing: both dataplanes are rendered from the same Intent, and
//! `explain` answers from it.

mod addresses;
mod categorize;
mod config;
mod conflicts;
mod draft;
mod endpoints;
mod flows;
mod frontends;
mod intent;
mod local_ready;
mod node;
mod planner;
pub mod policy;
mod routes;
mod services;
mod standing;
#[cfg(test)]
mod tests;

pub use config::{Config, DetectLocal, NodePortAddresses, OnNoLocalEndpoints, PolicyOptions};
pub use conflicts::claimants;
pub use flows::Flows;
pub use intent::{
    Backend, Frontend, FrontendKind, Intent, LocalTraffic, NodeIntent, NodePortAccept, PerFamily,
    Pool, PoolName, Refusal, Refuse, Route, Routes, SourceClass, VirtualServer,
};
pub use local_ready::local_ready_endpoints;
pub use planner::{Planner, owners, plan};
pub use standing::{EndpointStanding, HintsUse, Standing, Standings, standings};
