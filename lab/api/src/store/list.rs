//! Lists, also of the past and in pages.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::state::{Key, key_of};
use super::{Object, Store};
use crate::{ApiError, Resource, Selector, object};

/// What a resourceVersion of a list means (`resourceVersionMatch`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VersionMatch {
    /// At least as new.
    #[default]
    NotOlderThan,
    /// Just that one.
    Exact,
}

/// What a list is asked for.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Which objects.
    pub selector: Selector,
    /// How many at most; 0 for all.
    pub limit: usize,
    /// Where the previous page ended, as it was told.
    pub continue_token: Option<String>,
    /// The resourceVersion; nothing, and 0, are for the newest.
    pub version: Option<u64>,
    /// What the resourceVersion means.
    pub version_match: VersionMatch,
}

/// A list, or a page of it.
#[derive(Clone, Debug)]
pub struct List {
    /// The objects, by namespace and name.
    pub items: Vec<Object>,
    /// The resourceVersion that the list is about.
    pub version: u64,
    /// Where the next page starts.
    pub continue_token: Option<String>,
    /// How many objects follow; known only where nothing is selected.
    pub remaining: Option<usize>,
}

impl Store {
    /// The objects of a resource, in one namespace or in all.
    ///
    /// # Errors
    /// [`ApiError::BadRequest`] for a broken token, [`ApiError::Expired`] for a version that is
    /// forgotten, [`ApiError::TooLargeResourceVersion`] for one that is still to come.
    pub fn list(
        &self,
        resource: &'static Resource,
        namespace: Option<&str>,
        options: &ListOptions,
    ) -> Result<List, ApiError> {
        let state = self.lock();
        let (version, start) = match &options.continue_token {
            Some(token) => read_token(token)?,
            None => match (options.version.unwrap_or(0), options.version_match) {
                (asked, _) if asked > state.version => {
                    let current = state.version;
                    return Err(ApiError::TooLargeResourceVersion { asked, current });
                }
                (asked, VersionMatch::Exact) if asked > 0 => (asked, None),
                _ => (state.version, None),
            },
        };
        let objects = state.at(resource, version, start.as_ref());
        let objects = objects.map_err(|error| match (error, &start) {
            // A client that pages may go on from the present, at the price of a gap.
            (ApiError::Expired { message, .. }, Some(start)) => {
                let fresh = Some(write_token(state.version, start));
                ApiError::Expired { message, fresh }
            }
            (error, _) => error,
        })?;
        let here =
            |object: &Value| namespace.is_none_or(|there| there == object::namespace(object));
        let mut found =
            objects.filter(|object| here(object) && options.selector.matches(object)).peekable();
        let limit = if options.limit == 0 { usize::MAX } else { options.limit };
        let items: Vec<Object> = found.by_ref().take(limit).cloned().collect();
        let last = items.last().filter(|_| found.peek().is_some());
        let next = last.map(|last| write_token(version, &key_of(last)));
        let counted = next.is_some() && options.selector.is_everything();
        let remaining = counted.then(|| found.count());
        Ok(List { items, version, continue_token: next, remaining })
    }
}

fn write_token(version: u64, key: &Key) -> String {
    let token = json!({"v": "meta.k8s.io/v1", "rv": version, "start": [key.0, key.1]});
    BASE64URL_NOPAD.encode(token.to_string().as_bytes())
}

fn read_token(token: &str) -> Result<(u64, Option<Key>), ApiError> {
    let read = || {
        let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).ok()?;
        let token: Value = serde_json::from_slice(&bytes).ok()?;
        let part = |index: usize| token["start"].get(index)?.as_str().map(str::to_owned);
        Some((token["rv"].as_u64()?, Some((part(0)?, part(1)?))))
    };
    read().ok_or_else(|| ApiError::BadRequest("continue key is not valid".to_owned()))
}
