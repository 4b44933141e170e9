use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{setsockopt, sockopt::RcvBuf};
use tokio::sync::mpsc;

use super::*;

/// Runs a test body in a network namespace of its own.
fn in_own_namespace<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect(
            "this test needs a network namespace of its own: run it as root, or under `unshare -rn`",
        );
        body()
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

fn listed(host: &Host) -> Vec<String> {
    let lines = host.addresses.iter().map(|own| format!("{} {}", own.interface, own.address));
    lines.filter(|line| !line.contains(" fe80:")).collect()
}

#[test]
fn every_address_of_every_interface_is_listed() {
    let (before, after) = in_own_namespace(|| {
        let before = read_host().unwrap();
        ip("link set lo up");
        ip("link add uplink0 type veth peer name far0");
        ip("link set uplink0 up");
        ip("addr add 192.0.2.10/24 dev uplink0");
        ip("addr add 192.0.2.11/24 dev uplink0 label uplink0:one");
        ip("addr add 2001:db8::10/64 dev uplink0 nodad");
        (before, read_host().unwrap())
    });
    assert_eq!(listed(&before), Vec::<String>::new());
    assert_eq!(
        listed(&after),
        [
            "lo 127.0.0.1",
            "uplink0 192.0.2.10",
            "uplink0 192.0.2.11",
            "lo ::1",
            "uplink0 2001:db8::10",
        ]
    );
    assert!(after.owns("192.0.2.11".parse().unwrap()));
    assert!(!after.owns("192.0.2.12".parse().unwrap()));
}

#[test]
fn the_conntrack_switch_is_off_where_it_is_missing() {
    assert!(!be_liberal(Err(io::ErrorKind::NotFound.into())).unwrap());
    assert!(!be_liberal(Ok("0\n".into())).unwrap());
    assert!(be_liberal(Ok("1\n".into())).unwrap());
    let error = be_liberal(Err(io::ErrorKind::PermissionDenied.into())).unwrap_err();
    assert!(error.to_string().contains("nf_conntrack_tcp_be_liberal"), "{error}");
}

#[test]
fn a_host_is_sent_when_an_address_comes_or_goes() {
    in_own_namespace(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (sender, mut receiver) = mpsc::channel(4);
            let known = read_host().unwrap();
            assert_eq!(listed(&known), Vec::<String>::new());
            let watch = tokio::spawn(watch_host(known, sender));
            // What is known already is not sent again.
            let more = tokio::time::timeout(Duration::from_millis(300), receiver.recv()).await;
            assert!(more.is_err(), "{more:?}");

            ip("link set lo up");
            let expected = ["lo 127.0.0.1", "lo ::1"];
            while listed(&next(&mut receiver).await) != expected {}

            ip("addr add 198.51.100.7/32 dev lo");
            let expected = ["lo 127.0.0.1", "lo 198.51.100.7", "lo ::1"];
            assert_eq!(listed(&next(&mut receiver).await), expected);

            ip("addr del 198.51.100.7/32 dev lo");
            assert_eq!(listed(&next(&mut receiver).await), ["lo 127.0.0.1", "lo ::1"]);

            // An announcement that changes nothing that is looked at sends nothing.
            ip("link set lo mtu 9000");
            let more = tokio::time::timeout(Duration::from_millis(300), receiver.recv()).await;
            assert!(more.is_err(), "{more:?}");

            drop(receiver);
            watch.await.unwrap().unwrap();
        });
    });
}

#[test]
fn an_overrun_counts_as_an_announcement() {
    in_own_namespace(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let announcements = subscribe().unwrap();
            setsockopt(announcements.get_ref(), RcvBuf, &1).unwrap();
            ip("link set lo up");
            for last in 1..=40 {
                ip(&format!("addr add 198.51.100.{last}/32 dev lo"));
            }
            tokio::time::timeout(Duration::from_secs(5), wait(&announcements))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(read_host().unwrap().addresses.len(), 42);
            // The queue is empty afterwards: the next wait does not return at once.
            let again =
                tokio::time::timeout(Duration::from_millis(200), wait(&announcements)).await;
            assert!(again.is_err());
        });
    });
}

async fn next(receiver: &mut mpsc::Receiver<Delivery>) -> Host {
    let delivery = tokio::time::timeout(Duration::from_secs(5), receiver.recv()).await;
    match delivery.expect("nothing was sent").expect("the watch ended").changes.pop() {
        Some(Change::Host(host)) => host,
        other => panic!("a Host was expected, not {other:?}"),
    }
}
