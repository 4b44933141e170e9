//! Reading fields, and writing down what could not be read.

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::sync::Arc;

use model::{Cidr, NamespacedName, Notice, ObjectRef, Protocol, Reason, parse_cidr, parse_ip};

use super::Names;
use crate::wire::{Expected, Field, Metadata, shown};

/// The namespace of a manifest that names none, as for `kubectl apply` without a context of its
/// own. The API server always names it.
const DEFAULT_NAMESPACE: &str = "default";

/// What a port number must be.
pub(super) const PORT: &str = "a port number from 1 to 65535";

/// One object's notices.
pub(super) struct Notes {
    object: ObjectRef,
    pub(super) list: Vec<Notice>,
}

impl Notes {
    pub(super) fn add(&mut self, reason: Reason, message: impl Into<String>) {
        self.list.push(Notice { object: self.object.clone(), reason, message: message.into() });
    }

    /// A field holds what it must not hold.
    pub(super) fn invalid(
        &mut self,
        field: impl Display,
        value: impl Display,
        expected: impl Display,
        follows: impl Display,
    ) {
        let message = format!("{field} is {value}: expected {expected}; {follows}");
        self.add(Reason::InvalidField, message);
    }

    /// The value of a field, if it has its type; a wrong type is noted.
    pub(super) fn get<'a, T: Expected>(
        &mut self,
        value: &'a Field<T>,
        field: impl Display,
        follows: impl Display,
    ) -> Option<&'a T> {
        if let Field::Wrong(shown) = value {
            self.invalid(field, shown, T::WHAT, follows);
        }
        value.get()
    }

    /// The text of a field; empty where there is none.
    pub(super) fn text<'a>(
        &mut self,
        value: &'a Field<String>,
        field: impl Display,
        follows: impl Display,
    ) -> &'a str {
        self.get(value, field, follows).map_or("", String::as_str)
    }

    /// The entries of a list that have their type, with their index; the others are noted.
    pub(super) fn items<'a, T: Expected>(
        &mut self,
        list: &'a Field<Vec<Field<T>>>,
        field: &str,
        follows: &str,
    ) -> Vec<(usize, &'a T)> {
        let Some(list) = self.get(list, field, format_args!("the list counts as empty")) else {
            return Vec::new();
        };
        let mut items = Vec::with_capacity(list.len());
        for (index, item) in list.iter().enumerate() {
            match item {
                Field::Is(item) => items.push((index, item)),
                Field::Wrong(value) => {
                    self.invalid(Entry(field, index), value, T::WHAT, follows);
                }
                Field::Absent => self.invalid(Entry(field, index), "null", T::WHAT, follows),
            }
        }
        items
    }

    /// An address. Empty is nothing, silently; what cannot be read is noted.
    pub(super) fn ip(
        &mut self,
        text: &str,
        field: impl Display,
        follows: impl Display,
    ) -> Option<IpAddr> {
        if text.trim().is_empty() {
            return None;
        }
        let read = parse_ip(text);
        if read.is_err() {
            self.invalid(field, shown(text), "an IP address", follows);
        }
        read.ok()
    }

    /// The addresses of a list, in order.
    pub(super) fn ips(
        &mut self,
        list: &Field<Vec<Field<String>>>,
        field: &str,
        follows: &str,
    ) -> Vec<IpAddr> {
        let items = self.items(list, field, follows);
        items.into_iter().filter_map(|(i, text)| self.ip(text, Entry(field, i), follows)).collect()
    }

    /// The address blocks of a list, in order.
    pub(super) fn cidrs(
        &mut self,
        list: &Field<Vec<Field<String>>>,
        field: &str,
        follows: &str,
    ) -> Vec<Cidr> {
        let items = self.items(list, field, follows);
        items
            .into_iter()
            .filter_map(|(i, text)| self.cidr(text, Entry(field, i), follows))
            .collect()
    }

    /// An address block. Empty is nothing, silently; what cannot be read is noted.
    pub(super) fn cidr(
        &mut self,
        text: &str,
        field: impl Display,
        follows: impl Display,
    ) -> Option<Cidr> {
        if text.trim().is_empty() {
            return None;
        }
        let read = parse_cidr(text);
        if read.is_err() {
            let expected = "an address block such as 10.0.0.0/8 or fd00::/64";
            self.invalid(field, shown(text), expected, follows);
        }
        read.ok()
    }

    /// A port number, where 0 and absence mean that there is none.
    pub(super) fn optional_port(
        &mut self,
        value: &Field<i64>,
        field: impl Display + Copy,
        follows: &str,
    ) -> Option<u16> {
        let number = *self.get(value, field, follows)?;
        let port = u16::try_from(number);
        if port.is_err() {
            self.invalid(field, number, PORT, follows);
        }
        port.ok().filter(|&port| port != 0)
    }

    /// A protocol: TCP where nothing is said.
    pub(super) fn protocol(
        &mut self,
        value: &Field<String>,
        field: impl Display + Copy,
        follows: &str,
    ) -> Option<Protocol> {
        let text = match value {
            Field::Absent => return Some(Protocol::Tcp),
            value => self.get(value, field, follows)?,
        };
        if text.is_empty() {
            return Some(Protocol::Tcp);
        }
        // The API knows the upper-case words alone.
        let read = Protocol::ALL.into_iter().find(|protocol| protocol.to_string() == *text);
        if read.is_none() {
            self.invalid(field, shown(text), "TCP, UDP or SCTP", follows);
        }
        read
    }

    /// A text that is kept as it is, where there is one.
    pub(super) fn optional_text(
        &mut self,
        value: &Field<String>,
        field: impl Display,
        follows: impl Display,
    ) -> Option<Arc<str>> {
        let text = self.text(value, field, follows);
        (!text.is_empty()).then(|| text.into())
    }

    /// As [`Notes::optional_text`], for texts that many objects share.
    pub(super) fn optional_name(
        &mut self,
        value: &Field<String>,
        field: impl Display,
        follows: impl Display,
        names: &mut Names,
    ) -> Option<Arc<str>> {
        let text = self.text(value, field, follows);
        (!text.is_empty()).then(|| names.intern(text))
    }
}

/// `field[index]`.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a>(pub(super) &'a str, pub(super) usize);

impl Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.0, self.1)
    }
}

/// `field[index].part`.
#[derive(Clone, Copy)]
pub(super) struct Part<'a>(pub(super) &'a str, pub(super) usize, pub(super) &'a str);

impl Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}].{}", self.0, self.1, self.2)
    }
}

/// The name of a namespaced object, and where its notices go.
///
/// # Errors
/// The notice that says why the object cannot be named.
pub(super) fn namespaced(
    kind: &'static str,
    metadata: &Field<Metadata>,
    names: &mut Names,
) -> Result<(NamespacedName, Notes), Vec<Notice>> {
    let (name, namespace) = match metadata.get() {
        Some(metadata) => (metadata.name.text(), &metadata.namespace),
        None => ("", &Field::Absent),
    };
    if name.is_empty() {
        return Err(unnamed(kind, metadata, namespace.text()));
    }
    let namespace = match namespace {
        Field::Wrong(value) => {
            let mut notes = Notes { object: ObjectRef::new(kind, name), list: Vec::new() };
            let follows = "the object is left out";
            notes.invalid("metadata.namespace", value, String::WHAT, follows);
            return Err(notes.list);
        }
        Field::Is(namespace) if !namespace.is_empty() => namespace,
        _ => DEFAULT_NAMESPACE,
    };
    let name = NamespacedName::new(names.intern(namespace), name);
    let object = ObjectRef::new(kind, &name);
    Ok((name, Notes { object, list: Vec::new() }))
}

/// The name of a cluster-scoped object, and where its notices go.
///
/// # Errors
/// The notice that says why the object cannot be named.
pub(super) fn cluster_scoped(
    kind: &'static str,
    metadata: &Field<Metadata>,
    names: &mut Names,
) -> Result<(Arc<str>, Notes), Vec<Notice>> {
    match metadata.get().map(|metadata| metadata.name.text()) {
        None | Some("") => Err(unnamed(kind, metadata, "")),
        Some(name) => {
            Ok((names.intern(name), Notes { object: ObjectRef::new(kind, name), list: Vec::new() }))
        }
    }
}

fn unnamed(kind: &'static str, metadata: &Field<Metadata>, namespace: &str) -> Vec<Notice> {
    let slash = if namespace.is_empty() { "" } else { "/" };
    let object = ObjectRef::new(kind, format_args!("{namespace}{slash}(without a name)"));
    let mut notes = Notes { object, list: Vec::new() };
    let value = match metadata {
        Field::Absent => "missing",
        Field::Wrong(value) => value,
        Field::Is(metadata) => match &metadata.name {
            Field::Wrong(value) => value,
            _ => "missing",
        },
    };
    notes.invalid("metadata.name", value, "a name", "the object is left out");
    notes.list
}
