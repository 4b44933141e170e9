use std::collections::BTreeMap;

use super::*;

fn draft(spec: &str) -> Draft {
    let value: serde_json::Value = serde_saphyr::from_str(spec).unwrap();
    let text = |name: &str| value.get(name).and_then(|it| it.as_str()).unwrap_or_default().into();
    let allocate = value.get("allocateLoadBalancerNodePorts").and_then(serde_json::Value::as_bool);
    Draft {
        family_policy: text("ipFamilyPolicy"),
        allocate_node_ports: allocate.unwrap_or(true),
        wire: serde_json::from_value(serde_json::json!({ "spec": value })).unwrap(),
    }
}

fn services(specs: &[(&str, &str)]) -> BTreeMap<NamespacedName, Draft> {
    let named = specs.iter().map(|(name, spec)| (NamespacedName::new("shop", *name), draft(spec)));
    named.collect()
}

fn cidr(name: &str, blocks: &[&str]) -> ServiceCidr {
    let cidrs = blocks.iter().map(|block| model::parse_cidr(block).unwrap()).collect();
    ServiceCidr { name: name.into(), cidrs }
}

fn spec<'a>(services: &'a BTreeMap<NamespacedName, Draft>, name: &str) -> &'a wire::ServiceSpec {
    services[&NamespacedName::new("shop", name)].wire.spec.get().unwrap()
}

fn texts(list: &Field<Vec<Field<String>>>) -> Vec<&str> {
    list.items().iter().map(Field::text).collect()
}

#[test]
fn families_and_addresses_follow_what_is_asked_for() {
    const NONE: &[ServiceCidr] = &[];
    let v4 = [cidr("kubernetes", &["10.88.0.0/24"])];
    let v6 = [cidr("kubernetes", &["fd88::/112"])];
    let dual = [cidr("kubernetes", &["fd88::/112", "10.88.0.0/24"])];
    // What a Service says, the cluster's blocks, and the prefixes of the addresses that it gets.
    let cases: &[(&str, &[ServiceCidr], &[&str])] = &[
        ("{}", NONE, &["10.96.0.0/12"]),
        ("{clusterIP: ''}", NONE, &["10.96.0.0/12"]),
        ("{}", &v4, &["10.88.0.0/24"]),
        ("{}", &v6, &["fd88::/112"]),
        ("{}", &dual, &["fd88::/112"]),
        ("{ipFamilies: [IPv4]}", &dual, &["10.88.0.0/24"]),
        ("{ipFamilies: [IPv6]}", NONE, &["fd00:10:96::/112"]),
        ("{ipFamilies: [IPv4, IPv6]}", &dual, &["10.88.0.0/24", "fd88::/112"]),
        ("{ipFamilyPolicy: SingleStack}", &dual, &["fd88::/112"]),
        ("{ipFamilyPolicy: PreferDualStack}", &dual, &["fd88::/112", "10.88.0.0/24"]),
        ("{ipFamilyPolicy: PreferDualStack}", &v4, &["10.88.0.0/24"]),
        ("{ipFamilyPolicy: PreferDualStack}", NONE, &["10.96.0.0/12", "fd00:10:96::/112"]),
        ("{ipFamilyPolicy: RequireDualStack}", &v4, &["10.88.0.0/24", "fd00:10:96::/112"]),
        ("{clusterIP: 10.88.0.9}", &dual, &["10.88.0.9/32"]),
        (
            "{clusterIP: 10.88.0.9, ipFamilyPolicy: PreferDualStack}",
            &dual,
            &["10.88.0.9/32", "fd88::/112"],
        ),
        ("{clusterIPs: [10.88.0.9, 'fd88::9']}", &dual, &["10.88.0.9/32", "fd88::9/128"]),
        ("{type: ExternalName}", NONE, &[]),
    ];
    for (text, cidrs, expected) in cases {
        let mut all = services(&[("web", text)]);
        let allocated = fill(&mut all, cidrs);
        let spec = spec(&all, "web");
        let addresses = texts(&spec.cluster_ips);
        assert_eq!(addresses.len(), expected.len(), "{text}");
        for (address, block) in addresses.iter().zip(*expected) {
            let (address, block) = (model::parse_ip(address).unwrap(), model::parse_cidr(block));
            assert!(block.unwrap().contains(&address), "{text}: {address}");
        }
        assert_eq!(spec.cluster_ip.text(), addresses.first().copied().unwrap_or_default());
        let families: Vec<_> = addresses
            .iter()
            .map(|address| Family::of(address.parse().unwrap()).to_string())
            .collect();
        assert_eq!(texts(&spec.ip_families), families, "{text}");
        let chosen =
            expected.iter().filter(|block| !block.ends_with("/32") && !block.ends_with("/128"));
        assert_eq!(allocated.addresses.len(), chosen.count(), "{text}");
        assert_eq!(allocated.notices, []);
    }
}

#[test]
fn headless_services_get_families_and_no_address() {
    let mut all = services(&[("web", "{clusterIP: None, ipFamilyPolicy: PreferDualStack}")]);
    assert_eq!(fill(&mut all, &[]), Allocated::default());
    assert_eq!(spec(&all, "web").cluster_ip.text(), "None");
    assert_eq!(texts(&spec(&all, "web").ip_families), ["IPv4", "IPv6"]);
}

#[test]
fn what_cannot_be_read_is_left_as_it_is() {
    for text in
        ["{clusterIP: 10.0.0.300}", "{clusterIP: 7}", "{ipFamilies: [IPv5]}", "{ipFamilies: 4}"]
    {
        let mut all = services(&[("web", text)]);
        let before = draft(text).wire;
        assert_eq!(fill(&mut all, &[]), Allocated::default(), "{text}");
        assert_eq!(all[&NamespacedName::new("shop", "web")].wire, before, "{text}");
    }
}

#[test]
fn a_name_keeps_its_address_whoever_comes() {
    let mut alone = services(&[("web", "{}")]);
    fill(&mut alone, &[]);
    let mut many = services(&[("api", "{}"), ("web", "{}"), ("zoo", "{}")]);
    fill(&mut many, &[]);
    assert_eq!(spec(&alone, "web"), spec(&many, "web"));
    assert_eq!(spec(&alone, "web").cluster_ip.text(), "10.97.113.60");
}

#[test]
fn taken_addresses_are_passed_over_and_a_full_block_is_noticed() {
    let chosen = {
        let mut all = services(&[("web", "{}")]);
        fill(&mut all, &[cidr("a", &["10.88.0.0/24"])]);
        spec(&all, "web").cluster_ip.text().to_owned()
    };
    let other = format!("{{clusterIP: {chosen}}}");
    let mut all = services(&[("web", "{}"), ("zoo", &other)]);
    let allocated = fill(&mut all, &[cidr("a", &["10.88.0.0/24"])]);
    assert_ne!(spec(&all, "web").cluster_ip.text(), chosen);
    assert_eq!(allocated.addresses.len(), 1);

    // Six addresses of a /29, then those of the next block, then none.
    let names: Vec<_> = (0..10).map(|index| format!("s{index}")).collect();
    let specs: Vec<_> = names.iter().map(|name| (name.as_str(), "{}")).collect();
    let mut all = services(&specs);
    let allocated = fill(&mut all, &[cidr("a", &["10.88.0.0/29"]), cidr("b", &["10.89.0.0/30"])]);
    let mut addresses: Vec<_> =
        allocated.addresses.iter().map(|(_, address)| address.to_string()).collect();
    addresses.sort();
    let expected = ["10.88.0.1", "10.88.0.2", "10.88.0.3", "10.88.0.4", "10.88.0.5", "10.88.0.6"];
    assert_eq!(addresses, [&expected[..], &["10.89.0.1", "10.89.0.2"]].concat());
    let notices: Vec<_> = allocated.notices.iter().map(ToString::to_string).collect();
    assert_eq!(
        notices,
        ["s8", "s9"].map(|name| format!(
            "Service shop/{name}: there is no free IPv4 address in 10.88.0.0/29, 10.89.0.0/30 left; \
             name one in the manifest, or free some"
        ))
    );
}

#[test]
fn node_ports_are_chosen_where_the_api_server_would() {
    let two = "ports: [{port: 53, protocol: UDP}, {port: 53}]";
    let cases = [
        (format!("{{type: ClusterIP, {two}}}"), 0),
        (format!("{{type: NodePort, {two}}}"), 2),
        (format!("{{type: LoadBalancer, {two}}}"), 2),
        (format!("{{type: LoadBalancer, allocateLoadBalancerNodePorts: false, {two}}}"), 0),
        (format!("{{type: LoadBalancer, externalTrafficPolicy: Local, {two}}}"), 3),
        (format!("{{type: NodePort, externalTrafficPolicy: Local, {two}}}"), 2),
        ("{type: NodePort, ports: [{port: 80, nodePort: 0}]}".into(), 1),
        ("{type: NodePort, ports: [{port: 80, nodePort: 30080}]}".into(), 0),
        ("{type: NodePort, ports: [{port: 80, nodePort: many}]}".into(), 0),
    ];
    for (text, expected) in cases {
        let mut all = services(&[("web", &text)]);
        let allocated = fill(&mut all, &[]);
        assert_eq!(allocated.node_ports.len(), expected, "{text}");
        for (_, port) in allocated.node_ports {
            assert!((30_086..32_768).contains(&port), "{text}: {port}");
        }
    }
    // One number in two protocols has one node port.
    let mut all = services(&[("dns", &format!("{{type: NodePort, {two}}}"))]);
    fill(&mut all, &[]);
    let ports = spec(&all, "dns").ports.items();
    assert_eq!(ports[0].get().unwrap().node_port, ports[1].get().unwrap().node_port);
}

#[test]
fn every_node_port_is_chosen_once() {
    let names: Vec<_> = (0..2_770).map(|index| format!("s{index:04}")).collect();
    let text = "{type: NodePort, ports: [{port: 80}]}";
    let specs: Vec<_> = names.iter().map(|name| (name.as_str(), text)).collect();
    let mut all = services(&specs);
    let allocated = fill(&mut all, &[]);
    let distinct: BTreeSet<_> = allocated.node_ports.iter().map(|(_, port)| *port).collect();
    assert_eq!(distinct, (30_000..=32_767).collect());
    assert_eq!(allocated.notices.len(), 2);
}

#[test]
fn a_target_port_is_the_port_where_none_is_named() {
    let cases = [
        ("{port: 80}", IntOrText::Int(80).into()),
        ("{port: 80, targetPort: 0}", IntOrText::Int(80).into()),
        ("{port: 80, targetPort: ''}", IntOrText::Int(80).into()),
        ("{port: 80, targetPort: http}", IntOrText::Text("http".into()).into()),
        ("{port: 80, targetPort: 99999}", IntOrText::Int(99_999).into()),
        ("{port: 80, targetPort: [1]}", Field::Wrong("a list".into())),
        ("{}", Field::Absent),
    ];
    for (port, expected) in cases {
        let mut all = services(&[("web", &format!("{{ports: [{port}]}}"))]);
        fill(&mut all, &[]);
        let [Field::Is(filled)] = spec(&all, "web").ports.items() else { panic!("{port}") };
        assert_eq!(filled.target_port, expected, "{port}");
    }
}
