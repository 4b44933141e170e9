//! What the lessons and our users type, beyond the transcript.

use serde_json::{Value, json};

use crate::cluster::Hands;
use crate::kubectl::Cluster;
use lab_api::StoreOptions;

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: web, labels: {a: b}}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]
";

fn json_of(cluster: &Cluster, what: &str) -> Value {
    serde_json::from_str(&cluster.ok(&format!("kubectl get {what} -o json"), "")).unwrap()
}

#[test]
fn a_manifest_of_several_kinds_is_applied_and_deleted() {
    let cluster = Cluster::new();
    let manifest = "apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: c, image: example/echo, ports: [{containerPort: 8080, name: http}],
         readinessProbe: {httpGet: {port: http}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: by-hand, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [192.0.2.7]}]
ports: [{port: 8080}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {a: b}
";
    let expected = "namespace/shop created\ndeployment.apps/web created\n\
                    endpointslice.discovery.k8s.io/by-hand created\nconfigmap/settings created\n";
    assert_eq!(cluster.ok("kubectl apply -f -", manifest), expected);
    let again = cluster.ok("kubectl apply -f -", manifest);
    assert!(again.contains("deployment.apps/web unchanged"), "{again}");
    let deployment = json_of(&cluster, "-n shop deployment web");
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["readinessProbe"]["periodSeconds"], 10);
    assert_eq!(container["imagePullPolicy"], "Always");
    let slice = json_of(&cluster, "-n shop endpointslice by-hand");
    assert_eq!(slice["ports"], json!([{"name": "", "port": 8080, "protocol": "TCP"}]));
    let deleted = cluster.ok("kubectl delete -f -", manifest);
    assert!(deleted.starts_with("namespace \"shop\" deleted"), "{deleted}");
    assert_eq!(cluster.ok("kubectl get deployments -A -o name", ""), "");
}

#[test]
fn unknown_and_duplicate_fields_are_refused_warned_about_or_dropped() {
    let cluster = Cluster::new();
    let bad = SERVICE.replace("selector:", "selektor:");
    let said = cluster.run("kubectl create -f -", &bad);
    let expected = "Error from server (BadRequest): error when creating \"STDIN\": Service in version \
                    \"v1\" cannot be handled as a Service: strict decoding error: unknown field \
                    \"spec.selektor\"";
    assert_eq!((said.exit, said.stderr.trim_end()), (1, expected));
    let said = cluster.run("kubectl create --validate=warn -f -", &bad);
    assert_eq!(
        (said.exit, said.stderr.trim_end()),
        (0, "Warning: unknown field \"spec.selektor\"")
    );
    let service = json_of(&cluster, "service web");
    assert_eq!(service["spec"].get("selektor"), None);
}

#[test]
fn wrong_types_are_told_as_a_real_server_tells_them() {
    let cluster = Cluster::new();
    let said = cluster.run("kubectl create -f -", &SERVICE.replace("port: 80", "port: web"));
    let expected = "Error from server (BadRequest): error when creating \"STDIN\": Service in version \
                    \"v1\" cannot be handled as a Service: json: cannot unmarshal string into Go \
                    struct field ServicePort.spec.ports.port of type int32";
    assert_eq!((said.exit, said.stderr.trim_end()), (1, expected));
}

#[test]
fn a_deployment_is_scaled_rolled_and_restarted() {
    let cluster = Cluster::new();
    let hands = Hands(&cluster.store);
    hands.nodes();
    let create = "kubectl create deployment my-app --image=example/echo:1 --replicas=2 --port=8080";
    cluster.ok(create, "");
    hands.deploy();
    cluster
        .ok("kubectl expose deployment my-app --name=my-service --port=80 --target-port=8080", "");
    hands.start();
    let status = cluster.ok("kubectl rollout status deployment/my-app --timeout=10s", "");
    assert_eq!(status, "deployment \"my-app\" successfully rolled out\n");
    let waited =
        cluster.ok("kubectl wait deployment/my-app --for=condition=Available --timeout=5s", "");
    assert_eq!(waited, "deployment.apps/my-app condition met\n");
    assert_eq!(
        cluster.ok("kubectl scale deployment my-app --replicas=0", ""),
        "deployment.apps/my-app scaled\n"
    );
    let said = cluster.run("kubectl scale deployment my-app --current-replicas=7 --replicas=1", "");
    assert_eq!(said.exit, 1, "{said:?}");
    cluster.ok("kubectl set image deployment/my-app echo=example/echo:2", "");
    cluster.ok("kubectl rollout restart deployment/my-app", "");
    let deployment = json_of(&cluster, "deployment my-app");
    assert_eq!(deployment["spec"]["replicas"], 0);
    assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["image"], "example/echo:2");
    let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
    assert!(annotations.get("kubectl.kubernetes.io/restartedAt").is_some(), "{annotations}");
    let generation = deployment["metadata"]["generation"].as_i64().unwrap();
    assert!(generation >= 4, "{generation}");
}

#[test]
fn every_kind_is_described_and_edited() {
    let cluster = Cluster::new();
    let hands = Hands(&cluster.store);
    hands.nodes();
    cluster
        .ok("kubectl create deployment my-app --image=example/echo:1 --replicas=2 --port=8080", "");
    hands.deploy();
    cluster.ok("kubectl apply -f -", &SERVICE.replace("web", "my-service"));
    hands.start();
    // kubectl 1.32 describes ServiceCIDRs of v1beta1, which a server of 1.36 does not have either.
    for kind in [
        "namespaces",
        "nodes",
        "pods",
        "services",
        "endpointslices",
        "deployments",
        "replicasets",
        "networkpolicies -A",
        "events",
        "leases -A",
        "endpoints -A",
        "configmaps",
    ] {
        let said = cluster.run(&format!("kubectl describe {kind}"), "");
        assert_eq!(said.exit, 0, "{kind}: {}", said.stderr);
    }
    let service = cluster.ok("kubectl describe svc my-service", "");
    assert!(service.contains("53/UDP"), "{service}");
    // On the label's line alone: a uid may end so too, and is not to be changed.
    let edit = "EDITOR=\"sed -i /a:.b$/s/b$/c/\" kubectl edit service my-service";
    assert_eq!(cluster.ok(edit, ""), "service/my-service edited\n");
    let labels = cluster.ok("kubectl get svc my-service -o jsonpath='{.metadata.labels}'", "");
    assert_eq!(labels, "{\"a\":\"c\"}");
    cluster.ok("kubectl annotate node node-0 note=x", "");
    cluster.ok("kubectl cordon node-0", "");
    let nodes = cluster.ok("kubectl get nodes", "");
    assert!(nodes.contains("node-0   Ready,SchedulingDisabled"), "{nodes}");
    let patch = "kubectl patch service my-service --subresource=status --type=merge -p \
                 '{\"status\":{\"loadBalancer\":{\"ingress\":[{\"ip\":\"192.0.2.9\"}]}}}'";
    cluster.ok(patch, "");
}

#[test]
fn deletion_waits_for_what_takes_its_time() {
    let cluster = Cluster::new();
    let hands = Hands(&cluster.store);
    hands.nodes();
    cluster
        .ok("kubectl create deployment my-app --image=example/echo:1 --replicas=2 --port=8080", "");
    hands.deploy();
    cluster.ok("kubectl apply -f -", &SERVICE.replace("web", "my-service"));
    hands.start();
    let said = cluster.run("kubectl delete pods --all --timeout=1s", "");
    assert_eq!(said.exit, 1, "nobody stops these Pods: {said:?}");
    let pods = cluster.ok("kubectl get pods", "");
    assert_eq!(pods.matches("Terminating").count(), 2, "{pods}");
    let said = cluster.run("kubectl delete pods --all --force --grace-period=0", "");
    assert_eq!(said.exit, 0, "{said:?}");
    assert_eq!(cluster.ok("kubectl get pods -o name", ""), "");
    let said = cluster.run("kubectl delete namespace default", "");
    let expected = "Error from server (Forbidden): namespaces \"default\" is forbidden: this \
                    namespace may not be deleted";
    assert_eq!(said.stderr.trim_end(), expected);
    let said = cluster.run("kubectl -n absent create configmap x", "");
    let expected = "error: failed to create configmap: namespaces \"absent\" not found";
    assert_eq!(said.stderr.trim_end(), expected);
}

#[test]
fn a_watch_shows_rows_as_they_change() {
    let cluster = Cluster::new();
    let script = "
        await() { n=0; until grep -q $1 shown; do n=$((n+1)); [ $n -lt 200 ]; sleep 0.1; done; }
        set -e
        : > shown
        kubectl get svc -w --output-watch-events --no-headers --request-timeout=60s > shown &
        await kubernetes
        kubectl apply -f - >/dev/null
        await ADDED.*web
        kubectl label svc web x=y >/dev/null
        await MODIFIED
        kubectl delete svc web >/dev/null
        await DELETED
        kill $!
        cat shown";
    let shown = cluster.ok(script, SERVICE);
    let words: Vec<_> = shown
        .lines()
        .map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(words, ["ADDED kubernetes", "ADDED web", "MODIFIED web", "DELETED web"], "{shown}");
}

#[test]
fn server_side_apply_owns_fields() {
    let cluster = Cluster::new();
    let apply = |manifest: &str, flags: &str| {
        cluster.run(&format!("kubectl apply --server-side {flags} -f -"), manifest)
    };
    assert_eq!(apply(SERVICE, "").exit, 0);
    let other = SERVICE.replace("app: web", "app: other");
    let said = apply(&other, "--field-manager=me");
    let words = said.stderr.lines().next().unwrap_or_default();
    let expected = "error: Apply failed with 1 conflict: conflict with \"kubectl\" using v1: \
                    .spec.selector";
    assert_eq!((said.exit, words), (1, expected));
    assert_eq!(apply(&other, "--field-manager=me --force-conflicts").exit, 0);
    let selector = cluster.ok("kubectl get svc web -o jsonpath='{.spec.selector.app}'", "");
    assert_eq!(selector, "other");
    let less = SERVICE.replace(", {name: dns, port: 53, protocol: UDP}", "");
    assert_eq!(apply(&less, "--force-conflicts").exit, 0);
    let ports = json_of(&cluster, "svc web")["spec"]["ports"].as_array().unwrap().len();
    assert_eq!(ports, 2, "the other manager still wants the second port");
}

#[test]
fn a_dual_stack_cluster_allocates_both_families() {
    let cidrs = ["fd00:10:96::/112", "10.96.0.0/16"].map(|cidr| cidr.parse().unwrap()).to_vec();
    let cluster = Cluster::with(StoreOptions { service_cidrs: cidrs, ..Default::default() });
    let dual = SERVICE.replace("spec:", "spec:\n  ipFamilyPolicy: PreferDualStack");
    cluster.ok("kubectl apply -f -", &dual);
    let spec = json_of(&cluster, "svc web")["spec"].clone();
    assert_eq!(spec["ipFamilies"], json!(["IPv6", "IPv4"]));
    assert_eq!(spec["clusterIPs"].as_array().unwrap().len(), 2);
    assert_eq!(spec["clusterIPs"][0], spec["clusterIP"]);
}

#[test]
fn what_is_gone_is_gone_and_what_is_wrong_is_said_in_full() {
    let cluster = Cluster::new();
    let bad = "apiVersion: v1
kind: Service
metadata: {name: Bad_Name}
spec: {type: NodePort, sessionAffinity: Nobody, externalIPs: [127.0.0.1, x]}
";
    let said = cluster.run("kubectl create -f -", bad);
    let expected = "The Service \"Bad_Name\" is invalid: \n\
        * metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 label must consist of lower \
        case alphanumeric characters or '-', and must start and end with an alphanumeric character \
        (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')\n\
        * spec.ports: Required value\n\
        * spec.sessionAffinity: Unsupported value: \"Nobody\": supported values: \"ClientIP\", \"None\"\n\
        * spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range \
        (127.0.0.0/8, ::1/128)\n\
        * spec.externalIPs[1]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or \
        2001:db8::ffff)";
    assert_eq!((said.exit, said.stderr.trim_end()), (1, expected));
    let said = cluster.run("kubectl get --raw /api/v1/namespaces/default/services/absent", "");
    assert_eq!(
        said.stderr.trim_end(),
        "Error from server (NotFound): services \"absent\" not found"
    );
    let said = cluster.run("kubectl get --raw /apis/batch/v1/jobs", "");
    let expected = "Error from server (NotFound): the server could not find the requested resource";
    assert_eq!(said.stderr.trim_end(), expected);
    let said = cluster.run("kubectl get pods --field-selector=spec.bogus=1", "");
    assert!(said.stderr.contains("field label not supported: spec.bogus"), "{said:?}");
}
