//! The proof of services that sign nothing: a secret that each of their requests carries.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::secret::Secret;
use malote_core::webhook::{Webhook, WebhookParser, WebhookRefusal, WebhookRequest};

use crate::WebhookConfig;
use crate::settings;

/// Shortest secret: 16 random characters cannot be guessed by asking.
const CHARACTERS_MIN: usize = 16;
/// Longest secret; it has to fit in a URL and in a header field.
const CHARACTERS_MAX: usize = 512;

/// Reads a request that has proven its origin; the time is for events that do not say theirs.
type Read = fn(&WebhookRequest, Timestamp) -> Result<Webhook, WebhookRefusal>;

/// The parser of a service whose requests carry `[providers.NAME.webhook] secret`; `None` if a
/// fault is an error.
pub(crate) fn by_secret(
    name: &ProviderName,
    config: &WebhookConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
    read: Read,
) -> Option<Arc<dyn WebhookParser>> {
    let secret = required(name, config, faults)?;
    Some(Arc::new(BySecret {
        secret,
        clock: Arc::clone(clock),
        read,
    }))
}

/// `[providers.NAME.webhook] secret`; `None` if a fault is an error.
pub(crate) fn required(
    name: &ProviderName,
    config: &WebhookConfig,
    faults: &mut Vec<ConfigFault>,
) -> Option<Secret> {
    let table = format!("providers.{name}.webhook");
    let secret = settings::required_secret(&table, &config.secret(), faults)?;
    let text = secret.expose();
    let message = if text.len() < CHARACTERS_MIN {
        "is too short: at least 16 characters, as of openssl rand -hex 16"
    } else if text.len() > CHARACTERS_MAX {
        "is longer than 512 characters"
    } else if !text.bytes().all(|b| b.is_ascii_graphic()) {
        "holds a space or a character that neither URLs nor header fields take"
    } else {
        return Some(secret);
    };
    faults.push(ConfigFault::error(format!("{table}.secret"), message));
    None
}

struct BySecret {
    secret: Secret,
    clock: Arc<dyn Clock>,
    read: Read,
}

#[async_trait]
impl WebhookParser for BySecret {
    async fn parse(&self, request: &WebhookRequest) -> Result<Webhook, WebhookRefusal> {
        verify(&self.secret, request)?;
        (self.read)(request, self.clock.now())
    }
}

/// Whether a request carries the secret: as the password of HTTP Basic (RFC 7617) for any user, as
/// a bearer token (RFC 6750 2.1), or behind the provider's name in the path. Never in the query,
/// which proxies log. The time that it takes tells nothing of the secret.
///
/// # Errors
/// [`WebhookRefusal::Unverified`].
pub(crate) fn verify(secret: &Secret, request: &WebhookRequest) -> Result<(), WebhookRefusal> {
    let in_path = request.path_secret.as_ref();
    let in_path = in_path.map(|own| own.expose().as_bytes().to_vec());
    let in_field = request.header("authorization").and_then(carried);
    if in_path.is_none() && in_field.is_none() {
        return Err(WebhookRefusal::Unverified("no secret"));
    }
    let candidates = [in_path, in_field].into_iter().flatten();
    match candidates.filter(|own| secret.matches(own)).count() {
        0 => Err(WebhookRefusal::Unverified("the secret is wrong")),
        _ => Ok(()),
    }
}

/// The secret in a field `Authorization`.
fn carried(field: &str) -> Option<Vec<u8>> {
    let (scheme, rest) = field.trim().split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.as_bytes().to_vec());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let login = STANDARD.decode(rest).ok()?;
    let colon = login.iter().position(|b| *b == b':')?;
    Some(login[colon + 1..].to_vec())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const SECRET: &str = "s3cret-of-16:chars";

    fn request(field: Option<&str>, path: Option<&str>, query: &str) -> WebhookRequest {
        let headers = field.map(|field| ("authorization".to_owned(), field.to_owned()));
        WebhookRequest {
            method: "POST".to_owned(),
            path_secret: path.map(Secret::new),
            headers: headers.into_iter().collect(),
            query: query.to_owned(),
            body: Bytes::new(),
            peer: std::net::Ipv4Addr::LOCALHOST.into(),
        }
    }

    #[test]
    fn the_secret_is_taken_from_login_token_or_path_and_from_nowhere_else() {
        let basic = |login: &str| format!("Basic {}", STANDARD.encode(login));
        for (field, path, query, is_good) in [
            (Some(basic(&format!("any:{SECRET}"))), None, "", true),
            (
                Some(basic(&format!(":{SECRET}")).replace("Basic", "bASIC")),
                None,
                "",
                true,
            ),
            (Some(format!("Bearer {SECRET}")), None, "", true),
            (Some(format!("bearer  {SECRET} ")), None, "", true),
            (None, Some(SECRET), "", true),
            (Some("Bearer other".to_owned()), Some(SECRET), "", true),
            (None, None, "", false),
            (None, None, SECRET, false),
            (None, Some(""), "", false),
            (None, Some("s3cret-of-16:char"), "", false),
            (Some(basic(SECRET)), None, "", false),
            (Some(basic(&format!("{SECRET}:"))), None, "", false),
            (Some(basic(&format!("u:{SECRET}x"))), None, "", false),
            (Some("Basic !!!".to_owned()), None, "", false),
            (Some(format!("Digest {SECRET}")), None, "", false),
            (Some(SECRET.to_owned()), None, "", false),
            (Some(String::new()), None, "", false),
        ] {
            let request = request(field.as_deref(), path, query);
            let result = verify(&Secret::new(SECRET), &request);
            assert_eq!(result.is_ok(), is_good, "{field:?} {path:?} {query}");
        }
    }

    #[test]
    fn a_secret_that_can_be_guessed_or_not_be_carried_is_refused() {
        let name = "x".try_into().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(malote_core::clock::SystemClock::start());
        for (secret, is_good) in [
            ("0123456789abcdef", true),
            ("0123456789abcde", false),
            ("0123456789 abcdef", false),
            ("0123456789abcdé€", false),
            (&*"x".repeat(513), false),
        ] {
            let config = WebhookConfig {
                secret: Some(Secret::new(secret)),
                ..WebhookConfig::default()
            };
            let mut faults = Vec::new();
            let read: Read = |_, _| Ok(Webhook::default());
            let parser = by_secret(&name, &config, &clock, &mut faults, read);
            assert_eq!(parser.is_some(), is_good, "{secret}");
            let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
            assert!(
                paths.contains(&"providers.x.webhook.secret"),
                "the warning or the error"
            );
        }
    }
}
