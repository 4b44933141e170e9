//! Reading the body of a request.

use std::fmt;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::schema::Message;
use crate::{ApiError, protobuf};

/// The largest body that a real server takes, in bytes.
const LARGEST: usize = 3 * 1024 * 1024;

/// What a body holds, and the fields that it names twice.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) value: Value,
    pub(super) duplicates: Vec<String>,
}

/// Takes the whole body.
///
/// # Errors
/// [`ApiError::BadRequest`] if it breaks off or is too large.
pub(super) async fn take(body: Incoming) -> Result<Vec<u8>, ApiError> {
    let collected = Limited::new(body, LARGEST).collect().await;
    let collected = collected.map_err(|error| {
        ApiError::BadRequest(format!("the body of the request cannot be read: {error}"))
    })?;
    Ok(collected.to_bytes().to_vec())
}

/// Parses a body by its type. An empty one is nothing.
///
/// # Errors
/// [`ApiError::UnsupportedMediaType`], or [`ApiError::BadRequest`] for what cannot be parsed.
pub(super) fn parse(
    bytes: &[u8],
    content_type: &str,
    message: &'static Message,
) -> Result<Parsed, ApiError> {
    if bytes.is_empty() {
        return Ok(Parsed::default());
    }
    let media = content_type.split(';').next().unwrap_or_default().trim();
    match media {
        "" | "application/json" => json(bytes),
        "application/yaml" => yaml(bytes),
        "application/vnd.kubernetes.protobuf" => {
            let value = protobuf::open(bytes)?.object(message)?;
            Ok(Parsed { value, duplicates: Vec::new() })
        }
        _ => {
            let spoken = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
            Err(ApiError::UnsupportedMediaType(spoken.to_owned()))
        }
    }
}

/// Parses JSON and notes duplicate fields.
///
/// # Errors
/// [`ApiError::BadRequest`].
pub(super) fn json(bytes: &[u8]) -> Result<Parsed, ApiError> {
    let mut duplicates = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let seed = Noting { path: String::new(), duplicates: &mut duplicates };
    let value = seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    let value = value.map_err(|error| {
        ApiError::BadRequest(format!("the body of the request is no JSON: {error}"))
    })?;
    Ok(Parsed { value, duplicates })
}

/// Parses YAML; fields that are there twice are an error of YAML itself.
///
/// # Errors
/// [`ApiError::BadRequest`].
pub(super) fn yaml(bytes: &[u8]) -> Result<Parsed, ApiError> {
    let bad = |cause: String| ApiError::BadRequest(format!("error decoding YAML: {cause}"));
    let text = std::str::from_utf8(bytes).map_err(|error| bad(error.to_string()))?;
    let value = serde_saphyr::from_str(text).map_err(|error| bad(error.to_string()))?;
    Ok(Parsed { value, duplicates: Vec::new() })
}

/// Reads any JSON value, and notes the paths of fields that are there twice. The last one counts.
struct Noting<'a> {
    path: String,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Noting<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Noting<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, all.len());
            let seed = Noting { path, duplicates: &mut *self.duplicates };
            match items.next_element_seed(seed)? {
                Some(item) => all.push(item),
                None => return Ok(Value::Array(all)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let path = match &self.path[..] {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            if all.contains_key(&name) {
                self.duplicates.push(format!("duplicate field {path:?}"));
            }
            let seed = Noting { path, duplicates: &mut *self.duplicates };
            all.insert(name, fields.next_value_seed(seed)?);
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::SERVICE;

    #[test]
    fn duplicate_fields_are_noted_with_their_place() {
        let text = br#"{"a": 1, "b": [{"c": 1, "c": 2.5}], "a": -3, "d": null, "e": true}"#;
        let parsed = super::json(text).unwrap();
        let expected = json!({"a": -3, "b": [{"c": 2.5}], "d": null, "e": true});
        assert_eq!(parsed.value, expected);
        assert_eq!(parsed.duplicates, ["duplicate field \"b[0].c\"", "duplicate field \"a\""]);
    }

    #[test]
    fn bodies_are_read_by_their_type() {
        let read = |bytes: &[u8], media| parse(bytes, media, &SERVICE);
        let expected = json!({"spec": {"ports": [{"port": 80}]}});
        let yaml = b"spec:\n  ports:\n  - port: 80\n";
        assert_eq!(read(yaml, "application/yaml").unwrap().value, expected);
        let json = expected.to_string();
        let media = "application/json; charset=utf-8";
        assert_eq!(read(json.as_bytes(), media).unwrap().value, expected);
        assert_eq!(read(b"x", "text/plain").unwrap_err().code(), 415);
        assert_eq!(read(b"{", "application/json").unwrap_err().code(), 400);
        assert_eq!(read(b"{} x", "application/json").unwrap_err().code(), 400);
        assert_eq!(read(b"", "application/json").unwrap().value, Value::Null);
    }
}
