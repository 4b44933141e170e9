use std::fmt::Write;

use crate::folder::tests::{apply, cluster, contents};

use super::*;

const SERVICE: &str = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, \
     spec: {clusterIP: 10.96.0.9, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}}";

/// A Pod `shop/NAME` with label `app: web`; `spec` and `status` are the insides of flow maps.
fn pod(name: &str, spec: &str, status: &str) -> String {
    pod_with(name, "labels: {app: web}", spec, status)
}

fn pod_with(name: &str, metadata: &str, spec: &str, status: &str) -> String {
    format!(
        "\n---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: shop, uid: u-{name}, \
         {metadata}}}, spec: {{{spec}}}, status: {{{status}}}}}\n"
    )
}

fn running(ip: &str, ready: &str) -> String {
    format!(
        "phase: Running, podIP: '{ip}', podIPs: [{{ip: '{ip}'}}], \
         conditions: [{{type: Ready, status: '{ready}'}}]"
    )
}

/// The slices of `shop/web`, one line a slice and one an endpoint.
fn slices(manifests: &str) -> Vec<String> {
    lines(&cluster(manifests))
}

fn lines(cluster: &model::Cluster) -> Vec<String> {
    let mut lines = Vec::new();
    for slice in cluster.slices(&NamespacedName::new("shop", "web")) {
        let mut line = match slice.address_type {
            AddressType::Ip(family) => family.to_string(),
            AddressType::Fqdn => "FQDN".into(),
        };
        for port in &slice.ports {
            let name = port.name.as_deref().unwrap();
            write!(line, " {name}:{}/{}", port.protocol, port.port.unwrap()).unwrap();
        }
        lines.push(line);
        for endpoint in &slice.endpoints {
            let mut line = format!("- {}", endpoint.address);
            let flags = [
                (endpoint.ready, " ready"),
                (endpoint.serving, " serving"),
                (endpoint.terminating, " terminating"),
            ];
            flags.iter().filter(|(is, _)| *is).for_each(|(_, flag)| line.push_str(flag));
            let texts = [
                ("node", &endpoint.node),
                ("zone", &endpoint.zone),
                ("hostname", &endpoint.hostname),
            ];
            for (name, text) in texts {
                text.iter().for_each(|text| write!(line, " {name}={text}").unwrap());
            }
            if let Some(hints) = &endpoint.hints {
                write!(line, " hints={:?}/{:?}", hints.zones, hints.nodes).unwrap();
            }
            lines.push(line);
        }
    }
    lines
}

#[test]
fn conditions_follow_phase_readiness_and_deletion() {
    let publish = SERVICE.replace("clusterIP:", "publishNotReadyAddresses: true, clusterIP:");
    let deleted = "labels: {app: web}, deletionTimestamp: '2026-01-01T00:00:00Z'";
    let (ready, unready) = (running("10.0.0.1", "True"), running("10.0.0.1", "False"));
    let labels = "labels: {app: web}";
    // The Pod; what a Service sees, and one that publishes addresses that are not ready.
    let cases = [
        (pod_with("p", labels, "", &ready), "- 10.0.0.1 ready serving", "- 10.0.0.1 ready serving"),
        (pod_with("p", labels, "", &unready), "- 10.0.0.1", "- 10.0.0.1 ready"),
        (
            pod_with("p", labels, "", &running("10.0.0.1", "Unknown")),
            "- 10.0.0.1",
            "- 10.0.0.1 ready",
        ),
        (
            pod_with("p", deleted, "", &ready),
            "- 10.0.0.1 serving terminating",
            "- 10.0.0.1 ready serving terminating",
        ),
        (
            pod_with("p", deleted, "", &unready),
            "- 10.0.0.1 terminating",
            "- 10.0.0.1 ready terminating",
        ),
        (
            pod_with("p", labels, "", "phase: Running, podIP: 10.0.0.1"),
            "- 10.0.0.1",
            "- 10.0.0.1 ready",
        ),
        (
            pod_with("p", labels, "hostNetwork: true", &ready),
            "- 10.0.0.1 ready serving",
            "- 10.0.0.1 ready serving",
        ),
        (pod_with("p", labels, "", &ready.replace("Running", "Succeeded")), "", ""),
        (pod_with("p", labels, "", &ready.replace("Running", "Failed")), "", ""),
        (pod_with("p", labels, "", "phase: Pending"), "", ""),
        (pod_with("p", "labels: {app: other}", "", &ready), "", ""),
        (pod_with("p", "labels: {}", "", &ready), "", ""),
        (pod("p", "", &ready).replace("namespace: shop", "namespace: other"), "", ""),
    ];
    for (pod, expected, published) in cases {
        for (service, expected) in [(SERVICE, expected), (&publish, published)] {
            let found = slices(&format!("{service}{pod}"));
            let endpoints: Vec<_> = found.iter().filter(|line| line.starts_with('-')).collect();
            let expected: Vec<_> =
                Some(expected).filter(|line| !line.is_empty()).into_iter().collect();
            assert_eq!(endpoints, expected, "{pod}");
            // A Service without any endpoint has an empty slice without ports.
            let head = if expected.is_empty() { "IPv4" } else { "IPv4 :TCP/8080" };
            assert_eq!(found[0], head, "{pod}");
        }
    }
}

#[test]
fn every_label_of_the_selector_must_match() {
    let service = SERVICE.replace("{app: web}", "{app: web, tier: front}");
    let one = pod("one", "", &running("10.0.0.1", "True"));
    let both =
        pod_with("two", "labels: {app: web, tier: front, x: y}", "", &running("10.0.0.2", "True"));
    assert_eq!(
        slices(&format!("{service}{one}{both}")),
        ["IPv4 :TCP/8080", "- 10.0.0.2 ready serving"]
    );
}

#[test]
fn a_written_slice_or_no_selector_makes_none() {
    let pod = pod("p", "", &running("10.0.0.1", "True"));
    let slice = "\n---\n{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, \
         metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}, \
         ports: [{name: '', port: 1}], endpoints: [{addresses: [10.0.0.9]}]}";
    assert_eq!(
        slices(&format!("{SERVICE}{pod}{slice}")),
        ["IPv4 :TCP/1", "- 10.0.0.9 ready serving"]
    );
    for service in [
        SERVICE.replace("selector: {app: web}, ", ""),
        SERVICE.replace("selector: {app: web}", "selector: {}"),
        SERVICE.replace("clusterIP: 10.96.0.9", "type: ExternalName, externalName: example.net"),
    ] {
        assert_eq!(slices(&format!("{service}{pod}")), Vec::<String>::new(), "{service}");
    }
}

#[test]
fn named_ports_are_resolved_per_pod_and_protocol() {
    let service = SERVICE.replace(
        "[{port: 80, targetPort: 8080}]",
        "[{name: a, port: 80, targetPort: http}, {name: b, port: 53, protocol: UDP, targetPort: dns}]",
    );
    let both = |http: u16| {
        format!(
            "containers: [{{ports: [{{name: http, containerPort: 1, protocol: UDP}}]}}, {{ports: \
             [{{name: http, containerPort: {http}}}, {{name: dns, containerPort: 53, protocol: UDP}}]}}]"
        )
    };
    let sidecar = "containers: [{}], initContainers: [\
         {ports: [{name: http, containerPort: 9}]}, \
         {restartPolicy: Always, ports: [{name: http, containerPort: 8001}]}]";
    let nothing = "containers: [{ports: [{name: dns, containerPort: 53}]}]";
    let pods = [
        pod("p1", &both(8000), &running("10.0.0.1", "True")),
        pod("p2", &both(8080), &running("10.0.0.2", "True")),
        pod("p3", &both(8000), &running("10.0.0.3", "True")),
        pod("p4", sidecar, &running("10.0.0.4", "True")),
        pod("p5", nothing, &running("10.0.0.5", "True")),
    ];
    let mut found: Vec<String> = Vec::new();
    for line in slices(&format!("{service}{}", pods.concat())) {
        match line.strip_prefix("- ") {
            None => found.push(line),
            Some(endpoint) => {
                let address = endpoint.split(' ').next().unwrap();
                write!(found.last_mut().unwrap(), " {address}").unwrap();
            }
        }
    }
    found.sort();
    assert_eq!(
        found,
        [
            "IPv4 10.0.0.5",
            "IPv4 a:TCP/8000 b:UDP/53 10.0.0.1 10.0.0.3",
            "IPv4 a:TCP/8001 10.0.0.4",
            "IPv4 a:TCP/8080 b:UDP/53 10.0.0.2",
        ]
    );
}

#[test]
fn a_target_port_that_is_none_reaches_nothing() {
    let service = SERVICE.replace("targetPort: 8080", "targetPort: 99999");
    let pod = pod("p", "", &running("10.0.0.1", "True"));
    let contents = contents(&[("m.yaml", &format!("{service}{pod}"))]);
    assert_eq!(contents.notices.len(), 1, "{:?}", contents.notices);
    assert_eq!(lines(&apply(contents)), ["IPv4", "- 10.0.0.1 ready serving"]);
}

#[test]
fn every_family_of_the_service_has_slices() {
    let service = |families: &str| {
        SERVICE.replace("clusterIP: 10.96.0.9", &format!("ipFamilies: [{families}]"))
    };
    let both = "phase: Running, podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]";
    let v4 = "phase: Running, podIP: 10.0.0.2";
    let pods = [pod("p1", "", both), pod("p2", "", v4)].concat();
    let cases: [(&str, &[&str]); 3] = [
        ("IPv4", &["IPv4 :TCP/8080", "- 10.0.0.1", "- 10.0.0.2"]),
        ("IPv6", &["IPv6 :TCP/8080", "- fd00::1"]),
        (
            "IPv4, IPv6",
            &["IPv4 :TCP/8080", "- 10.0.0.1", "- 10.0.0.2", "IPv6 :TCP/8080", "- fd00::1"],
        ),
    ];
    for (families, expected) in cases {
        let mut found = slices(&format!("{}{pods}", service(families)));
        // Slices come by name, which says nothing about the family.
        if found[0].starts_with("IPv6") && found.len() > 2 {
            found.rotate_left(2);
        }
        assert_eq!(found, expected, "{families}");
    }
}

#[test]
fn headless_services_have_slices_without_ports_if_they_have_none() {
    let service = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, \
         spec: {clusterIP: None, selector: {app: web}}}";
    let named = pod("p1", "hostname: db-0, subdomain: web", &running("10.0.0.1", "True"));
    let other = pod("p2", "hostname: db-1, subdomain: other", &running("10.0.0.2", "True"));
    let bare = pod("p3", "subdomain: web", &running("10.0.0.3", "True"));
    assert_eq!(
        slices(&format!("{service}{named}{other}{bare}")),
        [
            "IPv4",
            "- 10.0.0.1 ready serving hostname=db-0",
            "- 10.0.0.2 ready serving",
            "- 10.0.0.3 ready serving",
        ]
    );
}

#[test]
fn traffic_distribution_becomes_hints_of_ready_endpoints() {
    let node = |name: &str, zone: &str| {
        format!(
            "\n---\n{{apiVersion: v1, kind: Node, metadata: {{name: {name}, \
             labels: {{topology.kubernetes.io/zone: {zone}}}}}}}"
        )
    };
    let world = [
        node("n1", "z1"),
        node("n2", "z2"),
        pod("p1", "nodeName: n1", &running("10.0.0.1", "True")),
        pod("p2", "nodeName: n2", &running("10.0.0.2", "False")),
        pod("p3", "nodeName: unknown", &running("10.0.0.3", "True")),
        pod("p4", "", &running("10.0.0.4", "True")),
    ]
    .concat();
    let cases = [
        ("", "", ""),
        ("trafficDistribution: PreferClose, ", " hints=[\"z1\"]/[]", ""),
        ("trafficDistribution: PreferSameZone, ", " hints=[\"z1\"]/[]", ""),
        (
            "trafficDistribution: PreferSameNode, ",
            " hints=[\"z1\"]/[\"n1\"]",
            " hints=[]/[\"unknown\"]",
        ),
        ("trafficDistribution: Whatever, ", "", ""),
    ];
    for (field, first, third) in cases {
        let service = SERVICE.replace("clusterIP:", &format!("{field}clusterIP:"));
        assert_eq!(
            slices(&format!("{service}{world}")),
            [
                "IPv4 :TCP/8080".to_owned(),
                format!("- 10.0.0.1 ready serving node=n1 zone=z1{first}"),
                "- 10.0.0.2 node=n2 zone=z2".to_owned(),
                format!("- 10.0.0.3 ready serving node=unknown{third}"),
                "- 10.0.0.4 ready serving".to_owned(),
            ],
            "{field}"
        );
    }
}

#[test]
fn a_manifest_that_was_never_run_is_noticed_once() {
    let second = SERVICE.replace("name: web", "name: second");
    let pod = "\n---\n{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop, labels: \
               {app: web}}, spec: {containers: [{image: nginx}]}}";
    let contents = contents(&[("m.yaml", &format!("{SERVICE}\n---\n{second}{pod}"))]);
    let notices: Vec<_> = contents.notices.iter().map(ToString::to_string).collect();
    // `second` has the cluster IP of `web`, which is the plan's to judge.
    assert_eq!(
        notices,
        [
            "Pod shop/p: status.podIPs is missing, so the Pod is no endpoint of Service shop/second, \
          shop/web; write its status, or an EndpointSlice"
        ]
    );
    assert_eq!(lines(&apply(contents)), ["IPv4"]);
}

#[test]
fn an_address_that_is_none_is_noticed() {
    let pod = pod("p", "", "phase: Running, podIPs: [{ip: 10.0.0.300}, {ip: 10.0.0.3}]");
    let contents = contents(&[("m.yaml", &format!("{SERVICE}{pod}"))]);
    let notices: Vec<_> = contents.notices.iter().map(ToString::to_string).collect();
    assert_eq!(
        notices,
        [
            "Pod shop/p: status.podIPs[0].ip is \"10.0.0.300\": expected an IP address; the address is \
          left out (m.yaml:3 (document 2))"
        ]
    );
    assert_eq!(lines(&apply(contents)), ["IPv4 :TCP/8080", "- 10.0.0.3"]);
}

#[test]
fn a_slice_holds_a_hundred_endpoints_and_names_are_stable_and_distinct() {
    let pods: Vec<_> = (0..250)
        .map(|index| {
            let ip = format!("10.1.{}.{}", index / 100, index % 100 + 1);
            pod(&format!("p{index:03}"), "", &running(&ip, "True"))
        })
        .collect();
    let text = format!("{SERVICE}{}", pods.concat());
    let cluster = cluster(&text);
    let service = NamespacedName::new("shop", "web");
    let mut sizes: Vec<_> = cluster.slices(&service).map(|slice| slice.endpoints.len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [50, 100, 100]);
    for slice in cluster.slices(&service) {
        let tail = slice.name.name.strip_prefix("web-").unwrap();
        assert_eq!(tail.len(), 5);
        assert!(tail.bytes().all(|letter| NAME_LETTERS.contains(&letter)), "{tail}");
    }
    assert_eq!(cluster, crate::folder::tests::cluster(&text));
}

#[test]
fn names_that_are_taken_or_long_are_dealt_with() {
    let long = "a".repeat(63);
    let text = SERVICE.replace("name: web", &format!("name: {long}"));
    let cluster = cluster(&text);
    let service = cluster.services().values().next().unwrap();
    let mut names = BTreeSet::new();
    let first = slice_name(service, "x", &mut names);
    let second = slice_name(service, "x", &mut names);
    assert_ne!(first, second);
    assert_eq!(first.name.len(), 63);
}
