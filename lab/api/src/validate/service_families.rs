//! The cluster IPs of a Service and their families.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::field::Faults;
use super::names;
use super::service::is_headless;
use crate::object::{has, items, text, texts};

pub(super) fn check(faults: &mut Faults, service: &Value) {
    if text(service, "/spec/type") == "ExternalName" {
        return;
    }
    let addresses = texts(service, "/spec/clusterIPs");
    let listed = || items(service, "/spec/clusterIPs").to_vec();
    let field = "spec.clusterIPs";
    match (text(service, "/spec/clusterIP"), addresses.first()) {
        ("", Some(_)) => {
            faults.invalid(field, listed(), "must be empty when `clusterIP` is not specified");
        }
        ("", None) => {}
        (_, None) => faults.required(field, ""),
        (first, Some(listed_first)) if first != listed_first => {
            faults.invalid(field, listed(), "first value must match `clusterIP`");
        }
        _ => {}
    }
    families(faults, service);
    let mut read = Vec::new();
    let mut broken = false;
    for (index, address) in addresses.iter().enumerate() {
        if index == 0 && address == "None" {
            if addresses.len() > 1 {
                broken = true;
                faults.invalid(field, listed(), "'None' must be the first and only value");
            }
            continue;
        }
        match names::address(faults, &format!("{field}[{index}]"), address) {
            Some(address) => read.push(address),
            None => broken = true,
        }
    }
    if addresses.len() > 2 {
        faults.invalid(field, listed(), "may only hold up to 2 values");
    }
    if broken {
        return;
    }
    let distinct: BTreeSet<_> = read.iter().map(IpAddr::is_ipv4).collect();
    if read.len() > 1 && (read.len() > 2 || distinct.len() != 2) {
        let detail = "may specify no more than one IP for each IP family";
        faults.invalid(field, listed(), detail);
    }
    if is_headless(service) {
        return;
    }
    let families = texts(service, "/spec/ipFamilies");
    for (index, (address, family)) in read.iter().zip(&families).enumerate() {
        if family_of(*address) != family {
            let article = if family == "IPv4" { "an IPv4" } else { "an IPv6" };
            let detail = format!("expected {article} value as indicated by `ipFamilies[{index}]`");
            faults.invalid(&format!("{field}[{index}]"), &addresses[index][..], &detail);
        }
    }
}

/// `IPv4` or `IPv6`.
pub(crate) fn family_of(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn families(faults: &mut Faults, service: &Value) {
    let mut seen = BTreeSet::new();
    for (index, family) in texts(service, "/spec/ipFamilies").into_iter().enumerate() {
        let field = format!("spec.ipFamilies[{index}]");
        faults.one_of(&field, &family, &["IPv4", "IPv6"]);
        if seen.contains(&family) {
            faults.duplicate(&field, &family[..]);
        }
        seen.insert(family);
    }
    if has(service, "/spec/ipFamilyPolicy") {
        let known = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        faults.one_of("spec.ipFamilyPolicy", text(service, "/spec/ipFamilyPolicy"), &known);
    }
}
