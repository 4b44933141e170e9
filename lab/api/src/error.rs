//! What the API refuses, in the words of a real API server.

use serde_json::{Map, Value, json};

/// One fault of one field: an entry of `details.causes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// A machine-readable word such as `FieldValueInvalid`.
    pub reason: &'static str,
    /// What is wrong, without the field.
    pub message: String,
    /// The path of the field, such as `spec.ports[0].port`.
    pub field: String,
}

/// A refusal. Each becomes a `Status` with its HTTP code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// 404: there is no such object.
    #[error("{} {name:?} not found", qualified(resource, group))]
    NotFound {
        /// The plural of the resource.
        resource: &'static str,
        /// The API group, empty for the core.
        group: &'static str,
        /// The object's name.
        name: String,
    },
    /// 404: the path names no resource that is served.
    #[error("the server could not find the requested resource")]
    NoSuchResource,
    /// 409: the name is taken.
    #[error("{} {name:?} already exists", qualified(resource, group))]
    AlreadyExists {
        /// The plural of the resource.
        resource: &'static str,
        /// The API group.
        group: &'static str,
        /// The object's name.
        name: String,
    },
    /// 409: somebody else wrote meanwhile, or a precondition does not hold.
    #[error("Operation cannot be fulfilled on {} {name:?}: {cause}", qualified(resource, group))]
    Conflict {
        /// The plural of the resource.
        resource: &'static str,
        /// The API group.
        group: &'static str,
        /// The object's name.
        name: String,
        /// What does not hold.
        cause: String,
    },
    /// 409: server-side apply would take fields from other managers.
    #[error("{message}")]
    ApplyConflict {
        /// How many conflicts with whom.
        message: String,
        /// The fields.
        causes: Vec<Cause>,
    },
    /// 422: the object breaks the rules of its kind.
    #[error("{}", invalid(kind, name, causes))]
    Invalid {
        /// The kind, or nothing where the request itself is at fault.
        kind: &'static str,
        /// The API group.
        group: &'static str,
        /// The object's name.
        name: String,
        /// What is wrong, field by field.
        causes: Vec<Cause>,
    },
    /// 422: a patch that does not apply.
    #[error("the server rejected our request due to an error in our request")]
    PatchRefused {
        /// The kind.
        kind: &'static str,
        /// The object's name.
        name: String,
        /// Why, for the log.
        cause: String,
    },
    /// 403: allowed to nobody.
    #[error("{} {name:?} is forbidden: {cause}", qualified(resource, group))]
    Forbidden {
        /// The plural of the resource.
        resource: &'static str,
        /// The API group.
        group: &'static str,
        /// The object's name.
        name: String,
        /// Why.
        cause: String,
        /// The namespace that is going away, if that is why.
        terminating: Option<String>,
    },
    /// 400: the request cannot be understood.
    #[error("{0}")]
    BadRequest(String),
    /// 405: the resource knows no such verb.
    #[error("the server does not allow this method on the requested resource")]
    MethodNotAllowed,
    /// 406: none of the accepted content types is spoken here.
    #[error("only the following media types are accepted: application/json")]
    NotAcceptable,
    /// 415: the body is of a type that is not spoken here.
    #[error("the body of the request was in an unknown format - accepted media types include: {0}")]
    UnsupportedMediaType(String),
    /// 410: the history does not reach back so far.
    #[error("{message}")]
    Expired {
        /// What was asked for, and from where on there is history.
        message: String,
        /// A fresh `continue` token, if a list ran into this.
        fresh: Option<String>,
    },
    /// 504: a resourceVersion that does not exist yet.
    #[error("Timeout: Too large resource version: {asked}, current: {current}")]
    TooLargeResourceVersion {
        /// What was asked for.
        asked: u64,
        /// What there is.
        current: u64,
    },
    /// 500: nothing that the client can mend.
    #[error("Internal error occurred: {0}")]
    Internal(String),
}

fn qualified(resource: &str, group: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

fn invalid(kind: &str, name: &str, causes: &[Cause]) -> String {
    let line = |cause: &Cause| format!("{}: {}", cause.field, cause.message);
    let lines: Vec<_> = causes.iter().map(line).collect();
    let lines = match &lines[..] {
        [line] => line.clone(),
        lines => format!("[{}]", lines.join(", ")),
    };
    format!("{kind} {name:?} is invalid: {lines}")
}

impl ApiError {
    /// The HTTP status.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::Forbidden { .. } => 403,
            Self::NotFound { .. } | Self::NoSuchResource => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::AlreadyExists { .. } | Self::Conflict { .. } | Self::ApplyConflict { .. } => 409,
            Self::Expired { .. } => 410,
            Self::UnsupportedMediaType(_) => 415,
            Self::Invalid { .. } | Self::PatchRefused { .. } => 422,
            Self::Internal(_) => 500,
            Self::TooLargeResourceVersion { .. } => 504,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NotFound { .. } | Self::NoSuchResource => "NotFound",
            Self::AlreadyExists { .. } => "AlreadyExists",
            Self::Conflict { .. } | Self::ApplyConflict { .. } => "Conflict",
            Self::Invalid { .. } | Self::PatchRefused { .. } => "Invalid",
            Self::Forbidden { .. } => "Forbidden",
            Self::BadRequest(_) => "BadRequest",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::UnsupportedMediaType(_) => "UnsupportedMediaType",
            Self::Expired { .. } => "Expired",
            Self::TooLargeResourceVersion { .. } => "Timeout",
            Self::Internal(_) => "InternalError",
        }
    }

    /// The `Status` that the client gets.
    #[must_use]
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.to_string(), "reason": self.reason(), "code": self.code(),
        });
        if let Some(details) = self.details() {
            status["details"] = details;
        }
        if let Self::Expired { fresh: Some(token), .. } = self {
            status["metadata"] = json!({"continue": token});
        }
        status
    }

    fn details(&self) -> Option<Value> {
        let (name, group, kind, causes) = match self {
            Self::NotFound { resource, group, name }
            | Self::AlreadyExists { resource, group, name }
            | Self::Conflict { resource, group, name, .. } => {
                (&name[..], *group, *resource, vec![])
            }
            Self::Forbidden { resource, group, name, terminating, .. } => {
                let cause = terminating.iter().map(|namespace| Cause {
                    reason: "NamespaceTerminating",
                    message: format!("namespace {namespace} is being terminated"),
                    field: "metadata.namespace".to_owned(),
                });
                (&name[..], *group, *resource, cause.collect())
            }
            Self::Invalid { kind, group, name, causes } => {
                (&name[..], *group, *kind, causes.clone())
            }
            Self::ApplyConflict { causes, .. } => ("", "", "", causes.clone()),
            Self::PatchRefused { kind, name, .. } => (&name[..], "", *kind, vec![]),
            Self::TooLargeResourceVersion { .. } => {
                let message = "Too large resource version".to_owned();
                let cause =
                    Cause { reason: "ResourceVersionTooLarge", message, field: String::new() };
                ("", "", "", vec![cause])
            }
            _ => return None,
        };
        let mut details = Map::new();
        for (key, text) in [("name", name), ("group", group), ("kind", kind)] {
            if !text.is_empty() {
                details.insert(key.to_owned(), text.into());
            }
        }
        if matches!(self, Self::TooLargeResourceVersion { .. }) {
            details.insert("retryAfterSeconds".to_owned(), 1.into());
        }
        if !causes.is_empty() {
            details.insert("causes".to_owned(), causes.iter().map(Cause::json).collect());
        }
        Some(Value::Object(details))
    }
}

impl Cause {
    fn json(&self) -> Value {
        let mut cause = json!({"reason": self.reason, "message": self.message});
        if !self.field.is_empty() {
            cause["field"] = self.field.clone().into();
        }
        cause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(name: &str) -> Value {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../pipeline/intake/tests/recordings");
        serde_json::from_str(&std::fs::read_to_string(format!("{folder}/{name}")).unwrap()).unwrap()
    }

    #[test]
    fn refusals_are_those_of_a_real_server() {
        let name = "absent".to_owned();
        let error = ApiError::NotFound { resource: "nodes", group: "", name };
        assert_eq!(error.status(), recorded("status-404.json"));
        let name = "dns".to_owned();
        let error = ApiError::AlreadyExists { resource: "services", group: "", name };
        assert_eq!(error.status(), recorded("status-409.json"));
    }

    #[test]
    fn a_group_is_named_and_a_single_cause_stands_alone() {
        let (resource, group) = ("deployments", "apps");
        let error = ApiError::NotFound { resource, group, name: "absent".to_owned() };
        assert_eq!(error.to_string(), "deployments.apps \"absent\" not found");
        let message = "Required value".to_owned();
        let cause = Cause { reason: "FieldValueRequired", message, field: "spec.ports".to_owned() };
        let name = "a".to_owned();
        let error = ApiError::Invalid { kind: "Service", group: "", name, causes: vec![cause] };
        assert_eq!(error.to_string(), "Service \"a\" is invalid: spec.ports: Required value");
    }
}
