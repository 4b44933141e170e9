//! Rules in the words of `iptables-save` (1.8.9, nf_tables), to the byte.

use std::fmt::{self, Display, Formatter, Write};

use model::Family;
use plan::policy::PortRange;

use super::{ChainId, CtStates, Inverted, Match, Recent, Rule, Ruleset, Table, Target, bpf};

/// One half: the unit of [`Match::Random`] is 2⁻³¹.
const RANDOM_UNITS: f64 = 2_147_483_648.0;

impl Rule {
    /// The rule as `iptables-save` or `ip6tables-save` prints it after `-A CHAIN `. Some words
    /// depend on the family even where no address is named, such as the ICMP error of a reject.
    #[must_use]
    pub fn display(&self, family: Family) -> impl Display {
        Words { rule: self, family }
    }

    /// The family of the addresses that the rule names.
    fn family(&self) -> Option<Family> {
        let blocks = [&self.source, &self.destination].into_iter().flatten();
        let blocks = blocks.map(|block| Family::of_cidr(&block.value)).next();
        blocks.or(match &self.target {
            Some(Target::Dnat(to)) => Some(Family::of(to.ip())),
            _ => None,
        })
    }
}

impl Display for Rule {
    /// As [`Rule::display`], for the family of the rule's addresses; a rule without any is printed
    /// as IPv4.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Words { rule: self, family: self.family().unwrap_or(Family::V4) }.fmt(f)
    }
}

struct Words<'a> {
    rule: &'a Rule,
    family: Family,
}

impl Display for Words<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut words = Spaced { f, first: true };
        let rule = self.rule;
        if let Some(Inverted { inverted, value }) = &rule.source {
            words.inverted(*inverted, format_args!("-s {value}"))?;
        }
        if let Some(Inverted { inverted, value }) = &rule.destination {
            words.inverted(*inverted, format_args!("-d {value}"))?;
        }
        if let Some(Inverted { inverted, value }) = &rule.in_interface {
            words.inverted(*inverted, format_args!("-i {value}"))?;
        }
        if let Some(protocol) = rule.protocol {
            words.word(format_args!("-p {}", protocol.lower()))?;
        } else if rule.is_icmpv6() {
            words.word("-p ipv6-icmp")?;
        }
        for one in &rule.matches {
            self.one_match(one, &mut words)?;
        }
        rule.target.iter().try_for_each(|target| self.target(target, &mut words))
    }
}

impl Words<'_> {
    fn one_match(&self, one: &Match, words: &mut Spaced<'_, '_>) -> fmt::Result {
        match one {
            Match::Comment(text) => {
                words.word(format_args!("-m comment --comment {}", Quoted(text)))
            }
            Match::DestinationPort(protocol, port) => {
                words.word(format_args!("-m {} --dport {port}", protocol.lower()))
            }
            Match::Bare(protocol) => words.word(format_args!("-m {}", protocol.lower())),
            Match::Mark { inverted, value, mask } => {
                words.word("-m mark")?;
                words.inverted(*inverted, format_args!("--mark {value:#x}"))?;
                if *mask == u32::MAX { Ok(()) } else { write!(words.f, "/{mask:#x}") }
            }
            Match::SourceLocal => words.word("-m addrtype --src-type LOCAL"),
            Match::DestinationLocal => words.word("-m addrtype --dst-type LOCAL"),
            Match::CtState { inverted, states } => {
                words.word("-m conntrack")?;
                words.inverted(*inverted, format_args!("--ctstate {}", states.names().join(",")))
            }
            Match::Recent { list, action } => {
                words.word("-m recent")?;
                match action {
                    Recent::Check { seconds } => {
                        words.word(format_args!("--rcheck --seconds {seconds} --reap"))?;
                    }
                    Recent::Set => words.word("--set")?,
                }
                let mask = match self.family {
                    Family::V4 => "255.255.255.255",
                    Family::V6 => "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                };
                words.word(format_args!("--name {list} --mask {mask} --rsource"))
            }
            Match::Random(units) => {
                let share = f64::from(*units) / RANDOM_UNITS;
                words.word(format_args!("-m statistic --mode random --probability {share:.11}"))
            }
            // The tool prints two spaces here.
            Match::Nfacct(name) => words.word(format_args!("-m nfacct --nfacct-name  {name}")),
            Match::Set { inverted, set, lookup } => {
                words.word("-m set")?;
                words.inverted(*inverted, format_args!("--match-set {set} {}", lookup.words()))
            }
            Match::ConnMark { value, mask } => {
                words.word(format_args!("-m connmark --mark {value:#x}/{mask:#x}"))
            }
            Match::DestinationPorts(ranges) => {
                let ranges: Vec<String> = ranges.iter().map(ports).collect();
                words.word(format_args!("-m multiport --dports {}", ranges.join(",")))
            }
            Match::Icmpv6Type(kind) => words.word(format_args!("-m icmp6 --icmpv6-type {kind}")),
            Match::NotSyn => words.word("-m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN"),
            Match::SourceIsDestination => {
                let code = bpf::source_is_destination(self.family);
                words.word(format_args!("-m bpf --bytecode {}", Quoted(&bpf::text(&code))))
            }
            Match::Limit { rate, burst } => {
                words.word(format_args!("-m limit --limit {rate}/sec --limit-burst {burst}"))
            }
        }
    }

    fn target(&self, target: &Target, words: &mut Spaced<'_, '_>) -> fmt::Result {
        match target {
            Target::Jump(chain) => words.word(format_args!("-j {chain}")),
            Target::Goto(chain) => words.word(format_args!("-g {chain}")),
            Target::Return => words.word("-j RETURN"),
            Target::Accept => words.word("-j ACCEPT"),
            Target::Drop => words.word("-j DROP"),
            Target::Reject => words.word(match self.family {
                Family::V4 => "-j REJECT --reject-with icmp-port-unreachable",
                Family::V6 => "-j REJECT --reject-with icmp6-port-unreachable",
            }),
            Target::Dnat(to) => words.word(format_args!("-j DNAT --to-destination {to}")),
            Target::Masquerade { random_fully: false } => words.word("-j MASQUERADE"),
            Target::Masquerade { random_fully: true } => words.word("-j MASQUERADE --random-fully"),
            Target::Mark { value, mask } => {
                words.word(format_args!("-j MARK --set-xmark {value:#x}/{mask:#x}"))
            }
            Target::AddToSet { set, lookup } => {
                words.word(format_args!("-j SET --add-set {set} {}", lookup.words()))
            }
            Target::NfLog { group, prefix } => {
                let prefix = Quoted(prefix);
                words.word(format_args!("-j NFLOG --nflog-prefix {prefix} --nflog-group {group}"))
            }
        }
    }
}

fn ports(range: &PortRange) -> String {
    match *range {
        PortRange { first, last } if first == last => first.to_string(),
        PortRange { first, last } => format!("{first}:{last}"),
    }
}

impl CtStates {
    /// The names of the states that are set, in the tool's order.
    fn names(self) -> Vec<&'static str> {
        let all = [
            (self.invalid, "INVALID"),
            (self.new, "NEW"),
            (self.related, "RELATED"),
            (self.established, "ESTABLISHED"),
            (self.dnat, "DNAT"),
        ];
        all.into_iter().filter_map(|(set, name)| set.then_some(name)).collect()
    }
}

/// Puts one space between words.
struct Spaced<'a, 'b> {
    f: &'a mut Formatter<'b>,
    first: bool,
}

impl Spaced<'_, '_> {
    fn word(&mut self, word: impl Display) -> fmt::Result {
        if !std::mem::replace(&mut self.first, false) {
            self.f.write_char(' ')?;
        }
        write!(self.f, "{word}")
    }

    fn inverted(&mut self, inverted: bool, word: impl Display) -> fmt::Result {
        if inverted {
            self.word("!")?;
        }
        self.word(word)
    }
}

/// A comment, quoted only where a shell would need it.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if !self.0.is_empty() && self.0.chars().all(plain) {
            return f.write_str(self.0);
        }
        f.write_char('"')?;
        for c in self.0.chars() {
            if matches!(c, '"' | '\'' | '\\') {
                f.write_char('\\')?;
            }
            f.write_char(c)?;
        }
        f.write_char('"')
    }
}

impl Ruleset {
    /// The rules of one family as `iptables-save` would print them on a host that holds nothing
    /// else, without its comment lines. `iptables-restore` takes it.
    #[must_use]
    pub fn to_text(&self, family: Family) -> String {
        let (own, built_in) = (self.chains(), self.built_in());
        let mut text = String::new();
        for (table, hooks) in [
            (Table::Filter, ["INPUT", "FORWARD", "OUTPUT"].as_slice()),
            (Table::Nat, ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"].as_slice()),
        ] {
            let hooks = hooks.iter().map(|name| ChainId::new(family, table, *name));
            let empty = Vec::new();
            let hooks: Vec<_> =
                hooks.map(|chain| (built_in.get(&chain).unwrap_or(&empty), chain)).collect();
            let here = |chain: &ChainId| chain.family == family && chain.table == table;
            let ours: Vec<_> = own.iter().filter(|(chain, _)| here(chain)).collect();
            text.push_str(&format!("*{table}\n"));
            for (_, chain) in &hooks {
                text.push_str(&format!(":{} ACCEPT [0:0]\n", chain.name));
            }
            for (chain, _) in &ours {
                text.push_str(&format!(":{} - [0:0]\n", chain.name));
            }
            let all = hooks.iter().map(|(rules, chain)| (chain, *rules)).chain(ours);
            for (chain, rules) in all {
                for rule in rules {
                    let words = rule.display(family).to_string();
                    let gap = if words.is_empty() { "" } else { " " };
                    text.push_str(&format!("-A {}{gap}{words}\n", chain.name));
                }
            }
            text.push_str("COMMIT\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::Protocol;

    use super::*;

    fn words(one: Match) -> String {
        Rule::default().matching(one).to_string()
    }

    #[test]
    fn comments_are_quoted_where_a_shell_needs_it() {
        let quoted = |text: &str| words(Match::Comment(text.into()));
        assert_eq!(quoted("plain_text-1"), "-m comment --comment plain_text-1");
        assert_eq!(quoted("ns/svc:p"), r#"-m comment --comment "ns/svc:p""#);
        assert_eq!(quoted(""), r#"-m comment --comment """#);
        assert_eq!(quoted(r#"a"b'c\d"#), r#"-m comment --comment "a\"b\'c\\d""#);
    }

    #[test]
    fn words_that_depend_on_the_family() {
        let reject = Rule::to(Target::Reject);
        assert_eq!(
            reject.display(Family::V4).to_string(),
            "-j REJECT --reject-with icmp-port-unreachable"
        );
        assert_eq!(
            reject.display(Family::V6).to_string(),
            "-j REJECT --reject-with icmp6-port-unreachable"
        );
        let six =
            Rule { destination: Some(Inverted::is("fd00::1/128".parse().unwrap())), ..reject };
        assert_eq!(
            six.to_string(),
            "-d fd00::1/128 -j REJECT --reject-with icmp6-port-unreachable"
        );
        let to = Rule::to(Target::Dnat("[fd00::1]:80".parse().unwrap()));
        let list: Arc<str> = "KUBE-SEP-A".into();
        assert_eq!(
            to.matching(Match::Recent { list, action: Recent::Set }).to_string(),
            "-m recent --set --name KUBE-SEP-A \
             --mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff --rsource \
             -j DNAT --to-destination [fd00::1]:80"
        );
    }

    #[test]
    fn generic_parts_come_first_whatever_was_said_first() {
        let rule = Rule {
            source: Some(Inverted::is_not("10.0.0.0/8".parse().unwrap())),
            destination: Some(Inverted::is("10.1.0.1/32".parse().unwrap())),
            in_interface: Some(Inverted::is_not("cni+".into())),
            protocol: Some(Protocol::Udp),
            ..Rule::to(Target::Return)
        };
        assert_eq!(
            rule.matching(Match::DestinationPort(Protocol::Udp, 53)).to_string(),
            "! -s 10.0.0.0/8 -d 10.1.0.1/32 ! -i cni+ -p udp -m udp --dport 53 -j RETURN"
        );
    }

    #[test]
    fn marks_and_states() {
        let mark = |inverted, value, mask| words(Match::Mark { inverted, value, mask });
        assert_eq!(mark(true, 0x4000, 0x4000), "-m mark ! --mark 0x4000/0x4000");
        assert_eq!(mark(false, 1, u32::MAX), "-m mark --mark 0x1");
        let states =
            CtStates { dnat: true, related: true, established: true, ..CtStates::default() };
        assert_eq!(
            words(Match::CtState { inverted: true, states }),
            "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT"
        );
        assert_eq!(
            Rule::to(Target::Mark { value: 0x4000, mask: 0 }).to_string(),
            "-j MARK --set-xmark 0x4000/0x0"
        );
    }
}
