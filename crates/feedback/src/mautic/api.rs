//! Mautic's REST API (versions 4 to 7): find the contacts of an address, put an entry to their
//! `doNotContact`, take it out again.

use std::collections::BTreeMap;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method};
use jiff::Timestamp;
use malote_core::feed::FeedEvent;
use malote_core::outlet::Told;
use malote_core::provider::{Reply, bounded};
use reqwest::{Request, Url};
use serde_json::{Value, json};
use tokio::sync::oneshot::error::TryRecvError;

use super::contact::{self, Contact};
use super::lookups::{self, Found, Lookup, Lookups, Turn};
use super::miss::Miss;
use super::pace::Pace;
use super::saying::{self, Act, Saying};
use super::token::Login;
use super::{Peer, email_id};
use crate::web::Answer;

/// Contacts of one page. One with a hundred fields of its own is some 40 KiB.
const PAGE: usize = 50;
/// Pages of one search, and so a thousand contacts. Mautic itself keeps one for an address, imports
/// may leave more.
const PAGES_MAX: usize = 20;

/// The way out of a refusal.
pub(super) const WAY_OUT: &str = "in Mautic's Configuration > API Settings switch on \"API enabled\" \
    (api_enabled) and, for user and password, \"Enable HTTP basic auth\" (api_enable_basic_auth), \
    then clear its cache; the user's role needs to view and edit others' contacts";

/// The API of one Mautic.
#[derive(Debug)]
pub(crate) struct Api {
    /// Who we are there.
    pub login: Login,
    /// How fast we may call.
    pub pace: Pace,
    /// Who waits for a search.
    pub lookups: Lookups,
}

/// One call.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: Option<Value>,
}

/// `path` (which begins with `/`) under the address of Mautic.
pub(crate) fn under(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    let joined = format!("{}{path}", base.path().trim_end_matches('/'));
    url.set_path(&joined);
    url.set_query(None);
    url
}

impl Api {
    /// Tells it of one event. `attempt` counts from 1.
    ///
    /// # Errors
    /// [`Miss`].
    pub(crate) async fn say(
        &self,
        peer: &Peer,
        saying: Saying,
        (event, attempt): (&FeedEvent, u32),
    ) -> Result<Told, Miss> {
        // Every second attempt is made alone, so that an address over which Mautic stumbles does not
        // hold those that wait with it for ever.
        let found = match attempt.is_multiple_of(2) {
            true => self.find_alone(peer, &event.recipient).await?,
            false => self.find(peer, &event.recipient).await?,
        };
        if found.contacts.is_empty() {
            let words = "api: no contact has this address".to_owned();
            return Ok(Told::Done(words));
        }
        let (mut changed, mut left) = (0_usize, 0_usize);
        for contact in &found.contacts {
            match self.mark(peer, contact, saying, event).await? {
                true => changed += 1,
                false => left += 1,
            }
        }
        let more = match found.is_cut {
            true => format!("; there are more than {} of this address", PAGE * PAGES_MAX),
            false => String::new(),
        };
        Ok(Told::Done(format!(
            "api: {changed} contacts changed, {left} left as they were{more}"
        )))
    }

    /// Whether anything changed.
    async fn mark(
        &self,
        peer: &Peer,
        contact: &Contact,
        saying: Saying,
        event: &FeedEvent,
    ) -> Result<bool, Miss> {
        let act = saying::act(saying, contact.entries.as_deref(), email_id(event));
        // What the search did not show may be ours.
        let may_be_ours = match saying {
            Saying::Complained | Saying::Resubscribed => contact.entries.is_none(),
            Saying::Bounced | Saying::Unsubscribed => false,
        };
        let takes_out = matches!(act, Act::Remove | Act::Replace { .. });
        if takes_out || may_be_ours {
            return self.after_another_look(peer, contact, saying, event).await;
        }
        let comment = saying.comment(event, &act);
        self.do_it(peer, contact, &act, &comment).await
    }

    /// Whether it lets us in, shows contacts and lets us edit them.
    ///
    /// # Errors
    /// [`Miss`].
    pub(crate) async fn check(&self, peer: &Peer) -> Result<String, Miss> {
        let call = get("/api/contacts", &[("limit", "1")]);
        let answer = self.call(peer, call).await?.ok_or_else(no_such_path)?;
        match answer.get("contacts") {
            Some(_) => {
                let rights = self.check_rights(peer).await?;
                Ok(format!(
                    "api: GET /api/contacts?limit=1 answers with contacts; {rights}"
                ))
            }
            None => Err(not_the_api()),
        }
    }

    /// The contacts of an address, by a search that whoever waits meanwhile shares.
    async fn find(&self, peer: &Peer, address: &str) -> Result<Found, Miss> {
        let (mut answer, _searching) = match self.lookups.join(address).await {
            Turn::Answered(found) => return found,
            Turn::Search {
                answer,
                _searching: searching,
            } => (answer, searching),
        };
        loop {
            match answer.try_recv() {
                Ok(found) => return found,
                Err(TryRecvError::Closed) => return Err(lookups::cut_off()),
                Err(TryRecvError::Empty) => {}
            }
            // Who comes before our turn does is taken along.
            self.pace.turn().await?;
            self.answer_all(peer, self.lookups.take()).await;
        }
    }

    /// Looks them up together. If there is too much for one search, or something in it that Mautic does
    /// not take, each is looked up on its own.
    async fn answer_all(&self, peer: &Peer, lookups: Vec<Lookup>) {
        let addresses: Vec<String> = lookups.iter().map(|own| own.address.clone()).collect();
        let found = self.search(peer, &addresses).await;
        let is_apart = match &found {
            Ok(found) => found.iter().any(|own| own.is_cut),
            Err(Miss::Refused(_)) => true,
            Err(Miss::Wait(_) | Miss::Busy { .. } | Miss::Later { .. } | Miss::Closed(_)) => false,
        };
        match found {
            _ if is_apart && lookups.len() > 1 => {
                for lookup in lookups {
                    let found = self.find_alone(peer, &lookup.address).await;
                    lookup.answer(found);
                }
            }
            Ok(found) => {
                for (lookup, found) in lookups.into_iter().zip(found) {
                    lookup.answer(Ok(found));
                }
            }
            Err(miss) => {
                for lookup in lookups {
                    lookup.answer(Err(miss.clone()));
                }
            }
        }
    }

    async fn find_alone(&self, peer: &Peer, address: &str) -> Result<Found, Miss> {
        self.pace.turn().await?;
        let found = self.search(peer, &[address.to_owned()]).await?;
        Ok(found.into_iter().next().unwrap_or_default())
    }

    /// What there is of each address, page by page; the turn of the first page has been waited for.
    ///
    /// By `where`, not by `search=email:`, which answers everybody in some versions and breaks on `+`;
    /// by `in`, whose value Mautic takes back out of the HTML that it makes of a query (`'` and `&` are
    /// in addresses), and which is one call for several. `total` may be five seconds old (Mautic 7
    /// keeps it), so a full page is followed by another one whatever it says.
    async fn search(&self, peer: &Peer, addresses: &[String]) -> Result<Vec<Found>, Miss> {
        let list = lookups::list(addresses);
        let limit = PAGE.to_string();
        let mut contacts = vec![BTreeMap::new(); addresses.len()];
        let (mut seen, mut is_cut) = (0, true);
        for page in 0..PAGES_MAX {
            if page > 0 {
                self.pace.turn().await?;
            }
            let start = seen.to_string();
            let query = [
                ("where[0][col]", "email"),
                ("where[0][expr]", "in"),
                ("where[0][val]", list.as_str()),
                ("orderBy", "id"),
                ("start", start.as_str()),
                ("limit", limit.as_str()),
            ];
            let answer = self.call_now(peer, get("/api/contacts", &query)).await?;
            let answer = answer.ok_or_else(no_such_path)?;
            let page = contact::page(&answer).ok_or_else(not_the_api)?;
            seen += page.rows.len();
            let mut is_any = false;
            for (address, contacts) in addresses.iter().zip(&mut contacts) {
                let own = contact::of_address(address, &page);
                is_any |= !own.is_empty();
                contacts.extend(own.into_iter().map(|contact| (contact.id, contact)));
            }
            let is_end = page.rows.len() < PAGE && page.total.is_none_or(|total| seen >= total);
            // Nobody of a page has an address that was asked for: it answers everybody.
            if is_end || !is_any {
                is_cut = false;
                break;
            }
        }
        let found = contacts.into_iter().map(|contacts| Found {
            contacts: contacts.into_values().collect(),
            is_cut,
        });
        Ok(found.collect())
    }

    /// Takes our entry out, by what the contact says now. Whether anything changed.
    async fn after_another_look(
        &self,
        peer: &Peer,
        contact: &Contact,
        saying: Saying,
        event: &FeedEvent,
    ) -> Result<bool, Miss> {
        let path = format!("/api/contacts/{}", contact.id);
        let call = get(&path, &[]);
        let Some(answer) = self.call(peer, call).await? else {
            return Ok(false);
        };
        let now = contact::one(&answer).ok_or_else(not_the_api)?;
        let act = saying::act(saying, now.entries.as_deref(), email_id(event));
        let comment = saying.comment(event, &act);
        self.do_it(peer, contact, &act, &comment).await
    }

    /// Whether anything changed; a contact that is gone has nothing to change.
    async fn do_it(
        &self,
        peer: &Peer,
        contact: &Contact,
        act: &Act,
        comment: &str,
    ) -> Result<bool, Miss> {
        let added = |reason: i64, channel_id: Option<u64>| {
            let mut body = json!({ "reason": reason, "comments": comment });
            if let Some(id) = channel_id {
                body["channelId"] = id.into();
            }
            body
        };
        match act {
            Act::Leave => Ok(false),
            Act::Remove => self.change(peer, contact, "remove", json!({})).await,
            Act::Add {
                reason, channel_id, ..
            } => {
                let body = added(*reason, *channel_id);
                self.change(peer, contact, "add", body).await
            }
            // Where it ends in between, the next attempt finds no entry and adds one.
            Act::Replace { channel_id } => {
                let body = added(saying::UNSUBSCRIBED, *channel_id);
                Ok(self.change(peer, contact, "remove", json!({})).await?
                    && self.change(peer, contact, "add", body).await?)
            }
        }
    }

    /// Whether there is such a contact.
    async fn change(
        &self,
        peer: &Peer,
        contact: &Contact,
        verb: &str,
        body: Value,
    ) -> Result<bool, Miss> {
        let path = format!("/api/contacts/{}/dnc/email/{verb}", contact.id);
        let call = Call {
            method: Method::POST,
            path: &path,
            query: &[],
            body: Some(body),
        };
        Ok(self.call(peer, call).await?.is_some())
    }

    /// One call in its turn.
    pub(super) async fn call(&self, peer: &Peer, call: Call<'_>) -> Result<Option<Value>, Miss> {
        self.pace.turn().await?;
        self.call_now(peer, call).await
    }

    /// One call, whose turn has been waited for; a token that is refused is renewed once. `None` if
    /// there is no such thing (404).
    async fn call_now(&self, peer: &Peer, call: Call<'_>) -> Result<Option<Value>, Miss> {
        let mut may_renew = true;
        loop {
            let now = peer.now();
            let at = (&peer.web, peer.base()?);
            let authorization = self.login.authorization(at, now).await?;
            let request = request(at.1, &call, &authorization);
            let answer = peer.web.call(request).await?;
            if answer.status == 401 && may_renew && self.login.drop_refused(&authorization).await {
                may_renew = false;
                self.pace.turn().await?;
                continue;
            }
            return meaning(&answer, peer.now());
        }
    }
}

pub(super) const fn get<'a>(path: &'a str, query: &'a [(&'a str, &'a str)]) -> Call<'a> {
    Call {
        method: Method::GET,
        path,
        query,
        body: None,
    }
}

fn request(base: &Url, call: &Call<'_>, authorization: &HeaderValue) -> Request {
    let mut url = under(base, call.path);
    if !call.query.is_empty() {
        url.query_pairs_mut().extend_pairs(call.query);
    }
    let mut request = Request::new(call.method.clone(), url);
    let headers = request.headers_mut();
    headers.insert(AUTHORIZATION, authorization.clone());
    if let Some(body) = &call.body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(body.to_string().into());
    }
    request
}

fn no_such_path() -> Miss {
    Miss::Closed("/api/contacts answered 404: url must be Mautic's own address".to_owned())
}

fn not_the_api() -> Miss {
    Miss::Later {
        after: None,
        why: "what answered is not Mautic's API: a page for people, or a part of an answer"
            .to_owned(),
    }
}

/// What an answer means. Mautic writes its own code into the body as well; some proxies make a 200
/// of everything.
fn meaning(answer: &Answer, now: Timestamp) -> Result<Option<Value>, Miss> {
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let own = body.as_ref().and_then(|body| body.pointer("/errors/0"));
    let own_code = own.and_then(|error| error.get("code")?.as_u64());
    let own_code = own_code.and_then(|code| u16::try_from(code).ok());
    let status = match answer.status {
        200..=299 => own_code
            .filter(|code| *code >= 400)
            .unwrap_or(answer.status),
        other => other,
    };
    let words = own.and_then(|error| error.get("message")?.as_str());
    let words = words.map(|text| Reply::none(&bounded(text, 200)).without_local_parts());
    let words = words.map(|text| format!(": {text}"));
    let words = words.unwrap_or_default();
    match status {
        200..=299 => body.map(Some).ok_or_else(not_the_api),
        300..=399 => Err(Miss::Closed(format!(
            "the API answered {status}: redirects are not followed; give the address itself as url"
        ))),
        401 | 403 => Err(Miss::Closed(format!(
            "the API answered {status}{words}; {WAY_OUT}"
        ))),
        404 => Ok(None),
        400..=428 | 430..=499 => Err(Miss::Refused(format!("the API answered {status}{words}"))),
        _ => {
            let why = format!("the API answered {status}{words}");
            Err(Miss::for_now(status, answer.wait_asked(now), why))
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn an_answer_means_what_the_table_says() {
        let now: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
        let off = r#"{"errors":[{"message":"API disabled","code":403,"type":"api_disabled"}]}"#;
        let limit = r#"{ "errors": [ { "code": 429, "message": "You exceeded", "details": [] } ]}"#;
        for (status, body, expected) in [
            (200, "{\"contacts\":[]}", "some"),
            (201, "{}", "some"),
            (200, "<html>", "later"),
            (200, "", "later"),
            (200, off, "closed"),
            (200, limit, "busy"),
            (302, "", "closed"),
            (400, "{\"errors\":[{\"code\":400}]}", "refused"),
            (401, "", "closed"),
            (403, off, "closed"),
            (404, "<html>", "none"),
            (429, limit, "busy"),
            (500, "", "later"),
            (503, "", "later"),
        ] {
            let answer = Answer {
                status,
                headers: HeaderMap::new(),
                body: body.as_bytes().to_vec().into(),
            };
            let found = meaning(&answer, now);
            let word = match &found {
                Ok(Some(_)) => "some",
                Ok(None) => "none",
                Err(Miss::Later { .. }) => "later",
                Err(Miss::Busy { .. }) => "busy",
                Err(Miss::Closed(why)) => {
                    assert!(status == 302 || why.contains("api_enabled"), "{why}");
                    "closed"
                }
                Err(Miss::Refused(_)) => "refused",
                Err(Miss::Wait(_)) => "wait",
            };
            assert_eq!(word, expected, "{status} {body}: {found:?}");
        }
    }

    #[test]
    fn an_address_is_encoded_whole() {
        let base: Url = "https://mautic.example/sub/".parse().unwrap();
        let call = Call {
            method: Method::GET,
            path: "/api/contacts",
            query: &[("where[0][val]", "joão+x&y=z@dest.example")],
            body: None,
        };
        let request = request(&base, &call, &HeaderValue::from_static("x"));
        assert_eq!(
            request.url().as_str(),
            "https://mautic.example/sub/api/contacts?where%5B0%5D%5Bval%5D=\
             jo%C3%A3o%2Bx%26y%3Dz%40dest.example"
        );
    }
}
