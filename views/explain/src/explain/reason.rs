//! One stable code for each verdict, and the case's own objects, fields and values.

use std::net::IpAddr;

use model::{Family, IngressMode, NamespacedName, Service};
use plan::{FrontendKind, NodePortAccept, Standing};

use super::resolve::ports_of;
use super::{Code, EndpointTable, FrontendMet, Place, Question, World, family};
use crate::decide::{Cause, Decision};
use crate::{Packet, Verdict};

/// All that the reason may depend on.
pub(super) struct Case<'a> {
    pub(super) packet: &'a Packet,
    pub(super) decision: &'a Decision<'a>,
    /// The Service that was asked for by name.
    pub(super) named: Option<&'a NamespacedName>,
    pub(super) question: &'a Question,
    pub(super) frontend: Option<&'a FrontendMet>,
    pub(super) endpoints: Option<&'a EndpointTable>,
}

pub(super) fn reason(world: &World<'_>, case: &Case<'_>) -> (Code, String) {
    let place = case.frontend.map(|met| met.place.clone()).unwrap_or_default();
    let service = case.frontend.map(|met| met.port.service.to_string()).unwrap_or_default();
    match case.decision.cause {
        Cause::Delivered => delivered(case),
        Cause::NoEndpoints => no_endpoints(world, case),
        Cause::NoLocalEndpoints => {
            let met = case.frontend;
            let internal = met.is_some_and(|met| met.kind == FrontendKind::ClusterIP);
            let code = if internal { Code::InternalPolicyLocal } else { Code::ExternalPolicyLocal };
            let policy = met.map(|met| met.policy.clone()).unwrap_or_default();
            let node = &world.config.node_name;
            (code, format!("Service {service} has {policy}, and no usable endpoint on node {node}"))
        }
        Cause::SourceRanges => {
            let source = case.packet.source;
            let ranges = case.frontend.and_then(|met| met.ranges.as_ref());
            let ranges: Vec<String> =
                ranges.iter().flat_map(|found| &found.ranges).map(ToString::to_string).collect();
            let field = "spec.loadBalancerSourceRanges";
            let text = format!("{source} is in none of Service {service}'s {field}: ");
            (Code::SourceRangeDenied, text + &ranges.join(", "))
        }
        Cause::LoopbackGuard => {
            let Packet { source, destination, .. } = case.packet;
            (Code::LoopbackGuarded, format!("{source} is no loopback address, {destination} is"))
        }
        Cause::HealthCheckPort => {
            let text = format!("port {} is a healthCheckNodePort", case.packet.port);
            (Code::HealthCheckPort, text)
        }
        Cause::RefusalGap => {
            let text = format!(
                "Service {service} refuses at {place}, but no rule of iptables mode stands on this \
                 packet's way"
            );
            (Code::RefusalNotEnforced, text)
        }
        Cause::WrongPort => wrong_port(world, case),
        Cause::Unallocated => {
            let text =
                format!("{} lies in a ServiceCIDR, and no Service has it", case.packet.destination);
            (Code::UnallocatedAddress, text)
        }
        Cause::StrayBackends => {
            let text = format!(
                "every endpoint of Service {service} is an address of the cluster \
                                network that is no Pod's"
            );
            (Code::EndpointIsClusterIp, text)
        }
        Cause::NodePortNotHere => node_port_not_here(world, case),
        Cause::MixedFamilies => {
            let text = "source and destination are of different families".into();
            (Code::NoCommonFamily, text)
        }
        Cause::NoFrontend => no_frontend(world, case),
    }
}

fn delivered(case: &Case<'_>) -> (Code, String) {
    let Some(met) = case.frontend else { return (Code::Delivered, String::new()) };
    let Verdict::Deliver(backends) = &case.decision.verdict else {
        return (Code::Delivered, String::new());
    };
    let source = case.packet.source;
    let many =
        if backends.len() == 1 { "1 endpoint" } else { &format!("{} endpoints", backends.len()) };
    if let Some(ranges) = met.ranges.as_ref().filter(|found| !found.guarded && !found.admitted)
        && met.kind == FrontendKind::NodePort
    {
        let ranges: Vec<String> = ranges.ranges.iter().map(ToString::to_string).collect();
        let text = format!(
            "NodePort {} is NOT covered by spec.loadBalancerSourceRanges ({}): {source} gets in",
            met.place,
            ranges.join(", ")
        );
        return (Code::SourceRangesBypassed, text);
    }
    if backends.keys().all(|backend| backend.ip() == source) {
        return (Code::Hairpin, format!("the only endpoint is the client itself, {source}"));
    }
    let rows = case.endpoints.iter().flat_map(|table| &table.rows);
    if rows.clone().any(|row| row.standing == Standing::TerminatingFallback) {
        return (Code::TerminatingFallback, format!("no endpoint is ready; {many} still serving"));
    }
    (Code::Delivered, format!("port {} of the Service has {many} for this client", met.port))
}

fn no_endpoints(world: &World<'_>, case: &Case<'_>) -> (Code, String) {
    let Some((met, table)) = case.frontend.zip(case.endpoints) else {
        return (Code::NoEndpoints, String::new());
    };
    let name = &met.port.service;
    let of_family = |standing: &&Standing| **standing != Standing::WrongFamily;
    let all: Vec<&Standing> =
        table.rows.iter().map(|row| &row.standing).filter(of_family).collect();
    let count = |which: fn(&Standing) -> bool| all.iter().filter(|one| which(one)).count();
    let unready = count(|one| {
        matches!(one, Standing::NotReady | Standing::Terminating | Standing::TerminatingNotServing)
    });
    let portless = count(|one| matches!(one, Standing::NoSuchPort | Standing::NoPortNumber));
    if unready > 0 {
        let text = format!("none of the {unready} endpoints of Service {name} is ready");
        (Code::NoneReady, text)
    } else if portless > 0 {
        let port = if met.port.port.is_empty() { "without a name" } else { &met.port.port };
        let target = target_port(world, met);
        let text = format!(
            "no EndpointSlice of Service {name} has a number for port {port} ({}){target}",
            met.port.protocol
        );
        (Code::PortNotInEndpoints, text)
    } else if !all.is_empty() || !table.rows.is_empty() {
        let text = format!(
            "no endpoint of Service {name} has a usable address: {} listed",
            table.rows.len()
        );
        (Code::EndpointsUnusable, text)
    } else {
        let selector = world.cluster.service(name).map(|service| selector(service));
        let text = format!("Service {name} has no endpoint{}", selector.unwrap_or_default());
        (Code::NoEndpoints, text)
    }
}

fn target_port(world: &World<'_>, met: &FrontendMet) -> String {
    let service = world.cluster.service(&met.port.service);
    let mut ports = service.iter().flat_map(|service| &service.ports);
    let port = ports.find(|port| port.name == met.port.port && port.protocol == met.port.protocol);
    match port.and_then(|port| port.target_port.as_ref()) {
        Some(model::TargetPort::Name(name)) => format!("; its targetPort is {name:?}"),
        Some(model::TargetPort::Number(number)) => format!("; its targetPort is {number}"),
        None => String::new(),
    }
}

fn selector(service: &Service) -> String {
    if service.selector.is_empty() {
        return ": spec.selector is empty, and no EndpointSlice is written by hand".into();
    }
    let pairs: Vec<String> =
        service.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!(": spec.selector {} matches no Pod with an address", pairs.join(","))
}

/// The Service that has an address, whatever the port.
fn holder<'a>(world: &World<'a>, address: IpAddr) -> Option<&'a Service> {
    let has = |service: &&Service| {
        service.cluster_ips.contains(&address)
            || service.external_ips.contains(&address)
            || service.ingress.iter().any(|ingress| ingress.ip == address)
    };
    world.cluster.services().values().map(AsRef::as_ref).find(has)
}

fn wrong_port(world: &World<'_>, case: &Case<'_>) -> (Code, String) {
    let Packet { protocol, port, destination, .. } = case.packet;
    let text = match holder(world, *destination) {
        None => format!("{destination} has no {protocol} port {port}"),
        Some(service) => {
            let target = |entry: &&model::ServicePort| {
                entry.target_port == Some(model::TargetPort::Number(*port))
            };
            let name = &service.name;
            let hint = match service.ports.iter().find(target) {
                Some(entry) => format!("; {port} is the targetPort of its port {}", entry.port),
                None => String::new(),
            };
            format!("Service {name} has no {protocol} port {port}; {}{hint}", ports_of(service))
        }
    };
    (Code::WrongPort, text)
}

fn node_port_not_here(world: &World<'_>, case: &Case<'_>) -> (Code, String) {
    let destination = case.packet.destination;
    if !world.host.owns(destination) {
        return no_frontend(world, case);
    }
    let service = case.frontend.map(|met| met.port.to_string()).unwrap_or_default();
    let accepted = match &world.intent.node.node_ports[family(case.packet)] {
        _ if destination.is_loopback() => "NodePorts do not answer on loopback here".into(),
        NodePortAccept::AnyLocal { .. } => "they answer on every address of the node".into(),
        NodePortAccept::Addresses(accepted) => {
            let accepted: Vec<String> = accepted.iter().map(ToString::to_string).collect();
            format!("nodePortAddresses accepts: {}", accepted.join(", "))
        }
    };
    let port = case.packet.port;
    let text = format!("NodePort {port} ({service}) does not answer on {destination}; {accepted}");
    (Code::NodePortOtherAddress, text)
}

/// Nothing of ours is met: what is at that address, then?
fn no_frontend(world: &World<'_>, case: &Case<'_>) -> (Code, String) {
    let Packet { destination, port, .. } = case.packet;
    let named = case.named.and_then(|name| world.cluster.service(name));
    if let Some(service) = named.filter(|service| service.headless) {
        let text = format!(
            "Service {} is headless: {destination} is one of its Pods, and port {port} is taken as \
             it is",
            service.name
        );
        return (Code::Headless, text);
    }
    if let Some(service) = holder(world, *destination) {
        return unmet(world, case, service);
    }
    let has = |node: &&std::sync::Arc<model::Node>| {
        Family::ALL.into_iter().any(|family| node.address(family) == Some(*destination))
            || node.internal_ips.contains(destination)
    };
    if let Some(node) = world.cluster.nodes().find(has).filter(|_| !world.host.owns(*destination)) {
        let text = format!("{destination} is an address of Node {}", node.name);
        return (Code::ForAnotherNode, text);
    }
    if let Some(pod) = world.cluster.pods().values().find(|pod| pod.ips.contains(destination)) {
        return (Code::DirectToPod, format!("{destination} is Pod {}", pod.name));
    }
    if matches!(case.question.destination, Place::Pod(_)) {
        let text = format!("{destination} is the address of {}", case.question.destination);
        return (Code::DirectToPod, text);
    }
    let text = if world.host.owns(*destination) {
        format!("{destination} is this node's own, and port {port} is no NodePort")
    } else {
        format!("no Service known here has {destination}")
    };
    (Code::NotOurs, text)
}

/// A Service has the address, and yet no frontend of it is met.
fn unmet(world: &World<'_>, case: &Case<'_>, service: &Service) -> (Code, String) {
    let destination = case.packet.destination;
    let name = &service.name;
    if let Some(proxy) = &service.proxy_name {
        return (Code::OtherProxy, format!("Service {name} belongs to the proxy {proxy}"));
    }
    let proxied = |ingress: &model::LoadBalancerIngress| {
        ingress.ip == destination && ingress.mode == IngressMode::Proxy
    };
    if service.ingress.iter().any(proxied) {
        let text = format!("{destination} is the load balancer of Service {name}, ipMode: Proxy");
        return (Code::LoadBalancerProxyMode, text);
    }
    if service.external_ips.contains(&destination) && !world.config.allow_external_ips {
        let text = format!("{destination} is in spec.externalIPs of Service {name}");
        return (Code::ExternalIpsDisabled, text);
    }
    let mut ports = service.ports.iter();
    let known =
        ports.any(|entry| entry.port == case.packet.port && entry.protocol == case.packet.protocol);
    if known {
        let text = format!(
            "{destination} is written in Service {name}, but counts for nothing: \
                            pointsman render says why"
        );
        return (Code::NotOurs, text);
    }
    wrong_port(world, case)
}
