//! Policies, normalised (see [`model::NetworkPolicy`] and [`model::ClusterNetworkPolicy`]).

mod cluster;
mod network;
mod read;
mod selector;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use model::{Cidr, Protocol, parse_cidr};

use self::read::{At, Read};
use self::selector::selector;
use super::Names;

pub use cluster::cluster_network_policy;
pub use network::network_policy;

/// A block, in canonical form.
fn cidr(at: &At<'_>) -> Read<Cidr> {
    let expected = "an address block such as 10.0.0.0/8 or fd00::/64";
    parse_cidr(at.text()?).map_err(|_| at.fault(expected))
}

fn protocol(at: &At<'_>) -> Read<Protocol> {
    // The API knows the upper-case words alone.
    let read = |text: &str| Protocol::ALL.into_iter().find(|known| known.to_string() == text);
    read(at.text()?).ok_or_else(|| at.fault("TCP, UDP or SCTP"))
}

/// The name of a port: a service name as IANA registers them (RFC 6335), in lower case.
fn port_name(at: &At<'_>, names: &mut Names) -> Read<Arc<str>> {
    let text = at.text()?;
    let bytes = text.as_bytes();
    let right = (1..=15).contains(&bytes.len())
        && bytes.iter().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || *it == b'-')
        && bytes.iter().any(u8::is_ascii_lowercase)
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--");
    if !right {
        return Err(at.fault("a port number or a port's name"));
    }
    Ok(names.intern(text))
}
