//! Which form of an answer a client wants.

use crate::ApiError;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The objects as they are.
    Plain,
    /// A `Table`.
    Table,
    /// The metadata of the objects alone.
    Metadata,
}

/// The first form of an `Accept` header that is spoken here. A client that asks for protocol
/// buffers alone gets JSON: kubectl's generators do, and read both.
///
/// # Errors
/// [`ApiError::NotAcceptable`].
pub(super) fn form(accept: &str) -> Result<Form, ApiError> {
    let mut fallback = false;
    for range in accept.split(',').map(str::trim) {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let parameter = |key: &str| {
            let mut all = range.split(';').map(str::trim);
            all.find_map(|part| part.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default()
        };
        match media {
            "application/json" | "application/*" | "*/*" | "" => match parameter("as") {
                "" => return Ok(Form::Plain),
                "Table" if parameter("v") == "v1" => return Ok(Form::Table),
                "PartialObjectMetadata" | "PartialObjectMetadataList" => return Ok(Form::Metadata),
                _ => {}
            },
            "application/vnd.kubernetes.protobuf" => fallback = true,
            _ => {}
        }
    }
    if fallback { Ok(Form::Plain) } else { Err(ApiError::NotAcceptable) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_form_counts() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,\
                     application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        for (accept, expected) in [
            ("", Form::Plain),
            ("*/*", Form::Plain),
            ("application/json", Form::Plain),
            ("application/vnd.kubernetes.protobuf,application/json", Form::Plain),
            ("application/vnd.kubernetes.protobuf", Form::Plain),
            (table, Form::Table),
            ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Form::Metadata),
        ] {
            assert_eq!(form(accept).unwrap(), expected, "{accept}");
        }
        assert_eq!(form("text/html").unwrap_err(), ApiError::NotAcceptable);
    }
}
