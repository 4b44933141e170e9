//! A small Kubernetes API server.

mod convert;
mod defaults;
mod discovery;
mod error;
mod go_text;
mod object;
mod patch;
mod protobuf;
mod random;
pub mod resource;
mod schema;
mod selector;
mod server;
mod service;
mod store;
mod strategy;
mod table;
mod validate;

pub use error::{ApiError, Cause};
pub use patch::Patch;
pub use resource::Resource;
pub use selector::{Selector, label_selector_matches};
pub use server::Server;
pub use store::{
    DeleteOptions, Deleted, FieldValidation, List, ListOptions, Object, Propagation, Store,
    StoreOptions, VersionMatch, Watch, WatchEvent, WatchOptions, WriteOptions, Written,
};
