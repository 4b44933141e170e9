//! The resolver configuration of a host, as resolv.conf(5) has it.

use std::net::IpAddr;
use std::time::Duration;

/// What a forwarder wants to know of a `resolv.conf`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// `nameserver` lines, in order; the first three, as every resolver reads them.
    pub name_servers: Vec<IpAddr>,
    /// `options timeout:N`: how long one name server may take.
    pub timeout: Option<Duration>,
    /// `options attempts:N`: how many rounds over all name servers.
    pub attempts: Option<u32>,
    /// `nameserver` values that cannot be used, for a log line.
    pub unusable: Vec<String>,
}

/// How many `nameserver` lines count (MAXNS of resolv.conf(5)).
const MOST_SERVERS: usize = 3;

impl ResolvConf {
    /// Reads the text of a `resolv.conf`. Like every resolver it skips what it does not know.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            if line.starts_with(['#', ';']) {
                continue;
            }
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => conf.name_server(words.next().unwrap_or_default()),
                Some("options") => words.for_each(|option| conf.option(option)),
                _ => {}
            }
        }
        conf
    }

    fn name_server(&mut self, text: &str) {
        match text.parse() {
            Ok(address) if self.name_servers.len() < MOST_SERVERS => {
                self.name_servers.push(address)
            }
            // Among them an address with an interface (`fe80::1%eth0`), which needs a number that
            // only this host's kernel knows.
            _ => self.unusable.push(text.into()),
        }
    }

    fn option(&mut self, option: &str) {
        let Some((name, value)) = option.split_once(':') else { return };
        let Ok(number) = value.parse::<u32>() else { return };
        match name {
            // The limits are those of resolv.conf(5).
            "timeout" => self.timeout = Some(Duration::from_secs(number.clamp(1, 30).into())),
            "attempts" => self.attempts = Some(number.clamp(1, 5)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_three_name_servers_count() {
        let conf = ResolvConf::parse(
            "# nameserver 9.9.9.9\n; nameserver 9.9.9.8\nsearch example.com\n\
             nameserver 10.0.0.2\nnameserver   fd00::2  \nnameserver fe80::1%eth0\n\
             nameserver 10.0.0.3\nnameserver 10.0.0.4\nnameserver\n",
        );
        let expected: Vec<IpAddr> =
            ["10.0.0.2", "fd00::2", "10.0.0.3"].iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(conf.name_servers, expected);
        assert_eq!(conf.unusable, ["fe80::1%eth0", "10.0.0.4", ""]);
        assert_eq!((conf.timeout, conf.attempts), (None, None));
    }

    #[test]
    fn options_are_read_within_their_limits() {
        let conf = ResolvConf::parse("options ndots:5 timeout:1 rotate attempts:9 timeout:x\n");
        assert_eq!(conf.timeout, Some(Duration::from_secs(1)));
        assert_eq!(conf.attempts, Some(5));
    }
}
