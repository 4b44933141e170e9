//! What the kernel must have, tried in a transaction that is never committed.

use model::{Family, Protocol};
use render::nftables::{
    Base, ChainType, Clients, CtState, End, Field, Hook, Place, Rule, SetName, Statement, Verdict,
};

use super::layout::{number, shape};
use super::read::hook;
use super::rule::expressions;
use crate::Error;
use crate::netlink::{Encoder, Failure, Socket, refusal};
use crate::nftables::{Place as RulePlace, SUBSYSTEM, To};

/// The table that is tried. It never comes to be.
const SCRATCH: &str = "pointsman-probe";

/// What the kernel has, of what there is another form for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// The families that it has nf_tables for. IPv4 always; without IPv6 there are no IPv6 packets.
    pub families: Vec<Family>,
    /// Whether elements of maps can count (kernel 5.7). Else frontends have no counters.
    pub counters: bool,
}

/// What is missing where the kernel refuses something.
#[derive(Clone, Copy, Debug)]
struct Need {
    feature: &'static str,
    module: &'static str,
    option: &'static str,
}

const fn need(feature: &'static str, module: &'static str, option: &'static str) -> Need {
    Need { feature, module, option }
}

/// What a message of the trial tells when it is refused.
#[derive(Clone, Copy, Debug)]
enum Tells {
    /// There is no other form.
    Missing(Need),
    /// The family is missing.
    Family(Need),
    /// Elements cannot count.
    Counters(Need),
}

/// Tries everything in every family.
pub(super) fn features(socket: &mut Socket) -> Result<Features, Error> {
    crate::iptables::nf_tables(socket)?;
    let mut features = Features { families: Family::ALL.to_vec(), counters: true };
    while let Some(tells) = first_refusal(socket, &features)? {
        match tells {
            (Family::V6, Tells::Family(_)) => features.families = vec![Family::V4],
            (_, Tells::Counters(_)) if features.counters => features.counters = false,
            (_, Tells::Family(need) | Tells::Counters(need) | Tells::Missing(need)) => {
                let Need { feature, module, option } = need;
                return Err(Error::Unsupported { feature, module, option });
            }
        }
    }
    Ok(features)
}

fn first_refusal(
    socket: &mut Socket,
    features: &Features,
) -> Result<Option<(Family, Tells)>, Error> {
    for &family in &features.families {
        let mut trial = Trial { socket, out: Encoder::default(), family, tells: Vec::new() };
        trial.write(features.counters);
        let Trial { out, tells, .. } = trial;
        let reply = socket.rehearse(SUBSYSTEM, &[out.bytes()])?;
        if let Some(failure) = reply.errors.into_iter().next() {
            return read_refusal(failure, &tells).map(|tells| Some((family, tells)));
        }
    }
    Ok(None)
}

/// What a refusal tells; it may also be that we are not allowed to ask or that memory is short.
fn read_refusal(failure: Failure, tells: &[(u32, Tells)]) -> Result<Tells, Error> {
    let told = tells.iter().find(|(sequence, _)| *sequence == failure.sequence);
    match (told, failure.errno) {
        (_, libc::EPERM | libc::ENOMEM) | (None, _) => {
            Err(refusal("try what the rules need", failure.errno, failure.text))
        }
        (Some((_, tells)), _) => Ok(*tells),
    }
}

struct Trial<'a> {
    socket: &'a mut Socket,
    out: Encoder,
    family: Family,
    tells: Vec<(u32, Tells)>,
}

impl Trial<'_> {
    fn to(&mut self, tells: Tells) -> To<'static> {
        let sequence = self.socket.next_sequence();
        self.tells.push((sequence, tells));
        To { family: number(self.family), table: SCRATCH, sequence }
    }

    fn write(&mut self, counters: bool) {
        let family = match self.family {
            Family::V4 => need("nf_tables for IPv4", "nf_tables", "CONFIG_NF_TABLES_IPV4"),
            Family::V6 => need("nf_tables for IPv6", "nf_tables", "CONFIG_NF_TABLES_IPV6"),
        };
        let to = self.to(Tells::Family(family));
        to.new_table(&mut self.out);
        self.sets(counters);
        let nat = need("chains of type nat in nf_tables", "nft_chain_nat", "CONFIG_NFT_NAT");
        for (name, chain_type, hook_at, priority) in [
            ("prerouting", ChainType::Nat, Hook::Prerouting, -100),
            ("postrouting", ChainType::Nat, Hook::Postrouting, 100),
            ("forward", ChainType::Filter, Hook::Forward, 0),
        ] {
            let to = self.to(Tells::Missing(nat));
            let base = Base { chain_type, hook: hook_at, priority };
            to.new_base_chain(&mut self.out, name, hook(base));
        }
        for (chain, need, rule) in rules(self.family) {
            let family = self.family;
            let to = self.to(Tells::Missing(need));
            to.new_rule(&mut self.out, chain, RulePlace::Last, false, None, |out| {
                expressions(family, &rule, &mut |native| native.write(out));
            });
        }
    }

    fn sets(&mut self, counters: bool) {
        let plain = need("sets of nf_tables", "nf_tables", "CONFIG_NF_TABLES");
        let several = need(
            "sets of ranges of several fields in nf_tables (since 5.6)",
            "nf_tables",
            "CONFIG_NF_TABLES",
        );
        let dynamic = need("maps that rules fill in nf_tables", "nf_tables", "CONFIG_NF_TABLES");
        for (id, name) in (1..).zip(SetName::all()) {
            let tells = match name {
                SetName::Dispatch(..) if counters => Tells::Counters(plain),
                SetName::AllowedSources => Tells::Missing(several),
                SetName::Affinity => Tells::Missing(dynamic),
                _ => Tells::Missing(plain),
            };
            let shape = shape(self.family, &name, 1, counters);
            let to = self.to(tells);
            to.new_set(&mut self.out, &name.to_string(), id, &shape);
        }
    }
}

/// A rule of the trial, with its chain and what its refusal shows to be missing.
type TrialRule = (&'static str, Need, Rule);

/// Rules with every expression that there is.
fn rules(family: Family) -> Vec<TrialRule> {
    let ct = need("expression `ct` of nf_tables", "nft_ct", "CONFIG_NFT_CT");
    let (fib, reject) = match family {
        Family::V4 => (
            need("expression `fib` for IPv4", "nft_fib_ipv4", "CONFIG_NFT_FIB_IPV4"),
            need("`reject` for IPv4 before routing", "nft_reject_ipv4", "CONFIG_NFT_REJECT_IPV4"),
        ),
        Family::V6 => (
            need("expression `fib` for IPv6", "nft_fib_ipv6", "CONFIG_NFT_FIB_IPV6"),
            need("`reject` for IPv6 before routing", "nft_reject_ipv6", "CONFIG_NFT_REJECT_IPV6"),
        ),
    };
    let masquerade = need("expression `masq` of nf_tables", "nft_masq", "CONFIG_NFT_MASQ");
    let rule = |statement| vec![statement];
    let mut rules = vec![
        ("prerouting", ct, rule(Statement::CtState(CtState::New))),
        ("prerouting", ct, rule(Statement::AddCtMark(1))),
        ("prerouting", fib, rule(Statement::Local { end: End::Source, inverted: true })),
    ];
    rules.extend(map_rules());
    let masquerading = vec![
        Statement::Protocol(Protocol::Tcp),
        Statement::Masquerade { first: 32_768, last: 65_535 },
    ];
    rules.extend([
        ("prerouting", reject, rule(Statement::Verdict(Verdict::Reject))),
        ("postrouting", masquerade, masquerading),
        ("forward", reject, rule(Statement::Verdict(Verdict::Reject))),
    ]);
    rules
}

/// Those that look something up in a set or map, or change one.
fn map_rules() -> Vec<TrialRule> {
    let frontend = Place::Address.key();
    let client = [vec![Field::SourceAddress], frontend.clone()].concat();
    let indexed = [frontend.clone(), vec![Field::RandomIndex { modulus: 2 }]].concat();
    let by_id = [frontend.clone(), vec![Field::EndpointId]].concat();
    let first = |wanted: fn(&SetName) -> bool| {
        SetName::all().into_iter().find(wanted).unwrap_or(SetName::Affinity)
    };
    let slots = first(|name| matches!(name, SetName::StickySlots(Place::Address, _)));
    let endpoints = first(|name| matches!(name, SetName::StickyEndpoints(Place::Address, _)));
    let affinity = || SetName::Affinity;
    let dispatch = SetName::Dispatch(Place::Address, Clients::All);
    let core = |feature| need(feature, "nf_tables", "CONFIG_NF_TABLES");
    let numgen = need("expression `numgen` of nf_tables", "nft_numgen", "CONFIG_NFT_NUMGEN");
    let dnat = need("expression `nat` of nf_tables", "nft_nat", "CONFIG_NFT_NAT");
    let allowed =
        Statement::In { key: client.clone(), inverted: true, set: SetName::AllowedSources };
    let all = [
        (core("ranges of several fields in rules of nf_tables"), allowed),
        (
            core("verdict maps of several fields in nf_tables"),
            Statement::Dispatch { key: frontend, map: dispatch },
        ),
        (numgen, Statement::LoadEndpointId { key: indexed, map: slots }),
        (
            core("rules of nf_tables that fill maps"),
            Statement::Remember { key: client.clone(), map: affinity(), seconds: 1 },
        ),
        (
            core("rules of nf_tables that take elements out of maps (since 5.4)"),
            Statement::Forget { key: client, map: affinity() },
        ),
        (dnat, Statement::Dnat { key: by_id, map: endpoints }),
    ];
    all.map(|(need, statement)| ("prerouting", need, vec![statement])).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_what_is_missing() {
        let need = need("expression `fib`", "nft_fib_ipv4", "CONFIG_NFT_FIB_IPV4");
        let tells = [(7, Tells::Family(need)), (8, Tells::Missing(need))];
        let failure = |sequence, errno| Failure { sequence, errno, text: None };
        let told = read_refusal(failure(8, libc::ENOENT), &tells).unwrap();
        assert!(matches!(told, Tells::Missing(told) if told.option == "CONFIG_NFT_FIB_IPV4"));
        let refused = read_refusal(failure(8, libc::EPERM), &tells);
        assert!(matches!(refused, Err(Error::NotPermitted)));
        assert!(read_refusal(failure(9, libc::EINVAL), &tells).is_err());
    }
}
