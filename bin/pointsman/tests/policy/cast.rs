//! Many scenarios in one cluster: each gets namespaces and addresses of its own.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

use model::Protocol;
use pointsman_tests::policy::{
    CLUSTER_SCENARIOS, Check, FAMILY_PODS, SCENARIOS, Seat, State, World, families, ip,
};
use serde_json::{Value, json};

/// The nodes of the stage, in order.
pub(crate) const NODES: [&str; 2] = ["alpha", "beta"];

/// Every so many cases of the generated families is sent.
const SAMPLE: usize = 25;

/// One scenario and its place in the cluster.
pub(crate) struct Part {
    /// What its namespaces begin with.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) world: World,
    number: usize,
}

/// All scenarios.
pub(crate) struct Cast {
    pub(crate) parts: Vec<Part>,
}

impl Cast {
    pub(crate) fn assemble() -> Self {
        let mut next = [1_u8; 2];
        let mut parts = Vec::new();
        let mut add = |id: String, name: String, pods: usize, play: &dyn Fn(&[Seat]) -> World| {
            let seat = |index: usize| {
                let node = index % NODES.len();
                let address = ip(&format!("10.77.{}.{}", node + 1, next[node]));
                next[node] += 1;
                Seat { node: NODES[node], address }
            };
            let seats: Vec<Seat> = (0..pods).map(seat).collect();
            let number = parts.len() + 1;
            parts.push(Part { id, name, world: play(&seats), number });
        };
        for scenario in SCENARIOS.iter().chain(&CLUSTER_SCENARIOS) {
            let (id, name) = (scenario.id.to_owned(), scenario.name.to_owned());
            add(id, name, scenario.pods.len(), &|seats| scenario.play(seats));
        }
        for (index, case) in families().into_iter().enumerate().step_by(SAMPLE) {
            let name = format!("{}, {}", case.family, case.name);
            add(format!("f{index}"), name, FAMILY_PODS.len(), &|seats| case.play(seats));
        }
        Self { parts }
    }

    /// How many states the longest has.
    pub(crate) fn steps(&self) -> usize {
        self.parts.iter().map(|part| part.world.states.len()).max().unwrap()
    }

    /// The addresses of all Pods, and who they are.
    pub(crate) fn pods(&self) -> impl Iterator<Item = (usize, IpAddr)> {
        self.parts.iter().flat_map(|part| {
            part.world.pods.iter().enumerate().map(|(index, (_, address))| (index, *address))
        })
    }

    /// Where somebody must answer.
    pub(crate) fn destinations(&self) -> BTreeSet<(Protocol, IpAddr, u16)> {
        let states = self.parts.iter().flat_map(|part| &part.world.states);
        let checks = states.flat_map(|state| &state.checks);
        checks.map(|check| (check.protocol, check.to, check.port)).collect()
    }
}

impl Part {
    /// The cluster IP of the Service in front of a Pod.
    pub(crate) fn service(&self, pod: IpAddr) -> Option<IpAddr> {
        let index = self.world.pods.iter().position(|(_, address)| *address == pod)?;
        Some(ip(&format!("10.88.{}.{}", self.number, index + 1)))
    }

    /// A check in words.
    pub(crate) fn told(&self, check: &Check) -> String {
        let name = |address: IpAddr| {
            let pods = &self.world.pods;
            let known = pods.iter().find(|(_, own)| *own == address);
            known.map_or_else(|| address.to_string(), |(name, _)| format!("{}-{name}", self.id))
        };
        let Check { from, to, protocol, port, open } = check;
        let (from, to) = (name(*from), name(*to));
        let wanted = if *open { "must pass" } else { "must not pass" };
        format!("{} ({}): {protocol} {port} {from} -> {to} {wanted}", self.id, self.name)
    }

    /// The manifests of a state.
    pub(crate) fn objects(&self, state: &State) -> String {
        let mut text = String::new();
        let mut add = |object: &Value| {
            let _ = writeln!(text, "---\n{object}");
        };
        for ((kind, _), object) in &state.objects {
            add(&self.placed(kind, object.clone()));
        }
        for (name, address) in &self.world.pods {
            self.in_front(name, *address).iter().for_each(&mut add);
        }
        text
    }

    /// A Service for one Pod, whose ports are not those of the Pod.
    fn in_front(&self, pod: &str, address: IpAddr) -> [Value; 2] {
        let (namespace, name) = pod.split_once('/').unwrap();
        let namespace = format!("{}-{namespace}", self.id);
        let ports = |offset: u16| -> Vec<Value> {
            let all = Protocol::ALL.into_iter().flat_map(|protocol| {
                [80, 81].map(|port| {
                    json!({"name": format!("{}-{port}", protocol.lower()),
                        "protocol": protocol.to_string(), "port": port + offset})
                })
            });
            all.collect()
        };
        let service = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": self.service(address), "ports": ports(1000)}});
        let labels = json!({"kubernetes.io/service-name": name});
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("{name}-1"), "namespace": namespace, "labels": labels},
            "addressType": "IPv4", "ports": ports(0),
            "endpoints": [{"addresses": [address], "conditions": {"ready": true}}]});
        [service, slice]
    }

    /// An object of the scenario in the namespaces that it has here.
    fn placed(&self, kind: &str, mut object: Value) -> Value {
        let version = match kind {
            "NetworkPolicy" => "networking.k8s.io/v1",
            "ClusterNetworkPolicy" => "policy.networking.k8s.io/v1alpha2",
            _ => "v1",
        };
        object["apiVersion"] = version.into();
        object["kind"] = kind.into();
        let prefixed =
            |value: &Value| Value::from(format!("{}-{}", self.id, value.as_str().unwrap()));
        match kind {
            "Namespace" => {
                object["metadata"]["name"] = prefixed(&object["metadata"]["name"]);
                object["metadata"]["labels"]["scenario"] = self.id.clone().into();
            }
            // Only its own Pods are the subject: everybody else plays another scenario.
            "ClusterNetworkPolicy" => {
                object["metadata"]["name"] = prefixed(&object["metadata"]["name"]);
                let of = &mut object["spec"]["subject"]["namespaces"]["matchLabels"];
                of["scenario"] = self.id.clone().into();
            }
            _ => object["metadata"]["namespace"] = prefixed(&object["metadata"]["namespace"]),
        }
        self.rename(&mut object);
        object
    }

    /// Selectors that name a namespace by its own name.
    fn rename(&self, value: &mut Value) {
        const NAME: &str = "kubernetes.io/metadata.name";
        let prefixed =
            |value: &Value| Value::from(format!("{}-{}", self.id, value.as_str().unwrap()));
        match value {
            Value::Object(fields) => {
                if let Some(name) = fields.get_mut(NAME) {
                    *name = prefixed(name);
                }
                if fields.get("key").is_some_and(|key| key == NAME)
                    && let Some(Value::Array(values)) = fields.get_mut("values")
                {
                    values.iter_mut().for_each(|value| *value = prefixed(value));
                }
                fields.values_mut().for_each(|field| self.rename(field));
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.rename(item)),
            _ => {}
        }
    }
}
