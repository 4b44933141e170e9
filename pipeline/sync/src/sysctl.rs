//! Kernel settings of the calling thread's network namespace, under `/proc/sys`.

use std::fs;

use crate::Error;

/// Lets packets to loopback addresses be routed, which NodePorts on 127.0.0.1 need (IPv4).
pub const ROUTE_LOCALNET: &str = "net/ipv4/conf/all/route_localnet";
/// Whether connection tracking takes out-of-window segments for INVALID (0) or not (1).
pub const CONNTRACK_TCP_BE_LIBERAL: &str = "net/netfilter/nf_conntrack_tcp_be_liberal";

fn path(name: &str) -> String {
    format!("/proc/sys/{name}")
}

/// Reads a setting, without the line's end. `name` has slashes, such as `net/ipv4/ip_forward`.
///
/// # Errors
/// [`Error::System`] with the path.
pub fn read(name: &str) -> Result<String, Error> {
    let path = path(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(error) => Err(Error::system(format!("read {path}"), error)),
    }
}

/// Writes a setting, unless it has that value already: a file system that is read-only does not
/// matter then.
///
/// # Errors
/// [`Error::System`] with the path and the value.
pub fn write(name: &str, value: &str) -> Result<(), Error> {
    if read(name)? == value {
        return Ok(());
    }
    let path = path(name);
    let failed = |error| Error::system(format!("write {value:?} to {path}"), error);
    fs::write(&path, value).map_err(failed)
}

/// Whether connection tracking is liberal about TCP windows, so that no INVALID packet needs to be
/// dropped.
///
/// # Errors
/// [`Error::System`] with the path, for one where the module nf_conntrack is not loaded.
pub fn conntrack_tcp_be_liberal() -> Result<bool, Error> {
    Ok(read(CONNTRACK_TCP_BE_LIBERAL)? != "0")
}
