//! The ways to Mautic without a login: the one-click address of the message itself, and the
//! callback of its plug-in for KumoMTA.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use jiff::{SignedDuration, Timestamp};
use malote_core::feed::FeedEvent;
use malote_core::outlet::Told;
use malote_core::provider::bounded;
use reqwest::{Request, Url};
use serde_json::json;

use super::Peer;
use super::miss::Miss;
use super::saying::{codes, spoken};
use crate::web::{Lost, address, probe};

/// Attempts for which an unknown hash is waited for: Mautic writes the row of some mail only after
/// it has handed the mail over, so that the first post may come too early.
const ATTEMPTS_UNKNOWN: u32 = 3;
/// How long after the message's acceptance it is waited for however many attempts there were: some
/// of them may have met a Mautic that asked for time.
const UNKNOWN_WAIT: SignedDuration = SignedDuration::from_mins(15);

/// Posts to the message's one-click address (RFC 8058 3.2). Never a GET, which Mautic takes for the
/// recipient's own visit.
///
/// # Errors
/// [`Miss`].
pub(crate) async fn one_click(
    peer: &Peer,
    hosts: &[String],
    event: &FeedEvent,
    attempt: u32,
) -> Result<Told, Miss> {
    let url = one_click_url(peer, hosts, event)?;
    let request = post(
        url,
        "application/x-www-form-urlencoded",
        "List-Unsubscribe=One-Click".to_owned(),
    );
    let answer = peer.web.call(request).await?;
    let status = answer.status;
    let why = format!("the one-click address answered {status}");
    match status {
        200..=299 => Ok(Told::Done(format!("one_click: answered {status}"))),
        404 if attempt < ATTEMPTS_UNKNOWN || is_young(event, peer.now()) => {
            Err(Miss::Later { after: None, why })
        }
        300..=399 => {
            let why = format!("{why}: redirects are not followed");
            Err(Miss::Later { after: None, why })
        }
        // A firewall or a login in front of it, which its operator can take away.
        401 | 403 | 408 | 425 => Err(Miss::Later { after: None, why }),
        429 | 500..=599 => Err(Miss::for_now(status, answer.wait_asked(peer.now()), why)),
        _ => Err(Miss::Refused(why)),
    }
}

/// Whether Mautic may not have written its row yet.
fn is_young(event: &FeedEvent, now: Timestamp) -> bool {
    let accepted_at = event.id.delivery.message.accepted_at();
    now.duration_since(accepted_at) < UNKNOWN_WAIT
}

/// The address, if it is on a host that the operator named: it came with the mail.
fn one_click_url(peer: &Peer, hosts: &[String], event: &FeedEvent) -> Result<Url, Miss> {
    let refused = |why: String| Miss::Refused(why);
    let text = event
        .one_click
        .as_deref()
        .ok_or_else(|| refused("the message has no one-click address".to_owned()))?;
    let url = address::parse(text, peer.web.reach())
        .map_err(|fault| refused(format!("the message's one-click address {fault}")))?;
    let host = url.host_str().unwrap_or_default();
    if hosts.iter().any(|allowed| allowed == host) {
        return Ok(url);
    }
    let host = bounded(host, 100);
    Err(refused(format!(
        "the message's one-click address is on {host}, which one_click_hosts does not name"
    )))
}

/// Posts a bounce as KumoMTA's log hook does, for the plug-in `mautickumomtacallback`.
///
/// # Errors
/// [`Miss`].
pub(crate) async fn kumomta_callback(peer: &Peer, event: &FeedEvent) -> Result<Told, Miss> {
    let (code, enhanced) = codes(spoken(event));
    // The plug-in takes class 5 alone.
    let Some([class, subject, detail]) = Some(enhanced.unwrap_or([5, 0, 0])).filter(|e| e[0] == 5)
    else {
        let why = "the reply is not of class 5";
        return Err(Miss::Refused(why.to_owned()));
    };
    let body = json!({
        "type": "Bounce",
        "recipient": event.recipient,
        "response": {
            "code": code.filter(|code| *code >= 500).unwrap_or(550),
            "enhanced_code": { "class": class, "subject": subject, "detail": detail },
            "content": bounded(spoken(event), 512),
        },
    });
    let url = super::api::under(peer.base()?, "/mailer/callback");
    let request = post(url, "application/json", body.to_string());
    let answer = peer.web.call(request).await?;
    let status = answer.status;
    let why = format!("/mailer/callback answered {status}");
    match status {
        200..=299 => Ok(Told::Done(format!("kumomta_callback: answered {status}"))),
        404 => Err(Miss::Closed(format!(
            "{why}: no plug-in in Mautic takes callbacks"
        ))),
        300..=399 => Err(Miss::Closed(format!("{why}: redirects are not followed"))),
        429 | 500..=599 => Err(Miss::for_now(status, answer.wait_asked(peer.now()), why)),
        _ => Err(Miss::Refused(why)),
    }
}

/// Whether the hosts of one-click addresses can be connected to; where it is Mautic's own, as `url`
/// has it. The addresses themselves are in the messages, and asking one would act.
///
/// # Errors
/// [`Miss`] for the first that cannot.
pub(crate) async fn check_hosts(peer: &Peer, hosts: &[String]) -> Result<String, Miss> {
    let mut words = Vec::new();
    for host in hosts {
        let own = peer.base.as_ref();
        let own = own.filter(|base| base.host_str() == Some(host.as_str()));
        let url = match own {
            Some(base) => base.clone(),
            None => address::parse(&format!("https://{host}/"), peer.web.reach())
                .map_err(|fault| Miss::Closed(format!("{host} {fault}")))?,
        };
        let reached = probe::reach(&url, peer.web.reach()).await;
        let lost = |lost: Lost| Miss::lost(&lost, format!("{host}: {lost}"));
        words.push(reached.map_err(lost)?);
    }
    let words = words.join(", ");
    Ok(format!("one_click: {words}; no address was asked"))
}

/// Whether the host of the callback can be connected to.
///
/// # Errors
/// [`Miss`].
pub(crate) async fn check_callback(peer: &Peer) -> Result<String, Miss> {
    let reached = probe::reach(peer.base()?, peer.web.reach()).await?;
    Ok(format!(
        "kumomta_callback: {reached}; whether a plug-in takes callbacks only a bounce shows"
    ))
}

fn post(url: Url, content_type: &'static str, body: String) -> Request {
    let mut request = Request::new(Method::POST, url);
    let value = HeaderValue::from_static(content_type);
    request.headers_mut().insert(CONTENT_TYPE, value);
    *request.body_mut() = Some(body.into());
    request
}
