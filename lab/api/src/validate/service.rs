//! Services.

use std::collections::BTreeSet;

use serde_json::Value;

use super::field::Faults;
use super::{names, protocol, service_families, service_update};
use crate::object::{has, items, number, text, texts};

/// Whether a Service has no cluster IP by wish.
pub(crate) fn is_headless(service: &Value) -> bool {
    texts(service, "/spec/clusterIPs") == ["None"]
}

/// Whether a Service can be reached from outside of the cluster.
pub(crate) fn is_external(service: &Value) -> bool {
    let by_address = !items(service, "/spec/externalIPs").is_empty();
    match text(service, "/spec/type") {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => by_address,
        _ => false,
    }
}

/// Whether a Service has a port that load balancers ask for the health of a node.
pub(crate) fn needs_health_check(service: &Value) -> bool {
    text(service, "/spec/type") == "LoadBalancer"
        && text(service, "/spec/externalTrafficPolicy") == "Local"
}

pub(super) fn check(faults: &mut Faults, service: &Value, old: Option<&Value>) {
    if let Some(old) = old {
        service_update::check(faults, service, old);
    }
    of_type(faults, service);
    let several = items(service, "/spec/ports").len() > 1;
    let mut seen = BTreeSet::new();
    for (index, port) in items(service, "/spec/ports").iter().enumerate() {
        check_port(faults, &format!("spec.ports[{index}]"), port, several, &mut seen);
    }
    names::labels(faults, "spec.selector", service, "/spec/selector");
    affinity(faults, service);
    service_families::check(faults, service);
    for (index, address) in texts(service, "/spec/externalIPs").iter().enumerate() {
        let field = format!("spec.externalIPs[{index}]");
        if let Some(read) = names::address(faults, &field, address) {
            names::ordinary_address(faults, &field, address, read);
        }
    }
    let of_type = text(service, "/spec/type");
    faults.one_of("spec.type", of_type, &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
    port_numbers(faults, service, of_type);
    balancer(faults, service, of_type);
    policies(faults, service, of_type);
}

fn of_type(faults: &mut Faults, service: &Value) {
    let of_type = text(service, "/spec/type");
    let headless = is_headless(service);
    let no_ports = items(service, "/spec/ports").is_empty();
    if no_ports && !headless && of_type != "ExternalName" {
        faults.required("spec.ports", "");
    }
    if headless && ["LoadBalancer", "NodePort"].contains(&of_type) {
        let detail = format!("may not be set to 'None' for {of_type} services");
        faults.invalid("spec.clusterIPs[0]", "None", &detail);
    }
    if of_type != "ExternalName" {
        return;
    }
    let none = "may not be set for ExternalName services";
    for field in ["clusterIPs", "ipFamilies"] {
        if !items(service, &format!("/spec/{field}")).is_empty() {
            faults.forbidden(&format!("spec.{field}"), none);
        }
    }
    if has(service, "/spec/ipFamilyPolicy") {
        faults.forbidden("spec.ipFamilyPolicy", none);
    }
    match text(service, "/spec/externalName").trim_end_matches('.') {
        "" => faults.required("spec.externalName", ""),
        name => names::subdomain(faults, "spec.externalName", name),
    }
}

fn check_port(
    faults: &mut Faults,
    field: &str,
    port: &Value,
    several: bool,
    seen: &mut BTreeSet<String>,
) {
    let name = text(port, "/name");
    let of_name = format!("{field}.name");
    if !name.is_empty() {
        names::label(faults, &of_name, name);
        if !seen.insert(name.to_owned()) {
            faults.duplicate(&of_name, name);
        }
    } else if several {
        faults.required(&of_name, "");
    }
    names::port(faults, &format!("{field}.port"), number(port, "/port"));
    protocol(faults, &format!("{field}.protocol"), port, "/protocol");
    let target = port.pointer("/targetPort").cloned().unwrap_or_else(|| 0.into());
    names::port_or_name(faults, &format!("{field}.targetPort"), &target);
    if has(port, "/appProtocol") {
        names::qualified_name(faults, &format!("{field}.appProtocol"), text(port, "/appProtocol"));
    }
}

fn affinity(faults: &mut Faults, service: &Value) {
    let affinity = text(service, "/spec/sessionAffinity");
    let config = "spec.sessionAffinityConfig";
    if affinity.is_empty() {
        faults.required("spec.sessionAffinity", "");
    } else {
        faults.one_of("spec.sessionAffinity", affinity, &["ClientIP", "None"]);
    }
    let when = format!("when session affinity type is {affinity}");
    match affinity {
        "ClientIP" if !has(service, "/spec/sessionAffinityConfig") => {
            faults.required(config, &when);
        }
        "ClientIP" if !has(service, "/spec/sessionAffinityConfig/clientIP") => {
            faults.required(&format!("{config}.clientIP"), &when);
        }
        "ClientIP" => {
            let field = format!("{config}.clientIP.timeoutSeconds");
            let pointer = "/spec/sessionAffinityConfig/clientIP/timeoutSeconds";
            let seconds = number(service, pointer);
            if !has(service, pointer) {
                faults.required(&field, &when);
            } else if !(1..=86_400).contains(&seconds) {
                let detail = "must be greater than 0 and less than 86400";
                faults.invalid(&field, seconds, detail);
            }
        }
        "None" if has(service, "/spec/sessionAffinityConfig") => {
            faults.forbidden(config, "must not be set when session affinity is None");
        }
        _ => {}
    }
}

fn port_numbers(faults: &mut Faults, service: &Value, of_type: &str) {
    let ports = items(service, "/spec/ports");
    if of_type == "ClusterIP" {
        for (index, _) in ports.iter().enumerate().filter(|(_, port)| has(port, "/nodePort")) {
            let field = format!("spec.ports[{index}].nodePort");
            faults.forbidden(&field, "may not be used when `type` is 'ClusterIP'");
        }
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate().filter(|(_, port)| has(port, "/nodePort")) {
        let node_port = number(port, "/nodePort");
        if !seen.insert((text(port, "/protocol"), node_port)) {
            faults.duplicate(&format!("spec.ports[{index}].nodePort"), node_port);
        }
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let (protocol, number) = (text(port, "/protocol"), number(port, "/port"));
        if !seen.insert((protocol, number)) {
            let key = format!(
                "{{\"Name\":\"\",\"Protocol\":\"{protocol}\",\"AppProtocol\":null,\"Port\":{number},\
                 \"TargetPort\":0,\"NodePort\":0}}"
            );
            faults.duplicate_text(&format!("spec.ports[{index}]"), &key);
        }
    }
}

fn balancer(faults: &mut Faults, service: &Value, of_type: &str) {
    let only = "may only be used when `type` is 'LoadBalancer'";
    let balanced = of_type == "LoadBalancer";
    // The field is named with a capital in the real server's complaint.
    let field = "spec.LoadBalancerSourceRanges";
    let ranges = texts(service, "/spec/loadBalancerSourceRanges");
    if !ranges.is_empty() && !balanced {
        faults.forbidden(field, only);
    }
    for (index, range) in ranges.iter().enumerate() {
        names::block(faults, &format!("{field}[{index}]"), range.trim());
    }
    let allocates = has(service, "/spec/allocateLoadBalancerNodePorts");
    if allocates && !balanced {
        faults.forbidden("spec.allocateLoadBalancerNodePorts", only);
    }
    if balanced && !allocates {
        faults.required("allocateLoadBalancerNodePorts", "");
    }
    if has(service, "/spec/loadBalancerClass") {
        let field = "spec.loadBalancerClass";
        if balanced {
            names::qualified_name(faults, field, text(service, "/spec/loadBalancerClass"));
        } else {
            faults.forbidden(field, only);
        }
    }
}

fn policies(faults: &mut Faults, service: &Value, of_type: &str) {
    let both = ["Cluster", "Local"];
    let field = "spec.externalTrafficPolicy";
    let external = text(service, "/spec/externalTrafficPolicy");
    match (is_external(service), external) {
        (false, "") => {}
        (false, _) => {
            faults.invalid(field, external, "may only be set for externally-accessible services");
        }
        (true, "") => faults.required(field, ""),
        (true, _) => faults.one_of(field, external, &both),
    }
    let field = "spec.healthCheckNodePort";
    let health = number(service, "/spec/healthCheckNodePort");
    match (needs_health_check(service), health) {
        (false, 0) => {}
        (false, _) => {
            let detail = "may only be set when `type` is 'LoadBalancer' and \
                          `externalTrafficPolicy` is 'Local'";
            faults.invalid(field, health, detail);
        }
        (true, 0) => faults.required(field, ""),
        (true, _) => names::port(faults, field, health),
    }
    let field = "spec.internalTrafficPolicy";
    if has(service, "/spec/internalTrafficPolicy") {
        faults.one_of(field, text(service, "/spec/internalTrafficPolicy"), &both);
    } else if ["ClusterIP", "LoadBalancer", "NodePort"].contains(&of_type) {
        faults.required(field, "");
    }
    if has(service, "/spec/trafficDistribution") {
        let known = ["PreferClose", "PreferSameNode", "PreferSameZone"];
        let value = text(service, "/spec/trafficDistribution");
        faults.one_of("spec.trafficDistribution", value, &known);
    }
}
