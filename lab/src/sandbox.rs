//! A command in surroundings of its own: network, mounts and, without root, users.
//!
//! The network namespace has a loopback interface and nothing else, so no packet reaches the
//! machine's own network; `/run` is empty and writable, so that tools that lock there
//! (`iptables-legacy`) neither wait for the machine's nor need its permission.

use std::ffi::{CString, OsStr};
use std::io;
use std::process::{Command, ExitStatus};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{getgid, getuid, write};

use crate::error::LabError;
use crate::system;

/// Set in the environment of everything that runs inside a sandbox.
pub const MARK: &str = "POINTSMAN_SANDBOX";

/// Whether this process runs inside a sandbox, by the mark that [`command`] leaves.
#[must_use]
pub fn inside() -> bool {
    std::env::var_os(MARK).is_some()
}

/// A command that will run inside a sandbox. As root, mounts and network are its own; without root
/// the users too: the current user is root there, and owns all that is made inside.
///
/// Use [`status`] to run it, so that a refusal by the kernel is explained.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env(MARK, "1").env("PATH", path_with_sbin());
    let maps = Maps::of_current_user();
    system::before_exec(&mut command, move || enter(&maps));
    command
}

/// The arguments that make this very program run again, inside a sandbox.
///
/// # Errors
/// [`LabError::System`] if the program's own file cannot be found.
pub fn reexec<A: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = A>,
) -> Result<Command, LabError> {
    let program = std::env::current_exe()
        .map_err(|source| LabError::system("find this program's own file", source))?;
    let mut command = command(program);
    command.args(arguments);
    Ok(command)
}

/// Runs a sandboxed command to its end.
///
/// # Errors
/// [`LabError::NoSandbox`] if the kernel refuses the namespaces, [`LabError::System`] if the
/// program cannot be started for another reason.
pub fn status(command: &mut Command) -> Result<ExitStatus, LabError> {
    command.status().map_err(explain)
}

/// Tells a refusal of the kernel from a program that cannot be started, after an attempt to spawn a
/// sandboxed command failed.
#[must_use]
pub fn explain(source: io::Error) -> LabError {
    match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EPERM | Errno::EACCES | Errno::ENOSPC | Errno::EUSERS | Errno::ENOSYS) => {
            LabError::NoSandbox(source)
        }
        _ => LabError::system("start the command in the sandbox", source),
    }
}

/// `PATH` with the directories where Debian keeps network tools, which an ordinary user's lacks.
#[must_use]
pub fn path_with_sbin() -> String {
    let mut path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".into());
    for directory in ["/usr/local/sbin", "/usr/sbin", "/sbin"] {
        if !path.split(':').any(|part| part == directory) {
            path.push(':');
            path.push_str(directory);
        }
    }
    path
}

/// What the user-namespace files will be told, prepared before the fork.
struct Maps {
    user: CString,
    group: CString,
}

impl Maps {
    fn of_current_user() -> Self {
        let map = |id: u32| CString::new(format!("0 {id} 1")).unwrap_or_default();
        Self { user: map(getuid().as_raw()), group: map(getgid().as_raw()) }
    }
}

/// Runs in the child, with one thread and no heap.
fn enter(maps: &Maps) -> io::Result<()> {
    let own = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    match unshare(own) {
        Ok(()) => {}
        Err(Errno::EPERM) => {
            unshare(own | CloneFlags::CLONE_NEWUSER)?;
            tell(c"/proc/self/setgroups", c"deny")?;
            tell(c"/proc/self/uid_map", &maps.user)?;
            tell(c"/proc/self/gid_map", &maps.group)?;
        }
        Err(other) => return Err(other.into()),
    }
    let nothing = None::<&OsStr>;
    mount(nothing, c"/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some(c"tmpfs"), c"/run", Some(c"tmpfs"), flags, Some(c"mode=0755"))?;
    system::loopback_up()
}

fn tell(path: &std::ffi::CStr, text: &std::ffi::CStr) -> Result<(), Errno> {
    let file = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    write(file, text.to_bytes()).map(drop)
}
