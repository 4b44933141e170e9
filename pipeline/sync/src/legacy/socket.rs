//! The only way to read legacy tables: `getsockopt` with a structure that goes both ways.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd};

use model::Family;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::Error;

/// `IPT_SO_GET_INFO` and `IP6T_SO_GET_INFO`
const GET_INFO: libc::c_int = 64;
/// `IPT_SO_GET_ENTRIES` and `IP6T_SO_GET_ENTRIES`
const GET_ENTRIES: libc::c_int = 65;
/// `XT_TABLE_MAXNAMELEN`
pub(super) const TABLE_NAME: usize = 32;
/// Length of `struct ipt_getinfo`.
const INFO: usize = 84;
/// Where the entries begin in `struct ipt_get_entries`.
pub(super) const ENTRIES: usize = 40;
/// How often both questions are asked again when the table changes between them.
const ATTEMPTS: usize = 10;

/// Reads `struct ipt_getinfo` and `struct ipt_get_entries` of a table.
pub(super) fn read_table(family: Family, name: &str) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let failed = |errno| match errno {
        Errno::EPERM => Error::NotPermitted,
        errno => Error::system(format!("read the legacy {family} table {name}"), errno),
    };
    let domain = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    let fd = socket(domain, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).map_err(failed)?;
    let mut last = Errno::EAGAIN;
    for _ in 0..ATTEMPTS {
        let mut info = vec![0; INFO];
        put(&mut info, 0, name.as_bytes());
        get(&fd, family, GET_INFO, &mut info).map_err(failed)?;
        let size = crate::netlink::read_u32(&info, INFO - 4).unwrap_or_default();
        let mut entries = vec![0; ENTRIES + size as usize];
        put(&mut entries, 0, name.as_bytes());
        put(&mut entries, TABLE_NAME, &size.to_ne_bytes());
        match get(&fd, family, GET_ENTRIES, &mut entries) {
            Ok(()) => return Ok((info, entries)),
            Err(errno @ (Errno::EAGAIN | Errno::EINVAL)) => last = errno,
            Err(errno) => return Err(failed(errno)),
        }
    }
    Err(failed(last))
}

fn put(buffer: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(field) = buffer.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

fn get(fd: &OwnedFd, family: Family, option: libc::c_int, buffer: &mut [u8]) -> Result<(), Errno> {
    let level = match family {
        Family::V4 => libc::IPPROTO_IP,
        Family::V6 => libc::IPPROTO_IPV6,
    };
    let mut length = buffer.len() as libc::socklen_t;
    // SAFETY: the descriptor is open as long as `fd` lives; the pointer and the length describe
    // `buffer`, which the kernel reads and fills up to that length.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, option, buffer.as_mut_ptr().cast(), &raw mut length)
    };
    Errno::result(result).map(|_| ())
}
