//! A folder of manifests, through intake, plan and render.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use model::{Change, Cluster, Family, Notice, Owner};
use plan::{Intent, Planner};
use render::iptables::{self, Options, Ruleset};
use render::nftables;

use crate::case::{Case, ExpectedNotice, PacketFile};
use crate::{Memory, Nftables, Probe};

/// One state of a case: what is there before the first step, or after one of them.
#[derive(Clone, Debug)]
pub struct State {
    /// The case, and the step if it is one.
    pub name: String,
    /// The folder of manifests.
    pub manifests: PathBuf,
    /// Where the golden outputs stand: a path that a name such as `intent.json` is added to.
    pub golden: PathBuf,
    /// What must be left out and named.
    pub notices: BTreeSet<ExpectedNotice>,
    /// Whether the state before must be told by not a single write.
    pub unchanged: bool,
    /// The packets.
    pub packets: Vec<PacketFile>,
    /// The changes that intake read.
    changes: Vec<Change>,
    /// What intake left out.
    left_out: Vec<Notice>,
}

impl Case {
    /// The states of the case in order, each read by intake.
    ///
    /// # Panics
    /// If intake cannot read a folder.
    #[must_use]
    pub fn states(&self) -> Vec<State> {
        let first = State {
            name: self.name.clone(),
            manifests: self.folder().join("manifests"),
            golden: self.folder().join(""),
            notices: self.notices.iter().cloned().collect(),
            unchanged: false,
            packets: self.packets.clone(),
            changes: Vec::new(),
            left_out: Vec::new(),
        };
        let steps = self.steps.iter().map(|step| State {
            name: format!("{} {}", self.name, step.manifests),
            manifests: self.folder().join(&step.manifests),
            golden: self.folder().join(format!("{}.", step.manifests)),
            notices: step.notices.as_ref().unwrap_or(&self.notices).iter().cloned().collect(),
            unchanged: step.unchanged,
            packets: step.packets.clone(),
            changes: Vec::new(),
            left_out: Vec::new(),
        });
        [first].into_iter().chain(steps).map(|state| state.read(self)).collect()
    }
}

impl State {
    /// Reads the manifests together with the nodes: those of the case, or those of the fixture.
    fn read(mut self, case: &Case) -> Self {
        let own = case.folder().join("nodes");
        let nodes = if own.is_dir() { own } else { crate::folder().join("fixture") };
        let folder = Together::of(&[&nodes, &self.manifests]);
        let contents = intake::folder::read(&folder.path)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name));
        assert!(contents.errors.is_empty(), "{}: {:?}", self.name, contents.errors);
        self.changes = contents.changes;
        self.changes.push(Change::Host(case.host.host(&case.node)));
        self.left_out = contents.notices;
        self
    }

    /// The changes that lead from any state to this one.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The cluster, from nothing.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        let mut cluster = Cluster::default();
        self.changes.iter().for_each(|change| drop(cluster.apply(change.clone())));
        cluster
    }

    /// The plan from nothing, and what intake and plan left out.
    #[must_use]
    pub fn plan(&self, case: &Case) -> (Intent, BTreeSet<ExpectedNotice>) {
        let (intent, left_out) = plan::plan(&self.cluster(), &case.config.config(&case.node));
        let left_out = self.left_out.iter().chain(&left_out);
        (intent, left_out.map(expected).collect())
    }

    /// The packets, ready to be judged.
    #[must_use]
    pub fn probes(&self, case: &Case) -> Vec<Probe> {
        self.packets.iter().map(|packet| Probe::new(packet, case, &self.name)).collect()
    }
}

fn expected(notice: &Notice) -> ExpectedNotice {
    ExpectedNotice { object: notice.object.to_string(), reason: format!("{:?}", notice.reason) }
}

/// The rules of both families, as the golden output has them.
#[must_use]
pub fn text(ruleset: &Ruleset) -> String {
    let of = |family: Family| format!("# {family}\n{}", ruleset.to_text(family));
    Family::ALL.map(of).concat()
}

/// The tables of both families, as the golden output has them.
#[must_use]
pub fn nftables_text(ruleset: &nftables::Ruleset) -> String {
    Family::ALL.map(|family| ruleset.to_text(family)).join("\n")
}

/// The Intent, as the golden output has it.
#[must_use]
pub fn json(intent: &Intent) -> String {
    serde_json::to_string_pretty(intent).expect("an Intent is plain data") + "\n"
}

/// The states of a case one after another, as an agent lives through them.
pub struct Cumulative {
    cluster: Cluster,
    planner: Planner,
    ruleset: Ruleset,
    memory: Memory,
    options: Options,
    nftables: Nftables,
}

impl Cumulative {
    /// Before the first word of intake.
    #[must_use]
    pub fn new(config: plan::Config) -> Self {
        Self {
            cluster: Cluster::default(),
            planner: Planner::new(config),
            ruleset: Ruleset::default(),
            memory: Memory::default(),
            options: Options::default(),
            nftables: Nftables::default(),
        }
    }

    /// Takes changes in; returns what was sent to the kernel for each owner that differs, in
    /// iptables mode. What it would be in nftables mode is [`Self::nftables`]'s last change.
    pub fn update(&mut self, changes: &[Change]) -> Vec<(Owner, iptables::Change)> {
        let mut owners = BTreeSet::new();
        for change in changes {
            owners.extend(self.cluster.apply(change.clone()));
        }
        let mut changed = self.planner.update(&self.cluster, &owners);
        if self.ruleset.parts.is_empty() {
            changed.insert(Owner::Node);
        }
        // The rules of a Service name how Pods are told, which is the node's affair.
        if changed.contains(&Owner::Node) {
            changed.extend(self.planner.intent().servers.keys().cloned().map(Owner::Service));
        }
        self.nftables.update(self.planner.intent(), &changed);
        let mut sent = Vec::new();
        for owner in changed {
            let intent = self.planner.intent();
            let new = match &owner {
                Owner::Node => Some(iptables::node(&intent.node, &self.options)),
                Owner::Service(name) => intent
                    .servers
                    .get(name)
                    .map(|servers| iptables::owner(&intent.node, servers, &self.options)),
                Owner::Policy(_) => None,
            };
            let change = iptables::diff(&owner, self.ruleset.parts.get(&owner), new.as_ref());
            match new {
                Some(part) => drop(self.ruleset.parts.insert(owner.clone(), part)),
                None => drop(self.ruleset.parts.remove(&owner)),
            }
            if change != iptables::Change::default() {
                self.memory.apply(&change);
                sent.push((owner, change));
            }
        }
        sent
    }

    /// The plan now.
    #[must_use]
    pub fn intent(&self) -> &Intent {
        self.planner.intent()
    }

    /// What plan leaves out now.
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        self.planner.notices().cloned().collect()
    }

    /// The cluster now.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The rules now.
    #[must_use]
    pub fn ruleset(&self) -> &Ruleset {
        &self.ruleset
    }

    /// The same in nftables mode.
    #[must_use]
    pub fn nftables(&self) -> &Nftables {
        &self.nftables
    }

    /// What a kernel would hold that took in every change so far.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }
}

/// Several folders as one, which is removed with the value.
struct Together {
    path: PathBuf,
}

impl Together {
    fn of(folders: &[&Path]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pointsman-case-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        for (index, folder) in folders.iter().enumerate() {
            let inside = path.join(index.to_string());
            fs::create_dir_all(&inside).expect("a temporary folder can be made");
            let entries = fs::read_dir(folder)
                .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            for entry in entries {
                let file = entry.expect("a folder can be read").path();
                let name = file.file_name().expect("an entry has a name");
                fs::copy(&file, inside.join(name))
                    .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            }
        }
        Self { path }
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.path).ok();
    }
}
