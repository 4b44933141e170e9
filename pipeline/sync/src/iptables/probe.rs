//! What the kernel must have, asked for before anything is written.

use model::Family;
use render::iptables::ipset::SetKind;

use super::encode::number;
use crate::Error;
use crate::ipset::Sets;
use crate::netlink::{ACK, Encoder, Header, REQUEST, Socket};
use crate::nftables::To;

/// `NFNL_SUBSYS_NFT_COMPAT`
const COMPAT_SUBSYSTEM: u16 = 11;

/// `NFTA_COMPAT_TYPE`
#[derive(Clone, Copy)]
enum Kind {
    Match = 0,
    Target = 1,
}

/// One extension of iptables.
struct Extension {
    name: &'static str,
    revision: u32,
    kind: Kind,
    feature: &'static str,
    module: &'static str,
    option: &'static str,
}

const fn extension(
    name: &'static str,
    (kind, revision): (Kind, u32),
    feature: &'static str,
    module: &'static str,
    option: &'static str,
) -> Extension {
    Extension { name, revision, kind, feature, module, option }
}

/// What the rules of every Service need. `recent`, `sctp` and `nfacct` are needed by some alone,
/// which are refused one by one.
const NEEDED: [Extension; 9] = [
    extension(
        "comment",
        (Kind::Match, 0),
        "match `comment` of iptables",
        "xt_comment",
        "CONFIG_NETFILTER_XT_MATCH_COMMENT",
    ),
    extension(
        "tcp",
        (Kind::Match, 0),
        "match `tcp` of iptables",
        "xt_tcpudp",
        "CONFIG_NETFILTER_XTABLES",
    ),
    extension(
        "conntrack",
        (Kind::Match, 3),
        "match `conntrack` (revision 3) of iptables",
        "xt_conntrack",
        "CONFIG_NETFILTER_XT_MATCH_CONNTRACK",
    ),
    extension(
        "addrtype",
        (Kind::Match, 1),
        "match `addrtype` (revision 1) of iptables",
        "xt_addrtype",
        "CONFIG_NETFILTER_XT_MATCH_ADDRTYPE",
    ),
    extension(
        "statistic",
        (Kind::Match, 0),
        "match `statistic` of iptables",
        "xt_statistic",
        "CONFIG_NETFILTER_XT_MATCH_STATISTIC",
    ),
    extension(
        "DNAT",
        (Kind::Target, 2),
        "target `DNAT` (revision 2) of iptables",
        "xt_nat",
        "CONFIG_NETFILTER_XT_NAT",
    ),
    extension(
        "MARK",
        (Kind::Target, 2),
        "target `MARK` (revision 2) of iptables",
        "xt_mark",
        "CONFIG_NETFILTER_XT_TARGET_MARK",
    ),
    extension(
        "MASQUERADE",
        (Kind::Target, 0),
        "target `MASQUERADE` of iptables",
        "xt_MASQUERADE",
        "CONFIG_NETFILTER_XT_TARGET_MASQUERADE",
    ),
    extension(
        "REJECT",
        (Kind::Target, 0),
        "target `REJECT` of iptables",
        "ipt_REJECT",
        "CONFIG_IP_NF_TARGET_REJECT",
    ),
];

/// Makes sure that we may ask, and that there are nf_tables.
pub(crate) fn nf_tables(socket: &mut Socket) -> Result<(), Error> {
    let mut request = Encoder::default();
    let to = To { family: 0, table: "", sequence: socket.next_sequence() };
    to.get_generation(&mut request);
    let asked = socket.request("ask for the generation of nf_tables", &request, |_| {});
    missing(asked, || Error::Unsupported {
        feature: "nf_tables",
        module: "nf_tables",
        option: "CONFIG_NF_TABLES",
    })
}

/// What the rules of policies need besides. `SET` and `NFLOG` are needed by some alone.
const NEEDED_BY_POLICIES: [Extension; 4] = [
    extension(
        "set",
        (Kind::Match, 4),
        "match `set` (revision 4) of iptables",
        "xt_set",
        "CONFIG_NETFILTER_XT_SET",
    ),
    extension(
        "connmark",
        (Kind::Match, 1),
        "match `connmark` (revision 1) of iptables",
        "xt_connmark",
        "CONFIG_NETFILTER_XT_MATCH_CONNMARK",
    ),
    extension(
        "multiport",
        (Kind::Match, 1),
        "match `multiport` (revision 1) of iptables",
        "xt_multiport",
        "CONFIG_NETFILTER_XT_MATCH_MULTIPORT",
    ),
    extension(
        "bpf",
        (Kind::Match, 1),
        "match `bpf` (revision 1) of iptables",
        "xt_bpf",
        "CONFIG_NETFILTER_XT_MATCH_BPF",
    ),
];

/// Makes sure that the kernel has the extensions in the revisions that are written; it loads their
/// modules where it can. IPv6 has the same ones, but for the target `REJECT`.
pub(super) fn extensions(socket: &mut Socket) -> Result<(), Error> {
    NEEDED.iter().try_for_each(|needed| ask_for(socket, needed))
}

/// Makes sure that the kernel has what rules of policies need, the types of sets among it.
pub(super) fn policies(sets: &mut Sets<'_>) -> Result<(), Error> {
    for kind in SetKind::ALL {
        let (feature, module, option) = match kind {
            SetKind::Addresses => {
                ("sets of type hash:ip", "ip_set_hash_ip", "CONFIG_IP_SET_HASH_IP")
            }
            SetKind::Blocks => {
                ("sets of type hash:net", "ip_set_hash_net", "CONFIG_IP_SET_HASH_NET")
            }
            SetKind::Ports => {
                ("sets of type hash:ip,port", "ip_set_hash_ipport", "CONFIG_IP_SET_HASH_IPPORT")
            }
        };
        if !sets.supports(kind)? {
            return Err(Error::Unsupported { feature, module, option });
        }
    }
    NEEDED_BY_POLICIES.iter().try_for_each(|needed| ask_for(sets.socket, needed))
}

fn ask_for(socket: &mut Socket, needed: &Extension) -> Result<(), Error> {
    let mut request = Encoder::default();
    let message = request.message(Header {
        kind: COMPAT_SUBSYSTEM << 8,
        flags: REQUEST | ACK,
        sequence: socket.next_sequence(),
        family: number(Family::V4),
        resource: 0,
    });
    // NFTA_COMPAT_NAME, NFTA_COMPAT_REV, NFTA_COMPAT_TYPE.
    request.text(1, needed.name);
    request.be32(2, needed.revision);
    request.be32(3, needed.kind as u32);
    request.end(message);
    let asked = socket.request(&format!("ask for the {}", needed.feature), &request, |_| {});
    // The kernel's word for an extension that is not there is ENOENT; for the lack of anybody to
    // ask, another.
    if asked.as_ref().is_err_and(|error| error.number() == Some(libc::ENOENT)) {
        let Extension { feature, module, option, .. } = *needed;
        return Err(Error::Unsupported { feature, module, option });
    }
    missing(asked, || Error::Unsupported {
        feature: "interface for iptables' extensions in nf_tables",
        module: "nft_compat",
        option: "CONFIG_NFT_COMPAT",
    })
}

/// Says what is missing where the kernel does not know the subsystem.
fn missing(asked: Result<(), Error>, what: impl FnOnce() -> Error) -> Result<(), Error> {
    asked.map_err(|error| match error.number() {
        Some(libc::EINVAL | libc::EOPNOTSUPP) => what(),
        _ => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_does_not_know_is_named() {
        let refused = |errno| Err(crate::netlink::refusal("ask", errno, None));
        let what = || Error::Unsupported { feature: "f", module: "m", option: "O" };
        let text = missing(refused(libc::EINVAL), what).unwrap_err().to_string();
        assert_eq!(text, "the kernel has no f: load the module m or build it in (O)");
        let text = missing(refused(libc::ENOMEM), what).unwrap_err().to_string();
        assert!(text.starts_with("the kernel refused to ask: "), "{text}");
        assert!(matches!(missing(refused(libc::EPERM), what), Err(Error::NotPermitted)));
    }
}
