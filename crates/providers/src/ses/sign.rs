//! AWS Signature Version 4 for SES: signing name `ses`, though the host is `email`.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SigningError, SigningSettings, sign as sign_request,
};
use aws_sigv4::sign::v4;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use jiff::Timestamp;
use malote_core::secret::Secret;
use reqwest::Url;

use crate::http::sensitive;

/// The field with the time of the call.
const DATE: &str = "x-amz-date";

/// Keys to sign with.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    /// The access key id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: Secret,
    /// The session token of temporary keys.
    pub session_token: Option<Secret>,
}

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signable<'a> {
    /// `GET`, `POST` or `PUT`.
    pub method: &'a str,
    /// The whole URL.
    pub url: &'a Url,
    /// The body's type; `None` for calls without a body.
    pub content_type: Option<&'static str>,
    /// SHA-256 of the body, 64 hex digits.
    pub body_sha256: &'a str,
}

/// What cannot be signed: a URL or keys that cannot be put into a request.
#[derive(Debug, thiserror::Error)]
#[error("the request cannot be signed")]
pub(crate) enum SignFault {
    /// The parameters of the signature.
    Parameters(#[from] v4::signing_params::BuildError),
    /// The request.
    Request(#[from] SigningError),
}

/// The header fields of a signed call.
///
/// # Errors
/// [`SignFault`].
pub(crate) fn sign(
    signable: Signable<'_>,
    keys: &Keys,
    region: &str,
    at: Timestamp,
) -> Result<HeaderMap, SignFault> {
    let token = keys.session_token.as_ref();
    let identity = Credentials::new(
        &keys.access_key_id,
        keys.secret_access_key.expose(),
        token.map(|token| token.expose().to_owned()),
        None,
        "malote",
    )
    .into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("ses")
        .time(SystemTime::from(at))
        .settings(SigningSettings::default())
        .build()?
        .into();
    let typed = signable.content_type.map(|t| (CONTENT_TYPE.as_str(), t));
    let request = SignableRequest::new(
        signable.method,
        signable.url.as_str(),
        typed.into_iter(),
        SignableBody::Precomputed(signable.body_sha256.to_owned()),
    )?;
    let (instructions, _signature) = sign_request(request, &params)?.into_parts();
    let mut headers = HeaderMap::new();
    if let Some(content_type) = signable.content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    for (name, value) in instructions.headers() {
        // What an answer repeats of the time is worth reading.
        let value = match name {
            DATE => HeaderValue::from_str(value).ok(),
            _ => sensitive(value),
        };
        if let (Ok(name), Some(value)) = (name.parse::<HeaderName>(), value) {
            headers.insert(name, value);
        }
    }
    Ok(headers)
}

/// SHA-256 as SigV4 writes it.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"FromEmailAddress":"s@example.com","Destination":{"ToAddresses":["a@example.net"]},"Content":{"Raw":{"Data":"RnJvbTogc0BleGFtcGxlLmNvbQ0KVG86IGFAZXhhbXBsZS5uZXQNClN1YmplY3Q6IHgNCg0KaGkNCg=="}}}"#;

    fn authorization(session_token: Option<&str>) -> String {
        let keys = Keys {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            session_token: session_token.map(Secret::new),
        };
        let url = "https://email.sa-east-1.amazonaws.com/v2/email/outbound-emails"
            .parse()
            .unwrap();
        let signable = Signable {
            method: "POST",
            url: &url,
            content_type: Some("application/json"),
            body_sha256: &sha256_hex(BODY.as_bytes()),
        };
        let at = "2026-01-02T03:04:05Z".parse().unwrap();
        let headers = sign(signable, &keys, "sa-east-1", at).unwrap();
        assert_eq!(headers["x-amz-date"], "20260102T030405Z");
        assert!(headers["authorization"].is_sensitive());
        headers["authorization"].to_str().unwrap().to_owned()
    }

    #[test]
    fn the_body_hash_is_the_one_that_botocore_computes() {
        assert_eq!(
            sha256_hex(BODY.as_bytes()),
            "030964e7cf100b4c9e0d87f260ecd2c4b9a8558735dfba9884fd6912ef40f690"
        );
    }

    #[test]
    fn signatures_are_those_that_botocore_makes() {
        assert_eq!(
            authorization(None),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260102/sa-east-1/ses/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=da2fd6891d879b9b017f3add432b04ec23ac4b9e420249fc13dfc8cef748843a"
        );
        let with_token = authorization(Some("TOKEN"));
        assert!(
            with_token.ends_with(
                "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, \
                 Signature=9983a29b9278083bd81741b589e4a811e065b553bf7dff196d444154e7cb9500"
            ),
            "{with_token}"
        );
    }
}
