//! What of the plan the kernel is known to hold.

use model::Owner;
use plan::Intent;

/// The kernel said yes to one owner's part.
pub(crate) fn accept(accepted: &mut Intent, next: &Intent, owner: &Owner) {
    match owner {
        Owner::Service(name) => match next.servers.get(name) {
            Some(servers) => drop(accepted.servers.insert(name.clone(), servers.clone())),
            None => drop(accepted.servers.remove(name)),
        },
        _ => accepted.node = next.node.clone(),
    }
}
