//! Policies, and the Namespaces that they select.

use serde::Deserialize;
use serde_json::Value;

use super::{Expected, Field, Metadata, objects};

/// A Namespace: its labels are all that is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// `metadata`.
    pub metadata: Field<Metadata>,
}

/// A NetworkPolicy or a ClusterNetworkPolicy.
///
/// The specification stays as it was written: a field that is not known may narrow a rule, so here,
/// unlike anywhere else, it must not be skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// `metadata`.
    pub metadata: Field<Metadata>,
    /// `spec`.
    pub spec: Field<Value>,
}

impl Expected for Value {
    const WHAT: &'static str = "a value";
    const IS_LIST: bool = true;
}

objects!(Namespace, Policy);
