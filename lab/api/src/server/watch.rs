//! A watch as a stream of lines.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::{Bytes, Frame};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::accept::Form;
use super::answer::Answer;
use crate::object::text;
use crate::store::{Watch, WatchEvent};
use crate::table::{Include, partial, table};
use crate::{Resource, convert};

/// How long a watch lasts if its client does not say (`--min-request-timeout`).
const LASTS: Duration = Duration::from_secs(1800);

/// How the events of a watch look.
pub(super) struct Look {
    pub(super) resource: &'static Resource,
    pub(super) form: Form,
    pub(super) include: Include,
    pub(super) bookmarks: bool,
}

struct Running {
    watch: Watch,
    look: Look,
    end: Instant,
    /// Whether the columns of the table are told.
    headed: bool,
    over: bool,
}

/// Streams a watch until its time is over. The last word to those who want bookmarks is one.
pub(super) fn answer(watch: Watch, look: Look, seconds: Option<u64>) -> Answer {
    let lasts = seconds.filter(|seconds| *seconds > 0).map_or(LASTS, Duration::from_secs);
    let end = Instant::now() + lasts;
    let running = Running { watch, look, end, headed: false, over: false };
    let lines = stream::unfold(running, |mut running| async move {
        let line = running.line().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(line))), running))
    });
    let mut answer = Response::new(StreamBody::new(lines).boxed_unsync());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

impl Running {
    async fn line(&mut self) -> Option<String> {
        if self.over {
            return None;
        }
        let event = tokio::select! {
            event = self.watch.next() => event?,
            () = tokio::time::sleep_until(self.end) => {
                self.over = true;
                if !self.look.bookmarks {
                    return None;
                }
                WatchEvent::Bookmark(self.watch.position())
            }
        };
        let (word, object) = match &event {
            WatchEvent::Added(object) => ("ADDED", self.shown(object)),
            WatchEvent::Modified(object) => ("MODIFIED", self.shown(object)),
            WatchEvent::Deleted(object) => ("DELETED", self.shown(object)),
            WatchEvent::Bookmark(object) => ("BOOKMARK", self.shown_bookmark(object)),
            WatchEvent::Error(error) => ("ERROR", error.status()),
        };
        let mut line = json!({"type": word, "object": object}).to_string();
        line.push('\n');
        Some(line)
    }

    fn shown(&mut self, object: &Value) -> Value {
        match self.look.form {
            Form::Plain => convert::shown(self.look.resource, object),
            Form::Metadata => partial(object),
            Form::Table => self.table(object, true),
        }
    }

    fn shown_bookmark(&mut self, object: &Value) -> Value {
        match self.look.form {
            Form::Table => self.table(object, false),
            Form::Metadata => partial(object),
            Form::Plain => convert::shown(self.look.resource, object),
        }
    }

    fn table(&mut self, object: &Value, row: bool) -> Value {
        let version = text(object, "/metadata/resourceVersion");
        let metadata = json!({"resourceVersion": version});
        let rows = row.then_some(object).into_iter();
        let look = &self.look;
        let mut table = table(look.resource, rows, metadata, look.include, Timestamp::now());
        if self.headed {
            table["columnDefinitions"] = Value::Null;
        }
        self.headed = true;
        table
    }
}
