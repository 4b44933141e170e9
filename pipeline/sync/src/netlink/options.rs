//! Socket options of netlink that have no safe wrapper, and the buffers.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};

use crate::Error;

/// Asks for errors in words, and for replies that do not repeat the whole request.
pub(super) fn tell_errors_in_words(fd: &OwnedFd) -> Result<(), Error> {
    for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
        let on: libc::c_int = 1;
        // SAFETY: the file descriptor is open as long as `fd` lives, and the pointer and length
        // describe `on`, which the kernel only reads.
        let result = unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                (&raw const on).cast(),
                size_of_val(&on) as libc::socklen_t,
            )
        };
        Errno::result(result)
            .map_err(|errno| Error::system("set an option of a netlink socket", errno))?;
    }
    Ok(())
}

/// Sizes both buffers, past the system's limits where `force` says so and the process may. Returns
/// the size of the send buffer, in bytes.
pub(super) fn size_buffers(
    fd: &OwnedFd,
    send: usize,
    receive: usize,
    force: bool,
) -> Result<usize, Error> {
    let failed = |errno| Error::system("set the buffers of a netlink socket", errno);
    if !force || setsockopt(fd, sockopt::SndBufForce, &send).is_err() {
        setsockopt(fd, sockopt::SndBuf, &send).map_err(failed)?;
    }
    if !force || setsockopt(fd, sockopt::RcvBufForce, &receive).is_err() {
        setsockopt(fd, sockopt::RcvBuf, &receive).map_err(failed)?;
    }
    getsockopt(fd, sockopt::SndBuf).map_err(failed)
}
