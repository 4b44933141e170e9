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

/// Sizes the receive buffer, past the system's limit where the process may.
pub(super) fn size_receive_buffer(fd: &OwnedFd, wished: usize) -> Result<(), Error> {
    if setsockopt(fd, sockopt::RcvBufForce, &wished).is_err() {
        setsockopt(fd, sockopt::RcvBuf, &wished)
            .map_err(|errno| Error::system("set the buffer of a netlink socket", errno))?;
    }
    Ok(())
}

/// Lets the kernel throw away, before they take any room, messages that sockets with these ports
/// caused.
pub(super) fn be_deaf_to(fd: &OwnedFd, ports: &[u32]) -> Result<(), Error> {
    /// Where a message's header has the port.
    const PORT: u32 = 12;
    /// Load a word, in network order, from a place.
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const SKIP_UNLESS_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    if ports.is_empty() {
        return Ok(());
    }
    let step = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    let mut program = vec![step(LOAD, 0, PORT)];
    for port in ports {
        // The header is in the machine's order, the loaded word is not.
        program.push(step(SKIP_UNLESS_EQUAL, 1, port.to_be()));
        program.push(step(RETURN, 0, 0));
    }
    program.push(step(RETURN, 0, u32::MAX));
    let length = u16::try_from(program.len())
        .map_err(|_| Error::system("be deaf to so many sockets", Errno::E2BIG))?;
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: the file descriptor is open as long as `fd` lives. The pointer and length describe
    // `filter`, which points to `length` instructions in `program`; both outlive the call, and the
    // kernel copies what it reads.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size_of_val(&filter) as libc::socklen_t,
        )
    };
    Errno::result(result)
        .map(drop)
        .map_err(|errno| Error::system("set the filter of a netlink socket", errno))
}
