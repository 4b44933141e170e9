//! From any JSON to the canonical form of a type.

use jiff::Timestamp;
use serde_json::{Map, Number, Value};

use super::{Field, Message, Type, Zero};

/// A value of the wrong type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TypeFault {
    /// The words of Go's JSON decoder.
    pub(crate) text: String,
    /// What was expected there.
    pub(crate) expected: &'static str,
}

/// What reading found beside the value.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Paths of fields that the type does not have, such as `spec.ports[0].bogus`.
    pub(crate) unknown: Vec<String>,
}

/// Reads an object: drops nulls, unknown fields and empty values, writes what the type always
/// writes, and brings times into one form. Reading twice changes nothing.
///
/// # Errors
/// [`TypeFault`] for the first value of a wrong type.
pub(crate) fn read(
    value: &Value,
    message: &'static Message,
    reading: &mut Reading,
) -> Result<Value, TypeFault> {
    Reader { reading, root: true }.object(value, message, &Path::default())
}

/// The object that says nothing: what a bookmark carries.
pub(crate) fn zero(message: &'static Message) -> Value {
    let empty = Value::Object(Map::new());
    read(&empty, message, &mut Reading::default()).unwrap_or(empty)
}

/// Where a value is: once with the indices of lists, once as Go's decoder says it.
#[derive(Clone, Default)]
struct Path {
    indexed: String,
    plain: String,
    owner: &'static str,
}

impl Path {
    fn child(&self, owner: &'static str, name: &str) -> Self {
        let join = |path: &str| {
            if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
        };
        Self { indexed: join(&self.indexed), plain: join(&self.plain), owner }
    }

    fn item(&self, index: usize) -> Self {
        Self { indexed: format!("{}[{index}]", self.indexed), ..self.clone() }
    }

    fn fault(&self, value: &Value, expected: &'static str) -> TypeFault {
        let found = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(number) if expected.starts_with("int") => format!("number {number}"),
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        let place = format!("Go struct field {}.{}", self.owner, self.plain);
        let text = format!("json: cannot unmarshal {found} into {place} of type {expected}");
        TypeFault { text, expected }
    }
}

struct Reader<'a> {
    reading: &'a mut Reading,
    root: bool,
}

impl Reader<'_> {
    fn object(
        &mut self,
        value: &Value,
        message: &'static Message,
        path: &Path,
    ) -> Result<Value, TypeFault> {
        let root = std::mem::take(&mut self.root);
        let Value::Object(given) = value else {
            return Err(path.fault(value, message.name));
        };
        let mut written = Map::new();
        for (name, value) in given {
            if root && (name == "kind" || name == "apiVersion") {
                written.insert(name.clone(), value.clone());
                continue;
            }
            let child = path.child(message.name, name);
            let Some(field) = message.field(name) else {
                self.reading.unknown.push(child.indexed);
                continue;
            };
            if let Some(value) = self.field(value, field, &child)? {
                written.insert(name.clone(), value);
            }
        }
        for field in message.fields.iter().filter(|field| field.zero == Zero::Written) {
            if !written.contains_key(field.name) {
                let value = match field.value {
                    Type::Struct(inner) => zero(inner),
                    Type::Str => "".into(),
                    Type::Bool => false.into(),
                    Type::Int32 | Type::Int64 => 0.into(),
                    _ => Value::Null,
                };
                written.insert(field.name.to_owned(), value);
            }
        }
        Ok(Value::Object(written))
    }

    fn field(
        &mut self,
        value: &Value,
        field: &Field,
        path: &Path,
    ) -> Result<Option<Value>, TypeFault> {
        if value.is_null() {
            return Ok(None);
        }
        let value = self.value(value, &field.value, path)?;
        let empty = match &value {
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => {
                fields.is_empty() && !matches!(field.value, Type::Struct(_) | Type::Opaque)
            }
            Value::Bool(set) => !set,
            Value::Number(number) => {
                number.as_i64() == Some(0) && !matches!(field.value, Type::IntOrString)
            }
            Value::Null => true,
        };
        // The real server's storage does not tell an empty list from an absent one.
        let nothing = empty && matches!(value, Value::Array(_));
        Ok((!empty || field.zero != Zero::Dropped && !nothing).then_some(value))
    }

    fn value(&mut self, value: &Value, expected: &Type, path: &Path) -> Result<Value, TypeFault> {
        match expected {
            Type::Bool if value.is_boolean() => Ok(value.clone()),
            Type::Bool => Err(path.fault(value, "bool")),
            Type::Int32 => integer(value, i32::MIN.into(), i32::MAX.into())
                .ok_or_else(|| path.fault(value, "int32")),
            Type::Int64 => {
                integer(value, i64::MIN, i64::MAX).ok_or_else(|| path.fault(value, "int64"))
            }
            Type::Str | Type::Bytes if value.is_string() => Ok(value.clone()),
            Type::Str | Type::Bytes => Err(path.fault(value, "string")),
            Type::Time => time(value, false).ok_or_else(|| path.fault(value, "v1.Time")),
            Type::MicroTime => time(value, true).ok_or_else(|| path.fault(value, "v1.MicroTime")),
            Type::Quantity if value.is_string() => Ok(value.clone()),
            Type::Quantity if value.is_number() => Ok(value.to_string().into()),
            Type::Quantity => Err(path.fault(value, "resource.Quantity")),
            Type::IntOrString if value.is_string() => Ok(value.clone()),
            Type::IntOrString => integer(value, i32::MIN.into(), i32::MAX.into())
                .ok_or_else(|| path.fault(value, "int32")),
            Type::Opaque => Ok(without_nulls(value)),
            Type::Struct(message) => self.object(value, message, path),
            Type::List(item) => {
                let Value::Array(items) = value else { return Err(path.fault(value, "[]")) };
                let read = |(index, value)| self.value(value, item, &path.item(index));
                items.iter().enumerate().map(read).collect::<Result<_, _>>().map(Value::Array)
            }
            Type::Map(item) => {
                let Value::Object(items) = value else {
                    return Err(path.fault(value, "map[string]string"));
                };
                let mut written = Map::new();
                for (name, value) in items {
                    written.insert(name.clone(), self.value(value, item, path)?);
                }
                Ok(Value::Object(written))
            }
        }
    }
}

/// A whole number within limits. Floats that are whole count, as YAML and JavaScript write them.
fn integer(value: &Value, least: i64, most: i64) -> Option<Value> {
    let number = value.as_number()?;
    let whole = |number: &Number| {
        let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
        (float.abs() < 9e15).then_some(float as i64)
    };
    let number = number.as_i64().or_else(|| whole(number))?;
    (least..=most).contains(&number).then(|| number.into())
}

fn time(value: &Value, micro: bool) -> Option<Value> {
    let time: Timestamp = value.as_str()?.parse().ok()?;
    Some(if micro { micro_time(time) } else { seconds(time) }.into())
}

/// A point in time as `metadata.creationTimestamp` writes it.
pub(crate) fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn micro_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_nulls(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        plain => plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{ENDPOINT_SLICE, NODE, POD, SERVICE, SERVICE_CIDR};
    use super::*;

    #[test]
    fn the_empty_objects_are_those_that_a_real_server_sends_in_bookmarks() {
        let metadata = json!({});
        for (message, rest) in [
            (&SERVICE, json!({"spec": {}, "status": {"loadBalancer": {}}})),
            (&ENDPOINT_SLICE, json!({"addressType": "", "endpoints": null, "ports": null})),
            (&POD, json!({"spec": {"containers": null}, "status": {}})),
            (&SERVICE_CIDR, json!({"spec": {}, "status": {}})),
        ] {
            let mut expected = rest;
            expected["metadata"] = metadata.clone();
            assert_eq!(zero(message), expected, "{}", message.name);
        }
        let port = zero(&NODE).pointer("/status/daemonEndpoints/kubeletEndpoint/Port").cloned();
        assert_eq!(port, Some(json!(0)));
    }

    #[test]
    fn unknown_fields_are_named_with_their_place_and_dropped() {
        let given = json!({"spec": {"ports": [{"port": 80, "bogus": 1}], "selektor": {"a": "b"}}});
        let mut reading = Reading::default();
        let read = read(&given, &SERVICE, &mut reading).unwrap();
        assert_eq!(reading.unknown, ["spec.ports[0].bogus", "spec.selektor"]);
        assert_eq!(read["spec"], json!({"ports": [{"port": 80}]}));
    }

    #[test]
    fn wrong_types_are_said_as_the_go_decoder_says_them() {
        let given = json!({"spec": {"ports": [{"port": "x"}]}});
        let fault = read(&given, &SERVICE, &mut Reading::default()).unwrap_err();
        let field = "Go struct field ServicePort.spec.ports.port of type int32";
        assert_eq!(fault.text, format!("json: cannot unmarshal string into {field}"));
    }

    #[test]
    fn what_says_nothing_is_left_out_unless_it_differs_from_nothing() {
        let given = json!({
            "metadata": {"name": "a", "annotations": {}, "creationTimestamp": null},
            "spec": {"clusterIP": "", "ports": [{"name": "", "port": 1, "nodePort": 0}],
                "allocateLoadBalancerNodePorts": false, "publishNotReadyAddresses": false},
        });
        let once = read(&given, &SERVICE, &mut Reading::default()).unwrap();
        assert_eq!(once["metadata"], json!({"name": "a"}));
        let spec = json!({"ports": [{"port": 1}], "allocateLoadBalancerNodePorts": false});
        assert_eq!(once["spec"], spec);
        assert_eq!(read(&once, &SERVICE, &mut Reading::default()).unwrap(), once);
    }

    #[test]
    fn what_a_real_server_stored_is_canonical() {
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../pipeline/intake/tests/recordings");
        let mut seen = 0;
        for (folder, file, message) in [
            (path, "list-services.json", &SERVICE),
            (path, "list-pods.json", &POD),
            (path, "list-nodes.json", &NODE),
            (path, "list-endpointslices.json", &ENDPOINT_SLICE),
            (path, "list-servicecidrs.json", &SERVICE_CIDR),
            (own, "list-namespaces.json", &super::super::NAMESPACE),
            (own, "list-networkpolicies.json", &super::super::NETWORK_POLICY),
        ] {
            let text = std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
            let list: Value = serde_json::from_str(&text).unwrap();
            for item in list["items"].as_array().unwrap() {
                let mut reading = Reading::default();
                assert_eq!(&read(item, message, &mut reading).unwrap(), item, "{file}");
                assert_eq!(reading.unknown, Vec::<String>::new(), "{file}");
                seen += 1;
            }
        }
        assert!(seen > 20, "{seen}");
    }
}
