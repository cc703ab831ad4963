//! Whether a peer could be called at all: its name, a connection, TLS. Nothing is asked of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use malote_core::web::is_public;
use reqwest::Url;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::resolver::allowed;
use super::{Lost, Reach};

/// Longest wait for each step.
const STEP_WAIT_MAX: Duration = Duration::from_secs(5);
/// Addresses that are tried.
const TRIES_MAX: usize = 4;

/// Looks whether the peer of this URL can be reached: in words, how far.
///
/// # Errors
/// [`Lost`] with the step that failed.
pub(crate) async fn reach(url: &Url, reach: Reach) -> Result<String, Lost> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(443);
    let addresses = addresses(host, port, reach).await?;
    let stream = connect(&addresses).await?;
    if url.scheme() != "https" {
        return Ok(format!(
            "{host} takes connections (name and connection looked at)"
        ));
    }
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
    let name = name.map_err(|_| no_answer("its host is no name for TLS"))?;
    let connector = TlsConnector::from(config()?);
    let handshake = step(connector.connect(name, stream), "TLS");
    handshake.await?;
    Ok(format!(
        "{host} takes connections (name, connection and TLS looked at)"
    ))
}

fn no_answer(what: &str) -> Lost {
    Lost::NoAnswer(what.to_owned())
}

/// One step within its time.
async fn step<T>(step: impl Future<Output = std::io::Result<T>>, what: &str) -> Result<T, Lost> {
    match timeout(STEP_WAIT_MAX, step).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(no_answer(&format!("{what}: {error}"))),
        Err(_) => Err(no_answer(&format!("{what}: timed out"))),
    }
}

async fn addresses(host: &str, port: u16, reach: Reach) -> Result<Vec<SocketAddr>, Lost> {
    if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return match reach == Reach::Private || is_public(ip) {
            true => Ok(vec![SocketAddr::new(ip, port)]),
            false => Err(Lost::Private),
        };
    }
    let found = step(tokio::net::lookup_host((host, port)), "its name").await?;
    allowed(found, reach).map_err(|_| Lost::Private)
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, Lost> {
    let mut last = no_answer("its name leads nowhere");
    for address in addresses.iter().take(TRIES_MAX) {
        match step(
            TcpStream::connect(address),
            &format!("connecting to {address}"),
        )
        .await
        {
            Ok(stream) => return Ok(stream),
            Err(lost) => last = lost,
        }
    }
    Err(last)
}

/// The same authorities as calls believe.
fn config() -> Result<Arc<ClientConfig>, Lost> {
    let no_tls = |error: rustls::Error| no_answer(&format!("no TLS here: {error}"));
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(no_tls)?;
    let config = builder.with_platform_verifier().map_err(no_tls)?;
    Ok(Arc::new(config.with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::responder::{Act, Responder};

    #[tokio::test]
    async fn a_peer_is_reached_without_a_request() {
        let peer = Responder::start(vec![Act::Close]).await;
        let url: Url = peer.url().parse().unwrap();
        let found = reach(&url, Reach::Private).await.unwrap();
        assert!(found.contains("name and connection"), "{found}");
        assert!(peer.texts().is_empty());
        assert_eq!(reach(&url, Reach::Public).await, Err(Lost::Private));
    }

    #[tokio::test]
    async fn who_speaks_no_tls_or_nothing_is_told_with_the_step() {
        let peer = Responder::start(vec![Act::Close]).await;
        let https = peer.url().replace("http://", "https://");
        let found = reach(&https.parse().unwrap(), Reach::Private).await;
        assert!(found.unwrap_err().to_string().contains("TLS"));
        let nobody = "http://127.0.0.1:9/".parse().unwrap();
        let found = reach(&nobody, Reach::Private).await;
        assert!(
            found
                .unwrap_err()
                .to_string()
                .contains("connecting to 127.0.0.1:9")
        );
    }
}
