//! A database as the source or target of a move.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use prometheus::Registry;
use tokio::sync::mpsc::Sender;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{GenericClient, IsolationLevel, Row as Found};

use crate::migrate::{
    self, BODIES, MARK, MOVED_TO, NUMBERS, Page, Pager, Pages, Row, Shape, Side, TABLES, Table,
    Value,
};
use crate::postgres::config::PostgresSettings;
use crate::postgres::database::{Database, Opening, PostgresParts};
use crate::postgres::fault::{Fault, late};
use crate::postgres::schema;
use crate::{StoreError, postgres};

/// Rows fetched at once; pieces of bodies are large.
const FETCH_ROWS: usize = 500;
const FETCH_PIECES: usize = 16;
/// Longest wait for one page: a disk may be slow, and nobody else waits.
const PAGE_MAX: Duration = Duration::from_secs(300);
/// Bodies up to this size are one row.
const INLINE_MAX: usize = postgres::spool::INLINE_BODY_MAX;

/// A database that nothing else works on.
pub(crate) struct PostgresSide {
    database: Arc<Database>,
    place: String,
    /// The last session that a gateway had opened when this began.
    last_session: i64,
}

/// Refuses a store that is half of another one, or, for a gateway, whose mail has gone elsewhere.
pub(crate) async fn refuse_moved<C: GenericClient>(
    conn: &C,
    opening: Opening,
) -> Result<(), Fault> {
    let sql = "SELECT to_regclass('malote.meta') IS NOT NULL";
    let row = conn.query_typed(sql, &[]).await?;
    if row.first().map(|row| row.try_get(0)).transpose()? != Some(true) {
        return Ok(());
    }
    let moved_to = match opening {
        Opening::Migrate | Opening::Look => note(conn, MOVED_TO).await?,
        Opening::AsIs => None,
    };
    match migrate::refusal(note(conn, MARK).await?.as_deref(), moved_to.as_deref()) {
        Some(text) => Err(migrate::refused(text).into()),
        None => Ok(()),
    }
}

async fn note<C: GenericClient>(conn: &C, key: &str) -> Result<Option<String>, Fault> {
    let sql = "SELECT convert_from(value, 'UTF8') FROM malote.meta WHERE key = $1";
    let row = conn.query_typed(sql, &[(&key, Type::TEXT)]).await?;
    Ok(row.first().map(|row| row.try_get(0)).transpose()?)
}

async fn set_note<C: GenericClient>(conn: &C, key: &str, text: Option<&str>) -> Result<(), Fault> {
    let sql = match text {
        Some(_) => {
            "INSERT INTO malote.meta (key, value) VALUES ($1, convert_to($2, 'UTF8'))
             ON CONFLICT (key) DO UPDATE SET value = convert_to($2, 'UTF8')"
        }
        None => "DELETE FROM malote.meta WHERE key = $1 AND $2::text IS NULL",
    };
    conn.execute_typed(sql, &[(&key, Type::TEXT), (&text, Type::TEXT)])
        .await?;
    Ok(())
}

impl PostgresSide {
    /// Opens a store that is there.
    ///
    /// # Errors
    /// If there is none, a gateway works on it, or it has another version or another key.
    pub(crate) async fn source(settings: &PostgresSettings) -> Result<Self, StoreError> {
        Self::open(settings, Opening::AsIs).await
    }

    /// Opens a store whose tables are made if there are none.
    ///
    /// # Errors
    /// If a gateway works on it, it has another key, or its tables cannot be made.
    pub(crate) async fn target(settings: &PostgresSettings) -> Result<Self, StoreError> {
        Self::open(settings, Opening::Migrate).await
    }

    async fn open(settings: &PostgresSettings, opening: Opening) -> Result<Self, StoreError> {
        let registry = Registry::new();
        let parts = PostgresParts::Whole;
        let database = Database::open_any(settings, parts, opening, &registry).await?;
        let side = Self {
            last_session: last_session(&database).await?,
            database: Arc::new(database),
            place: format!("postgres:{}", settings.place()),
        };
        side.refuse_live().await?;
        // So far there is one connection, which asks.
        side.refuse_connected().await?;
        Ok(side)
    }

    async fn refuse_connected(&self) -> Result<(), StoreError> {
        let client = self.database.connection().await?;
        if schema::others_are_connected(&**client).await? {
            return Err(migrate::refused(format!(
                "another malote is connected to {}, or was a moment ago: stop every node first",
                self.place
            )));
        }
        Ok(())
    }

    /// Runs a statement by itself.
    async fn run(&self, sql: &str) -> Result<(), StoreError> {
        let client = self.database.connection().await?;
        let done = timeout(PAGE_MAX, client.batch_execute(sql)).await;
        Ok(done.map_err(|_| late())?.map_err(Fault::from)?)
    }
}

#[async_trait]
impl Side for PostgresSide {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn read(&self) -> Pages {
        let (sender, pages) = migrate::pages();
        let database = Arc::clone(&self.database);
        // Ends with its tables, or when nobody takes its pages any more.
        drop(tokio::spawn(async move {
            if let Err(fault) = read_all(&database, &sender).await {
                // Nobody may be there any more.
                drop(sender.send(Err(fault.into())).await);
            }
        }));
        pages
    }

    async fn note(&self, key: &'static str) -> Result<Option<String>, StoreError> {
        let client = self.database.connection().await?;
        Ok(note(&**client, key).await?)
    }

    async fn set_note(&self, key: &'static str, text: Option<String>) -> Result<(), StoreError> {
        let client = self.database.connection().await?;
        set_note(&**client, key, text.as_deref()).await?;
        Ok(())
    }

    async fn filled(&self) -> Result<Option<&'static str>, StoreError> {
        let client = self.database.connection().await?;
        for table in TABLES.iter().filter(|table| table.name != NUMBERS) {
            let sql = format!("SELECT 1 FROM malote.{} LIMIT 1", table.name);
            let found = client.query_typed(&sql, &[]).await.map_err(Fault::from)?;
            if !found.is_empty() {
                return Ok(Some(table.name));
            }
        }
        Ok(None)
    }

    async fn begin(&self) -> Result<(), StoreError> {
        // What was under way belongs to a process that has ended.
        self.run(
            "INSERT INTO malote.sessions (node, ended_at)
             VALUES (gen_random_uuid(), clock_timestamp())",
        )
        .await
    }

    async fn write(&self, page: Page, mark: String) -> Result<(), StoreError> {
        let write = async {
            let mut client = self.database.connection().await?;
            let tx = client.transaction().await?;
            let table = &TABLES[page.table];
            make_days(&*tx, table, &page.rows).await?;
            insert(&*tx, table, &page.rows).await?;
            set_note(&*tx, MARK, Some(&mark)).await?;
            Ok(tx.commit().await?)
        };
        let written: Result<(), Fault> = timeout(PAGE_MAX, write).await.map_err(|_| late())?;
        Ok(written?)
    }

    async fn finish(&self) -> Result<(), StoreError> {
        self.run(postgres::spool::COUNT_ANEW).await?;
        self.run(
            "SELECT setval('malote.lanes_id_seq', max(id)) FROM malote.lanes
                HAVING max(id) IS NOT NULL;
             SELECT setval('malote.outlets_id_seq', max(id)) FROM malote.outlets
                HAVING max(id) IS NOT NULL;
             SELECT setval('malote.unreadable_id_seq', max(id)) FROM malote.unreadable
                HAVING max(id) IS NOT NULL",
        )
        .await?;
        // Plans made before the first of the server's own rounds would read whole tables.
        self.run("ANALYZE").await
    }

    async fn refuse_live(&self) -> Result<(), StoreError> {
        let client = self.database.connection().await?;
        let sql = "SELECT 1 FROM malote.sessions WHERE ended_at IS NULL
            AND beat_at > clock_timestamp() - make_interval(secs => $1) LIMIT 1";
        let expiry = f64::from(postgres::spool::SESSION_EXPIRY_S);
        let found = client.query_typed(sql, &[(&expiry, Type::FLOAT8)]).await;
        let lives = !found.map_err(Fault::from)?.is_empty();
        drop(client);
        // One that came and went meanwhile has changed what was read.
        if !lives && last_session(&self.database).await? == self.last_session {
            return Ok(());
        }
        Err(migrate::refused(format!(
            "a gateway works on {}, or did meanwhile: stop every node; one that was killed is taken \
             for dead after {} s",
            self.place,
            postgres::spool::SESSION_EXPIRY_S
        )))
    }
}

/// The number of the last session that was opened; a gateway opens one before it does anything.
async fn last_session(database: &Database) -> Result<i64, StoreError> {
    let client = database.connection().await?;
    let sql = "SELECT last_value + is_called::integer FROM malote.sessions_id_seq";
    let found = client.query_typed(sql, &[]).await.map_err(Fault::from)?;
    let last = found.first().map(|row| row.try_get(0)).transpose();
    Ok(last.map_err(Fault::from)?.unwrap_or(0))
}

/// Reads everything at one moment, while no gateway can start.
async fn read_all(
    database: &Database,
    sender: &Sender<Result<Page, StoreError>>,
) -> Result<(), Fault> {
    let mut client = database.connection().await?;
    let moment = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .start()
        .await?;
    schema::hold(&*moment).await?;
    for (at, table) in TABLES.iter().enumerate() {
        let declare = format!("DECLARE page NO SCROLL CURSOR FOR {}", table.postgres_read);
        moment.batch_execute(&declare).await?;
        let count = if table.name == BODIES {
            FETCH_PIECES
        } else {
            FETCH_ROWS
        };
        let fetch = format!("FETCH {count} FROM page");
        let (mut pager, mut number) = (Pager::default(), 0);
        loop {
            let found = timeout(PAGE_MAX, moment.query_typed(&fetch, &[])).await;
            let found = found.map_err(|_| late())??;
            for row in &found {
                number += 1;
                if let Some(page) = pager.push(at, values(table, number, row)?) {
                    send(sender, page).await?;
                }
            }
            if found.len() < count {
                break;
            }
        }
        if let Some(page) = pager.rest(at) {
            send(sender, page).await?;
        }
        moment.batch_execute("CLOSE page").await?;
    }
    Ok(moment.commit().await?)
}

async fn send(sender: &Sender<Result<Page, StoreError>>, page: Page) -> Result<(), Fault> {
    let sent = sender.send(Ok(page)).await;
    sent.map_err(|_| Fault::Refused(StoreError::Closed))
}

fn values(table: &Table, number: u64, row: &Found) -> Result<Row, Fault> {
    let mut values = Row::with_capacity(table.columns.len());
    for (index, column) in table.columns.iter().enumerate() {
        let value = match column.kind.shape() {
            Shape::Int => row
                .try_get::<_, Option<i64>>(index)
                .map(|it| it.map(Value::Int)),
            Shape::Real => row
                .try_get::<_, Option<f64>>(index)
                .map(|it| it.map(Value::Real)),
            Shape::Text => row
                .try_get::<_, Option<String>>(index)
                .map(|it| it.map(Value::Text)),
            Shape::Blob => row
                .try_get::<_, Option<&[u8]>>(index)
                .map(|it| it.map(|it| Value::Blob(Bytes::copy_from_slice(it)))),
        };
        let value = value.map_err(|_| {
            let what = format!("{} cannot be read", column.name);
            Fault::Refused(table.damaged(number, &values, &what))
        })?;
        values.push(value.unwrap_or(Value::Null));
    }
    Ok(values)
}

/// Makes the parts in which events and attempts of these messages will stand.
async fn make_days<C: GenericClient>(tx: &C, table: &Table, rows: &[Row]) -> Result<(), Fault> {
    if table.name != TABLES[1].name {
        return Ok(());
    }
    let id = |row: &Row| -> Option<[u8; 16]> { row.first()?.blob()?[..].try_into().ok() };
    let days: BTreeSet<i32> = rows
        .iter()
        .filter_map(id)
        .map(postgres::spool::day_of)
        .collect();
    for day in days {
        tx.query_typed("SELECT malote.make_day($1)", &[(&day, Type::INT4)])
            .await?;
    }
    Ok(())
}

async fn insert<C: GenericClient>(tx: &C, table: &Table, rows: &[Row]) -> Result<(), Fault> {
    let columns: Vec<(Box<dyn ToSql + Sync + Send + '_>, Type)> = (0..table.columns.len())
        .map(|index| column(table, index, rows))
        .collect();
    let params: Vec<(&(dyn ToSql + Sync), Type)> = columns
        .iter()
        .map(|(values, kind)| (&**values as &(dyn ToSql + Sync), kind.clone()))
        .collect();
    let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
    let places: Vec<String> = (1..=names.len()).map(|place| format!("${place}")).collect();
    let sql = format!(
        "WITH u AS (SELECT * FROM unnest({}) AS u({})) {}",
        places.join(", "),
        names.join(", "),
        table
            .postgres_write
            .replace("{inline}", &INLINE_MAX.to_string())
    );
    tx.execute_typed(&sql, &params).await?;
    Ok(())
}

/// The values of one column, as an array.
fn column<'a>(
    table: &Table,
    index: usize,
    rows: &'a [Row],
) -> (Box<dyn ToSql + Sync + Send + 'a>, Type) {
    fn all<'a, T>(
        rows: &'a [Row],
        index: usize,
        of: impl Fn(&'a Value) -> Option<T>,
    ) -> Vec<Option<T>> {
        rows.iter().map(|row| of(&row[index])).collect()
    }
    match table.columns[index].kind.shape() {
        Shape::Int => (Box::new(all(rows, index, Value::int)), Type::INT8_ARRAY),
        Shape::Real => (Box::new(all(rows, index, Value::real)), Type::FLOAT8_ARRAY),
        Shape::Text => (Box::new(all(rows, index, Value::text)), Type::TEXT_ARRAY),
        Shape::Blob => (
            Box::new(all(rows, index, |value| value.blob().map(|blob| &blob[..]))),
            Type::BYTEA_ARRAY,
        ),
    }
}
