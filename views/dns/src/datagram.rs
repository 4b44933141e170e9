//! Questions over UDP.

mod socket;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep;

pub(crate) use socket::{Client, Socket};

use crate::respond::{Responder, Response, Transport};

/// After so many answers other tasks get their turn.
const TURN: usize = 64;
/// After an error that the next read would repeat.
const PAUSE: Duration = Duration::from_millis(10);
/// A question is no longer than this; the rest of a longer datagram is of no interest.
const LONGEST: usize = 4096;

/// Answers datagrams for ever. What the zone or the cache knows is answered on the spot; only what
/// waits for upstream becomes a task, of which the responder allows so many.
pub(crate) async fn serve(socket: Arc<Socket>, responder: Responder) {
    let mut buffer = vec![0; LONGEST];
    let mut tasks = JoinSet::new();
    loop {
        if let Err(error) = socket.readable().await {
            tracing::warn!(%error, "cannot wait for DNS questions");
            sleep(PAUSE).await;
            continue;
        }
        for _ in 0..TURN {
            let (length, client) = match socket.try_receive(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    tracing::warn!(%error, "cannot read a DNS question");
                    sleep(PAUSE).await;
                    break;
                }
            };
            match responder.begin(buffer.get(..length).unwrap_or_default(), Transport::Udp) {
                Response::Ready(answer) => send(&socket, &answer, client).await,
                Response::Upstream(waiting) => {
                    let (socket, responder) = (Arc::clone(&socket), responder.clone());
                    tasks.spawn(async move {
                        let answer = responder.finish(*waiting).await;
                        send(&socket, &answer, client).await;
                    });
                }
                Response::None => {}
            }
        }
        while tasks.try_join_next().is_some() {}
        yield_now().await;
    }
}

/// A client that cannot be reached does not get its answer; it asks again if it wants it.
async fn send(socket: &Socket, answer: &[u8], client: Client) {
    if let Err(error) = socket.send(answer, client).await {
        tracing::debug!(%error, client = %client.address, "cannot send a DNS answer");
    }
}
