//! LoadBalancer Services → addresses of a pool.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lab_api::resource::SERVICES;
use serde_json::{Value, json};

use crate::action::Action;
use crate::json::{has, is_going, items, text};
use crate::snapshot::Snapshot;

/// The pool of a family: documentation addresses (RFC 5737, RFC 3849) that no node has.
fn pool(family: &str) -> Box<dyn Iterator<Item = IpAddr>> {
    if family == "IPv6" {
        let address = |number| Ipv6Addr::new(0x2001, 0xdb8, 0x1b, 0, 0, 0, 0, number).into();
        Box::new((1..=u16::MAX).map(address))
    } else {
        Box::new((1..=254).map(|number| Ipv4Addr::new(203, 0, 113, number).into()))
    }
}

pub(crate) fn reconcile(snapshot: &Snapshot, actions: &mut Vec<Action>) {
    let balanced = |service: &Value| service["spec"]["type"] == "LoadBalancer";
    let ours = |service: &Value| balanced(service) && !has(service, "/spec/loadBalancerClass");
    let mut taken: BTreeSet<String> = snapshot
        .services
        .iter()
        .filter(|service| balanced(service))
        .flat_map(|service| items(service, "/status/loadBalancer/ingress"))
        .map(|ingress| text(ingress, "/ip").to_owned())
        .collect();
    for service in snapshot.services.iter().filter(|service| !is_going(service)) {
        let given = items(service, "/status/loadBalancer/ingress");
        let status = if ours(service) && given.is_empty() {
            json!({"ingress": addresses(service, &mut taken)})
        } else if !balanced(service) && !given.is_empty() {
            json!({})
        } else {
            continue;
        };
        let mut new = (**service).clone();
        new["status"]["loadBalancer"] = status;
        actions.push(Action::UpdateStatus(&SERVICES, new));
    }
}

/// One address of each family of the Service; the first is the one that it asks for, if any.
fn addresses(service: &Value, taken: &mut BTreeSet<String>) -> Vec<Value> {
    let asked = text(service, "/spec/loadBalancerIP").parse::<IpAddr>().ok();
    let families = items(service, "/spec/ipFamilies").iter().filter_map(Value::as_str);
    let mut given = Vec::new();
    for family in families {
        let asked = asked.filter(|ip| ip.is_ipv6() == (family == "IPv6")).map(|ip| ip.to_string());
        let free = asked.into_iter().chain(pool(family).map(|ip| ip.to_string()));
        if let Some(ip) = free.into_iter().find(|ip| !taken.contains(ip)) {
            given.push(json!({"ip": ip, "ipMode": "VIP"}));
            taken.insert(ip);
        }
    }
    given
}
