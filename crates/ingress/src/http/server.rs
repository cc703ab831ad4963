//! The accept loop: how many connections, how long each may take to say what it wants, and how
//! they end when the gateway stops.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connection::{self, ConnectionRules, Opening};
use super::peer::Peer;
use super::router;
use super::state::HttpState;
use crate::tls::ReloadingCertificate;

/// The certificate in force, if the door speaks TLS. Load it with the ALPN names `h2` and
/// `http/1.1`.
pub type TlsInForce = Option<Arc<ReloadingCertificate>>;

/// Wait after an accept that failed for want of descriptors or memory.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves the API on `listener` until `shutdown`, then lets requests under way end for as long as
/// the configuration says.
///
/// # Errors
/// If the listener's own address cannot be read; an accept that fails is tried again.
pub async fn serve(
    listener: TcpListener,
    tls: TlsInForce,
    state: Arc<HttpState>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(%address, is_tls = tls.is_some(), "serving HTTP");
    let connections_max = usize::try_from(state.config.connections_max).unwrap_or(usize::MAX);
    let slots = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
    let door = Arc::new(Door {
        router: router(Arc::clone(&state)),
        rules: ConnectionRules::new(
            &state.config,
            state.ports.openness.clone(),
            shutdown.clone(),
        ),
        tls,
        state,
    });
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => note(ended),
            (slot, accepted) = next => match accepted {
                Ok((stream, peer)) => {
                    let door = Arc::clone(&door);
                    connections.spawn(async move {
                        door.open(stream, peer).await;
                        drop(slot);
                    });
                }
                Err(fault) => {
                    tracing::warn!(error = %fault, "accept failed");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    drop(listener);
    let drain = door.state.config.drain.0;
    let drained = timeout(drain, async {
        while let Some(ended) = connections.join_next().await {
            note(ended);
        }
    });
    if drained.await.is_err() {
        tracing::warn!(connections = connections.len(), "cut off HTTP connections");
        connections.shutdown().await;
    }
    Ok(())
}

fn note(ended: Result<(), tokio::task::JoinError>) {
    if ended.is_err_and(|fault| fault.is_panic()) {
        tracing::error!("HTTP connection panicked");
    }
}

/// What every connection shares.
struct Door {
    router: Router,
    rules: ConnectionRules,
    tls: TlsInForce,
    state: Arc<HttpState>,
}

impl Door {
    async fn open(&self, stream: TcpStream, peer: SocketAddr) {
        let _open = self.state.metrics.connection();
        // Answers are small; Nagle's algorithm would hold them back for the peer's delayed ACK.
        if let Err(fault) = stream.set_nodelay(true) {
            tracing::debug!(error = %fault, "connection ended before it began");
            return;
        }
        let Some(tls) = &self.tls else {
            self.speak(stream, peer, false).await;
            return;
        };
        let handshake = tls.acceptor().accept(stream);
        match timeout(self.rules.header_timeout, handshake).await {
            Ok(Ok(stream)) => {
                let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.speak(stream, peer, is_h2).await;
            }
            Ok(Err(fault)) => tracing::debug!(error = %fault, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake timed out"),
        }
    }

    async fn speak<S>(&self, stream: S, peer: SocketAddr, is_h2: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = Peer(peer.ip());
        let opened = if is_h2 {
            Ok(Opening::http2(stream))
        } else {
            Opening::read(stream, &self.rules).await
        };
        let result = match opened {
            Ok(opening) => connection::run(opening, peer, self.router.clone(), &self.rules).await,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = result {
            tracing::debug!(error = %fault, "HTTP connection ended");
        }
    }
}
