//! What the fields of the served types are.
//!
//! One table answers five questions: which fields exist (field validation), what their types are,
//! which of them are written though nothing was said (the zero values of the API's Go types), how a
//! strategic merge patch joins their lists, and how they are numbered in protocol buffers. Its
//! facts are those of `k8s.io/api` v0.36. A few deep types that nothing here looks into (volumes,
//! affinity) are opaque: their inner fields are stored and returned, and not validated.

mod cluster;
mod meta;
mod pod;
mod policy;
mod read;
mod service;
mod workload;

pub(crate) use cluster::{CONFIG_MAP, EVENT, EVENTS_EVENT, LEASE, NAMESPACE, NODE};
pub(crate) use meta::DELETE_OPTIONS;
pub(crate) use pod::POD;
pub(crate) use policy::NETWORK_POLICY;
pub(crate) use read::{Reading, read, seconds, zero};
pub(crate) use service::{ENDPOINT_SLICE, ENDPOINTS, SERVICE, SERVICE_CIDR};
pub(crate) use workload::{DEPLOYMENT, REPLICA_SET, SCALE};

/// An object type.
#[derive(Debug)]
pub(crate) struct Message {
    /// The name of the Go type.
    pub(crate) name: &'static str,
    pub(crate) fields: &'static [Field],
}

impl Message {
    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// A field of an object type.
#[derive(Debug)]
pub(crate) struct Field {
    /// The name in JSON.
    pub(crate) name: &'static str,
    pub(crate) value: Type,
    /// The number in protocol buffers, or 0 where no client of ours sends the field so.
    pub(crate) number: u32,
    pub(crate) zero: Zero,
    pub(crate) merge: Merge,
    /// What tells items apart beside the merge key, for server-side apply.
    pub(crate) also: Option<&'static str>,
}

/// The type of a field.
#[derive(Debug)]
pub(crate) enum Type {
    Bool,
    Int32,
    Int64,
    Str,
    Bytes,
    /// RFC 3339, in seconds.
    Time,
    /// RFC 3339, in microseconds.
    MicroTime,
    Quantity,
    IntOrString,
    /// Anything: stored as it is, without nulls.
    Opaque,
    Struct(&'static Message),
    List(&'static Type),
    Map(&'static Type),
}

/// What happens to a field that holds nothing: `""`, `0`, `false`, `[]` or `{}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zero {
    /// It is left out (`omitempty`).
    Dropped,
    /// It stays, and differs from an absent one (a pointer).
    Kept,
    /// It is written even if absent (no `omitempty`, or a struct that is no pointer).
    Written,
}

/// How a strategic merge patch joins a list or a map with what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    /// Lists are replaced, maps are merged.
    Default,
    /// Items are told apart by this key (`patchMergeKey`).
    By(&'static str),
    /// The union of both (`patchStrategy=merge` of plain values).
    Union,
    /// A map that server-side apply takes as one value (`mapType=atomic`).
    Whole,
}

const fn message(name: &'static str, fields: &'static [Field]) -> Message {
    Message { name, fields }
}

const fn f(name: &'static str, value: Type) -> Field {
    let (zero, merge) = (Zero::Dropped, Merge::Default);
    Field { name, value, number: 0, zero, merge, also: None }
}

impl Field {
    const fn at(mut self, number: u32) -> Self {
        self.number = number;
        self
    }

    const fn kept(mut self) -> Self {
        self.zero = Zero::Kept;
        self
    }

    const fn written(mut self) -> Self {
        self.zero = Zero::Written;
        self
    }

    const fn by(mut self, key: &'static str) -> Self {
        self.merge = Merge::By(key);
        self
    }

    const fn also(mut self, key: &'static str) -> Self {
        self.also = Some(key);
        self
    }

    const fn union(mut self) -> Self {
        self.merge = Merge::Union;
        self
    }

    const fn whole(mut self) -> Self {
        self.merge = Merge::Whole;
        self
    }
}
