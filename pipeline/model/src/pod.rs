//! Pods and Namespaces, as far as policies depend on them.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::{Labels, NamespacedName, Protocol};

/// The label that every Namespace carries with its own name.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A port that a container declares under a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ContainerPort {
    /// The name.
    pub name: Arc<str>,
    /// TCP where the object says nothing.
    pub protocol: Protocol,
    /// `containerPort`.
    pub port: u16,
}

/// A Pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pod {
    /// Namespace and name.
    pub name: NamespacedName,
    /// `metadata.uid`; empty for a manifest that was never stored.
    pub uid: Arc<str>,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `status.podIPs` (or the lone `status.podIP`).
    pub ips: Arc<[IpAddr]>,
    /// `spec.nodeName`; `None` until the Pod is scheduled.
    pub node: Option<Arc<str>>,
    /// `spec.hostNetwork`: its addresses are the node's.
    pub host_network: bool,
    /// Phase Succeeded or Failed: its addresses may be another Pod's by now.
    pub finished: bool,
    /// Whether `metadata.deletionTimestamp` is set. Such a Pod goes on counting until it is gone.
    pub deleting: bool,
    /// Ports with names, of containers and of init containers that go on running (KEP-753).
    pub ports: Arc<[ContainerPort]>,
    /// `status.startTime`, in seconds of the Unix epoch.
    pub started: Option<i64>,
    /// `metadata.creationTimestamp`, in seconds of the Unix epoch.
    pub created: Option<i64>,
}

impl Pod {
    /// Whether policies see the Pod: it has addresses of its own, and they are still its own.
    #[must_use]
    pub fn counts(&self) -> bool {
        !self.host_network && !self.finished && !self.ips.is_empty()
    }

    /// Which of two Pods that claim one address has it: the greater, which is the one that started
    /// last, then the one that was created last. Uid and name make the order total.
    #[must_use]
    pub fn claim(&self, other: &Pod) -> Ordering {
        let key = |pod: &Pod| (pod.started, pod.created);
        key(self)
            .cmp(&key(other))
            .then_with(|| self.uid.cmp(&other.uid))
            .then_with(|| self.name.cmp(&other.name))
    }
}

/// A Namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Namespace {
    /// The Namespace's name.
    pub name: Arc<str>,
    /// `metadata.labels`, with [`NAMESPACE_NAME_LABEL`].
    pub labels: Labels,
}

impl Namespace {
    /// A Namespace; its name becomes one of its labels, as the API server keeps it.
    #[must_use]
    pub fn new(name: Arc<str>, labels: &Labels) -> Self {
        let labels = labels.with(NAMESPACE_NAME_LABEL.into(), name.clone());
        Self { name, labels }
    }
}
