//! The tables in the schema `malote`, in parts with versions of their own, and the notes of whose
//! they are.

use deadpool_postgres::{Client, Transaction};
use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;

use crate::StoreError;
use crate::address_key::AddressKey;
use crate::postgres::config::PostgresSettings;
use crate::postgres::database::{Opening, PostgresParts};
use crate::postgres::fault::Fault;

/// Tables that come together. A stage that keeps its queue elsewhere makes only the shared ones.
pub(super) struct Part {
    /// Its name in `malote.migrations`. Written to disk: never change one.
    pub(super) name: &'static str,
    /// One step per version, applied in order and never changed after a release.
    pub(super) steps: &'static [Step],
}

/// A change of tables.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// In words.
    pub(super) name: &'static str,
    pub(super) sql: &'static str,
    /// The oldest version whose programs work with the tables after this step. A step that
    /// keeps all that they call says an earlier one than its own: nodes are replaced one after
    /// another, and old and new ones work side by side. A step that takes away says its own.
    pub(super) needs: i32,
}

pub(super) const BASE: Part = Part {
    name: "base",
    steps: &[Step {
        name: "first tables",
        sql: include_str!("base_1.sql"),
        needs: 1,
    }],
};

pub(super) const SHARED: Part = Part {
    name: "shared",
    steps: &[
        Step {
            name: "first tables",
            sql: include_str!("shared_1.sql"),
            needs: 1,
        },
        Step {
            name: "idempotency keys, and what is asked of nodes",
            sql: include_str!("shared_2.sql"),
            needs: 1,
        },
        Step {
            name: "what tells soft bounces apart",
            sql: include_str!("shared_3.sql"),
            needs: 1,
        },
        Step {
            name: "quotas taken in shares of what is left",
            sql: include_str!("shared_4.sql"),
            needs: 1,
        },
        Step {
            name: "units of rates with a time each",
            sql: include_str!("shared_5.sql"),
            needs: 1,
        },
    ],
};

pub(super) const SPOOL: Part = Part {
    name: "spool",
    steps: &[
        Step {
            name: "first tables",
            sql: include_str!("spool/schema_1.sql"),
            needs: 1,
        },
        Step {
            name: "statements whose plans are kept",
            sql: include_str!("spool/planned_2.sql"),
            needs: 1,
        },
        Step {
            name: "what event keys stand for",
            sql: include_str!("spool/schema_3.sql"),
            needs: 1,
        },
        Step {
            name: "where processes are",
            sql: include_str!("spool/sessions_4.sql"),
            needs: 1,
        },
        Step {
            name: "ended sessions lease and start nothing",
            sql: include_str!("spool/sessions_5.sql"),
            needs: 1,
        },
    ],
};

/// "MALO", twice: nodes that start at once bring the tables up one after another. A lock of the
/// transaction, since a pooler may give every transaction another session.
const LOCK: i64 = 0x4D41_4C4F_4D41_4C4F;

/// Keeps gateways from starting to the end of the transaction.
///
/// # Errors
/// If one is just starting.
pub(super) async fn hold<C: GenericClient>(tx: &C) -> Result<(), Fault> {
    let sql = "SELECT pg_try_advisory_xact_lock($1)";
    let row = tx.query_typed(sql, &[(&LOCK, Type::INT8)]).await?;
    if row.first().map(|row| row.try_get(0)).transpose()? == Some(true) {
        return Ok(());
    }
    Err(engine(
        "another malote is starting on the database, or moves it".into(),
    ))
}

fn parts_of(parts: PostgresParts) -> &'static [Part] {
    match parts {
        PostgresParts::Shared => &[BASE, SHARED],
        PostgresParts::Whole => &[BASE, SHARED, SPOOL],
    }
}

/// Whose tables they have to be.
#[derive(Clone, Copy)]
pub(crate) struct Owner<'a> {
    /// The key under which addresses are hashed.
    pub(crate) key: &'a AddressKey,
    /// The installation; `None` asks for none and notes none.
    pub(crate) cluster: Option<&'a str>,
}

impl<'a> Owner<'a> {
    /// As the configuration says.
    pub(crate) fn of(settings: &'a PostgresSettings) -> Self {
        Self {
            key: &settings.key,
            cluster: Some(&settings.cluster),
        }
    }
}

/// Brings the tables to this program's version and notes the owner, all in one transaction.
///
/// # Errors
/// If the tables are newer than this program or somebody else's, or the role may not make them.
pub(crate) async fn bring_up(
    client: &mut Client,
    parts: PostgresParts,
    opening: Opening,
    owner: Owner<'_>,
) -> Result<(), Fault> {
    bring_up_parts(client, parts_of(parts), opening, owner).await
}

/// As [`bring_up`], for these tables.
///
/// # Errors
/// As [`bring_up`].
pub(super) async fn bring_up_parts(
    client: &mut Client,
    parts: &[Part],
    opening: Opening,
    owner: Owner<'_>,
) -> Result<(), Fault> {
    let tx = client.transaction().await?;
    match opening {
        Opening::Migrate => {
            tx.execute_typed("SELECT pg_advisory_xact_lock($1)", &[(&LOCK, Type::INT8)])
                .await?;
            make_schema(&tx).await?;
        }
        Opening::AsIs => {
            if !is_there(&tx, "malote.migrations").await? {
                return Err(engine(
                    "the database has no tables of malote: start the gateway once, or look at the \
                     database's name"
                        .into(),
                ));
            }
        }
        Opening::Look => {
            if !is_there(&tx, "malote.migrations").await? {
                return may_make(&tx).await;
            }
        }
    }
    for part in parts {
        apply(&tx, part, opening).await?;
    }
    check_key(&tx, owner.key, opening).await?;
    if let Some(cluster) = owner.cluster {
        check_cluster(&tx, cluster, opening).await?;
    }
    Ok(tx.commit().await?)
}

async fn is_there(tx: &Transaction<'_>, table: &str) -> Result<bool, Fault> {
    let sql = "SELECT to_regclass($1) IS NOT NULL";
    let row = tx.query_typed_one(sql, &[(&table, Type::TEXT)]).await?;
    Ok(row.try_get(0)?)
}

/// Refuses a role that could not make the tables.
async fn may_make(tx: &Transaction<'_>) -> Result<(), Fault> {
    let sql = "SELECT to_regnamespace('malote') IS NOT NULL
               OR has_database_privilege(current_database(), 'CREATE')";
    if tx.query_typed_one(sql, &[]).await?.try_get(0)? {
        return Ok(());
    }
    Err(engine(
        "the role may not make the schema malote: let the database's owner make it, with \
         CREATE SCHEMA malote AUTHORIZATION <the role>"
            .into(),
    ))
}

/// Only where they are missing: even `IF NOT EXISTS` asks for the right to make them.
async fn make_schema(tx: &Transaction<'_>) -> Result<(), Fault> {
    let sql = "SELECT to_regnamespace('malote') IS NOT NULL";
    let has_schema: bool = tx.query_typed_one(sql, &[]).await?.try_get(0)?;
    if !has_schema {
        may_make(tx).await?;
        tx.batch_execute("CREATE SCHEMA malote").await?;
    }
    if !is_there(tx, "malote.migrations").await? {
        tx.batch_execute(
            "CREATE TABLE malote.migrations (
                part text NOT NULL,
                version integer NOT NULL,
                name text NOT NULL,
                needs integer,
                applied_at timestamptz NOT NULL DEFAULT now(),
                PRIMARY KEY (part, version)
            )",
        )
        .await?;
    }
    Ok(())
}

async fn apply(tx: &Transaction<'_>, part: &Part, opening: Opening) -> Result<(), Fault> {
    let sql = "SELECT coalesce(max(version), 0), coalesce(max(coalesce(needs, version)), 0)
        FROM malote.migrations WHERE part = $1";
    let row = tx.query_typed_one(sql, &[(&part.name, Type::TEXT)]).await?;
    let (version, needs): (i32, i32) = (row.try_get(0)?, row.try_get(1)?);
    let known = i32::try_from(part.steps.len()).unwrap_or(i32::MAX);
    if needs > known {
        return Err(engine(format!(
            "the database has version {version} of malote's {} tables, which needs a malote that \
             knows {needs}; this one knows up to {known}: start the newer malote, or restore a \
             backup from before the upgrade",
            part.name
        )));
    }
    if version < known && opening == Opening::AsIs {
        return Err(engine(format!(
            "the database has version {version} of malote's {} tables, this program reads \
             {known}: start the gateway once to bring it up",
            part.name
        )));
    }
    for (number, step) in (1_i32..).zip(part.steps) {
        if number > version && opening == Opening::Migrate {
            take(tx, part, (number, step), version).await?;
        }
    }
    Ok(())
}

async fn take(
    tx: &Transaction<'_>,
    part: &Part,
    (number, step): (i32, &Step),
    before: i32,
) -> Result<(), Fault> {
    let leaves_behind = before > 0 && step.needs > before;
    if leaves_behind && others_are_connected(&**tx).await? {
        return Err(engine(format!(
            "the step {number} of malote's {} tables ({}) is not for programs that know up to \
             {before}, and another malote is connected: stop every older node, then start this one",
            part.name, step.name
        )));
    }
    tx.batch_execute(step.sql).await?;
    tx.execute_typed(
        "INSERT INTO malote.migrations (part, version, name, needs) VALUES ($1, $2, $3, $4)",
        &[
            (&part.name, Type::TEXT),
            (&number, Type::INT4),
            (&step.name, Type::TEXT),
            (&step.needs, Type::INT4),
        ],
    )
    .await?;
    Ok(())
}

/// Whether another program of ours works on the database, or did a moment ago. A pooler keeps
/// connections of those that have gone; what lives asks every second.
///
/// # Errors
/// If it cannot be asked.
pub(super) async fn others_are_connected<C: GenericClient>(conn: &C) -> Result<bool, Fault> {
    let sql = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'malote'
            AND pid <> pg_backend_pid()
            AND state_change > clock_timestamp() - interval '5 seconds')";
    let row = conn.query_typed(sql, &[]).await?;
    Ok(row.first().map(|row| row.try_get(0)).transpose()? == Some(true))
}

/// Suppressions are found by their keyed hash: under another key none would be.
async fn check_key(tx: &Transaction<'_>, key: &AddressKey, opening: Opening) -> Result<(), Fault> {
    let mine = &key.fingerprint()[..];
    let noted = noted(tx, ("address_key", mine), opening).await?;
    if noted.is_some_and(|noted| noted != mine) {
        return Err(engine(
            "address_key is not the key that this database was written with: suppressions would \
             not be found; give every node the same key, and another installation a database of \
             its own"
                .into(),
        ));
    }
    Ok(())
}

/// Two installations in one database would work on each other's mail, and one whose configuration
/// began as a copy of another's has its key.
async fn check_cluster(tx: &Transaction<'_>, mine: &str, opening: Opening) -> Result<(), Fault> {
    let Some(noted) = noted(tx, ("cluster", mine.as_bytes()), opening).await? else {
        return Ok(());
    };
    if noted != mine.as_bytes() {
        let noted = String::from_utf8_lossy(&noted);
        return Err(engine(format!(
            "the database belongs to the cluster \"{noted}\", and this gateway to \"{mine}\": give \
             it a database of its own, or say cluster = \"{noted}\" if it is one of those"
        )));
    }
    Ok(())
}

/// What the database keeps under a name. A gateway that is the first notes its own.
async fn noted(
    tx: &Transaction<'_>,
    (name, mine): (&str, &[u8]),
    opening: Opening,
) -> Result<Option<Vec<u8>>, Fault> {
    if opening == Opening::Migrate {
        tx.execute_typed(
            "INSERT INTO malote.meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING",
            &[(&name, Type::TEXT), (&mine, Type::BYTEA)],
        )
        .await?;
    }
    let sql = "SELECT value FROM malote.meta WHERE key = $1";
    let row = tx.query_typed_opt(sql, &[(&name, Type::TEXT)]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

fn engine(text: String) -> Fault {
    Fault::Refused(StoreError::Engine(text))
}
