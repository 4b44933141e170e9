//! Lists, watch events and refusals: what the API server wraps objects in.
//!
//! The objects stay raw text here, so that each is read alone.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Field, objects};

/// A list of objects, or one page of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, bound = "'de: 'a")]
pub struct List<'a> {
    /// `metadata`.
    pub metadata: Field<ListMetadata>,
    /// The objects; `null` and absence are an empty list.
    #[serde(borrow)]
    pub items: Option<Vec<&'a RawValue>>,
}

/// `metadata` of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ListMetadata {
    /// Where a watch goes on.
    pub resource_version: Field<String>,
    /// Names the next page; empty on the last.
    #[serde(rename = "continue")]
    pub next: Field<String>,
}

/// One line of a watch.
#[derive(Debug, Deserialize)]
pub struct WatchEvent<'a> {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The object, or the [`Status`] of an `ERROR`.
    #[serde(borrow)]
    pub object: &'a RawValue,
}

/// `type` of a watch event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum EventKind {
    /// The object is new to the watch.
    Added,
    /// The object changed.
    Modified,
    /// The object is gone, or no longer matches the selectors.
    Deleted,
    /// Nothing but a newer resourceVersion.
    Bookmark,
    /// The watch cannot go on.
    Error,
    /// A type that a newer API may have.
    #[serde(other)]
    Unknown,
}

/// A refusal, as the API server words it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The HTTP status code.
    pub code: Field<i64>,
    /// A word such as `Expired`.
    pub reason: Field<String>,
    /// A sentence.
    pub message: Field<String>,
}

objects!(ListMetadata, Status);
