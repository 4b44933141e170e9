//! The scenarios of Kubernetes' own suite for NetworkPolicies, under their names there.

use serde_json::json;

use super::objects::{egress, ingress, namespaces, only_in, pods, pods_in};
use super::world::{Scenario, World};

fn not_in(key: &str, values: &[&str]) -> serde_json::Value {
    json!({"matchExpressions": [{"key": key, "operator": "NotIn", "values": values}]})
}

macro_rules! scenarios {
    ($($id:ident($pods:expr) $name:literal $play:expr)*) => {
        /// The scenarios, in upstream's order.
        pub const SCENARIOS: [Scenario; 48] = [
            $(Scenario { id: stringify!($id), name: $name, pods: &$pods, play: $play },)*
        ];
    };
}

scenarios! {
    s01(["x/a", "x/b", "y/a", "y/b"]) "should support a 'default-deny-ingress' policy" |w| {
        w.policy("x/p", ingress("", json!([])));
        w.matrix("TCP 80", &["*>x/*"]);
    }
    s02(["x/a", "x/b", "y/a"]) "should support a 'default-deny-all' policy" |w| {
        w.policy("x/p", json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
        w.matrix("TCP 80", &["*>x/*", "x/*>*"]);
    }
    s03(["x/a", "x/b", "x/c", "y/a"]) "should enforce policy to allow traffic from pods within server namespace based on PodSelector" |w| {
        w.policy("x/p", ingress("a", json!([{"from": [pods("b")]}])));
        w.matrix("TCP 80", &["*>x/a", "+x/b>x/a"]);
    }
    s04(["x/a", "x/b", "y/a"]) "should enforce policy to allow ingress traffic for a target" |w| {
        w.policy("x/deny", ingress("", json!([])));
        w.policy("x/p", ingress("a", json!([{"from": [pods("b")]}])));
        w.matrix("TCP 80", &["*>x/*", "+x/b>x/a"]);
    }
    s05(["x/a", "x/b", "y/a", "z/a"]) "should enforce policy to allow ingress traffic from pods in all namespaces" |w| {
        w.policy("x/p", ingress("a", json!([{"from": [{"namespaceSelector": {}}]}])));
        w.matrix("TCP 80", &[]);
        assert!(!w.passes("198.51.100.7", "x/a", "TCP 80"), "not from outside");
    }
    s06(["x/a", "x/b", "y/a", "z/a"]) "should enforce policy to allow traffic only from a different namespace, based on NamespaceSelector" |w| {
        w.policy("x/p", ingress("a", json!([{"from": [namespaces("y")]}])));
        w.matrix("TCP 80", &["*>x/a", "+y/*>x/a"]);
    }
    s07(["x/a", "x/b", "y/a"]) "should enforce policy based on PodSelector with MatchExpressions" |w| {
        let peer = json!({"podSelector": only_in("pod", &["b"])});
        w.policy("x/p", ingress("a", json!([{"from": [peer]}])));
        w.matrix("TCP 80", &["*>x/a", "+x/b>x/a"]);
    }
    s08(["x/a", "x/b", "y/a", "z/a"]) "should enforce policy based on NamespaceSelector with MatchExpressions" |w| {
        let peer = json!({"namespaceSelector": only_in("ns", &["y"])});
        w.policy("x/p", ingress("a", json!([{"from": [peer]}])));
        w.matrix("TCP 80", &["*>x/a", "+y/a>x/a"]);
    }
    s09(["x/a", "x/b", "x/c", "y/a"]) "should enforce policy based on PodSelector or NamespaceSelector" |w| {
        let other = json!({"namespaceSelector": not_in("ns", &["x"])});
        w.policy("x/p", ingress("a", json!([{"from": [other, pods("b")]}])));
        w.matrix("TCP 80", &["*>x/a", "+x/b>x/a", "+y/a>x/a"]);
    }
    s10(["x/a", "x/b", "y/a", "y/b", "z/b"]) "should enforce policy based on PodSelector and NamespaceSelector" |w| {
        let mut peer = pods("b");
        peer["namespaceSelector"] = not_in("ns", &["x"]);
        w.policy("x/p", ingress("a", json!([{"from": [peer]}])));
        w.matrix("TCP 80", &["*>x/a", "+y/b>x/a", "+z/b>x/a"]);
    }
    s11(["x/a", "x/b", "y/a", "y/b", "y/c"]) "should enforce policy based on Multiple PodSelectors and NamespaceSelectors" |w| {
        let peer = json!({"namespaceSelector": not_in("ns", &["x"]),
            "podSelector": only_in("pod", &["b", "c"])});
        w.policy("x/p", ingress("a", json!([{"from": [peer]}])));
        w.matrix("TCP 80", &["*>x/a", "+y/b>x/a", "+y/c>x/a"]);
    }
    s12(["x/a", "x/b", "x/c"]) "should enforce policy based on any PodSelectors" |w| {
        w.policy("x/p", ingress("a", json!([{"from": [pods("b"), pods("c")]}])));
        w.matrix("TCP 80", &["*>x/a", "+x/b>x/a", "+x/c>x/a"]);
        w.policy("x/p", ingress("a", json!([{"from": [pods("b")]}])));
        w.matrix("TCP 80", &["*>x/a", "+x/b>x/a"]);
    }
    s13(["x/a", "x/b", "y/a", "y/b", "z/a"]) "should enforce policy to allow traffic only from a pod in a different namespace based on PodSelector and NamespaceSelector" |w| {
        w.policy("x/p", ingress("a", json!([{"from": [pods_in("a", "y")]}])));
        w.matrix("TCP 80", &["*>x/a", "+y/a>x/a"]);
    }
    s14(["x/a", "x/b", "y/a", "y/b", "z/a"]) "should enforce policy based on Ports" |w| {
        w.policy("x/p", ingress("a", json!([{"from": [namespaces("y")],
            "ports": [{"port": 81, "protocol": "TCP"}]}])));
        w.matrix("TCP 81", &["*>x/a", "+y/*>x/a"]);
        w.matrix("TCP 80", &["*>x/a"]);
    }
    s15(["x/a", "x/b", "y/a", "y/b", "z/a"]) "should enforce multiple, stacked policies with overlapping podSelectors" |w| {
        w.policy("x/one", ingress("a", json!([{"from": [namespaces("y")],
            "ports": [{"port": 81}]}])));
        w.matrix("TCP 81", &["*>x/a", "+y/*>x/a"]);
        w.matrix("TCP 80", &["*>x/a"]);
        w.policy("x/two", ingress("a", json!([{"from": [namespaces("y")],
            "ports": [{"port": 80}]}])));
        w.matrix("TCP 81", &["*>x/a", "+y/*>x/a"]);
        w.matrix("TCP 80", &["*>x/a", "+y/*>x/a"]);
    }
    s16(["x/a", "x/b", "y/a"]) "should support allow-all policy" |w| {
        w.policy("x/p", ingress("", json!([{}])));
        w.matrix("TCP 80", &[]);
        w.matrix("TCP 81", &[]);
        assert!(w.passes("198.51.100.7", "x/a", "ICMP 8"));
    }
    s17(["x/a", "x/b", "y/a"]) "should allow ingress access on one named port" |w| {
        w.policy("x/p", ingress("", json!([{"ports": [{"port": "serve-81-tcp"}]}])));
        w.matrix("TCP 81", &[]);
        w.matrix("TCP 80", &["*>x/*"]);
        w.matrix("UDP 81", &["*>x/*"]);
    }
    s18(["x/a", "x/b", "y/a", "z/a"]) "should allow ingress access from namespace on one named port" |w| {
        w.policy("x/p", ingress("", json!([{"from": [namespaces("y")],
            "ports": [{"port": "serve-80-tcp"}]}])));
        w.matrix("TCP 80", &["*>x/*", "+y/*>x/*"]);
        w.matrix("TCP 81", &["*>x/*"]);
    }
    s19(["x/a", "y/a"]) "should allow egress access on one named port" |w| {
        w.policy("x/p", egress("", json!([{"ports": [{"port": "serve-80-tcp"}]}])));
        w.matrix("TCP 80", &[]);
        w.matrix("TCP 81", &["x/a>*"]);
        assert!(!w.passes("x/a", "198.51.100.7", "TCP 80"), "no Pod there declares the name");
    }
    s20(["x/a", "y/a"]) "should enforce updated policy" |w| {
        w.policy("x/p", ingress("", json!([{}])));
        w.matrix("TCP 81", &[]);
        w.policy("x/p", ingress("", json!([])));
        w.matrix("TCP 81", &["*>x/*"]);
    }
    s21(["x/a", "y/a"]) "should allow ingress access from updated namespace" |w| {
        let peer = json!({"namespaceSelector": {"matchLabels": {"ns2": "updated"}}});
        w.policy("x/p", ingress("a", json!([{"from": [peer]}])));
        w.matrix("TCP 80", &["*>x/a"]);
        w.namespace("y", json!({"ns": "y", "ns2": "updated"}));
        w.matrix("TCP 80", &["*>x/a", "+y/a>x/a"]);
        w.namespace("y", json!({"ns": "y"}));
        w.matrix("TCP 80", &["*>x/a"]);
    }
    s22(["x/a", "x/b"]) "should allow ingress access from updated pod" |w| {
        let peer = json!({"podSelector": {"matchLabels": {"pod2": "updated"}}});
        w.policy("x/p", ingress("a", json!([{"from": [peer]}])));
        w.matrix("TCP 80", &["*>x/a"]);
        relabel(w, "x/b", json!({"pod": "b", "pod2": "updated"}));
        w.matrix("TCP 80", &["*>x/a", "+x/b>x/a"]);
    }
    s23(["x/a", "x/b", "y/a", "z/a"]) "should deny ingress from pods on other namespaces" |w| {
        w.policy("x/p", ingress("", json!([{"from": [{"podSelector": {}}]}])));
        w.matrix("TCP 80", &["y/*>x/*", "z/*>x/*"]);
    }
    s24(["x/a", "y/a"]) "should deny ingress access to updated pod" |w| {
        w.policy("x/p", json!({"podSelector": {"matchLabels": {"target": "isolated"}}}));
        w.matrix("TCP 80", &[]);
        relabel(w, "x/a", json!({"pod": "a", "target": "isolated"}));
        w.matrix("TCP 80", &["*>x/a"]);
    }
    s25(["x/a", "x/b", "y/a"]) "should deny egress from pods based on PodSelector" |w| {
        w.policy("x/p", egress("a", json!([])));
        w.matrix("TCP 80", &["x/a>*"]);
    }
    s26(["x/a", "x/b", "y/a"]) "should deny egress from all pods in a namespace" |w| {
        w.policy("x/p", egress("", json!([])));
        w.matrix("TCP 80", &["x/*>*"]);
    }
    s27(["x/a", "x/b", "x/c", "y/a"]) "should work with Ingress, Egress specified together" |w| {
        let rules = json!({"podSelector": pods("a")["podSelector"],
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [pods("b")]}], "egress": [{"ports": [{"port": 80}]}]});
        w.policy("x/p", rules);
        w.matrix("TCP 80", &["*>x/a", "+x/b>x/a"]);
        w.matrix("TCP 81", &["*>x/a", "+x/b>x/a", "x/a>*"]);
    }
    s28(["x/a", "y/a", "y/b"]) "should support denying of egress traffic on the client side (even if the server explicitly allows this traffic)" |w| {
        w.policy("x/out", egress("a", json!([{"to": [pods_in("a", "y")]}])));
        w.policy("y/in", ingress("", json!([{"from": [pods_in("a", "x")]}])));
        w.matrix("TCP 80", &["x/a>*", "+x/a>y/a", "y/*>y/*"]);
    }
    s29(["x/a", "y/a", "y/b"]) "should enforce egress policy allowing traffic to a server in a different namespace based on PodSelector and NamespaceSelector" |w| {
        w.policy("x/p", egress("a", json!([{"to": [pods_in("a", "y")]}])));
        w.matrix("TCP 80", &["x/a>*", "+x/a>y/a"]);
    }
    s30(["x/a", "y/a"]) "should enforce ingress policy allowing any port traffic to a server on a specific protocol" |w| {
        w.policy("x/p", ingress("a", json!([{"ports": [{"protocol": "TCP"}]}])));
        w.matrix("TCP 80", &[]);
        w.matrix("TCP 81", &[]);
        w.matrix("UDP 80", &["*>x/a"]);
    }
    s31(["x/a", "y/a"]) "should enforce multiple ingress policies with ingress allow-all policy taking precedence" |w| {
        w.policy("x/one", ingress("a", json!([{"ports": [{"port": 80}]}])));
        w.matrix("TCP 81", &["*>x/a"]);
        w.policy("x/two", ingress("a", json!([{}])));
        w.matrix("TCP 81", &[]);
    }
    s32(["x/a", "y/a"]) "should enforce multiple egress policies with egress allow-all policy taking precedence" |w| {
        w.policy("x/one", egress("a", json!([{"ports": [{"port": 80}]}])));
        w.matrix("TCP 81", &["x/a>*"]);
        w.policy("x/two", egress("a", json!([{}])));
        w.matrix("TCP 81", &[]);
    }
    s33(["x/a", "y/a"]) "should stop enforcing policies after they are deleted" |w| {
        w.policy("x/p", json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
        w.matrix("TCP 80", &["*>x/*", "x/*>*"]);
        w.without_policy("x/p");
        w.matrix("TCP 80", &[]);
    }
    s34(["x/a", "y/a", "y/b"]) "should allow egress access to server in CIDR block" |w| {
        let block = format!("{}/32", w.address("y/b"));
        w.policy("x/p", egress("a", json!([{"to": [{"ipBlock": {"cidr": block}}]}])));
        w.matrix("TCP 80", &["x/a>*", "+x/a>y/b"]);
    }
    s35(["x/a", "x/b", "x/c"]) "should enforce except clause while egress access to server in CIDR block" |w| {
        let except = format!("{}/32", w.address("x/c"));
        let block = json!({"cidr": "10.77.0.0/16", "except": [except]});
        w.policy("x/p", egress("a", json!([{"to": [{"ipBlock": block}]}])));
        w.matrix("TCP 80", &["x/a>x/c"]);
    }
    s36(["x/a", "x/b", "x/c"]) "should ensure an IP overlapping both IPBlock.CIDR and IPBlock.Except is allowed" |w| {
        let address = format!("{}/32", w.address("x/b"));
        let block = json!({"cidr": "10.77.0.0/16", "except": [address]});
        w.policy("x/p", egress("a", json!([{"to": [{"ipBlock": block}]}])));
        w.matrix("TCP 80", &["x/a>x/b"]);
        w.policy("x/q", egress("a", json!([{"to": [{"ipBlock": {"cidr": address}}]}])));
        w.matrix("TCP 80", &[]);
    }
    s37(["x/a", "x/b", "y/a"]) "should enforce policies to check ingress and egress policies can be controlled independently based on PodSelector" |w| {
        w.policy("x/out", egress("a", json!([{"to": [pods("b")]}])));
        w.policy("x/in", ingress("b", json!([{"from": [pods("a")]}])));
        w.matrix("TCP 80", &["x/a>*", "*>x/b", "+x/a>x/b"]);
        w.policy("x/in", ingress("a", json!([])));
        w.matrix("TCP 80", &["x/a>*", "*>x/a", "+x/a>x/b"]);
    }
    s38(["x/a", "y/a"]) "should not mistakenly treat 'protocol: SCTP' as 'protocol: TCP', even if the plugin doesn't support SCTP" |w| {
        w.policy("x/p", ingress("a", json!([{"ports": [{"port": 81, "protocol": "SCTP"}]}])));
        w.matrix("TCP 81", &["*>x/a"]);
        w.matrix("SCTP 81", &[]);
    }
    s39(["x/a", "y/a"]) "should properly isolate pods that are selected by a policy allowing SCTP, even if the plugin doesn't support SCTP" |w| {
        w.policy("x/p", ingress("a", json!([{"ports": [{"port": 80, "protocol": "SCTP"}]}])));
        w.matrix("TCP 80", &["*>x/a"]);
        w.matrix("TCP 81", &["*>x/a"]);
    }
    s40(["x/a", "y/a"]) "should not allow access by TCP when a policy specifies only UDP" |w| {
        w.policy("x/p", ingress("a", json!([{"ports": [{"port": 81, "protocol": "UDP"}]}])));
        w.matrix("TCP 81", &["*>x/a"]);
        w.matrix("UDP 81", &[]);
    }
    s41(["x/a", "x/b", "y/a", "z/a"]) "should enforce policy to allow traffic based on NamespaceSelector with MatchLabels using default ns label" |w| {
        let name = json!({"matchLabels": {"kubernetes.io/metadata.name": "y"}});
        w.policy("x/p", ingress("a", json!([{"from": [{"namespaceSelector": name}]}])));
        w.matrix("TCP 80", &["*>x/a", "+y/a>x/a"]);
    }
    s42(["x/a", "x/b", "y/a", "z/a"]) "should enforce policy based on NamespaceSelector with MatchExpressions using default ns label" |w| {
        let peer = json!({"namespaceSelector": not_in("kubernetes.io/metadata.name", &["x"])});
        w.policy("x/p", ingress("a", json!([{"from": [peer]}])));
        w.matrix("TCP 80", &["x/*>x/a"]);
    }
    s43(["x/a", "x/b", "y/a", "y/b"]) "UDP: should support a 'default-deny-ingress' policy" |w| {
        w.policy("x/p", ingress("", json!([])));
        w.matrix("UDP 80", &["*>x/*"]);
    }
    s44(["x/a", "x/b", "y/a", "z/a"]) "UDP: should enforce policy based on Ports" |w| {
        w.policy("x/p", ingress("a", json!([{"from": [namespaces("y")],
            "ports": [{"port": 81, "protocol": "UDP"}]}])));
        w.matrix("UDP 81", &["*>x/a", "+y/*>x/a"]);
        w.matrix("UDP 80", &["*>x/a"]);
    }
    s45(["x/a", "x/b", "y/a"]) "UDP: should enforce policy to allow traffic only from a pod in a different namespace based on PodSelector and NamespaceSelector" |w| {
        w.policy("x/p", ingress("a", json!([{"from": [pods_in("a", "y")]}])));
        w.matrix("UDP 80", &["*>x/a", "+y/a>x/a"]);
    }
    s46(["x/a", "x/b", "y/a", "y/b"]) "SCTP: should support a 'default-deny-ingress' policy" |w| {
        w.policy("x/p", ingress("", json!([])));
        w.matrix("SCTP 80", &["*>x/*"]);
    }
    s47(["x/a", "x/b", "y/a", "z/a"]) "SCTP: should enforce policy based on Ports" |w| {
        w.policy("x/p", ingress("a", json!([{"from": [namespaces("y")],
            "ports": [{"port": 81, "protocol": "SCTP"}]}])));
        w.matrix("SCTP 81", &["*>x/a", "+y/*>x/a"]);
        w.matrix("SCTP 80", &["*>x/a"]);
    }
    s48(["x/a", "x/b", "y/a"]) "SCTP: should enforce policy to allow traffic only from a pod in a different namespace based on PodSelector and NamespaceSelector" |w| {
        w.policy("x/p", ingress("a", json!([{"from": [pods_in("a", "y")]}])));
        w.matrix("SCTP 80", &["*>x/a", "+y/a>x/a"]);
    }
}

fn relabel(world: &mut World, pod: &str, labels: serde_json::Value) {
    let address = world.address(pod).to_string();
    let status = json!({"phase": "Running", "podIPs": [{"ip": address}]});
    world.pod(pod, json!({"metadata": {"labels": labels}, "status": status}));
}
