//! Namespaces.

use model::{Namespace, Notice};

use super::notes::cluster_scoped;
use super::{Names, labels};
use crate::wire;

/// Reads a Namespace. Its own name is one of its labels, whatever the object says.
#[must_use]
pub fn namespace(wire: &wire::Namespace, names: &mut Names) -> (Option<Namespace>, Vec<Notice>) {
    let (name, notes) = match cluster_scoped("Namespace", &wire.metadata, names) {
        Ok(named) => named,
        Err(notices) => return (None, notices),
    };
    let labels = wire.metadata.get().map(|metadata| labels(metadata, names)).unwrap_or_default();
    (Some(Namespace::new(name, &labels)), notes.list)
}
