//! One request and its answer, read piece by piece.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::core::params::{ListParams, Patch, PatchParams, PostParams};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::config::{ApiOptions, client};
use crate::Error;
use crate::error::chain;
use crate::wire::Status;

/// How old a client must be before a server that cannot be reached makes us read everything anew:
/// a credential plugin may be slow, and is rarely the reason.
const RENEWED: Duration = Duration::from_secs(60);

/// What is repeated of an answer that is no Status, in characters.
const SHOWN: usize = 200;

/// One request to the API server, and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'r> {
    /// The server's host, with its port where the URL has one.
    pub host: &'r str,
    /// The HTTP method.
    pub method: &'static str,
    /// The code of the answer; `None` if there was none.
    pub code: Option<u16>,
    /// Until the answer began, or until nobody waited for it any more.
    pub took: Duration,
}

/// Hears of every request, in the thread that made it.
pub type RequestObserver = Arc<dyn Fn(&Request<'_>) + Send + Sync>;

/// The way to the API server, shared by all watches.
pub(super) struct Connection {
    options: ApiOptions,
    url: String,
    observer: OnceLock<RequestObserver>,
    current: Mutex<Current>,
}

struct Current {
    client: Client,
    /// Counts the clients, so that of many who saw one fail, one makes the next.
    number: u64,
    since: Instant,
}

impl Current {
    fn new(client: Client, number: u64) -> Self {
        Self { client, number, since: Instant::now() }
    }
}

impl Connection {
    /// # Errors
    /// As [`client`].
    pub(super) async fn open(options: ApiOptions) -> Result<Self, Error> {
        let (client, url) = client(&options).await?;
        let (observer, current) = (OnceLock::new(), Mutex::new(Current::new(client, 0)));
        Ok(Self { options, url, observer, current })
    }

    /// From now on, every request is told; who asked for that first stays.
    pub(super) fn observe(&self, observer: RequestObserver) {
        let _ = self.observer.set(observer);
    }

    /// Tells of a request that was made at `since`.
    pub(super) fn asked(&self, method: &'static str, code: Option<u16>, since: Instant) {
        if let Some(observer) = self.observer.get() {
            let host = self.url.split_once("://").map_or(&*self.url, |(_, rest)| rest);
            let host = host.split_once('/').map_or(host, |(host, _)| host);
            observer(&Request { host, method, code, took: since.elapsed() });
        }
    }

    /// Asks for a path with its query. `silence` limits every wait for the next piece.
    ///
    /// A 401 makes the next request use credentials that are read anew, so that a rotated token or
    /// certificate counts at once, not when a cache expires.
    ///
    /// # Errors
    /// [`Error::Unreachable`] or [`Error::Refused`].
    pub(super) async fn get(
        &self,
        path: &'static str,
        query: &[(&str, String)],
        silence: Duration,
    ) -> Result<Answer, Error> {
        let (client, number) = self.client().await;
        let since = Instant::now();
        let answer = timeout(silence, ask(client, path, query)).await;
        let code = answer.as_ref().ok().and_then(|answer| Some(answer.as_ref().ok()?.code));
        self.asked("GET", code, since);
        let head = match answer {
            Ok(Ok(head)) => head,
            failed => {
                // A pooled connection may be half open, or the authority that the server's
                // certificate must come from may have been replaced.
                self.renew(number, RENEWED).await;
                let seconds = silence.as_secs_f32();
                let silent = |_| format!("no answer to GET {path} within {seconds} s");
                let cause = failed.map_or_else(silent, |answer| answer.err().unwrap_or_default());
                return Err(Error::Unreachable { url: self.url.clone(), cause });
            }
        };
        let pieces = head.body.into_data_stream();
        let answer = Answer {
            pieces: Box::pin(pieces.map(|piece| piece.map(Vec::from))),
            read: Vec::new(),
            start: 0,
            searched: 0,
            url: self.url.clone(),
            path,
            silence,
        };
        if (200..300).contains(&head.code) {
            return Ok(answer);
        }
        if head.code == 401 {
            self.renew(number, Duration::ZERO).await;
        }
        let body = answer.all().await.unwrap_or_default();
        Err(Error::Refused {
            url: self.url.clone(),
            path: path.into(),
            code: head.code,
            message: words(&body),
            retry_after: head.retry_after,
        })
    }

    /// The client of the moment and its number.
    async fn client(&self) -> (Client, u64) {
        let current = self.current.lock().await;
        (current.client.clone(), current.number)
    }

    /// Writes an object under a path, within a time.
    ///
    /// # Errors
    /// The server's refusal; after a 401, the credentials are read anew.
    pub(super) async fn tell(
        &self,
        path: &str,
        told: Told<'_>,
        patience: Duration,
    ) -> Result<(), Refusal> {
        let (client, number) = self.client().await;
        let (method, since) = (told.method(), Instant::now());
        let said = timeout(patience, say(client, path, told)).await;
        let said = said.unwrap_or_else(|_| Err("the API does not answer".into()));
        self.asked(method, said.as_ref().ok().map(|(code, _)| *code), since);
        let (code, body) = said.map_err(Refusal::Silence)?;
        if (200..300).contains(&code) {
            return Ok(());
        }
        if code == 401 {
            self.renew(number, Duration::ZERO).await;
        }
        Err(Refusal::Answer(code, format!("{code}: {}", words(&body))))
    }

    /// Puts a new client in the place of one that failed, if that one is old enough.
    async fn renew(&self, failed: u64, age: Duration) {
        let mut current = self.current.lock().await;
        if current.number != failed || current.since.elapsed() < age {
            return;
        }
        match client(&self.options).await {
            Ok((client, _)) => *current = Current::new(client, failed + 1),
            // What was read before may still serve; a file in the middle of its rotation does not.
            Err(error) => tracing::warn!("{error}; the credentials read before stay in use"),
        }
    }
}

/// What is written to the API.
pub(super) enum Told<'t> {
    /// A new object.
    Created(Vec<u8>),
    /// Fields of one that is there.
    Merged {
        /// Its name.
        name: &'t str,
        /// The fields.
        patch: Value,
    },
}

impl Told<'_> {
    fn method(&self) -> &'static str {
        match self {
            Told::Created(_) => "POST",
            Told::Merged { .. } => "PATCH",
        }
    }
}

/// Why something is not written.
pub(super) enum Refusal {
    /// The server's code and words.
    Answer(u16, String),
    /// There was no answer.
    Silence(String),
}

/// Sends an object; the code of the answer and its body.
async fn say(client: Client, path: &str, told: Told<'_>) -> Result<(u16, Vec<u8>), String> {
    let request = kube::core::Request::new(path);
    let request = match told {
        Told::Created(object) => request.create(&PostParams::default(), object),
        Told::Merged { name, patch } => {
            request.patch(name, &PatchParams::default(), &Patch::Merge(patch))
        }
    };
    let request = request.map_err(|error| chain(&error))?.map(Body::from);
    let answer = client.send(request).await.map_err(|error| cause(&error))?;
    let code = answer.status().as_u16();
    let body = answer.into_body().collect().await.map_err(|error| cause(&error))?;
    Ok((code, body.to_bytes().into()))
}

/// What comes before the body of an answer.
struct Head {
    code: u16,
    retry_after: Option<Duration>,
    body: Body,
}

/// Sends one request; an error says why no answer came.
async fn ask(client: Client, path: &str, query: &[(&str, String)]) -> Result<Head, String> {
    // The library's own parameters cannot ask for a page of what the cache holds
    // (resourceVersion=0 together with a limit), so the query is written here.
    let request = kube::core::Request::new(path).list(&ListParams::default());
    let mut request = request.map_err(|error| chain(&error))?.map(Body::from);
    let target = format!("{path}?{}", encode(query));
    *request.uri_mut() = target.parse().map_err(|error| chain(&error))?;
    let answer = client.send(request).await.map_err(|error| cause(&error))?;
    let retry_after = answer.headers().get("retry-after");
    let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Ok(Head {
        code: answer.status().as_u16(),
        retry_after: retry_after.map(Duration::from_secs),
        body: answer.into_body(),
    })
}

/// The reasons, without the client library's own word for all of them.
fn cause(error: &kube::Error) -> String {
    std::error::Error::source(error).map_or_else(|| chain(error), chain)
}

/// The server's words: the message of a Status, or the beginning of what else it said.
fn words(body: &[u8]) -> String {
    let status = serde_json::from_slice::<Status>(body).unwrap_or_default();
    if !status.message.text().is_empty() {
        return status.message.text().to_owned();
    }
    let text = String::from_utf8_lossy(body);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() { "(nothing)".into() } else { text.chars().take(SHOWN).collect() }
}

/// Joins query parameters; everything but RFC 3986's unreserved characters is escaped.
fn encode(query: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (key, value) in query {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(key);
        text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    text
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Vec<u8>, kube::Error>> + Send>>;

/// The body of an answer.
pub(super) struct Answer {
    pieces: Pieces,
    read: Vec<u8>,
    /// Where the next line starts in `read`.
    start: usize,
    /// Up to where `read` holds no line end.
    searched: usize,
    url: String,
    path: &'static str,
    silence: Duration,
}

impl Answer {
    /// The next line without its end, or `None` at the end of the answer or of our patience
    /// (`deadline`). What follows the last line end is dropped: it is half of what the server meant
    /// to say.
    ///
    /// # Errors
    /// [`Error::Silent`] if nothing came for the answer's limit; [`Error::Cut`] if the connection
    /// broke.
    pub(super) async fn line(&mut self, deadline: Instant) -> Result<Option<&[u8]>, Error> {
        loop {
            if let Some(end) = self.read[self.searched..].iter().position(|&byte| byte == b'\n') {
                let line = self.start..self.searched + end;
                self.start = line.end + 1;
                self.searched = self.start;
                return Ok(Some(&self.read[line]));
            }
            self.read.drain(..self.start);
            self.start = 0;
            self.searched = self.read.len();
            if !self.more(Some(deadline)).await? {
                return Ok(None);
            }
        }
    }

    /// Everything that is left.
    ///
    /// # Errors
    /// As [`Answer::line`].
    pub(super) async fn all(mut self) -> Result<Vec<u8>, Error> {
        while self.more(None).await? {}
        Ok(self.read)
    }

    async fn more(&mut self, deadline: Option<Instant>) -> Result<bool, Error> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let wait = left.map_or(self.silence, |left| left.min(self.silence));
        match timeout(wait, self.pieces.next()).await {
            Ok(None) => Ok(false),
            Ok(Some(Ok(piece))) => {
                self.read.extend_from_slice(&piece);
                Ok(true)
            }
            Ok(Some(Err(error))) => Err(Error::Cut {
                url: self.url.clone(),
                path: self.path.into(),
                cause: format!(": {}", cause(&error)),
            }),
            Err(_) if wait < self.silence => Ok(false),
            Err(_) => Err(Error::Silent {
                url: self.url.clone(),
                path: self.path.into(),
                silence: self.silence,
            }),
        }
    }

    /// From now on, every wait has this limit.
    pub(super) fn set_silence(&mut self, silence: Duration) {
        self.silence = silence;
    }

    /// The answer cannot be understood.
    pub(super) fn unreadable(&self, cause: impl std::fmt::Display) -> Error {
        self.explain_unreadable()(cause.to_string())
    }

    /// As [`Answer::unreadable`], for when the answer was taken apart.
    pub(super) fn explain_unreadable(&self) -> impl Fn(String) -> Error + use<> {
        let (url, path) = (self.url.clone(), self.path);
        move |cause| Error::Unreadable { url: url.clone(), path: path.into(), cause }
    }

    /// The answer ended too early.
    pub(super) fn cut(&self) -> Error {
        Error::Cut { url: self.url.clone(), path: self.path.into(), cause: String::new() }
    }

    /// The server ends the watch.
    pub(super) fn ended(&self, status: &Status) -> Error {
        let code = status.code.get().copied().and_then(|code| u16::try_from(code).ok());
        Error::Ended {
            url: self.url.clone(),
            path: self.path.into(),
            code: code.unwrap_or(500),
            message: status.message.text().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_escaped() {
        let query = [("labelSelector", "!a.io/b=c d".to_owned()), ("limit", "500".into())];
        assert_eq!(encode(&query), "labelSelector=%21a.io%2Fb%3Dc%20d&limit=500");
    }

    #[test]
    fn a_refusal_is_told_in_the_servers_words() {
        assert_eq!(
            words(br#"{"kind":"Status","message":"Unauthorized","code":401}"#),
            "Unauthorized"
        );
        assert_eq!(words(b"<html>\n bad  gateway"), "<html> bad gateway");
        assert_eq!(words(b""), "(nothing)");
    }
}
