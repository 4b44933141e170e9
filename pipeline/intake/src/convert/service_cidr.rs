//! ServiceCIDRs.

use model::{Notice, ServiceCidr};

use super::{Names, notes::cluster_scoped};
use crate::wire::{self, Field};

/// Reads a ServiceCIDR. A block that cannot be read is left out; a ServiceCIDR without a name is
/// none.
#[must_use]
pub fn service_cidr(
    wire: &wire::ServiceCidr,
    names: &mut Names,
) -> (Option<ServiceCidr>, Vec<Notice>) {
    let (name, mut notes) = match cluster_scoped("ServiceCIDR", &wire.metadata, names) {
        Ok(named) => named,
        Err(notices) => return (None, notices),
    };
    let absent = Field::Absent;
    let cidrs = notes
        .get(&wire.spec, "spec", "the ServiceCIDR counts as empty")
        .map_or(&absent, |spec| &spec.cidrs);
    let cidrs = notes.cidrs(cidrs, "spec.cidrs", "the block is left out");
    (Some(ServiceCidr { name, cidrs }), notes.list)
}
