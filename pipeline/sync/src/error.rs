//! What can go wrong between us and the kernel.

use std::io;

use model::Owner;
use thiserror::Error;

/// What can go wrong between us and the kernel.
#[derive(Debug, Error)]
pub enum Error {
    /// The process may not program netfilter in this network namespace.
    #[error(
        "no permission to program netfilter: run as root, or give the process the capability \
         CAP_NET_ADMIN in this network namespace"
    )]
    NotPermitted,
    /// The kernel lacks something that everything else needs.
    #[error("the kernel has no {feature}: load the module {module} or build it in ({option})")]
    Unsupported {
        /// What is missing.
        feature: &'static str,
        /// The module that brings it.
        module: &'static str,
        /// The kernel's build option.
        option: &'static str,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel refused a message; nothing of its batch was taken.
    #[error("the kernel refused to {what}: {source}{}", in_brackets(text.as_deref()))]
    Refused {
        /// What was asked for.
        what: String,
        /// The error number.
        source: io::Error,
        /// What the kernel says about it.
        text: Option<String>,
    },
    /// A rule that cannot be told to the kernel; nothing of its owner was written.
    #[error("{object}: {what}")]
    Unwritable {
        /// The chain.
        object: String,
        /// What is wrong and what is allowed.
        what: String,
    },
    /// What the kernel holds is not what was written before: only a reconciliation helps.
    #[error("{why}: reconcile before the next change")]
    OutOfStep {
        /// What was found.
        why: String,
    },
    /// Somebody else changed the tables each time they were read.
    #[error("netfilter's {what} changed during each of {times} attempts to read them: try again")]
    Unsettled {
        /// What was read.
        what: &'static str,
        /// How often it was tried.
        times: u32,
    },
    /// An answer of the kernel that makes no sense.
    #[error("cannot read {what} as the kernel gives it: {why}")]
    Unreadable {
        /// What was read.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A batch does not fit into what the kernel takes at once.
    #[error(
        "{owner:?} needs a message of {needed} bytes, but the socket takes {budget}: raise \
         net.core.wmem_max"
    )]
    TooLarge {
        /// Whose rules.
        owner: Owner,
        /// The size of the message.
        needed: usize,
        /// What was granted.
        budget: usize,
    },
}

fn in_brackets(text: Option<&str>) -> String {
    text.map(|text| format!(" ({text})")).unwrap_or_default()
}

impl Error {
    /// A failed system call.
    pub(crate) fn system(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System { what: what.into(), source: source.into() }
    }

    /// The error number of a refusal.
    pub(crate) fn number(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } | Self::System { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}
