//! What was left out, and why: one bad object costs only itself, and is named.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// The object that a [`Notice`] is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ObjectRef {
    /// The object's kind, such as `Service`.
    pub kind: &'static str,
    /// `namespace/name`, or the bare name of a cluster-scoped object.
    pub name: Arc<str>,
}

impl ObjectRef {
    /// Names an object.
    pub fn new(kind: &'static str, name: impl fmt::Display) -> Self {
        Self { kind, name: name.to_string().into() }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Why something is not programmed. The names are stable: metrics and Events carry them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Reason {
    /// A field holds what its type does not allow; the field, or the object if it cannot do
    /// without it, is left out.
    InvalidField,
    /// An address of a family that the object does not have.
    WrongFamily,
    /// An address that no Service or endpoint may have (loopback, link-local, multicast, …).
    ForbiddenAddress,
    /// Another object claimed the same address and port first.
    Conflict,
    /// An EndpointSlice that names no Service.
    NoOwner,
    /// A slice without a port number, or of an address type that cannot be routed.
    Unsupported,
    /// The operator switched the field off.
    Disabled,
    /// A policy says something that is not known: what it is said of fails closed.
    UnknownField,
    /// The Node object of this node is not there (yet).
    NodeMissing,
}

/// Something that was left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Notice {
    /// The object.
    pub object: ObjectRef,
    /// The stable reason.
    pub reason: Reason,
    /// Field, value, what was expected and what follows; one line.
    pub message: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.message)
    }
}
