//! The store behind HTTP.

mod accept;
mod answer;
mod body;
mod handle;
mod logs;
mod open_api_v2;
mod request;
mod scale;
mod statics;
mod watch;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::Store;

/// An API server on one address, without TLS and without authentication: it belongs on loopback,
/// or inside a network namespace of the lab.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    store: Store,
}

impl Server {
    /// Listens on an address; port 0 takes any free one.
    ///
    /// # Errors
    /// The system's, if the address cannot be listened on.
    pub async fn bind(address: SocketAddr, store: Store) -> std::io::Result<Self> {
        Self::on(TcpListener::bind(address).await?, store)
    }

    /// Serves on a socket that is listening already, perhaps in another network namespace.
    ///
    /// # Errors
    /// The system's, if the socket has no address.
    pub fn on(listener: TcpListener, store: Store) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        Ok(Self { listener, address, store })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A kubeconfig that leads here.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: lab\nclusters:\n- name: lab\n  \
             cluster: {{server: \"http://{}\"}}\ncontexts:\n- name: lab\n  \
             context: {{cluster: lab, user: lab}}\nusers:\n- name: lab\n  user: {{}}\n",
            self.address
        )
    }

    /// Answers until it is dropped; its connections end with it. Also empties namespaces that are
    /// deleted.
    pub async fn run(self) {
        let store = self.store.clone();
        tokio::join!(self.accept(), store.empty_namespaces());
    }

    async fn accept(self) {
        let handler = Arc::new(handle::Handler { store: self.store, address: self.address });
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        // A watch is made of small writes that somebody waits for.
                        let _ = stream.set_nodelay(true);
                        connections.spawn(serve(stream, handler.clone()));
                    }
                    // Out of descriptors: closing connections gives some back.
                    Err(error) => {
                        tracing::warn!("cannot accept a connection: {error}; trying again");
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn serve(stream: tokio::net::TcpStream, handler: Arc<handle::Handler>) {
    let service = service_fn(move |request| {
        let handler = handler.clone();
        async move { Ok::<_, Infallible>(handler.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!("a connection ended early: {error}");
    }
}
