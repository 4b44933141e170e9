//! Documents: a manifest file cut into the pieces that stand or fall alone, and the objects in them.
//!
//! YAML is cut at its document markers before it is parsed, so that a broken document does not take
//! its neighbours with it. A value is then read as `kubectl` reads it: YAML to plain JSON values,
//! and those to the typed object.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use serde_saphyr::Error as YamlError;

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file's path, from the folder on.
    pub file: Arc<str>,
    /// The document's number within the file, from 1; documents without content do not count.
    pub document: usize,
    /// The line within the file, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    /// `file:line`, and the document's number where it is not the first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        if self.document > 1 { write!(f, " (document {})", self.document) } else { Ok(()) }
    }
}

/// What is wrong with a document, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) place: Place,
    /// What was expected and what was found.
    pub(super) message: String,
}

/// One object of a document, not yet typed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Object {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) value: Value,
    pub(super) place: Place,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Yaml,
    Json,
}

/// What a file holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    pub(super) objects: Vec<Object>,
    pub(super) faults: Vec<Fault>,
}

/// Reads all objects of a file, and what is wrong with the documents that give none.
pub(super) fn read(file: &Arc<str>, format: Format, bytes: &[u8]) -> Found {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut found = Found::default();
    match format {
        Format::Yaml => {
            for document in split(bytes) {
                if let Err(fault) = document.read(file, &mut found) {
                    found.faults.push(fault);
                }
            }
        }
        Format::Json => read_json(file, bytes, &mut found),
    }
    found
}

/// A JSON file may hold several values one after the other. Behind a broken one nothing can be told
/// apart, so it ends the file.
fn read_json(file: &Arc<str>, bytes: &[u8], found: &mut Found) {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
    let mut document = 0;
    loop {
        let start = values.byte_offset();
        let blank = bytes[start..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let Some(value) = values.next() else { return };
        document += 1;
        let line = line_at(bytes, start + blank);
        let place = Place { file: file.clone(), document, line };
        match value {
            Ok(value) => {
                let text = &bytes[start..values.byte_offset()];
                let shift = line_at(bytes, start) - 1;
                let lines = std::str::from_utf8(text).map(json_item_lines).unwrap_or_default();
                let lines: Vec<_> = lines.into_iter().map(|line| line + shift).collect();
                found.take(value, place, &lines);
            }
            Err(error) => {
                let line = error.line().max(1);
                let message = format!(
                    "expected JSON, found {} ({})",
                    quoted(bytes, line),
                    without_location(&error.to_string())
                );
                found.faults.push(Fault { place: Place { line, ..place }, message });
                return;
            }
        }
    }
}

/// A piece of YAML between two document markers.
#[derive(Debug, PartialEq, Eq)]
struct Document<'b> {
    number: usize,
    /// The file's line that the piece starts on, from 1.
    first_line: usize,
    bytes: &'b [u8],
}

/// Cuts a YAML stream at its markers `---` and `...`, which no content may contain at the start of a
/// line (YAML 1.2.2, 9.1.2). Pieces of comments, directives and blanks alone are left out.
fn split(bytes: &[u8]) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut first_line) = (0, 1);
    let mut put = |start: usize, end: usize, first_line| {
        let piece = &bytes[start..end];
        if first_content(piece).is_some() {
            documents.push(Document { number: documents.len() + 1, first_line, bytes: piece });
        }
    };
    let mut offset = 0;
    for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let next = offset + line.len();
        if is_marker(line, b"---") {
            put(start, offset, first_line);
            (start, first_line) = (offset, index + 1);
        } else if is_marker(line, b"...") {
            put(start, offset, first_line);
            (start, first_line) = (next, index + 2);
        }
        offset = next;
    }
    put(start, bytes.len(), first_line);
    documents
}

fn is_marker(line: &[u8], marker: &[u8]) -> bool {
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.first().is_none_or(|byte| byte.is_ascii_whitespace()))
}

/// The index of the first line that holds content.
fn first_content(piece: &[u8]) -> Option<usize> {
    piece.split(|&byte| byte == b'\n').position(|line| {
        let rest = if is_marker(line, b"---") { &line[3..] } else { line };
        let content = rest.trim_ascii();
        !(content.is_empty() || content.starts_with(b"#") || line.starts_with(b"%"))
    })
}

impl Document<'_> {
    fn read(&self, file: &Arc<str>, found: &mut Found) -> Result<(), Fault> {
        let content = self.first_line + first_content(self.bytes).unwrap_or_default();
        let place = Place { file: file.clone(), document: self.number, line: content };
        let text = std::str::from_utf8(self.bytes).map_err(|error| {
            let bad = error.valid_up_to();
            let line = self.first_line + line_at(self.bytes, bad) - 1;
            let found = self.bytes.get(bad).copied().unwrap_or_default();
            let message = format!("expected UTF-8 text, found the byte 0x{found:02x}");
            Fault { place: Place { line, ..place.clone() }, message }
        })?;
        let value = yaml(text).map_err(|error| self.fault(&error, &place))?;
        let lines = value.get("items").map(|_| yaml_item_lines(text)).unwrap_or_default();
        let lines: Vec<_> = lines.into_iter().map(|line| line + self.first_line - 1).collect();
        found.take(value, place, &lines);
        Ok(())
    }

    fn fault(&self, error: &YamlError, place: &Place) -> Fault {
        let known = error.location().map(|at| usize::try_from(at.line()).unwrap_or(0));
        let inner = known.filter(|&line| line > 0);
        let line = inner.map_or(place.line, |line| self.first_line + line - 1);
        let found = quoted(self.bytes, inner.unwrap_or(place.line + 1 - self.first_line));
        let message = match error.without_snippet() {
            YamlError::DuplicateMappingKey { key, .. } => {
                let key = key.as_deref().unwrap_or("a key");
                format!("expected each key once, found {key} a second time in {found}")
            }
            other => {
                let reason = without_location(&other.to_string());
                format!("expected YAML, found {found} ({reason})")
            }
        };
        Fault { place: Place { line, ..place.clone() }, message }
    }
}

/// One YAML document as a plain value.
pub(crate) fn yaml(text: &str) -> Result<Value, YamlError> {
    serde_saphyr::from_str_with_options(text, options(text.len()))
}

/// The limits of the parser, in keeping with the size of the text: a list of a big cluster is long,
/// and aliases may not blow up a small one.
fn options(length: usize) -> serde_saphyr::Options {
    let roomy = length.saturating_mul(4).max(100_000);
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: roomy, max_events: roomy },
        with_snippet: false,
        emit_comments: false,
        reject_non_finite_typeless_float: false,
    }
}

/// The lines on which the entries of `items` start in JSON, from 1; empty where they cannot be told.
fn json_item_lines(text: &str) -> Vec<usize> {
    #[derive(Deserialize)]
    struct Items<'t> {
        #[serde(borrow, default)]
        items: Vec<&'t RawValue>,
    }
    let list = serde_json::from_str::<Items<'_>>(text);
    let items = list.map_or_else(|_| Vec::new(), |list| list.items);
    // Each entry is a piece of the text.
    let offset = |item: &&RawValue| item.get().as_ptr().addr() - text.as_ptr().addr();
    items.iter().map(|item| line_at(text.as_bytes(), offset(item))).collect()
}

/// The same for YAML in block style, as lists are written; in flow style they cannot be told.
fn yaml_item_lines(text: &str) -> Vec<usize> {
    let mut lines = (1..).zip(text.lines());
    if !lines.any(|(_, line)| line.strip_prefix("items:").is_some_and(is_blank_or_comment)) {
        return Vec::new();
    }
    let content = lines.filter(|(_, line)| !is_blank_or_comment(line));
    let indented = content.map(|(number, line)| {
        let rest = line.trim_start_matches(' ');
        (number, line.len() - rest.len(), rest)
    });
    let is_entry = |rest: &str| rest == "-" || rest.starts_with("- ");
    let mut depth = None;
    let entries = indented.map_while(|(number, indent, rest)| {
        let of_items = *depth.get_or_insert(indent);
        let entry = is_entry(rest) && indent == of_items;
        // Another key of the list ends it.
        (entry || indent > of_items).then_some((number, entry))
    });
    entries.filter(|(_, entry)| *entry).map(|(number, _)| number).collect()
}

fn is_blank_or_comment(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || text.starts_with('#')
}

impl Found {
    /// Takes in the objects of a document: itself, or the entries of a list, whose kind and version
    /// may be implied by the list's own (a ServiceList holds Services).
    fn take(&mut self, value: Value, place: Place, item_lines: &[usize]) {
        let (api_version, kind) = match type_of(&value) {
            Ok(Some(known)) => known,
            Ok(None) => return,
            Err(message) => return self.faults.push(Fault { place, message }),
        };
        match (kind.strip_suffix("List"), value) {
            (Some(item_kind), Value::Object(mut list)) if list.contains_key("items") => {
                match list.remove("items") {
                    Some(Value::Array(items)) => {
                        self.take_items(items, (item_kind, &api_version), &place, item_lines);
                    }
                    Some(Value::Null) | None => {}
                    Some(other) => {
                        let message = format!("expected a list of objects in items, found {other}");
                        self.faults.push(Fault { place, message });
                    }
                }
            }
            (_, value) => self.objects.push(Object { api_version, kind, value, place }),
        }
    }

    fn take_items(
        &mut self,
        items: Vec<Value>,
        (kind, api_version): (&str, &str),
        place: &Place,
        lines: &[usize],
    ) {
        for (index, mut item) in items.into_iter().enumerate() {
            let line = lines.get(index).copied().unwrap_or(place.line);
            if let (false, Value::Object(fields)) = (kind.is_empty(), &mut item) {
                fields.entry("kind").or_insert_with(|| kind.into());
                fields.entry("apiVersion").or_insert_with(|| api_version.into());
            }
            self.take(item, Place { line, ..place.clone() }, &[]);
        }
    }
}

/// `apiVersion` and `kind` of an object; nothing for a document that says nothing.
fn type_of(value: &Value) -> Result<Option<(String, String)>, String> {
    match value {
        Value::Null => return Ok(None),
        Value::Object(_) => {}
        other => {
            let found = crate::wire::shown(&other.to_string());
            return Err(format!("expected an object with apiVersion and kind, found {found}"));
        }
    }
    let text = |field: &str, example: &str| match value.get(field) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        other => {
            let found = other.map_or("none".into(), |value| crate::wire::shown(&value.to_string()));
            Err(format!("expected the field {field} with a text such as {example}, found {found}"))
        }
    };
    let kind = text("kind", "Service")?;
    Ok(Some((text("apiVersion", "v1")?, kind)))
}

fn line_at(bytes: &[u8], offset: usize) -> usize {
    1 + bytes[..offset.min(bytes.len())].iter().filter(|&&byte| byte == b'\n').count()
}

/// A line as it is repeated to the reader.
fn quoted(bytes: &[u8], line: usize) -> String {
    let line = bytes.split(|&byte| byte == b'\n').nth(line.saturating_sub(1));
    let text = String::from_utf8_lossy(line.unwrap_or_default().trim_ascii()).into_owned();
    if text.is_empty() { "the end of the document".into() } else { crate::wire::shown(&text) }
}

/// A parser's message without the location, which is said elsewhere and in the file's own lines.
fn without_location(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let cut = [" at line ", " at byte "].iter().filter_map(|word| line.find(word)).min();
    line[..cut.unwrap_or(line.len())].trim_end_matches([',', ' ']).to_owned()
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
