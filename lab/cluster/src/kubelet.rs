//! Pods on Nodes: each becomes a namespace of the lab with servers in it, and its status says so.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lab::{Lab, LabError, node_address, pod_address};
use lab_api::resource::PODS;
use lab_api::{ApiError, DeleteOptions, Object, Store, WriteOptions};
use model::Family;
use serde_json::Value;
use tokio::runtime::Handle;
use tracing::warn;

use crate::image::{Behaviour, Readiness};
use crate::json::{is_going, name, namespace, number, text, uid};
use crate::pod_status::{Seen, status};
use crate::server::{PodLog, Servers};
use crate::snapshot::list;

/// How long a Pod that was told to end goes on serving: long enough for every proxy to learn it.
const DRAIN: Duration = Duration::from_millis(300);

/// How long the network of an ended Pod stays: clients that proxies still send there are refused
/// by it, where without it their packets would be lost.
const AFTERGLOW: Duration = Duration::from_millis(500);

/// By this annotation a Pod asks for the number by which its addresses end.
pub const NUMBER_ANNOTATION: &str = "lab.pointsman.example/number";

/// The kubelets of all Nodes.
pub(crate) struct Kubelet {
    store: Store,
    runtime: Handle,
    lab: Arc<Mutex<Lab>>,
    families: Vec<Family>,
    /// By uid.
    running: BTreeMap<String, Running>,
    /// The last number given to a Pod, by Node: an address rests before it is used again.
    numbers: BTreeMap<String, u8>,
}

struct Running {
    key: (String, String),
    node: String,
    place: Option<String>,
    addresses: Vec<IpAddr>,
    number: Option<u8>,
    behaviour: Behaviour,
    started: Instant,
    start_time: String,
    end: Option<Instant>,
    /// `None` when its processes have ended. A port without a server refuses.
    servers: Option<Servers>,
}

/// The place of a Pod in the lab.
pub(crate) fn place_of(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// Whether a Pod is over, though its object is there.
fn has_ended(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Failed" | "Succeeded")
}

impl Kubelet {
    pub(crate) fn new(
        store: Store,
        runtime: Handle,
        lab: Arc<Mutex<Lab>>,
        families: Vec<Family>,
    ) -> Self {
        let (running, numbers) = (BTreeMap::new(), BTreeMap::new());
        Self { store, runtime, lab, families, running, numbers }
    }

    /// Looks at all Pods once; how long until the next look, if time alone will change something.
    pub(crate) fn round(&mut self) -> Result<Option<Duration>, ApiError> {
        let pods = list(&self.store, &PODS)?;
        let here: BTreeMap<&str, &Object> = pods
            .iter()
            .filter(|pod| !text(pod, "/spec/nodeName").is_empty())
            .map(|pod| (uid(pod), pod))
            .collect();
        // Deleted without grace.
        for (uid, running) in &mut self.running {
            if running.servers.is_some() && !here.contains_key(uid.as_str()) {
                running.end = Some(Instant::now());
            }
        }
        // Ports close and addresses become free before others are taken.
        for (uid, pod) in &here {
            if is_going(pod) {
                self.end(uid, pod);
            }
        }
        // Evicted, for example: the object stays, and its processes end.
        for (uid, running) in &mut self.running {
            let ended = here.get(uid.as_str()).is_some_and(|pod| has_ended(pod));
            if running.servers.is_some() && ended {
                running.end = Some(Instant::now());
            }
        }
        self.sweep();
        for (uid, pod) in &here {
            if !is_going(pod) && !has_ended(pod) && !self.running.contains_key(*uid) {
                self.replace(pod);
                match self.start(pod) {
                    Ok(running) => drop(self.running.insert((*uid).to_owned(), running)),
                    Err(error) => self.fail(pod, &error),
                }
            }
        }
        for (uid, pod) in &here {
            let running = self.running.get(*uid).filter(|running| running.servers.is_some());
            if let Some(running) = running.filter(|_| !has_ended(pod)) {
                self.tell(pod, running);
            }
        }
        Ok(self.running.values().filter_map(Running::next_change).min())
    }

    fn start(&mut self, pod: &Object) -> Result<Running, LabError> {
        let node = text(pod, "/spec/nodeName").to_owned();
        let behaviour = Behaviour::of(pod);
        let own_network = pod["spec"]["hostNetwork"] != true;
        let lab = Arc::clone(&self.lab);
        let mut lab = lock(&lab);
        let node_number = lab.node_number(&node)?;
        let (place, number, addresses) = if own_network {
            let number = self.free_number(&node, pod)?;
            let of = |family: &Family| pod_address(node_number, number, *family);
            let addresses: Vec<IpAddr> = self.families.iter().map(of).collect();
            let place = place_of(namespace(pod), name(pod));
            lab.add_pod(&place, &node, &addresses)?;
            (Some(place), Some(number), addresses)
        } else {
            let of = |family: &Family| node_address(node_number, *family);
            (None, None, self.families.iter().map(of).collect())
        };
        let at = lab.at(place.as_deref().unwrap_or(&node))?.clone();
        drop(lab);
        let face = (name(pod), &node[..]);
        let log = PodLog { store: self.store.clone(), uid: uid(pod).to_owned() };
        let servers =
            Servers::start(&self.runtime, &at, face, &addresses, &behaviour, own_network, log);
        Ok(Running {
            key: (namespace(pod).to_owned(), name(pod).to_owned()),
            node,
            place,
            addresses,
            number,
            behaviour,
            started: Instant::now(),
            start_time: crate::json::now(),
            end: None,
            servers: Some(servers),
        })
    }

    /// The number that the Pod asks for, if nobody has it; else the one after the last that no Pod of
    /// the Node has.
    fn free_number(&mut self, node: &str, pod: &Object) -> Result<u8, LabError> {
        let last = self.numbers.get(node).copied().unwrap_or(1);
        let order = (last + 1..=254).chain(2..=last);
        let taken = |number: &u8| {
            self.running.values().any(|one| one.node == node && one.number == Some(*number))
        };
        let asked = pod["metadata"]["annotations"][NUMBER_ANNOTATION].as_str();
        let asked = asked.and_then(|text| text.parse().ok()).filter(|number| *number > 0);
        if let Some(number) = asked.filter(|number| !taken(number)) {
            return Ok(number);
        }
        let free = order.into_iter().find(|number| !taken(number));
        let problem = "its node has no address left for another Pod";
        let full = || LabError::Description { name: name(pod).to_owned(), problem };
        let number = free.ok_or_else(full)?;
        self.numbers.insert(node.to_owned(), number);
        Ok(number)
    }

    /// Tells a Pod to end, or lets go of one that never ran.
    fn end(&mut self, uid: &str, pod: &Object) {
        let Some(running) = self.running.get_mut(uid) else { return self.let_go(pod, uid) };
        if running.servers.is_none() {
            return self.let_go(pod, uid);
        }
        let grace = number(pod, "/metadata/deletionGracePeriodSeconds").unwrap_or(0);
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        let time = if running.behaviour.lingering { grace } else { grace.min(DRAIN) };
        let end = Instant::now() + time;
        // A grace period only ever gets shorter.
        running.end = Some(running.end.map_or(end, |before| before.min(end)));
    }

    /// Ends the processes of the Pods whose time is over, and takes their networks down later.
    fn sweep(&mut self) {
        let now = Instant::now();
        let over: Vec<String> = self
            .running
            .iter()
            .filter(|(_, running)| running.end.is_some_and(|end| end <= now))
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in over {
            let Some(running) = self.running.get_mut(&uid) else { continue };
            if running.servers.take().is_some() {
                running.end = Some(now + AFTERGLOW);
                let (namespace, name) = running.key.clone();
                match self.store.get(&PODS, &namespace, &name) {
                    Ok(pod) if is_going(&pod) || !has_ended(&pod) => self.let_go(&pod, &uid),
                    _ => {}
                }
            } else {
                self.take_down(&uid);
            }
        }
    }

    fn take_down(&mut self, uid: &str) {
        self.store.forget(uid);
        let place = self.running.remove(uid).and_then(|running| running.place);
        if let Some(place) = place
            && let Err(error) = lock(&self.lab).remove_pod(&place)
        {
            warn!(pod = place, "{error}");
        }
    }

    /// Makes room for a Pod that has the name of one that has just ended.
    fn replace(&mut self, pod: &Object) {
        let key = (namespace(pod).to_owned(), name(pod).to_owned());
        let ended = self.running.iter().find(|(_, running)| running.key == key);
        if let Some(uid) = ended.map(|(uid, _)| uid.clone()) {
            self.take_down(&uid);
        }
    }

    fn let_go(&self, pod: &Value, uid: &str) {
        let uid = Some(uid.to_owned());
        let options = DeleteOptions { grace: Some(0), uid, ..DeleteOptions::default() };
        match self.store.delete(&PODS, namespace(pod), name(pod), &options) {
            Ok(_) | Err(ApiError::NotFound { .. } | ApiError::Conflict { .. }) => {}
            Err(error) => warn!(pod = name(pod), "{error}"),
        }
    }

    fn fail(&self, pod: &Object, error: &LabError) {
        warn!(pod = name(pod), "{error}");
        self.write(pod, |new| {
            new["status"]["phase"] = "Failed".into();
            new["status"]["reason"] = "LabError".into();
            new["status"]["message"] = error.to_string().into();
        });
    }

    /// Writes the status of a Pod if it is not what it should be.
    fn tell(&self, pod: &Object, running: &Running) {
        let seen = Seen {
            node: text(pod, "/spec/nodeName"),
            node_addresses: self.node_addresses(&running.node),
            addresses: &running.addresses,
            start_time: &running.start_time,
            ready: running.is_ready(),
            restarts: running.restarts(),
        };
        let wanted = status(pod, &seen);
        if pod["status"] != wanted {
            self.write(pod, |new| new["status"] = wanted);
        }
    }

    fn node_addresses(&self, node: &str) -> Vec<IpAddr> {
        let number = lock(&self.lab).node_number(node).unwrap_or_default();
        self.families.iter().map(|family| node_address(number, *family)).collect()
    }

    fn write(&self, pod: &Object, change: impl FnOnce(&mut Value)) {
        let options = WriteOptions {
            manager: "kubelet".to_owned(),
            subresource: Some("status"),
            ..WriteOptions::default()
        };
        let written = self.store.edit(&PODS, namespace(pod), name(pod), &options, |new| {
            // A Pod of the same name may have taken its place.
            if uid(new) == uid(pod) {
                change(new);
            }
        });
        match written {
            Ok(_) | Err(ApiError::NotFound { .. } | ApiError::Conflict { .. }) => {}
            Err(error) => warn!(pod = name(pod), "{error}"),
        }
    }
}

impl Running {
    fn is_ready(&self) -> bool {
        let age = self.started.elapsed();
        match self.behaviour.readiness {
            Readiness::After(time) => age >= time,
            Readiness::Never => false,
            Readiness::Flapping(_) => self.turns().is_multiple_of(2),
        }
    }

    /// How often readiness has changed.
    fn turns(&self) -> u32 {
        let Readiness::Flapping(time) = self.behaviour.readiness else { return 0 };
        u32::try_from(self.started.elapsed().as_millis() / time.as_millis().max(1)).unwrap_or(0)
    }

    /// One for every time that it became ready again.
    fn restarts(&self) -> u32 {
        self.turns() / 2
    }

    /// How long until time alone changes something.
    fn next_change(&self) -> Option<Duration> {
        let now = Instant::now();
        let readiness = match self.behaviour.readiness {
            Readiness::After(time) => Some(self.started + time).filter(|when| *when > now),
            Readiness::Never => None,
            Readiness::Flapping(time) => Some(self.started + time * (self.turns() + 1)),
        };
        let next = readiness.into_iter().chain(self.end).min()?;
        Some(next.saturating_duration_since(now))
    }
}

/// Every change of a lab is made whole or undone, whatever a panicking thread did.
pub(crate) fn lock(lab: &Mutex<Lab>) -> MutexGuard<'_, Lab> {
    lab.lock().unwrap_or_else(PoisonError::into_inner)
}
