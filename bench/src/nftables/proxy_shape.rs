//! The same Services in the shape of kube-proxy's nftables mode without session affinity: a chain
//! for each, which balances by a map of its own, loaded by `nft -f`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lab::Namespace;

use crate::generator::Size;

/// Seconds that `nft -f` takes on an empty kernel.
pub(super) fn load(size: Size) -> Result<f64> {
    let text = text(size)?;
    let namespace = Namespace::new()?;
    let start = Instant::now();
    let mut nft = namespace
        .command("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .context("nft (Debian package nftables)")?;
    nft.stdin.take().context("no pipe")?.write_all(text.as_bytes())?;
    ensure!(nft.wait()?.success(), "nft refused kube-proxy's shape");
    Ok(start.elapsed().as_secs_f64())
}

/// The first transaction of kube-proxy 1.36, as it writes it: one object a line, every chain made and
/// emptied, elements one by one. The names are as long as its own, whose first eight letters are of a
/// hash.
fn text(size: Size) -> Result<String> {
    const TABLE: &str = "ip kube-proxy";
    let mut text = String::from(STATIC);
    for number in 0..size.services {
        let port = format!("team-{}/service-{number}/tcp/http", number % 50);
        let chain = format!("service-{number:08X}-{port}");
        let service = Ipv4Addr::from(0x0a60_0001 + number);
        let endpoint = |index| Ipv4Addr::from(0x0a80_0001 + number * size.endpoints + index);
        writeln!(text, "add chain {TABLE} {chain}\nflush chain {TABLE} {chain}")?;
        writeln!(text, "add element {TABLE} cluster-ips {{ {service} }}")?;
        writeln!(
            text,
            "add element {TABLE} service-ips {{ {service} . tcp . 80 : goto {chain} }}"
        )?;
        // It knows the endpoints of its own node for their own clients.
        for local in (0..size.endpoints).filter(|index| index % 100 == 0).map(endpoint) {
            writeln!(
                text,
                "add element {TABLE} hairpin-connections {{ {local} . {local} . tcp . 8080 }}"
            )?;
        }
        let backends: Vec<String> = (0..size.endpoints)
            .map(|index| format!("{index} : {} . 8080", endpoint(index)))
            .collect();
        writeln!(
            text,
            "add rule {TABLE} {chain} meta l4proto tcp dnat ip addr . port to numgen random mod {} \
             map {{ {} }}",
            size.endpoints,
            backends.join(" , ")
        )?;
    }
    Ok(text)
}

/// What stands there for all Services.
const STATIC: &str = r#"add table ip kube-proxy { comment "rules for kube-proxy" ; }
add chain ip kube-proxy filter-forward { type filter hook forward priority 0 ; }
add chain ip kube-proxy filter-output { type filter hook output priority 0 ; }
add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority -100 ; }
add chain ip kube-proxy nat-output { type nat hook output priority -100 ; }
add chain ip kube-proxy nat-postrouting { type nat hook postrouting priority 100 ; }
add chain ip kube-proxy services
add chain ip kube-proxy cluster-ips-check
add chain ip kube-proxy masquerading
add set ip kube-proxy cluster-ips { type ipv4_addr ; comment "Active ClusterIPs" ; }
add set ip kube-proxy hairpin-connections { type ipv4_addr . ipv4_addr . inet_proto . inet_service ; comment "service hairpin connections" ; }
add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; comment "ClusterIP, ExternalIP and LoadBalancer IP traffic" ; }
add rule ip kube-proxy nat-output jump services
add rule ip kube-proxy nat-prerouting jump services
add rule ip kube-proxy nat-postrouting jump masquerading
add rule ip kube-proxy filter-forward ct state new jump cluster-ips-check
add rule ip kube-proxy filter-output ct state new jump cluster-ips-check
add rule ip kube-proxy masquerading mark and 0x4000 != 0 mark set mark xor 0x4000 masquerade fully-random
add rule ip kube-proxy masquerading ct status dnat ip saddr . ip daddr . meta l4proto . th dport @hairpin-connections masquerade fully-random
add rule ip kube-proxy cluster-ips-check ip daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"
add rule ip kube-proxy services ip daddr @cluster-ips ip saddr != 10.128.0.0/10 mark set mark or 0x4000 comment "masquerade clusterIP traffic from outside cluster"
add rule ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips
"#;
