//! `case.yaml`: what a case is about and what it expects.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{HostSettings, Settings};

/// A case: one folder of `cases/`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// The folder's name.
    #[serde(skip)]
    pub name: String,
    /// What is shown, and why it is so.
    pub why: String,
    /// The scenarios of the table in `cases/README.md` that the case covers.
    pub scenarios: Vec<String>,
    /// The node whose rules are looked at.
    #[serde(default = "alpha")]
    pub node: String,
    /// What the operator configured.
    #[serde(default)]
    pub config: Settings,
    /// What is special about the machine.
    #[serde(default)]
    pub host: HostSettings,
    /// What is left out and named, of the state before the first step.
    #[serde(default)]
    pub notices: Vec<ExpectedNotice>,
    /// Packets sent before the first step.
    #[serde(default)]
    pub packets: Vec<PacketFile>,
    /// Further states, in order.
    #[serde(default)]
    pub steps: Vec<Step>,
}

fn alpha() -> String {
    "alpha".into()
}

/// Another folder of manifests, which replaces the state before.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// The folder, from the case's own.
    pub manifests: String,
    /// Whether nothing at all may be written for it.
    #[serde(default)]
    pub unchanged: bool,
    /// What is left out and named; as before where nothing is said.
    #[serde(default)]
    pub notices: Option<Vec<ExpectedNotice>>,
    /// Packets sent in this state.
    #[serde(default)]
    pub packets: Vec<PacketFile>,
}

/// A [`model::Notice`] without its wording.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedNotice {
    /// Kind and name of the object, such as `Service shop/web`.
    pub object: String,
    /// The name of the [`model::Reason`].
    pub reason: String,
}

/// A packet and its fate.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PacketFile {
    /// What is shown.
    #[serde(default)]
    pub name: Option<String>,
    /// The client's address.
    pub from: IpAddr,
    /// Protocol and destination, such as `tcp 10.88.0.30:80`.
    pub send: String,
    /// The interface that it comes in by, or `output` if the node itself sends it; where nothing is
    /// said it follows from the client's address.
    #[serde(default)]
    pub via: Option<String>,
    /// What must happen to it, in both modes if nothing else is said.
    pub expect: Expect,
    /// What must happen to it in nftables mode, where that differs on purpose.
    #[serde(default)]
    pub nftables: Option<Otherwise>,
}

/// Another fate in another mode.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Otherwise {
    /// What must happen.
    pub expect: Expect,
    /// Why the modes differ.
    pub why: String,
}

/// What must happen to a packet.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Expect {
    /// It reaches one of some endpoints.
    Deliver {
        /// All endpoints that may be chosen, and no others.
        deliver: Vec<SocketAddr>,
        /// Whether its source is replaced.
        masquerade: Masquerade,
    },
    /// Anything else.
    Other(Fate),
}

/// What happens to a packet that reaches no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// An ICMP port unreachable comes back.
    Reject,
    /// Silence.
    Drop,
    /// It goes on as if there were no rules of ours.
    Pass,
}

/// Whether the client's address is replaced by the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Masquerade {
    /// The same for every endpoint.
    All(bool),
    /// For the endpoint that is the client itself, and for no other.
    OfItself(Hairpin),
}

/// The word for [`Masquerade::OfItself`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hairpin {
    /// `hairpin`
    Hairpin,
}

/// The folder of all cases.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../cases")
}

/// Every case, by name.
///
/// # Panics
/// If a folder cannot be read or a `case.yaml` is not one.
#[must_use]
pub fn cases() -> Vec<Case> {
    let only = std::env::var("POINTSMAN_CASE").ok();
    let mut all: Vec<Case> = folder_names()
        .into_iter()
        .filter(|name| only.as_ref().is_none_or(|only| name.contains(only.as_str())))
        .map(|name| Case::read(&name))
        .collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(!all.is_empty(), "no case is named so: {only:?}");
    all
}

fn folder_names() -> Vec<String> {
    let entries = fs::read_dir(folder()).expect("cases/ is there");
    let names = entries.map(|entry| entry.expect("cases/ can be read"));
    names
        .filter(|entry| entry.path().is_dir() && entry.file_name() != "fixture")
        .map(|entry| entry.file_name().into_string().expect("a case's name is plain text"))
        .collect()
}

impl Case {
    /// Reads `cases/NAME/case.yaml`.
    ///
    /// # Panics
    /// If it is not there, or not a case.
    #[must_use]
    pub fn read(name: &str) -> Self {
        let path = folder().join(name).join("case.yaml");
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; every case has one", path.display()));
        let case: Case = serde_saphyr::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { name: name.into(), ..case }
    }

    /// The case's folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        folder().join(&self.name)
    }
}
