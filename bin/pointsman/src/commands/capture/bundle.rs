//! The file of a capture.

use std::collections::BTreeMap;

use explain::Mode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The form of the file; another number is another form.
const FORMAT: &str = "pointsman-capture/1";

/// A cluster's objects, and what its nodes make of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bundle {
    format: String,
    /// `pointsman` and `kernel`.
    versions: BTreeMap<String, String>,
    /// Whether names and addresses are replaced.
    pub(crate) redacted: bool,
    pub(crate) routing: Routing,
    /// What could not be read, and why.
    pub(crate) left_out: Vec<String>,
    /// Objects of the API without what routing does not depend on.
    pub(crate) objects: Vec<Value>,
    pub(crate) nodes: Vec<NodeState>,
}

/// What the verdicts depend on besides the objects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Routing {
    #[serde(with = "mode")]
    pub(crate) mode: Mode,
    /// The blocks of all Pods; without any, Pods are told by their node's blocks.
    pub(crate) cluster_cidrs: Vec<String>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeState {
    pub(crate) name: String,
    pub(crate) kernel: Kernel,
    pub(crate) verdicts: Vec<Verdict>,
}

/// What a kernel holds, as lines for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kernel {
    /// Our rules, as `iptables-save` or `nft list` print them.
    pub(crate) rules: Vec<String>,
    /// Tracked connections that are translated.
    pub(crate) connections: Vec<String>,
}

/// What becomes of a new connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// `NAMESPACE/NAME` or `NAMESPACE/NAME:PORT`.
    pub(crate) service: String,
    /// `tcp ADDRESS PORT`.
    pub(crate) to: String,
    /// `pod ADDRESS`, `node ADDRESS` or `outside ADDRESS`.
    pub(crate) from: String,
    /// As [`explain::Verdict`] prints it, sorted.
    pub(crate) verdict: String,
}

impl Verdict {
    /// The text of a verdict with its endpoints sorted as text: other addresses sort otherwise.
    pub(crate) fn in_order(verdict: &str) -> String {
        let mut words = verdict.split(' ');
        let first = words.next().unwrap_or_default();
        let mut rest: Vec<&str> = words.collect();
        rest.sort_unstable();
        rest.insert(0, first);
        rest.join(" ")
    }
}

impl Bundle {
    pub(crate) fn new(
        routing: Routing,
        objects: Vec<Value>,
        nodes: Vec<NodeState>,
        left_out: Vec<String>,
    ) -> Self {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let versions = [("pointsman", env!("CARGO_PKG_VERSION")), ("kernel", kernel.trim())];
        let versions = versions.map(|(what, version)| (what.to_owned(), version.to_owned()));
        let format = FORMAT.to_owned();
        Self {
            format,
            versions: versions.into(),
            redacted: false,
            routing,
            left_out,
            objects,
            nodes,
        }
    }

    /// Whether this program reads the form.
    #[cfg(any(test, feature = "lab"))]
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.format == FORMAT,
            "its form is {:?}; {FORMAT:?} is known",
            self.format
        );
        Ok(())
    }

    /// The objects of a kind.
    pub(crate) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }
}

/// The text at a place of an object; nothing where there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The list at a place of an object; nothing where there is none.
pub(crate) fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A mode by its name.
mod mode {
    use explain::Mode;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(mode: &Mode, to: S) -> Result<S::Ok, S::Error> {
        mode.to_string().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Mode, D::Error> {
        let name = String::deserialize(from)?;
        let known = Mode::ALL.into_iter().find(|mode| mode.to_string() == name);
        known.ok_or_else(|| serde::de::Error::custom(format!("no mode: {name}")))
    }
}
