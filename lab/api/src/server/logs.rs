//! `GET …/pods/NAME/log`

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::{Bytes, Frame};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::answer::{Answer, bytes};
use super::request::Query;
use crate::log::{Line, Logs};
use crate::object::{items, text};
use crate::{ApiError, Object, Store};

/// What a log is written as.
const TEXT: &str = "text/plain";

/// The lines of a Pod: those that there are, or with `follow` until the Pod is gone.
pub(super) fn answer(store: &Store, pod: &Object, query: &Query) -> Result<Answer, ApiError> {
    check(pod, query.get("container"))?;
    if query.is_set("previous") {
        let name = text(pod, "/metadata/name");
        let message = format!("previous terminated container in pod {name:?} not found");
        return Err(ApiError::BadRequest(message));
    }
    let uid = text(pod, "/metadata/uid").to_owned();
    let logs = store.logs();
    let mut lines = logs.since(&uid, 0).unwrap_or_default();
    if let Some(seconds) = query.number("sinceSeconds")? {
        let age = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        let since = Timestamp::now().checked_sub(age).unwrap_or(Timestamp::MIN);
        lines.retain(|line| line.time >= since);
    }
    if let Some(count) = query.number("tailLines")? {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        lines.drain(..lines.len().saturating_sub(count));
    }
    let stamped = query.is_set("timestamps");
    let next = lines.last().map_or(0, |line| line.number + 1);
    let first = shown(&lines, stamped);
    if !query.is_set("follow") {
        return Ok(bytes(200, TEXT, first));
    }
    let following = Following { logs: Arc::clone(&logs), uid, next, stamped, first: Some(first) };
    let pieces = stream::unfold(following, |mut following| async move {
        let text = following.more().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), following))
    });
    let mut answer = Response::new(StreamBody::new(pieces).boxed_unsync());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    Ok(answer)
}

/// All containers of a Pod speak with one voice here, but a wrong name is one.
fn check(pod: &Value, container: &str) -> Result<(), ApiError> {
    let all = items(pod, "/spec/containers").iter().chain(items(pod, "/spec/initContainers"));
    let known = all.map(|container| text(container, "/name")).any(|name| name == container);
    if container.is_empty() || known {
        return Ok(());
    }
    let pod = text(pod, "/metadata/name");
    Err(ApiError::BadRequest(format!("container {container} is not valid for pod {pod}")))
}

fn shown(lines: &[Line], stamped: bool) -> String {
    let line = |line: &Line| match stamped {
        true => format!("{} {}\n", line.time, line.text),
        false => format!("{}\n", line.text),
    };
    lines.iter().map(line).collect()
}

struct Following {
    logs: Arc<Logs>,
    uid: String,
    next: u64,
    stamped: bool,
    /// What was there at the start, until it is handed out.
    first: Option<String>,
}

impl Following {
    /// The next lines; `None` when the Pod is gone.
    async fn more(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let mut news = self.logs.news();
        loop {
            news.borrow_and_update();
            let lines = self.logs.since(&self.uid, self.next)?;
            if let Some(last) = lines.last() {
                self.next = last.number + 1;
                return Some(shown(&lines, self.stamped));
            }
            news.changed().await.ok()?;
        }
    }
}
