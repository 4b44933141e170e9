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

fn text(size: Size) -> Result<String> {
    let mut text = String::from(
        "table ip bench {\n\
         chain mark-masquerade { meta mark set mark or 0x4000; }\n\
         map frontends { type ipv4_addr . inet_proto . inet_service : verdict; }\n\
         chain services { ip daddr . meta l4proto . th dport vmap @frontends; }\n\
         chain prerouting { type nat hook prerouting priority dstnat; jump services; }\n\
         chain output { type nat hook output priority -100; jump services; }\n\
         chain postrouting { type nat hook postrouting priority srcnat; \
         meta mark & 0x4000 == 0x4000 masquerade fully-random; }\n",
    );
    let mut elements = String::new();
    for number in 0..size.services {
        let service = Ipv4Addr::from(0x0a60_0001 + number);
        let backends: Vec<String> = (0..size.endpoints)
            .map(|index| {
                let first = number * size.endpoints;
                format!("{index} : {} . 8080", Ipv4Addr::from(0x0a80_0001 + first + index))
            })
            .collect();
        writeln!(
            text,
            "chain service-{number} {{ ip daddr {service} tcp dport 80 ip saddr != 10.128.0.0/10 \
             jump mark-masquerade; meta l4proto tcp dnat ip to numgen random mod {} map {{ {} }}; }}",
            size.endpoints,
            backends.join(", ")
        )?;
        writeln!(elements, "{service} . tcp . 80 : goto service-{number},")?;
    }
    writeln!(text, "}}\nadd element ip bench frontends {{\n{elements}}}")?;
    Ok(text)
}
