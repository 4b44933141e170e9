//! What policies let through, by named cases: every row of the specification, and the scenarios of
//! the upstream suite. Each answer is asked twice, of the objects and of the plan.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster_policies;
mod rows;
mod scenarios;
