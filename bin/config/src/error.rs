//! What can be wrong with what an operator says, and what is merely worth telling.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Why there is no [`crate::Meant`].
#[derive(Debug, Error)]
pub enum Error {
    /// The file of `--config` cannot be read.
    #[error("{}: {source}; name a readable KubeProxyConfiguration by --config", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The text is no YAML or JSON, or a value has the wrong type.
    #[error("{file}, line {line}: {problem}")]
    Decode {
        /// The file's name.
        file: String,
        /// From 1.
        line: usize,
        /// The field and what was expected of it.
        problem: String,
    },
    /// The file holds something else.
    #[error(
        "{file}: apiVersion {api_version:?} and kind {kind:?}, expected \
         kubeproxy.config.k8s.io/v1alpha1 and KubeProxyConfiguration"
    )]
    Kind {
        /// The file's name.
        file: String,
        /// What `apiVersion` says.
        api_version: String,
        /// What `kind` says.
        kind: String,
    },
    /// Every rule that was broken.
    #[error("{}", lines(.0))]
    Invalid(Vec<Fault>),
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The field's path (`conntrack.min`), or the flag (`--conntrack-min`) where flags spoke.
    pub place: String,
    /// What stands there and what would be right.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// Something that works, though perhaps not as intended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// The field's path or the flag.
    pub place: String,
    /// What happens, and what to do about it.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}
