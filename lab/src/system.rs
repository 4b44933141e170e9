//! The two system calls that the standard library and nix have no safe name for.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Runs `work` in the child between fork and exec.
///
/// `work` may only make system calls: no allocation, no lock, no thread.
pub(crate) fn before_exec(
    command: &mut Command,
    work: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: the child has one thread and a copy of the parent's memory in which any lock may be
    // held for ever. All callers (namespace.rs, sandbox.rs) pass closures that do system calls on
    // values prepared before the fork and touch neither the heap nor a lock.
    unsafe { command.pre_exec(work) };
}

/// Sets the loopback interface of the calling thread's network namespace up, as `ip link set lo
/// up` does. Allocates nothing.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: ifreq is plain data (integers, arrays and pointers); all bits zero is a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = (*from).cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which `request` is, and keeps no reference to it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
