//! What the server adds to Services, and takes over from what they were before.

mod allocate;
mod families;
mod update;

use serde_json::Value;

use crate::ApiError;
use crate::object::text;

pub(crate) use allocate::{Pools, Taken};

/// Fills in families, cluster IPs and node ports.
///
/// # Errors
/// [`ApiError::Invalid`] for what cannot be given, [`ApiError::Internal`] if the pools are empty.
pub(crate) fn complete(
    service: &mut Value,
    old: Option<&Value>,
    pools: &Pools,
) -> Result<(), ApiError> {
    if let Some(old) = old {
        update::take_over(service, old);
    }
    update::normalize(service, old);
    families::fill(service, old, pools.families())?;
    allocate::addresses(service, old, pools)?;
    allocate::node_ports(service, old, pools)
}

/// Whether a Service has cluster IPs of its own.
fn needs_address(service: &Value) -> bool {
    // A type that nobody knows is for validation to refuse, not for the allocator to guess.
    text(service, "/spec/type") != "ExternalName"
}

/// Whether a Service has ports on every node.
fn needs_node_ports(service: &Value) -> bool {
    let allocates = service.pointer("/spec/allocateLoadBalancerNodePorts");
    match text(service, "/spec/type") {
        "NodePort" => true,
        "LoadBalancer" => allocates != Some(&Value::Bool(false)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
