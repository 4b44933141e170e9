//! Questions over TCP.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::respond::{Responder, Response, Transport};

/// After an error that more connections would repeat (no file descriptor left).
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections for ever, so many at once; further ones wait in the kernel.
pub(crate) async fn serve(
    listener: TcpListener,
    responder: Responder,
    connections: usize,
    idle: Duration,
) {
    let places = Arc::new(Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS)));
    let mut tasks = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while tasks.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let responder = responder.clone();
                tasks.spawn(async move {
                    // The client went away or stays silent: nobody is left to tell.
                    let _ = converse(stream, &responder, idle).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a DNS connection");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Answers one question after the other (RFC 7766) until the client is silent for too long.
async fn converse(mut stream: TcpStream, responder: &Responder, idle: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let Ok(question) = timeout(idle, read(&mut stream)).await else { return Ok(()) };
        let Some(question) = question? else { return Ok(()) };
        let answer = match responder.begin(&question, Transport::Tcp) {
            Response::Ready(bytes) => bytes,
            Response::Upstream(waiting) => responder.finish(*waiting).await,
            Response::None => return Ok(()),
        };
        let Ok(length) = u16::try_from(answer.len()) else { return Ok(()) };
        let mut framed = Vec::with_capacity(answer.len() + 2);
        framed.extend(length.to_be_bytes());
        framed.extend(answer);
        let Ok(sent) = timeout(idle, stream.write_all(&framed)).await else { return Ok(()) };
        sent?;
    }
}

/// The next message; `None` where the client closed in between.
async fn read(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}
