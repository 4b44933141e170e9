//! The controllers and kubelets of a cluster made of network namespaces.
//!
//! In: the objects of a [`Store`], which clients write. Out: the objects that a control plane
//! writes (ReplicaSets, Pods, placements, EndpointSlices, load-balancer addresses, statuses), and
//! for every Pod a namespace of a [`Lab`] with servers in it. Two threads work side by side, the
//! controllers and the kubelets; each looks at everything whenever something has changed.

mod action;
mod deployments;
mod endpoint_slices;
mod endpoints;
mod error;
mod image;
mod json;
mod kubelet;
mod load_balancers;
mod nodes;
mod pod_status;
mod replica_sets;
mod scheduler;
mod server;
mod snapshot;
mod wake;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use lab::{Lab, Namespace, OUTSIDE};
use lab_api::Store;
use lab_api::resource::{
    DEPLOYMENTS, ENDPOINT_SLICES, ENDPOINTS, NODES, PODS, REPLICA_SETS, SERVICES,
};
use model::Family;
use tokio::runtime::Handle;
use tracing::warn;

pub use error::ClusterError;
pub use kubelet::NUMBER_ANNOTATION;
pub use nodes::node_name;

use kubelet::{Kubelet, lock, place_of};
use snapshot::Snapshot;
use wake::Bell;

/// How long a controller rests after a failure that no change announces the end of.
const REST: Duration = Duration::from_secs(1);

/// The shape of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// How many nodes, 1 to 255.
    pub nodes: u8,
    /// The address families of nodes, Pods and Services, the primary one first.
    pub families: Vec<Family>,
}

impl ClusterOptions {
    /// The blocks of cluster IPs, for [`lab_api::StoreOptions`].
    #[must_use]
    pub fn service_cidrs(&self) -> Vec<IpNet> {
        let block = |family: &Family| match family {
            Family::V4 => IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16)),
            Family::V6 => {
                let address = Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 0, 0);
                IpNet::V6(Ipv6Net::new_assert(address, 112))
            }
        };
        self.families.iter().map(block).collect()
    }

    /// The blocks that hold all Pods, one a family: kube-proxy's `--cluster-cidr`.
    #[must_use]
    pub fn cluster_cidrs(&self) -> Vec<&'static str> {
        let block = |family: &Family| match family {
            Family::V4 => "10.77.0.0/16",
            Family::V6 => "fd77::/16",
        };
        self.families.iter().map(block).collect()
    }

    /// Where each node answers DNS for its Pods.
    #[must_use]
    pub fn dns_address(&self) -> IpAddr {
        match self.families.first() {
            Some(Family::V6) => Ipv6Addr::new(0xfd53, 0, 0, 0, 0, 0, 0, 0x10).into(),
            _ => Ipv4Addr::new(169, 254, 20, 10).into(),
        }
    }
}

/// A cluster that lives. Dropping it ends every Pod and removes every namespace.
#[derive(Debug)]
pub struct Cluster {
    options: ClusterOptions,
    lab: Arc<Mutex<Lab>>,
    store: Store,
    bells: Vec<Bell>,
    threads: Vec<JoinHandle<()>>,
}

/// A place that a command can be run in.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its network.
    pub network: Namespace,
    /// Its host name.
    pub hostname: String,
    /// What stands in its `/etc/resolv.conf`.
    pub resolv_conf: String,
}

impl Cluster {
    /// Makes the nodes and starts what keeps a cluster going. The servers of Pods are tasks of
    /// `runtime`.
    ///
    /// # Errors
    /// [`ClusterError`] if namespaces cannot be made or the store has objects of another cluster.
    pub fn start(
        store: Store,
        options: ClusterOptions,
        runtime: &Handle,
    ) -> Result<Self, ClusterError> {
        let names: Vec<String> = (1..=options.nodes).map(node_name).collect();
        let lab = Arc::new(Mutex::new(Lab::full(names).build()?));
        for number in 1..=options.nodes {
            nodes::register(&store, number, &options.families)?;
        }
        let mut cluster = Self { options, lab, store, bells: Vec::new(), threads: Vec::new() };
        cluster.start_controllers(runtime)?;
        cluster.start_kubelets(runtime)?;
        Ok(cluster)
    }

    fn start_controllers(&mut self, runtime: &Handle) -> Result<(), ClusterError> {
        let watched =
            [&DEPLOYMENTS, &REPLICA_SETS, &PODS, &NODES, &SERVICES, &ENDPOINT_SLICES, &ENDPOINTS];
        let store = self.store.clone();
        self.keep("controllers", runtime, &watched, move || {
            match Snapshot::take(&store) {
                Ok(snapshot) => control(&snapshot, &store),
                Err(error) => {
                    warn!("controllers: {error}");
                    return Some(REST);
                }
            }
            None
        })
    }

    fn start_kubelets(&mut self, runtime: &Handle) -> Result<(), ClusterError> {
        let families = self.options.families.clone();
        let (store, lab) = (self.store.clone(), Arc::clone(&self.lab));
        let mut kubelet = Kubelet::new(store, runtime.clone(), lab, families);
        self.keep("kubelets", runtime, &[&PODS], move || {
            kubelet.round().unwrap_or_else(|error| {
                warn!("kubelets: {error}");
                Some(REST)
            })
        })
    }

    /// Runs `round` in a thread whenever one of the resources has changed, and after the time that
    /// it says.
    fn keep(
        &mut self,
        what: &'static str,
        runtime: &Handle,
        watched: &[&'static lab_api::Resource],
        mut round: impl FnMut() -> Option<Duration> + Send + 'static,
    ) -> Result<(), ClusterError> {
        let bell = Bell::default();
        bell.ring_at_changes(runtime, &self.store, watched)?;
        self.bells.push(bell.clone());
        let work = move || {
            let mut wait = Some(Duration::ZERO);
            while bell.wait(wait) {
                wait = round();
            }
        };
        let thread = thread::Builder::new().name(what.into()).spawn(work);
        self.threads.push(thread.map_err(|source| ClusterError::Thread { what, source })?);
        Ok(())
    }

    /// What the cluster was made with.
    #[must_use]
    pub fn options(&self) -> &ClusterOptions {
        &self.options
    }

    /// The names of all places: `node/NAME`, `pod/NAMESPACE/NAME` and `outside`, sorted.
    #[must_use]
    pub fn places(&self) -> Vec<String> {
        let lab = lock(&self.lab);
        let mut names: Vec<_> = lab
            .places()
            .map(|place| match place {
                OUTSIDE => OUTSIDE.to_owned(),
                pod if pod.contains('/') => format!("pod/{pod}"),
                node => format!("node/{node}"),
            })
            .collect();
        names.sort();
        names
    }

    /// A place by its name: `outside`, `node/NAME`, `pod/NAME` (of the namespace `default`) or
    /// `pod/NAMESPACE/NAME`.
    ///
    /// # Errors
    /// [`ClusterError::NoSuchPlace`].
    pub fn place(&self, place: &str) -> Result<Place, ClusterError> {
        let unknown = || ClusterError::NoSuchPlace(place.to_owned());
        let lab = lock(&self.lab);
        let find = |name: &str| lab.at(name).cloned().map_err(|_| unknown());
        let pod = |namespace: &str, name: &str| -> Result<Place, ClusterError> {
            let network = find(&place_of(namespace, name))?;
            let resolv_conf = self.resolv_conf(namespace);
            Ok(Place { network, hostname: name.to_owned(), resolv_conf })
        };
        // Nodes and the host outside do not resolve by the cluster's DNS.
        let resolv_conf = String::new();
        match place.split('/').collect::<Vec<_>>()[..] {
            [OUTSIDE] => {
                Ok(Place { network: find(OUTSIDE)?, hostname: OUTSIDE.to_owned(), resolv_conf })
            }
            ["node", name] if name != OUTSIDE => {
                Ok(Place { network: find(name)?, hostname: name.to_owned(), resolv_conf })
            }
            ["pod", name] => pod("default", name),
            ["pod", namespace, name] => pod(namespace, name),
            _ => Err(unknown()),
        }
    }

    /// A Pod's `/etc/resolv.conf` under the policy `ClusterFirst`.
    fn resolv_conf(&self, namespace: &str) -> String {
        let dns = self.options.dns_address();
        format!(
            "nameserver {dns}\n\
             search {namespace}.svc.cluster.local svc.cluster.local cluster.local\n\
             options ndots:5\n"
        )
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.bells.iter().for_each(Bell::end);
        for thread in self.threads.drain(..) {
            // A panic has been printed by then.
            drop(thread.join());
        }
    }
}

/// One round of every controller. What one of them writes starts the next round.
fn control(snapshot: &Snapshot, store: &Store) {
    type Controller = fn(&Snapshot, &mut Vec<action::Action>);
    let controllers: [(&str, Controller); 6] = [
        ("deployment-controller", deployments::reconcile),
        ("replicaset-controller", replica_sets::reconcile),
        ("kube-scheduler", scheduler::reconcile),
        ("endpointslice-controller", endpoint_slices::reconcile),
        ("endpoint-controller", endpoints::reconcile),
        ("service-controller", load_balancers::reconcile),
    ];
    for (name, reconcile) in controllers {
        let mut actions = Vec::new();
        reconcile(snapshot, &mut actions);
        actions.iter().for_each(|action| action.apply(store, name));
    }
}
