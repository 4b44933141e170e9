//! A Service's share: elements of the maps, and the balancing chains that they lead to.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use model::{Cidr, Family};
use plan::{
    Backend, Frontend, FrontendKind, LocalTraffic, NodeIntent, PoolName, Refusal, Refuse, Route,
    Routes, VirtualServer,
};

use super::balance::{Balance, Mark, endpoint_ids};
use super::{
    Chain, ChainId, Clients, Content, Data, ElementId, Error, Options, Part, Place, SetName,
    Statement, Value, Verdict, names,
};

/// What the virtual servers of one owner ask for. The chains are those that they need; other owners
/// may need the same.
///
/// Where Pods cannot be told ([`LocalTraffic::Unknown`]) no packet is a Pod's, and the routes for
/// Pods are not looked at.
///
/// # Errors
/// [`Error`] if the routes say what this shape cannot.
pub fn owner(
    node: &NodeIntent,
    servers: &[VirtualServer],
    options: &Options,
) -> Result<Part, Error> {
    let mut part = Part::default();
    for server in servers {
        let pods = node.local_traffic[server.family] != LocalTraffic::Unknown;
        let mut writer = Writer { part: &mut part, server, pods, options };
        let mut filled = BTreeSet::new();
        for frontend in &server.frontends {
            writer.frontend(frontend, &mut filled)?;
        }
        writer.hairpin();
    }
    Ok(part)
}

struct Writer<'a> {
    part: &'a mut Part,
    server: &'a VirtualServer,
    /// Whether a packet can be known for a Pod's.
    pods: bool,
    options: &'a Options,
}

/// A frontend as packets name it.
struct Target {
    place: Place,
    key: Vec<Value>,
}

impl Target {
    fn of(frontend: &Frontend, server: &VirtualServer) -> Self {
        let port = [Value::Protocol(server.protocol()), Value::Port(frontend.port)];
        match frontend.address {
            Some(address) => {
                let key = [&[Value::Address(address)][..], &port].concat();
                Self { place: Place::Address, key }
            }
            None => Self { place: Place::NodePort, key: port.to_vec() },
        }
    }
}

impl Writer<'_> {
    fn family(&self) -> Family {
        self.server.family
    }

    fn element(&mut self, set: &SetName, key: Vec<Value>, data: Data, comment: Option<Arc<str>>) {
        let id = ElementId { family: self.family(), set: set.clone(), key };
        self.part.elements.insert(id, Content { data, comment });
    }

    fn frontend(
        &mut self,
        frontend: &Frontend,
        filled: &mut BTreeSet<(Place, Vec<Value>, PoolName)>,
    ) -> Result<(), Error> {
        let target = Target::of(frontend, self.server);
        let comment = comment(&self.server.name.to_string());
        if let (FrontendKind::ClusterIP, Some(address)) = (frontend.kind, frontend.address) {
            // Without a comment, for it may be another Service's too, on other ports.
            let key = vec![Value::Address(address)];
            self.element(&SetName::ClusterIps, key, Data::Nothing, None);
        }
        if let Some(sources) = &frontend.sources {
            self.guard(&target, sources, &comment);
        }
        for (clients, route, mark) in self.lanes(frontend)? {
            let verdict = self.verdict(&target, route, mark)?;
            let set = SetName::Dispatch(target.place, clients);
            let data = Data::Verdict(verdict);
            self.element(&set, target.key.clone(), data, Some(comment.clone()));
            if let Route::Deliver { pool, .. } = route
                && filled.insert((target.place, target.key.clone(), pool))
            {
                self.backends(&target, pool);
            }
        }
        Ok(())
    }

    /// The maps that the frontend is in, with the route and who is masqueraded.
    fn lanes(&self, frontend: &Frontend) -> Result<Vec<(Clients, Route, Mark)>, Error> {
        let routes = &frontend.routes;
        let pod = if self.pods { routes.pod } else { routes.node };
        let [pod, node, outside] =
            [pod, routes.node, routes.outside].map(|route| (end(route), masquerade(route)));
        let mark = match (pod.1, node.1) {
            (false, false) => Mark::Never,
            (false, true) => Mark::UnlessPod,
            (true, true) => Mark::Always,
            (true, false) => return Err(self.differ()),
        };
        if pod.0 != node.0 {
            return Err(self.differ());
        }
        let mut lanes = vec![(Clients::All, routes.node, mark)];
        if outside != node {
            let mark = if outside.1 { Mark::Always } else { Mark::Never };
            lanes.push((Clients::Outside, routes.outside, mark));
        }
        Ok(lanes)
    }

    fn differ(&self) -> Error {
        Error::PodAndNodeDiffer { port: self.server.name.to_string() }
    }

    /// What the dispatch map says, with the chain that it leads to.
    fn verdict(&mut self, target: &Target, route: Route, mark: Mark) -> Result<Verdict, Error> {
        let (name, chain): (Arc<str>, Chain) = match route {
            Route::Deliver { pool, .. } => {
                let balance = Balance {
                    place: target.place,
                    pool,
                    count: self.count(pool)?,
                    sticky: self.server.affinity_seconds,
                    mark,
                };
                (balance.to_string().into(), balance.chain(self.options))
            }
            Route::Refuse { why, with } => {
                let name = match (why, with) {
                    (Refusal::NoEndpoints, Refuse::Reject) => names::NO_ENDPOINTS_REJECT,
                    (Refusal::NoEndpoints, Refuse::Drop) => names::NO_ENDPOINTS_DROP,
                    (Refusal::NoLocalEndpoints, Refuse::Reject) => names::NO_LOCAL_ENDPOINTS_REJECT,
                    (Refusal::NoLocalEndpoints, Refuse::Drop) => names::NO_LOCAL_ENDPOINTS_DROP,
                };
                let verdict = match with {
                    Refuse::Reject => Verdict::Reject,
                    Refuse::Drop => Verdict::Drop,
                };
                let rules = vec![vec![Statement::Verdict(verdict)]];
                (Arc::from(name), Chain { base: None, rules })
            }
        };
        let id = ChainId { family: self.family(), name: name.clone() };
        self.part.chains.insert(id, chain);
        Ok(Verdict::Goto(name))
    }

    fn count(&self, pool: PoolName) -> Result<u32, Error> {
        let count = u32::try_from(self.server.pool(pool).len()).unwrap_or(u32::MAX);
        if count == 0 {
            return Err(Error::EmptyPool { port: self.server.name.to_string(), pool });
        }
        Ok(count)
    }

    fn backends(&mut self, target: &Target, pool: PoolName) {
        let backends = self.server.pool(pool).clone();
        let key = |last| [&target.key[..], &[last]].concat();
        let to = |address: SocketAddr| {
            Data::Values(vec![Value::Address(address.ip()), Value::Port(address.port())])
        };
        if self.server.affinity_seconds.is_none() {
            let set = SetName::Endpoints(target.place, pool);
            for (index, backend) in (0..).zip(backends.iter()) {
                self.element(&set, key(Value::Index(index)), to(backend.address), None);
            }
            return;
        }
        let (slots, endpoints) = (
            SetName::StickySlots(target.place, pool),
            SetName::StickyEndpoints(target.place, pool),
        );
        let ids = endpoint_ids(&backends).into_iter().map(Value::EndpointId);
        for ((index, backend), id) in (0..).zip(backends.iter()).zip(ids) {
            self.element(&slots, key(Value::Index(index)), Data::Values(vec![id]), None);
            self.element(&endpoints, key(id), to(backend.address), None);
        }
    }

    /// Sources that may come. Blocks that overlap or touch are joined: the kernel refuses elements
    /// that overlap. Everybody together is no guard.
    fn guard(&mut self, target: &Target, sources: &[Cidr], comment: &Arc<str>) {
        let sources = Cidr::aggregate(&sources.to_vec());
        if sources.iter().any(|block| block.prefix_len() == 0) {
            return;
        }
        self.element(&SetName::Guarded, target.key.clone(), Data::Nothing, Some(comment.clone()));
        for block in sources {
            let key = [&[Value::Block(block)][..], &target.key].concat();
            self.element(&SetName::AllowedSources, key, Data::Nothing, None);
        }
    }

    /// Endpoints that may find themselves their own clients here. A Pod's packets are translated on
    /// the node that it runs on, so those that are known to run on other nodes are left out, unless
    /// Pods may come by a frontend that other nodes' Pods reach as well, and are not masqueraded for
    /// that.
    fn hairpin(&mut self) {
        let server = self.server;
        let unmasked =
            |route| route == Route::Deliver { pool: PoolName::Cluster, masquerade: false };
        let from_other_nodes = server.frontends.iter().any(|frontend| {
            let Routes { pod, node, outside } = frontend.routes;
            frontend.kind != FrontendKind::ClusterIP
                && [pod, node, outside].map(unmasked).contains(&true)
        });
        let backends = server.cluster.iter().chain(server.local.iter());
        let here = |backend: &Backend| backend.local || backend.unplaced;
        for backend in backends.filter(|&backend| here(backend) || from_other_nodes) {
            let address = Value::Address(backend.address.ip());
            self.element(&SetName::Hairpin, vec![address, address], Data::Nothing, None);
        }
    }
}

/// Where a route ends, whoever is masqueraded.
fn end(route: Route) -> Route {
    match route {
        Route::Deliver { pool, .. } => Route::Deliver { pool, masquerade: false },
        Route::Refuse { .. } => route,
    }
}

fn masquerade(route: Route) -> bool {
    matches!(route, Route::Deliver { masquerade: true, .. })
}

/// A comment that nft loads; a name that is too long ends in `...`.
pub(super) fn comment(name: &str) -> Arc<str> {
    if name.len() <= Content::COMMENT {
        return name.into();
    }
    let mut end = Content::COMMENT - 3;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &name[..end]).into()
}
