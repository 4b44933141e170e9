//! What one owner contributes: the rules that recognise its addresses, and the chains behind them.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;
use model::{Cidr, Family, Protocol};
use plan::{
    Backend, Frontend, FrontendKind, LocalTraffic, NodeIntent, PoolName, Refusal, Refuse, Route,
    Routes, VirtualServer,
};

use super::names::{
    self, KUBE_EXTERNAL_SERVICES, KUBE_MARK_MASQ, KUBE_NODEPORTS, KUBE_PROXY_FIREWALL,
    KUBE_SERVICES, LOCALHOST_COUNTER,
};
use super::node::loopback_block;
use super::{ChainId, Inverted, Match, Options, Part, Recent, Rule, Table, Target};

/// An owner's part: its own chains in `nat`, and its rules in the shared chains, in the order of
/// the servers and then of their frontends.
///
/// All frontends of a server but the cluster IP share one chain, so they must share their routes
/// too; the first of them that delivers to anybody speaks for all.
#[must_use]
pub fn owner(node: &NodeIntent, servers: &[VirtualServer], options: &Options) -> Part {
    let mut part = Part::default();
    for server in servers {
        let mut writer = Writer {
            local_traffic: &node.local_traffic[server.family],
            count_localhost: options.nfacct
                && node.localhost_node_ports
                && server.family == Family::V4,
            server,
            name: server.name.to_string(),
            part: &mut part,
        };
        for frontend in &server.frontends {
            writer.dispatch(frontend);
        }
        writer.chains();
    }
    part
}

/// Writes one server.
struct Writer<'a> {
    local_traffic: &'a LocalTraffic,
    count_localhost: bool,
    server: &'a VirtualServer,
    /// The server's name, as every comment has it.
    name: String,
    part: &'a mut Part,
}

impl Writer<'_> {
    fn share(&mut self, table: Table, chain: &str, rule: Rule) {
        let chain = ChainId::new(self.server.family, table, chain);
        self.part.shared.entry(chain).or_default().push(rule);
    }

    fn chain(&mut self, name: Arc<str>, rules: Vec<Rule>) {
        let chain = ChainId::new(self.server.family, Table::Nat, name);
        self.part.chains.insert(chain, rules);
    }

    fn protocol(&self) -> Protocol {
        self.server.protocol()
    }

    /// The rules in the shared chains for one frontend.
    fn dispatch(&mut self, frontend: &Frontend) {
        if let Some(target) = self.entrance(frontend) {
            let target = Target::Jump(target);
            match frontend.kind {
                FrontendKind::NodePort => self.node_port(frontend.port, target),
                _ => {
                    let comment = format!("{} {}", self.name, kind_words(frontend.kind));
                    let rule = self.to_frontend(frontend, target, &comment);
                    self.share(Table::Nat, KUBE_SERVICES, rule);
                }
            }
        }
        if is_fenced(frontend) {
            let firewall = names::fw(&self.server.name);
            let comment = format!("{} traffic not accepted by {firewall}", self.name);
            let rule = self.to_frontend(frontend, Target::Drop, &comment);
            self.share(Table::Filter, KUBE_PROXY_FIREWALL, rule);
        }
        if let Route::Refuse { why, with } = frontend.routes.outside {
            let chain = match frontend.kind {
                FrontendKind::ClusterIP => KUBE_SERVICES,
                _ => KUBE_EXTERNAL_SERVICES,
            };
            let rule = self.refusal(frontend, why, with);
            self.share(Table::Filter, chain, rule);
        }
    }

    /// The chain that a frontend's packets go to, if anybody's are delivered.
    fn entrance(&self, frontend: &Frontend) -> Option<Arc<str>> {
        let port = &self.server.name;
        if frontend.kind == FrontendKind::ClusterIP {
            return delivers(frontend.routes.outside).map(|pool| pool_chain(self.server, pool));
        }
        if !delivers_to_any(&frontend.routes) {
            return None;
        }
        Some(if is_fenced(frontend) { names::fw(port) } else { names::ext(port) })
    }

    /// `M(ip, port)` of kube-proxy's rules, with a comment before it.
    fn to_frontend(&self, frontend: &Frontend, target: Target, comment: &str) -> Rule {
        Rule {
            destination: frontend.address.map(|address| Inverted::is(IpNet::from(address))),
            ..self.to_port(frontend.port, target, Rule::default().comment(comment).matches)
        }
    }

    fn to_port(&self, port: u16, target: Target, mut matches: Vec<Match>) -> Rule {
        let protocol = self.protocol();
        matches.push(Match::DestinationPort(protocol, port));
        Rule { protocol: Some(protocol), matches, ..Rule::to(target) }
    }

    fn node_port(&mut self, port: u16, target: Target) {
        let comment = Rule::default().comment(&self.name).matches;
        if self.count_localhost {
            let rule = Rule {
                destination: Some(Inverted::is(loopback_block(Family::V4))),
                ..self.to_port(port, target.clone(), comment.clone())
            };
            let rule = rule.matching(Match::Nfacct(LOCALHOST_COUNTER.into()));
            self.share(Table::Nat, KUBE_NODEPORTS, rule);
        }
        let rule = self.to_port(port, target, comment);
        self.share(Table::Nat, KUBE_NODEPORTS, rule);
    }

    fn refusal(&self, frontend: &Frontend, why: Refusal, with: Refuse) -> Rule {
        let why = match why {
            Refusal::NoEndpoints => "has no endpoints",
            Refusal::NoLocalEndpoints => "has no local endpoints",
        };
        let target = match with {
            Refuse::Reject => Target::Reject,
            Refuse::Drop => Target::Drop,
        };
        let comment = format!("{} {why}", self.name);
        if frontend.kind != FrontendKind::NodePort {
            return self.to_frontend(frontend, target, &comment);
        }
        let matches = Rule::default().comment(&comment).matching(Match::DestinationLocal).matches;
        self.to_port(frontend.port, target, matches)
    }

    /// The server's own chains: those that a rule leads to, and no others.
    fn chains(&mut self) {
        if let Some(port) = self.server.health_check_node_port {
            let comment = format!("{} health check node port", self.name);
            let rule = Rule {
                protocol: Some(Protocol::Tcp),
                ..Rule::to(Target::Accept)
                    .comment(&comment)
                    .matching(Match::DestinationPort(Protocol::Tcp, port))
            };
            self.share(Table::Filter, KUBE_NODEPORTS, rule);
        }
        let server = self.server;
        let internal = server
            .frontends
            .iter()
            .filter(|frontend| frontend.kind == FrontendKind::ClusterIP)
            .find_map(|frontend| Some((frontend, delivers(frontend.routes.outside)?)));
        let mut pools: BTreeSet<PoolName> = internal.iter().map(|(_, pool)| *pool).collect();
        let external = server.frontends.iter().find(|frontend| {
            frontend.kind != FrontendKind::ClusterIP && delivers_to_any(&frontend.routes)
        });
        if let Some(frontend) = external {
            let (rules, reached) = self.external(&frontend.routes);
            self.chain(names::ext(&server.name), rules);
            pools.extend(reached);
        }
        if let Some(frontend) = server.frontends.iter().find(|frontend| is_fenced(frontend)) {
            let rules = self.firewall(frontend.sources.as_deref().unwrap_or_default());
            self.chain(names::fw(&server.name), rules);
        }
        for &pool in &pools {
            let masquerade = internal
                .filter(|(_, its_pool)| *its_pool == pool)
                .and_then(|(frontend, _)| self.internal_masquerade(frontend));
            let rules = masquerade.into_iter().chain(self.balance(server.pool(pool))).collect();
            self.chain(pool_chain(server, pool), rules);
        }
        let backends = pools.iter().flat_map(|&pool| server.pool(pool).iter());
        for backend in backends.copied().collect::<BTreeSet<Backend>>() {
            self.chain(names::sep(&server.name, backend.address), self.endpoint(backend));
        }
    }

    /// The rule that marks packets to the cluster IP, at the head of the pool's chain. The node
    /// itself is treated as everybody outside is: these rules know no third class here.
    fn internal_masquerade(&self, frontend: &Frontend) -> Option<Rule> {
        let routes = &frontend.routes;
        if !masquerades(routes.outside) {
            return None;
        }
        let sources = if masquerades(routes.pod) {
            Rule::default()
        } else {
            sources(self.local_traffic, false)?
        };
        let comment = format!("{} cluster IP", self.name);
        let rule = self.to_frontend(frontend, Target::Jump(KUBE_MARK_MASQ.into()), &comment);
        Some(Rule { source: sources.source, in_interface: sources.in_interface, ..rule })
    }

    /// The chain for external addresses, and the pools that it leads to. Classes that go the way of
    /// everybody outside need no rules of their own.
    fn external(&self, routes: &Routes) -> (Vec<Rule>, BTreeSet<PoolName>) {
        let mut rules = Vec::new();
        let mut pools = BTreeSet::new();
        let words = |head: &str| format!("{head} for {} external destinations", self.name);
        let mark = || Target::Jump(KUBE_MARK_MASQ.into());
        let pods = sources(self.local_traffic, true);
        if let (true, Some(pods)) = (routes.pod != routes.outside, pods) {
            if masquerades(routes.pod) {
                let rule = Rule { target: Some(mark()), ..pods.clone() };
                rules.push(rule.comment(&words("masquerade pod traffic")));
            }
            if let Some(pool) = delivers(routes.pod) {
                let target = Some(Target::Jump(pool_chain(self.server, pool)));
                rules.push(Rule { target, ..pods }.comment(&words("pod traffic")));
                pools.insert(pool);
            }
        }
        if routes.node != routes.outside {
            let own =
                |target, head| Rule::to(target).comment(&words(head)).matching(Match::SourceLocal);
            if masquerades(routes.node) {
                rules.push(own(mark(), "masquerade LOCAL traffic"));
            }
            if let Some(pool) = delivers(routes.node) {
                let target = Target::Jump(pool_chain(self.server, pool));
                rules.push(own(target, "route LOCAL traffic"));
                pools.insert(pool);
            }
        }
        if masquerades(routes.outside) {
            rules.push(Rule::to(mark()).comment(&words("masquerade traffic")));
        }
        if let Some(pool) = delivers(routes.outside) {
            rules.push(Rule::to(Target::Jump(pool_chain(self.server, pool))));
            pools.insert(pool);
        }
        (rules, pools)
    }

    fn firewall(&self, allowed: &[Cidr]) -> Vec<Rule> {
        let ext = names::ext(&self.server.name);
        let comment = format!("{} loadbalancer IP", self.name);
        let mut rules: Vec<Rule> = allowed
            .iter()
            .map(|cidr| Rule {
                source: within(*cidr),
                ..Rule::to(Target::Jump(ext.clone())).comment(&comment)
            })
            .collect();
        let rest =
            format!("other traffic to {} will be dropped by {KUBE_PROXY_FIREWALL}", self.name);
        rules.push(Rule::default().comment(&rest));
        rules
    }

    /// First the endpoint that remembers the client, if any does; then a cascade that gives every
    /// endpoint the same share.
    fn balance(&self, pool: &[Backend]) -> Vec<Rule> {
        let to = |backend: &Backend| {
            let chain = names::sep(&self.server.name, backend.address);
            let comment = format!("{} -> {}", self.name, backend.address);
            (chain.clone(), Rule::to(Target::Jump(chain)).comment(&comment))
        };
        let mut rules = Vec::with_capacity(pool.len() * 2);
        if let Some(seconds) = self.server.affinity_seconds {
            for backend in pool {
                let (list, rule) = to(backend);
                let action = Recent::Check { seconds };
                rules.push(rule.matching(Match::Recent { list, action }));
            }
        }
        for (index, backend) in pool.iter().enumerate() {
            let (_, rule) = to(backend);
            let left = u32::try_from(pool.len() - index).unwrap_or(u32::MAX);
            let last = left == 1;
            rules.push(if last { rule } else { rule.matching(Match::Random(probability(left))) });
        }
        rules
    }

    fn endpoint(&self, backend: Backend) -> Vec<Rule> {
        let itself = Rule {
            source: Some(Inverted::is(IpNet::from(backend.address.ip()))),
            ..Rule::to(Target::Jump(KUBE_MARK_MASQ.into())).comment(&self.name)
        };
        let mut translate = Rule {
            protocol: Some(self.protocol()),
            ..Rule::to(Target::Dnat(backend.address)).comment(&self.name)
        };
        if self.server.affinity_seconds.is_some() {
            let list = names::sep(&self.server.name, backend.address);
            translate = translate.matching(Match::Recent { list, action: Recent::Set });
        }
        vec![itself, translate.matching(Match::Bare(self.protocol()))]
    }
}

/// The chance, in units of 2⁻³¹, with which the next of `left` endpoints takes a packet: 1/`left`,
/// rounded to the nearest unit. kube-proxy rounds to ten decimal digits, which is coarser beyond
/// some hundred endpoints. The last (`left` = 1) needs no chance; 0 counts as 1.
#[must_use]
pub fn probability(left: u32) -> u32 {
    let left = u64::from(left.max(1));
    let units = ((1 << 31) + left / 2) / left;
    u32::try_from(units).unwrap_or(1 << 31)
}

fn kind_words(kind: FrontendKind) -> &'static str {
    match kind {
        FrontendKind::ClusterIP => "cluster IP",
        FrontendKind::ExternalIP => "external IP",
        FrontendKind::LoadBalancerIP => "loadbalancer IP",
        FrontendKind::NodePort => "node port",
    }
}

/// Whether only some sources may come, and there is something to come to. Without any endpoint a
/// refusal is all that anybody gets.
fn is_fenced(frontend: &Frontend) -> bool {
    frontend.sources.is_some() && delivers_to_any(&frontend.routes)
}

fn delivers(route: Route) -> Option<PoolName> {
    match route {
        Route::Deliver { pool, .. } => Some(pool),
        Route::Refuse { .. } => None,
    }
}

fn delivers_to_any(routes: &Routes) -> bool {
    [routes.pod, routes.node, routes.outside].into_iter().any(|route| delivers(route).is_some())
}

fn masquerades(route: Route) -> bool {
    matches!(route, Route::Deliver { masquerade: true, .. })
}

fn pool_chain(server: &VirtualServer, pool: PoolName) -> Arc<str> {
    match pool {
        PoolName::Cluster => names::svc(&server.name),
        PoolName::Local => names::svl(&server.name),
    }
}

/// A source block as a condition; a block of everything is none.
fn within(cidr: Cidr) -> Option<Inverted<Cidr>> {
    (cidr.prefix_len() > 0).then(|| Inverted::is(cidr))
}

/// A rule that holds only the condition that a packet comes from a Pod (or, `of_pods` false, that it
/// does not). `None` where no packet could meet it.
fn sources(local: &LocalTraffic, of_pods: bool) -> Option<Rule> {
    let of_interface = |name: Arc<str>| Rule {
        in_interface: Some(Inverted { inverted: !of_pods, value: name }),
        ..Rule::default()
    };
    match local {
        // Every address matches, and iptables has no word for "not every address".
        LocalTraffic::Source(cidr) if cidr.prefix_len() == 0 => of_pods.then(Rule::default),
        LocalTraffic::Source(cidr) => Some(Rule {
            source: Some(Inverted { inverted: !of_pods, value: *cidr }),
            ..Rule::default()
        }),
        LocalTraffic::Interface(name) => Some(of_interface(name.clone())),
        LocalTraffic::InterfacePrefix(prefix) => Some(of_interface(format!("{prefix}+").into())),
        LocalTraffic::Unknown => (!of_pods).then(Rule::default),
    }
}
