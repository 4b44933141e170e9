//! The files of a folder: which count, in which order, and what tells that one changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::Format;
use crate::Error;

/// How deep folders may be nested: a link that leads back up ends here.
const DEPTH: usize = 16;

/// The biggest file that is read, in bytes.
const LARGEST: u64 = 256 << 20;

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn new(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Which file or folder it is, whatever its content.
    fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

/// What tells whether a folder is as it was.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamps {
    /// Which folder it is.
    pub(super) root: (u64, u64),
    files: BTreeMap<Arc<str>, Stamp>,
    unreadable: BTreeSet<Arc<str>>,
}

/// A manifest file that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) format: Format,
    stamp: Stamp,
}

/// A folder's files, by their path from the folder on.
#[derive(Debug)]
pub(super) struct Listing {
    root: (u64, u64),
    pub(super) files: BTreeMap<Arc<str>, File>,
    /// Files and folders within that cannot be looked at, by path.
    pub(super) unreadable: BTreeMap<Arc<str>, Error>,
}

/// Lists `*.yaml`, `*.yml` and `*.json`, in nested folders too. Hidden entries are skipped: editors
/// keep unfinished text there, and a mounted ConfigMap its versions (`..data`), which the visible
/// links lead to.
///
/// # Errors
/// [`Error::Folder`] if the folder itself cannot be listed.
pub(super) fn list(root: &Path) -> Result<Listing, Error> {
    let failed = |source| Error::Folder { path: root.into(), source };
    let stamp = Stamp::new(&fs::metadata(root).map_err(failed)?);
    let mut listing =
        Listing { root: stamp.identity(), files: BTreeMap::new(), unreadable: BTreeMap::new() };
    listing.descend(root, "", DEPTH).map_err(failed)?;
    Ok(listing)
}

impl Listing {
    pub(super) fn stamps(&self) -> Stamps {
        Stamps {
            root: self.root,
            files: self.files.iter().map(|(name, file)| (name.clone(), file.stamp)).collect(),
            unreadable: self.unreadable.keys().cloned().collect(),
        }
    }

    fn descend(&mut self, folder: &Path, prefix: &str, depth: usize) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') {
                continue;
            }
            let (path, name) = (entry.path(), Arc::from(format!("{prefix}{name}")));
            match self.look_at(&path, &name, depth) {
                // Gone since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    let error = Error::ManifestFile { file: Arc::clone(&name), source };
                    self.unreadable.insert(name, error);
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn look_at(&mut self, path: &Path, name: &Arc<str>, depth: usize) -> io::Result<()> {
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml" | "yml") => Some(Format::Yaml),
            Some("json") => Some(Format::Json),
            _ => None,
        };
        // Followed, if it is a link.
        let metadata = match fs::metadata(path) {
            Err(_) if format.is_none() => return Ok(()),
            metadata => metadata?,
        };
        if metadata.is_dir() {
            if depth == 0 {
                return Err(io::Error::other(format!("folders are nested more than {DEPTH} deep")));
            }
            return self.descend(path, &format!("{name}/"), depth - 1);
        }
        let Some(format) = format else { return Ok(()) };
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let stamp = Stamp::new(&metadata);
        if stamp.size > LARGEST {
            return Err(io::Error::other(format!("it has more than {LARGEST} bytes")));
        }
        self.files.insert(Arc::clone(name), File { path: path.into(), format, stamp });
        Ok(())
    }
}
