//! The names of a cluster, as clients see them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ask;
mod cluster;
mod forwarding;
mod incremental;
mod life;
mod malformed;
mod reports;
mod schema;
mod served;
mod sizes;
mod tools;
mod upstream;
