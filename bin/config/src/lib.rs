//! probing
mod document;
mod duration;
mod error;
pub mod v1alpha1;
pub use duration::*;
pub use error::*;
