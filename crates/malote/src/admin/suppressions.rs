//! `/admin/v1/suppressions`: who must not be mailed; listed, added, lifted, exported, imported.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use malote_core::address::EmailAddress;
use malote_core::name::StreamName;
use malote_core::provider::{REPLY_TEXT_BYTES_MAX, bounded};
use malote_delivery::Engine;
use malote_store::{StoreError, Suppression, SuppressionScope};
use serde::Deserialize;
use std::sync::Arc;

use super::AdminState;
use super::api::{ImportReport, LiftedBody, LineFault, SuppressionBody, SuppressionPage, scope_of};
use super::problem::{Problem, ProblemKind};
use super::request::{self, BODY_WAIT_MAX};

/// Rows of a page if the operator does not say.
const LIMIT_DEFAULT: u16 = 100;
/// Most rows of a page.
const LIMIT_MAX: u16 = 1_000;
/// Entries read, or written in one transaction, at once.
const BATCH: u32 = 500;
/// Longest line of an import.
const LINE_BYTES_MAX: usize = 8 << 10;
/// Largest import in one request; more come in several.
const IMPORT_BYTES_MAX: usize = 256 << 20;
/// Refused lines that an import's report names.
const FAULTS_MAX: usize = 20;

/// The media type of one JSON document a line.
pub(crate) const NDJSON: &str = "application/x-ndjson";

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ListQuery {
    address: Option<EmailAddress>,
    cursor: Option<String>,
    limit: Option<u16>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LiftQuery {
    address: EmailAddress,
    stream: Option<StreamName>,
    #[serde(default)]
    global: bool,
}

/// `GET suppressions`: a page in the order of addresses, or all entries of one address.
pub(super) async fn list(
    State(state): State<AdminState>,
    uri: Uri,
) -> Result<Json<SuppressionPage>, Problem> {
    let query: ListQuery = request::query(&uri)?;
    if let Some(address) = query.address {
        let found = entries_of(&state, &address).await?;
        return Ok(Json(SuppressionPage {
            suppressions: found.into_iter().map(Into::into).collect(),
            next_cursor: None,
        }));
    }
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let text = "limit must be 1 to 1000";
        return Err(Problem::at(ProblemKind::BadQuery, "limit", text));
    }
    let after = query.cursor.as_deref().map(after).transpose()?;
    let found = state.engine.suppressions(after, limit.into()).await?;
    let is_full = found.len() == usize::from(limit);
    let next_cursor = found.last().filter(|_| is_full).map(cursor);
    Ok(Json(SuppressionPage {
        suppressions: found.into_iter().map(Into::into).collect(),
        next_cursor,
    }))
}

/// Every entry that stands for an address, whatever its spelling: global, then by stream.
async fn entries_of(
    state: &AdminState,
    address: &EmailAddress,
) -> Result<Vec<Suppression>, Problem> {
    let policy = state.engine.policy();
    let streams = policy.streams.keys().cloned().map(SuppressionScope::Stream);
    let mut found = Vec::new();
    for scope in std::iter::once(SuppressionScope::Global).chain(streams) {
        found.extend(state.engine.suppression_in(address, scope).await?);
    }
    Ok(found)
}

/// `STREAM/ADDRESS`, the stream empty for a global entry: names hold no slash.
fn cursor(entry: &Suppression) -> String {
    match &entry.scope {
        SuppressionScope::Global => format!("/{}", entry.address),
        SuppressionScope::Stream(stream) => format!("{stream}/{}", entry.address),
    }
}

fn after(cursor: &str) -> Result<(EmailAddress, SuppressionScope), Problem> {
    let read = || {
        let (stream, address) = cursor.split_once('/')?;
        let scope = match stream {
            "" => SuppressionScope::Global,
            name => SuppressionScope::Stream(name.try_into().ok()?),
        };
        Some((EmailAddress::parse(address).ok()?, scope))
    };
    read().ok_or_else(|| {
        let text = "the cursor is not one of ours";
        Problem::at(ProblemKind::BadQuery, "cursor", text)
    })
}

/// `POST suppressions`.
pub(super) async fn add(
    State(state): State<AdminState>,
    request: Request,
) -> Result<(StatusCode, Json<SuppressionBody>), Problem> {
    let body: SuppressionBody = request::json(request).await?;
    let entry = checked(body, &state)
        .map_err(|(pointer, text)| Problem::at(ProblemKind::InvalidValue, pointer, text))?;
    state.engine.suppress(entry.clone()).await?;
    Ok((StatusCode::CREATED, Json(entry.into())))
}

/// `DELETE suppressions?address=`: in one scope, or in all.
pub(super) async fn lift(
    State(state): State<AdminState>,
    uri: Uri,
) -> Result<Json<LiftedBody>, Problem> {
    let query: LiftQuery = request::query(&uri)?;
    if query.global && query.stream.is_some() {
        let text = "give either stream or global";
        return Err(Problem::at(ProblemKind::BadQuery, "global", text));
    }
    let is_one = query.global || query.stream.is_some();
    let scope = is_one.then(|| scope_of(query.stream));
    let lifted = state.engine.unsuppress(&query.address, scope.as_ref());
    Ok(Json(LiftedBody {
        lifted: lifted.await?,
    }))
}

/// What is kept of an entry that was given: an unknown stream is a typing error that would suppress
/// nothing.
fn checked(
    mut body: SuppressionBody,
    state: &AdminState,
) -> Result<Suppression, (&'static str, String)> {
    if let Some(stream) = &body.stream
        && !state.engine.policy().streams.contains_key(stream)
    {
        return Err(("/stream", format!("no stream {stream} is configured")));
    }
    body.detail = bounded(&body.detail, REPLY_TEXT_BYTES_MAX);
    Ok(body.entry(state.clock.now()))
}

/// `GET suppressions/export`: every entry, one JSON document a line. An entry that is added or
/// lifted meanwhile may be in it or not.
pub(super) async fn export(State(state): State<AdminState>) -> Response {
    let lines = pages(Arc::clone(&state.engine)).map(|page| {
        let page = page.map_err(std::io::Error::other)?;
        let mut text = Vec::with_capacity(page.len() * 256);
        for entry in page {
            serde_json::to_writer(&mut text, &SuppressionBody::from(entry))?;
            text.push(b'\n');
        }
        Ok::<_, std::io::Error>(Bytes::from(text))
    });
    let kind = HeaderValue::from_static(NDJSON);
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(lines)).into_response()
}

fn pages(engine: Arc<Engine>) -> impl Stream<Item = Result<Vec<Suppression>, StoreError>> {
    stream::try_unfold(
        (engine, None, false),
        |(engine, after, is_done)| async move {
            if is_done {
                return Ok(None);
            }
            let page = engine.suppressions(after, BATCH).await?;
            let last = page.last();
            let next = last.map(|entry| (entry.address.clone(), entry.scope.clone()));
            let is_done = page.len() < BATCH as usize;
            Ok(Some((page, (engine, next, is_done))))
        },
    )
}

/// `POST suppressions/import`: one JSON document a line. Lines that are not good are reported and
/// passed over; the others are kept in batches, so that an import that breaks off can be repeated.
pub(super) async fn import(
    State(state): State<AdminState>,
    request: Request,
) -> Result<Json<ImportReport>, Problem> {
    request::expect_type(request.headers(), NDJSON)?;
    let mut body = request.into_body().into_data_stream();
    let mut import = Import::default();
    let (mut rest, mut bytes) = (Vec::new(), 0_usize);
    loop {
        let Ok(chunk) = tokio::time::timeout(BODY_WAIT_MAX, body.next()).await else {
            let text = "nothing more came for 30 seconds; what came before is kept";
            return Err(Problem::new(ProblemKind::BodyTimeout, text));
        };
        let Some(chunk) = chunk else { break };
        let Ok(chunk) = chunk else {
            let text = "the body is cut off; what came before is kept";
            return Err(Problem::new(ProblemKind::MalformedJson, text));
        };
        bytes += chunk.len();
        rest.extend_from_slice(&chunk);
        let complete = rest.iter().rposition(|octet| *octet == b'\n');
        let lines: Vec<u8> = rest.drain(..complete.map_or(0, |end| end + 1)).collect();
        for line in lines.split_inclusive(|octet| *octet == b'\n') {
            import.line(line, &state);
            import.keep_full_batch(&state).await?;
        }
        if rest.len() > LINE_BYTES_MAX || bytes > IMPORT_BYTES_MAX {
            let text = "a line is over 8 KiB or the import over 256 MiB; what came before is kept";
            import.keep(&state).await?;
            return Err(Problem::new(ProblemKind::BodyTooLarge, text));
        }
    }
    import.line(&rest, &state);
    import.keep(&state).await?;
    Ok(Json(import.report))
}

/// An import under way.
#[derive(Default)]
struct Import {
    lines: u64,
    batch: Vec<Suppression>,
    report: ImportReport,
}

impl Import {
    fn line(&mut self, line: &[u8], state: &AdminState) {
        self.lines += 1;
        let line = line.trim_ascii();
        if line.is_empty() {
            return;
        }
        let entry = serde_json::from_slice::<SuppressionBody>(line)
            .map_err(|error| error.to_string())
            .and_then(|body| checked(body, state).map_err(|(_, text)| text));
        match entry {
            Ok(entry) => self.batch.push(entry),
            Err(detail) => {
                self.report.refused += 1;
                if self.report.faults.len() < FAULTS_MAX {
                    self.report.faults.push(LineFault {
                        line: self.lines,
                        detail: bounded(&detail, REPLY_TEXT_BYTES_MAX),
                    });
                }
            }
        }
    }

    async fn keep_full_batch(&mut self, state: &AdminState) -> Result<(), Problem> {
        if self.batch.len() < BATCH as usize {
            return Ok(());
        }
        self.keep(state).await
    }

    async fn keep(&mut self, state: &AdminState) -> Result<(), Problem> {
        let batch = std::mem::take(&mut self.batch);
        let count = batch.len() as u64;
        if count > 0 {
            state.engine.suppress_all(batch).await?;
        }
        self.report.imported += count;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_being_given_back_and_others_are_refused() {
        for text in ["/a@x.test", "news/a@x.test", "/a/b@x.test"] {
            let (address, scope) = after(text).unwrap();
            let entry = SuppressionBody {
                address,
                stream: None,
                reason: malote_store::SuppressionReason::Manual,
                detail: String::new(),
                provider: None,
                credential: None,
                created_at: None,
                expires_at: None,
            };
            let mut entry = entry.entry(jiff::Timestamp::UNIX_EPOCH);
            entry.scope = scope;
            assert_eq!(cursor(&entry), text);
        }
        for text in ["", "a@x.test", "News/a@x.test", "/", "news/"] {
            assert!(after(text).is_err(), "{text}");
        }
    }
}
