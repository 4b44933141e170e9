//! What reads along with the agent. A view never writes back into the path.

pub(crate) mod dns;

use std::collections::BTreeSet;

use model::{Cluster, Owner};

/// A reader of the path.
pub(crate) trait View {
    /// Every list is complete, and these owners' facts are new or different.
    fn known(&mut self, cluster: &Cluster, owners: &BTreeSet<Owner>);
}
