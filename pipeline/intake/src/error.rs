//! What can keep a source from speaking.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::folder::Place;

/// Everything that can go wrong in this crate. What is wrong with a single object is no error but a
/// [`Notice`](model::Notice).
#[derive(Debug, Error)]
pub enum Error {
    /// The folder of manifests is missing, is no folder, or must not be read.
    #[error(
        "the folder of manifests {} cannot be read: {source}; check the path and its permissions",
        path.display()
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file or folder within the folder of manifests cannot be read.
    #[error("{file}: it cannot be read: {source}")]
    ManifestFile {
        /// The path, from the folder on.
        file: Arc<str>,
        /// What the operating system says.
        source: io::Error,
    },
    /// A document of a manifest file, or an object in it, cannot be read.
    #[error("{place}: {message}")]
    Document {
        /// Where it stands.
        place: Place,
        /// What was expected, and what stands there.
        message: String,
    },
    /// The kubeconfig cannot be used.
    #[error("kubeconfig {}: {field}: {cause}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// The part of it.
        field: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// The process runs in no Pod and was told no other way to the API.
    #[error(
        "no kubeconfig was named, and this is no Pod with a service account: {cause}; name a kubeconfig or the API server's URL"
    )]
    InCluster {
        /// What was not found.
        cause: String,
    },
    /// The URL of the API server is none.
    #[error("{url:?} is not the URL of an API server: {cause}; write it as https://192.0.2.1:6443")]
    Master {
        /// What was given.
        url: String,
        /// Why it is none.
        cause: String,
    },
    /// The connection's own parts (TLS, credentials) cannot be put together.
    #[error("the connection to {url} cannot be set up from {origin}: {cause}")]
    Client {
        /// The API server.
        url: String,
        /// The kubeconfig, or the service account's folder.
        origin: String,
        /// What is wrong.
        cause: String,
    },
    /// No answer came.
    #[error("the Kubernetes API at {url} cannot be reached: {cause}")]
    Unreachable {
        /// The API server.
        url: String,
        /// The reasons, outermost first.
        cause: String,
    },
    /// The answer is a refusal.
    #[error("the Kubernetes API at {url} answers {code} to GET {path}: {message}")]
    Refused {
        /// The API server.
        url: String,
        /// The path that was asked for.
        path: String,
        /// The HTTP status code.
        code: u16,
        /// The server's words.
        message: String,
        /// How long the server asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The server ends a watch with a reason.
    #[error("the Kubernetes API at {url} ends the watch of {path}: {code} {message}")]
    Ended {
        /// The API server.
        url: String,
        /// The path that was watched.
        path: String,
        /// The code of the Status object; 410 is an expired resourceVersion.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// A connection that is open and says nothing: it may be half open.
    #[error("the Kubernetes API at {url} has not said anything on {path} for {} s", silence.as_secs())]
    Silent {
        /// The API server.
        url: String,
        /// The path that was asked for.
        path: String,
        /// How long.
        silence: Duration,
    },
    /// The answer ended before it was complete.
    #[error(
        "the Kubernetes API at {url} ended its answer to GET {path} before it was complete{cause}"
    )]
    Cut {
        /// The API server.
        url: String,
        /// The path that was asked for.
        path: String,
        /// The reasons with a colon before them, or nothing.
        cause: String,
    },
    /// The answer is not what the API's contract says.
    #[error("the Kubernetes API at {url} answers GET {path} with what cannot be read: {cause}")]
    Unreadable {
        /// The API server.
        url: String,
        /// The path that was asked for.
        path: String,
        /// Where reading ended, and why.
        cause: String,
    },
    /// A part of the source ended by itself, which is a defect.
    #[error("a watch of the Kubernetes API ended by a defect: {cause}; restart the process")]
    Defect {
        /// The task's end.
        cause: String,
    },
    /// The machine's own addresses or switches cannot be read.
    #[error("cannot {action}: {source}")]
    Host {
        /// What was tried.
        action: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
}

/// An error with its sources in one line. A source that the error repeats is not said twice.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = source.source();
    }
    text
}
