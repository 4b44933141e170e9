//! The programs that tests and demo call, and how a Debian machine gets them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

/// A program and where it comes from.
struct Tool {
    program: &'static str,
    package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

const TOOLS: [Tool; 13] = [
    tool("iptables", "iptables"),
    tool("ip6tables", "iptables"),
    tool("iptables-save", "iptables"),
    tool("iptables-restore", "iptables"),
    tool("iptables-legacy", "iptables"),
    tool("nft", "nftables"),
    tool("ipset", "ipset"),
    tool("conntrack", "conntrack"),
    tool("ip", "iproute2"),
    tool("curl", "curl"),
    tool("dig", "bind9-dnsutils"),
    tool("setpriv", "util-linux"),
    tool("unshare", "util-linux"),
];

/// Sees to it that every program is there: installs the missing Debian packages as root, names them
/// otherwise.
pub(crate) fn require() -> Result<()> {
    let missing = missing(&directories());
    if !missing.is_empty() {
        install(&missing)?;
    }
    require_nft_variant()?;
    println!("All programs are there.");
    Ok(())
}

pub(crate) fn directories() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(debian).collect()
}

fn missing(directories: &[PathBuf]) -> Vec<&'static Tool> {
    TOOLS.iter().filter(|tool| find(tool.program, directories).is_none()).collect()
}

pub(crate) fn find(program: &str, directories: &[PathBuf]) -> Option<PathBuf> {
    directories.iter().map(|directory| directory.join(program)).find(|path| path.is_file())
}

fn packages(tools: &[&Tool]) -> Vec<&'static str> {
    let mut packages: Vec<_> = tools.iter().map(|tool| tool.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn install(tools: &[&Tool]) -> Result<()> {
    let names: Vec<_> = tools.iter().map(|tool| tool.program).collect();
    let (names, packages) = (names.join(", "), packages(tools));
    let by_hand = format!("apt-get update && apt-get install -y {}", packages.join(" "));
    if !geteuid().is_root() {
        bail!("missing: {names}; install them with: sudo sh -c '{by_hand}'");
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!(
            "missing: {names}; there is no apt-get here: install the equivalents of {packages:?}"
        );
    }
    println!("Missing: {names}. Running: {by_hand}");
    apt_get(&["update", "-q"])?;
    let install = ["install", "-y", "-q", "--no-install-recommends"];
    apt_get(&[&install[..], &packages[..]].concat())?;
    let still = missing(&directories());
    if let Some(tool) = still.first() {
        bail!("{} is still missing after installing {}", tool.program, tool.package);
    }
    Ok(())
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .context("cannot start apt-get")?;
    if !status.success() {
        bail!("apt-get {} failed ({status})", arguments.join(" "));
    }
    Ok(())
}

/// The rules are written where `iptables-nft` keeps its own; a host set to the legacy variant would
/// list none of them.
fn require_nft_variant() -> Result<()> {
    for program in ["iptables", "ip6tables"] {
        let path = find(program, &directories()).unwrap_or_else(|| program.into());
        let output = Command::new(&path)
            .arg("--version")
            .output()
            .with_context(|| format!("cannot start {}", path.display()))?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !version.contains("nf_tables") {
            bail!(
                "{program} is {version}, and the tests need the nf_tables variant: \
                 update-alternatives --set {program} /usr/sbin/{program}-nft"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_named_with_its_package() {
        let nowhere = missing(&[PathBuf::from("/nonexistent")]);
        assert_eq!(nowhere.len(), TOOLS.len());
        let expected = [
            "bind9-dnsutils",
            "conntrack",
            "curl",
            "iproute2",
            "ipset",
            "iptables",
            "nftables",
            "util-linux",
        ];
        assert_eq!(packages(&nowhere), expected);
    }

    #[test]
    fn what_is_there_is_found() {
        let directories = [PathBuf::from("/nonexistent"), PathBuf::from("/bin")];
        assert_eq!(find("sh", &directories), Some(PathBuf::from("/bin/sh")));
    }
}
