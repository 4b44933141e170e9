//! A YAML or JSON text as a tree in which every key knows its line.
//!
//! The tree keeps what a map would lose: keys that stand twice. Values of any type can be read from
//! it (`decode`), so that a strict and a lenient reading are one and the same pass.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use serde_saphyr::options::DuplicateKeyPolicy;

/// A value, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// From 1; 0 where it is unknown.
    pub(crate) line: usize,
    pub(crate) value: Value,
}

/// What may stand in a document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the text, with the line of each key.
    Map(Vec<(String, usize, Node)>),
}

/// Why a text is no document: the line (from 1, 0 where unknown) and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadDocument {
    pub(crate) line: usize,
    pub(crate) reason: String,
}

/// Reads the first document of a text, and says whether another follows.
///
/// # Errors
/// [`BadDocument`] if it is neither YAML nor JSON.
pub(crate) fn read(text: &str) -> Result<(Node, bool), BadDocument> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        with_snippet: false,
        emit_comments: false,
    };
    let documents: Vec<Spanned<Raw>> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| BadDocument {
            line: error.location().map_or(0, |at| usize::try_from(at.line()).unwrap_or(0)),
            reason: without_location(&error.without_snippet().to_string()).to_owned(),
        })?;
    let more = documents.len() > 1;
    let first = documents.into_iter().next().map(node);
    Ok((first.unwrap_or(Node { line: 0, value: Value::Null }), more))
}

/// The parser ends its messages with the place, which is named in front already.
fn without_location(message: &str) -> &str {
    message.split(" at line ").next().unwrap_or(message)
}

fn node(raw: Spanned<Raw>) -> Node {
    let line = usize::try_from(raw.referenced.line()).unwrap_or(0);
    Node { line, value: raw.value.0 }
}

/// A value of the parser's, whose own line its owner knows.
struct Raw(Value);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any).map(Raw)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML or JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Signed(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Raw>>()? {
            list.push(node(item));
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let line = usize::try_from(key.referenced.line()).unwrap_or(0);
            let value = node(entries.next_value::<Spanned<Raw>>()?);
            // Where the parser cannot tell a key's line, its value's is the nearest.
            let line = if line == 0 { value.line } else { line };
            map.push((key.value, line, value));
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> Vec<(String, usize)> {
        match read(text).unwrap().0.value {
            Value::Map(entries) => entries.into_iter().map(|(key, line, _)| (key, line)).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn keys_know_their_lines_and_may_stand_twice() {
        let keys = map("a: 1\nb:\n  c: 2\n# comment\na: [x]\n");
        assert_eq!(keys, [("a".into(), 1), ("b".into(), 2), ("a".into(), 5)]);
    }

    #[test]
    fn json_is_read_too_even_with_tabs() {
        let keys = map("{\n\t\"a\": {\"b\": [1, 2.5, null, true, \"x\"]},\n\t\"c\": -1\n}\n");
        assert_eq!(keys, [("a".into(), 2), ("c".into(), 3)]);
    }

    #[test]
    fn the_first_document_counts_and_more_are_told() {
        assert!(!read("---\na: 1\n").unwrap().1);
        let (first, more) = read("a: 1\n---\na: 2\n").unwrap();
        assert!(more);
        assert_eq!(
            first.value,
            Value::Map(vec![("a".into(), 1, Node { line: 1, value: Value::Unsigned(1) })])
        );
        assert_eq!(read("").unwrap().0.value, Value::Null);
    }

    #[test]
    fn a_broken_text_names_its_line() {
        let error = read("a: 1\nb: [1,\nc: {").unwrap_err();
        assert!(error.line >= 2, "{error:?}");
        assert!(!error.reason.contains("line"), "{error:?}");
    }
}
