//! What a URL asks for.

use std::collections::BTreeMap;

use crate::store::{FieldValidation, ListOptions, VersionMatch, WatchOptions, WriteOptions};
use crate::{ApiError, Resource, Selector};

/// The query of a URL, decoded. Of a repeated parameter the first one counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn parse(query: &str) -> Self {
        let mut parameters = BTreeMap::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            parameters.entry(decode(key, true)).or_insert_with(|| decode(value, true));
        }
        Self(parameters)
    }

    pub(super) fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    pub(super) fn is_set(&self, key: &str) -> bool {
        ["1", "true"].contains(&self.get(key))
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, ApiError> {
        match self.get(key) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                let text = crate::go_text::go_quoted(text);
                let reason = format!("strconv.ParseUint: parsing {text}: invalid syntax");
                ApiError::BadRequest(format!("invalid {key}: {reason}"))
            }),
        }
    }

    pub(super) fn selector(&self, resource: &Resource) -> Result<Selector, ApiError> {
        Selector::parse(resource, self.get("labelSelector"), self.get("fieldSelector"))
    }

    pub(super) fn list(&self, resource: &Resource) -> Result<ListOptions, ApiError> {
        let token = self.get("continue");
        let version = self.number("resourceVersion")?;
        let version_match = match self.get("resourceVersionMatch") {
            "Exact" => VersionMatch::Exact,
            "" | "NotOlderThan" => VersionMatch::NotOlderThan,
            other => {
                return Err(invalid_list(
                    "FieldValueNotSupported",
                    "resourceVersionMatch",
                    format!(
                        "Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\", \"\""
                    ),
                ));
            }
        };
        if !self.get("sendInitialEvents").is_empty() {
            let message = "Forbidden: sendInitialEvents is forbidden for list".to_owned();
            return Err(invalid_list("FieldValueForbidden", "sendInitialEvents", message));
        }
        Ok(ListOptions {
            selector: self.selector(resource)?,
            limit: self.number("limit")?.and_then(|limit| limit.try_into().ok()).unwrap_or(0),
            continue_token: (!token.is_empty()).then(|| token.to_owned()),
            version,
            version_match,
        })
    }

    pub(super) fn watch(&self, resource: &Resource) -> Result<WatchOptions, ApiError> {
        let initial_events = match self.get("sendInitialEvents") {
            "" => None,
            _ => Some(self.is_set("sendInitialEvents")),
        };
        let matches = self.get("resourceVersionMatch");
        let field = "resourceVersionMatch";
        match (initial_events, matches) {
            (Some(_), "NotOlderThan") | (None, "") => {}
            (Some(_), _) => {
                let message = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to \
                               NotOlderThan";
                return Err(invalid_list("FieldValueForbidden", field, message.to_owned()));
            }
            (None, _) => {
                let message = "Forbidden: resourceVersionMatch is forbidden for watch unless \
                               sendInitialEvents is provided";
                return Err(invalid_list("FieldValueForbidden", field, message.to_owned()));
            }
        }
        Ok(WatchOptions {
            selector: self.selector(resource)?,
            version: self.number("resourceVersion")?,
            bookmarks: self.is_set("allowWatchBookmarks"),
            initial_events,
        })
    }

    pub(super) fn write(&self, user_agent: &str) -> Result<WriteOptions, ApiError> {
        let field_validation = match self.get("fieldValidation") {
            "Strict" => FieldValidation::Strict,
            "Ignore" => FieldValidation::Ignore,
            _ => FieldValidation::Warn,
        };
        // Who does not name itself is named by its program.
        let program = user_agent.split('/').next().unwrap_or_default();
        let manager = match self.get("fieldManager") {
            "" => program,
            manager => manager,
        };
        Ok(WriteOptions {
            manager: manager.to_owned(),
            dry_run: self.dry_run()?,
            field_validation,
            ..WriteOptions::default()
        })
    }

    pub(super) fn dry_run(&self) -> Result<bool, ApiError> {
        match self.get("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => Err(ApiError::BadRequest(format!("invalid dryRun: {other}"))),
        }
    }
}

fn invalid_list(reason: &'static str, field: &str, message: String) -> ApiError {
    let cause = crate::Cause { reason, message, field: field.to_owned() };
    let (kind, group) = ("ListOptions", "meta.k8s.io");
    ApiError::Invalid { kind, group, name: String::new(), causes: vec![cause] }
}

/// What a path below `/api` and `/apis` names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) resource: &'static Resource,
    /// Nothing for all namespaces, and for cluster-wide objects.
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<String>,
}

impl Target {
    /// Reads the segments of a path; nothing if they name no resource.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let segments: Vec<_> = path.split('/').skip(1).map(|part| decode(part, false)).collect();
        let segments: Vec<_> = segments.iter().map(String::as_str).collect();
        let (group, version, rest) = match &segments[..] {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, plural, rest @ ..]
                if !namespace.is_empty() && !["status", "finalize"].contains(plural) =>
            {
                (Some((*namespace).to_owned()), [&[*plural], rest].concat())
            }
            _ => (None, rest.to_vec()),
        };
        let (plural, rest) = rest.split_first()?;
        let resource = Resource::find(group, version, plural)?;
        let (name, subresource) = match rest {
            [] | [""] => (None, None),
            [name] => (Some((*name).to_owned()), None),
            [name, subresource] => (Some((*name).to_owned()), Some((*subresource).to_owned())),
            _ => return None,
        };
        // An object in a namespace is reached through it, and no other one is.
        let reached = match (resource.namespaced, &namespace, &name) {
            (true, None, Some(_)) | (false, Some(_), _) => false,
            (true, _, _) | (false, None, _) => true,
        };
        reached.then_some(Self { resource, namespace, name, subresource })
    }
}

/// Undoes percent-encoding; in queries, `+` is a space.
fn decode(text: &str, plus: bool) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = match (byte, tail) {
            (b'%', [high, low, ..]) => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                digit(*high)
                    .zip(digit(*low))
                    .and_then(|(high, low)| u8::try_from(high * 16 + low).ok())
            }
            _ => None,
        };
        rest = if escaped.is_some() { &tail[2..] } else { tail };
        bytes.push(match (escaped, byte) {
            (Some(byte), _) => byte,
            (None, b'+') if plus => b' ',
            (None, byte) => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{NAMESPACES, PODS, SERVICES};

    /// Plural, namespace, name, subresource.
    type Parts = (&'static str, Option<String>, Option<String>, Option<String>);

    fn target(path: &str) -> Option<Parts> {
        let target = Target::parse(path)?;
        Some((target.resource.plural, target.namespace, target.name, target.subresource))
    }

    #[test]
    fn paths_name_resources_objects_and_parts() {
        let some = |text: &str| Some(text.to_owned());
        let shop = || some("shop");
        for (path, expected) in [
            ("/api/v1/pods", Some((PODS.plural, None, None, None))),
            ("/api/v1/namespaces/shop/pods", Some((PODS.plural, shop(), None, None))),
            ("/api/v1/namespaces/shop/pods/a", Some((PODS.plural, shop(), some("a"), None))),
            (
                "/api/v1/namespaces/shop/services/a%2Fb/status",
                Some((SERVICES.plural, shop(), some("a/b"), some("status"))),
            ),
            ("/api/v1/namespaces", Some((NAMESPACES.plural, None, None, None))),
            ("/api/v1/namespaces/shop", Some((NAMESPACES.plural, None, shop(), None))),
            (
                "/api/v1/namespaces/shop/finalize",
                Some((NAMESPACES.plural, None, shop(), some("finalize"))),
            ),
            ("/apis/apps/v1/deployments", Some(("deployments", None, None, None))),
            ("/api/v1/pods/a", None),
            ("/api/v1/namespaces/shop/nodes", None),
            ("/apis/batch/v1/jobs", None),
            ("/api/v1", None),
        ] {
            assert_eq!(target(path), expected, "{path}");
        }
    }

    #[test]
    fn queries_are_decoded() {
        let query =
            Query::parse("labelSelector=app%3Dweb%2Ctier+in+%28a%29&watch=1&limit=x&limit=2");
        assert_eq!(query.get("labelSelector"), "app=web,tier in (a)");
        assert!(query.is_set("watch"));
        let refused = query.number("limit").unwrap_err().to_string();
        assert_eq!(refused, "invalid limit: strconv.ParseUint: parsing \"x\": invalid syntax");
    }

    #[test]
    fn initial_events_need_their_match() {
        let watch = |query| Query::parse(query).watch(&PODS);
        assert!(watch("sendInitialEvents=true&resourceVersionMatch=NotOlderThan").is_ok());
        assert_eq!(watch("sendInitialEvents=true").unwrap_err().code(), 422);
        assert_eq!(watch("resourceVersionMatch=NotOlderThan").unwrap_err().code(), 422);
        let list = Query::parse("sendInitialEvents=true").list(&PODS);
        assert_eq!(list.unwrap_err().code(), 422);
    }
}
