//! Reading, filtering and deleting tracked connections, with `conntrack` as second opinion.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{Cut, Family, FlowDestination, Protocol, StaleFlows};
use sync::conntrack::sysctls::{self, Setting, Timeout, Wishes};
use sync::conntrack::{Conntrack, Deletion, Entry, Filter, Filtering, Marking, ProtocolState};
use sync::netlink::{ACK, CREATE, Encoder, Header, REQUEST, SendBudget, Socket};

use crate::namespace::{sh, within};

/// A connection to put into the table.
#[derive(Clone, Copy, Debug)]
struct Fake {
    protocol: Protocol,
    from: SocketAddr,
    to: SocketAddr,
    answers_from: SocketAddr,
    /// The state of TCP or SCTP.
    state: u8,
    assured: bool,
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn udp(from: &str, to: &str, answers_from: &str) -> Fake {
    let (from, to, answers_from) = (at(from), at(to), at(answers_from));
    Fake { protocol: Protocol::Udp, from, to, answers_from, state: 0, assured: false }
}

/// Puts a connection into the table, as `conntrack -I` does.
fn insert(socket: &mut Socket, fake: &Fake) {
    let family = if fake.to.is_ipv4() { libc_family::V4 } else { libc_family::V6 };
    let mut out = Encoder::default();
    let message = out.message(Header {
        // NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_NEW
        kind: 1 << 8,
        flags: REQUEST | ACK | CREATE | 0x200,
        sequence: socket.next_sequence(),
        family,
        resource: 0,
    });
    for (kind, source, destination) in [(1, fake.from, fake.to), (2, fake.answers_from, fake.from)]
    {
        let direction = out.nest(kind);
        let ip = out.nest(1);
        for (v4, v6, address) in [(1, 3, source.ip()), (2, 4, destination.ip())] {
            match address {
                IpAddr::V4(address) => out.raw(v4, &address.octets()),
                IpAddr::V6(address) => out.raw(v6, &address.octets()),
            }
        }
        out.close(ip);
        let protocol = out.nest(2);
        out.raw(1, &[fake.protocol.number()]);
        out.raw(2, &source.port().to_be_bytes());
        out.raw(3, &destination.port().to_be_bytes());
        out.close(protocol);
        out.close(direction);
    }
    // IPS_CONFIRMED, with IPS_SEEN_REPLY | IPS_ASSURED
    out.be32(3, if fake.assured { 0x8 | 0x2 | 0x4 } else { 0x8 });
    out.be32(7, 300);
    let nest = match fake.protocol {
        Protocol::Tcp => Some(1),
        Protocol::Sctp => Some(3),
        Protocol::Udp => None,
    };
    if let Some(kind) = nest {
        let states = out.nest(4);
        let state = out.nest(kind);
        out.raw(1, &[fake.state]);
        if fake.protocol == Protocol::Sctp {
            out.be32(2, 1);
            out.be32(3, 2);
        }
        out.close(state);
        out.close(states);
    }
    out.end(message);
    socket.request("insert a connection", &out, |_| {}).unwrap_or_else(|e| panic!("{e} {fake:?}"));
}

mod libc_family {
    pub(super) const V4: u8 = 2;
    pub(super) const V6: u8 = 10;
}

/// Ten thousand connections that have nothing to do with any Service.
fn foreigners(socket: &mut Socket) {
    for n in 0..10_000u32 {
        let [_, _, high, low] = n.to_be_bytes();
        let from = SocketAddr::from(([192, 168, high, low], 40_000));
        let to = SocketAddr::from(([198, 18, low, high], if n % 2 == 0 { 53 } else { 8125 }));
        let protocol = if n % 3 == 0 { Protocol::Tcp } else { Protocol::Udp };
        let fake = Fake { protocol, from, to, answers_from: to, state: 3, assured: true };
        insert(socket, &fake);
    }
}

fn all(conntrack: &mut Conntrack, filter: &Filter) -> Vec<Entry> {
    let mut all = BTreeMap::new();
    conntrack
        .list(filter, |entry| {
            // The clock goes on between two questions.
            all.insert((entry.protocol, entry.original), Entry { timeout: None, ..*entry });
        })
        .unwrap();
    all.into_values().collect()
}

fn stale(protocol: Protocol, to: &str, keep: &[&str]) -> StaleFlows {
    let to = at(to);
    StaleFlows {
        family: Family::of(to.ip()),
        protocol,
        destination: FlowDestination::Address(to.ip()),
        port: to.port(),
        keep: Arc::new(keep.iter().map(|text| at(text)).collect()),
        translated: if protocol == Protocol::Tcp { Cut::HalfOpen } else { Cut::All },
        untranslated: if protocol == Protocol::Udp { Cut::All } else { Cut::HalfOpen },
    }
}

/// What `conntrack -L` prints of each entry, in our words: protocol, both directions, TCP's state.
fn listed(arguments: &str) -> BTreeSet<(String, String)> {
    let text = sh(&format!("conntrack -L -o extended {arguments} 2>/dev/null || true"));
    text.lines()
        .map(|line| {
            let mut words = line.split_whitespace().skip(2);
            let protocol = words.next().unwrap().to_owned();
            let rest: Vec<&str> = words.collect();
            let tuple = |nth: usize| {
                let value = |key: &str| {
                    let mut values =
                        rest.iter().filter_map(|w| w.strip_prefix(key)?.strip_prefix('='));
                    values.nth(nth).unwrap().to_owned()
                };
                [value("src"), value("sport"), value("dst"), value("dport")].join(" ")
            };
            let state = rest.iter().find(|word| matches!(**word, "SYN_SENT" | "ESTABLISHED"));
            let assured = rest.contains(&"[ASSURED]");
            let words = format!("{} | {} | {state:?} {assured}", tuple(0), tuple(1));
            (protocol, words)
        })
        .collect()
}

fn in_words(entries: &[Entry]) -> BTreeSet<(String, String)> {
    let tuple = |tuple: &sync::conntrack::Tuple| {
        let (from, to) = (tuple.source, tuple.destination);
        format!("{} {} {} {}", from.ip(), from.port(), to.ip(), to.port())
    };
    entries
        .iter()
        .map(|entry| {
            let protocol = entry.flow().unwrap().protocol;
            let state = match entry.state {
                Some(ProtocolState::Tcp(1)) => Some("SYN_SENT"),
                Some(ProtocolState::Tcp(3) | ProtocolState::Sctp(4)) => Some("ESTABLISHED"),
                _ => None,
            };
            let state = state.as_ref();
            let (original, reply) = (tuple(&entry.original), tuple(&entry.reply));
            let words = format!("{original} | {reply} | {state:?} {}", entry.is_assured());
            (protocol.lower().to_owned(), words)
        })
        .collect()
}

/// One of each kind.
fn zoo() -> Vec<Fake> {
    let tcp = |state, assured, port| Fake {
        protocol: Protocol::Tcp,
        state,
        assured,
        ..udp(&format!("10.77.1.9:{port}"), "10.88.0.10:80", "10.77.2.5:8080")
    };
    let sctp = Fake { protocol: Protocol::Sctp, state: 4, ..tcp(4, true, 36412) };
    vec![
        udp("10.77.1.9:4001", "10.88.0.25:8125", "10.77.2.5:8125"),
        udp("10.77.1.9:4002", "10.88.0.25:8125", "10.77.2.6:8125"),
        udp("10.77.1.9:4003", "10.88.0.25:8125", "10.88.0.25:8125"),
        udp("10.77.1.9:4004", "10.88.0.26:8125", "10.77.2.5:8125"),
        udp("198.51.100.7:9000", "10.9.0.1:30053", "10.77.2.5:53"),
        udp("[fd77:1::9]:4001", "[fd88::25]:8125", "[fd77:2::5]:8125"),
        tcp(1, false, 5001),
        tcp(3, true, 5002),
        sctp,
    ]
}

#[test]
fn entries_are_read_as_conntrack_prints_them() {
    within(|| {
        let mut socket = Socket::open(SendBudget::Granted).unwrap();
        zoo().iter().for_each(|fake| insert(&mut socket, fake));
        let mut conntrack = Conntrack::open().unwrap();
        for (family, name) in [(Family::V4, "ipv4"), (Family::V6, "ipv6")] {
            let ours = in_words(&all(&mut conntrack, &Filter::family(family)));
            assert!(!ours.is_empty());
            assert_eq!(ours, listed(&format!("-f {name}")));
        }
        let count: u32 = sh("conntrack -C").trim().parse().unwrap();
        assert_eq!(conntrack.fill().unwrap().entries, count);
        let limit: u32 = sh("cat /proc/sys/net/netfilter/nf_conntrack_max").trim().parse().unwrap();
        assert_eq!(conntrack.fill().unwrap().limit, limit);
    });
}

#[test]
fn the_kernels_filters_and_ours_agree() {
    within(|| {
        let mut socket = Socket::open(SendBudget::Granted).unwrap();
        zoo().iter().for_each(|fake| insert(&mut socket, fake));
        let (mut kernel, mut here) = (Conntrack::open().unwrap(), Conntrack::open().unwrap());
        here.filter_here();
        let addresses = ["10.88.0.25", "10.88.0.10", "10.9.0.1", "fd88::25", "1.2.3.4"];
        let mut sizes = BTreeSet::new();
        for family in Family::ALL {
            let fitting = addresses.map(|text| text.parse::<IpAddr>().unwrap());
            let fitting = fitting.into_iter().filter(|address| Family::of(*address) == family);
            for destination in fitting.map(Some).chain([None]) {
                for protocol in [None, Some(6), Some(17), Some(132), Some(1)] {
                    for port in [None, Some(80), Some(8125), Some(30053)] {
                        for not_assured in [false, true] {
                            let filter = Filter {
                                protocol,
                                destination,
                                port,
                                not_assured,
                                ..Filter::family(family)
                            };
                            let found = all(&mut kernel, &filter);
                            assert_eq!(found, all(&mut here, &filter), "{filter:?}");
                            assert_eq!(kernel.filtering(), Filtering::Kernel, "{filter:?}");
                            sizes.insert(found.len());
                        }
                    }
                }
            }
        }
        assert!(sizes.len() > 4, "the filters differ: {sizes:?}");
    });
}

#[test]
fn both_ends_of_a_flow_are_filtered_by() {
    within(|| {
        let mut socket = Socket::open(SendBudget::Granted).unwrap();
        zoo().iter().for_each(|fake| insert(&mut socket, fake));
        let (mut kernel, mut here) = (Conntrack::open().unwrap(), Conntrack::open().unwrap());
        here.filter_here();
        for family in Family::ALL {
            let whole = all(&mut here, &Filter::family(family));
            let ends = |end: fn(&Entry) -> SocketAddr| {
                whole.iter().map(|entry| Some(end(entry).ip())).collect::<BTreeSet<_>>()
            };
            let sources = ends(|entry| entry.original.source);
            let answering = ends(|entry| entry.reply.source);
            assert!(!sources.is_empty() && !answering.is_empty());
            for source in sources.into_iter().chain([None]) {
                for answers_from in answering.iter().copied().chain([None]) {
                    let filter = Filter { source, answers_from, ..Filter::family(family) };
                    let found = all(&mut kernel, &filter);
                    assert_eq!(found, all(&mut here, &filter), "{filter:?}");
                    assert_eq!(kernel.filtering(), Filtering::Kernel, "{filter:?}");
                    let fits = |entry: &&Entry| {
                        source.is_none_or(|it| it == entry.original.source.ip())
                            && answers_from.is_none_or(|it| it == entry.reply.source.ip())
                    };
                    let expected: Vec<Entry> = whole.iter().filter(fits).copied().collect();
                    assert_eq!(found, expected, "{filter:?}");
                }
            }
        }
        // Of the addresses of one family the kernel makes the choice itself.
        let filter =
            Filter { answers_from: Some(at("10.77.2.5:0").ip()), ..Filter::family(Family::V4) };
        let transferred = kernel.list(&filter, |_| {}).unwrap();
        assert!(
            transferred > 0
                && transferred < kernel.list(&Filter::family(Family::V4), |_| {}).unwrap()
        );
    });
}

#[test]
fn bits_of_a_mark_are_set_and_cleared_and_the_others_stay() {
    within(|| {
        let mut socket = Socket::open(SendBudget::Granted).unwrap();
        zoo().iter().for_each(|fake| insert(&mut socket, fake));
        let mut conntrack = Conntrack::open().unwrap();
        for family in Family::ALL {
            let before = all(&mut conntrack, &Filter::family(family));
            let chosen = before[before.len() / 2];
            let mut mark = |bits, mask| {
                assert_eq!(conntrack.mark(&chosen, bits, mask).unwrap(), Marking::Done);
                all(&mut conntrack, &Filter::family(family))
            };
            mark(0x0100, 0xff00);
            let after = mark(0x8000, 0x8000);
            for (old, new) in before.iter().zip(&after) {
                let marked = if *old == chosen { 0x8100 } else { 0 };
                assert_eq!(*new, Entry { mark: marked, ..*old }, "nothing else differs");
            }
            let after = mark(0, 0x8000);
            assert_eq!(after[before.len() / 2].mark, 0x0100);
            assert_eq!(conntrack.delete(&chosen).unwrap(), Deletion::Done);
            assert_eq!(conntrack.mark(&chosen, 1, 1).unwrap(), Marking::Gone);
            let left = all(&mut conntrack, &Filter::family(family));
            assert_eq!(left.len(), before.len() - 1, "marking makes no entry");
        }
    });
}

#[test]
fn foreign_entries_are_neither_touched_nor_transferred() {
    within(|| {
        let mut socket = Socket::open(SendBudget::Granted).unwrap();
        foreigners(&mut socket);
        zoo().iter().for_each(|fake| insert(&mut socket, fake));
        let mut conntrack = Conntrack::open().unwrap();
        let before = all(&mut conntrack, &Filter::family(Family::V4));
        let list = [stale(Protocol::Udp, "10.88.0.25:8125", &["10.77.2.6:8125"])];
        let removed = conntrack.remove(&list).unwrap();
        // To another endpoint, and to none; the third is kept.
        assert_eq!((removed.deleted, removed.transferred, removed.questions), (2, 3, 1));
        let after = all(&mut conntrack, &Filter::family(Family::V4));
        let gone: Vec<&Entry> = before.iter().filter(|entry| !after.contains(entry)).collect();
        let ports: BTreeSet<u16> = gone.iter().map(|e| e.original.source.port()).collect();
        assert_eq!((before.len() - after.len(), ports), (2, BTreeSet::from([4001, 4003])));
        // TCP: of all entries of the protocol, only those in doubt come.
        let many: Vec<StaleFlows> =
            (1..=20).map(|n| stale(Protocol::Tcp, &format!("10.88.0.{n}:80"), &[])).collect();
        let removed = conntrack.remove(&many).unwrap();
        assert_eq!((removed.deleted, removed.transferred, removed.questions), (1, 1, 1));
        assert_eq!(conntrack.remove(&many).unwrap().deleted, 0, "twice does no harm");
    });
}

/// Where the kernel cannot filter, the same entries go.
#[test]
fn without_the_kernels_filters_the_same_entries_go() {
    let outcome = |here: bool, count: u8| {
        let (sender, receiver) = std::sync::mpsc::channel();
        within(move || {
            let mut socket = Socket::open(SendBudget::Granted).unwrap();
            zoo().iter().for_each(|fake| insert(&mut socket, fake));
            let mut conntrack = Conntrack::open().unwrap();
            if here {
                conntrack.filter_here();
            }
            let mut list = vec![
                stale(Protocol::Udp, "10.88.0.25:8125", &["10.77.2.6:8125"]),
                stale(Protocol::Udp, "[fd88::25]:8125", &[]),
                stale(Protocol::Tcp, "10.88.0.10:80", &[]),
                stale(Protocol::Sctp, "10.88.0.10:80", &[]),
                StaleFlows {
                    destination: FlowDestination::NodePort(Arc::new(
                        [at("10.9.0.1:0").ip()].into(),
                    )),
                    ..stale(Protocol::Udp, "10.9.0.1:30053", &[])
                },
            ];
            list.extend((0..count).map(|n| stale(Protocol::Udp, &format!("10.0.0.{n}:1"), &[])));
            let removed = conntrack.remove(&list).unwrap();
            let left: Vec<_> = Family::ALL
                .into_iter()
                .flat_map(|family| all(&mut conntrack, &Filter::family(family)))
                .map(|entry| (entry.protocol, entry.original, entry.reply))
                .collect();
            sender.send((removed.deleted, left)).unwrap();
        });
        receiver.recv().unwrap()
    };
    let expected = outcome(false, 0);
    assert_eq!(expected.0, 6, "{:?}", expected.1);
    for (here, count) in [(true, 0), (false, 20), (true, 20)] {
        assert_eq!(outcome(here, count), expected, "{here} {count}");
    }
}

/// What is deleted is the entry that was read, not one that came in its place.
#[test]
fn an_entry_that_took_the_place_of_another_stays() {
    within(|| {
        let mut socket = Socket::open(SendBudget::Granted).unwrap();
        let mut conntrack = Conntrack::open().unwrap();
        let old = udp("10.77.1.9:4001", "10.88.0.25:8125", "10.77.2.5:8125");
        insert(&mut socket, &old);
        let read = all(&mut conntrack, &Filter::family(Family::V4))[0];
        assert!(!read.is_assured() && !read.is_answered());
        // Another entry of the same original direction has another number.
        let impostor = Entry { id: read.id.wrapping_add(1), ..read };
        assert_eq!(conntrack.delete(&impostor).unwrap(), Deletion::Gone);
        assert_eq!(all(&mut conntrack, &Filter::family(Family::V4)).len(), 1);
        assert_eq!(conntrack.delete(&read).unwrap(), Deletion::Done);
        assert_eq!(conntrack.delete(&read).unwrap(), Deletion::Gone);
        assert_eq!(conntrack.fill().unwrap().entries, 0);
    });
}

/// While others come and go, what is stale is found all the same.
#[test]
fn a_table_in_motion_hides_nothing() {
    within(|| {
        let mut socket = Socket::open(SendBudget::Granted).unwrap();
        let mut conntrack = Conntrack::open().unwrap();
        let namespace = lab::Namespace::current().unwrap();
        let running = Arc::new(AtomicBool::new(true));
        let going = running.clone();
        let churn = std::thread::spawn(move || {
            let churn = move || {
                let mut socket = Socket::open(SendBudget::Granted).unwrap();
                let mut conntrack = Conntrack::open().unwrap();
                let mut rounds = 0;
                while going.load(Ordering::Relaxed) {
                    for n in 0..200 {
                        let from = format!("192.168.{n}.1:4000");
                        insert(&mut socket, &udp(&from, "198.18.0.1:53", "198.18.0.1:53"));
                    }
                    let to = Some(at("198.18.0.1:0").ip());
                    let filter = Filter { destination: to, ..Filter::family(Family::V4) };
                    for entry in all(&mut conntrack, &filter) {
                        assert_eq!(conntrack.delete(&entry).unwrap(), Deletion::Done);
                    }
                    rounds += 1;
                }
                rounds
            };
            namespace.run(churn).unwrap()
        });
        for round in 0..100 {
            let from = format!("10.77.1.9:{}", 4000 + round);
            insert(&mut socket, &udp(&from, "10.88.0.25:8125", "10.77.2.5:8125"));
            let list = [stale(Protocol::Udp, "10.88.0.25:8125", &[])];
            assert_eq!(conntrack.remove(&list).unwrap().deleted, 1, "{round}");
            let many: Vec<_> =
                (1..=30).map(|n| stale(Protocol::Udp, &format!("10.88.0.{n}:8125"), &[])).collect();
            insert(&mut socket, &udp(&from, "10.88.0.25:8125", "10.77.2.5:8125"));
            assert_eq!(conntrack.remove(&many).unwrap().deleted, 1, "{round}");
        }
        running.store(false, Ordering::Relaxed);
        assert!(churn.join().unwrap() > 1);
    });
}

#[test]
fn counters_are_those_of_conntrack() {
    within(|| {
        sh("iptables -A INPUT -m conntrack --ctstate INVALID -j DROP
            ping -c 3 -i 0.01 127.0.0.1 || true");
        let mut conntrack = Conntrack::open().unwrap();
        let ours = conntrack.statistics().unwrap();
        let text = sh("conntrack -S");
        let sum = |key: &str| -> u64 {
            let values = text.split_whitespace().filter_map(|word| word.strip_prefix(key));
            values.map(|value| value.parse::<u64>().unwrap()).sum()
        };
        assert!(text.contains("insert_failed="));
        assert_eq!(ours.found, sum("found="));
        assert_eq!(ours.invalid, sum("invalid="));
        assert_eq!(ours.insert_failed, sum("insert_failed="));
        assert_eq!(ours.drop, sum("drop="));
        assert_eq!(ours.early_drop, sum("early_drop="));
        assert_eq!(ours.error, sum("error="));
        assert_eq!(ours.search_restart, sum("search_restart="));
        assert_eq!(ours.clash_resolve, sum("clash_resolve="));
    });
}

/// In a namespace of its own: the timeouts there are nobody else's.
#[test]
fn a10_timeouts_are_written_where_asked_and_left_elsewhere() {
    within(|| {
        let root = Path::new("/");
        let before = sysctls::read(root);
        assert!(before.cpus > 0);
        let close_wait = before.value(Setting::TcpCloseWait).unwrap();
        let wishes = Wishes {
            // The size of the table is the whole machine's.
            max_per_core: 0,
            udp: Timeout::Exactly(47),
            ..Wishes::default()
        };
        let adjustments = sysctls::plan(&wishes, &before);
        assert!(
            adjustments
                .iter()
                .all(|one| { matches!(one.setting, Setting::TcpEstablished | Setting::Udp) })
        );
        for (_, result) in sysctls::apply(root, &adjustments) {
            result.unwrap();
        }
        let after = sysctls::read(root);
        assert_eq!(after.value(Setting::Udp), Some(47));
        assert_eq!(after.value(Setting::TcpEstablished), Some(86_400));
        assert_eq!(after.value(Setting::TcpCloseWait), Some(close_wait));
        assert_eq!(after.value(Setting::Max), before.value(Setting::Max));
        assert_eq!(after.value(Setting::HashSize), before.value(Setting::HashSize));
    });
}
