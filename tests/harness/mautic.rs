//! A Mautic as far as its REST API, one-click addresses and callback go, with their oddities as its
//! source has them (5.1: ApiBundle, LeadBundle/Model/DoNotContact, EmailBundle/PublicController).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::peer::{Answer, Peer, Request};

/// The user of the API.
const API_LOGIN: (&str, &str) = ("malote", "api-secret");

/// One entry of a contact's do-not-contact list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DncEntry {
    /// 1 unsubscribed, 2 bounced, 3 by hand.
    pub reason: i64,
    /// The e-mail that it counts for.
    pub channel_id: Option<u64>,
    /// Why.
    pub comments: String,
}

/// What the double is like.
#[derive(Debug, Clone)]
pub struct MauticState {
    /// `api_enabled`.
    pub api_enabled: bool,
    /// `api_enable_basic_auth`.
    pub basic_auth: bool,
    /// Whether the user's role edits contacts of others.
    pub may_edit: bool,
    /// Calls that are answered 429 before the next is answered as it should be.
    pub over_limit: u32,
    /// What one-click addresses answer, in turn, before the next is answered as it should be.
    pub one_click_trouble: Vec<Answer>,
    /// Addresses and entries by number, from 1.
    pub contacts: Vec<(String, Option<DncEntry>)>,
    /// Tracking hashes with the number of their contact.
    pub hashes: Vec<(String, usize)>,
}

/// A running Mautic.
pub struct Mautic {
    /// Where it listens, and what it was asked.
    pub peer: Peer,
    state: Arc<Mutex<MauticState>>,
}

impl Mautic {
    /// Starts one that has these contacts, with its API open.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(addresses: &[&str]) -> Result<Self> {
        let contacts = addresses.iter().map(|a| ((*a).to_owned(), None)).collect();
        let state = Arc::new(Mutex::new(MauticState {
            api_enabled: true,
            basic_auth: true,
            may_edit: true,
            over_limit: 0,
            one_click_trouble: Vec::new(),
            contacts,
            hashes: Vec::new(),
        }));
        let own = Arc::clone(&state);
        let peer = Peer::start(move |request| {
            let mut state = own.lock().unwrap_or_else(PoisonError::into_inner);
            state.answer(request)
        });
        Ok(Self {
            peer: peer.await?,
            state,
        })
    }

    /// The table of a credential whose outlet it is.
    #[must_use]
    pub fn table(&self, credential: &str) -> String {
        let (user, password) = API_LOGIN;
        format!(
            "[credentials.{credential}.mautic]\nurl = \"{}\"\nuser = \"{user}\"\n\
             password = \"{password}\"\nallow_private = true\n",
            self.peer.url()
        )
    }

    /// What it is like now, to look at and to change.
    pub fn state(&self) -> MutexGuard<'_, MauticState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry of the contact with this address.
    #[must_use]
    pub fn entry(&self, address: &str) -> Option<DncEntry> {
        let state = self.state();
        let found = state.contacts.iter().find(|(own, _)| own == address);
        found.and_then(|(_, entry)| entry.clone())
    }

    /// The requests that would change something: all but searches.
    #[must_use]
    pub fn changes(&self) -> Vec<Request> {
        let requests = self.peer.requests().into_iter();
        requests.filter(|r| r.method != "GET").collect()
    }
}

fn error(code: u16, message: &str) -> Answer {
    let errors = json!({ "errors": [{ "code": code, "message": message, "details": [] }] });
    Answer::json(code, &errors)
}

impl MauticState {
    fn answer(&mut self, request: &Request) -> Answer {
        let (path, query) = request
            .target
            .split_once('?')
            .unwrap_or((&request.target, ""));
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (request.method.as_str(), parts.as_slice()) {
            (_, ["api", ..]) => self.api(request, &parts, query),
            ("POST", ["email", "unsubscribe", hash, ..]) => self.one_click(request, hash),
            // Without a plug-in nobody listens.
            ("POST", ["mailer", "callback"]) => Answer::empty(404),
            _ => Answer::Reply(404, String::new(), "<html>Not found</html>".to_owned()),
        }
    }

    /// The door of the API: its switches, its user, its limit.
    fn api(&mut self, request: &Request, parts: &[&str], query: &str) -> Answer {
        if !self.api_enabled {
            return error(403, "API disabled");
        }
        let authorization = request.headers.get("authorization").map(String::as_str);
        let is_basic = authorization.is_some_and(|value| value.starts_with("Basic "));
        if is_basic && !self.basic_auth {
            return error(403, "Basic auth is disabled");
        }
        if authorization != Some("Basic bWFsb3RlOmFwaS1zZWNyZXQ=") {
            return error(401, "access_denied");
        }
        if self.over_limit > 0 {
            self.over_limit -= 1;
            let Answer::Reply(status, headers, body) =
                error(429, "You exceeded the rate limit of 1 API calls per hour.")
            else {
                return Answer::Drop;
            };
            return Answer::Reply(status, format!("{headers}Retry-After: 1\r\n"), body);
        }
        match (request.method.as_str(), parts) {
            ("GET", ["api", "users", "self"]) => Answer::json(200, &json!({ "id": 1 })),
            ("POST", ["api", "users", "1", "permissioncheck"]) => {
                Answer::json(200, &json!({ "lead:leads:editother": self.may_edit }))
            }
            ("GET", ["api", "contacts"]) => self.search(query),
            ("POST", ["api", "contacts", ..]) if !self.may_edit => error(403, "Access denied"),
            ("GET", ["api", "contacts", id]) => self.contact(id),
            ("POST", ["api", "contacts", id, "dnc", "email", "add"]) => self.add(id, request),
            ("POST", ["api", "contacts", id, "dnc", "email", "remove"]) => self.remove(id),
            _ => error(404, "Not found"),
        }
    }

    /// `where[0]` finds; `search` does not understand `+` and then answers everybody. A query's text
    /// is made HTML, and only `in` makes it what it was (`CommonRepository`).
    fn search(&self, query: &str) -> Answer {
        let value = |name: &str| {
            let pair = query.split('&').filter_map(|pair| pair.split_once('='));
            let found = pair.filter(|(key, _)| decoded(key) == name);
            found.map(|(_, value)| decoded(value)).next()
        };
        let number = |name: &str, default: usize| {
            let text = value(name);
            text.and_then(|text| text.parse().ok()).unwrap_or(default)
        };
        let is_of_email = value("where[0][col]").as_deref() == Some("email");
        let wanted = value("where[0][val]").filter(|_| is_of_email);
        let wanted = match (value("where[0][expr]").as_deref(), wanted) {
            (Some("in"), Some(list)) => Some(fields_of(&list)),
            (Some("eq"), Some(text)) => Some(vec![as_html(&text)]),
            _ => None,
        };
        let is_wanted = |own: &str| {
            let is_own = |wanted: &String| own.eq_ignore_ascii_case(wanted);
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted.iter().any(is_own))
        };
        let all = self.contacts.iter().enumerate();
        let found: Vec<usize> = all
            .filter(|(_, (own, _))| is_wanted(own))
            .map(|(index, _)| index)
            .collect();
        let page = found
            .iter()
            .skip(number("start", 0))
            .take(number("limit", 30));
        let page: Map<String, Value> = page
            .map(|index| ((index + 1).to_string(), self.shown(*index)))
            .collect();
        // PHP's empty list is an array, its total a text now and a number then.
        let answer = match (found.len(), page.is_empty()) {
            (0, _) => json!({ "total": 0, "contacts": [] }),
            (total, true) => json!({ "total": total.to_string(), "contacts": [] }),
            (total, false) => json!({ "total": total.to_string(), "contacts": page }),
        };
        Answer::json(200, &answer)
    }

    fn shown(&self, index: usize) -> Value {
        let Some((address, entry)) = self.contacts.get(index) else {
            return Value::Null;
        };
        let entries: Vec<Value> = entry
            .iter()
            .map(|entry| {
                json!({ "id": 1, "reason": entry.reason, "comments": entry.comments,
                    "channel": "email", "channelId": entry.channel_id })
            })
            .collect();
        json!({ "id": index + 1, "doNotContact": entries,
            "fields": { "core": { "email": { "value": address } }, "all": { "email": address } } })
    }

    fn index(&self, id: &str) -> Option<usize> {
        let number: usize = id.parse().ok()?;
        number
            .checked_sub(1)
            .filter(|index| *index < self.contacts.len())
    }

    fn contact(&self, id: &str) -> Answer {
        match self.index(id) {
            Some(index) => Answer::json(200, &json!({ "contact": self.shown(index) })),
            None => error(404, "Item was not found."),
        }
    }

    /// `DoNotContact::addDncForContact`.
    fn add(&mut self, id: &str, request: &Request) -> Answer {
        let Some(index) = self.index(id) else {
            return error(404, "Item was not found.");
        };
        let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
        // PHP casts a text to 0.
        let reason = body
            .get("reason")
            .map_or(3, |reason| reason.as_i64().unwrap_or(0));
        if reason == 0 {
            return error(400, "Invalid reason code given");
        }
        let channel_id = body["channelId"].as_u64();
        let comments = body["comments"].as_str().unwrap_or_default().to_owned();
        let new = DncEntry {
            reason,
            channel_id,
            comments,
        };
        if let Some((_, entry)) = self.contacts.get_mut(index) {
            match entry {
                None => *entry = Some(new),
                // The channel is a list then, and equals no stored text.
                Some(old) if old.reason != reason && old.reason != 1 && channel_id.is_none() => {
                    let channel_id = old.channel_id;
                    *old = DncEntry { channel_id, ..new };
                }
                Some(_) => {}
            }
        }
        self.contact(id)
    }

    fn remove(&mut self, id: &str) -> Answer {
        let Some(index) = self.index(id) else {
            return error(404, "Item was not found.");
        };
        if let Some((_, entry)) = self.contacts.get_mut(index) {
            *entry = None;
        }
        self.contact(id)
    }

    /// RFC 8058; a hash without its row is unknown.
    fn one_click(&mut self, request: &Request, hash: &str) -> Answer {
        if request.body != "List-Unsubscribe=One-Click" {
            return Answer::Reply(200, String::new(), "<html>Preferences</html>".to_owned());
        }
        if !self.one_click_trouble.is_empty() {
            return self.one_click_trouble.remove(0);
        }
        let known = self.hashes.iter().find(|(own, _)| own == hash);
        let Some((_, number)) = known.cloned() else {
            return Answer::empty(404);
        };
        if let Some((_, entry)) = self.contacts.get_mut(number.saturating_sub(1)) {
            *entry = Some(DncEntry {
                reason: 1,
                channel_id: None,
                comments: "User unsubscribed".to_owned(),
            });
        }
        Answer::Reply(200, String::new(), "unsubscribed".to_owned())
    }
}

/// `FILTER_SANITIZE_SPECIAL_CHARS`.
fn as_html(text: &str) -> String {
    text.replace('&', "&#38;")
        .replace('\'', "&#39;")
        .replace('"', "&#34;")
        .replace('<', "&#60;")
        .replace('>', "&#62;")
}

/// The fields of a line of CSV.
fn fields_of(line: &str) -> Vec<String> {
    let (mut fields, mut is_quoted) = (vec![String::new()], false);
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        let is_pair = c == '"' && is_quoted && rest.next_if_eq(&'"').is_some();
        match c {
            '"' if !is_pair => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            c => fields.last_mut().into_iter().for_each(|own| own.push(c)),
        }
    }
    fields
}

/// Decodes a form's text.
fn decoded(text: &str) -> String {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        match octet {
            b'+' => octets.push(b' '),
            b'%' => {
                let digit = |octet: Option<u8>| octet.and_then(|o| char::from(o).to_digit(16));
                let (high, low) = (digit(rest.next()), digit(rest.next()));
                let value = high.zip(low).map(|(high, low)| high * 16 + low);
                octets.extend(value.and_then(|value| u8::try_from(value).ok()));
            }
            other => octets.push(other),
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}
