//! TLS in front of something on loopback that speaks none.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::config::Config;

/// A running front with a certificate for `localhost` and 127.0.0.1; it ends when dropped.
pub struct TlsFront {
    /// Where it listens.
    pub address: SocketAddr,
    folder: TempDir,
    served: JoinHandle<()>,
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.served.abort();
    }
}

impl TlsFront {
    /// Starts one that passes on what it is told.
    ///
    /// # Errors
    /// When no port can be bound or no certificate be made.
    pub async fn start(behind: SocketAddr) -> Result<Self> {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names)?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("ca.pem"), cert.pem())?;
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let served = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(pass_on(acceptor.clone(), stream, behind));
            }
        });
        Ok(Self {
            address,
            folder,
            served,
        })
    }

    /// Has a gateway trust it, and nobody else.
    pub fn trusted_by(&self, config: &mut Config) {
        let path: PathBuf = self.folder.path().join("ca.pem");
        let path = path.display().to_string();
        config.environment.push(("SSL_CERT_FILE".to_owned(), path));
    }
}

async fn pass_on(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    behind: SocketAddr,
) -> std::io::Result<(u64, u64)> {
    let mut inner = TcpStream::connect(behind).await?;
    let mut outer = acceptor.accept(stream).await?;
    tokio::io::copy_bidirectional(&mut outer, &mut inner).await
}
