//! Two nodes with an agent each, places for the Pods, and packets between them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lab::{Lab, LabError, Namespace, OUTSIDE, Outcome, Server};
use model::{Family, Protocol};
use pointsman_tests::policy::Check;

use crate::cast::{Cast, NODES, Part};

/// How long an answer may take that must come: a busy machine is no dropped packet.
const ANSWER: Duration = Duration::from_secs(3);

/// The same as long as it may be asked again, since a change may not be there yet.
const SOON: Duration = Duration::from_millis(600);

/// How long nothing must come back where nothing may pass.
const SILENCE: Duration = Duration::from_millis(400);

/// How many connections are tried at once.
const AT_ONCE: usize = 256;

pub(crate) struct Stage {
    pub(crate) lab: Lab,
    mode: &'static str,
    folder: Folder,
    /// Which place has an address.
    places: BTreeMap<IpAddr, String>,
    _servers: Vec<Server>,
    lacking: BTreeSet<Protocol>,
    agents: Vec<Agent>,
    not_sent: AtomicUsize,
}

/// A folder that goes away with its value.
struct Folder(PathBuf);

impl Folder {
    fn manifests(&self) -> PathBuf {
        self.0.join("manifests")
    }

    /// What an agent says.
    fn log(&self, node: &str) -> PathBuf {
        self.0.join(format!("{node}.log"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A node's agent, which ends with its value.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Stage {
    /// Pods share a few places on each node: what the node sees of them are their addresses.
    pub(crate) fn build(mode: &'static str, cast: &Cast) -> Self {
        let mut hosted: BTreeMap<(usize, String), Vec<IpAddr>> = BTreeMap::new();
        for (index, address) in cast.pods() {
            let node = index % NODES.len();
            let place = format!("{}-{}", NODES[node], index / NODES.len());
            hosted.entry((node, place)).or_default().push(address);
        }
        let mut builder = Lab::full(NODES);
        let mut places = BTreeMap::from([(lab::outside_address(Family::V4), OUTSIDE.to_owned())]);
        for (number, node) in (1..).zip(NODES) {
            places.insert(lab::node_address(number, Family::V4), node.to_owned());
        }
        for ((node, place), addresses) in hosted {
            places.extend(addresses.iter().map(|address| (*address, place.clone())));
            builder = builder.pod(place, NODES[node], addresses);
        }
        let lab = builder.build().unwrap();
        let mut stage = Self::of(mode, lab, places);
        for (protocol, address, port) in cast.destinations() {
            stage.serve(protocol, SocketAddr::new(address, port));
        }
        stage
    }

    /// A stage without servers, on which the agents run.
    pub(crate) fn of(mode: &'static str, lab: Lab, places: BTreeMap<IpAddr, String>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pointsman-policy-{}-{number}", std::process::id());
        let folder = Folder(std::env::temp_dir().join(name));
        fs::create_dir_all(folder.manifests()).unwrap();
        fs::write(folder.manifests().join("nodes.yaml"), nodes()).unwrap();
        let agents = NODES.iter().map(|node| agent(&lab, node, mode, &folder)).collect();
        Self {
            lab,
            mode,
            folder,
            places,
            _servers: Vec::new(),
            lacking: BTreeSet::new(),
            agents,
            not_sent: AtomicUsize::new(0),
        }
    }

    pub(crate) fn serve(&mut self, protocol: Protocol, at: SocketAddr) {
        match self.lab.serve(&self.places[&at.ip()], protocol, at) {
            Ok(server) => self._servers.push(server),
            Err(LabError::Unsupported(protocol)) => drop(self.lacking.insert(protocol)),
            Err(error) => panic!("{at}: {error}"),
        }
    }

    /// Puts manifests into the place of those of the same name.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let new = self.folder.0.join(format!("{name}.new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, self.folder.manifests().join(format!("{name}.yaml"))).unwrap();
    }

    /// How many connections of scenarios this machine cannot make.
    pub(crate) fn not_sent(&self) -> usize {
        self.not_sent.load(Ordering::Relaxed)
    }

    /// Asks until everything in a step is as it must be, and then once more: what did not change may
    /// have been asked before the change. Returns how many connections were judged, and how often
    /// some had to be tried again.
    pub(crate) fn settle(
        &mut self,
        step: usize,
        parts: &[&Part],
        patience: Duration,
    ) -> (usize, usize) {
        let all = self.asks(step, parts);
        let rounds = self.until_right(&format!("step {step}"), &all, patience);
        (all.len(), rounds)
    }

    /// Asks once for the last states of all; returns for how many connections.
    pub(crate) fn once_more(&self, parts: &[Part]) -> usize {
        let all = self.asks(usize::MAX, &parts.iter().collect::<Vec<_>>());
        let wrong = self.wrong(&all.iter().collect::<Vec<_>>(), ANSWER);
        if !wrong.is_empty() {
            self.fail("at the end", &wrong);
        }
        all.len()
    }

    fn asks(&self, step: usize, parts: &[&Part]) -> Vec<Ask> {
        let mut all = Vec::new();
        for part in parts {
            let state = part.world.states.get(step).or(part.world.states.last()).unwrap();
            for check in &state.checks {
                if self.lacking.contains(&check.protocol) {
                    self.not_sent.fetch_add(1, Ordering::Relaxed);
                } else {
                    all.extend(asks(part, check));
                }
            }
        }
        all
    }

    pub(crate) fn until_right(&mut self, when: &str, all: &[Ask], patience: Duration) -> usize {
        let (start, mut rounds) = (Instant::now(), 0);
        let all: Vec<&Ask> = all.iter().collect();
        let mut pending = all.clone();
        loop {
            rounds += 1;
            pending = self.wrong(&pending, SOON);
            if pending.is_empty() {
                break;
            }
            self.agents_live();
            if start.elapsed() > patience {
                self.fail(when, &pending);
            }
        }
        let again = self.wrong(&all, ANSWER);
        if !again.is_empty() {
            self.fail(when, &again);
        }
        rounds
    }

    fn fail(&self, when: &str, wrong: &[&Ask]) -> ! {
        let told: Vec<&str> = wrong.iter().map(|ask| ask.told.as_str()).collect();
        let few = told[..told.len().min(20)].join("\n");
        self.print_logs();
        panic!("{} mode, {when}, {} of the connections:\n{few}", self.mode, told.len());
    }

    fn agents_live(&mut self) {
        for index in 0..self.agents.len() {
            let agent = &mut self.agents[index];
            let ended = agent.0.try_wait().unwrap();
            if ended.is_some() {
                self.print_logs();
                panic!("{} mode: an agent has ended: {ended:?}", self.mode);
            }
        }
    }

    fn print_logs(&self) {
        for node in NODES {
            let log = fs::read_to_string(self.folder.log(node)).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(30).collect();
            println!("{node}:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }

    /// Those that came out otherwise than they must.
    fn wrong<'a>(&self, asks: &[&'a Ask], answer: Duration) -> Vec<&'a Ask> {
        let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(asks.len()) {
                scope.spawn(|| {
                    while let Some(ask) = asks.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if !self.is_right(ask, answer) {
                            wrong.lock().unwrap().push(*ask);
                        }
                    }
                });
            }
        });
        wrong.into_inner().unwrap()
    }

    fn is_right(&self, ask: &Ask, answer: Duration) -> bool {
        let timeout = if ask.wanted == Wanted::Silence { SILENCE } else { answer };
        let from = self.at(ask.from);
        let source = Some(SocketAddr::new(ask.from, 0));
        match (lab::probe(from, source, ask.protocol, ask.to, timeout).unwrap(), &ask.wanted) {
            (Outcome::Answer(answer), Wanted::Answer(by)) => answer.server_address == *by,
            (Outcome::Unreachable, Wanted::Unreachable) | (Outcome::Refused, Wanted::Refused) => {
                true
            }
            (outcome, wanted) => *wanted == Wanted::Silence && outcome.is_dropped(),
        }
    }

    pub(crate) fn at(&self, address: IpAddr) -> &Namespace {
        self.lab.at(&self.places[&address]).unwrap()
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) from: IpAddr,
    pub(crate) protocol: Protocol,
    pub(crate) to: SocketAddr,
    pub(crate) wanted: Wanted,
    pub(crate) told: String,
}

/// What must come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The answer of this server.
    Answer(SocketAddr),
    /// Nothing: a policy drops.
    Silence,
    /// ICMP port unreachable.
    Unreachable,
    /// A TCP reset.
    Refused,
}

/// A check as connections: to the destination itself, and by way of the Service in front of it. A
/// Pod reaches itself by way of its Service alone: nothing else leaves it.
fn asks(part: &Part, check: &Check) -> Vec<Ask> {
    let answers = SocketAddr::new(check.to, check.port);
    let ask = |to: SocketAddr, how: &str| Ask {
        from: check.from,
        protocol: check.protocol,
        to,
        wanted: if check.open { Wanted::Answer(answers) } else { Wanted::Silence },
        told: part.told(check) + how,
    };
    let mut asks = Vec::new();
    if check.from != check.to {
        asks.push(ask(answers, ""));
    }
    let from_pod = part.service(check.from).is_some();
    if let Some(service) = part.service(check.to).filter(|_| from_pod) {
        asks.push(ask(SocketAddr::new(service, check.port + 1000), ", by the Service"));
    }
    asks
}

fn nodes() -> String {
    let mut text = String::new();
    for (number, (node, role)) in (1..).zip(NODES.into_iter().zip(["own", "other"])) {
        let blocks = Family::ALL.map(|family| lab::pod_cidr(number, family).to_string());
        let addresses = Family::ALL.map(|family| lab::node_address(number, family).to_string());
        text += &format!(
            "---
apiVersion: v1
kind: Node
metadata: {{name: {node}, labels: {{role: {role}}}}}
spec: {{podCIDRs: ['{}', '{}']}}
status:
  addresses:
  - {{type: InternalIP, address: '{}'}}
  - {{type: InternalIP, address: '{}'}}
",
            blocks[0], blocks[1], addresses[0], addresses[1]
        );
    }
    text
}

fn agent(lab: &Lab, node: &str, mode: &str, folder: &Folder) -> Agent {
    let mut program = lab.at(node).unwrap().command(env!("CARGO_BIN_EXE_pointsman"));
    program.args(["run", "--network-policy=on", "--cluster-cidr=10.77.0.0/16,fd77::/16"]);
    program.arg(format!("--node={node}")).arg(format!("--proxy-mode={mode}"));
    program.arg("--manifests").arg(folder.manifests());
    let log = fs::File::create(folder.log(node)).unwrap();
    Agent(program.stdout(Stdio::null()).stderr(log).spawn().unwrap())
}
