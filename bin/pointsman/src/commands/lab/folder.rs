//! The folder of a lab: what its holder and the commands share.
//!
//! The log is also the lock: the holder and its agents keep it locked as long as one of them lives,
//! so a folder whose log is free belongs to a lab that has crashed.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::geteuid;

/// The longest name: a socket's path has 107 bytes.
const NAME_LENGTH: usize = 32;

/// One lab's folder.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) name: String,
    path: PathBuf,
}

/// Where the folders of this user's labs are: `$XDG_RUNTIME_DIR`, else `/run` for root, else `/tmp`.
fn home() -> Result<PathBuf> {
    let user = geteuid();
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let of_root = user.is_root().then(|| PathBuf::from("/run"));
    let base = runtime.into_iter().chain(of_root).find(|path| path.is_dir());
    let home = match base {
        Some(base) => base.join("pointsman"),
        None => env::temp_dir().join(format!("pointsman-{user}")),
    };
    make(&home)?;
    // Others may write to /tmp: what they put there is not ours to trust.
    let owner = fs::symlink_metadata(&home)?;
    ensure!(
        owner.is_dir() && owner.uid() == user.as_raw(),
        "{} belongs to somebody else; set XDG_RUNTIME_DIR to a folder of yours",
        home.display()
    );
    let labs = home.join("labs");
    make(&labs)?;
    Ok(labs)
}

fn make(path: &Path) -> Result<()> {
    let made = DirBuilder::new().mode(0o700).recursive(true).create(path);
    made.with_context(|| format!("cannot make the folder {}", path.display()))
}

impl Folder {
    /// The folder of a lab of this name, which need not exist.
    pub(super) fn of(name: &str) -> Result<Self> {
        let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if name.is_empty() || name.len() > NAME_LENGTH || !letters {
            bail!("--name {name:?}: letters, digits and dashes, at most {NAME_LENGTH}");
        }
        Ok(Self { name: name.to_owned(), path: home()?.join(name) })
    }

    /// The folders that there are, by name.
    pub(super) fn all() -> Result<Vec<Self>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(home()?)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        names.iter().map(|name| Self::of(name)).collect()
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Makes the folder anew and takes its lock, which is the log. What a lab that has crashed left
    /// there is removed.
    pub(super) fn take(&self) -> Result<File> {
        if self.exists() {
            if !self.is_free()? {
                bail!(
                    "lab {:?} is up already; `pointsman lab down --name {}` ends it, and --name \
                     starts another beside it",
                    self.name,
                    self.name
                );
            }
            self.remove()?;
        }
        make(&self.path)?;
        let log = self.open_log()?;
        log.try_lock().with_context(|| format!("lab {:?} is being started", self.name))?;
        Ok(log)
    }

    fn open_log(&self) -> Result<File> {
        let path = self.file("log");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.with_context(|| format!("cannot write {}", path.display()))
    }

    /// Whether no process of the lab lives.
    pub(super) fn is_free(&self) -> Result<bool> {
        match self.open_log()?.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error).context("cannot lock the lab's log"),
        }
    }

    /// Waits until no process of the lab lives; whether that came to pass in time.
    pub(super) fn wait_until_free(&self, patience: Duration) -> Result<bool> {
        let start = Instant::now();
        while !self.is_free()? {
            if start.elapsed() > patience {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(true)
    }

    pub(super) fn remove(&self) -> Result<()> {
        fs::remove_dir_all(&self.path)
            .with_context(|| format!("cannot remove {}", self.path.display()))
    }

    /// The end of the log, for a lab that did not start.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read_to_string(self.file("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}
