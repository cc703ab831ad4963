//! Moving a store from one engine to the other: every row goes over, page by page, and is compared
//! at the end.
//!
//! [`tables`] says what moves, the engines' own `migrate` modules read and write it. A target bears
//! a mark until it is whole, so that no gateway starts on half a store, and a run that was cut is
//! continued. Then the source bears a mark of where its mail has gone: a gateway that started on it
//! would send again what its successor has sent.

mod bodies;
mod table;
mod tables;
mod tables_shared;
mod tally;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use malote_core::secret::Secret;
use tokio::sync::mpsc;

use crate::StoreError;
use crate::address_key::{KEY_BYTES, of_text};
use crate::postgres::PostgresSide;
use crate::sqlite::SqliteSide;
use crate::{PostgresSettings, SqliteConfig};

pub(crate) use crate::migrate::bodies::{
    MESSAGE as BODY_MESSAGE, OCTETS as BODY_OCTETS, PIECE as BODY_PIECE, PIECE_BYTES,
    SIZE as BODY_SIZE, row as body_row,
};
pub(crate) use crate::migrate::table::{Row, Shape, Table, Value};
pub(crate) use crate::migrate::tables::{BODIES, NUMBERS, TABLES};
pub(crate) use crate::migrate::tally::Mark;
pub use crate::migrate::tally::Tally;

/// Under which a target keeps its mark, and a source where it has gone.
pub(crate) const MARK: &str = "migration";
pub(crate) const MOVED_TO: &str = "moved_to";

/// Rows of one page, which one transaction writes.
const PAGE_ROWS: usize = 500;
/// Octets of one page, about.
const PAGE_BYTES: usize = 4 << 20;
/// Pages read ahead.
const PAGES_AHEAD: usize = 2;

/// A store to move from or to.
#[derive(Clone)]
pub enum Stage {
    /// Files of this machine.
    Sqlite(SqliteConfig),
    /// A database.
    Postgres(Box<PostgresSettings>),
}

impl From<SqliteConfig> for Stage {
    fn from(config: SqliteConfig) -> Self {
        Self::Sqlite(config)
    }
}

impl From<PostgresSettings> for Stage {
    fn from(settings: PostgresSettings) -> Self {
        Self::Postgres(Box::new(settings))
    }
}

/// A move of everything that a store keeps.
#[derive(Clone)]
pub struct Migration {
    /// From where; no gateway may run on it.
    pub from: Stage,
    /// To where; empty, or what an earlier run left half-finished.
    pub to: Stage,
    /// The key under which the source hashes addresses: 32 octets in hex or base64.
    pub address_key: Secret,
}

/// What a move is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Rows go over, or were found to be there from an earlier run.
    Copying,
    /// The target is read back.
    Verifying,
}

/// How far a move has come.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// With what.
    pub doing: Doing,
    /// In which table.
    pub table: &'static str,
    /// What went by of it so far.
    pub tally: Tally,
}

/// What went over.
#[derive(Debug, Clone)]
pub struct Moved {
    /// Where it is now.
    pub place: String,
    /// What of each table is there, the same in both stores.
    pub tables: Vec<(&'static str, Tally)>,
    /// Whether an earlier run had begun.
    pub is_continued: bool,
}

/// Is told of every page.
pub type Tell<'a> = dyn Fn(Progress) + Send + Sync + 'a;

/// Rows of one table, in order.
pub(crate) struct Page {
    /// Its place in [`TABLES`].
    pub(crate) table: usize,
    pub(crate) rows: Vec<Row>,
}

/// Puts rows together to pages.
#[derive(Default)]
pub(crate) struct Pager {
    rows: Vec<Row>,
    octets: usize,
}

impl Pager {
    /// Adds a row of a table; the page once it is full.
    pub(crate) fn push(&mut self, table: usize, row: Row) -> Option<Page> {
        self.octets += row.iter().map(Value::octets).sum::<usize>();
        self.rows.push(row);
        let is_full = self.rows.len() >= PAGE_ROWS || self.octets >= PAGE_BYTES;
        is_full.then(|| self.take(table))
    }

    /// What is left at a table's end.
    pub(crate) fn rest(&mut self, table: usize) -> Option<Page> {
        (!self.rows.is_empty()).then(|| self.take(table))
    }

    fn take(&mut self, table: usize) -> Page {
        self.octets = 0;
        Page {
            table,
            rows: std::mem::take(&mut self.rows),
        }
    }
}

/// Pages on their way from a store.
pub(crate) type Pages = mpsc::Receiver<Result<Page, StoreError>>;

/// Makes the way on which pages go.
pub(crate) fn pages() -> (mpsc::Sender<Result<Page, StoreError>>, Pages) {
    mpsc::channel(PAGES_AHEAD)
}

/// A store that is open to be moved: nothing else works on it.
#[async_trait]
pub(crate) trait Side: Send + Sync {
    /// Which store it is, without user and password.
    fn place(&self) -> String;

    /// Reads every row of every table at one moment.
    fn read(&self) -> Pages;

    /// What stands under a key of `meta`.
    async fn note(&self, key: &'static str) -> Result<Option<String>, StoreError>;

    /// Writes or removes what stands under a key of `meta`.
    async fn set_note(&self, key: &'static str, text: Option<String>) -> Result<(), StoreError>;

    /// A table that has rows, if there is one.
    async fn filled(&self) -> Result<Option<&'static str>, StoreError>;

    /// Makes ready what is empty.
    async fn begin(&self) -> Result<(), StoreError>;

    /// Writes rows of a table and the mark that counts them, both or nothing.
    async fn write(&self, page: Page, mark: String) -> Result<(), StoreError>;

    /// Writes what follows from the rows: counters and the next numbers of sequences.
    async fn finish(&self) -> Result<(), StoreError>;

    /// Refuses if a gateway has begun to work on the store meanwhile.
    async fn refuse_live(&self) -> Result<(), StoreError>;
}

impl Migration {
    /// Moves everything, or goes on with what an earlier run began.
    ///
    /// # Errors
    /// If a gateway runs on either store, the target holds something else or was written with
    /// another key, a row is damaged (named), or a store cannot be read or written. The source is
    /// left as it is; the same call again goes on.
    pub async fn run(&self, now: Timestamp, tell: &Tell<'_>) -> Result<Moved, StoreError> {
        let key = of_text(self.address_key.expose().trim());
        let key =
            key.ok_or_else(|| refused("the address key is not 32 octets in hex or base64"))?;
        let from = self.open(&self.from, &key, Use::Source, now).await?;
        let to = self.open(&self.to, &key, Use::Target, now).await?;
        if from.place() == to.place() {
            return Err(refused("the store cannot be moved to itself"));
        }
        let (mark, is_continued) = begin(from.as_ref(), to.as_ref()).await?;
        let copied = copy(from.as_ref(), to.as_ref(), mark, tell).await?;
        to.finish().await?;
        verify(to.as_ref(), &copied, tell).await?;
        from.refuse_live().await?;
        // In this order: cut between the two, neither is started on, and the same call goes on.
        from.set_note(MOVED_TO, Some(to.place())).await?;
        to.set_note(MARK, None).await?;
        Ok(Moved {
            place: to.place(),
            tables: TABLES.iter().map(|table| table.name).zip(copied).collect(),
            is_continued,
        })
    }

    async fn open(
        &self,
        stage: &Stage,
        key: &[u8; KEY_BYTES],
        for_use: Use,
        now: Timestamp,
    ) -> Result<Arc<dyn Side>, StoreError> {
        Ok(match (stage, for_use) {
            (Stage::Sqlite(config), Use::Source) => Arc::new(SqliteSide::source(config, key)?),
            (Stage::Sqlite(config), Use::Target) => Arc::new(SqliteSide::target(config, key, now)?),
            (Stage::Postgres(settings), Use::Source) => {
                Arc::new(PostgresSide::source(settings).await?)
            }
            (Stage::Postgres(settings), Use::Target) => {
                Arc::new(PostgresSide::target(settings).await?)
            }
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Use {
    Source,
    Target,
}

pub(crate) fn refused(text: impl Into<String>) -> StoreError {
    StoreError::Engine(text.into())
}

/// Says that a store is none that a gateway could work on, and the way out.
pub(crate) fn refusal(mark: Option<&str>, moved_to: Option<&str>) -> Option<String> {
    if let Some(mark) = mark {
        let from = Mark::of(mark).map_or_else(|_| "another store".to_owned(), |mark| mark.from);
        return Some(format!(
            "the store is half of {from}, whose move was cut: go on with the same `malote store \
             migrate`, or begin anew after DROP SCHEMA malote CASCADE, or without the files"
        ));
    }
    moved_to.map(|place| {
        format!(
            "the store was moved to {place}, and what it holds may have been sent since: configure \
             that one, or move it back to a new place with `malote store migrate`"
        )
    })
}

/// Refuses what may not be moved, or not there; the mark to go on from.
async fn begin(from: &dyn Side, to: &dyn Side) -> Result<(Mark, bool), StoreError> {
    if let Some(text) = refusal(from.note(MARK).await?.as_deref(), None) {
        return Err(refused(text));
    }
    let mark = to
        .note(MARK)
        .await?
        .map(|text| Mark::of(&text))
        .transpose()?;
    let is_moved = from.note(MOVED_TO).await?;
    match (mark, is_moved) {
        (Some(mark), moved_to)
            if mark.from == from.place()
                && moved_to.as_ref().is_none_or(|it| *it == to.place()) =>
        {
            Ok((mark, true))
        }
        (Some(mark), _) => Err(refused(format!(
            "{} is half of another store, {}: finish or drop that first",
            to.place(),
            mark.from
        ))),
        (None, Some(moved_to)) => Err(refused(refusal(None, Some(&moved_to)).unwrap_or(moved_to))),
        (None, None) => {
            if let Some(table) = to.filled().await? {
                return Err(refused(format!(
                    "{} is not empty, its table {table} has rows: move to a new place",
                    to.place()
                )));
            }
            let mark = Mark {
                from: from.place(),
                ..Mark::default()
            };
            to.begin().await?;
            // A target that was a source before begins a new life.
            to.set_note(MOVED_TO, None).await?;
            to.set_note(MARK, Some(mark.text()?)).await?;
            Ok((mark, false))
        }
    }
}

/// Counts and checks what goes by.
#[derive(Default)]
struct Seen {
    tallies: [Tally; TABLES.len()],
    watch: bodies::Watch,
}

impl Seen {
    fn see(&mut self, table: usize, row: &Row) -> Result<(), StoreError> {
        let (of, tally) = (&TABLES[table], &mut self.tallies[table]);
        of.check(tally.rows + 1, row)?;
        if of.name == BODIES {
            self.watch.see(of, tally.rows + 1, row)?;
        }
        tally.add(row);
        Ok(())
    }

    fn end(mut self) -> Result<[Tally; TABLES.len()], StoreError> {
        if let Some((at, of)) = TABLES.iter().enumerate().find(|(_, of)| of.name == BODIES) {
            self.watch.end(of, self.tallies[at].rows)?;
        }
        Ok(self.tallies)
    }
}

async fn copy(
    from: &dyn Side,
    to: &dyn Side,
    mut mark: Mark,
    tell: &Tell<'_>,
) -> Result<[Tally; TABLES.len()], StoreError> {
    let kept = mark.clone();
    let changed = |table: &str| {
        refused(format!(
            "{} has changed in {table} since the move began: drop what is in {} and begin anew",
            from.place(),
            to.place()
        ))
    };
    let mut seen = Seen::default();
    let mut pages = from.read();
    while let Some(page) = pages.recv().await {
        let mut page = page?;
        let name = TABLES[page.table].name;
        let there = kept.of_table(name);
        let mut known = 0;
        for row in &page.rows {
            seen.see(page.table, row)?;
            let tally = seen.tallies[page.table];
            if tally.rows <= there.rows {
                known += 1;
            }
            if tally.rows == there.rows && tally != there {
                return Err(changed(name));
            }
        }
        let (table, tally) = (page.table, seen.tallies[page.table]);
        page.rows.drain(..known);
        if !page.rows.is_empty() {
            mark.tables.insert(name.to_owned(), tally);
            to.write(page, mark.text()?).await?;
        }
        tell(Progress {
            doing: Doing::Copying,
            table: TABLES[table].name,
            tally,
        });
    }
    let tallies = seen.end()?;
    for (table, tally) in TABLES.iter().zip(&tallies) {
        if tally.rows < kept.of_table(table.name).rows {
            return Err(changed(table.name));
        }
    }
    Ok(tallies)
}

async fn verify(
    to: &dyn Side,
    copied: &[Tally; TABLES.len()],
    tell: &Tell<'_>,
) -> Result<(), StoreError> {
    let mut seen = Seen::default();
    let mut pages = to.read();
    while let Some(page) = pages.recv().await {
        let page = page?;
        for row in &page.rows {
            seen.see(page.table, row)?;
        }
        tell(Progress {
            doing: Doing::Verifying,
            table: TABLES[page.table].name,
            tally: seen.tallies[page.table],
        });
    }
    let there = seen.end()?;
    for ((table, copied), there) in TABLES.iter().zip(copied).zip(&there) {
        if copied != there {
            return Err(refused(format!(
                "{} of {} is not what was copied: {} rows of {} octets instead of {} of {}; drop \
                 it and begin anew",
                table.name,
                to.place(),
                there.rows,
                there.octets,
                copied.rows,
                copied.octets
            )));
        }
    }
    Ok(())
}
