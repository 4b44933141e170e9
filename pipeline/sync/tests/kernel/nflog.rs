//! Packets that rules log, as real tools write those rules.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use sync::netlink::Wake;
use sync::nflog::{Logged, Nflog};

use crate::namespace::{sh, within};

const GROUP: u16 = 77;

/// So many packets, within a time that no machine exceeds.
fn heard(log: &mut Nflog, count: usize) -> Vec<Logged> {
    let (_running, stop) = UnixStream::pair().unwrap();
    let (start, mut packets) = (Instant::now(), Vec::new());
    while packets.len() < count && start.elapsed() < Duration::from_secs(20) {
        if log.wait(stop.as_fd(), 100_u16.into()).unwrap() == Wake::Announcement {
            assert!(log.read(|packet| packets.push(packet)).unwrap());
        }
    }
    packets
}

fn send(from: &str, to: &str) {
    let socket = UdpSocket::bind(from).unwrap();
    // A dropped packet may be told to the sender as an error.
    let _ = socket.send_to(b"x", to);
}

#[test]
fn what_rules_log_is_heard_in_both_families() {
    within(|| {
        sh("ip link set lo up");
        let mut log = Nflog::open(GROUP).unwrap();
        sh("nft -f - <<X
            table inet t {
              chain out {
                type filter hook output priority 0
                udp dport 5300 log prefix \"pointsman:in:a\" group 77 drop
                udp dport 5400 log prefix \"not ours\" group 78 drop
              }
            }
X");
        send("127.0.0.1:4001", "127.0.0.2:5400");
        send("127.0.0.1:4001", "127.0.0.2:5300");
        send("[::1]:4002", "[::1]:5300");
        let packets = heard(&mut log, 2);
        let words: Vec<_> = packets.iter().map(|it| (&*it.prefix, it.protocol)).collect();
        assert_eq!(words, [("pointsman:in:a", 17); 2]);
        let ends = |packet: &Logged| {
            let (from, to) = packet.ports.unwrap();
            let source = SocketAddr::new(packet.source, from);
            format!("{source} {}", SocketAddr::new(packet.destination, to))
        };
        let ends: Vec<String> = packets.iter().map(ends).collect();
        assert_eq!(ends, ["127.0.0.1:4001 127.0.0.2:5300", "[::1]:4002 [::1]:5300"]);
    });
}

#[test]
fn a_target_of_iptables_is_heard_and_a_group_has_one_listener() {
    within(|| {
        sh("ip link set lo up");
        let mut log = Nflog::open(GROUP).unwrap();
        let second = Nflog::open(GROUP).unwrap_err();
        assert!(second.to_string().contains("another process may be listening"), "{second}");
        sh("iptables -A OUTPUT -p udp --dport 5300 -j NFLOG --nflog-prefix pointsman:b \
            --nflog-group 77");
        send("127.0.0.1:4001", "127.0.0.1:5300");
        let packets = heard(&mut log, 1);
        assert_eq!(packets[0].prefix, "pointsman:b");
        assert_eq!(packets[0].ports, Some((4001, 5300)));
        // Whoever comes after the first has gone is the listener.
        drop(log);
        Nflog::open(GROUP).unwrap();
    });
}
