use model::{
    AddressType, Affinity, Family, IngressMode, Notice, Protocol, Reason, ServiceType, TargetPort,
    TrafficPolicy,
};
use serde_json::{Value, json};

use super::{Names, endpoint_slice, node, service, service_cidr};
use crate::wire::Field;

fn metadata(extra: Value) -> Value {
    let mut metadata = json!({"name": "x", "namespace": "shop"});
    for (key, value) in extra.as_object().unwrap() {
        metadata[key] = value.clone();
    }
    metadata
}

fn texts(notices: &[Notice]) -> Vec<String> {
    notices.iter().map(ToString::to_string).collect()
}

/// Reads a Service from its spec and status.
fn read(spec: Value, status: Value) -> (model::Service, Vec<String>) {
    let object = json!({"metadata": metadata(json!({})), "spec": spec, "status": status});
    let wire: Field<_> = serde_json::from_value(object).unwrap();
    let (fact, notices) = service(wire.get().unwrap(), &mut Names::default());
    (fact.unwrap(), texts(&notices))
}

/// Reads a Service with a cluster IP and one more field.
fn with(field: &str, value: Value) -> (model::Service, Vec<String>) {
    let mut spec = json!({"clusterIP": "10.96.0.1", "ports": [{"port": 80}]});
    spec[field] = value;
    read(spec, json!({}))
}

fn slice(object: Value) -> (Option<model::EndpointSlice>, Vec<Notice>) {
    let wire: Field<_> = serde_json::from_value(object).unwrap();
    endpoint_slice(wire.get().unwrap(), &mut Names::default())
}

fn slice_of(endpoints: Value, ports: Value) -> (model::EndpointSlice, Vec<String>) {
    let labels = json!({"labels": {"kubernetes.io/service-name": "web"}, "resourceVersion": "42"});
    let object = json!({"metadata": metadata(labels), "addressType": "IPv4",
        "endpoints": endpoints, "ports": ports});
    let (fact, notices) = slice(object);
    (fact.unwrap(), texts(&notices))
}

#[test]
fn a_service_that_says_little_has_the_defaults_of_the_api() {
    let (service, notices) =
        read(json!({"clusterIP": "10.96.0.1", "ports": [{"port": 80}]}), json!({}));
    assert_eq!(notices, [""; 0]);
    assert_eq!(service.name.to_string(), "shop/x");
    assert_eq!(service.service_type, ServiceType::ClusterIP);
    assert_eq!(service.affinity, Affinity::None);
    assert_eq!(service.external_traffic_policy, TrafficPolicy::Cluster);
    assert_eq!(service.internal_traffic_policy, TrafficPolicy::Cluster);
    assert_eq!(service.ports[0].protocol, Protocol::Tcp);
    assert_eq!((&*service.ports[0].name, service.ports[0].node_port), ("", None));
    assert_eq!(service.cluster_ip(Family::V4).unwrap().to_string(), "10.96.0.1");
    assert_eq!((service.created, service.headless), (None, false));
}

#[test]
fn leading_zeros_are_decimal_everywhere() {
    let spec = json!({
        "type": "LoadBalancer",
        "clusterIP": "172.30.0.041",
        "clusterIPs": ["172.30.0.041"],
        "ipFamilies": ["IPv4"],
        "externalIPs": ["192.168.099.004"],
        "loadBalancerSourceRanges": [" 203.000.113.000/25"],
    });
    let status = json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.004"}]}});
    let (service, notices) = read(spec, status);
    assert_eq!(notices, [""; 0]);
    assert_eq!(service.cluster_ips[0].to_string(), "172.30.0.41");
    assert_eq!(service.external_ips[0].to_string(), "192.168.99.4");
    assert_eq!(service.source_ranges[0].to_string(), "203.0.113.0/25");
    assert_eq!(service.ingress[0].ip.to_string(), "1.2.3.4");
    let (slice, _) = slice_of(json!([{"addresses": ["10.008.011.012"]}]), json!([]));
    assert_eq!(slice.endpoints[0].address.to_string(), "10.8.11.12");
}

#[test]
fn a_load_balancer_known_by_hostname_has_no_address_and_no_notice() {
    let ingress = json!([{"hostname": "lb.example"}, {"ip": "", "hostname": "lb.example"},
        {"ip": "1.2.3.4", "ipMode": "VIP"}, {"ip": "1.2.3.5", "ipMode": "Proxy"}, {"ip": "1.2.3.6"},
        {"ip": "1.2.3.7", "ipMode": "Magic"}, {"ip": "1.2.3"}]);
    let spec = json!({"clusterIP": "10.96.0.1"});
    let (service, notices) = read(spec, json!({"loadBalancer": {"ingress": ingress}}));
    let modes: Vec<_> = service.ingress.iter().map(|ingress| ingress.mode).collect();
    assert_eq!(modes, [IngressMode::VIP, IngressMode::Proxy, IngressMode::VIP]);
    assert_eq!(
        notices,
        [
            "Service shop/x: status.loadBalancer.ingress[5].ipMode is \"Magic\": expected VIP or \
             Proxy; the address is left out",
            "Service shop/x: status.loadBalancer.ingress[6].ip is \"1.2.3\": expected an IP \
             address; the address is left out",
        ]
    );
}

#[test]
fn cluster_ips_stay_with_their_families() {
    let spec = json!({"clusterIP": "bad", "clusterIPs": ["bad", "fd00::7"],
        "ipFamilies": ["IPv4", "IPv6"]});
    let (service, notices) = read(spec, json!({}));
    assert_eq!(service.cluster_ip(Family::V4), None);
    assert_eq!(service.cluster_ip(Family::V6).unwrap().to_string(), "fd00::7");
    assert_eq!(notices.len(), 1, "{notices:?}");

    let spec = json!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::7"],
        "ipFamilies": ["IPv5", "IPv6"]});
    let (service, notices) = read(spec, json!({}));
    assert_eq!(service.cluster_ip(Family::V4), None);
    assert_eq!(service.cluster_ip(Family::V6).unwrap().to_string(), "fd00::7");
    assert!(notices[0].contains("spec.ipFamilies[0] is \"IPv5\""), "{notices:?}");

    // Without families, the first address alone decides; without a list, spec.clusterIP.
    let (service, _) = read(json!({"clusterIP": "fd00::7"}), json!({}));
    assert_eq!(service.cluster_ip(Family::V6).unwrap().to_string(), "fd00::7");
    assert_eq!(service.cluster_ip(Family::V4), None);
}

#[test]
fn headless_missing_and_external_names() {
    for spec in [json!({"clusterIP": "None"}), json!({"clusterIPs": ["None"]})] {
        let (service, notices) = read(spec, json!({}));
        assert!(service.headless && service.cluster_ips.is_empty());
        assert_eq!(notices, [""; 0]);
    }
    let spec = json!({"type": "ExternalName", "externalName": "a.example"});
    let (service, notices) = read(spec, json!({}));
    assert_eq!((service.external_name.as_deref(), notices.len()), (Some("a.example"), 0));

    let (service, notices) = read(json!({"type": "NodePort"}), json!({}));
    assert!(service.cluster_ips.is_empty() && !service.headless);
    assert_eq!(
        notices,
        ["Service shop/x: spec.clusterIP is missing: expected an address (or None); the Service \
          has no cluster IP"]
    );
}

#[test]
fn bad_ports_are_left_out_and_good_ones_stay() {
    let ports = json!([
        {"name": "a", "port": 80, "targetPort": "http", "nodePort": 30080},
        {"name": "b", "port": 65536},
        {"name": "c", "port": 0},
        {"name": "d", "port": "80"},
        {"name": "e"},
        {"name": "f", "port": 81, "protocol": "ICMP"},
        {"name": 7, "port": 82},
        {"name": "a", "port": 83},
        {"name": "a", "port": 80, "protocol": "UDP"},
        {"name": "g", "port": 84, "nodePort": 70000, "targetPort": -1},
        "text",
    ]);
    let (service, notices) = with("ports", ports);
    let kept: Vec<_> =
        service.ports.iter().map(|port| (&*port.name, port.port, port.protocol)).collect();
    assert_eq!(
        kept,
        [("a", 80, Protocol::Tcp), ("a", 80, Protocol::Udp), ("g", 84, Protocol::Tcp)]
    );
    assert_eq!(service.ports[0].target_port, Some(TargetPort::Name("http".into())));
    assert_eq!(service.ports[0].node_port, Some(30080));
    assert_eq!((service.ports[2].node_port, &service.ports[2].target_port), (None, &None));
    assert_eq!(notices.len(), 10, "{notices:#?}");
    let port = "expected a port number from 1 to 65535; the port is left out";
    for expected in [
        format!("Service shop/x: spec.ports[1].port is 65536: {port}"),
        format!("Service shop/x: spec.ports[2].port is 0: {port}"),
        format!("Service shop/x: spec.ports[4].port is missing: {port}"),
        "Service shop/x: spec.ports[3].port is \"80\": expected a whole number; the port is left out"
            .into(),
        "Service shop/x: spec.ports[10] is \"text\": expected an object; the port is left out".into(),
    ] {
        assert!(notices.contains(&expected), "{expected} is not in {notices:#?}");
    }
}

#[test]
fn affinity_and_its_timeout() {
    let seconds = |config: Value| {
        let spec = json!({"clusterIP": "10.96.0.1", "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": config});
        let (service, notices) = read(spec, json!({}));
        (service.affinity, notices.len())
    };
    let client = |seconds: Value| json!({"clientIP": {"timeoutSeconds": seconds}});
    let affinity = |timeout_seconds| Affinity::ClientIP { timeout_seconds };
    assert_eq!(seconds(Value::Null), (affinity(10800), 0));
    assert_eq!(seconds(client(json!(60))), (affinity(60), 0));
    assert_eq!(seconds(client(json!(86400))), (affinity(86400), 0));
    for bad in [json!(0), json!(86401), json!(-5), json!("60")] {
        assert_eq!(seconds(client(bad)), (affinity(10800), 1));
    }
    // The timeout is read for ClientIP alone.
    let (service, notices) = with("sessionAffinityConfig", client(json!("bad")));
    assert_eq!((service.affinity, notices.len()), (Affinity::None, 0));
    let (service, notices) = with("sessionAffinity", json!("Cookie"));
    assert_eq!((service.affinity, notices.len()), (Affinity::None, 1));
}

#[test]
fn unknown_words_fall_back_and_are_named() {
    let (service, notices) = with("type", json!("Teapot"));
    assert_eq!((service.service_type, notices.len()), (ServiceType::ClusterIP, 1));
    let (service, notices) = with("externalTrafficPolicy", json!("Nearby"));
    assert_eq!((service.external_traffic_policy, notices.len()), (TrafficPolicy::Cluster, 1));
    let (service, notices) = with("internalTrafficPolicy", json!("Local"));
    assert_eq!((service.internal_traffic_policy, notices.len()), (TrafficPolicy::Local, 0));
    let (service, notices) = with("externalIPs", json!(["1.2.3.4", "", "x", "fd00::1"]));
    assert_eq!((service.external_ips.len(), notices.len()), (2, 1));
    let (service, notices) = with("loadBalancerSourceRanges", json!(["10.0.0.0/8", "10.0.0.0/40"]));
    assert_eq!((service.source_ranges.len(), notices.len()), (1, 1));
    assert!(notices[0].contains("every client is admitted"), "{notices:?}");
    // A selector that cannot be read whole must not select more Pods than it means.
    let (service, notices) = with("selector", json!({"app": "web", "tier": 3}));
    assert_eq!((service.selector.len(), notices.len()), (0, 1));
}

#[test]
fn when_a_service_was_made_and_by_whom_it_is_served() {
    let read = |extra: Value| {
        let object = json!({"metadata": metadata(extra), "spec": {"clusterIP": "10.96.0.1"}});
        let wire: Field<_> = serde_json::from_value(object).unwrap();
        let (fact, notices) = service(wire.get().unwrap(), &mut Names::default());
        (fact.unwrap(), notices.len())
    };
    let (service, notices) = read(json!({"creationTimestamp": "1970-01-02T00:00:05Z"}));
    assert_eq!((service.created, notices), (Some(86405), 0));
    let (service, notices) = read(json!({"creationTimestamp": null}));
    assert_eq!((service.created, notices), (None, 0));
    let (service, notices) = read(json!({"creationTimestamp": "yesterday"}));
    assert_eq!((service.created, notices), (None, 1));
    let label = json!({"labels": {"service.kubernetes.io/service-proxy-name": "other"}});
    assert_eq!(read(label).0.proxy_name.as_deref(), Some("other"));
    // No proxy's, whether it has an address or not.
    let label = json!({"labels": {"service.kubernetes.io/headless": ""}});
    let (service, _) = read(label);
    assert_eq!(service.proxy_name.as_deref(), Some("service.kubernetes.io/headless"));
    assert!(!service.headless);
    assert_eq!(&*read(json!({"namespace": null})).0.name.namespace, "default");
}

#[test]
fn an_object_without_a_name_is_named_by_its_kind() {
    let wire: Field<_> =
        serde_json::from_value(json!({"metadata": {"namespace": "shop"}})).unwrap();
    let (fact, notices) = service(wire.get().unwrap(), &mut Names::default());
    assert_eq!(fact, None);
    assert_eq!(
        texts(&notices),
        [
            "Service shop/(without a name): metadata.name is missing: expected a name; the object is \
          left out"
        ]
    );
    let wire: Field<_> = serde_json::from_value(json!({"metadata": 3})).unwrap();
    let (fact, notices) = node(wire.get().unwrap(), &mut Names::default());
    assert_eq!(fact, None);
    assert!(notices[0].to_string().contains("metadata.name is 3"), "{notices:?}");
}

#[test]
fn an_endpoint_that_says_little_is_ready() {
    let endpoints = json!([
        {"addresses": ["10.0.0.1", "10.0.0.2"]},
        {"addresses": ["10.0.0.3"], "nodeName": "n", "zone": "z", "hostname": "h",
         "conditions": {"ready": false, "serving": false, "terminating": true},
         "targetRef": {"kind": "Pod", "name": "p", "uid": "u"},
         "hints": {"forZones": [{"name": "a"}, {"name": "b"}], "forNodes": [{"name": "n"}]}},
        {"addresses": ["10.0.0.4"], "hints": {}, "targetRef": {"kind": "VM", "name": "v", "uid": "w"}},
    ]);
    let ports = json!([{"name": "", "port": 8080}, {"port": 8081}, {"name": "all"},
        {"name": "zero", "port": 0, "protocol": "SCTP"}]);
    let (slice, notices) = slice_of(endpoints, ports);
    assert_eq!(notices, [""; 0]);
    assert_eq!(slice.version, 42);
    assert_eq!(slice.address_type, AddressType::Ip(Family::V4));
    assert_eq!(slice.service.as_ref().unwrap().to_string(), "shop/web");
    let [first, second, third] = &slice.endpoints[..] else { panic!("{slice:?}") };
    assert_eq!(first.address.to_string(), "10.0.0.1");
    assert_eq!((first.ready, first.serving, first.terminating), (true, true, false));
    assert_eq!((second.ready, second.serving, second.terminating), (false, false, true));
    assert_eq!((second.node.as_deref(), second.zone.as_deref()), (Some("n"), Some("z")));
    let hints = second.hints.as_ref().unwrap();
    assert_eq!((hints.zones.len(), hints.nodes.len()), (2, 1));
    assert_eq!(
        (second.target_pod.as_deref(), second.target_uid.as_deref()),
        (Some("p"), Some("u"))
    );
    assert_eq!((third.target_pod.as_deref(), third.target_uid.as_deref()), (None, Some("w")));
    assert_eq!(third.hints, None);
    let ports: Vec<_> = slice.ports.iter().map(|port| (port.name.as_deref(), port.port)).collect();
    assert_eq!(
        ports,
        [(Some(""), Some(8080)), (None, Some(8081)), (Some("all"), None), (Some("zero"), None)]
    );
}

#[test]
fn bad_endpoints_are_left_out_and_good_ones_stay() {
    let endpoints = json!([
        {"addresses": ["fd00::1"]},
        {"addresses": ["10.0.0"]},
        {"addresses": 5},
        {"addresses": ["10.0.0.1"], "conditions": {"ready": "yes"}, "nodeName": 3},
        null,
    ]);
    let ports = json!([{"name": "a", "port": 70000}, {"name": "b", "protocol": "tcp", "port": 1},
        {"name": "c", "port": 2}]);
    let (slice, notices) = slice_of(endpoints, ports);
    assert_eq!(slice.endpoints.len(), 1);
    assert!(slice.endpoints[0].ready);
    assert_eq!(slice.endpoints[0].node, None);
    assert_eq!(slice.ports.len(), 1);
    assert_eq!(notices.len(), 8, "{notices:#?}");
    assert!(notices.iter().any(|text| text.contains(
        "endpoints[0].addresses[0] is fd00::1: expected an IPv4 address, as addressType says"
    )));
}

#[test]
fn a_slice_without_an_owner_or_a_routable_type_is_named() {
    let owned = metadata(json!({"labels": {"kubernetes.io/service-name": "web"}}));
    let (fact, notices) = slice(json!({"metadata": metadata(json!({})), "addressType": "IPv6"}));
    assert_eq!(fact.unwrap().service, None);
    assert_eq!(notices[0].reason, Reason::NoOwner);
    let fqdn = json!({"metadata": owned, "addressType": "FQDN",
        "endpoints": [{"addresses": ["a.example"]}]});
    let (fact, notices) = slice(fqdn);
    let fact = fact.unwrap();
    assert_eq!((fact.address_type, fact.endpoints.len()), (AddressType::Fqdn, 0));
    assert_eq!(notices.len(), 1);
    assert_eq!(notices[0].reason, Reason::Unsupported);
    for bad in [json!("IPX"), json!(4)] {
        let (fact, notices) = slice(json!({"metadata": owned, "addressType": bad}));
        assert_eq!((fact, notices.len()), (None, 1));
    }
    let mut odd = owned.clone();
    odd["resourceVersion"] = json!("v7");
    let (fact, notices) = slice(json!({"metadata": odd, "addressType": "IPv4"}));
    assert_eq!((fact.unwrap().version, notices.len()), (0, 1));
}

#[test]
fn nodes_and_service_cidrs() {
    let object = json!({
        "metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": "z"},
            "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00::/64", "bad"],
            "taints": [{"key": "k", "effect": "NoSchedule"}, {"key": 1, "effect": "NoExecute"}]},
        "status": {"addresses": [{"type": "Hostname", "address": "n"},
            {"type": "ExternalIP", "address": "198.51.100.1"},
            {"type": "InternalIP", "address": "192.0.2.001"},
            {"type": "InternalIP", "address": "fd00::1"},
            {"type": "InternalIP", "address": "?"}]},
    });
    let wire: Field<_> = serde_json::from_value(object).unwrap();
    let (fact, notices) = node(wire.get().unwrap(), &mut Names::default());
    let fact = fact.unwrap();
    assert_eq!(fact.address(Family::V4).unwrap().to_string(), "192.0.2.1");
    assert_eq!((fact.internal_ips.len(), fact.external_ips.len()), (2, 1));
    assert_eq!((fact.pod_cidrs.len(), fact.taints.len(), fact.deleting), (2, 1, true));
    assert_eq!(fact.zone.as_deref(), Some("z"));
    assert_eq!(notices.len(), 3, "{notices:?}");

    let lone = json!({"metadata": {"name": "n"}, "spec": {"podCIDR": "10.1.0.0/24"}});
    let wire: Field<_> = serde_json::from_value(lone).unwrap();
    let fact = node(wire.get().unwrap(), &mut Names::default()).0.unwrap();
    assert_eq!(fact.pod_cidrs[0].to_string(), "10.1.0.0/24");

    let cidrs = json!({"metadata": {"name": "k"}, "spec": {"cidrs": ["10.96.0.0/12", "x"]}});
    let wire: Field<_> = serde_json::from_value(cidrs).unwrap();
    let (fact, notices) = service_cidr(wire.get().unwrap(), &mut Names::default());
    assert_eq!((fact.unwrap().cidrs.len(), notices.len()), (1, 1));
}

#[test]
fn shared_texts_are_held_once_and_forgotten() {
    let mut names = Names::default();
    let (first, second) = (names.intern("zone"), names.intern("zone"));
    assert!(std::sync::Arc::ptr_eq(&first, &second));
    names.forget_unused();
    assert_eq!(names.known.len(), 1);
    drop((first, second));
    names.forget_unused();
    assert_eq!(names.known.len(), 0);
}
