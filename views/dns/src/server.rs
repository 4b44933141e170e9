//! The server: sockets, and tasks that answer on them.

use std::net::{self, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use crate::counters::Counters;
use crate::datagram::{self, Socket};
use crate::error::DnsError;
use crate::forward::{ForwardConfig, Forwarder};
use crate::respond::Responder;
use crate::shared::SharedZone;
use crate::stream;

/// How the server behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where names outside of the cluster are asked; `None` refuses them.
    pub forward: Option<ForwardConfig>,
    /// The largest answer over UDP, in bytes, for clients that take as much.
    pub udp_payload: u16,
    /// How many TCP connections each address serves at once.
    pub tcp_connections: usize,
    /// How long a TCP connection may be silent.
    pub tcp_idle: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            forward: None,
            udp_payload: 4096,
            tcp_connections: 256,
            tcp_idle: Duration::from_secs(10),
        }
    }
}

/// A DNS server that listens and does not answer yet.
#[derive(Debug)]
pub struct DnsServer {
    sockets: Vec<(Socket, TcpListener)>,
    addresses: Vec<SocketAddr>,
    config: ServerConfig,
    counters: Arc<Counters>,
}

impl DnsServer {
    /// Listens on UDP and TCP of every address. Port 0 lets the kernel choose one port for both.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`DnsError::Bind`] for the first address that cannot be listened on,
    /// [`DnsError::NoUpstream`] if names shall be forwarded and no upstream is another server.
    pub fn bind(addresses: &[SocketAddr], config: ServerConfig) -> Result<Self, DnsError> {
        let mut sockets = Vec::with_capacity(addresses.len());
        let mut chosen = Vec::with_capacity(addresses.len());
        for &address in addresses {
            let (address, udp, tcp) = listen(address)?;
            sockets.push((udp, tcp));
            chosen.push(address);
        }
        let server = Self { sockets, addresses: chosen, config, counters: Arc::default() };
        server.forwarder()?;
        Ok(server)
    }

    /// The addresses that the server listens on, with the ports that the kernel chose.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What the server counts; stays readable while it serves.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Answers from the zone until `shutdown` is done; the sockets close then.
    ///
    /// # Errors
    /// As [`DnsServer::bind`] about upstreams; [`DnsError::Stopped`] if a listener ended.
    pub async fn serve(
        self,
        zone: SharedZone,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), DnsError> {
        let forwarder = self.forwarder()?;
        let responder =
            Responder::new(zone, forwarder, Arc::clone(&self.counters), self.config.udp_payload);
        let (connections, idle) = (self.config.tcp_connections, self.config.tcp_idle);
        let mut tasks = JoinSet::new();
        for (udp, tcp) in self.sockets {
            tasks.spawn(datagram::serve(Arc::new(udp), responder.clone()));
            tasks.spawn(stream::serve(tcp, responder.clone(), connections, idle));
        }
        let ended = tokio::select! {
            () = shutdown => Ok(()),
            // They answer for ever: one that ends leaves an address without answers.
            _ = tasks.join_next(), if !tasks.is_empty() => Err(DnsError::Stopped),
        };
        tasks.shutdown().await;
        ended
    }

    fn forwarder(&self) -> Result<Option<Forwarder>, DnsError> {
        let forward = self.config.forward.clone();
        forward
            .map(|config| Forwarder::new(config, &self.addresses, Arc::clone(&self.counters)))
            .transpose()
    }
}

fn listen(address: SocketAddr) -> Result<(SocketAddr, Socket, TcpListener), DnsError> {
    let udp = net::UdpSocket::bind(address).map_err(bind_error(address, "UDP"))?;
    let chosen = udp.local_addr().map_err(bind_error(address, "UDP"))?;
    let tcp = net::TcpListener::bind(chosen).map_err(bind_error(chosen, "TCP"))?;
    udp.set_nonblocking(true).map_err(bind_error(chosen, "UDP"))?;
    tcp.set_nonblocking(true).map_err(bind_error(chosen, "TCP"))?;
    Ok((
        chosen,
        UdpSocket::from_std(udp).and_then(Socket::new).map_err(bind_error(chosen, "UDP"))?,
        TcpListener::from_std(tcp).map_err(bind_error(chosen, "TCP"))?,
    ))
}

fn bind_error(
    address: SocketAddr,
    protocol: &'static str,
) -> impl FnOnce(std::io::Error) -> DnsError {
    move |source| DnsError::Bind { address, protocol, source }
}
