//! A field that may hold anything: what has the right type is kept, what has not is remembered as
//! text, and the rest of the object is read on.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The longest piece of a wrong value that is repeated to the reader, in characters.
const SHOWN: usize = 80;

/// One field of an API object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Field<T> {
    /// Not there, or `null`.
    #[default]
    Absent,
    /// There, but of another type; holds a short, printable form of the value.
    Wrong(String),
    /// The value.
    Is(T),
}

impl<T> Field<T> {
    /// The value, if it is there and of the right type.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        match self {
            Field::Is(value) => Some(value),
            Field::Absent | Field::Wrong(_) => None,
        }
    }

    /// The value by move, if it is there and of the right type.
    #[must_use]
    pub fn into_option(self) -> Option<T> {
        match self {
            Field::Is(value) => Some(value),
            Field::Absent | Field::Wrong(_) => None,
        }
    }
}

impl Field<String> {
    /// The text; empty where there is none.
    #[must_use]
    pub fn text(&self) -> &str {
        self.get().map_or("", String::as_str)
    }
}

impl<T> Field<Vec<T>> {
    /// The entries; empty where there is no list.
    #[must_use]
    pub fn items(&self) -> &[T] {
        self.get().map_or(&[], Vec::as_slice)
    }
}

impl<T> From<T> for Field<T> {
    fn from(value: T) -> Self {
        Field::Is(value)
    }
}

/// What a field's type is called when a value does not fit it.
pub trait Expected {
    /// Such as `a text`.
    const WHAT: &'static str;
    /// Whether the type is read from a JSON list. (Derived readers of objects would also take a
    /// list, field by field, which no API means.)
    const IS_LIST: bool = false;
}

impl Expected for String {
    const WHAT: &'static str = "a text";
}

impl Expected for i64 {
    const WHAT: &'static str = "a whole number";
}

impl Expected for bool {
    const WHAT: &'static str = "true or false";
}

impl<T> Expected for Vec<T> {
    const WHAT: &'static str = "a list";
    const IS_LIST: bool = true;
}

impl<T> Expected for BTreeMap<String, T> {
    const WHAT: &'static str = "an object";
}

/// Declares structs as read from JSON objects.
macro_rules! objects {
    ($($object:ty),* $(,)?) => {
        $(impl $crate::wire::Expected for $object {
            const WHAT: &'static str = "an object";
        })*
    };
}
pub(crate) use objects;

impl<'de, T: Deserialize<'de> + Expected> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Lenient(PhantomData))
    }
}

struct Lenient<T>(PhantomData<T>);

impl<T> Lenient<T> {
    /// Reads a scalar, or keeps its printable form.
    fn scalar<'de, V, E>(value: V, shown: impl FnOnce() -> String) -> Result<Field<T>, E>
    where
        T: Deserialize<'de>,
        V: IntoDeserializer<'de, serde::de::value::Error>,
        E: Error,
    {
        Ok(T::deserialize(value.into_deserializer())
            .map_or_else(|_| Field::Wrong(shown()), Field::Is))
    }
}

impl<'de, T: Deserialize<'de> + Expected> Visitor<'de> for Lenient<T> {
    type Value = Field<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WHAT)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Self::scalar(value, || value.to_string())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Self::scalar(value, || value.to_string())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Self::scalar(value, || value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Self::scalar(value, || value.to_string())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Self::scalar(value, || shown(value))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Self::Value, E> {
        // Not `scalar`, which would copy: texts are the bulk of every list.
        match T::deserialize(IntoDeserializer::<serde::de::value::Error>::into_deserializer(
            value.as_str(),
        )) {
            Ok(read) => Ok(Field::Is(read)),
            Err(_) => Ok(Field::Wrong(shown(&value))),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Field::Absent)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Field::Absent)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        Field::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        if T::IS_LIST
            && let Ok(read) = T::deserialize(SeqAccessDeserializer::new(&mut list))
        {
            return Ok(Field::Is(read));
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Wrong("a list".into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        if let Ok(read) = T::deserialize(MapAccessDeserializer::new(&mut map)) {
            return Ok(Field::Is(read));
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Wrong("an object".into()))
    }
}

/// A text as it is repeated to the reader: quoted, on one line, not too long.
pub(crate) fn shown(text: &str) -> String {
    if text.chars().nth(SHOWN).is_none() {
        return format!("{text:?}");
    }
    let short: String = text.chars().take(SHOWN).collect();
    format!("{short:?}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Inner {
        number: Field<i64>,
        text: Field<String>,
    }
    objects!(Inner);

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Outer {
        inner: Field<Inner>,
        list: Field<Vec<Field<bool>>>,
        map: Field<BTreeMap<String, Field<String>>>,
    }
    objects!(Outer);

    fn read(json: &str) -> Outer {
        serde_json::from_str::<Field<Outer>>(json).unwrap().into_option().unwrap()
    }

    #[test]
    fn right_types_are_kept() {
        let outer = read(
            r#"{"inner":{"number":3,"text":"a"},"list":[true,false],"map":{"k":"v"},"other":[1]}"#,
        );
        assert_eq!(outer.inner, Field::Is(Inner { number: 3.into(), text: "a".to_owned().into() }));
        assert_eq!(outer.list.items(), [Field::Is(true), Field::Is(false)]);
        assert_eq!(outer.map.get().unwrap()["k"].text(), "v");
    }

    #[test]
    fn a_wrong_type_costs_its_field_alone() {
        let outer = read(r#"{"inner":{"number":"x","text":4.5},"list":[true,"no",null,[1,[2]]]}"#);
        let inner = outer.inner.get().unwrap();
        assert_eq!(inner.number, Field::Wrong("\"x\"".into()));
        assert_eq!(inner.text, Field::Wrong("4.5".into()));
        assert_eq!(
            outer.list.items(),
            [
                Field::Is(true),
                Field::Wrong("\"no\"".into()),
                Field::Absent,
                Field::Wrong("a list".into())
            ]
        );
        let outer = read(r#"{"inner":[1,"a"],"list":{"a":{"b":[]}},"map":7}"#);
        assert_eq!(outer.inner, Field::Wrong("a list".into()));
        assert_eq!(outer.list, Field::Wrong("an object".into()));
        assert_eq!(outer.map, Field::Wrong("7".into()));
        assert_eq!(read(r#"{"inner":null,"list":null}"#), Outer::default());
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        assert!(serde_json::from_str::<Field<Outer>>(r#"{"inner":{"number":}"#).is_err());
        assert!(serde_json::from_str::<Field<Outer>>(r#"{"list":[1,"#).is_err());
    }

    #[test]
    fn a_long_text_is_cut() {
        let long = "é".repeat(300);
        assert_eq!(shown(&long).chars().count(), SHOWN + 3);
        assert_eq!(shown("a\nb"), r#""a\nb""#);
    }
}
