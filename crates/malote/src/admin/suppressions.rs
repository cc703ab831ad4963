//! `/admin/v1/suppressions`: who must not be mailed; listed, added, lifted, exported, imported.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::name::StreamName;
use malote_core::provider::{REPLY_TEXT_BYTES_MAX, bounded};
use malote_core::stream::Class;
use malote_core::suppression::{
    Put, SOURCE_BYTES_MAX, SOURCE_IMPORT, SOURCE_OPERATOR, SuppressionPlace, SuppressionQuery,
    SuppressionReason, SuppressionScope, Suppressions as _, TimesFault, cursor_behind, place_of,
    stands_since, without_effect,
};
use malote_delivery::Engine;
use malote_store::{StoreError, Suppression};
use serde::Deserialize;
use std::collections::HashSet;
use std::sync::Arc;

use super::AdminState;
use super::api::{
    ImportReport, Keep, LiftedBody, LineFault, SuppressionBody, SuppressionPage, scope_of,
};
use super::problem::{Problem, ProblemKind};
use super::request::{self, BODY_WAIT_MAX};
use crate::lists::{self, ListReader, Record, Unreadable};

/// Rows of a page if the operator does not say.
const LIMIT_DEFAULT: u16 = 100;
/// Most rows of a page.
const LIMIT_MAX: u16 = 1_000;
/// Entries read, or written in one transaction, at once.
const BATCH: u32 = 500;
/// Largest import in one request; more come in several.
const IMPORT_BYTES_MAX: usize = 256 << 20;
/// New entries that a report of `keep=nothing` shows.
const FIRST_MAX: usize = 10;
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

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ExportQuery {
    format: ListFormat,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ImportQuery {
    keep: Keep,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ListFormat {
    #[default]
    Ndjson,
    Csv,
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
        let found = state.engine.suppressions_of(&address).await?;
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
    let query = SuppressionQuery {
        after,
        limit: limit.into(),
        ..SuppressionQuery::default()
    };
    let found = state.engine.suppressions(&query).await?;
    let is_full = found.len() == usize::from(limit);
    let next_cursor = found.last().filter(|_| is_full).map(cursor_behind);
    Ok(Json(SuppressionPage {
        suppressions: found.into_iter().map(Into::into).collect(),
        next_cursor,
    }))
}

fn after(cursor: &str) -> Result<SuppressionPlace, Problem> {
    place_of(cursor).ok_or_else(|| {
        let text = "the cursor is not one of ours";
        Problem::at(ProblemKind::BadQuery, "cursor", text)
    })
}

/// `POST suppressions`: 201 with the entry, 200 with the one that stood or stands now in its place,
/// 422 if none stands then.
pub(super) async fn add(
    State(state): State<AdminState>,
    request: Request,
) -> Result<(StatusCode, Json<SuppressionBody>), Problem> {
    let body: SuppressionBody = request::json(request).await?;
    let entry = checked(body, &state, SOURCE_OPERATOR)
        .map_err(|(pointer, text)| Problem::at(ProblemKind::InvalidValue, pointer, text))?;
    if entry.address.known().is_none() {
        state.engine.suppress_all(vec![entry.clone()]).await?;
        return Ok((StatusCode::CREATED, Json(entry.into())));
    }
    let scope = entry.scope.clone();
    let refused =
        |pointer: &str, text: String| Problem::at(ProblemKind::InvalidValue, pointer, text);
    match state.engine.put(entry).await? {
        Put::Added(entry) => Ok((StatusCode::CREATED, Json(entry.into()))),
        Put::Stands(stands) => Ok((StatusCode::OK, Json(stands.into()))),
        Put::Outlived => {
            let text = "the entry has ended, or its recipient came back after this time, so nothing \
                        stands: leave created_at out to begin now";
            Err(refused("/created_at", text.to_owned()))
        }
        Put::WithoutEffect => Err(refused("/stream", no_effect(&scope))),
    }
}

/// Why an entry in this scope stops nothing.
fn no_effect(scope: &SuppressionScope) -> String {
    match scope {
        SuppressionScope::Global => "this entry would stop nothing".to_owned(),
        SuppressionScope::Stream(stream) => without_effect(stream),
    }
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

/// What is kept of an entry that was given: a stream that is unknown, or transactional, would
/// suppress nothing, and neither would an entry of no time.
fn checked(
    mut body: SuppressionBody,
    state: &AdminState,
    source: &str,
) -> Result<Suppression, (&'static str, String)> {
    if let Some(stream) = &body.stream {
        let class = state
            .engine
            .policy()
            .streams
            .get(stream)
            .map(|own| own.class);
        match class {
            None => return Err(("/stream", format!("no stream {stream} is configured"))),
            Some(Class::Transactional) => return Err(("/stream", without_effect(stream))),
            Some(Class::Campaign) => {}
        }
    }
    let is_source = |text: &String| {
        (1..=SOURCE_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
    };
    if !body.source.as_ref().is_none_or(is_source) {
        let text = format!("source: use 1 to {SOURCE_BYTES_MAX} octets without control characters");
        return Err(("/source", text));
    }
    body.detail = bounded(&body.detail, REPLY_TEXT_BYTES_MAX);
    let now = state.clock.now();
    let since = stands_since(body.created_at, body.expires_at, now);
    body.created_at = Some(since.map_err(|fault| match fault {
        TimesFault::BeginsLater => ("/created_at", format!("created_at (at): {fault}")),
        TimesFault::EndsFirst => ("/expires_at", format!("expires_at: {fault}")),
    })?);
    Ok(body.entry(now, source))
}

/// `GET suppressions/export`: every entry, one JSON document a line or, with `?format=csv`, as CSV.
/// An entry that is added or lifted meanwhile may be in it or not.
pub(super) async fn export(State(state): State<AdminState>, uri: Uri) -> Result<Response, Problem> {
    let format = request::query::<ExportQuery>(&uri)?.format;
    let (head, kind) = match format {
        ListFormat::Ndjson => (String::new(), NDJSON),
        ListFormat::Csv => (lists::csv_header(), "text/csv; charset=utf-8"),
    };
    let head = stream::iter([Ok(Bytes::from(head))]);
    let lines = pages(Arc::clone(&state.engine)).map(move |page| {
        let page = page.map_err(std::io::Error::other)?;
        let mut text = Vec::with_capacity(page.len() * 256);
        for entry in page.into_iter().map(SuppressionBody::from) {
            match format {
                ListFormat::Ndjson => {
                    serde_json::to_writer(&mut text, &entry)?;
                    text.push(b'\n');
                }
                ListFormat::Csv => text.extend_from_slice(lists::csv_line(&entry).as_bytes()),
            }
        }
        Ok::<_, std::io::Error>(Bytes::from(text))
    });
    let kind = HeaderValue::from_static(kind);
    let body = Body::from_stream(head.chain(lines));
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

fn pages(engine: Arc<Engine>) -> impl Stream<Item = Result<Vec<Suppression>, StoreError>> {
    stream::try_unfold(
        (engine, None, false),
        |(engine, after, is_done)| async move {
            if is_done {
                return Ok(None);
            }
            let query = SuppressionQuery {
                after,
                limit: BATCH,
                ..SuppressionQuery::default()
            };
            let page = engine.suppressions(&query).await?;
            let last = page.last();
            let next = last.map(|entry| (entry.address.clone(), entry.scope.clone()));
            let is_done = page.len() < BATCH as usize;
            Ok(Some((page, (engine, next, is_done))))
        },
    )
}

/// `POST suppressions/import?keep=`: a list as [`ListReader`] reads it. Lines that are not good are
/// reported and passed over; the others are kept in batches, so that an import that breaks off can
/// be repeated.
pub(super) async fn import(
    State(state): State<AdminState>,
    request: Request,
) -> Result<Json<ImportReport>, Problem> {
    let is_csv = request::expect_type(request.headers(), "text/csv").is_ok();
    if !is_csv {
        request::expect_type(request.headers(), NDJSON)?;
    }
    let keep = request::query::<ImportQuery>(request.uri())?.keep;
    let mut body = request.into_body().into_data_stream();
    let (mut import, mut reader) = (Import::of(keep), ListReader::default());
    let (mut records, mut bytes) = (Vec::new(), 0_usize);
    loop {
        let Ok(piece) = tokio::time::timeout(BODY_WAIT_MAX, body.next()).await else {
            let text = "nothing more came for 30 seconds; what came before is kept";
            return Err(Problem::new(ProblemKind::BodyTimeout, text));
        };
        let Some(piece) = piece else { break };
        let Ok(piece) = piece else {
            let text = "the body is cut off; what came before is kept";
            return Err(Problem::new(ProblemKind::MalformedJson, text));
        };
        bytes += piece.len();
        let read = reader.feed(&piece, &mut records);
        import.take(&mut records, &state).await?;
        if let Err(fault) = read {
            return Err(import
                .broken(&state, kind_of(&fault), fault.to_string())
                .await);
        }
        if bytes > IMPORT_BYTES_MAX {
            let text = "the import is over 256 MiB".to_owned();
            return Err(import.broken(&state, ProblemKind::BodyTooLarge, text).await);
        }
    }
    let read = reader.finish(&mut records);
    import.take(&mut records, &state).await?;
    if let Err(fault) = read {
        return Err(import
            .broken(&state, kind_of(&fault), fault.to_string())
            .await);
    }
    import.keep(&state).await?;
    Ok(Json(import.report))
}

const fn kind_of(fault: &Unreadable) -> ProblemKind {
    match fault {
        Unreadable::TooLong(_) => ProblemKind::BodyTooLarge,
        Unreadable::NoList(_) => ProblemKind::InvalidValue,
    }
}

/// Whether an entry may stand for nobody once it is written. Of what was erased it is not known.
fn may_be_outlived(entry: &Suppression, now: Timestamp) -> bool {
    let has_ended = entry.expires_at.is_some_and(|end| end <= now);
    entry.address.known().is_some() && (has_ended || entry.reason == SuppressionReason::Unsubscribe)
}

/// An import under way.
#[derive(Default)]
struct Import {
    keep: Keep,
    batch: Vec<Suppression>,
    report: ImportReport,
}

impl Import {
    fn of(keep: Keep) -> Self {
        Self {
            keep,
            ..Self::default()
        }
    }

    async fn take(&mut self, records: &mut Vec<Record>, state: &AdminState) -> Result<(), Problem> {
        for record in records.drain(..) {
            let entry = record
                .entry
                .and_then(|body| checked(body, state, SOURCE_IMPORT).map_err(|(_, text)| text));
            match entry {
                Ok(entry) => self.batch.push(entry),
                Err(detail) => self.refuse(record.line, &detail),
            }
            self.keep_full_batch(state).await?;
        }
        Ok(())
    }

    fn refuse(&mut self, line: u64, detail: &str) {
        self.report.refused += 1;
        if self.report.faults.len() < FAULTS_MAX {
            self.report.faults.push(LineFault {
                line,
                detail: bounded(detail, REPLY_TEXT_BYTES_MAX),
            });
        }
    }

    /// Keeps what is good and says why nothing that follows can be read.
    async fn broken(&mut self, state: &AdminState, kind: ProblemKind, fault: String) -> Problem {
        match self.keep(state).await {
            Ok(()) => {
                let text = format!("{fault}; what came before is kept");
                Problem::new(kind, text)
            }
            Err(problem) => problem,
        }
    }

    async fn keep_full_batch(&mut self, state: &AdminState) -> Result<(), Problem> {
        if self.batch.len() < BATCH as usize {
            return Ok(());
        }
        self.keep(state).await
    }

    async fn keep(&mut self, state: &AdminState) -> Result<(), Problem> {
        let mut batch = std::mem::take(&mut self.batch);
        if self.keep != Keep::All {
            self.pass_over(&mut batch, state).await?;
        }
        let (count, mut outlived) = (batch.len() as u64, 0);
        if self.keep == Keep::Nothing {
            let room = FIRST_MAX.saturating_sub(self.report.first.len());
            let first = batch.into_iter().take(room).map(SuppressionBody::from);
            self.report.first.extend(first);
        } else if count > 0 {
            let now = state.clock.now();
            let doubtful = batch.iter().filter(|entry| may_be_outlived(entry, now));
            let doubtful: Vec<Suppression> = doubtful.cloned().collect();
            state.engine.suppress_all(batch).await?;
            let stand = state.engine.already_stand(&doubtful).await?;
            outlived = stand.iter().filter(|stands| !**stands).count() as u64;
        }
        self.report.imported += count - outlived;
        self.report.outlived += outlived;
        Ok(())
    }

    /// Leaves of a batch what stops more than what stands, each address once.
    async fn pass_over(
        &mut self,
        batch: &mut Vec<Suppression>,
        state: &AdminState,
    ) -> Result<(), Problem> {
        let mut stands = state.engine.already_stand(batch).await?.into_iter();
        let (mut seen, before) = (HashSet::new(), batch.len());
        batch.retain(|entry| {
            let address = entry.address.known().map(EmailAddress::key);
            let address = address.unwrap_or_else(|| entry.address.to_string());
            let is_new = stands.next() == Some(false);
            is_new && seen.insert((address, entry.scope.clone()))
        });
        self.report.already += (before - batch.len()) as u64;
        Ok(())
    }
}
