//! Reading the bodies that kubectl's generators (`kubectl create deployment` and its kin) send.
//!
//! They are protocol buffers in Kubernetes' envelope: the bytes `k8s\0`, then a message with the
//! type (1) and the object (2).

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::ApiError;
use crate::schema::{Message, Type};

const MAGIC: &[u8] = b"k8s\0";

/// What an envelope holds.
pub(crate) struct Envelope<'a> {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    object: &'a [u8],
}

/// Opens an envelope.
///
/// # Errors
/// [`ApiError::BadRequest`] if the bytes are none.
pub(crate) fn open(bytes: &[u8]) -> Result<Envelope<'_>, ApiError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| {
        bad("provided data does not appear to be a protobuf message, expected prefix k8s")
    })?;
    let mut envelope = Envelope { api_version: String::new(), kind: String::new(), object: &[] };
    for part in Parts(rest) {
        match part? {
            (1, Part::Bytes(of_type)) => {
                for part in Parts(of_type) {
                    match part? {
                        (1, Part::Bytes(text)) => envelope.api_version = self::text(text)?,
                        (2, Part::Bytes(text)) => envelope.kind = self::text(text)?,
                        _ => {}
                    }
                }
            }
            (2, Part::Bytes(object)) => envelope.object = object,
            _ => {}
        }
    }
    Ok(envelope)
}

impl Envelope<'_> {
    /// The object as JSON.
    ///
    /// # Errors
    /// [`ApiError::BadRequest`] for broken bytes, and for a field that says something and is not
    /// in the table of the type: it may not be lost in silence.
    pub(crate) fn object(&self, message: &'static Message) -> Result<Value, ApiError> {
        let mut object = read(self.object, message)?;
        object.insert("apiVersion".to_owned(), self.api_version.clone().into());
        object.insert("kind".to_owned(), self.kind.clone().into());
        Ok(Value::Object(object))
    }
}

fn bad(text: &str) -> ApiError {
    ApiError::BadRequest(text.to_owned())
}

fn text(bytes: &[u8]) -> Result<String, ApiError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| bad("proto: a string is not UTF-8"))
}

fn read(bytes: &[u8], message: &'static Message) -> Result<Map<String, Value>, ApiError> {
    let mut object = Map::new();
    for part in Parts(bytes) {
        let (number, part) = part?;
        let Some(field) = message.fields.iter().find(|field| field.number == number) else {
            if part.is_empty() {
                continue;
            }
            let name = message.name;
            let text = format!("field {number} of {name} is not read from protocol buffers here");
            return Err(ApiError::BadRequest(format!("{text}: send JSON or YAML")));
        };
        let place = object.entry(field.name);
        match (&field.value, part) {
            (Type::List(item), part) => {
                let list = place.or_insert_with(|| Value::Array(Vec::new()));
                let item = value(part, item)?;
                list.as_array_mut().into_iter().for_each(|list| list.push(item.clone()));
            }
            (Type::Map(item), Part::Bytes(entry)) => {
                let (key, item) = entry_of(entry, item)?;
                let map = place.or_insert_with(|| Value::Object(Map::new()));
                if let Some(map) = map.as_object_mut() {
                    map.insert(key, item);
                }
            }
            (plain, part) => {
                let value = value(part, plain)?;
                *place.or_insert(Value::Null) = value;
            }
        }
    }
    Ok(object)
}

fn value(part: Part<'_>, expected: &Type) -> Result<Value, ApiError> {
    Ok(match (expected, part) {
        (Type::Bool, Part::Number(number)) => (number != 0).into(),
        // Negative numbers are sign-extended to 64 bits.
        (Type::Int32 | Type::Int64, Part::Number(number)) => (number as i64).into(),
        (Type::Str, Part::Bytes(bytes)) => text(bytes)?.into(),
        (Type::Struct(message), Part::Bytes(bytes)) => Value::Object(read(bytes, message)?),
        (Type::Quantity, Part::Bytes(bytes)) => {
            let text = Parts(bytes).find_map(|part| match part {
                Ok((1, Part::Bytes(bytes))) => Some(self::text(bytes)),
                _ => None,
            });
            text.transpose()?.unwrap_or_else(|| "0".to_owned()).into()
        }
        (Type::Time | Type::MicroTime, Part::Bytes(bytes)) => time(bytes)?,
        (Type::IntOrString, Part::Bytes(bytes)) => int_or_string(bytes)?,
        _ => return Err(bad("proto: a field has another wire type than its type asks for")),
    })
}

/// `google.protobuf.Timestamp`; an empty one stands for no time.
fn time(bytes: &[u8]) -> Result<Value, ApiError> {
    let (mut seconds, mut nanoseconds) = (0_i64, 0_i32);
    for part in Parts(bytes) {
        match part? {
            (1, Part::Number(number)) => seconds = number as i64,
            (2, Part::Number(number)) => nanoseconds = number as i32,
            _ => {}
        }
    }
    let time = Timestamp::new(seconds, nanoseconds);
    let time = time.map_err(|_| bad("proto: a time is out of range"))?;
    // Go's zero time, year 1, is also sent as it is.
    let none = bytes.is_empty() || seconds == -62_135_596_800;
    Ok(if none { Value::Null } else { time.to_string().into() })
}

fn int_or_string(bytes: &[u8]) -> Result<Value, ApiError> {
    let (mut is_text, mut number, mut word) = (false, 0_i64, String::new());
    for part in Parts(bytes) {
        match part? {
            (1, Part::Number(kind)) => is_text = kind == 1,
            (2, Part::Number(value)) => number = value as i64,
            (3, Part::Bytes(bytes)) => word = text(bytes)?,
            _ => {}
        }
    }
    Ok(if is_text { word.into() } else { number.into() })
}

fn entry_of(entry: &[u8], item: &Type) -> Result<(String, Value), ApiError> {
    let (mut key, mut found) = (String::new(), None);
    for part in Parts(entry) {
        match part? {
            (1, Part::Bytes(bytes)) => key = text(bytes)?,
            (2, part) => found = Some(value(part, item)?),
            _ => {}
        }
    }
    Ok((key, found.unwrap_or_else(|| "".into())))
}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl Part<'_> {
    /// Whether it says nothing: zero, or a message of which every field says nothing.
    fn is_empty(self) -> bool {
        match self {
            Self::Number(number) => number == 0,
            Self::Bytes(bytes) => {
                Parts(bytes).all(|part| part.is_ok_and(|(_, part)| part.is_empty()))
            }
        }
    }
}

struct Parts<'a>(&'a [u8]);

impl<'a> Iterator for Parts<'a> {
    type Item = Result<(u32, Part<'a>), ApiError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let part = self.part().ok_or_else(|| bad("proto: unexpected end of the message"));
        if part.is_err() {
            self.0 = &[];
        }
        Some(part)
    }
}

impl<'a> Parts<'a> {
    fn part(&mut self) -> Option<(u32, Part<'a>)> {
        let tag = self.number()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number != 0)?;
        let part = match tag & 7 {
            0 => Part::Number(self.number()?),
            1 => Part::Number(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                Part::Bytes(self.take(length)?)
            }
            5 => Part::Number(u32::from_le_bytes(self.take(4)?.try_into().ok()?).into()),
            _ => return None,
        };
        Some((number, part))
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::SERVICE;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        field.extend(bytes);
        field
    }

    fn service(spec: &[u8]) -> Vec<u8> {
        let of_type = [field(1, b"v1"), field(2, b"Service")].concat();
        let object = [field(1, &field(1, b"web")), field(2, spec)].concat();
        [b"k8s\0".to_vec(), field(1, &of_type), field(2, &object)].concat()
    }

    #[test]
    fn a_service_is_read() {
        let port =
            [field(2, b"TCP"), vec![3 << 3, 80], field(4, &[1 << 3, 0, 2 << 3, 90, 0x1a, 0])];
        let selector = field(2, &[field(1, b"app"), field(2, b"web")].concat());
        let bytes = service(&[field(1, &port.concat()), selector, field(15, &[])].concat());
        let object = open(&bytes).unwrap().object(&SERVICE).unwrap();
        assert_eq!(
            object,
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
                "spec": {
                    "ports": [{"protocol": "TCP", "port": 80, "targetPort": 90}],
                    "selector": {"app": "web"},
                },
            })
        );
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let unknown = service(&field(15, b"x"));
        let error = open(&unknown).unwrap().object(&SERVICE).unwrap_err().to_string();
        assert!(error.starts_with("field 15 of ServiceSpec"), "{error}");
        assert!(open(b"{}").is_err());
        let whole = service(&field(1, &[3 << 3, 80]));
        let mut refused = 0;
        for end in 4..whole.len() {
            let cut = open(&whole[..end]).and_then(|envelope| envelope.object(&SERVICE));
            refused += usize::from(cut.is_err());
        }
        assert!(refused > 20, "{refused}");
    }
}
