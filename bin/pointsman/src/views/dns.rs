//! `--dns-address`: names of the cluster, answered from the same snapshot as the rules.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, bail};
use dns::{DnsServer, ForwardConfig, ResolvConf, ServerConfig, SharedZone, Zone, ZoneConfig};
use model::{Cluster, Owner};
use tracing::{error, info};

use super::View;
use crate::cli::DnsArguments;
use crate::commands::run::runtime;

/// The port of DNS (RFC 1035).
const PORT: u16 = 53;

/// The zone that the server answers from.
pub(crate) struct DnsView {
    zone: SharedZone,
}

impl DnsView {
    /// Listens and answers in a thread of its own; `None` if no address was asked for.
    pub(crate) fn start(said: &DnsArguments) -> Result<Option<Self>> {
        if said.dns_address.is_empty() {
            return Ok(None);
        }
        let addresses = addresses(said)?;
        addresses.iter().try_for_each(|address| own(address.ip()))?;
        let own = addresses.iter().map(SocketAddr::ip).filter(|ip| !ip.is_unspecified());
        let config = ZoneConfig::new(&said.cluster_domain)
            .context("--cluster-domain")?
            .name_servers(own.collect::<Vec<IpAddr>>());
        let zone = SharedZone::new(Zone::unsynced(config));
        let server = ServerConfig { forward: forward(said)?, ..ServerConfig::default() };
        serve(addresses, server, zone.clone())?;
        Ok(Some(Self { zone }))
    }
}

/// The addresses at which Pods may ask, whatever policies say: those with the port of DNS.
pub(crate) fn listeners(said: &DnsArguments) -> Result<BTreeSet<IpAddr>> {
    let of_dns = addresses(said)?.into_iter().filter(|address| address.port() == PORT);
    Ok(of_dns.map(|address| address.ip()).collect())
}

/// Sees to it that an address is the node's own, if it can be nobody else's: a link-local or a unique
/// local one, as node-local DNS has by convention. It stays when the agent ends, as rules do.
fn own(address: IpAddr) -> Result<()> {
    let private = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unique_local(),
    };
    let host = intake::host::read_host().context("the machine's own addresses cannot be read")?;
    if !private || host.addresses.iter().any(|known| known.address == address) {
        return Ok(());
    }
    sync::address::add_to_loopback(address)
        .with_context(|| format!("--dns-address {address} is no address of this node yet"))?;
    info!(%address, "put on the loopback interface, for DNS");
    Ok(())
}

fn addresses(said: &DnsArguments) -> Result<Vec<SocketAddr>> {
    said.dns_address.iter().map(|text| address(text, "--dns-address")).collect()
}

impl View for DnsView {
    fn known(&mut self, cluster: &Cluster, owners: &BTreeSet<Owner>) {
        self.zone.update(cluster, owners);
    }
}

/// Waits until the sockets are there, so that an address in use ends the start.
fn serve(addresses: Vec<SocketAddr>, config: ServerConfig, zone: SharedZone) -> Result<()> {
    let (listening, outcome) = mpsc::channel();
    let work = move || {
        let runtime = match runtime() {
            Ok(runtime) => runtime,
            Err(error) => return drop(listening.send(Err(error))),
        };
        runtime.block_on(async {
            let server = match DnsServer::bind(&addresses, config) {
                Ok(server) => server,
                Err(error) => return drop(listening.send(Err(error.into()))),
            };
            info!(addresses = ?server.addresses(), "answering DNS");
            let _ = listening.send(Ok(()));
            if let Err(failure) = server.serve(zone, std::future::pending()).await {
                error!("{failure}; DNS is not answered any more");
            }
        });
    };
    thread::Builder::new().name("dns".into()).spawn(work)?;
    match outcome.recv() {
        Ok(listening) => listening,
        Err(_gone) => bail!("the DNS server ended before it listened"),
    }
}

fn forward(said: &DnsArguments) -> Result<Option<ForwardConfig>> {
    if !said.dns_upstream.is_empty() {
        let upstreams = said.dns_upstream.iter().map(|text| address(text, "--dns-upstream"));
        return Ok(Some(ForwardConfig::new(upstreams.collect::<Result<Vec<_>>>()?)));
    }
    let path: &Path = &said.dns_resolv_conf;
    let text = std::fs::read_to_string(path).with_context(|| {
        format!("{} (--dns-resolv-conf; or name servers by --dns-upstream)", path.display())
    })?;
    let conf = ResolvConf::parse(&text);
    // Without any upstream, names outside the cluster are refused rather than lost.
    Ok((!conf.name_servers.is_empty()).then(|| ForwardConfig::from_resolv_conf(&conf)))
}

/// `ADDRESS` or `ADDRESS:PORT`.
fn address(text: &str, flag: &str) -> Result<SocketAddr> {
    let bare = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT));
    bare.or_else(|_| text.parse::<SocketAddr>()).map_err(|_| {
        anyhow::anyhow!("{flag}: {text:?} is not an address such as 169.254.20.10 or [fd00::10]:53")
    })
}
