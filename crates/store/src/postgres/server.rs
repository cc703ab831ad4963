//! Servers that are refused: too old, a standby, or set up so that a crash loses what was promised.

use tokio_postgres::{Client, Row};

use crate::StoreError;
use crate::postgres::fault::Fault;

/// PostgreSQL 13 is the oldest that has all that is used here, `pg_current_xact_id()` among it.
const VERSION_MIN: i32 = 130_000;

/// What was asked of a server, and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answers {
    version: i32,
    is_standby: bool,
    is_read_only: String,
    fsync: String,
    full_page_writes: String,
    synchronous_commit: String,
}

/// Refuses a server that would lose what was promised, with the way out.
///
/// # Errors
/// [`StoreError::Engine`] with a text for the operator.
pub(crate) async fn refuse_unsafe(client: &Client) -> Result<(), Fault> {
    // Settings as they are for our role in this database: `ALTER ROLE` may have changed them.
    let row = client
        .query_typed_one(
            "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(),
                current_setting('default_transaction_read_only'), current_setting('fsync'),
                current_setting('full_page_writes'), current_setting('synchronous_commit')",
            &[],
        )
        .await?;
    match refusal(&answers(&row)?) {
        Some(text) => Err(StoreError::Engine(text).into()),
        None => Ok(()),
    }
}

fn answers(row: &Row) -> Result<Answers, Fault> {
    Ok(Answers {
        version: row.try_get(0)?,
        is_standby: row.try_get(1)?,
        is_read_only: row.try_get(2)?,
        fsync: row.try_get(3)?,
        full_page_writes: row.try_get(4)?,
        synchronous_commit: row.try_get(5)?,
    })
}

fn refusal(server: &Answers) -> Option<String> {
    if server.version < VERSION_MIN {
        return Some(format!(
            "the server is PostgreSQL {}, and 13 is the oldest that will do: upgrade it",
            server.version / 10_000
        ));
    }
    if server.is_standby {
        return Some(
            "the server is a standby and takes no writes: give the URL of the primary, or all \
             hosts separated by commas"
                .into(),
        );
    }
    if server.is_read_only != "off" {
        return Some(
            "default_transaction_read_only is on for this role or database: set it to off".into(),
        );
    }
    for (setting, value) in [
        ("fsync", &server.fsync),
        ("full_page_writes", &server.full_page_writes),
        ("synchronous_commit", &server.synchronous_commit),
    ] {
        if value == "off" {
            return Some(format!(
                "{setting} is off, so a crash of the server would lose what was promised to \
                 clients: set it to on in postgresql.conf, and look for ALTER ROLE and ALTER \
                 DATABASE that change it"
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_that_would_lose_mail_is_refused_with_the_reason() {
        let good = Answers {
            version: 150_013,
            is_standby: false,
            is_read_only: "off".into(),
            fsync: "on".into(),
            full_page_writes: "on".into(),
            synchronous_commit: "on".into(),
        };
        assert_eq!(refusal(&good), None);
        let local = Answers {
            synchronous_commit: "local".into(),
            ..good.clone()
        };
        assert_eq!(refusal(&local), None);
        let off = || "off".to_owned();
        #[rustfmt::skip]
        let table = [
            (Answers { version: 120_017, ..good.clone() }, "PostgreSQL 12"),
            (Answers { is_standby: true, ..good.clone() }, "a standby"),
            (Answers { is_read_only: "on".into(), ..good.clone() }, "read_only"),
            (Answers { fsync: off(), ..good.clone() }, "fsync is off"),
            (Answers { full_page_writes: off(), ..good.clone() }, "full_page_writes is off"),
            (Answers { synchronous_commit: off(), ..good }, "synchronous_commit is off"),
        ];
        for (server, said) in table {
            assert!(refusal(&server).unwrap().contains(said), "{server:?}");
        }
    }
}
