//! A server certificate that can be replaced while connections are open.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use tokio_rustls::TlsAcceptor;

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// The certificate file cannot be read, or holds no certificate.
    #[error("{} cannot be read as a PEM certificate chain", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The key file cannot be read, or holds no private key.
    #[error("{} cannot be read as a PEM private key", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The key is not the certificate's, or either is of a kind that TLS does not know.
    #[error("{} and {} do not fit together", certificate.display(), key.display())]
    Mismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What was wrong.
        #[source]
        source: rustls::Error,
    },
}

/// A certificate chain and key read from two files, in force until the next good reload.
/// Connections that are open keep the one they began with.
#[derive(Debug)]
pub struct ReloadingCertificate {
    cert_file: PathBuf,
    key_file: PathBuf,
    alpn: Vec<Vec<u8>>,
    current: ArcSwap<ServerConfig>,
}

impl ReloadingCertificate {
    /// Reads the files. `alpn` lists the protocols spoken (RFC 7301), best first; a client that
    /// offers only others is refused in the handshake, which keeps a browser that was led to a
    /// mail port from talking to it.
    ///
    /// # Errors
    /// If a file is unreadable or the key is not the certificate's.
    pub fn load(cert_file: &Path, key_file: &Path, alpn: &[&[u8]]) -> Result<Self, TlsFault> {
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|name| name.to_vec()).collect();
        let config = read(cert_file, key_file, &alpn)?;
        Ok(Self {
            cert_file: cert_file.to_owned(),
            key_file: key_file.to_owned(),
            alpn,
            current: ArcSwap::from_pointee(config),
        })
    }

    /// Reads the files again. New handshakes use what they hold now.
    ///
    /// # Errors
    /// As [`ReloadingCertificate::load`]; then the certificate in force stays.
    pub fn reload(&self) -> Result<(), TlsFault> {
        let config = read(&self.cert_file, &self.key_file, &self.alpn)?;
        self.current.store(Arc::new(config));
        Ok(())
    }

    /// The configuration for one new handshake.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// An acceptor for one new handshake. The caller bounds its time.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config())
    }
}

fn read(cert_file: &Path, key_file: &Path, alpn: &[Vec<u8>]) -> Result<ServerConfig, TlsFault> {
    let unreadable = |source| TlsFault::Certificate {
        path: cert_file.to_owned(),
        source,
    };
    let chain = CertificateDer::pem_file_iter(cert_file)
        .map_err(unreadable)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    if chain.is_empty() {
        return Err(unreadable(rustls::pki_types::pem::Error::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(|source| TlsFault::Key {
        path: key_file.to_owned(),
        source,
    })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|source| TlsFault::Mismatch {
            certificate: cert_file.to_owned(),
            key: key_file.to_owned(),
            source,
        })?;
    config.alpn_protocols = alpn.to_vec();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    fn write_pair(folder: &Path) -> (PathBuf, PathBuf) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let paths = (folder.join("cert.pem"), folder.join("key.pem"));
        fs::write(&paths.0, cert.pem()).unwrap();
        fs::write(&paths.1, signing_key.serialize_pem()).unwrap();
        paths
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (certificate, _) = write_pair(one.path());
        let (_, key) = write_pair(two.path());
        let fault = ReloadingCertificate::load(&certificate, &key, &[]).unwrap_err();
        assert!(matches!(fault, TlsFault::Mismatch { .. }), "{fault}");
    }

    #[test]
    fn files_that_are_missing_or_empty_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = write_pair(folder.path());
        let empty = folder.path().join("empty.pem");
        fs::write(&empty, "").unwrap();
        for (certificate, key, text) in [
            (
                &empty,
                &key,
                "empty.pem cannot be read as a PEM certificate",
            ),
            (
                &certificate,
                &empty,
                "empty.pem cannot be read as a PEM private key",
            ),
        ] {
            let fault = ReloadingCertificate::load(certificate, key, &[]).unwrap_err();
            assert!(fault.to_string().contains(text), "{fault}");
        }
    }

    #[test]
    fn a_bad_reload_keeps_the_certificate_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = write_pair(folder.path());
        let reloading = ReloadingCertificate::load(&certificate, &key, &[b"smtp"]).unwrap();
        let before = reloading.config();
        fs::write(&key, "broken").unwrap();
        assert!(reloading.reload().is_err());
        assert!(Arc::ptr_eq(&before, &reloading.config()));
        write_pair(folder.path());
        reloading.reload().unwrap();
        assert!(!Arc::ptr_eq(&before, &reloading.config()));
        assert_eq!(reloading.config().alpn_protocols, vec![b"smtp".to_vec()]);
    }
}
