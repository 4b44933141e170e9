//! Questions to a lab's holder: one line, answered by one line of JSON.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::folder::Folder;

/// A question.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Question {
    /// What is there? Answered when the lab is up.
    Status,
    /// How is this place entered?
    Place(String),
}

/// The answer to a question.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Status(Status),
    Place(Door),
    Refused(String),
}

/// What a lab has.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Status {
    /// `iptables`
    pub(super) mode: String,
    /// `node/NAME`, `pod/NAMESPACE/NAME`, `outside`, sorted.
    pub(super) places: Vec<String>,
    /// How often the agent of a node was started again, for the nodes where that was so.
    pub(super) restarts: BTreeMap<String, u32>,
    /// The nodes whose agents do not run, and why.
    pub(super) failed: Vec<String>,
}

/// The way into a place.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Door {
    /// The holder's process.
    pub(super) holder: u32,
    /// A path that stands for the network namespace.
    pub(super) network: PathBuf,
    pub(super) hostname: String,
    /// Empty for places that do not use the cluster's DNS.
    pub(super) resolv_conf: String,
}

/// Asks the holder of a lab.
pub(super) fn ask(folder: &Folder, question: &Question) -> Result<Answer> {
    if !folder.exists() || folder.is_free()? {
        bail!("lab {:?} is not up; `pointsman lab up --name {}`", folder.name, folder.name);
    }
    let asked = || -> Result<String> {
        let mut stream = UnixStream::connect(folder.file("control"))?;
        writeln!(stream, "{}", serde_json::to_string(question)?)?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line)
    };
    let line = asked().with_context(|| format!("lab {:?} does not answer", folder.name))?;
    match serde_json::from_str(&line) {
        Ok(Answer::Refused(why)) => bail!(why),
        Ok(answer) => Ok(answer),
        Err(_) => bail!("lab {:?} has ended:\n{}", folder.name, folder.last_words()),
    }
}
