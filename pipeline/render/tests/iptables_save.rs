//! The text against the tools themselves: what `to_text` prints, `iptables-restore` takes, and
//! `iptables-save` prints back to the byte. Everything happens in a network namespace of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fixture;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};

use fixture::{
    backends, external_cluster, external_local, frontend, intent, internal, many, no_endpoints,
    node, refuse, server,
};
use model::{Family, Protocol};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use plan::{
    FrontendKind, Intent, LocalTraffic, NodeIntent, NodePortAccept, PerFamily, PoolName, Refusal,
    Refuse, Routes, VirtualServer,
};
use render::iptables::{Options, names, ruleset};

#[test]
fn iptables_save_prints_the_same_bytes() {
    // What a thread's child runs in is the thread's namespace.
    let namespace = lab::Namespace::new().expect("no network namespace: run `cargo xtask test`");
    namespace.run(compare).unwrap();
}

fn compare() {
    make_counters(&names::NFACCT_COUNTERS);
    let interface = |name: &str| {
        let local = PerFamily::of(|_| LocalTraffic::Interface(name.into()));
        NodeIntent { local_traffic: local, ..node() }
    };
    let prefix = PerFamily::of(|_| LocalTraffic::InterfacePrefix("cali".into()));
    let listed = PerFamily::of(|family| {
        let all = match family {
            Family::V4 => ["10.9.0.1", "192.0.2.9"],
            Family::V6 => ["fd09::1", "2001:db8::9"],
        };
        NodePortAccept::Addresses(all.iter().map(|ip| ip.parse().unwrap()).collect())
    });
    let unknown = PerFamily::of(|_| LocalTraffic::Unknown);
    let everybody = PerFamily::of(|family| LocalTraffic::Source(family.any()));
    let nodes = [
        (node(), Options::default()),
        (node(), Options { nfacct: true, masquerade_bit: 31, ..Options::default() }),
        (interface("cbr0"), Options { random_fully: false, ..Options::default() }),
        (NodeIntent { local_traffic: prefix, node_ports: listed, ..node() }, Options::default()),
        (
            NodeIntent {
                local_traffic: unknown,
                drop_invalid: false,
                localhost_node_ports: false,
                node_ports: PerFamily::of(|_| NodePortAccept::AnyLocal { loopback: false }),
                ..node()
            },
            Options::default(),
        ),
        (NodeIntent { local_traffic: everybody, ..node() }, Options::default()),
    ];
    let mut seen = BTreeSet::new();
    for (node, options) in nodes {
        for family in Family::ALL {
            let rules = ruleset(&rich(node.clone()), &options);
            let text = rules.to_text(family);
            restore(family, &text);
            assert_eq!(save(family), text, "{family} of {node:?} with {options:?}");
            seen.insert(text);
        }
    }
    assert_eq!(seen.len(), 12, "every variation must show");
}

/// Every kind of frontend, policy and refusal, in both families.
fn rich(node: NodeIntent) -> Intent {
    let mut servers = Vec::new();
    for family in Family::ALL {
        servers.extend([local(family, true), local(family, false), fenced(family)]);
        servers.extend([sticky(family), silent(family, Refuse::Drop)]);
        servers.extend([silent(family, Refuse::Reject), empty(family)]);
    }
    let mut big = server("big/big", Family::V4);
    // More would not fit into one message of the tool where the socket's buffer cannot be raised.
    big.cluster = many(40);
    big.frontends =
        vec![frontend(FrontendKind::ClusterIP, "10.88.9.9", 80, internal(PoolName::Cluster))];
    servers.push(big);
    intent(node, servers)
}

/// The address of a family: `fd88::N` or `10.88.0.N`.
fn ip(family: Family, number: u8) -> String {
    match family {
        Family::V4 => format!("10.88.0.{number}"),
        Family::V6 => format!("fd88::{number}"),
    }
}

fn pods(family: Family) -> std::sync::Arc<[plan::Backend]> {
    match family {
        Family::V4 => backends(&["10.77.1.1:80", "10.77.1.2:8080", "10.77.2.1:80"]),
        Family::V6 => backends(&["[fd77::1]:80", "[fd77::2]:8080", "[fd77::a:1]:80"]),
    }
}

/// All kinds of frontend from one number on.
fn frontends(family: Family, number: u8, inner: Routes, outer: Routes) -> Vec<plan::Frontend> {
    vec![
        frontend(FrontendKind::ClusterIP, &ip(family, number), 80, inner),
        frontend(FrontendKind::ExternalIP, &ip(family, number + 1), 80, outer),
        frontend(FrontendKind::LoadBalancerIP, &ip(family, number + 2), 80, outer),
        frontend(FrontendKind::NodePort, "", 30000 + u16::from(number), outer),
    ]
}

fn local(family: Family, here: bool) -> VirtualServer {
    let mut local = server(if here { "ns/here:http" } else { "ns/away:http" }, family);
    local.cluster = pods(family);
    let number = if here { 10 } else { 20 };
    if here {
        local.local = local.cluster[..1].into();
    }
    local.frontends = frontends(family, number, internal(PoolName::Cluster), external_local(here));
    local.health_check_node_port = Some(32000 + u16::from(number));
    local
}

fn fenced(family: Family) -> VirtualServer {
    let mut fenced = server("ns/fenced", family);
    fenced.cluster = pods(family);
    fenced.frontends = frontends(family, 30, internal(PoolName::Cluster), external_cluster());
    let blocks = match family {
        Family::V4 => ["203.0.113.0/25", "192.0.2.7/32", "0.0.0.0/0"],
        Family::V6 => ["2001:db8::/33", "2001:db8:1::7/128", "::/0"],
    };
    fenced.frontends[2].sources = Some(blocks.iter().map(|block| block.parse().unwrap()).collect());
    fenced
}

fn sticky(family: Family) -> VirtualServer {
    let mut sticky = server("ns/sticky:dns", family);
    sticky.name.protocol = Protocol::Udp;
    sticky.affinity_seconds = Some(86_400);
    sticky.local = pods(family);
    let routes = internal(PoolName::Local);
    sticky.frontends = vec![frontend(FrontendKind::ClusterIP, &ip(family, 40), 53, routes)];
    sticky
}

fn silent(family: Family, with: Refuse) -> VirtualServer {
    let (name, number) = match with {
        Refuse::Drop => ("ns/silent", 50),
        Refuse::Reject => ("ns/loud", 51),
    };
    let mut silent = server(name, family);
    let routes = Routes::all(refuse(Refusal::NoLocalEndpoints, with));
    silent.frontends = vec![frontend(FrontendKind::ClusterIP, &ip(family, number), 80, routes)];
    silent
}

fn empty(family: Family) -> VirtualServer {
    let mut empty = server("ns/empty:s", family);
    empty.name.protocol = Protocol::Sctp;
    empty.frontends = frontends(family, 60, no_endpoints(), no_endpoints());
    empty
}

fn tool(family: Family, verb: &str) -> Command {
    Command::new(match family {
        Family::V4 => format!("iptables-{verb}"),
        Family::V6 => format!("ip6tables-{verb}"),
    })
}

fn restore(family: Family, text: &str) {
    let mut child = tool(family, "restore")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("iptables-restore must be installed");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{family}: {said}\n{text}");
}

/// The rules without the tool's comment lines.
fn save(family: Family) -> String {
    let done = tool(family, "save").output().expect("iptables-save must be installed");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Makes nfacct objects (NFNL_MSG_ACCT_NEW of NFNL_SUBSYS_ACCT): rules cannot name missing ones.
fn make_counters(names: &[&str]) {
    let kernel = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )
    .unwrap();
    for name in names {
        let mut attribute = (u16::try_from(4 + name.len() + 1).unwrap()).to_ne_bytes().to_vec();
        attribute.extend(1u16.to_ne_bytes());
        attribute.extend(name.as_bytes());
        attribute.push(0);
        attribute.resize(attribute.len().next_multiple_of(4), 0);
        let mut message = u32::try_from(20 + attribute.len()).unwrap().to_ne_bytes().to_vec();
        message.extend((7u16 << 8).to_ne_bytes());
        // NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE
        message.extend((1u16 | 4 | 0x400).to_ne_bytes());
        message.extend([0; 12]);
        message.extend(attribute);
        send(kernel.as_raw_fd(), &message, MsgFlags::empty()).unwrap();
        let mut answer = [0; 4096];
        let length = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::empty()).unwrap();
        assert!(length >= 20);
        let error = i32::from_ne_bytes(answer[16..20].try_into().unwrap());
        assert_eq!(error, 0, "making {name}: {}", std::io::Error::from_raw_os_error(-error));
    }
}
