//! The objects, and what happened to them.
//!
//! One lock, one counter: every change gets the next resourceVersion, is remembered in a bounded
//! history, and wakes the watches. The controllers of the lab use this type directly; clients
//! reach it through [`crate::Server`].

mod bootstrap;
mod delete;
mod list;
mod reading;
mod settle;
mod state;
mod watch;
mod write;

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;

use crate::log::Logs;
use crate::{ApiError, Resource};
use state::State;

pub use delete::{DeleteOptions, Deleted, Propagation};
pub use list::{List, ListOptions, VersionMatch};
pub use watch::{Watch, WatchEvent, WatchOptions};
pub use write::{FieldValidation, WriteOptions, Written};

/// A stored object: canonical, with `apiVersion` and `kind`.
pub type Object = Arc<Value>;

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// `--service-cluster-ip-range`: one block, or one of each family, the primary one first.
    pub service_cidrs: Vec<IpNet>,
    /// `--service-node-port-range`.
    pub node_ports: RangeInclusive<u16>,
    /// How many changes a watch may lag behind before it gets 410 Expired.
    pub history: usize,
    /// How often a quiet watch that asked for bookmarks gets one.
    pub bookmarks: Duration,
    /// The port of the API server, which the Service `default/kubernetes` leads to.
    pub server_port: u16,
}

impl Default for StoreOptions {
    fn default() -> Self {
        let block = ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 96, 0, 0), 12);
        Self {
            service_cidrs: vec![IpNet::V4(block)],
            node_ports: 30_000..=32_767,
            history: 10_000,
            bookmarks: Duration::from_secs(60),
            server_port: 6443,
        }
    }
}

/// The objects of one cluster. Clones share them.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: StoreOptions,
    state: Mutex<State>,
    logs: Arc<Logs>,
    /// The newest resourceVersion, for those who wait for a change.
    newest: tokio::sync::watch::Sender<u64>,
}

impl Store {
    /// A cluster with what every cluster has: its namespaces, a ServiceCIDR, and the Service
    /// `default/kubernetes`.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] if the options make no ServiceCIDR.
    pub fn new(options: StoreOptions) -> Result<Self, ApiError> {
        let state = Mutex::new(State::new(options.history));
        let (newest, _) = tokio::sync::watch::channel(0);
        let store = Self {
            shared: Arc::new(Shared { options, state, logs: Arc::new(Logs::new()), newest }),
        };
        store.bootstrap()?;
        Ok(store)
    }

    /// What the cluster was made with.
    #[must_use]
    pub fn options(&self) -> &StoreOptions {
        &self.shared.options
    }

    /// One object. The namespace of cluster-wide objects is empty.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub fn get(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Object, ApiError> {
        self.lock().get(resource, namespace, name)
    }

    /// Adds a line to what a Pod said.
    pub fn say(&self, uid: &str, line: String) {
        self.shared.logs.say(uid, line);
    }

    /// Drops what a Pod said, and ends whoever reads on.
    pub fn forget(&self, uid: &str) {
        self.shared.logs.forget(uid);
    }

    pub(crate) fn logs(&self) -> Arc<Logs> {
        Arc::clone(&self.shared.logs)
    }

    /// The newest resourceVersion.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is made whole before it becomes visible, whatever a panicking test did.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a change on the state, or on a copy that is thrown away.
    fn transact<T>(
        &self,
        dry_run: bool,
        change: impl FnOnce(&mut State) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut state = self.lock();
        if dry_run {
            let mut copy = state.clone();
            copy.dry = true;
            return change(&mut copy);
        }
        let result = change(&mut state);
        let version = state.version;
        drop(state);
        self.shared.newest.send_replace(version);
        result
    }
}

fn not_found(resource: &Resource, name: &str) -> ApiError {
    let (resource, group) = (resource.plural, resource.group);
    ApiError::NotFound { resource, group, name: name.to_owned() }
}

fn conflict(resource: &Resource, name: &str, cause: String) -> ApiError {
    let (resource, group) = (resource.plural, resource.group);
    ApiError::Conflict { resource, group, name: name.to_owned(), cause }
}

#[cfg(test)]
mod tests;
