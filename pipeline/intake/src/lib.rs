//! The Kubernetes API, or a folder of manifests, as a stream of changes of a
//! [`Cluster`](model::Cluster).
//!
//! In: what others wrote. Out: [`Delivery`]s of values that were read and checked. What cannot be
//! used is left out and named in a [`Notice`]; everything else goes on.

pub mod api;
pub mod convert;
pub mod endpoint_controller;
mod error;
pub mod folder;
pub mod host;
mod stable_hash;
pub mod wire;

pub use error::Error;

use model::{Change, Notice};

/// What a source hands on. Until [`complete`](Delivery::complete) was true once, nothing may be
/// written to the kernel: what is not listed yet would be taken for gone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivery {
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// What was left out of the objects in `changes`: it replaces whatever was said of each of
    /// them before.
    pub notices: Vec<Notice>,
    /// Whether the first list of every kind has been delivered, by this or an earlier delivery.
    pub complete: bool,
}
