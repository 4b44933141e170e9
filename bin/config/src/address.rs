//! Addresses, blocks and interface names, as a configuration writes them.
//!
//! These are the operator's own words: unlike stored API objects they get no leniency towards
//! leading zeros, which some tools read as octal.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use model::{Cidr, Family};
use plan::NodePortAddresses;

/// An address with a port, given one where it stands alone; any other text as it is.
pub(crate) fn with_port(text: &str, port: u16) -> String {
    match text.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, port).to_string(),
        Err(_) => text.into(),
    }
}

/// Reads `IP:port` with a port from 1 on.
pub(crate) fn socket(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => {
            Err(format!("{text:?} has port 0, expected 1 to 65535"))
        }
        Ok(address) => Ok(address),
        Err(_) => Err(format!("{text:?}, expected IP:port such as 127.0.0.1:10249 or [::1]:10249")),
    }
}

/// Reads a block; bits below the prefix are masked.
pub(crate) fn block(text: &str) -> Result<Cidr, String> {
    // The parser of blocks takes leading zeros, that of addresses does not.
    let address = text.split('/').next().unwrap_or_default();
    let strict = address.parse::<IpAddr>().is_ok();
    let cidr = text.parse::<Cidr>().ok().filter(|_| strict).map(|cidr| cidr.trunc());
    cidr.ok_or_else(|| {
        format!("{text:?} is not an address block such as 10.244.0.0/16 or fd00::/64")
    })
}

/// Reads `clusterCIDR`: nothing, one block, or one of each family with a comma between.
pub(crate) fn cluster_blocks(text: &str) -> Result<Vec<Cidr>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let blocks: Vec<_> = text.split(',').map(block).collect::<Result<_, _>>()?;
    for family in Family::ALL {
        let of_family = blocks.iter().filter(|cidr| Family::of_cidr(cidr) == family).count();
        if of_family > 1 {
            return Err(format!("{of_family} {family} blocks, expected at most one of a family"));
        }
    }
    Ok(blocks)
}

/// Reads `nodePortAddresses`.
pub(crate) fn node_port_addresses(words: &[String]) -> Result<NodePortAddresses, String> {
    match words {
        [] => Ok(NodePortAddresses::All),
        [word] if word == "primary" => Ok(NodePortAddresses::Primary),
        several if several.iter().any(|word| word == "primary") => {
            Err("\"primary\" stands alone or not at all".into())
        }
        blocks => {
            let blocks = blocks.iter().map(|text| block(text)).collect::<Result<_, _>>()?;
            Ok(NodePortAddresses::Cidrs(blocks))
        }
    }
}

/// Whether NodePorts of IPv4 may be reached by loopback addresses at all: a family without a block
/// accepts all of its own.
pub(crate) fn has_v4_loopback(addresses: &NodePortAddresses) -> bool {
    match addresses {
        NodePortAddresses::All => true,
        NodePortAddresses::Primary => false,
        NodePortAddresses::Cidrs(blocks) => {
            let mut v4 =
                blocks.iter().filter(|cidr| Family::of_cidr(cidr) == Family::V4).peekable();
            let loopback = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0));
            v4.peek().is_none()
                || v4.any(|cidr| cidr.addr().is_loopback() || cidr.contains(&loopback))
        }
    }
}

/// Reads an interface's name or how names start: the kernel's IFNAMSIZ leaves 15 bytes.
pub(crate) fn interface(text: &str) -> Result<String, String> {
    let odd = |c: char| c == '/' || c == '+' || c == '*' || c.is_whitespace() || c.is_control();
    if text.is_empty() {
        return Err("needed with this detectLocalMode".into());
    }
    if text.len() > 15 || text.contains(odd) {
        return Err(format!(
            "{text:?} is no interface name (at most 15 bytes, without '/', '+', '*' or blanks)"
        ));
    }
    Ok(text.into())
}

/// A node's own addresses, as far as routing asks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeIps {
    /// The family that counts first.
    pub primary: Family,
    /// Loopback, where none is known.
    pub v4: Ipv4Addr,
    /// Loopback, where none is known.
    pub v6: Ipv6Addr,
}

/// The node's addresses by kube-proxy's rules.
///
/// Of the Node object's addresses (internal before external) the first decides the primary family,
/// and the first of the other family is the second. A `bindAddress` that is not "any" overrides the
/// address of its family and makes that family the primary one.
pub fn detect_node_ips(bind_address: IpAddr, of_node: &[IpAddr]) -> NodeIps {
    let mut ips = NodeIps { primary: Family::V4, v4: Ipv4Addr::LOCALHOST, v6: Ipv6Addr::LOCALHOST };
    for address in of_node.iter().rev() {
        set(&mut ips, *address);
    }
    if !bind_address.is_unspecified() {
        set(&mut ips, bind_address.to_canonical());
    }
    ips
}

fn set(ips: &mut NodeIps, address: IpAddr) {
    ips.primary = Family::of(address);
    match address {
        IpAddr::V4(address) => ips.v4 = address,
        IpAddr::V6(address) => ips.v6 = address,
    }
}
