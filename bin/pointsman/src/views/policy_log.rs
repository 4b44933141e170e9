//! `--policy-log`: one line of JSON on standard output for each packet that is told.

use std::io::Write;
use std::sync::Arc;

use health::Moment;
use serde::Serialize;
use tracing::warn;

use super::View;
use crate::denied::Denied;

/// Writes the lines.
pub(crate) struct PolicyLogView {
    node: Arc<str>,
}

#[derive(Serialize)]
struct Line<'d> {
    /// When it was told (RFC 3339).
    time: String,
    node: &'d str,
    #[serde(flatten)]
    denied: &'d Denied,
}

impl PolicyLogView {
    pub(crate) fn new(node: &str) -> Self {
        Self { node: node.into() }
    }
}

impl View for PolicyLogView {
    fn denied(&mut self, denied: &Denied) {
        let line = Line { time: Moment::now().rfc3339(), node: &self.node, denied };
        let mut out = std::io::stdout().lock();
        let written = serde_json::to_writer(&mut out, &line).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|()| writeln!(out)) {
            warn!("{error}; a line of the policy log is lost");
        }
    }
}
