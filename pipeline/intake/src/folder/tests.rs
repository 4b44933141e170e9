use model::{Cluster, Family, Protocol, TargetPort};
use proptest::prelude::*;

use super::document::Format;
use super::*;

/// What files with these names and texts would say in a folder.
pub(crate) fn contents(files: &[(&str, &str)]) -> FolderContents {
    let files = files.iter().map(|&(name, text)| {
        let format = if name.ends_with(".json") { Format::Json } else { Format::Yaml };
        let name = Arc::from(name);
        let contents = FileContents::new(&name, format, text.as_bytes());
        (name, contents)
    });
    contents_of(files.collect())
}

/// The Cluster that one file makes; nothing may be wrong with it.
pub(crate) fn cluster(text: &str) -> Cluster {
    let contents = contents(&[("m.yaml", text)]);
    assert!(contents.errors.is_empty(), "{:?}", contents.errors);
    assert_eq!(contents.notices, []);
    apply(contents)
}

pub(crate) fn apply(contents: FolderContents) -> Cluster {
    let mut cluster = Cluster::default();
    contents.changes.into_iter().for_each(|change| drop(cluster.apply(change)));
    cluster
}

fn texts(notices: &[Notice]) -> Vec<String> {
    notices.iter().map(ToString::to_string).collect()
}

fn errors(contents: &FolderContents) -> Vec<String> {
    contents.errors.iter().map(ToString::to_string).collect()
}

/// The lesson's Service, as every introduction to Services has it.
const MY_SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: my-service
spec:
  selector:
    app.kubernetes.io/name: MyApp
  ports:
    - protocol: TCP
      port: 80
      targetPort: 9376
";

#[test]
fn the_lessons_service_is_one_that_an_api_server_stored() {
    let contents = contents(&[("my-service.yaml", MY_SERVICE)]);
    assert_eq!((errors(&contents), texts(&contents.notices)), (vec![], vec![]));
    let name = NamespacedName::new("default", "my-service");
    let [(service, address)] = &contents.allocated[..] else { panic!("{contents:?}") };
    assert_eq!(*service, name);
    assert!(model::parse_cidr("10.96.0.0/12").unwrap().contains(address));

    let address = *address;
    let cluster = apply(contents);
    let service = cluster.service(&name).unwrap();
    assert_eq!(service.cluster_ip(Family::V4), Some(address));
    assert_eq!(service.cluster_ip(Family::V6), None);
    assert_eq!(service.service_type, model::ServiceType::ClusterIP);
    assert_eq!(service.external_traffic_policy, model::TrafficPolicy::Cluster);
    assert_eq!(service.internal_traffic_policy, model::TrafficPolicy::Cluster);
    assert_eq!(service.affinity, model::Affinity::None);
    assert_eq!(service.created, None);
    let [port] = &service.ports[..] else { panic!("{service:?}") };
    assert_eq!((port.port, port.protocol, port.node_port), (80, Protocol::Tcp, None));
    assert_eq!(port.target_port, Some(TargetPort::Number(9376)));
}

#[test]
fn defaults_are_those_of_the_api_server() {
    let cluster = cluster(
        "{apiVersion: v1, kind: Service, metadata: {name: a, namespace: shop}, \
         spec: {type: NodePort, ports: [{port: 80}]}}",
    );
    let service = cluster.service(&NamespacedName::new("shop", "a")).unwrap();
    let [port] = &service.ports[..] else { panic!("{service:?}") };
    assert_eq!((port.protocol, &port.target_port), (Protocol::Tcp, &Some(TargetPort::Number(80))));
    assert!(port.node_port.is_some());
    assert_eq!(service.ip_families, [Family::V4]);
}

#[test]
fn of_two_objects_with_one_name_the_first_file_counts() {
    let service = |port: u16| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\n\
             spec: {{clusterIP: 10.96.0.7, ports: [{{port: {port}}}]}}\n"
        )
    };
    let twice = format!("{}---\n{}", service(81), service(82));
    let contents = contents(&[("b/x.yaml", &twice), ("a.yaml", &service(80))]);
    assert_eq!(
        texts(&contents.notices),
        [
            "Service default/a: it stands in a.yaml:1 and again in b/x.yaml:1: the first counts, \
             the second is left out",
            "Service default/a: it stands in a.yaml:1 and again in b/x.yaml:6 (document 2): the \
             first counts, the second is left out",
        ]
    );
    let cluster = apply(contents);
    assert_eq!(cluster.services().len(), 1);
    assert_eq!(cluster.services().values().next().unwrap().ports[0].port, 80);
}

#[test]
fn kinds_and_versions_are_told_apart() {
    let text = |api: &str, kind: &str| {
        format!("{{apiVersion: {api}, kind: {kind}, metadata: {{name: a}}, spec: {{}}}}\n")
    };
    // What is skipped without a word, and what is left out with one.
    let cases = [
        ("apps/v1", "Deployment", ""),
        ("serving.knative.dev/v1", "Service", ""),
        ("v1", "ConfigMap", ""),
        ("kustomize.config.k8s.io/v1beta1", "Kustomization", ""),
        (
            "discovery.k8s.io/v1beta1",
            "EndpointSlice",
            "EndpointSlice default/a: apiVersion is discovery.k8s.io/v1beta1: expected version v1; \
             the object is left out (m.yaml:1)",
        ),
        (
            "networking.k8s.io/v1alpha1",
            "ServiceCIDR",
            "ServiceCIDR a: apiVersion is networking.k8s.io/v1alpha1: expected version v1 or \
             v1beta1; the object is left out (m.yaml:1)",
        ),
        (
            "v1",
            "Endpoints",
            "Endpoints default/a: Endpoints are not read: write an EndpointSlice with the label \
             kubernetes.io/service-name (m.yaml:1)",
        ),
    ];
    for (api, kind, expected) in cases {
        let contents = contents(&[("m.yaml", &text(api, kind))]);
        assert_eq!(errors(&contents), Vec::<String>::new(), "{kind}");
        assert_eq!(texts(&contents.notices).concat(), expected, "{kind}");
        assert_eq!(apply(contents), Cluster::default(), "{kind}");
    }
}

#[test]
fn an_object_without_a_usable_name_is_an_error() {
    let cases = [
        ("{name: ''}", "m.yaml:2: expected metadata.name in this Service, found none"),
        ("{}", "m.yaml:2: expected metadata.name in this Service, found none"),
        (
            "{name: 7}",
            "m.yaml:2: expected a text in metadata.name of this Service, found \"7\" (what YAML \
             takes for something else needs quotes)",
        ),
        // YAML 1.1, which kubectl reads, takes a lone n for a boolean.
        (
            "{name: n}",
            "m.yaml:2: expected a text in metadata.name of this Service, found \"false\" (what YAML \
             takes for something else needs quotes)",
        ),
        (
            "{name: a, namespace: [x]}",
            "m.yaml:2: expected a text in metadata.namespace of this Service, found \"[\\\"x\\\"]\" \
             (what YAML takes for something else needs quotes)",
        ),
    ];
    for (metadata, expected) in cases {
        let text = format!("---\napiVersion: v1\nkind: Service\nmetadata: {metadata}\n");
        assert_eq!(errors(&contents(&[("m.yaml", &text)])), [expected]);
    }
}

#[test]
fn a_bad_field_is_noticed_with_its_manifest_and_costs_only_itself() {
    let broken = MY_SERVICE.replace("port: 80", "port: eighty").replace("my-", "your-");
    let contents = contents(&[("a.yaml", MY_SERVICE), ("b.yaml", &broken)]);
    let notices = texts(&contents.notices);
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(
        notices[0].starts_with("Service default/your-service: spec.ports[0].port is "),
        "{notices:?}"
    );
    assert!(notices[0].ends_with(" (b.yaml:1)"), "{notices:?}");
    assert_eq!(apply(contents).services().len(), 2);
}

#[test]
fn the_order_of_documents_changes_nothing() {
    let documents = [
        MY_SERVICE.to_owned(),
        "{apiVersion: v1, kind: Pod, metadata: {name: p, labels: {app.kubernetes.io/name: MyApp}}, \
         status: {phase: Running, podIP: 10.0.0.1}}\n"
            .to_owned(),
        "{apiVersion: v1, kind: Service, metadata: {name: z}, spec: {type: NodePort, \
         selector: {app.kubernetes.io/name: MyApp}, ports: [{port: 1}]}}\n"
            .to_owned(),
        "{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: c}, \
         spec: {cidrs: [10.88.0.0/24]}}\n"
            .to_owned(),
    ];
    let forward = cluster(&documents.join("---\n"));
    let mut reversed = documents.clone();
    reversed.reverse();
    assert_eq!(forward, cluster(&reversed.join("---\n")));
    assert_eq!(forward.services().len(), 2);
}

const FRAGMENTS: &[&str] = &[
    "---\n",
    "...\n",
    "apiVersion: v1\n",
    "kind: Service\n",
    "kind: List\nitems:\n",
    "- ",
    "  ",
    "{",
    "}",
    "[",
    "]",
    ": ",
    "&a ",
    "*a ",
    "!!binary x\n",
    "|\n",
    ">-\n",
    "\"",
    "'",
    "# c\n",
    "\t",
    "\r\n",
    "\u{feff}",
    "metadata:\n  name: x\n",
    "spec:\n  ports:\n  - port: 80\n",
    "<<: *a\n",
    "? ",
    "%TAG ! x\n",
    "é",
    "\0",
    "~",
    "1e999",
    ".nan",
    "items: null\n",
    "kind: Pod\n",
];

fn rubbish() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop_oneof![
        4 => prop::sample::select(FRAGMENTS).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn rubbish_costs_only_its_own_document(bytes in rubbish(), json in any::<bool>()) {
        let mut files = Files::new();
        let mut put = |name: &str, format, bytes: &[u8]| {
            let name = Arc::from(name);
            let contents = FileContents::new(&name, format, bytes);
            files.insert(name, contents);
        };
        let (format, other) = if json { (Format::Json, "b.json") } else { (Format::Yaml, "b.yaml") };
        put("a.yaml", Format::Yaml, MY_SERVICE.as_bytes());
        put(other, format, &bytes);
        // In one file with a good document before and one behind.
        let good = MY_SERVICE.replace("my-service", "before");
        let behind = MY_SERVICE.replace("my-service", "behind");
        let whole = [good.as_bytes(), b"---\n", &bytes, b"\n---\n", behind.as_bytes()].concat();
        put("c.yaml", Format::Yaml, &whole);
        let contents = contents_of(files);
        for error in &contents.errors {
            prop_assert!(!error.to_string().contains('\n'), "{error:?}");
        }
        let cluster = apply(contents);
        for name in ["my-service", "before", "behind"] {
            prop_assert!(cluster.service(&NamespacedName::new("default", name)).is_some(), "{name}");
        }
    }

    #[test]
    fn a_bad_field_costs_no_other_object(
        field in prop::sample::select(&[
            "clusterIP", "clusterIPs", "ipFamilies", "ports", "selector", "type", "ipFamilyPolicy",
            "allocateLoadBalancerNodePorts", "sessionAffinityConfig", "externalIPs",
        ][..]),
        value in prop::sample::select(&[
            "7", "-1", "1.5", "true", "null", "[]", "[1]", "[null]", "{}", "{a: {b: c}}", "''", "x",
            "[{port: -1}]", "[{port: 80, nodePort: 99999}]", "[10.0.0.1, 10.0.0.2, 10.0.0.3]", "[IPv6, IPv6]",
        ][..]),
    ) {
        let bad = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: bad}}\nspec:\n  {field}: {value}\n"
        );
        let contents = contents(&[("m.yaml", &format!("{bad}---\n{MY_SERVICE}"))]);
        prop_assert!(contents.errors.is_empty());
        let cluster = apply(contents);
        let alone = apply(super::tests::contents(&[("m.yaml", MY_SERVICE)]));
        let name = NamespacedName::new("default", "my-service");
        prop_assert_eq!(cluster.service(&name), alone.service(&name));
    }
}
