//! Labs start, stand side by side, end, crash, and leave nothing.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::stage::Stage;

#[test]
fn labs_stand_side_by_side_and_leave_nothing() {
    let stage = Stage::new();
    assert!(stage.good("pointsman lab status").contains("No lab is up"));
    let start = Instant::now();
    let first = stage.good("pointsman lab up --name one");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(first.contains("export KUBECONFIG=") && first.contains("2 nodes"), "{first}");
    stage.good("pointsman lab up --name two --nodes 3");
    assert!(stage.bad("pointsman lab up --name one").contains("is up already"));
    stage.kubectl("one", "create namespace of-one");
    assert!(!stage.kubectl("two", "get namespaces").contains("of-one"));
    assert_eq!(stage.kubectl("two", "get nodes -o name").lines().count(), 3);
    let status = stage.good("pointsman lab status");
    assert!(status.contains("one: up") && status.contains("two: up"), "{status}");
    assert!(status.contains("node/node-3"), "{status}");

    stage.good("pointsman lab down --name one");
    assert_eq!(stage.kubectl("two", "get nodes -o name").lines().count(), 3);
    stage.good("pointsman lab down --name two");
    assert!(stage.nothing_left(), "{:?}", stage.processes());
    // Nothing to end is no failure.
    assert!(stage.good("pointsman lab down --name two").contains("is not up"));
}

#[test]
fn a_crash_is_cleaned_up_by_whatever_comes_next() {
    let stage = Stage::new();
    let crash = || {
        stage.good("pointsman lab up");
        let text = fs::read_to_string(stage.folder("lab").join("pid")).unwrap();
        kill(Pid::from_raw(text.parse().unwrap()), Signal::SIGKILL).unwrap();
        // The agents follow it by themselves.
        stage.until("no process is left", || stage.processes().is_empty());
    };
    crash();
    assert!(stage.good("pointsman lab status").contains("has crashed"));
    assert!(stage.bad("pointsman lab exec outside -- true").contains("is not up"));
    stage.good("pointsman lab up");
    assert_eq!(stage.kubectl("lab", "get nodes -o name").lines().count(), 2);
    stage.good("pointsman lab down");
    crash();
    stage.good("pointsman lab down");
    assert!(stage.nothing_left());
}

#[test]
fn a_lab_that_cannot_start_says_why_and_leaves_nothing() {
    let stage = Stage::new();
    // A kernel that grants no further namespaces.
    let refusing =
        "unshare -Ur sh -c 'echo 0 > /proc/sys/user/max_net_namespaces && exec pointsman lab up'";
    let said = stage.bad(refusing);
    assert!(said.contains("user.max_user_namespaces"), "{said}");
    let said = stage.bad("pointsman lab up --name ../up");
    assert!(said.contains("letters, digits and dashes"), "{said}");
    let said = stage.bad("POINTSMAN_SANDBOX=1 pointsman lab hold");
    assert!(said.contains("pointsman lab up"), "{said}");
    assert!(stage.nothing_left());
}

#[test]
fn an_ordinary_user_has_labs_too() {
    // Inside a sandbox of one user the tests above are this one.
    let Some(stage) = Stage::unprivileged() else { return };
    stage.good("pointsman lab up --name mine");
    stage.kubectl("mine", "run client --image=echo");
    stage.kubectl("mine", "wait --for=condition=Ready pod/client --timeout=20s");
    let said = stage.good("pointsman lab exec --name mine pod/client -- sh -c 'hostname; id -u'");
    assert_eq!(said, "client\n0\n");
    let said = stage.good("pointsman lab exec --name mine node/node-1 -- iptables-save -t nat");
    assert!(said.contains("KUBE-SERVICES"), "{said}");
    stage.good("pointsman lab down --name mine");
    assert!(stage.nothing_left(), "{:?}", stage.processes());
}
