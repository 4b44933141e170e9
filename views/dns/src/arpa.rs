//! Names that stand for addresses.

use std::net::IpAddr;

use hickory_proto::rr::Name;

/// What a name below `arpa` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arpa {
    /// One address.
    Address(IpAddr),
    /// A block of addresses, or nothing.
    Other,
}

/// The zones in which names stand for addresses.
const ZONES: [&str; 2] = ["in-addr.arpa.", "ip6.arpa."];

/// What a name of a reverse zone stands for; `None` if it is in no reverse zone.
pub(crate) fn parse(name: &Name) -> Option<Arpa> {
    zone_of(name)?;
    Some(match name.parse_arpa_name() {
        Ok(net) if net.prefix_len() == net.max_prefix_len() => Arpa::Address(net.addr()),
        _ => Arpa::Other,
    })
}

/// The reverse zone that a name is in.
pub(crate) fn zone_of(name: &Name) -> Option<Name> {
    let last = name.iter().next_back()?;
    if !last.eq_ignore_ascii_case(b"arpa") {
        return None;
    }
    ZONES.iter().filter_map(|zone| Name::from_ascii(zone).ok()).find(|zone| zone.zone_of(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str) -> Option<Arpa> {
        parse(&Name::from_ascii(name).unwrap())
    }

    #[test]
    fn addresses_are_read_back() {
        for text in ["10.96.0.1", "255.0.0.255", "fd00::a", "::", "2001:db8::1:2"] {
            let address: IpAddr = text.parse().unwrap();
            let mut name = Name::from(address);
            name.set_fqdn(true);
            assert_eq!(parse(&name), Some(Arpa::Address(address)), "{name}");
        }
        let upper = parsed("1.0.96.10.IN-ADDR.ARPA.");
        assert_eq!(upper, Some(Arpa::Address("10.96.0.1".parse().unwrap())));
    }

    #[test]
    fn blocks_and_nonsense_are_no_addresses() {
        for name in [
            "in-addr.arpa.",
            "10.in-addr.arpa.",
            "0.96.10.in-addr.arpa.",
            "ip6.arpa.",
            "256.0.0.10.in-addr.arpa.",
            "x.0.0.10.in-addr.arpa.",
            "1.1.0.96.10.in-addr.arpa.",
            "g.f.ip6.arpa.",
            "_tcp.1.0.96.10.in-addr.arpa.",
        ] {
            assert_eq!(parsed(name), Some(Arpa::Other), "{name}");
        }
        for name in ["arpa.", "home.arpa.", "example.com.", ".", "in-addr.arpa.example."] {
            assert_eq!(parsed(name), None, "{name}");
        }
    }
}
