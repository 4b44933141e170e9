//! As much of JSONPath as kubeconfigs use: `$.credential.access_token`.
//!
//! The client library asks for a path in one place: where a user of a kubeconfig has an
//! `auth-provider` with a command, which kubectl has not known since 1.26. The crate that it names for
//! that brings the whole of RFC 9535, a parser generator and regular expressions, half a megabyte on
//! every node. This one has its name and the one method that is called.

use std::fmt;

use serde_json::Value;

/// A path that is more than names and dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported(String);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: only names after dots are understood, such as $.token.value", self.0)
    }
}

impl std::error::Error for Unsupported {}

/// Finds values by a path.
pub trait JsonPath {
    /// The value at a path, or nothing.
    ///
    /// # Errors
    /// [`Unsupported`] for anything but names after dots.
    fn query(&self, path: &str) -> Result<Vec<&Value>, Unsupported>;
}

impl JsonPath for Value {
    fn query(&self, path: &str) -> Result<Vec<&Value>, Unsupported> {
        let unsupported = || Unsupported(path.into());
        let names = path.strip_prefix("$.").ok_or_else(unsupported)?;
        let mut at = Some(self);
        for name in names.split('.') {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/".contains(&byte);
            if name.is_empty() || !name.bytes().all(plain) {
                return Err(unsupported());
            }
            at = at.and_then(|value| value.get(name));
        }
        Ok(at.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_lead_to_a_value_and_nothing_else_is_understood() {
        let value = json!({"credential": {"access_token": "t", "list": [1]}});
        assert_eq!(value.query("$.credential.access_token"), Ok(vec![&json!("t")]));
        assert_eq!(value.query("$.credential.other.more"), Ok(vec![]));
        for path in ["$", "$.", "credential", "$.a[0]", "$..a", "$.*", "$.a b"] {
            let error = value.query(path).unwrap_err();
            assert!(error.to_string().contains(path), "{error}");
        }
    }
}
