//! `/captured`: mail that left through a provider of kind `capture`, for development.
//!
//! Everything a message holds is hostile here: it is escaped, never rendered, and the page's policy
//! runs no script at all.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use mail_parser::MessageParser;
use malote_core::event::State as DeliveryState;
use malote_core::id::MessageId;
use malote_core::ledger::{Ledger, Search, SearchRow};
use malote_core::name::ProviderName;
use malote_core::provider::bounded;
use serde::Deserialize;

use super::AdminState;
use super::problem::{Problem, ProblemKind};
use super::request;

/// Deliveries that a page shows at least, if there are as many.
const ROWS: usize = 50;
/// Pages of the store looked through for one page of this list.
const LOOKS_MAX: usize = 20;
/// Bodies beyond this are listed without their subject: the page stays quick.
const SUBJECT_BODY_BYTES_MAX: u64 = 1 << 20;
/// Longest subject shown, in octets.
const SUBJECT_BYTES_MAX: usize = 200;

/// No script, no frame, no form, no foreign source.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);
/// A raw message is text; a browser that thinks otherwise gets a box without an origin.
const RAW_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox");

const STYLE: &str = "\
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #8884; padding: .4rem .6rem; text-align: left; }
td { overflow-wrap: anywhere; }
td.time { white-space: nowrap; font-variant-numeric: tabular-nums; }
";

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PageQuery {
    cursor: Option<String>,
}

/// The list, newest message first.
pub(super) async fn list(State(state): State<AdminState>, uri: Uri) -> Result<Response, Problem> {
    let query: PageQuery = request::query(&uri)?;
    let (rows, next) = captured(&state, query.cursor).await?;
    let mut subjects = HashMap::new();
    for row in &rows {
        if let Entry::Vacant(place) = subjects.entry(row.message) {
            place.insert(subject(&state, row.message).await);
        }
    }
    let page = page(&rows, &subjects, next.as_deref());
    Ok((
        [
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/html; charset=utf-8"),
            ),
            (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        ],
        page,
    )
        .into_response())
}

/// The list's style sheet.
pub(super) async fn style() -> Response {
    let kind = HeaderValue::from_static("text/css; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], STYLE).into_response()
}

/// One message as it left, as text.
pub(super) async fn raw(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let nothing = || Problem::new(ProblemKind::NotFound, "no captured message of this id");
    let id: MessageId = id.parse().map_err(|_| nothing())?;
    let view = state.engine.message(id, None).await?.ok_or_else(nothing)?;
    let captures = captures(&state);
    let is_captured = |provider: &ProviderName| captures.contains(provider);
    let providers = view.deliveries.iter().filter_map(|d| d.provider.as_ref());
    if !providers.into_iter().any(is_captured) {
        return Err(nothing());
    }
    let body = state.store.spool().body(id).await?.ok_or_else(|| {
        let text = "the message's body has been dropped, see retention.bodies";
        Problem::new(ProblemKind::NotFound, text)
    })?;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    Ok((
        [
            (header::CONTENT_TYPE, kind),
            (header::CONTENT_SECURITY_POLICY, RAW_POLICY),
        ],
        body,
    )
        .into_response())
}

fn captures(state: &AdminState) -> BTreeSet<ProviderName> {
    let policy = state.engine.policy();
    let captures = policy
        .providers
        .iter()
        .filter(|(_, entry)| entry.provider.kind() == "capture");
    captures.map(|(name, _)| name.clone()).collect()
}

/// Captured deliveries from `cursor` on, and where the next page begins. The store is not searched
/// by provider, so a bounded number of its pages is looked through.
async fn captured(
    state: &AdminState,
    cursor: Option<String>,
) -> Result<(Vec<SearchRow>, Option<String>), Problem> {
    let captures = captures(state);
    let mut search = Search {
        state: Some(DeliveryState::Sent),
        cursor,
        limit: 50,
        ..Search::default()
    };
    let mut rows = Vec::new();
    for _ in 0..LOOKS_MAX {
        let page = state.engine.search(&search).await?;
        rows.extend(page.rows.into_iter().filter(|row| {
            row.provider
                .as_ref()
                .is_some_and(|provider| captures.contains(provider))
        }));
        search.cursor = page.next_cursor;
        if search.cursor.is_none() || rows.len() >= ROWS {
            break;
        }
    }
    Ok((rows, search.cursor))
}

/// The decoded subject; `None` if the body is gone, large or unreadable.
async fn subject(state: &AdminState, id: MessageId) -> Option<String> {
    let record = state.store.spool().message(id).await.ok()??;
    if record.size_bytes > SUBJECT_BODY_BYTES_MAX {
        return None;
    }
    let body = state.store.spool().body(id).await.ok()??;
    let message = MessageParser::default().parse_headers(&body[..])?;
    message
        .subject()
        .map(|text| bounded(text, SUBJECT_BYTES_MAX))
}

fn page(
    rows: &[SearchRow],
    subjects: &HashMap<MessageId, Option<String>>,
    next: Option<&str>,
) -> String {
    let mut html = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>Captured mail</title>\n<link rel=\"stylesheet\" href=\"/captured/style.css\">\n\
         </head>\n<body>\n<h1>Captured mail</h1>\n\
         <p>Mail that left through a provider of kind <code>capture</code>: it went to nobody.</p>\n",
    );
    if rows.is_empty() {
        html.push_str("<p>Nothing here.</p>\n");
    } else {
        html.push_str(
            "<table>\n<thead><tr><th>Accepted</th><th>Stream</th><th>Provider</th><th>To</th>\
             <th>Subject</th></tr></thead>\n<tbody>\n",
        );
        for row in rows {
            let subject = subjects.get(&row.message).and_then(Option::as_deref);
            html.push_str(&table_row(row, subject));
        }
        html.push_str("</tbody>\n</table>\n");
    }
    if let Some(cursor) = next {
        let cursor = escape(&percent_encoded(cursor));
        html.push_str(&format!(
            "<p><a href=\"/captured?cursor={cursor}\" rel=\"next\">Older</a></p>\n"
        ));
    }
    html.push_str("</body>\n</html>\n");
    html
}

fn table_row(row: &SearchRow, subject: Option<&str>) -> String {
    let provider = row.provider.as_ref().map_or("", ProviderName::as_str);
    let subject = match subject {
        Some("") | None => "(no subject)",
        Some(subject) => subject,
    };
    format!(
        "<tr><td class=\"time\">{}</td><td>{}</td><td>{}</td><td>{}</td>\
         <td><a href=\"/captured/{}\">{}</a></td></tr>\n",
        escape(&format!("{:.0}", row.accepted_at)),
        escape(row.stream.as_str()),
        escape(provider),
        escape(&row.recipient),
        row.message,
        escape(subject),
    )
}

/// Text as it may stand in HTML, in an element or in a quoted attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A value as it may stand in a query string (RFC 3986 2.3: everything else is encoded).
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            encoded.push(char::from(octet));
        } else {
            // Writing to a string does not fail.
            write!(encoded, "%{octet:02X}").unwrap_or_default();
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_message_holds_becomes_markup() {
        let id = MessageId::from_bytes([7; 16]);
        let row = SearchRow {
            message: id,
            delivery: malote_core::id::DeliveryId {
                message: id,
                index: 0,
            },
            accepted_at: jiff::Timestamp::UNIX_EPOCH,
            stream: "news".try_into().unwrap(),
            recipient: "\"<img src=x onerror='a()'>\"@x.test".to_owned(),
            state: DeliveryState::Sent,
            provider: Some("dev".try_into().unwrap()),
            last_reply: Some("<script>".to_owned()),
        };
        let subject = "</td><script>alert(\"1\")</script>&amp;".to_owned();
        let subjects = HashMap::from([(id, Some(subject))]);
        let html = page(&[row], &subjects, Some("\"><script>"));
        assert!(
            !html.contains("<script") && !html.contains("<img"),
            "{html}"
        );
        assert!(html.contains("&lt;/td&gt;&lt;script&gt;alert(&quot;1&quot;)"));
        assert!(html.contains("&quot;&lt;img src=x onerror=&#39;a()&#39;&gt;&quot;@x.test"));
        assert!(html.contains("cursor=%22%3E%3Cscript%3E\""));
        assert!(html.contains("1970-01-01T00:00:00Z"));
    }

    #[test]
    fn an_empty_list_says_so() {
        assert!(page(&[], &HashMap::new(), None).contains("Nothing here"));
    }
}
