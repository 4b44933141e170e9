//! A small Kubernetes API server: what the lab's kubectl, agent and controllers talk to.
//!
//! In: requests over HTTP ([`Server`]), or calls of the controllers in the same process
//! ([`Store`]). Out: objects, tables, watches, and refusals ([`ApiError`]) as kube-apiserver v1.36
//! gives them. Everything is in memory and gone with the process.
//!
//! The resources are those of [`resource::ALL`]. A write goes through the steps of a real server:
//! the body is read by the table of its type (unknown fields, wrong types), defaults are filled
//! in, Services get their addresses and ports, the rules of the kind are checked, and the object
//! gets the next resourceVersion. The garbage collector and the end of namespaces are part of the
//! store; everything else that controllers do is left to them.
//!
//! What it does not do: authentication, TLS, admission webhooks, OpenAPI schemas (`kubectl
//! explain`), `metadata.managedFields`, protocol buffers in answers, `exec`, persistence.
//!
//! ```
//! use lab_api::{Store, StoreOptions, WatchOptions, WriteOptions, resource};
//!
//! # fn main() -> Result<(), lab_api::ApiError> {
//! let store = Store::new(StoreOptions::default())?;
//! let service = serde_json::json!({
//!     "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]},
//! });
//! let written = store.create(&resource::SERVICES, "default", service, &WriteOptions::default())?;
//! assert_eq!(written.object["spec"]["type"], "ClusterIP");
//! let mut watch = store.watch(&resource::SERVICES, None, WatchOptions::default())?;
//! assert_eq!(watch.ready().len(), 2, "web, and the Service of the API server itself");
//! # Ok(())
//! # }
//! ```

mod convert;
mod defaults;
mod discovery;
mod error;
mod go_text;
mod log;
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
