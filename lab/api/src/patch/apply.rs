//! Server-side apply: who wants which field.
//!
//! A manager applies the whole of what it wants. Fields that it wanted before and wants no more go
//! away, unless somebody else wants them too; fields that somebody else set to another value are a
//! conflict, unless it insists. Ownership is remembered beside the object and not shown in
//! `metadata.managedFields`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::{Map, Value};

use crate::ApiError;
use crate::error::Cause;
use crate::go_text::go_quoted;
use crate::schema::{Field, Merge, Message, Type};

/// One step from an object towards a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Field(String),
    /// The item of a list with these keys, each with its value in JSON.
    Item(Vec<(&'static str, String)>),
}

type Path = Vec<Step>;

/// The fields that hold a value of their own.
type Leaves = BTreeMap<Path, Value>;

/// Who set which fields of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    managers: BTreeMap<Manager, BTreeSet<Path>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Manager {
    name: String,
    api_version: String,
    /// Whether it applies, or writes otherwise.
    applies: bool,
}

impl Applied {
    /// Notes a write that is no apply: what changed belongs to the writer from now on.
    pub(crate) fn written(
        &mut self,
        manager: &str,
        old: Option<&Value>,
        new: &Value,
        message: &'static Message,
    ) {
        let before = old.map(|old| leaves(old, message)).unwrap_or_default();
        let after = leaves(new, message);
        for paths in self.managers.values_mut() {
            paths.retain(|path| after.contains_key(path) && after.get(path) == before.get(path));
        }
        let changed = after.iter().filter(|(path, value)| before.get(*path) != Some(value));
        let changed: Vec<_> = changed.map(|(path, _)| path.clone()).collect();
        let api_version = crate::object::text(new, "/apiVersion").to_owned();
        let manager = Manager { name: manager.to_owned(), api_version, applies: false };
        self.managers.entry(manager).or_default().extend(changed);
        self.managers.retain(|_, paths| !paths.is_empty());
    }

    fn conflicts(&self, manager: &Manager, wanted: &Leaves, live: &Leaves) -> Vec<(String, Path)> {
        let differs = |path: &Path| live.get(path).is_some_and(|value| wanted[path] != *value);
        let mut conflicts = Vec::new();
        for (other, paths) in self.managers.iter().filter(|(other, _)| *other != manager) {
            let whom = format!("{} using {}", go_quoted(&other.name), other.api_version);
            let theirs = paths.iter().filter(|path| wanted.contains_key(*path) && differs(path));
            conflicts.extend(theirs.map(|path| (whom.clone(), path.clone())));
        }
        conflicts
    }
}

/// Applies what a manager wants to an object, and notes it.
///
/// # Errors
/// [`ApiError::ApplyConflict`] if others set some of the fields differently and `force` is not set.
pub(crate) fn apply(
    live: &Value,
    applied: &mut Applied,
    manager: &str,
    config: &Value,
    force: bool,
    message: &'static Message,
) -> Result<Value, ApiError> {
    let api_version = crate::object::text(config, "/apiVersion").to_owned();
    let manager = Manager { name: manager.to_owned(), api_version, applies: true };
    let wanted = leaves(config, message);
    let conflicts = applied.conflicts(&manager, &wanted, &leaves(live, message));
    if !conflicts.is_empty() && !force {
        return Err(refusal(&conflicts));
    }
    for (other, paths) in &mut applied.managers {
        if *other != manager {
            paths.retain(|path| !conflicts.iter().any(|(_, taken)| taken == path));
        }
    }
    let paths: BTreeSet<_> = wanted.into_keys().collect();
    let before = applied.managers.insert(manager, paths).unwrap_or_default();
    let mut object = join(live, config, Some(message));
    // The deepest first, so that an item goes after its fields.
    for path in before.iter().rev() {
        if !applied.managers.values().any(|paths| paths.contains(path)) {
            take(&mut object, path);
        }
    }
    applied.managers.retain(|_, paths| !paths.is_empty());
    Ok(object)
}

fn refusal(conflicts: &[(String, Path)]) -> ApiError {
    let causes: Vec<_> = conflicts
        .iter()
        .map(|(whom, path)| Cause {
            reason: "FieldManagerConflict",
            message: format!("conflict with {whom}"),
            field: text(path),
        })
        .collect();
    let mut message = format!("Apply failed with {} conflict", conflicts.len());
    if let [cause] = &causes[..] {
        let _ = write!(message, ": {}: {}", cause.message, cause.field);
    } else {
        message.push_str("s:");
        let mut last = "";
        for (cause, (whom, _)) in causes.iter().zip(conflicts) {
            if last != whom {
                let _ = write!(message, " conflicts with {whom}:");
                last = whom;
            }
            let _ = write!(message, "\n- {}", cause.field);
        }
    }
    ApiError::ApplyConflict { message, causes }
}

fn text(path: &Path) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Field(name) => {
                let _ = write!(text, ".{name}");
            }
            Step::Item(keys) => {
                let keys: Vec<_> =
                    keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                let _ = write!(text, "[{}]", keys.join(","));
            }
        }
    }
    text
}

/// What the server alone sets, and nobody owns.
fn is_of_server(path: &Path) -> bool {
    const METADATA: [&str; 9] = [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "managedFields",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ];
    match &path[..] {
        [Step::Field(first)] => ["apiVersion", "kind"].contains(&&first[..]),
        [Step::Field(first), Step::Field(second), ..] if first == "metadata" => {
            METADATA.contains(&&second[..])
        }
        [Step::Field(first), ..] => first == "status",
        _ => false,
    }
}

fn leaves(object: &Value, message: &'static Message) -> Leaves {
    let mut found = Leaves::new();
    if let Some(fields) = object.as_object() {
        leaves_of(fields, message, &mut Vec::new(), &mut found);
    }
    found.retain(|path, _| !is_of_server(path));
    found
}

fn leaves_of(
    fields: &Map<String, Value>,
    message: &'static Message,
    path: &mut Path,
    found: &mut Leaves,
) {
    for (name, value) in fields {
        path.push(Step::Field(name.clone()));
        let field = message.field(name);
        match (field.map(|field| &field.value), value) {
            (Some(Type::Struct(inner)), Value::Object(fields)) => {
                leaves_of(fields, inner, path, found);
            }
            (Some(Type::Map(_)), Value::Object(fields)) if !is_whole(field) => {
                for (key, value) in fields {
                    path.push(Step::Field(key.clone()));
                    found.insert(path.clone(), value.clone());
                    path.pop();
                }
            }
            (Some(Type::List(Type::Struct(inner))), Value::Array(items))
                if keys(field).is_some() =>
            {
                for item in items {
                    let (Some(id), Some(fields)) = (id(field, item), item.as_object()) else {
                        continue;
                    };
                    path.push(Step::Item(id));
                    found.insert(path.clone(), Value::Null);
                    leaves_of(fields, inner, path, found);
                    path.pop();
                }
            }
            _ => {
                found.insert(path.clone(), value.clone());
            }
        }
        path.pop();
    }
}

fn is_whole(field: Option<&Field>) -> bool {
    field.is_some_and(|field| field.merge == Merge::Whole)
}

fn keys(field: Option<&'static Field>) -> Option<(&'static str, Option<&'static str>)> {
    match field?.merge {
        Merge::By(key) => Some((key, field?.also)),
        _ => None,
    }
}

/// What tells an item of a list from the others. The second key is a protocol, which is TCP where
/// nothing is said.
fn id(field: Option<&'static Field>, item: &Value) -> Option<Vec<(&'static str, String)>> {
    let (key, also) = keys(field)?;
    let mut id = vec![(key, item.get(key)?.to_string())];
    if let Some(also) = also {
        let value = item.get(also).map_or_else(|| "\"TCP\"".to_owned(), Value::to_string);
        id.push((also, value));
    }
    Some(id)
}

/// The object with everything that the config says.
fn join(live: &Value, config: &Value, message: Option<&'static Message>) -> Value {
    let (Value::Object(live), Value::Object(config)) = (live, config) else {
        return config.clone();
    };
    let mut joined = live.clone();
    for (name, value) in config {
        let field = message.and_then(|message| message.field(name));
        let old = joined.get(name).unwrap_or(&Value::Null);
        let value = match field.map(|field| &field.value) {
            Some(Type::Struct(inner)) => join(old, value, Some(inner)),
            Some(Type::Map(_)) if !is_whole(field) => join(old, value, None),
            Some(Type::List(item)) if keys(field).is_some() => {
                let inner = match item {
                    Type::Struct(inner) => Some(*inner),
                    _ => None,
                };
                join_lists(old, value, field, inner)
            }
            _ => value.clone(),
        };
        joined.insert(name.clone(), value);
    }
    Value::Object(joined)
}

fn join_lists(
    live: &Value,
    config: &Value,
    field: Option<&'static Field>,
    inner: Option<&'static Message>,
) -> Value {
    let mut joined = live.as_array().cloned().unwrap_or_default();
    for item in config.as_array().into_iter().flatten() {
        match joined.iter_mut().find(|old| id(field, old) == id(field, item)) {
            Some(old) => *old = join(old, item, inner),
            None => joined.push(item.clone()),
        }
    }
    Value::Array(joined)
}

/// Takes away what is at a path.
fn take(object: &mut Value, path: &[Step]) {
    let Some((first, rest)) = path.split_first() else { return };
    match (first, object) {
        (Step::Field(name), Value::Object(fields)) => {
            if rest.is_empty() {
                fields.remove(name);
            } else if let Some(inner) = fields.get_mut(name) {
                take(inner, rest);
            }
        }
        (Step::Item(keys), Value::Array(items)) => {
            let is = |item: &Value| {
                keys.iter().all(|(key, wanted)| match item.get(*key) {
                    Some(value) => wanted.parse().is_ok_and(|wanted: Value| *value == wanted),
                    None => wanted == "\"TCP\"",
                })
            };
            if rest.is_empty() {
                items.retain(|item| !is(item));
            } else if let Some(item) = items.iter_mut().find(|item| is(item)) {
                // The keys of an item go with the item.
                let key =
                    matches!(rest, [Step::Field(name)] if keys.iter().any(|(key, _)| key == name));
                if !key {
                    take(item, rest);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::SERVICE;

    fn service(selector: &str, ports: Value) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"},
            "spec": {"selector": {"app": selector}, "ports": ports},
        })
    }

    #[test]
    fn what_a_manager_wants_no_more_goes_away() {
        let mut applied = Applied::default();
        let one =
            service("x", json!([{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]));
        let live = apply(&json!({}), &mut applied, "me", &one, false, &SERVICE).unwrap();
        assert_eq!(live, one);
        let two = service("x", json!([{"port": 53, "protocol": "UDP"}]));
        assert_eq!(apply(&live, &mut applied, "me", &two, false, &SERVICE).unwrap(), two);
    }

    #[test]
    fn what_two_want_stays_until_both_let_go() {
        let mut applied = Applied::default();
        let ports = json!([{"port": 80}]);
        let one = service("x", ports.clone());
        let live = apply(&json!({}), &mut applied, "me", &one, false, &SERVICE).unwrap();
        let live = apply(&live, &mut applied, "you", &one, false, &SERVICE).unwrap();
        let mut less = one.clone();
        crate::object::remove(&mut less, &["spec", "ports"]);
        let live = apply(&live, &mut applied, "me", &less, false, &SERVICE).unwrap();
        assert_eq!(live["spec"]["ports"], ports);
        let live = apply(&live, &mut applied, "you", &less, false, &SERVICE).unwrap();
        assert_eq!(live["spec"]["ports"], json!([]));
    }

    #[test]
    fn a_field_of_somebody_else_is_a_conflict_unless_forced() {
        let mut applied = Applied::default();
        let live = service("x", json!([{"port": 80}]));
        applied.written("kubectl-create", None, &live, &SERVICE);
        let other = service("y", json!([{"port": 80}]));
        let mut again = applied.clone();
        let error = apply(&live, &mut again, "me", &other, false, &SERVICE).unwrap_err();
        let conflict = "conflict with \"kubectl-create\" using v1: .spec.selector";
        assert_eq!(error.to_string(), format!("Apply failed with 1 conflict: {conflict}"));
        let forced = apply(&live, &mut applied, "me", &other, true, &SERVICE).unwrap();
        assert_eq!(forced, other);
        let same = apply(&forced, &mut applied, "me", &live, false, &SERVICE).unwrap();
        assert_eq!(same, live, "what was taken by force is mine now");
    }
}
