//! `pointsman lab exec` and `shell`: into a lab's namespaces.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::sethostname;

use super::control::{Answer, Door, Question, ask};
use super::folder::Folder;
use super::hold::INSIDE;

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Runs a command in a place of a lab. Returns only if it cannot be started.
pub(super) fn exec(lab: &str, place: &str, command: &[OsString]) -> Result<()> {
    let Some((program, words)) = command.split_first() else { bail!("no command is given") };
    let folder = Folder::of(lab)?;
    let door = match ask(&folder, &Question::Place(place.to_owned()))? {
        Answer::Place(door) => door,
        _ => bail!("lab {lab:?} gave a wrong answer"),
    };
    enter(&door).with_context(|| format!("{place} cannot be entered"))?;
    let mut command = Command::new(program);
    command.args(words);
    command.env("PATH", lab::sandbox::path_with_sbin());
    command.env("KUBECONFIG", Path::new(INSIDE).join("kubeconfig"));
    command.env("POINTSMAN_PLACE", place);
    let error = command.exec();
    let package = if error.kind() == ErrorKind::NotFound { "; is it installed?" } else { "" };
    bail!("cannot start {}: {error}{package}", Path::new(program).display())
}

pub(super) fn shell(lab: &str, place: &str) -> Result<()> {
    let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
    exec(lab, place, &[shell.unwrap_or_else(|| "/bin/sh".into())])
}

/// Moves this process, which has one thread, into the place.
fn enter(door: &Door) -> Result<()> {
    // All are opened before the first is entered: /proc looks different from inside.
    let of_holder = |kind: &str| PathBuf::from(format!("/proc/{}/ns/{kind}", door.holder));
    let users = other(&of_holder("user"))?;
    let mounts = open(&of_holder("mnt"))?;
    let network = open(&door.network)?;
    let folder = std::env::current_dir();
    if let Some(users) = users {
        setns(users.as_fd(), CloneFlags::CLONE_NEWUSER)?;
    }
    setns(mounts.as_fd(), CloneFlags::CLONE_NEWNS)?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)?;
    let nothing = None::<&OsStr>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
    sethostname(&door.hostname)?;
    if !door.resolv_conf.is_empty() {
        resolve(door)?;
    }
    setns(network.as_fd(), CloneFlags::CLONE_NEWNET)?;
    // A mount namespace is entered at its root.
    if let Ok(folder) = folder {
        // It may not exist there; the root is as good a place.
        let _ = std::env::set_current_dir(folder);
    }
    show_network()
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot open {}", path.display()))
}

/// A namespace, unless this process is in it already, which the kernel would refuse.
fn other(path: &Path) -> Result<Option<File>> {
    let file = open(path)?;
    let own = fs::metadata("/proc/self/ns/user")?;
    Ok(Some(file).filter(|file| !file.metadata().is_ok_and(|there| there.ino() == own.ino())))
}

/// Puts the Pod's `resolv.conf` over the machine's, in this process's mounts alone.
fn resolve(door: &Door) -> Result<()> {
    let own = Path::new(INSIDE).join(format!("resolv-{}.conf", door.hostname));
    fs::write(&own, &door.resolv_conf)?;
    let target = Path::new(RESOLV_CONF);
    // It is often a link into /run, which is the lab's own here: what it names is not there.
    if !target.exists()
        && let Ok(link) = fs::read_link(target)
    {
        let named = Path::new("/etc").join(link);
        fs::create_dir_all(named.parent().unwrap_or(Path::new("/run")))?;
        fs::write(&named, "")?;
    }
    let nothing = None::<&OsStr>;
    mount(Some(&own), target, nothing, MsFlags::MS_BIND, nothing)
        .with_context(|| format!("{RESOLV_CONF} cannot be covered"))
}

/// `/sys` shows the network of whoever mounted it; tools look there for interfaces.
fn show_network() -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    match mount(Some("sysfs"), "/sys", Some("sysfs"), flags, None::<&OsStr>) {
        // Some machines do not let users do it, and most tools do without.
        Ok(()) | Err(_) => Ok(()),
    }
}
