//! A small Kubernetes API server.

mod error;
mod object;
pub mod resource;
mod schema;
mod selector;

pub use error::{ApiError, Cause};
pub use resource::Resource;
pub use selector::{Selector, label_selector_matches};
