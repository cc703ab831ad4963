//! Checks AWS Signature Version 4, as the service does (AWS General Reference, "Signing AWS API
//! requests": canonical request, string to sign, signature).

use std::fmt::Write as _;

use hmac::{Hmac, Mac};
use http::{HeaderMap, Method, Uri};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use crate::config::SesAccount;

/// How far a signature's time may be from ours.
const SKEW_MAX_S: i64 = 5 * 60;
/// The service's signing name; its host begins with `email`.
const SERVICE: &str = "ses";

/// Why a signature is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("Missing Authentication Token")]
    Missing,
    #[error("Authorization header requires {0}")]
    Incomplete(&'static str),
    #[error("The security token included in the request is invalid.")]
    UnknownToken,
    #[error("Credential should be scoped to {0}")]
    Scope(String),
    #[error("Signature expired or not yet current: {0}")]
    Skewed(String),
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method."
    )]
    Mismatch,
}

impl Refusal {
    /// The code in `x-amzn-ErrorType`.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationToken",
            Self::Incomplete(_) => "IncompleteSignature",
            Self::UnknownToken => "InvalidClientTokenId",
            Self::Scope(_) | Self::Skewed(_) | Self::Mismatch => "SignatureDoesNotMatch",
        }
    }
}

/// The parts of a request that are signed.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

/// The parts of an `Authorization` field.
struct Authorization<'a> {
    key_id: &'a str,
    scope: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

/// Whether this request was signed with this account's key, now.
pub(crate) fn verify(
    request: &Signed<'_>,
    account: &SesAccount,
    now: Timestamp,
) -> Result<(), Refusal> {
    let field = text_of(request.headers, "authorization").ok_or(Refusal::Missing)?;
    let authorization = parse(field)?;
    if authorization.key_id != account.access_key_id {
        return Err(Refusal::UnknownToken);
    }
    let token = text_of(request.headers, "x-amz-security-token");
    if token != account.session_token.as_deref() {
        return Err(Refusal::UnknownToken);
    }
    let time = text_of(request.headers, "x-amz-date").ok_or(Refusal::Incomplete("X-Amz-Date"))?;
    check_time(time, now)?;
    let day = time.get(..8).unwrap_or_default();
    let scope = format!("{day}/{}/{SERVICE}/aws4_request", account.region);
    if authorization.scope != scope {
        return Err(Refusal::Scope(scope));
    }
    let canonical = canonical_request(request, authorization.signed_headers)?;
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hex(&Sha256::digest(canonical.as_bytes()))
    );
    let mac = keyed(&signing_key(account, day), to_sign.as_bytes());
    let given = unhex(authorization.signature).ok_or(Refusal::Mismatch)?;
    mac.verify_slice(&given).map_err(|_| Refusal::Mismatch)
}

fn parse(field: &str) -> Result<Authorization<'_>, Refusal> {
    let parts = field
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .ok_or(Refusal::Incomplete("'AWS4-HMAC-SHA256'"))?;
    let part = |name: &'static str| {
        parts
            .split(',')
            .filter_map(|part| part.trim().split_once('='))
            .find_map(|(key, value)| (key == name).then_some(value))
            .ok_or(Refusal::Incomplete(name))
    };
    let credential = part("Credential")?;
    let (key_id, scope) = credential
        .split_once('/')
        .ok_or(Refusal::Incomplete("Credential"))?;
    Ok(Authorization {
        key_id,
        scope,
        signed_headers: part("SignedHeaders")?,
        signature: part("Signature")?,
    })
}

fn check_time(time: &str, now: Timestamp) -> Result<(), Refusal> {
    let signed_at = DateTime::strptime("%Y%m%dT%H%M%SZ", time)
        .and_then(|civil| civil.to_zoned(TimeZone::UTC))
        .map_err(|_| Refusal::Incomplete("X-Amz-Date"))?;
    let skew_s = signed_at.timestamp().as_second() - now.as_second();
    if skew_s.abs() > SKEW_MAX_S {
        return Err(Refusal::Skewed(time.to_owned()));
    }
    Ok(())
}

fn canonical_request(request: &Signed<'_>, signed_headers: &str) -> Result<String, Refusal> {
    let names: Vec<&str> = signed_headers.split(';').collect();
    let is_signed = |name: &str| names.contains(&name);
    let all_amz_signed = request
        .headers
        .keys()
        .all(|name| !name.as_str().starts_with("x-amz-") || is_signed(name.as_str()));
    if !is_signed("host") || !all_amz_signed {
        return Err(Refusal::Mismatch);
    }
    let mut canonical = format!(
        "{}\n{}\n{}\n",
        request.method,
        canonical_path(request.uri.path()),
        canonical_query(request.uri.query().unwrap_or_default()),
    );
    for name in &names {
        canonical.push_str(name);
        canonical.push(':');
        canonical.push_str(&canonical_value(request.headers, name)?);
        canonical.push('\n');
    }
    canonical.push('\n');
    canonical.push_str(signed_headers);
    canonical.push('\n');
    let digest = hex(&Sha256::digest(request.body));
    if text_of(request.headers, "x-amz-content-sha256").is_some_and(|given| given != digest) {
        return Err(Refusal::Mismatch);
    }
    canonical.push_str(&digest);
    Ok(canonical)
}

/// All values of a field, runs of spaces made one, joined by commas.
fn canonical_value(headers: &HeaderMap, name: &str) -> Result<String, Refusal> {
    let mut values = Vec::new();
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| Refusal::Mismatch)?;
        values.push(text.split_ascii_whitespace().collect::<Vec<_>>().join(" "));
    }
    if values.is_empty() {
        return Err(Refusal::Mismatch);
    }
    Ok(values.join(","))
}

/// Every service but S3 signs the path encoded twice.
fn canonical_path(path: &str) -> String {
    let segments = path.split('/').map(percent_encode);
    segments.collect::<Vec<_>>().join("/")
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.contains('=') {
            true => pair.to_owned(),
            false => format!("{pair}="),
        })
        .collect();
    pairs.sort();
    pairs.join("&")
}

fn percent_encode(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn signing_key(account: &SesAccount, day: &str) -> Vec<u8> {
    let mut key = format!("AWS4{}", account.secret_access_key).into_bytes();
    for part in [day, &account.region, SERVICE, "aws4_request"] {
        key = keyed(&key, part.as_bytes())
            .finalize()
            .into_bytes()
            .to_vec();
    }
    key
}

#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
fn keyed(key: &[u8], message: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length will do");
    mac.update(message);
    mac
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        write!(digits, "{byte:02x}").ok();
    }
    digits
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return None;
    }
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"FromEmailAddress":"s@example.com","Destination":{"ToAddresses":["a@example.net"]},"Content":{"Raw":{"Data":"RnJvbTogc0BleGFtcGxlLmNvbQ0KVG86IGFAZXhhbXBsZS5uZXQNClN1YmplY3Q6IHgNCg0KaGkNCg=="}}}"#;
    const SIGNATURE: &str = "da2fd6891d879b9b017f3add432b04ec23ac4b9e420249fc13dfc8cef748843a";
    const SIGNATURE_TOKEN: &str =
        "9983a29b9278083bd81741b589e4a811e065b553bf7dff196d444154e7cb9500";

    struct Case {
        key_id: &'static str,
        signature: &'static str,
        token: Option<&'static str>,
        body: &'static str,
        now: &'static str,
    }

    fn good() -> Case {
        Case {
            key_id: "AKIAIOSFODNN7EXAMPLE",
            signature: SIGNATURE,
            token: None,
            body: BODY,
            now: "2026-01-02T03:04:05Z",
        }
    }

    fn check(case: &Case, account: &SesAccount) -> Result<(), Refusal> {
        let mut headers = HeaderMap::new();
        let host = "email.sa-east-1.amazonaws.com";
        headers.insert("host", host.parse().unwrap());
        headers.insert("content-type", "application/json".parse().unwrap());
        headers.insert("x-amz-date", "20260102T030405Z".parse().unwrap());
        let mut names = "content-type;host;x-amz-date".to_owned();
        if let Some(token) = case.token {
            headers.insert("x-amz-security-token", token.parse().unwrap());
            names.push_str(";x-amz-security-token");
        }
        let (key_id, signature) = (case.key_id, case.signature);
        let field = format!(
            "AWS4-HMAC-SHA256 Credential={key_id}/20260102/sa-east-1/ses/aws4_request, SignedHeaders={names}, Signature={signature}"
        );
        headers.insert("authorization", field.parse().unwrap());
        let signed = Signed {
            method: &Method::POST,
            uri: &Uri::from_static("/v2/email/outbound-emails"),
            headers: &headers,
            body: case.body.as_bytes(),
        };
        verify(&signed, account, case.now.parse().unwrap())
    }

    fn account() -> SesAccount {
        SesAccount {
            region: "sa-east-1".to_owned(),
            ..SesAccount::default()
        }
    }

    /// Made with botocore 1.44.5 from the key pair of Amazon's documentation.
    #[test]
    fn a_signature_of_another_implementation_is_accepted() {
        assert_eq!(check(&good(), &account()), Ok(()));
        let session = SesAccount {
            session_token: Some("TOKEN".to_owned()),
            ..account()
        };
        let case = Case {
            token: Some("TOKEN"),
            signature: SIGNATURE_TOKEN,
            ..good()
        };
        assert_eq!(check(&case, &session), Ok(()));
    }

    #[test]
    fn whatever_is_changed_is_refused() {
        let refused = |case: Case| check(&case, &account()).unwrap_err().code();
        let cases = [
            (
                Case {
                    body: "{}",
                    ..good()
                },
                "SignatureDoesNotMatch",
            ),
            (
                Case {
                    signature: SIGNATURE_TOKEN,
                    ..good()
                },
                "SignatureDoesNotMatch",
            ),
            (
                Case {
                    signature: "zz",
                    ..good()
                },
                "SignatureDoesNotMatch",
            ),
            (
                Case {
                    now: "2026-01-02T03:10:00Z",
                    ..good()
                },
                "SignatureDoesNotMatch",
            ),
            (
                Case {
                    key_id: "AKIAUNKNOWN",
                    ..good()
                },
                "InvalidClientTokenId",
            ),
            (
                Case {
                    token: Some("TOKEN"),
                    ..good()
                },
                "InvalidClientTokenId",
            ),
        ];
        for (case, code) in cases {
            assert_eq!(refused(case), code);
        }
        let other_region = SesAccount::default();
        assert_eq!(
            check(&good(), &other_region).unwrap_err().code(),
            "SignatureDoesNotMatch"
        );
    }

    #[test]
    fn a_request_without_a_signature_is_told_so() {
        let signed = Signed {
            method: &Method::GET,
            uri: &Uri::from_static("/v2/email/account"),
            headers: &HeaderMap::new(),
            body: b"",
        };
        let refusal = verify(&signed, &account(), Timestamp::UNIX_EPOCH).unwrap_err();
        assert_eq!(refusal.code(), "MissingAuthenticationToken");
    }
}
