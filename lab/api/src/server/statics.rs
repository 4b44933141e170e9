//! The paths that are the same for everybody: discovery, versions, health.

use hyper::header::{ETAG, HeaderMap, HeaderValue, VARY};
use serde::Serialize;
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::open_api_v2;
use crate::discovery;

/// What the API is compatible with.
const MINOR: &str = "36";
/// The part behind the plus says whose server this is.
const VERSION: &str = "v1.36.2+pointsman";

/// `/version`, in the order in which a real server writes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    major: &'static str,
    minor: &'static str,
    emulation_major: &'static str,
    emulation_minor: &'static str,
    min_compatibility_major: &'static str,
    min_compatibility_minor: &'static str,
    git_version: &'static str,
    git_commit: &'static str,
    git_tree_state: &'static str,
    build_date: &'static str,
    go_version: &'static str,
    compiler: &'static str,
    platform: String,
}

/// The answer to a GET of such a path; nothing if the path is none of them.
pub(super) fn get(path: &str, headers: &HeaderMap, address: &str) -> Option<Answer> {
    let segments: Vec<_> = path.split('/').skip(1).filter(|part| !part.is_empty()).collect();
    let document = match &segments[..] {
        ["version"] => return Some(version()),
        ["healthz" | "livez" | "readyz", ..] => {
            return Some(answer::bytes(200, "text/plain; charset=utf-8", "ok"));
        }
        ["openapi", "v2"] => return Some(open_api_v2(headers)),
        ["openapi", "v3"] => open_api_index(),
        ["openapi", "v3", rest @ ..] => return open_api_v3(&rest.join("/")),
        ["api" | "apis"] => return Some(groups(segments[0] == "api", headers, address)),
        ["api", version] => discovery::resource_list("", version)?,
        ["apis", group] => discovery::one_group(group)?,
        ["apis", group, version] => discovery::resource_list(group, version)?,
        _ => return None,
    };
    Some(tagged(headers, "application/json", &document))
}

fn version() -> Answer {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let version = Version {
        major: "1",
        minor: MINOR,
        emulation_major: "1",
        emulation_minor: MINOR,
        min_compatibility_major: "1",
        min_compatibility_minor: "35",
        git_version: VERSION,
        git_commit: "",
        git_tree_state: "",
        build_date: "1970-01-01T00:00:00Z",
        go_version: "",
        compiler: "",
        platform: format!("{}/{architecture}", std::env::consts::OS),
    };
    match serde_json::to_string_pretty(&version) {
        Ok(text) => answer::bytes(200, "application/json", text),
        Err(error) => answer::refusal(&crate::ApiError::Internal(error.to_string())),
    }
}

/// `/api` and `/apis`, aggregated if the client knows that.
fn groups(core: bool, headers: &HeaderMap, address: &str) -> Answer {
    let accept = headers.get("accept").and_then(|value| value.to_str().ok()).unwrap_or_default();
    for range in accept.split(',') {
        let has = |part: &str| range.split(';').any(|one| one.trim() == part);
        if !has("as=APIGroupDiscoveryList") || !has("g=apidiscovery.k8s.io") {
            continue;
        }
        for version in ["v2", "v2beta1"] {
            if has(&format!("v={version}")) {
                let media = format!(
                    "application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
                );
                return tagged(headers, &media, &discovery::aggregated(core, version));
            }
        }
    }
    let plain = if core { discovery::core_versions(address) } else { discovery::group_list() };
    tagged(headers, "application/json", &plain)
}

/// An answer with its hash, or 304 to a client that has it already.
fn tagged(headers: &HeaderMap, media: &str, document: &Value) -> Answer {
    let tag = format!("\"{}\"", answer::digest(document));
    let known = headers.get("if-none-match").and_then(|value| value.to_str().ok());
    let mut answer = if known == Some(&tag) {
        answer::bytes(304, media, "")
    } else {
        answer::bytes(200, media, document.to_string())
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        answer.headers_mut().insert(ETAG, tag);
    }
    answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    answer
}

fn open_api_index() -> Value {
    let mut paths = serde_json::Map::new();
    for path in discovery::open_api_paths() {
        // Clients keep a document for ever under its hash.
        let hash = discovery::open_api(&path).map(|document| answer::digest(&document));
        let url = format!("/openapi/v3/{path}?hash={}", hash.unwrap_or_default());
        paths.insert(path, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

fn open_api_v3(path: &str) -> Option<Answer> {
    let document = discovery::open_api(path)?;
    Some(answer::bytes(200, "application/json", document.to_string()))
}

/// The old form.
fn open_api_v2(headers: &HeaderMap) -> Answer {
    // Asked for with an @, which no media type may contain: a real server answers with a dot.
    const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    let accept = headers.get("accept").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("protobuf") {
        return answer::bytes(200, PROTOBUF, open_api_v2::document(VERSION));
    }
    let info = json!({"title": "Kubernetes", "version": VERSION});
    answer::json(200, &json!({"swagger": "2.0", "info": info, "paths": {}}))
}
