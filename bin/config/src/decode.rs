//! From a document to a typed value, with every deviation from the strict reading listed.
//!
//! kube-proxy reads strictly first and, where that fails only by unknown or repeated fields, once
//! more leniently. Here both happen at once: the value is the lenient one, and it is also the strict
//! one if the list is empty. A value of the wrong type fails either way, as it does there.

use std::cell::RefCell;
use std::fmt;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Expected, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde::forward_to_deserialize_any;

use crate::document::{Node, Value};

/// What a strict reading would have refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deviation {
    /// From 1.
    pub(crate) line: usize,
    /// The field's path.
    pub(crate) path: String,
    pub(crate) kind: DeviationKind,
}

/// The two ways to deviate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DeviationKind {
    /// No such field; the one meant, if only the case of letters differs.
    Unknown { meant: Option<&'static str> },
    /// It stands there several times; the last one counts.
    Repeated,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match self.kind {
            DeviationKind::Unknown { meant: None } => f.write_str("unknown field, ignored"),
            DeviationKind::Unknown { meant: Some(meant) } => {
                write!(f, "unknown field, ignored; {meant} is written so")
            }
            DeviationKind::Repeated => f.write_str("the field stands twice; the last one counts"),
        }
    }
}

/// A value that does not fit its field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// From 1; 0 where it is unknown.
    pub(crate) line: usize,
    /// The field's path; empty for the whole.
    pub(crate) path: String,
    pub(crate) problem: String,
    /// Whether `line` and `path` are known already.
    placed: bool,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the whole" } else { &self.path };
        write!(f, "{path}: {}", self.problem)
    }
}

impl std::error::Error for Misfit {}

impl serde::de::Error for Misfit {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { line: 0, path: String::new(), problem: message.to_string(), placed: false }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Unit => "nothing".into(),
            other => other.to_string(),
        };
        Self::custom(format!("{found}, expected {}", plain(expected)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format!("{found}, expected {}", plain(expected)))
    }
}

/// The operator's words for the types of the field.
fn plain(expected: &dyn Expected) -> String {
    match expected.to_string().as_str() {
        "i32" => "a whole number from -2147483648 to 2147483647".into(),
        "u32" => "a whole number from 0 to 4294967295".into(),
        "f32" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a string" => "text (in quotes)".into(),
        "a sequence" => "a list".into(),
        other => other.replace("struct ", "the fields of "),
    }
}

/// Reads a value, and lists what a strict reading would have refused, in the order of the text.
///
/// # Errors
/// [`Misfit`] for the first value of the wrong type.
pub(crate) fn read<T: DeserializeOwned>(node: &Node) -> Result<(T, Vec<Deviation>), Misfit> {
    let deviations = RefCell::new(Vec::new());
    let value = T::deserialize(Reader { node, path: String::new(), deviations: &deviations })?;
    let mut deviations = deviations.into_inner();
    deviations.sort_by_key(|deviation| deviation.line);
    Ok((value, deviations))
}

struct Reader<'n> {
    node: &'n Node,
    path: String,
    deviations: &'n RefCell<Vec<Deviation>>,
}

impl<'n> Reader<'n> {
    fn child(&self, key: &str, node: &'n Node) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self { node, path: format!("{}{dot}{key}", self.path), deviations: self.deviations }
    }

    fn item(&self, index: usize, node: &'n Node) -> Self {
        Self { node, path: format!("{}[{index}]", self.path), deviations: self.deviations }
    }

    fn place<T>(&self, result: Result<T, Misfit>) -> Result<T, Misfit> {
        result.map_err(|misfit| match misfit.placed {
            true => misfit,
            false => Misfit {
                line: self.node.line,
                path: self.path.clone(),
                problem: misfit.problem,
                placed: true,
            },
        })
    }

    /// The entries that count: of a key that stands twice the last one, and none that is null,
    /// which says as much as nothing. With the fields of a struct, unknown keys do not count.
    fn entries(
        &self,
        map: &'n [(String, usize, Node)],
        fields: Option<&'static [&'static str]>,
    ) -> Vec<(&'n str, Reader<'n>)> {
        let mut counting = Vec::new();
        for (index, (key, line, node)) in map.iter().enumerate() {
            let child = self.child(key, node);
            let deviate = |kind| {
                let deviation = Deviation { line: *line, path: child.path.clone(), kind };
                self.deviations.borrow_mut().push(deviation);
            };
            if map[..index].iter().any(|(earlier, ..)| earlier == key) {
                deviate(DeviationKind::Repeated);
            }
            if let Some(fields) = fields
                && !fields.contains(&key.as_str())
            {
                let meant = fields.iter().find(|field| field.eq_ignore_ascii_case(key)).copied();
                deviate(DeviationKind::Unknown { meant });
                continue;
            }
            let last = !map[index + 1..].iter().any(|(later, ..)| later == key);
            if last && node.value != Value::Null {
                counting.push((key.as_str(), child));
            }
        }
        counting
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let result = match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Signed(value) => visitor.visit_i64(*value),
            Value::Unsigned(value) => visitor.visit_u64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(value) => visitor.visit_str(value),
            Value::List(items) => {
                let readers = items.iter().enumerate().map(|(index, item)| self.item(index, item));
                visitor.visit_seq(Items(readers.collect::<Vec<_>>().into_iter()))
            }
            Value::Map(map) => visitor.visit_map(Entries::new(self.entries(map, None))),
        };
        self.place(result)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match &self.node.value {
            Value::Map(map) => {
                let result = visitor.visit_map(Entries::new(self.entries(map, Some(fields))));
                self.place(result)
            }
            // A derived struct would take a list for its fields in order.
            Value::List(_) => {
                self.place(Err(serde::de::Error::invalid_type(Unexpected::Seq, &visitor)))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Items<I>(I);

impl<'de, 'n, I: Iterator<Item = Reader<'n>>> SeqAccess<'de> for Items<I> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Misfit> {
        self.0.next().map(|reader| seed.deserialize(reader)).transpose()
    }
}

struct Entries<'n> {
    left: std::vec::IntoIter<(&'n str, Reader<'n>)>,
    value: Option<Reader<'n>>,
}

impl<'n> Entries<'n> {
    fn new(entries: Vec<(&'n str, Reader<'n>)>) -> Self {
        Self { left: entries.into_iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Misfit> {
        let Some((key, value)) = self.left.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(serde::de::value::StrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let value = self.value.take();
        seed.deserialize(
            value.ok_or_else(|| <Misfit as serde::de::Error>::custom("a value without its key"))?,
        )
    }
}
