//! Which IP families a Service has.

use serde_json::Value;

use crate::ApiError;
use crate::object::{fields, name, set, text, texts};
use crate::resource::SERVICES;
use crate::validate::{Faults, family_of, is_headless, refuse};

/// Fills in `ipFamilies` and `ipFamilyPolicy`. `cluster` holds the families of the cluster, the
/// primary one first.
///
/// # Errors
/// [`ApiError::Invalid`] for what this cluster cannot do.
pub(super) fn fill(
    service: &mut Value,
    old: Option<&Value>,
    cluster: &[&'static str],
) -> Result<(), ApiError> {
    if !super::needs_address(service) {
        return Ok(());
    }
    let addresses = texts(service, "/spec/clusterIPs");
    let mut families = texts(service, "/spec/ipFamilies");
    // Without a selector, nobody here finds the endpoints, of whatever family they are.
    let free = is_headless(service) && fields(service, "/spec/selector").next().is_none();
    for address in addresses.iter().skip(families.len()) {
        let Ok(address) = address.parse() else { break };
        families.push(family_of(address).to_owned());
    }
    let mut policy = text(service, "/spec/ipFamilyPolicy").to_owned();
    if policy.is_empty() {
        let two = families.len() > 1 || addresses.len() > 1 || free && families.is_empty();
        policy = if two { "RequireDualStack" } else { "SingleStack" }.to_owned();
    }
    check(service, old, &policy, &families, cluster, free)?;
    if families.is_empty() {
        families.extend(cluster.first().map(|family| (*family).to_owned()));
    }
    if let [first] = &families[..]
        && policy != "SingleStack"
    {
        let other = if first == "IPv4" { "IPv6" } else { "IPv4" };
        if free || cluster.contains(&other) {
            families.push(other.to_owned());
        }
    }
    set(service, &["spec", "ipFamilyPolicy"], policy);
    set(service, &["spec", "ipFamilies"], families);
    Ok(())
}

fn check(
    service: &Value,
    old: Option<&Value>,
    policy: &str,
    families: &[String],
    cluster: &[&str],
    free: bool,
) -> Result<(), ApiError> {
    let mut faults = Faults::default();
    let field = "spec.ipFamilyPolicy";
    if policy == "SingleStack" {
        let many = |what: &str| {
            format!(
                "must be RequireDualStack or PreferDualStack when multiple {what} are specified"
            )
        };
        if families.len() > 1 {
            faults.invalid(field, policy, &many("IP families"));
        }
        if texts(service, "/spec/clusterIPs").len() > 1 {
            faults.invalid(field, policy, &many("cluster IPs"));
        }
    }
    if policy == "RequireDualStack" && cluster.len() < 2 && !free {
        let detail = "this cluster is not configured for dual-stack services";
        faults.invalid(field, policy, detail);
    }
    let known = |family: &&str| ["IPv4", "IPv6"].contains(family);
    let before = old.map(|old| texts(old, "/spec/ipFamilies")).unwrap_or_default();
    for (index, family) in families.iter().map(String::as_str).enumerate() {
        let there = before.iter().any(|before| before == family);
        if known(&family) && !cluster.contains(&family) && !free && !there {
            let field = format!("spec.ipFamilies[{index}]");
            faults.invalid(&field, family, "not configured on this cluster");
        }
    }
    refuse(&SERVICES, name(service), faults.causes)
}
