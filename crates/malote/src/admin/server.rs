//! The sockets of the operators' door: few connections, each bounded in time.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::AdminState;

/// Connections at once; more wait to be accepted. Scrapers, probes and a few operators.
const CONNECTIONS_MAX: usize = 128;
/// How long a client may take to write the head of a request.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long one connection may live: a slow reader of an export ends here.
const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(3600);
/// How long requests under way may go on after the stop signal.
const CLOSE_MAX: Duration = Duration::from_secs(5);
/// Pause after a failed accept (out of descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the operators' endpoints over HTTP/1.1 until `shutdown`; requests under way get five
/// seconds more.
///
/// # Errors
/// None today: trouble with one connection ends that connection only.
pub async fn serve(
    listener: TcpListener,
    state: AdminState,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let service = TowerToHyperService::new(super::router(state));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT_MAX);
    loop {
        let (stream, place) = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            Some(_) = connections.join_next() => continue,
            () = shutdown.cancelled() => break,
        };
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            match tokio::time::timeout(CONNECTION_LIFE_MAX, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "lost an operator's connection"),
                Err(_) => tracing::debug!("ended an operator's connection after its longest life"),
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(CLOSE_MAX, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("cut operators' requests that did not end in time");
    }
    Ok(())
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                tracing::warn!(%error, "could not accept an operator's connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
