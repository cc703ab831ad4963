//! App webhooks: each event posted as JSON, signed, once for every time the engine asks.

mod config;
mod sign;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method};
use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::feed::{EventBody, FeedEvent};
use malote_core::name::CredentialName;
use malote_core::outlet::{Checked, Outlet, OutletName, Told, Untold};
use reqwest::{Request, Url};
use sha2::{Digest, Sha256};

pub use self::config::WebhookConfig;

use self::config::Wish;
use self::sign::Signer;
use crate::Owner;
use crate::web::{Answer, Reach, Web, address, probe};

/// One app's address for events.
#[derive(Debug)]
pub(crate) struct WebhookOutlet {
    name: OutletName,
    credential: CredentialName,
    url: Url,
    signer: Signer,
    wish: Wish,
    web: Web,
    clock: SharedClock,
}

/// A clock that `Debug` passes over.
struct SharedClock(Arc<dyn Clock>);

impl std::fmt::Debug for SharedClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// Builds the outlet of the table `at`; `None` if something is wrong with it.
pub(crate) fn build(
    owner: &Owner<'_>,
    at: &str,
    table: &WebhookConfig,
    faults: &mut Vec<ConfigFault>,
) -> Option<Arc<dyn Outlet>> {
    let before = faults.len();
    let reach = Reach::of(table.allow_private);
    let url = address::parse(&table.url, reach);
    if let Err(fault) = &url {
        let message = match table.url.as_str() {
            "" => "is missing: where events are posted to".to_owned(),
            _ => fault.to_string(),
        };
        faults.push(ConfigFault::error(format!("{at}.url"), message));
    }
    let signer = config::signer(at, table, faults);
    let wish = Wish::read(owner, at, table, faults);
    let web = Web::new(reach);
    if let Err(error) = &web {
        faults.push(ConfigFault::error(at, format!("no TLS: {error}")));
    }
    let (url, signer, web) = (url.ok()?, signer?, web.ok()?);
    let is_error = |fault: &ConfigFault| fault.severity == malote_core::fault::Severity::Error;
    if faults[before..].iter().any(is_error) {
        return None;
    }
    Some(Arc::new(WebhookOutlet {
        name: OutletName::new(owner.name, &label(&url)),
        credential: owner.name.clone(),
        url,
        signer,
        wish,
        web,
        clock: SharedClock(Arc::clone(owner.clock)),
    }))
}

/// `webhook-` and eight hex digits of a hash of the URL.
fn label(url: &Url) -> String {
    let hash = Sha256::digest(url.as_str().as_bytes());
    let digits: String = hash.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("webhook-{digits}")
}

#[async_trait]
impl Outlet for WebhookOutlet {
    fn name(&self) -> &OutletName {
        &self.name
    }

    fn credential(&self) -> &CredentialName {
        &self.credential
    }

    fn wants(&self, event: &FeedEvent) -> bool {
        self.wish.covers(&event.kind, &event.stream)
    }

    async fn tell(&self, event: &FeedEvent, _attempt: u32) -> Result<Told, Untold> {
        let answer = self.web.call(self.request(event)?).await?;
        outcome(&answer, answer.wait_asked(self.clock.0.now()))
    }

    /// No request: an app may take any for an event, and what it answers to HEAD proves nothing.
    async fn check(&self) -> Result<Checked, Untold> {
        let reached = probe::reach(&self.url, self.web.reach()).await?;
        Ok(Checked::well(format!(
            "{reached}; whether it takes events only an event shows"
        )))
    }
}

impl WebhookOutlet {
    fn request(&self, event: &FeedEvent) -> Result<Request, Untold> {
        let never = |why: String| Untold::Never { why };
        let body = serde_json::to_vec(&EventBody::from(event))
            .map_err(|error| never(format!("no JSON: {error}")))?;
        let id = event.id.to_string();
        // The time of this attempt and not of the event: libraries refuse what is minutes old.
        let timestamp_s = self.clock.0.now().as_second();
        let signature = self.signer.sign(&id, timestamp_s, &body);
        let mut request = Request::new(Method::POST, self.url.clone());
        for (name, value) in [
            (CONTENT_TYPE, "application/json"),
            (HeaderName::from_static("webhook-id"), &id),
            (
                HeaderName::from_static("webhook-timestamp"),
                &timestamp_s.to_string(),
            ),
            (HeaderName::from_static("webhook-signature"), &signature),
        ] {
            let value = HeaderValue::from_str(value).map_err(|error| never(error.to_string()))?;
            request.headers_mut().insert(name, value);
        }
        *request.body_mut() = Some(body.into());
        Ok(request)
    }
}

/// What an answer means. People mend their endpoints, so that no refusal but 410 is for good: the
/// outbox has its own end.
fn outcome(answer: &Answer, wait_asked: Option<std::time::Duration>) -> Result<Told, Untold> {
    let status = answer.status;
    let later = |after, why: String| Err(Untold::Later { after, why });
    match status {
        200..=299 => Ok(Told::Done(format!("answered {status}"))),
        300..=399 => later(
            None,
            format!("answered {status}: redirects are not followed; give the address itself"),
        ),
        // RFC 9110 15.5.11; the scheme: the endpoint wants nothing any more.
        410 => Err(Untold::Unusable {
            why: "answered 410 Gone: remove the webhook, or bring the endpoint back".to_owned(),
        }),
        429 | 503 => later(wait_asked, format!("answered {status}")),
        _ => later(None, format!("answered {status}")),
    }
}
