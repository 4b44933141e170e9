//! The table of mutations: what is broken, and what must be said of it.

use crate::stage::{Stage, my_service};
use crate::{on_node, shell};

/// What is asked on every node.
pub(crate) const QUESTION: &str = "tcp 10.77.1.9 -> my-service:80";

/// One thing that is broken.
pub(crate) struct Mutation {
    /// What it is called.
    pub(crate) name: &'static str,
    /// The same in a sentence.
    pub(crate) what: &'static str,
    pub(crate) mode: &'static str,
    /// Further flags of the question.
    pub(crate) flags: &'static [&'static str],
    /// Done before the agent starts.
    pub(crate) before: fn(&Stage),
    pub(crate) breaks: fn(&Stage),
    /// The stable code that names it.
    pub(crate) code: &'static str,
    pub(crate) exit: i32,
    /// What the text must contain.
    pub(crate) says: &'static [&'static str],
}

const fn nothing(_: &Stage) {}

const IPTABLES: &str = "iptables";
const NFTABLES: &str = "nftables";

const fn mutation(name: &'static str, mode: &'static str, breaks: fn(&Stage)) -> Mutation {
    let (flags, says): (&[&str], &[&str]) = (&[], &[]);
    Mutation { name, what: "", mode, flags, before: nothing, breaks, code: "", exit: 3, says }
}

pub(crate) const MUTATIONS: &[Mutation] = &[
    Mutation {
        what: "The element of the map `service-ips` that catches the cluster IP is deleted.",
        code: "KernelLacks",
        says: &["set ip pointsman service-ips lacks", "default/my-service"],
        ..mutation("A map element", NFTABLES, |stage| {
            on_node(stage, "nft delete element ip pointsman service-ips { 10.88.0.30 . tcp . 80 }");
        })
    },
    Mutation {
        what: "One of two endpoints is deleted from the map `endpoints`: every other connection \
               fails.",
        code: "KernelLacks",
        says: &["set ip pointsman endpoints lacks", "10.77.1.5 . 8080"],
        ..mutation("An endpoint's element", NFTABLES, |stage| {
            on_node(
                stage,
                "nft delete element ip pointsman endpoints { 10.88.0.30 . tcp . 80 . 1 }",
            );
        })
    },
    Mutation {
        what: "A set member is deleted: a Pod that asks itself by the Service would get no answer.",
        code: "KernelLacks",
        says: &["set ip pointsman hairpin lacks: 10.77.1.4 . 10.77.1.4"],
        ..mutation("A set member", NFTABLES, |stage| {
            on_node(stage, "nft delete element ip pointsman hairpin { 10.77.1.4 . 10.77.1.4 }");
        })
    },
    Mutation {
        what: "An element holds another endpoint than it should.",
        code: "KernelDiffers",
        says: &["holds: 10.88.0.30 . tcp . 80 . 1 : 10.77.9.9 . 8080"],
        ..mutation("Another endpoint", NFTABLES, |stage| {
            let key = "{ 10.88.0.30 . tcp . 80 . 1";
            on_node(stage, &format!("nft delete element ip pointsman endpoints {key} }}"));
            let data = ": 10.77.9.9 . 8080 }";
            on_node(stage, &format!("nft add element ip pointsman endpoints {key} {data}"));
        })
    },
    Mutation {
        what: "The rules of a chain are flushed.",
        code: "KernelDiffers",
        says: &["chain ip pointsman nat-prerouting", "no rule"],
        ..mutation("A chain without its rules", NFTABLES, |stage| {
            on_node(stage, "nft flush chain ip pointsman nat-prerouting");
        })
    },
    Mutation {
        what: "The whole table is gone, as after `nft flush ruleset`.",
        code: "KernelEmpty",
        says: &["table ip pointsman is not there"],
        ..mutation("The table", NFTABLES, |stage| on_node(stage, "nft flush ruleset"))
    },
    Mutation {
        what: "The rule in `KUBE-SERVICES` that recognises the cluster IP is deleted.",
        code: "KernelLacks",
        says: &["chain KUBE-SERVICES of table nat", "10.88.0.30"],
        ..mutation("A rule in KUBE-SERVICES", IPTABLES, |stage| {
            shell(stage, "iptables -t nat -D KUBE-SERVICES 1");
        })
    },
    Mutation {
        what: "The chain of one endpoint is flushed.",
        code: "KernelLacks",
        says: &["chain KUBE-SEP-", "lacks: all of its 2 rules"],
        ..mutation("An endpoint's chain", IPTABLES, |stage| {
            let line = "iptables -t nat -S | grep -o 'KUBE-SEP-[A-Z0-9]*' | sort -u | head -n1";
            shell(stage, &format!("iptables -t nat -F $({line})"));
        })
    },
    Mutation {
        what: "Every rule is gone, as after a firewall that reloads.",
        code: "KernelEmpty",
        says: &["holds nothing of ours"],
        ..mutation("All rules of iptables", IPTABLES, |stage| {
            shell(
                stage,
                "for table in nat filter; do iptables -t $table -F; iptables -t $table -X; done",
            );
        })
    },
    Mutation {
        what: "Readiness flips while the agent does not hear of it: the kernel goes on with an \
               endpoint that is not ready.",
        code: "KernelDiffers",
        says: &["10.77.1.5"],
        ..mutation("Readiness flips", NFTABLES, |stage| {
            let text = my_service(&["10.77.1.4", "10.77.1.5"]);
            let text = text.replace(
                "[10.77.1.5], nodeName: alpha, conditions: {ready: true}",
                "[10.77.1.5], nodeName: alpha, conditions: {ready: false}",
            );
            stage.folder.write("my-service.yaml", &text);
        })
    },
    Mutation {
        what: "An entry of connection tracking leads to an endpoint that left \
               (kubernetes#139628).",
        code: "StaleConnection",
        says: &["connection tracking sends 10.77.1.9:4001 on to 10.77.1.77:8080"],
        ..mutation("A stale connection", NFTABLES, |stage| {
            let line = "conntrack -I -p tcp -s 10.77.1.9 -d 10.88.0.30 --sport 4001 --dport 80 \
                        -r 10.77.1.77 -q 10.77.1.9 --reply-port-src 8080 --reply-port-dst 4001 \
                        --state ESTABLISHED -t 300";
            shell(stage, line);
        })
    },
    Mutation {
        what: "A host firewall drops what is forwarded to the Pods.",
        code: "ForeignRule",
        exit: 2,
        says: &["chain inet hostwall forward (filter, forward, priority 0): drop by rule"],
        ..mutation("A foreign DROP", NFTABLES, |stage| {
            shell(
                stage,
                "nft add table inet hostwall
                 nft 'add chain inet hostwall forward { type filter hook forward priority 0; }'
                 nft add rule inet hostwall forward ct state established,related accept
                 nft add rule inet hostwall forward ip daddr 10.77.0.0/16 tcp dport 8080 drop",
            );
        })
    },
    Mutation {
        what: "Somebody puts a DROP before our rules, in a table of iptables.",
        code: "ForeignRule",
        exit: 2,
        says: &["FORWARD", "-d 10.77.0.0/16 -j DROP"],
        ..mutation("A foreign DROP in iptables", IPTABLES, |stage| {
            shell(stage, "iptables -I FORWARD -d 10.77.0.0/16 -j DROP");
        })
    },
    Mutation {
        what: "The policy of FORWARD becomes DROP, as a container engine sets it.",
        code: "ForeignRule",
        exit: 2,
        says: &["policy DROP"],
        ..mutation("A policy that drops", IPTABLES, |stage| {
            shell(stage, "iptables -P FORWARD DROP");
        })
    },
    Mutation {
        what: "A second table translates the cluster IP first.",
        code: "ForeignRule",
        says: &["chain ip hijack pre (nat, prerouting, priority -150): dnat by rule"],
        ..mutation("A second table that translates first", NFTABLES, |stage| {
            shell(
                stage,
                "nft add table ip hijack
                 nft 'add chain ip hijack pre { type nat hook prerouting priority -150; }'
                 nft add rule ip hijack pre ip daddr 10.88.0.30 tcp dport 80 dnat to 10.77.1.5:9999",
            );
        })
    },
    Mutation {
        what: "The packet comes in by an interface by which its answers would not leave.",
        flags: &["--interface=other"],
        before: |stage| {
            shell(
                stage,
                "ip link add other type veth peer name beyond; ip link set beyond up; ip addr add 10.66.0.1/24 dev other; \
                 ip link set other up; echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter; \
                 echo 0 > /proc/sys/net/ipv4/conf/other/rp_filter",
            );
        },
        code: "ReversePathFiltered",
        exit: 2,
        says: &["the packet comes in by other, answers would leave by", "rp_filter is 1"],
        ..mutation("The reverse-path filter", NFTABLES, |stage| {
            shell(stage, "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter");
        })
    },
    Mutation {
        what: "Forwarding is switched off.",
        code: "ForwardingOff",
        exit: 2,
        says: &["forwarding is off"],
        ..mutation("net.ipv4.ip_forward = 0", NFTABLES, |stage| {
            shell(stage, "echo 0 > /proc/sys/net/ipv4/ip_forward");
        })
    },
];
