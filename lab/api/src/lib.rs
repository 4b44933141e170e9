//! A small Kubernetes API server.

mod defaults;
mod error;
mod go_text;
mod object;
mod patch;
mod protobuf;
mod random;
pub mod resource;
mod schema;
mod selector;
mod service;
mod store;
mod strategy;
mod validate;

pub use error::{ApiError, Cause};
pub use patch::Patch;
pub use resource::Resource;
pub use selector::{Selector, label_selector_matches};
pub use store::{
    DeleteOptions, Deleted, FieldValidation, List, ListOptions, Object, Propagation, Store,
    StoreOptions, VersionMatch, Watch, WatchEvent, WatchOptions, WriteOptions, Written,
};
