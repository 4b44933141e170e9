//! Label and field selectors.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde_json::Value;

use crate::object::{fields, text};
use crate::{ApiError, Resource};

/// Which objects a list or a watch is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldTerm>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    Absent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldTerm {
    /// A JSON pointer into the stored object.
    pointer: String,
    value: String,
    equal: bool,
}

impl Selector {
    /// Reads `labelSelector` and `fieldSelector` as a request carries them.
    ///
    /// # Errors
    /// [`ApiError::BadRequest`] for what is no selector, and for a field that the resource cannot
    /// be selected by.
    pub fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Self, ApiError> {
        Ok(Self { labels: requirements(labels)?, fields: terms(resource, fields)? })
    }

    /// Whether everything is selected.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether the selection holds an object.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels").unwrap_or(&Value::Null);
        let of = |key: &str| labels.get(key).and_then(Value::as_str);
        self.labels.iter().all(|requirement| requirement.matches(of(&requirement.key)))
            && self.fields.iter().all(|term| term.matches(object))
    }
}

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        match (&self.operator, value) {
            (Operator::In(set), value) => value.is_some_and(|value| set.contains(value)),
            (Operator::NotIn(set), value) => value.is_none_or(|value| !set.contains(value)),
            (Operator::Exists, value) => value.is_some(),
            (Operator::Absent, value) => value.is_none(),
        }
    }
}

impl FieldTerm {
    fn matches(&self, object: &Value) -> bool {
        let equal = match object.pointer(&self.pointer) {
            Some(Value::Bool(set)) => self.value == set.to_string(),
            _ => text(object, &self.pointer) == self.value,
        };
        equal == self.equal
    }
}

/// Whether the labels of an object satisfy a `LabelSelector` object; an empty one selects
/// everything.
#[must_use]
pub fn label_selector_matches(selector: &Value, labels: &Value) -> bool {
    let of = |key: &str| labels.get(key).and_then(Value::as_str);
    let same = fields(selector, "/matchLabels").all(|(key, value)| of(key) == value.as_str());
    let expressions = crate::object::items(selector, "/matchExpressions");
    same && expressions.iter().all(|expression| {
        let values = crate::object::texts(expression, "/values").into_iter().collect();
        let operator = match text(expression, "/operator") {
            "In" => Operator::In(values),
            "NotIn" => Operator::NotIn(values),
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::Absent,
            _ => return false,
        };
        let key = text(expression, "/key").to_owned();
        let value = of(&key);
        Requirement { key, operator }.matches(value)
    })
}

fn requirements(text: &str) -> Result<Vec<Requirement>, ApiError> {
    split(text).map(Requirement::from_str).collect()
}

/// The parts between commas that are not inside parentheses.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    let parts = text.split(move |letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

impl FromStr for Requirement {
    type Err = ApiError;

    fn from_str(part: &str) -> Result<Self, ApiError> {
        let bad = || {
            let message = format!("unable to parse requirement: found '{part}'");
            ApiError::BadRequest(message)
        };
        let one = |value: &str| BTreeSet::from([value.trim().to_owned()]);
        let (key, operator) = if let Some((key, value)) = part.split_once("!=") {
            (key, Operator::NotIn(one(value)))
        } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            (key, Operator::In(one(value)))
        } else if let Some(key) = part.strip_prefix('!') {
            (key, Operator::Absent)
        } else if let Some((head, set)) = part.split_once('(') {
            let set = set.strip_suffix(')').ok_or_else(bad)?;
            let set = set.split(',').map(|value| value.trim().to_owned()).collect();
            match head.trim().rsplit_once(char::is_whitespace).ok_or_else(bad)? {
                (key, "in") => (key, Operator::In(set)),
                (key, "notin") => (key, Operator::NotIn(set)),
                _ => return Err(bad()),
            }
        } else {
            (part, Operator::Exists)
        };
        let key = key.trim();
        let letter = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
        if key.is_empty() || !key.chars().all(letter) {
            return Err(bad());
        }
        Ok(Self { key: key.to_owned(), operator })
    }
}

fn terms(resource: &Resource, text: &str) -> Result<Vec<FieldTerm>, ApiError> {
    let term = |part: &str| {
        let (field, value, equal) = if let Some((field, value)) = part.split_once("!=") {
            (field, value, false)
        } else if let Some((field, value)) = part.split_once("==").or_else(|| part.split_once('='))
        {
            (field, value, true)
        } else {
            let message = format!("invalid selector: '{text}'; can't understand '{part}'");
            return Err(ApiError::BadRequest(message));
        };
        if !selectable(resource, field) {
            let message = format!("field label not supported: {field}");
            return Err(ApiError::BadRequest(message));
        }
        // Events of both groups are stored in the core's form.
        let field = field.replacen("regarding.", "involvedObject.", 1);
        let field = if field == "source" { "source.component" } else { &field };
        let pointer = format!("/{}", field.replace('.', "/"));
        Ok(FieldTerm { pointer, value: value.to_owned(), equal })
    };
    split(text).map(term).collect()
}

fn selectable(resource: &Resource, field: &str) -> bool {
    let own: &[&str] = match resource.kind {
        "Pod" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "Service" => &["spec.clusterIP", "spec.type"],
        "Node" => &["spec.unschedulable"],
        "Namespace" => &["status.phase"],
        "ReplicaSet" => &["status.replicas"],
        "Event" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        _ => &[],
    };
    ["metadata.name", "metadata.namespace"].contains(&field) || own.contains(&field)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::{PODS, SERVICES};

    #[test]
    fn every_form_of_a_label_selector_selects() {
        let pod = json!({"metadata": {"labels": {"app": "web", "tier": ""}}});
        for (selector, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app = db", false),
            ("app!=db", true),
            ("absent!=db", true),
            ("app in (db, web)", true),
            ("app in (db),tier", false),
            ("app notin (db)", true),
            ("absent notin (db)", true),
            ("app,tier", true),
            ("!app", false),
            ("!absent", true),
            ("tier=", true),
        ] {
            let read = Selector::parse(&PODS, selector, "").unwrap();
            assert_eq!(read.matches(&pod), expected, "{selector}");
        }
        for bad in ["app in db", "=x", "app in (a", "a b=c"] {
            Selector::parse(&PODS, bad, "").unwrap_err();
        }
    }

    #[test]
    fn fields_select_and_unknown_ones_are_refused() {
        let service = json!({"metadata": {"name": "a"}, "spec": {"clusterIP": "None"}});
        let read = |fields| Selector::parse(&SERVICES, "", fields);
        assert!(!read("spec.clusterIP!=None").unwrap().matches(&service));
        assert!(read("metadata.name=a,spec.type=").unwrap().matches(&service));
        let refused = read("spec.ports=80").unwrap_err();
        assert_eq!(refused.to_string(), "field label not supported: spec.ports");
    }

    #[test]
    fn label_selector_objects_select() {
        let labels = json!({"app": "web"});
        let expression = |operator: &str| json!({"matchExpressions": [{"key": "app", "operator": operator, "values": ["web"]}]});
        assert!(label_selector_matches(&json!({}), &labels));
        assert!(label_selector_matches(&json!({"matchLabels": {"app": "web"}}), &labels));
        assert!(!label_selector_matches(&json!({"matchLabels": {"app": "db"}}), &Value::Null));
        assert!(label_selector_matches(&expression("In"), &labels));
        assert!(!label_selector_matches(&expression("NotIn"), &labels));
        assert!(label_selector_matches(&expression("Exists"), &labels));
        assert!(label_selector_matches(&expression("DoesNotExist"), &Value::Null));
    }
}
