//! Reading a policy's specification: everything that is not known and right is a fault, for what is
//! skipped here might have kept a rule from opening.

use std::fmt::Display;

use model::Reason;
use serde_json::{Map, Value};

use crate::wire::shown;

/// Why a part cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: Reason,
    /// Field, value and what was expected.
    pub(super) what: String,
}

pub(super) type Read<T> = Result<T, Fault>;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<'v> {
    value: &'v Value,
    path: String,
}

/// An object whose fields are all known.
pub(super) struct Object<'v> {
    map: &'v Map<String, Value>,
    path: String,
}

impl<'v> At<'v> {
    pub(super) fn new(value: &'v Value, path: impl Into<String>) -> Self {
        Self { value, path: path.into() }
    }

    pub(super) fn value(&self) -> &'v Value {
        self.value
    }

    /// A value below this one.
    pub(super) fn below(&self, key: &str, value: &'v Value) -> At<'v> {
        At { value, path: format!("{}.{key}", self.path) }
    }

    pub(super) fn fault(&self, expected: impl Display) -> Fault {
        let value = match self.value {
            Value::String(text) => shown(text),
            Value::Array(_) => "a list".into(),
            Value::Object(_) => "an object".into(),
            other => other.to_string(),
        };
        Fault {
            reason: Reason::InvalidField,
            what: format!("{} is {value}: expected {expected}", self.path),
        }
    }

    /// An object that has no other fields than these. `null` is no field.
    pub(super) fn object(&self, known: &[&str]) -> Read<Object<'v>> {
        let Value::Object(map) = self.value else { return Err(self.fault("an object")) };
        let unknown = map.iter().find(|(key, value)| !value.is_null() && !known.contains(&&***key));
        match unknown {
            None => Ok(Object { map, path: self.path.clone() }),
            Some((key, _)) => Err(Fault {
                reason: Reason::UnknownField,
                what: format!("{}.{key} is a field that is not known", self.path),
            }),
        }
    }

    /// An object, whatever its fields.
    pub(super) fn any_object(&self) -> Read<Object<'v>> {
        match self.value {
            Value::Object(map) => Ok(Object { map, path: self.path.clone() }),
            _ => Err(self.fault("an object")),
        }
    }

    pub(super) fn items(&self) -> Read<Vec<At<'v>>> {
        let Value::Array(list) = self.value else { return Err(self.fault("a list")) };
        let at = |(index, value)| At { value, path: format!("{}[{index}]", self.path) };
        Ok(list.iter().enumerate().map(at).collect())
    }

    pub(super) fn text(&self) -> Read<&'v str> {
        self.value.as_str().ok_or_else(|| self.fault("a text"))
    }

    /// The text that stands where a number may stand too.
    pub(super) fn as_text(&self) -> Option<&'v str> {
        self.value.as_str()
    }

    /// A port number from 1 to 65535.
    pub(super) fn port(&self) -> Read<u16> {
        let number = self.value.as_u64().and_then(|number| u16::try_from(number).ok());
        number.filter(|&port| port != 0).ok_or_else(|| self.fault("a port from 1 to 65535"))
    }

    /// A whole number that is not negative.
    pub(super) fn number(&self) -> Read<u64> {
        self.value.as_u64().ok_or_else(|| self.fault("a whole number"))
    }
}

impl<'v> Object<'v> {
    /// A field; `None` where it is absent or `null`.
    pub(super) fn get(&self, key: &str) -> Option<At<'v>> {
        let value = self.map.get(key).filter(|value| !value.is_null())?;
        Some(At { value, path: format!("{}.{key}", self.path) })
    }

    /// A field that must be there.
    pub(super) fn need(&self, key: &str) -> Read<At<'v>> {
        self.get(key).ok_or_else(|| self.fault(format_args!("{key} in it")))
    }

    /// The entries of a list; an absent list is an empty one.
    pub(super) fn list(&self, key: &str) -> Read<Vec<At<'v>>> {
        self.get(key).map_or(Ok(Vec::new()), |list| list.items())
    }

    /// Exactly one of these fields.
    pub(super) fn only(&self, keys: &[&'static str]) -> Read<(&'static str, At<'v>)> {
        let mut there = keys.iter().filter_map(|key| Some((*key, self.get(key)?)));
        match (there.next(), there.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(self.fault(format_args!("exactly one of {}", keys.join(", ")))),
        }
    }

    pub(super) fn fault(&self, expected: impl Display) -> Fault {
        let mut fields: Vec<&str> = self.map.keys().map(String::as_str).collect();
        fields.sort_unstable();
        let has = if fields.is_empty() { "nothing".into() } else { fields.join(", ") };
        Fault {
            reason: Reason::InvalidField,
            what: format!("{} has {has}: expected {expected}", self.path),
        }
    }
}
