//! Kubeconfig files.
//!
//! Their YAML is read as that of manifests is, to a plain value, and the value to the client
//! library's types: each type that is read from YAML directly costs hundreds of kilobytes of program.

use std::path::{MAIN_SEPARATOR, Path};

use kube::config::Kubeconfig;

use super::config::WHOLE;
use crate::Error;
use crate::error::chain;

/// Reads a kubeconfig; paths in it count from its folder, as for kubectl.
///
/// # Errors
/// [`Error::Kubeconfig`].
pub(super) fn read(path: &Path) -> Result<Kubeconfig, Error> {
    let bad = |cause| Error::Kubeconfig { path: path.into(), field: WHOLE, cause };
    let text = std::fs::read_to_string(path).map_err(|error| bad(chain(&error)))?;
    let value = crate::folder::yaml(&text)
        .map_err(|error| bad(format!("it is no YAML: {}", error.without_snippet())))?;
    let mut read: Kubeconfig =
        serde_json::from_value(value).map_err(|error| bad(error.to_string()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let absolute = |file: &mut Option<String>| {
        if let Some(file) = file.as_mut().filter(|file| Path::new(file.as_str()).is_relative()) {
            *file = folder.join(&*file).to_string_lossy().into_owned();
        }
    };
    for cluster in read.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        absolute(&mut cluster.certificate_authority);
    }
    for user in read.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        absolute(&mut user.client_certificate);
        absolute(&mut user.client_key);
        absolute(&mut user.token_file);
        // A command without a separator is looked for in PATH.
        if let Some(exec) = user.exec.as_mut()
            && exec.command.as_ref().is_some_and(|command| command.contains(MAIN_SEPARATOR))
        {
            absolute(&mut exec.command);
        }
    }
    Ok(read)
}
