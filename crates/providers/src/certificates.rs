//! Servers' certificates for tests, each its own authority.

use std::sync::Arc;

use rcgen::{Certificate, CertificateParams, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::PrivateKeyDer;

/// When a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Valid {
    /// Today.
    Today,
    /// In 2024, and no more.
    Once,
}

/// A certificate for `name`, and a server that has it.
pub(crate) fn certified(name: &str, valid: Valid) -> (Certificate, ServerConfig) {
    let mut parameters = CertificateParams::new([name.to_owned()]).unwrap();
    if valid == Valid::Once {
        parameters.not_before = date_time_ymd(2024, 1, 1);
        parameters.not_after = date_time_ymd(2025, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (certificate, server)
}

/// What a server of TLS 1.0 alone answers to a ClientHello: its ServerHello (RFC 2246 7.4.1.3),
/// with TLS_RSA_WITH_AES_128_CBC_SHA.
pub(crate) fn server_hello_of_tls_1_0() -> Vec<u8> {
    let record = [22, 3, 1, 0, 42];
    let handshake = [2, 0, 0, 38, 3, 1];
    let (random, session) = ([7; 32], [0]);
    let choice = [0, 0x2f, 0];
    [&record[..], &handshake, &random, &session, &choice].concat()
}
