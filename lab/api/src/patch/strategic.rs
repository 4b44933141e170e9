//! Strategic merge patches.
//!
//! As a merge patch, but lists whose items have a key are joined item by item, and a patch may say
//! more: `$patch: replace|delete`, `$retainKeys`, `$setElementOrder/FIELD` and
//! `$deleteFromPrimitiveList/FIELD`.

use serde_json::{Map, Value};

use crate::ApiError;
use crate::go_text::go_text;
use crate::schema::{Field, Merge, Message, Type};

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Joins a patch into an object of a type.
///
/// # Errors
/// [`ApiError::BadRequest`] for directives that nobody knows, items without their key, and a list
/// or an object where the other was expected.
pub(crate) fn merge(
    object: &Value,
    patch: &Value,
    message: &'static Message,
) -> Result<Value, ApiError> {
    let (Value::Object(object), Value::Object(patch)) = (object, patch) else {
        return Err(ApiError::BadRequest("the patch is no JSON object".to_owned()));
    };
    merge_objects(object, patch, Some(message)).map(Value::Object)
}

type Fields = Map<String, Value>;

fn merge_objects(
    object: &Fields,
    patch: &Fields,
    message: Option<&'static Message>,
) -> Result<Fields, ApiError> {
    match patch.get(PATCH).map(|directive| directive.as_str().unwrap_or_default()) {
        Some("replace") => {
            let mut replaced = patch.clone();
            replaced.remove(PATCH);
            return Ok(replaced);
        }
        Some("delete") => return Ok(Fields::new()),
        Some("merge") | None => {}
        Some(other) => return Err(unknown_directive(other)),
    }
    let mut merged = object.clone();
    if let Some(Value::Array(retained)) = patch.get(RETAIN) {
        merged.retain(|name, _| retained.iter().any(|retained| retained == name));
    }
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix(DELETE_FROM) {
            let gone = value.as_array().map(Vec::as_slice).unwrap_or_default();
            if let Some(Value::Array(items)) = merged.get_mut(list) {
                items.retain(|item| !gone.contains(item));
            }
        }
    }
    for (name, value) in patch {
        let directive = name == PATCH || name == RETAIN || name.starts_with(DELETE_FROM);
        if directive || name.starts_with(ORDER) {
            continue;
        }
        let field = message.and_then(|message| message.field(name));
        if value.is_null() {
            merged.remove(name);
            continue;
        }
        let order = patch.get(&format!("{ORDER}{name}"));
        let value = merge_values(merged.get(name), value, field, order, name)?;
        merged.insert(name.clone(), value);
    }
    // An order alone sorts what is there.
    for (name, order) in patch {
        let Some(list) = name.strip_prefix(ORDER).filter(|list| !patch.contains_key(*list)) else {
            continue;
        };
        let field = message.and_then(|message| message.field(list));
        if let (Some(Value::Array(items)), Value::Array(order)) = (merged.get_mut(list), order) {
            let key = field.and_then(merge_key);
            *items = ordered(std::mem::take(items), order, &[], key);
        }
    }
    Ok(merged)
}

fn unknown_directive(directive: &str) -> ApiError {
    ApiError::BadRequest(format!("unknown patch type: {directive}"))
}

fn merge_key(field: &Field) -> Option<&'static str> {
    match field.merge {
        Merge::By(key) => Some(key),
        _ => None,
    }
}

fn merge_values(
    old: Option<&Value>,
    patch: &Value,
    field: Option<&'static Field>,
    order: Option<&Value>,
    name: &str,
) -> Result<Value, ApiError> {
    match patch {
        Value::Object(patch) => {
            let message = match field.map(|field| &field.value) {
                Some(Type::Struct(message)) => Some(*message),
                _ => None,
            };
            let empty = Fields::new();
            let old = match old {
                None | Some(Value::Null) => &empty,
                Some(Value::Object(old)) => old,
                Some(_) => return Err(mismatch(name)),
            };
            merge_objects(old, patch, message).map(Value::Object)
        }
        Value::Array(patch) => {
            let old = match old {
                None | Some(Value::Null) => &[],
                Some(Value::Array(old)) => old.as_slice(),
                Some(_) => return Err(mismatch(name)),
            };
            let order = order.and_then(Value::as_array).map(Vec::as_slice);
            merge_lists(old, patch, field, order).map(Value::Array)
        }
        plain => Ok(plain.clone()),
    }
}

fn mismatch(name: &str) -> ApiError {
    ApiError::BadRequest(format!("the patch and the object have different types at {name}"))
}

fn merge_lists(
    old: &[Value],
    patch: &[Value],
    field: Option<&'static Field>,
    order: Option<&[Value]>,
) -> Result<Vec<Value>, ApiError> {
    let merge = field.map_or(Merge::Default, |field| field.merge);
    let merged = match merge {
        Merge::By(key) => merge_by(old, patch, key, field)?,
        Merge::Union => {
            let mut merged = old.to_vec();
            merged.extend(patch.iter().filter(|item| !old.contains(item)).cloned());
            merged
        }
        Merge::Default | Merge::Whole => return Ok(patch.to_vec()),
    };
    Ok(match order {
        Some(order) => ordered(merged, order, old, field.and_then(merge_key)),
        None => merged,
    })
}

fn merge_by(
    old: &[Value],
    patch: &[Value],
    key: &'static str,
    field: Option<&'static Field>,
) -> Result<Vec<Value>, ApiError> {
    let directive = |item: &Value| {
        let directive = item.get(PATCH).and_then(Value::as_str).unwrap_or("merge");
        directive.to_owned()
    };
    // One item that says so replaces the whole list by the others.
    if patch.iter().any(|item| directive(item) == "replace") {
        return Ok(patch.iter().filter(|item| item.get(PATCH).is_none()).cloned().collect());
    }
    let message = match field.map(|field| &field.value) {
        Some(Type::List(Type::Struct(message))) => Some(*message),
        _ => None,
    };
    let mut merged = old.to_vec();
    for item in patch {
        let (Some(id), Value::Object(fields)) = (item.get(key), item) else {
            let text = go_text(item);
            let message = format!("map: {text} does not contain declared merge key: {key}");
            return Err(ApiError::BadRequest(message));
        };
        match &directive(item)[..] {
            "delete" => merged.retain(|old| old.get(key) != Some(id)),
            "merge" => {
                let place = merged.iter_mut().find(|old| old.get(key) == Some(id));
                match place {
                    Some(Value::Object(old)) => *old = merge_objects(old, fields, message)?,
                    Some(_) => return Err(mismatch(key)),
                    None => {
                        let new = merge_objects(&Fields::new(), fields, message)?;
                        merged.push(Value::Object(new));
                    }
                }
            }
            other => return Err(unknown_directive(other)),
        }
    }
    Ok(merged)
}

/// Puts the items that an order names into that order; the others, known to the server alone, keep
/// their place among those that were there before.
fn ordered(
    items: Vec<Value>,
    order: &[Value],
    old: &[Value],
    key: Option<&'static str>,
) -> Vec<Value> {
    let id = |item: &Value| match key {
        Some(key) => item.get(key).cloned().unwrap_or_default(),
        None => item.clone(),
    };
    let before = if old.is_empty() { items.clone() } else { old.to_vec() };
    let place = |item: &Value| before.iter().position(|old| id(old) == id(item));
    let rank = |item: &Value| order.iter().position(|wanted| id(wanted) == id(item));
    let (mut named, rest): (Vec<_>, Vec<_>) =
        items.into_iter().partition(|item| rank(item).is_some());
    named.sort_by_key(rank);
    let (mut named, mut rest) = (named.into_iter().peekable(), rest.into_iter().peekable());
    let mut all = Vec::new();
    while let (Some(left), Some(right)) = (named.peek(), rest.peek()) {
        let first = match (place(left), place(right)) {
            (Some(left), Some(right)) => left < right,
            _ => true,
        };
        all.extend(if first { named.next() } else { rest.next() });
    }
    all.extend(named.chain(rest));
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::{DEPLOYMENT, NETWORK_POLICY, SERVICE};

    fn ports(old: Value, patch: Value) -> Value {
        let old = json!({"spec": {"ports": old}});
        merge(&old, &json!({"spec": patch}), &SERVICE).unwrap()["spec"]["ports"].clone()
    }

    #[test]
    fn ports_are_joined_by_their_number() {
        let old = json!([{"port": 80, "targetPort": 8080}, {"port": 443}]);
        let patch = json!({"ports": [{"port": 80, "targetPort": 9090}]});
        let expected = json!([{"port": 80, "targetPort": 9090}, {"port": 443}]);
        assert_eq!(ports(old.clone(), patch), expected);
        let patch = json!({
            "$setElementOrder/ports": [{"port": 81}],
            "ports": [{"port": 81, "targetPort": 8080}, {"$patch": "delete", "port": 80}],
        });
        let expected = json!([{"port": 81, "targetPort": 8080}, {"port": 443}]);
        assert_eq!(ports(old.clone(), patch), expected);
        let patch = json!({"ports": [{"$patch": "replace"}, {"port": 9}]});
        assert_eq!(ports(old.clone(), patch), json!([{"port": 9}]));
        let patch = json!({"$setElementOrder/ports": [{"port": 443}, {"port": 80}]});
        assert_eq!(ports(old, patch), json!([{"port": 443}, {"port": 80, "targetPort": 8080}]));
    }

    #[test]
    fn maps_are_joined_replaced_and_trimmed() {
        let old = json!({"spec": {"selector": {"a": "1", "b": "2"}, "clusterIP": "10.0.0.1"}});
        let patched =
            |patch| merge(&old, &json!({"spec": patch}), &SERVICE).unwrap()["spec"].clone();
        let spec = patched(json!({"selector": {"a": null, "c": "3"}}));
        assert_eq!(spec["selector"], json!({"b": "2", "c": "3"}));
        let spec = patched(json!({"selector": {"$patch": "replace", "c": "3"}}));
        assert_eq!(spec["selector"], json!({"c": "3"}));
        let spec = patched(json!({"$retainKeys": ["selector"], "type": "ExternalName"}));
        let selector = json!({"a": "1", "b": "2"});
        assert_eq!(spec, json!({"selector": selector, "type": "ExternalName"}));
    }

    #[test]
    fn containers_keep_what_the_patch_does_not_name() {
        let container = |name: &str, image: &str| json!({"name": name, "image": image});
        let pod = |containers: Value| json!({"spec": {"template": {"spec": containers}}});
        let old = pod(json!({"containers": [container("a", "1"), container("b", "1")]}));
        let patch = pod(json!({
            "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}],
            "containers": [container("b", "2")],
        }));
        let merged = merge(&old, &patch, &DEPLOYMENT).unwrap();
        let expected = pod(json!({"containers": [container("a", "1"), container("b", "2")]}));
        assert_eq!(merged, expected);
    }

    #[test]
    fn plain_lists_are_joined_only_where_the_type_says_so() {
        let old = json!({"metadata": {"finalizers": ["a", "b"]}, "spec": {"ingress": [{}, {}]}});
        let patch = json!({
            "metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]},
            "spec": {"ingress": [{"ports": []}]},
        });
        let merged = merge(&old, &patch, &NETWORK_POLICY).unwrap();
        assert_eq!(merged["metadata"]["finalizers"], json!(["b", "c"]));
        assert_eq!(merged["spec"]["ingress"], json!([{"ports": []}]));
    }

    #[test]
    fn an_item_without_its_key_is_refused() {
        let old = json!({"spec": {"ports": [{"port": 80}]}});
        let patch = json!({"spec": {"ports": [{"name": "x"}]}});
        let refused = merge(&old, &patch, &SERVICE).unwrap_err().to_string();
        assert_eq!(refused, "map: map[name:x] does not contain declared merge key: port");
    }
}
