//! What can go wrong while a lab is built or used.

use std::io;
use std::net::SocketAddr;

use model::Protocol;
use nix::errno::Errno;
use thiserror::Error;

/// Why the lab could not do what was asked.
#[derive(Debug, Error)]
pub enum LabError {
    /// The kernel refused a namespace.
    #[error(
        "cannot make a network namespace: {0}; run as root, or inside the sandbox that \
         `pointsman lab up`, `cargo xtask test` and `cargo xtask demo` enter"
    )]
    NoNamespace(Errno),
    /// The kernel refused the isolated surroundings themselves.
    #[error(
        "cannot enter a sandbox of own namespaces: {0}; run as root, or allow unprivileged user \
         namespaces (sysctl user.max_user_namespaces > 0, kernel.unprivileged_userns_clone=1, \
         kernel.apparmor_restrict_unprivileged_userns=0)"
    )]
    NoSandbox(io::Error),
    /// A program that the lab needs is not installed or cannot be started.
    #[error("cannot start {program}: {source}; install the Debian package {package}")]
    Program {
        /// The program's name.
        program: &'static str,
        /// The Debian package that brings it.
        package: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A step of the network's construction failed.
    #[error("cannot set up {place}: {message} (at `{line}`)")]
    Setup {
        /// The node, Pod or host that was being set up.
        place: String,
        /// The command line that failed, as given to `ip`.
        line: String,
        /// What `ip` said.
        message: String,
    },
    /// A kernel setting could not be written inside a namespace.
    #[error("cannot write {value:?} to /proc/sys/{name}: {source}")]
    Sysctl {
        /// The setting, as a path below `/proc/sys`.
        name: String,
        /// The value that was to be written.
        value: String,
        /// What the system said.
        source: io::Error,
    },
    /// The description of the lab names a thing twice or one that is not there.
    #[error("{name:?}: {problem}")]
    Description {
        /// The name in question.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The interfaces did not come up.
    #[error("{place}: {interface} is still down after {waited_ms} ms")]
    StillDown {
        /// The node, Pod or host.
        place: String,
        /// The interface.
        interface: String,
        /// How long it was waited for, in milliseconds.
        waited_ms: u128,
    },
    /// This kernel has no sockets of the protocol (SCTP is a module that many kernels lack).
    #[error("this kernel has no {0} sockets")]
    Unsupported(Protocol),
    /// A socket could not be made ready.
    #[error("cannot {action} {address}: {source}")]
    Socket {
        /// What was being done, for example `listen on`.
        action: &'static str,
        /// The address concerned.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A system call failed that has no reason to.
    #[error("cannot {action}: {source}")]
    System {
        /// What was being done.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl LabError {
    pub(crate) fn system(action: &'static str, source: impl Into<io::Error>) -> Self {
        LabError::System { action, source: source.into() }
    }
}
