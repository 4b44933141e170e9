//! Answers.

use std::convert::Infallible;

use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::Response;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::ApiError;

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;
pub(super) type Answer = Response<Body>;

/// Bytes of a type.
pub(super) fn bytes(code: u16, content_type: &str, bytes: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(bytes.into()).boxed_unsync());
    *answer.status_mut() = hyper::StatusCode::from_u16(code).unwrap_or_default();
    if let Ok(value) = HeaderValue::from_str(content_type) {
        answer.headers_mut().insert(CONTENT_TYPE, value);
    }
    answer
}

/// JSON, ended by a line end as a real server does.
pub(super) fn json(code: u16, value: &Value) -> Answer {
    let mut text = value.to_string();
    text.push('\n');
    bytes(code, "application/json", text)
}

/// A refusal as a `Status`.
pub(super) fn refusal(error: &ApiError) -> Answer {
    json(error.code(), &error.status())
}

/// A path that leads nowhere.
pub(super) fn nowhere() -> Answer {
    bytes(404, "text/plain; charset=utf-8", "404 page not found\n")
}

/// Tells a client about things that it should know.
pub(super) fn warn(answer: &mut Answer, warnings: &[String]) {
    for warning in warnings {
        let text = format!("299 - {}", crate::go_text::go_quoted(warning));
        if let Ok(value) = HeaderValue::from_str(&text) {
            answer.headers_mut().append("warning", value);
        }
    }
}

/// A hash of a document, to tell whether it changed.
pub(super) fn digest(document: &Value) -> String {
    let digest = Sha256::digest(document.to_string().as_bytes());
    digest.iter().map(|byte| format!("{byte:02X}")).collect()
}
