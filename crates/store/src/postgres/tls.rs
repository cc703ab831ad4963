//! How the database's certificate is verified.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use rustls_platform_verifier::BuilderVerifierExt;

use crate::StoreError;
use crate::postgres::config::PostgresSettings;

/// TLS that believes the authorities of `ca_file`, or of the machine.
///
/// # Errors
/// If the file holds no certificate, or the machine's cannot be read.
pub(crate) fn client(settings: &PostgresSettings) -> Result<ClientConfig, StoreError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let engine = |text: String| StoreError::Engine(text);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| engine(error.to_string()))?;
    let Some(file) = &settings.ca_file else {
        let builder = builder
            .with_platform_verifier()
            .map_err(|error| engine(format!("the machine's certificates: {error}")))?;
        return Ok(builder.with_no_client_auth());
    };
    let at = || format!("{}.ca_file {}", settings.at, file.display());
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file)
        .map_err(|error| engine(format!("{}: {error}", at())))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| engine(format!("{}: {error}", at())))?;
        roots
            .add(certificate)
            .map_err(|error| engine(format!("{}: {error}", at())))?;
    }
    if roots.is_empty() {
        return Err(engine(format!("{} holds no certificate", at())));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
