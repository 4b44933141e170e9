//! A folder of real files: what counts, what is refused, and what a running source makes of changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod scratch;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use intake::folder::{FolderSource, read};
use intake::{Delivery, Error};
use model::{Change, Cluster};
use scratch::Scratch;
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::JoinHandle;
use tokio::time::timeout;

fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  clusterIP: 10.96.0.{port}\n  \
         ports:\n  - port: {port}\n"
    )
}

/// Services as `name:port`.
fn services(cluster: &Cluster) -> Vec<String> {
    let all = cluster.services().values();
    all.map(|service| format!("{}:{}", service.name.name, service.ports[0].port)).collect()
}

fn read_services(folder: &Scratch) -> Vec<String> {
    let mut cluster = Cluster::default();
    let contents = read(folder.path()).unwrap();
    assert!(contents.errors.is_empty(), "{:?}", contents.errors);
    contents.changes.into_iter().for_each(|change| drop(cluster.apply(change)));
    services(&cluster)
}

#[test]
fn files_count_by_their_ending_in_nested_folders_too() {
    let folder = Scratch::new();
    folder.write("a.yaml", service("a", 1));
    folder.write("b.yml", service("b", 2));
    folder.write("deep/er/c.yaml", service("c", 3));
    folder.write(
        "d.json",
        r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"d"},"spec":{"clusterIP":"10.96.0.4","ports":[{"port":4}]}}"#,
    );
    for name in ["e.txt", "f.yaml~", ".g.yaml", ".git/h.yaml", "i.yaml.swp", "README"] {
        folder.write(name, service("no", 9));
    }
    folder.write("empty.yaml", "");
    fs::create_dir(folder.path().join("folder.yaml")).unwrap();
    folder.write("folder.yaml/j.yaml", service("j", 10));
    assert_eq!(read_services(&folder), ["a:1", "b:2", "c:3", "d:4", "j:10"]);
}

#[test]
fn links_are_followed_and_loops_end() {
    let (folder, elsewhere) = (Scratch::new(), Scratch::new());
    elsewhere.write("a.yaml", service("a", 1));
    elsewhere.write("more/b.yaml", service("b", 2));
    symlink(elsewhere.path().join("a.yaml"), folder.path().join("linked.yaml")).unwrap();
    symlink(elsewhere.path().join("more"), folder.path().join("linked")).unwrap();
    assert_eq!(read_services(&folder), ["a:1", "b:2"]);

    symlink(folder.path(), folder.path().join("loop")).unwrap();
    let contents = read(folder.path()).unwrap();
    let errors: Vec<_> = contents.errors.iter().map(ToString::to_string).collect();
    assert!(errors.iter().any(|error| error.contains("nested more than 16 deep")), "{errors:?}");
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = Scratch::new();
    folder.write("good.yaml", service("good", 1));
    symlink("nowhere.yaml", folder.path().join("dangling.yaml")).unwrap();
    symlink("self.yaml", folder.path().join("self.yaml")).unwrap();
    folder.write("broken.yaml", format!("{}---\nkind: [\n", service("half", 2)));
    nix::unistd::mkfifo(&folder.path().join("pipe.yaml"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let contents = read(folder.path()).unwrap();
    let errors: Vec<_> = contents.errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors[0].starts_with("broken.yaml:"), "{errors:?}");
    assert!(errors[0].contains("(document 2): expected YAML, found "), "{errors:?}");
    assert_eq!(errors[1], "pipe.yaml: it cannot be read: it is no regular file");
    assert!(errors[2].starts_with("self.yaml: it cannot be read: "), "{errors:?}");
}

#[test]
fn a_folder_that_is_none_is_an_error() {
    let folder = Scratch::new();
    folder.write("file.yaml", "");
    for (name, reason) in [("missing", "No such file"), ("file.yaml", "Not a directory")] {
        let path = folder.path().join(name);
        let error = read(&path).unwrap_err();
        assert!(matches!(&error, Error::Folder { path: named, .. } if *named == path));
        assert!(error.to_string().contains(reason), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

/// A source that runs, and the Cluster that it makes.
struct Running {
    cluster: Cluster,
    receiver: Receiver<Delivery>,
    source: JoinHandle<Result<(), Error>>,
    notices: Vec<String>,
}

impl Running {
    fn start(path: impl Into<PathBuf>) -> Self {
        let (sender, receiver) = mpsc::channel(8);
        let source = tokio::spawn(FolderSource::new(path).run(sender));
        Self { cluster: Cluster::default(), receiver, source, notices: Vec::new() }
    }

    fn take(&mut self, delivery: Delivery) {
        assert!(delivery.complete);
        delivery.changes.into_iter().for_each(|change| drop(self.cluster.apply(change)));
        self.notices = delivery.notices.iter().map(ToString::to_string).collect();
    }

    /// Waits until the Services are these.
    async fn until(&mut self, expected: &[&str]) {
        while services(&self.cluster) != expected {
            let delivery = timeout(Duration::from_secs(10), self.receiver.recv()).await;
            let delivery = delivery.unwrap_or_else(|_| {
                panic!("still {:?}, not {expected:?}", services(&self.cluster))
            });
            self.take(delivery.unwrap());
        }
    }

    /// Waits until a notice has these words.
    async fn until_noticed(&mut self, words: &str) {
        while !self.notices.iter().any(|notice| notice.contains(words)) {
            let delivery = timeout(Duration::from_secs(10), self.receiver.recv()).await;
            let delivery = delivery.unwrap_or_else(|_| panic!("{words}: {:?}", self.notices));
            self.take(delivery.unwrap());
        }
    }

    /// Nothing comes for a while.
    async fn silent(&mut self, millis: u64) {
        let more = timeout(Duration::from_millis(millis), self.receiver.recv()).await;
        assert!(more.is_err(), "{more:?}");
    }
}

#[tokio::test]
async fn what_editors_and_tools_do_is_followed() {
    let folder = Scratch::new();
    folder.write("a.yaml", service("a", 1));
    let mut running = Running::start(folder.path());
    running.until(&["a:1"]).await;
    running.silent(300).await;

    folder.write("b.yaml", service("b", 2));
    running.until(&["a:1", "b:2"]).await;
    folder.write("new/deep/c.yaml", service("c", 3));
    running.until(&["a:1", "b:2", "c:3"]).await;
    folder.write("a.yaml", service("a", 4));
    running.until(&["a:4", "b:2", "c:3"]).await;
    // As editors save: a new file in the old one's place.
    folder.write(".a.yaml.new", service("a", 5));
    fs::rename(folder.path().join(".a.yaml.new"), folder.path().join("a.yaml")).unwrap();
    running.until(&["a:5", "b:2", "c:3"]).await;
    fs::remove_file(folder.path().join("b.yaml")).unwrap();
    running.until(&["a:5", "c:3"]).await;
    fs::remove_dir_all(folder.path().join("new")).unwrap();
    running.until(&["a:5"]).await;

    // What changes nothing sends nothing.
    folder.write("a.yaml", format!("# again\n{}", service("a", 5)));
    folder.write("notes.txt", "x");
    running.silent(1500).await;

    drop(running.receiver);
    let ended = timeout(Duration::from_secs(5), running.source).await;
    ended.expect("the source goes on though nobody listens").unwrap().unwrap();
}

/// Comparing stamps alone would take a second for each change.
#[tokio::test]
async fn announced_changes_do_not_wait_for_the_next_comparison() {
    let folder = Scratch::new();
    folder.write("deep/a.yaml", service("a", 1));
    let mut running = Running::start(folder.path());
    running.until(&["a:1"]).await;
    let start = std::time::Instant::now();
    for port in 2..8 {
        folder.write("deep/a.yaml", service("a", port));
        running.until(&[&format!("a:{port}")]).await;
    }
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_half_written_file_withdraws_nothing() {
    let folder = Scratch::new();
    let both = format!("{}---\n{}", service("a", 1), service("b", 2));
    folder.write("m.yaml", &both);
    folder.write("other.yaml", service("other", 3));
    let mut running = Running::start(folder.path());
    running.until(&["a:1", "b:2", "other:3"]).await;

    // The first document has changed, the second is cut in the middle of a line.
    let half = format!("{}---\n{}", service("a", 4), "apiVersion: v1\nkind: Service\nmeta");
    folder.write("m.yaml", &half);
    running.until(&["a:4", "b:2", "other:3"]).await;
    running.until_noticed("m.yaml:").await;
    assert!(running.notices[0].contains("(document 2): expected YAML"), "{:?}", running.notices);
    // And once more, another way.
    folder.write("m.yaml", "kind: {");
    running.until_noticed("m.yaml:1: expected YAML").await;
    assert_eq!(services(&running.cluster), ["a:4", "b:2", "other:3"]);

    // An object that moves to another file is not kept twice.
    folder.write("other.yaml", format!("{}---\n{}", service("other", 3), service("b", 7)));
    running.until(&["a:4", "b:7", "other:3"]).await;
    folder.write("m.yaml", service("a", 8));
    running.until(&["a:8", "b:7", "other:3"]).await;
    assert_eq!(running.notices, Vec::<String>::new());
    folder.write("m.yaml", "# nothing any more\n");
    running.until(&["b:7", "other:3"]).await;
}

#[tokio::test]
async fn a_file_that_is_emptied_for_a_moment_withdraws_nothing() {
    let folder = Scratch::new();
    folder.write("a.yaml", service("a", 1));
    let mut running = Running::start(folder.path());
    running.until(&["a:1"]).await;
    folder.write("a.yaml", "");
    tokio::time::sleep(Duration::from_millis(250)).await;
    folder.write("a.yaml", service("a", 2));
    let delivery = timeout(Duration::from_secs(5), running.receiver.recv()).await.unwrap().unwrap();
    running.take(delivery);
    assert_eq!(services(&running.cluster), ["a:2"]);
    // One that stays empty is meant so.
    folder.write("a.yaml", "");
    running.until(&[]).await;
}

#[tokio::test]
async fn a_mounted_configmap_is_swapped_as_one() {
    let folder = Scratch::new();
    folder.write("..v1/a.yaml", service("a", 1));
    folder.write("..v1/b.yaml", service("b", 2));
    symlink("..v1", folder.path().join("..data")).unwrap();
    for name in ["a.yaml", "b.yaml"] {
        symlink(format!("..data/{name}"), folder.path().join(name)).unwrap();
    }
    let mut running = Running::start(folder.path());
    running.until(&["a:1", "b:2"]).await;

    folder.write("..v2/a.yaml", service("a", 3));
    folder.write("..v2/b.yaml", service("b", 4));
    symlink("..v2", folder.path().join("..data_tmp")).unwrap();
    fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    let delivery = timeout(Duration::from_secs(5), running.receiver.recv()).await.unwrap().unwrap();
    running.take(delivery);
    assert_eq!(services(&running.cluster), ["a:3", "b:4"]);
    fs::remove_dir_all(folder.path().join("..v1")).unwrap();
    running.silent(1500).await;
}

#[tokio::test]
async fn a_link_to_elsewhere_is_followed_by_comparison() {
    let (folder, elsewhere) = (Scratch::new(), Scratch::new());
    elsewhere.write("a.yaml", service("a", 1));
    symlink(elsewhere.path().join("a.yaml"), folder.path().join("a.yaml")).unwrap();
    let mut running = Running::start(folder.path());
    running.until(&["a:1"]).await;
    elsewhere.write("a.yaml", service("a", 2));
    running.until(&["a:2"]).await;
}

#[tokio::test]
async fn a_folder_that_vanishes_and_comes_back_loses_nothing() {
    let parent = Scratch::new();
    parent.write("m/a.yaml", service("a", 1));
    let path = parent.path().join("m");
    let mut running = Running::start(&path);
    running.until(&["a:1"]).await;

    fs::rename(&path, parent.path().join("away")).unwrap();
    running.until_noticed("cannot be read").await;
    assert_eq!(services(&running.cluster), ["a:1"]);
    running.silent(1500).await;

    parent.write("m/a.yaml", service("a", 1));
    parent.write("m/b.yaml", service("b", 2));
    running.until(&["a:1", "b:2"]).await;
    assert_eq!(running.notices, Vec::<String>::new());
    // It is watched again.
    parent.write("m/b.yaml", service("b", 3));
    running.until(&["a:1", "b:3"]).await;

    // Replaced by another folder in one step.
    parent.write("next/c.yaml", service("c", 4));
    fs::remove_dir_all(parent.path().join("away")).unwrap();
    fs::rename(&path, parent.path().join("away")).unwrap();
    fs::rename(parent.path().join("next"), &path).unwrap();
    running.until(&["c:4"]).await;
    parent.write("m/c.yaml", service("c", 5));
    running.until(&["c:5"]).await;
}

#[tokio::test]
async fn the_first_read_must_succeed() {
    let folder = Scratch::new();
    let running = Running::start(folder.path().join("missing"));
    let error = running.source.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Folder { .. }), "{error}");
}

#[tokio::test]
async fn every_delivery_of_facts_holds_complete_lists() {
    let folder = Scratch::new();
    folder.write("a.yaml", service("a", 1));
    let (sender, mut receiver) = mpsc::channel(8);
    let source = tokio::spawn(FolderSource::new(folder.path()).run(sender));
    let delivery = receiver.recv().await.unwrap();
    assert!(delivery.complete);
    let kinds: Vec<_> = delivery
        .changes
        .iter()
        .map(|change| match change {
            Change::Nodes(_) => "nodes",
            Change::ServiceCidrs(_) => "cidrs",
            Change::Services(_) => "services",
            Change::Slices(_) => "slices",
            Change::Pods(_) => "pods",
            Change::Namespaces(_) => "namespaces",
            Change::NetworkPolicies(_) => "policies",
            Change::ClusterNetworkPolicies(_) => "cluster policies",
            other => panic!("{other:?}"),
        })
        .collect();
    let routing = ["nodes", "cidrs", "services", "slices"];
    let policy = ["pods", "namespaces", "policies", "cluster policies"];
    assert_eq!(kinds, [routing, policy].concat());
    source.abort();
}

#[test]
fn a_folder_says_what_policies_depend_on() {
    let folder = Scratch::new();
    folder.write(
        "policy.yaml",
        r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: a}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web}, uid: u1}
spec:
  nodeName: alpha
  containers:
  - ports: [{name: http, containerPort: 8080}, {containerPort: 9090}]
  initContainers:
  - {restartPolicy: Always, ports: [{name: dns, containerPort: 53, protocol: UDP}]}
  - {ports: [{name: once, containerPort: 1}]}
status:
  phase: Running
  startTime: "2026-01-01T00:00:05Z"
  podIPs: [{ip: 10.77.1.4}, {ip: "fd77:1::4"}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec: {podSelector: {}}
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: admin}
spec:
  tier: Admin
  priority: 3
  subject: {namespaces: {}}
  egress:
  - {action: Deny, to: [{networks: [169.254.0.0/16]}]}
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: ClusterNetworkPolicy
metadata: {name: of-old}
"#,
    );
    let contents = read(folder.path()).unwrap();
    let mut cluster = Cluster::default();
    contents.changes.into_iter().for_each(|change| drop(cluster.apply(change)));
    let pod = cluster.pods().values().next().unwrap();
    let ports: Vec<_> = pod.ports.iter().map(|port| (&*port.name, port.port)).collect();
    assert_eq!(ports, [("http", 8080), ("dns", 53)]);
    assert_eq!(pod.ips.len(), 2);
    assert_eq!((pod.node.as_deref(), pod.counts()), (Some("alpha"), true));
    assert_eq!(pod.started, Some(1_767_225_605));
    let labels = cluster.namespace_labels(&"shop".into());
    assert_eq!(labels.get("kubernetes.io/metadata.name").map(|it| &**it), Some("shop"));
    assert_eq!(labels.get("team").map(|it| &**it), Some("a"));
    assert_eq!(cluster.network_policies().len(), 1);
    assert_eq!(cluster.cluster_network_policies()["admin"].egress.len(), 1);
    let [notice] = contents.notices.as_slice() else { panic!("{:?}", contents.notices) };
    assert!(notice.to_string().contains("expected version v1alpha2"), "{notice}");
}
