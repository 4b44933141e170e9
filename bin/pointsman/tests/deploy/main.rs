//! The program as `deploy/` starts it: with those arguments, and in an image with nothing else.

#![allow(clippy::unwrap_used, clippy::panic)] // tests: helpers beside the test functions

#[path = "../folder/mod.rs"]
mod folder;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use folder::Folder;
use lab::Namespace;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pointsman");

/// What the base of the image has besides (glibc and the compiler's support library).
const BASE: [&str; 5] =
    ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "libdl.so.2", "ld-linux-x86-64.so.2"];

fn daemon_set() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/daemonset.yaml");
    fs::read_to_string(path).unwrap()
}

/// The block text of a ConfigMap's key.
fn file(manifest: &str, name: &str) -> String {
    let start = format!("  {name}: |\n");
    let lines = manifest.split(&start).nth(1).unwrap().lines();
    let block = lines.take_while(|line| line.starts_with("    "));
    block.map(|line| format!("{}\n", &line[4..])).collect()
}

/// The arguments of a container, with its environment filled in.
fn arguments(manifest: &str, container: &str) -> Vec<String> {
    let start = format!("- name: {container}\n");
    let lines = manifest.split(&start).nth(1).unwrap().lines();
    let list = lines.skip_while(|line| line.trim() != "args:").skip(1);
    let words = list.map_while(|line| line.trim().strip_prefix("- "));
    words.map(|word| word.replace("$(NODE_NAME)", "node-1")).collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
fn arguments_and_configuration_are_understood_without_a_warning() {
    let manifest = daemon_set();
    let folder = Folder::new();
    let (config, written) =
        (folder.path().join("config.conf"), folder.path().join("effective.yaml"));
    fs::write(&config, file(&manifest, "config.conf")).unwrap();
    for (container, last) in [("kernel-settings", "--init-only"), ("pointsman", "--hostname")] {
        let words = arguments(&manifest, container);
        assert_eq!(words[0], "run");
        assert!(words.last().unwrap().starts_with(last), "{words:?}");
        let mut program = Command::new(PROGRAM);
        for word in words {
            program.arg(word.replace("/etc/pointsman/config.conf", config.to_str().unwrap()));
        }
        // It is told to stop before it does anything.
        let output = program.arg("--write-config-to").arg(&written).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(said(&output), "", "{container}");
        let effective = fs::read_to_string(&written).unwrap();
        for line in ["mode: iptables", "clusterCIDR: 10.244.0.0/16", "hostnameOverride: node-1"] {
            assert!(effective.contains(line), "no {line}: {effective}");
        }
        fs::remove_file(&written).unwrap();
    }
}

/// What the chart gives the right to read, and the plain manifest, are the same.
#[test]
fn the_chart_and_the_manifest_grant_the_same_for_policies() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let read = |path: &str| fs::read_to_string(deploy.join(path)).unwrap();
    let chart = read("helm/pointsman/templates/policy.yaml");
    let chart = chart.replace("{{ .Release.Namespace }}", "kube-system");
    let bare = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with(['#', '{']));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let manifest = read("rbac-policy.yaml");
    assert_eq!(bare(&chart), bare(&manifest));
    for kind in ["pods", "namespaces", "networkpolicies", "clusternetworkpolicies"] {
        assert!(manifest.contains(kind), "no right to read {kind}");
    }
}

const MANIFEST: &str = "\
apiVersion: v1
kind: Service
metadata: {name: my-service, namespace: default}
spec:
  clusterIP: 10.88.0.30
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: my-service-1
  namespace: default
  labels: {kubernetes.io/service-name: my-service}
addressType: IPv4
ports: [{name: '', port: 8080, protocol: TCP}]
endpoints:
- {addresses: [10.77.1.4], nodeName: node-1, conditions: {ready: true}}
";

/// Makes the image's file system of a folder and goes into it as a container runtime would: all
/// read-only, `/proc/sys` too, one capability (and the one that `chroot` itself needs), no way to
/// more privileges.
const CONTAINER: &str = "
    root=$1; shift
    mount --rbind \"$root\" \"$root\"
    mount -t proc proc \"$root/proc\"
    mount --bind \"$root/proc/sys\" \"$root/proc/sys\"
    mount -o remount,bind,ro \"$root/proc/sys\"
    mount -o remount,bind,ro \"$root\"
    exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,+net_admin,+sys_chroot \
        chroot \"$root\" \"$@\"";

#[test]
fn the_image_needs_no_other_file_and_no_other_right() {
    let root = Folder::new();
    for folder in ["usr/local/bin", "proc", "manifests"] {
        fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    fs::copy(PROGRAM, root.path().join("usr/local/bin/pointsman")).unwrap();
    root.write("manifests/my-service.yaml", MANIFEST);
    let libraries = Command::new("ldd").arg(PROGRAM).output().unwrap();
    for line in said(&libraries).lines().filter(|line| !line.contains("linux-vdso")) {
        let path = line.split_whitespace().find(|word| word.starts_with('/')).unwrap();
        let name = path.rsplit('/').next().unwrap();
        assert!(BASE.contains(&name), "the base of the image has no {name}");
        let place = root.path().join(&path[1..]);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(path, place).unwrap();
    }
    let node = Namespace::new().unwrap();
    let inside = |words: &[&str]| {
        let mut command = node.command("unshare");
        command.args(["--mount", "--pid", "--fork", "sh", "-ec", CONTAINER, "sh"]).arg(root.path());
        command.args(words).output().unwrap()
    };
    let output = inside(&[
        "/usr/local/bin/pointsman",
        "run",
        "--once",
        "--hostname-override=node-1",
        "--cluster-cidr=10.77.0.0/16",
        "--manifests=/manifests",
    ]);
    assert!(output.status.success(), "{}", said(&output));
    // What the init container is for cannot be done here, is named, and stops nothing.
    assert!(said(&output).contains("route_localnet"), "{}", said(&output));
    let saved = node.command("iptables-save").output().unwrap();
    assert!(said(&saved).contains("--to-destination 10.77.1.4:8080"), "{}", said(&saved));
    // That nothing else was there is true.
    let shell = inside(&["/bin/sh", "-c", "true"]);
    assert!(said(&shell).contains("No such file"), "{}", said(&shell));
}
