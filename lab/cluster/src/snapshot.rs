//! The objects that controllers look at, all of one moment or nearly so.

use lab_api::resource::{
    DEPLOYMENTS, ENDPOINT_SLICES, ENDPOINTS, NODES, PODS, REPLICA_SETS, SERVICES,
};
use lab_api::{ApiError, ListOptions, Object, Resource, Store};

/// Every list is sorted by namespace and name.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) deployments: Vec<Object>,
    pub(crate) replica_sets: Vec<Object>,
    pub(crate) pods: Vec<Object>,
    pub(crate) nodes: Vec<Object>,
    pub(crate) services: Vec<Object>,
    pub(crate) endpoint_slices: Vec<Object>,
    pub(crate) endpoints: Vec<Object>,
}

impl Snapshot {
    pub(crate) fn take(store: &Store) -> Result<Self, ApiError> {
        Ok(Self {
            deployments: list(store, &DEPLOYMENTS)?,
            replica_sets: list(store, &REPLICA_SETS)?,
            pods: list(store, &PODS)?,
            nodes: list(store, &NODES)?,
            services: list(store, &SERVICES)?,
            endpoint_slices: list(store, &ENDPOINT_SLICES)?,
            endpoints: list(store, &ENDPOINTS)?,
        })
    }
}

/// All objects of a resource.
pub(crate) fn list(store: &Store, resource: &'static Resource) -> Result<Vec<Object>, ApiError> {
    Ok(store.list(resource, None, &ListOptions::default())?.items)
}
