//! A network namespace that exists as long as somebody holds it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

use crate::error::LabError;
use crate::{sandbox, system};

/// A network namespace, held by a file descriptor.
///
/// The kernel removes it, with every interface, route and rule in it, when the last clone, socket
/// and process in it is gone. It has no name in the file system and needs no clean-up.
#[derive(Clone, Debug)]
pub struct Namespace {
    held: Arc<OwnedFd>,
}

impl Namespace {
    /// Makes an empty namespace whose loopback interface is up.
    ///
    /// # Errors
    /// [`LabError::NoNamespace`] without the right to make one.
    pub fn new() -> Result<Self, LabError> {
        on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(LabError::NoNamespace)?;
            system::loopback_up()
                .map_err(|source| LabError::system("set the loopback interface up", source))?;
            Self::current()
        })?
    }

    /// The namespace that the calling thread is in.
    ///
    /// # Errors
    /// [`LabError::System`] if `/proc` is not there.
    pub fn current() -> Result<Self, LabError> {
        let file = File::open("/proc/thread-self/ns/net")
            .map_err(|source| LabError::system("open /proc/thread-self/ns/net", source))?;
        Ok(Self { held: Arc::new(file.into()) })
    }

    /// The namespace that a path stands for, such as another process's [`path`](Self::path).
    ///
    /// # Errors
    /// [`LabError::System`] if there is nothing at the path, or it may not be opened.
    pub fn open(path: &Path) -> Result<Self, LabError> {
        let file = File::open(path)
            .map_err(|source| LabError::system("open the path of a network namespace", source))?;
        Ok(Self { held: Arc::new(file.into()) })
    }

    /// Runs `work` on a thread inside the namespace and hands back what it returns. Sockets that it
    /// opens stay in the namespace wherever they are used later. A panic in `work` goes on here.
    ///
    /// # Errors
    /// [`LabError::System`] if no thread can be started or the kernel refuses the entry.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        on_own_thread(|| {
            self.enter().map_err(|error| LabError::system("enter a network namespace", error))?;
            Ok(work())
        })?
    }

    /// A command that will run inside the namespace.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("PATH", sandbox::path_with_sbin());
        let namespace = self.clone();
        system::before_exec(&mut command, move || namespace.enter().map_err(Into::into));
        command
    }

    /// A [`command`](Self::command) that the kernel ends (SIGTERM) when the thread that started it
    /// ends, by whatever cause.
    pub fn follower(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command(program);
        system::before_exec(&mut command, || {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM).map_err(Into::into)
        });
        command
    }

    /// A path that stands for the namespace as long as this process holds it, for example for
    /// `ip link set eth0 netns PATH`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.held.as_raw_fd()))
    }

    /// Writes a kernel setting, `name` being its path below `/proc/sys`, inside the namespace only.
    ///
    /// # Errors
    /// [`LabError::Sysctl`] if the setting does not exist or does not accept the value.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<(), LabError> {
        self.run(|| write_sysctl(name, value))?
    }

    /// Reads a kernel setting of the namespace, without the line end.
    ///
    /// # Errors
    /// [`LabError::System`] if the setting does not exist.
    pub fn sysctl(&self, name: &str) -> Result<String, LabError> {
        self.run(|| fs::read_to_string(sysctl_path(name)))?
            .map(|text| text.trim_end().to_owned())
            .map_err(|source| LabError::system("read a kernel setting", source))
    }

    /// The number by which the kernel knows the namespace (`net:[4026531840]`).
    ///
    /// # Errors
    /// [`LabError::System`] if the descriptor cannot be looked at.
    pub fn id(&self) -> Result<u64, LabError> {
        fs::metadata(self.path())
            .map(|metadata| metadata.ino())
            .map_err(|source| LabError::system("look at a network namespace", source))
    }

    fn enter(&self) -> Result<(), Errno> {
        setns(self.held.as_fd(), CloneFlags::CLONE_NEWNET)
    }
}

/// Writes a setting in the calling thread's namespace.
pub(crate) fn write_sysctl(name: &str, value: &str) -> Result<(), LabError> {
    fs::write(sysctl_path(name), value).map_err(|source| LabError::Sysctl {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
    })
}

fn sysctl_path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}

/// A thread's namespace is its own, so a thread that ends leaves nobody in the wrong one.
fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
    thread::scope(|scope| {
        let handle = thread::Builder::new()
            .name("lab-namespace".into())
            .spawn_scoped(scope, work)
            .map_err(|source| LabError::system("start a thread", source))?;
        handle.join().map_err(|panic| std::panic::resume_unwind(panic))
    })
}
