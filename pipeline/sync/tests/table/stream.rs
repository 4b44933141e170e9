//! Real connections, while rules come, change and go: a namespace that is node, client and Pod at
//! once, with every Pod's address on its loopback interface.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use lab::Namespace;
use model::Family;
use render::nftables::Ruleset;
use sync::iptables::Iptables;
use sync::table::{self, Nftables};

use crate::fixture::{Kind, World, address, intent_of, node, owner, plain, ruleset};
use crate::namespace::listing;

/// Long enough for a busy machine; what is refused is refused at once.
const PATIENCE: Duration = Duration::from_secs(5);

struct Place {
    namespace: Namespace,
    families: Vec<Family>,
}

/// A namespace whose loopback interface has the addresses of so many Pods.
fn place(families: &[Family], pods: u32) -> Place {
    let namespace = Namespace::new().unwrap();
    // Packets to a cluster IP need a way; an error that the kernel makes of one that would take the
    // loopback interface never comes back.
    let mut script = String::from(
        "ip link set lo up; ip link add way type veth peer name nowhere\n\
         ip link set way up; ip link set nowhere up\n",
    );
    for &family in families {
        let length = if family == Family::V4 { 32 } else { 128 };
        for pod in 0..pods {
            let pod = address(family, 64, pod);
            script += &format!("ip addr add {pod}/{length} dev lo{}\n", quick(family));
        }
        let vips = if family == Family::V4 { "10.96.0.0/12" } else { "fd00:0:0:60::/64" };
        script += &format!("ip route add {vips} dev way\n");
    }
    let output = namespace.command("sh").args(["-ec", &script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Place { namespace, families: families.to_vec() }
}

/// Without the wait for somebody else with the same address.
fn quick(family: Family) -> &'static str {
    if family == Family::V6 { " nodad" } else { "" }
}

impl Place {
    fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.run(work).unwrap()
    }

    /// Each Pod answers every connection with its own number.
    fn serve(&self, pods: u32) {
        for &family in &self.families {
            for pod in 0..pods {
                let at = SocketAddr::new(address(family, 64, pod), 8080);
                let listener = self.run(|| TcpListener::bind(at).unwrap());
                thread::spawn(move || {
                    for stream in listener.incoming() {
                        let _ = stream.map(|mut stream| {
                            std::io::Write::write_all(&mut stream, &pod.to_be_bytes())
                        });
                    }
                });
            }
        }
    }
}

/// Which Pod answers.
fn connect(to: SocketAddr) -> std::io::Result<u32> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut number = [0; 4];
    stream.read_exact(&mut number)?;
    Ok(u32::from_be_bytes(number))
}

fn vip(family: Family, number: u32) -> SocketAddr {
    SocketAddr::new(address(family, 96, number), 80)
}

/// Connects without a pause until told to stop; returns how often, and what went wrong.
fn stream(place: &Place, to: SocketAddr, work: impl FnOnce()) -> (usize, Vec<String>) {
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let wrong = thread::scope(|scope| {
        let (stopped, counted) = (stop.clone(), count.clone());
        let client = scope.spawn(move || {
            place.run(move || {
                let mut wrong = Vec::new();
                while !stopped.load(Ordering::Relaxed) {
                    if let Err(error) = connect(to) {
                        wrong.push(error.to_string());
                    }
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                wrong
            })
        });
        work();
        stop.store(true, Ordering::Relaxed);
        client.join().unwrap()
    });
    (count.load(Ordering::Relaxed), wrong)
}

/// Lets some connections pass.
fn pause() {
    thread::sleep(Duration::from_millis(100));
}

#[test]
fn connections_reach_every_endpoint_in_both_families() {
    let place = place(&Family::ALL, 3);
    place.serve(3);
    let world = World::from([(1, plain(0, 3)), (2, plain(0, 0))]);
    place.run(|| Nftables::open().unwrap().reconcile(&ruleset(&world)).unwrap());
    for family in Family::ALL {
        let pods: BTreeSet<u32> =
            place.run(|| (0..60).map(|_| connect(vip(family, 1)).unwrap()).collect());
        assert_eq!(pods, BTreeSet::from([0, 1, 2]), "{family}");
        let refused = place.run(|| connect(vip(family, 2))).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{family}");
        let counted = place.run(|| Nftables::open().unwrap().counters(family).unwrap());
        let of = |number: u32| {
            let service = format!("ns/svc{number}:p");
            let mut all = counted.iter();
            all.find(|one| one.service.as_deref() == Some(&service)).unwrap().packets
        };
        assert_eq!((of(1), of(2) > 0), (60, true), "{family}");
    }
}

#[test]
fn datagrams_and_affinity_work_in_both_families() {
    let place = place(&Family::ALL, 4);
    let kind = Kind { udp: true, sticky: Some(600), ..plain(0, 3) };
    let rules = ruleset(&World::from([(1, kind.clone())]));
    place.run(|| Nftables::open().unwrap().reconcile(&rules).unwrap());
    for family in Family::ALL {
        let pods: Vec<UdpSocket> = (0..3)
            .map(|pod| {
                let at = SocketAddr::new(address(family, 64, pod), 8080);
                let socket = place.run(|| UdpSocket::bind(at).unwrap());
                socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
                socket
            })
            .collect();
        let client = address(family, 64, 3);
        let ask = |port: u16| -> usize {
            let from = SocketAddr::new(client, port);
            place.run(|| UdpSocket::bind(from).unwrap().send_to(b"?", vip(family, 1)).unwrap());
            let mut buffer = [0; 8];
            let heard = (0..3).find(|&pod| pods[pod].recv_from(&mut buffer).is_ok());
            heard.unwrap_or_else(|| panic!("{family}: nobody heard the datagram"))
        };
        let first = ask(20_000);
        for port in 20_001..20_006 {
            assert_eq!(ask(port), first, "{family}: the client stays");
        }
        // A restart that has nothing to do, and a change of another Service, forget nobody.
        let more = ruleset(&World::from([(1, kind.clone()), (2, plain(9, 2))]));
        for rules in [&rules, &more, &rules] {
            place.run(|| Nftables::open().unwrap().reconcile(rules).unwrap());
            assert_eq!(ask(20_010), first, "{family}: the client stays");
        }
        let mut left = kind.clone();
        left.endpoints.remove(first);
        let left = ruleset(&World::from([(1, left)]));
        place.run(|| Nftables::open().unwrap().reconcile(&left).unwrap());
        let second = ask(20_020);
        assert_ne!(second, first, "{family}: the endpoint left");
        assert_eq!(ask(20_021), second, "{family}: the new choice stays");
        place.run(|| Nftables::open().unwrap().reconcile(&rules).unwrap());
    }
}

/// A start that adopts, a table of another layout, changes and refused owners: nobody notices.
#[test]
fn no_connection_is_lost_while_the_table_is_written() {
    let place = place(&[Family::V4], 3);
    place.serve(3);
    let world = World::from([(1, plain(0, 3))]);
    let mut large = world.clone();
    large.extend((100..1_100).map(|number| (number, plain(number, 5))));
    let (small, large): (Ruleset, Ruleset) = (ruleset(&world), ruleset(&large));
    place.run(|| Nftables::open().unwrap().reconcile(&small).unwrap());
    let (count, wrong) = stream(&place, vip(Family::V4, 1), || {
        for rules in [&large, &small, &large, &large] {
            place.run(|| Nftables::open().unwrap().reconcile(rules).unwrap());
            pause();
        }
        // The declaration of one map changes, and with it the layout.
        let mut other = small.clone();
        other.options.affinity_size = 10;
        for rules in [&other, &small] {
            let written = place.run(|| Nftables::open().unwrap().reconcile(rules).unwrap());
            assert_eq!(written.batches, 1);
            pause();
        }
    });
    assert!(count > 50, "{count} connections");
    assert_eq!(wrong, Vec::<String>::new(), "of {count}");
}

/// From iptables to nftables and back, twice: new rules stand before old ones go.
#[test]
fn no_connection_is_lost_between_the_modes() {
    let place = place(&[Family::V4], 3);
    place.serve(3);
    let world = World::from([(1, plain(0, 3)), (2, plain(3, 2))]);
    let native = ruleset(&world);
    let intent = intent_of(&world, node(), &Family::ALL);
    let options = render::iptables::Options::default();
    let legacy = render::iptables::ruleset(&intent, &options);
    let to_iptables = || {
        place.run(|| {
            Iptables::open().unwrap().reconcile(&legacy).unwrap();
            assert_eq!(table::remove().unwrap().tables.len(), 2);
        });
    };
    let to_nftables = || {
        place.run(|| {
            Nftables::open().unwrap().reconcile(&native).unwrap();
            assert!(sync::iptables::remove().unwrap().chains.len() > 5);
            assert!(!listing().contains("KUBE-"));
        });
    };
    place.run(|| Nftables::open().unwrap().reconcile(&native).unwrap());
    let (count, wrong) = stream(&place, vip(Family::V4, 1), || {
        for _ in 0..2 {
            to_iptables();
            pause();
            to_nftables();
            pause();
        }
    });
    assert!(count > 50, "{count} connections");
    assert_eq!(wrong, Vec::<String>::new(), "of {count}");
    assert!(native.parts.contains_key(&owner(1)));
    let nothing = place.run(|| (table::remove().unwrap(), table::remove().unwrap()));
    assert_eq!((nothing.0.tables.len(), nothing.1.tables.len()), (2, 0));
    let gone = place.run(|| connect(vip(Family::V4, 1)));
    assert!(gone.is_err());
}
