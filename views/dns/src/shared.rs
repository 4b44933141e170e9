//! The zone that everybody answers from, exchanged while they do.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use model::{Cluster, Owner};

use crate::zone::Zone;

/// A handle on the current zone. Clones share it.
///
/// The lock is held for as long as it takes to copy or replace a pointer: a new zone is made beside
/// the old one, which readers keep until they are done.
#[derive(Clone, Debug)]
pub struct SharedZone(Arc<RwLock<Arc<Zone>>>);

impl SharedZone {
    /// Shares a zone.
    #[must_use]
    pub fn new(zone: Zone) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(zone))))
    }

    /// The current zone.
    #[must_use]
    pub fn load(&self) -> Arc<Zone> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another zone in place.
    pub fn store(&self, zone: Zone) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(zone);
    }

    /// Brings the zone up to date; see [`Zone::update`]. For one writer: of two at once, one would
    /// undo the other.
    pub fn update(&self, cluster: &Cluster, owners: &BTreeSet<Owner>) {
        let mut zone = Zone::clone(&self.load());
        zone.update(cluster, owners);
        self.store(zone);
    }
}
