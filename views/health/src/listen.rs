//! Listening sockets, and HTTP on them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::answer::Answer;

/// How long a client may take to send a request, the wait between two requests included.
const REQUEST_TIME: Duration = Duration::from_secs(30);

/// How long one connection may last; a client that never reads its answer is let go then.
const CONNECTION_TIME: Duration = Duration::from_secs(300);

/// How long a request that is being answered may still take after that.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// How many connections one server keeps; beyond, the oldest is closed, so that clients who hold
/// connections open cannot keep others out.
const CONNECTIONS: usize = 256;

/// The wait after the system refused a connection, for lack of file descriptors as a rule.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

const BACKLOG: u32 = 128;

/// How a request is answered.
pub(crate) type Respond = Arc<dyn Fn(&str) -> Answer + Send + Sync>;

/// Which packets a listener on an unspecified address takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wildcard {
    /// Those of both families, whichever family the address is written in: the Go library that
    /// kube-proxy uses takes `0.0.0.0` and `[::]` alike for "everything".
    BothFamilies,
    /// Those of the address's own family.
    OneFamily,
}

/// Opens a listening socket.
pub(crate) fn bind(address: SocketAddr, wildcard: Wildcard) -> io::Result<TcpListener> {
    if wildcard == Wildcard::BothFamilies && address.ip().is_unspecified() {
        let everything = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), address.port());
        return match bind_one(everything, false) {
            // A machine without IPv6.
            Err(error) if error.kind() != io::ErrorKind::AddrInUse && address.is_ipv4() => {
                bind_one(address, true)
            }
            bound => bound,
        };
    }
    bind_one(address, true)
}

fn bind_one(address: SocketAddr, v6_only: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        let socket = TcpSocket::new_v6()?;
        setsockopt(&socket, sockopt::Ipv6V6Only, &v6_only)?;
        socket
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Answers requests until it is dropped; its connections end with it.
pub(crate) async fn answer(listener: TcpListener, respond: Respond) -> Infallible {
    let mut connections = JoinSet::new();
    let mut by_age: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        // Also takes the ended ones out, which the set would otherwise keep.
        while connections.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!("a connection was not accepted: {error}");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        by_age.retain(|connection| !connection.is_finished());
        if by_age.len() >= CONNECTIONS
            && let Some(oldest) = by_age.pop_front()
        {
            oldest.abort();
        }
        by_age.push_back(connections.spawn(converse(stream, respond.clone())));
    }
}

async fn converse(stream: TcpStream, respond: Respond) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = respond(request.uri().path());
        async move { Ok::<_, Infallible>(response(answer)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIME)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // How a connection ends concerns its client alone.
    let ended = tokio::time::timeout(CONNECTION_TIME, connection.as_mut()).await;
    if ended.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(LAST_WORDS, connection).await;
    }
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() =
        StatusCode::from_u16(answer.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    for (name, value) in answer.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
            headers.insert(name, value);
        }
    }
    response
}
