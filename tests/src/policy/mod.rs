//! Small clusters with policies, and what must pass in them: on paper ([`World::passes`]), and, as
//! [`State`]s with their [`Check`]s, with real packets.
#![allow(missing_docs)]

mod cluster_policies;
mod families;
mod objects;
mod paper;
mod scenarios;
mod world;

pub use cluster_policies::CLUSTER_SCENARIOS;
pub use families::{Case, FAMILY_PODS, families, family_seats};
pub use objects::{egress, ingress, namespaces, only_in, pods, pods_in};
pub use scenarios::SCENARIOS;
pub use world::*;
