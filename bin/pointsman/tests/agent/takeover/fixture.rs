//! A node's rules as kube-proxy leaves them. Where they differ from ours (the order of Services,
//! canaries, what a large cluster leaves out, chains of Services that are gone), they differ here.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::stage::Stage;

/// The Services beside `my-service`.
pub(super) const MANIFESTS: &str = "\
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: default}
spec:
  type: LoadBalancer
  clusterIP: 10.88.0.31
  loadBalancerSourceRanges: [203.0.113.0/25]
  externalTrafficPolicy: Local
  healthCheckNodePort: 31000
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
status: {loadBalancer: {ingress: [{ip: 192.0.2.7}]}}
---
apiVersion: v1
kind: Service
metadata: {name: sticky, namespace: default}
spec:
  type: NodePort
  clusterIP: 10.88.0.32
  sessionAffinity: ClientIP
  ports: [{port: 80, targetPort: 8080, nodePort: 30081}]
---
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: default}
spec:
  type: NodePort
  clusterIP: 10.88.0.33
  ports: [{port: 80, targetPort: 8080, nodePort: 30082}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-1, namespace: default, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{name: '', port: 8080, protocol: TCP}]
endpoints:
- {addresses: [10.77.1.4], nodeName: alpha, conditions: {ready: true}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: sticky-1, namespace: default, labels: {kubernetes.io/service-name: sticky}}
addressType: IPv4
ports: [{name: '', port: 8080, protocol: TCP}]
endpoints:
- {addresses: [10.77.1.4], nodeName: alpha, conditions: {ready: true}}
- {addresses: [10.77.1.5], nodeName: alpha, conditions: {ready: true}}
";

/// What kubelet, a network plugin and an operator have on a node: nobody's business but theirs.
pub(super) const FOREIGN: &str = "
    iptables -t mangle -N KUBE-KUBELET-CANARY
    iptables -t mangle -N KUBE-IPTABLES-HINT
    iptables -A INPUT -p tcp --dport 22 -m comment --comment mine -j ACCEPT
    iptables -t nat -N CNI-HOSTPORT-DNAT
    iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
    nft add table inet other";

/// The chains from which kube-proxy's are reached, in the order in which it puts each jump first.
const JUMPS: [(&str, &str, &str, &str); 14] = [
    ("filter", "INPUT", "KUBE-EXTERNAL-SERVICES", NEW_EXTERNAL),
    ("filter", "FORWARD", "KUBE-EXTERNAL-SERVICES", NEW_EXTERNAL),
    (
        "filter",
        "INPUT",
        "KUBE-NODEPORTS",
        "-m comment --comment 'kubernetes health check service ports'",
    ),
    ("filter", "FORWARD", "KUBE-SERVICES", NEW_PORTALS),
    ("filter", "OUTPUT", "KUBE-SERVICES", NEW_PORTALS),
    ("filter", "FORWARD", "KUBE-FORWARD", "-m comment --comment 'kubernetes forwarding rules'"),
    ("filter", "INPUT", "KUBE-PROXY-FIREWALL", NEW_FIREWALL),
    ("filter", "OUTPUT", "KUBE-PROXY-FIREWALL", NEW_FIREWALL),
    ("filter", "FORWARD", "KUBE-PROXY-FIREWALL", NEW_FIREWALL),
    ("nat", "OUTPUT", "KUBE-SERVICES", PORTALS),
    ("nat", "PREROUTING", "KUBE-SERVICES", PORTALS),
    (
        "nat",
        "POSTROUTING",
        "KUBE-POSTROUTING",
        "-m comment --comment 'kubernetes postrouting rules'",
    ),
    ("filter", "INPUT", "KUBE-FIREWALL", ""),
    ("filter", "OUTPUT", "KUBE-FIREWALL", ""),
];
const NEW_EXTERNAL: &str = "-m conntrack --ctstate NEW \
     -m comment --comment 'kubernetes externally-visible service portals'";
const NEW_PORTALS: &str =
    "-m conntrack --ctstate NEW -m comment --comment 'kubernetes service portals'";
const NEW_FIREWALL: &str =
    "-m conntrack --ctstate NEW -m comment --comment 'kubernetes load balancer firewall'";
const PORTALS: &str = "-m comment --comment 'kubernetes service portals'";

/// A Service that was deleted while nobody watched.
const GONE: &str = "\
:KUBE-SVC-GONEGONEGONEGONE - [0:0]
:KUBE-SEP-GONEGONEGONEGONE - [0:0]
-A KUBE-SERVICES -d 10.88.0.99/32 -p tcp -m comment --comment \"default/gone cluster IP\" -m tcp --dport 80 -j KUBE-SVC-GONEGONEGONEGONE
-A KUBE-SVC-GONEGONEGONEGONE -m comment --comment \"default/gone -> 10.77.1.99:8080\" -j KUBE-SEP-GONEGONEGONEGONE
-A KUBE-SEP-GONEGONEGONEGONE -s 10.77.1.99/32 -m comment --comment \"default/gone\" -j KUBE-MARK-MASQ
-A KUBE-SEP-GONEGONEGONEGONE -p tcp -m comment --comment \"default/gone\" -m tcp -j DNAT --to-destination 10.77.1.99:8080
";

/// What a node of kube-proxy in iptables mode is like.
#[derive(Clone, Copy)]
pub(super) struct KubeProxy {
    /// Its Services come in an order that differs from start to start.
    pub(super) seed: u64,
    /// More than 1000 endpoints: no comments that name endpoints.
    pub(super) large: bool,
}

impl KubeProxy {
    /// Writes the node's rules by iptables' own tools: jumps, canaries, then everything else in one
    /// restore a family, as each of its full syncs does.
    pub(super) fn write(self, stage: &Stage) {
        for (family, tool) in [("ipv4", "iptables"), ("ipv6", "ip6tables")] {
            let mut script = String::new();
            for (table, from, to, conditions) in JUMPS {
                if to == "KUBE-FIREWALL" && family == "ipv6" {
                    continue;
                }
                script += &format!(
                    "{tool} -t {table} -N {to} 2>/dev/null || true
                     {tool} -t {table} -C {from} {conditions} -j {to} 2>/dev/null ||
                     {tool} -t {table} -I {from} 1 {conditions} -j {to}\n"
                );
            }
            for table in ["mangle", "nat", "filter"] {
                script += &format!("{tool} -t {table} -N KUBE-PROXY-CANARY 2>/dev/null || true\n");
            }
            shell(stage, &script);
            let rendered = stage.pointsman("render").arg(format!("--family={family}")).output();
            let rendered = String::from_utf8(rendered.unwrap().stdout).unwrap();
            let mut text = self.restore(&rendered);
            if family == "ipv4" {
                text = text.replace("*nat\n", &format!("*nat\n{}", declared(GONE)));
                let gone = format!("{}COMMIT\n", ruled(GONE));
                let end = text.rfind("COMMIT\n").unwrap();
                text.replace_range(end.., &gone);
            }
            feed(stage, &format!("{tool}-restore --noflush --counters"), &text);
        }
    }

    /// The text that it feeds to `iptables-restore`, from the rules as we render them.
    fn restore(self, rendered: &str) -> String {
        let mut text = String::new();
        for table in rendered.split_inclusive("COMMIT\n") {
            let lines = table.lines().filter(|line| !line.starts_with('#'));
            let ours = lines.filter(|line| !line.starts_with(':') || line.contains(":KUBE-"));
            let ours = ours.filter(|line| !line.starts_with("-A") || line.starts_with("-A KUBE-"));
            let (mut rules, frame): (Vec<_>, Vec<_>) = ours.partition(|l| l.starts_with("-A"));
            // Stable: the rules of one Service in one chain keep their order, and the jump to the
            // NodePorts stays the last.
            rules.sort_by_key(|rule| self.place(rule));
            let rules: Vec<_> = rules.into_iter().map(|rule| self.shown(rule)).collect();
            let (head, end) = frame.split_at(frame.len().saturating_sub(1));
            for line in
                head.iter().copied().chain(rules.iter().map(|r| &**r)).chain(end.iter().copied())
            {
                text += line;
                text.push('\n');
            }
        }
        text
    }

    fn place(self, rule: &str) -> u64 {
        const SHARED: [&str; 4] =
            ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES", "KUBE-PROXY-FIREWALL"];
        let chain = rule.split(' ').nth(1).unwrap_or_default();
        let service = rule.split("default/").nth(1).and_then(|rest| rest.split([' ', '"']).next());
        match service.filter(|_| SHARED.contains(&chain)) {
            // A number that the seed decides.
            Some(service) => {
                service.bytes().fold(self.seed, |mixed, byte| {
                    mixed.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte)
                }) >> 1
            }
            None => u64::MAX,
        }
    }

    fn shown(self, rule: &str) -> String {
        let mut words = rule.splitn(2, " -m comment --comment \"");
        let (before, after) = (words.next().unwrap_or_default(), words.next());
        match after.and_then(|after| after.split_once('"')) {
            Some((comment, rest))
                if self.large && (comment.contains(" -> ") || rule.starts_with("-A KUBE-SEP-")) =>
            {
                format!("{before}{rest}")
            }
            _ => rule.to_owned(),
        }
    }
}

fn declared(lines: &str) -> String {
    lines.split_inclusive('\n').filter(|line| line.starts_with(':')).collect()
}

fn ruled(lines: &str) -> String {
    lines.split_inclusive('\n').filter(|line| line.starts_with("-A")).collect()
}

/// The table of kube-proxy's nftables mode, for these Services and this node address.
pub(super) fn nftables(node: std::net::IpAddr) -> String {
    include_str!("kube-proxy.nft").replace("NODE", &node.to_string())
}

/// Runs a script on the node; it must succeed.
pub(super) fn shell(stage: &Stage, script: &str) {
    feed(stage, "sh -e", script);
}

/// Feeds a text to a command on the node, which must succeed.
pub(super) fn feed(stage: &Stage, command: &str, text: &str) {
    let mut words = command.split(' ');
    let mut child: Command = stage.lab.at("alpha").unwrap().command(words.next().unwrap());
    let mut child = child.args(words).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {error}\n{text}");
}

/// The rules of each chain, from what `iptables-save` or `pointsman render` prints, without
/// counters: those depend on what the machine offers.
pub(super) fn chains(saved: &str) -> BTreeMap<(String, String), Vec<String>> {
    let mut table = "";
    let mut chains: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some(chain) = line.strip_prefix(':') {
            let name = chain.split(' ').next().unwrap_or_default();
            chains.entry((table.to_owned(), name.to_owned())).or_default();
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let name = rule.split(' ').next().unwrap_or_default();
            let counts = rule.contains("nfacct") || rule.contains("--ctstate INVALID");
            let rules = chains.entry((table.to_owned(), name.to_owned())).or_default();
            rules.extend((!counts).then(|| rule.to_owned()));
        }
    }
    chains
}
