//! Reading and writing the parts that every object has.

use serde_json::{Map, Value};

/// The text at a JSON pointer, or nothing.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The number at a JSON pointer, or 0.
pub(crate) fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}

/// Whether something that is not null is at a JSON pointer.
pub(crate) fn has(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).is_some_and(|value| !value.is_null())
}

/// The list at a JSON pointer, or an empty one.
pub(crate) fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The texts of the list at a JSON pointer.
pub(crate) fn texts(object: &Value, pointer: &str) -> Vec<String> {
    items(object, pointer).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The fields of the object at a JSON pointer.
pub(crate) fn fields<'a>(
    object: &'a Value,
    pointer: &str,
) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
    let map = object.pointer(pointer).and_then(Value::as_object);
    map.into_iter().flatten().map(|(name, value)| (&name[..], value))
}

pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub(crate) fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

pub(crate) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// Writes a value at a path of field names, making the objects on the way. What stands in the way
/// and is no object is replaced.
pub(crate) fn set(object: &mut Value, path: &[&str], value: impl Into<Value>) {
    let Some((first, rest)) = path.split_first() else {
        *object = value.into();
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    if let Some(fields) = object.as_object_mut() {
        set(fields.entry(*first).or_insert(Value::Null), rest, value);
    }
}

/// Writes a value at a path unless something is there.
pub(crate) fn default(object: &mut Value, path: &[&str], value: impl Into<Value>) {
    let pointer = format!("/{}", path.join("/"));
    let there = object.pointer(&pointer).is_some_and(|value| !value.is_null());
    if !there {
        set(object, path, value);
    }
}

/// Takes the value at a path away.
pub(crate) fn remove(object: &mut Value, path: &[&str]) -> Option<Value> {
    let (last, way) = path.split_last()?;
    let mut place = object;
    for name in way {
        place = place.get_mut(*name)?;
    }
    place.as_object_mut()?.remove(*last)
}

/// The list at a JSON pointer, to change it; nothing if there is none.
pub(crate) fn items_mut<'a>(object: &'a mut Value, pointer: &str) -> &'a mut [Value] {
    object.pointer_mut(pointer).and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_is_made_defaulted_and_taken_away() {
        let mut object = json!({"spec": null});
        set(&mut object, &["spec", "a", "b"], 1);
        default(&mut object, &["spec", "a", "b"], 2);
        default(&mut object, &["spec", "a", "c"], 3);
        assert_eq!(object, json!({"spec": {"a": {"b": 1, "c": 3}}}));
        assert_eq!(remove(&mut object, &["spec", "a", "b"]), Some(json!(1)));
        assert_eq!(remove(&mut object, &["spec", "x", "b"]), None);
        assert_eq!(object, json!({"spec": {"a": {"c": 3}}}));
    }
}
