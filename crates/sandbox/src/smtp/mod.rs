//! An SMTP server that keeps what it is sent and fails where it is told to (RFC 5321, with
//! PIPELINING, SIZE, 8BITMIME, SMTPUTF8, DSN and AUTH).

mod connection;
mod services;
mod session;
mod words;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::sandbox::Sandbox;

/// Connections beyond this many wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4_096;

/// Serves until `shutdown`; open connections are cut then.
pub(crate) async fn serve(listener: TcpListener, sandbox: Sandbox, shutdown: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                if let Ok((stream, peer)) = accepted {
                    stream.set_nodelay(true).ok();
                    connections.spawn(connection::converse(stream, peer, sandbox.clone()));
                }
            }
        }
    }
}
