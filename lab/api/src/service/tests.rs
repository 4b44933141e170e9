use serde_json::{Value, json};

use super::{Pools, Taken, complete};

fn pools(cidrs: &[&str], others: &[Value]) -> Pools {
    let cidrs = cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect();
    let mut taken = Taken::default();
    others.iter().for_each(|other| taken.add(other));
    Pools::new(cidrs, 30_000..=32_767, taken.into(), None)
}

const V4: &str = "10.96.0.0/12";
const V6: &str = "fd00:10:96::/112";

fn service(spec: Value) -> Value {
    let mut service = json!({"metadata": {"name": "a", "namespace": "default"}, "spec": spec});
    crate::defaults::fill("Service", &mut service);
    service
}

fn created(spec: Value, pools: &Pools) -> Result<Value, String> {
    let mut service = service(spec);
    complete(&mut service, None, pools).map_err(|error| error.to_string())?;
    Ok(service["spec"].clone())
}

fn updated(old: &Value, spec: Value, pools: &Pools) -> Value {
    let mut new = service(spec);
    let old = json!({"metadata": new["metadata"], "spec": old});
    complete(&mut new, Some(&old), pools).unwrap();
    new["spec"].clone()
}

fn ports() -> Value {
    json!([{"port": 80}])
}

#[test]
fn the_same_name_gets_the_same_address_and_two_names_get_two() {
    let pools = pools(&[V4], &[]);
    let one = created(json!({"ports": ports()}), &pools).unwrap();
    let again = created(json!({"ports": ports()}), &pools).unwrap();
    assert_eq!(one, again);
    assert_eq!(one["clusterIPs"], json!([one["clusterIP"]]));
    assert_eq!(
        (&one["ipFamilies"], &one["ipFamilyPolicy"]),
        (&json!(["IPv4"]), &json!("SingleStack"))
    );
    let taken = self::pools(&[V4], &[json!({"spec": one.clone()})]);
    let other = created(json!({"ports": ports()}), &taken).unwrap();
    assert_ne!(one["clusterIP"], other["clusterIP"]);
    let address: std::net::Ipv4Addr = one["clusterIP"].as_str().unwrap().parse().unwrap();
    assert!(u32::from(address) > u32::from_be_bytes([10, 96, 1, 0]), "{address} is reserved");
}

#[test]
fn dual_stack_follows_the_policy() {
    let dual = pools(&[V4, V6], &[]);
    let families = |policy: &str, pools: &Pools| {
        created(json!({"ports": ports(), "ipFamilyPolicy": policy}), pools)
            .map(|spec| (spec["ipFamilies"].clone(), spec["clusterIPs"].as_array().unwrap().len()))
    };
    assert_eq!(families("SingleStack", &dual).unwrap(), (json!(["IPv4"]), 1));
    assert_eq!(families("PreferDualStack", &dual).unwrap(), (json!(["IPv4", "IPv6"]), 2));
    assert_eq!(families("RequireDualStack", &dual).unwrap(), (json!(["IPv4", "IPv6"]), 2));
    let single = pools(&[V6], &[]);
    assert_eq!(families("PreferDualStack", &single).unwrap(), (json!(["IPv6"]), 1));
    let refused = families("RequireDualStack", &single).unwrap_err();
    assert!(
        refused.contains("this cluster is not configured for dual-stack services"),
        "{refused}"
    );
    let refused = created(json!({"ports": ports(), "ipFamilies": ["IPv4"]}), &single).unwrap_err();
    let expected = "Service \"a\" is invalid: spec.ipFamilies[0]: Invalid value: \"IPv4\": \
                    not configured on this cluster";
    assert_eq!(refused, expected);
    let spec = created(json!({"ports": ports(), "clusterIP": "fd00:10:96::5"}), &dual).unwrap();
    assert_eq!(spec["ipFamilies"], json!(["IPv6"]));
}

#[test]
fn a_second_address_comes_and_goes() {
    let dual = pools(&[V4, V6], &[]);
    let single = created(json!({"ports": ports()}), &dual).unwrap();
    let wish = json!({"ports": ports(), "ipFamilyPolicy": "RequireDualStack"});
    let both = updated(&single, wish, &dual);
    assert_eq!(both["clusterIPs"].as_array().unwrap().len(), 2);
    assert_eq!(both["clusterIPs"][0], single["clusterIP"]);
    let mut wish = both;
    wish["ipFamilyPolicy"] = "SingleStack".into();
    let mut old = wish.clone();
    old["ipFamilyPolicy"] = "RequireDualStack".into();
    assert_eq!(updated(&old, wish, &dual)["clusterIPs"], single["clusterIPs"]);
}

#[test]
fn headless_services_have_families_and_no_address() {
    let single = pools(&[V4], &[]);
    let wish = json!({"clusterIP": "None", "selector": {"a": "b"}});
    let spec = created(wish, &single).unwrap();
    assert_eq!(spec["clusterIPs"], json!(["None"]));
    assert_eq!(spec["ipFamilies"], json!(["IPv4"]));
    let spec = created(json!({"clusterIP": "None"}), &single).unwrap();
    assert_eq!(spec["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert_eq!(spec["ipFamilyPolicy"], "RequireDualStack");
}

#[test]
fn what_somebody_has_nobody_else_gets() {
    let other = json!({"spec": {
        "clusterIPs": ["10.96.0.10"], "ports": [{"port": 1, "nodePort": 30080}],
        "healthCheckNodePort": 30081,
    }});
    let pools = pools(&[V4], &[other]);
    let refused = |spec: Value| created(spec, &pools).unwrap_err();
    let told = refused(json!({"ports": ports(), "clusterIP": "10.96.0.10"}));
    let expected = "Service \"a\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.0.10\"]: \
                    failed to allocate IP 10.96.0.10: provided IP is already allocated";
    assert_eq!(told, expected);
    let told = refused(json!({"ports": ports(), "clusterIP": "10.10.0.10"}));
    assert!(told.ends_with("The range of valid IPs is 10.96.0.0/12"), "{told}");
    let node_port =
        |port: u16| json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
    for port in [30_080, 30_081] {
        let told = refused(node_port(port));
        assert!(told.ends_with("provided port is already allocated"), "{told}");
    }
    let told = refused(node_port(80));
    assert!(told.ends_with("The range of valid ports is 30000-32767"), "{told}");
    created(node_port(30_082), &pools).unwrap();
}

#[test]
fn node_ports_stay_with_their_port_and_go_with_the_type() {
    let pools = pools(&[V4], &[]);
    let wish = json!({"type": "NodePort", "ports": [
        {"port": 53, "protocol": "TCP", "name": "t"}, {"port": 53, "protocol": "UDP", "name": "u"},
        {"port": 80, "name": "h"},
    ]});
    let spec = created(wish, &pools).unwrap();
    let of = |spec: &Value, index: usize| spec["ports"][index]["nodePort"].clone();
    assert_eq!(of(&spec, 0), of(&spec, 1), "one number for both protocols");
    assert_ne!(of(&spec, 0), of(&spec, 2));
    assert!(of(&spec, 0).as_i64().unwrap() >= 30_086, "the lower ports are for those who choose");
    let less = updated(&spec, json!({"type": "NodePort", "ports": [{"port": 80}]}), &pools);
    assert_eq!(of(&less, 0), of(&spec, 2));
    assert_eq!(less["clusterIP"], spec["clusterIP"]);
    let mut wish = less;
    let old = wish.clone();
    wish["type"] = "ClusterIP".into();
    let inside = updated(&old, wish, &pools);
    assert_eq!(inside["ports"][0].get("nodePort"), None);
    assert_eq!(inside.get("externalTrafficPolicy"), None);
    let mut wish = inside.clone();
    wish["type"] = "ExternalName".into();
    wish["externalName"] = "db.example.net".into();
    let outside = updated(&inside, wish, &pools);
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        assert_eq!(outside.get(field), None, "{field}");
    }
}

#[test]
fn a_full_block_is_said() {
    let small = pools(&["10.96.0.0/30"], &[json!({"spec": {"clusterIPs": ["10.96.0.1"]}})]);
    assert_eq!(created(json!({"ports": ports()}), &small).unwrap()["clusterIP"], "10.96.0.2");
    let others = [json!({"spec": {"clusterIPs": ["10.96.0.1", "10.96.0.2"]}})];
    let full = pools(&["10.96.0.0/30"], &others);
    let told = created(json!({"ports": ports()}), &full).unwrap_err();
    assert!(told.ends_with("range is full"), "{told}");
}
