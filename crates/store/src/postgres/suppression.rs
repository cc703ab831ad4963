//! Suppressions and soft bounces in the database.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use malote_core::address::EmailAddress;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::address_key::AddressKey;
use crate::needle::Needle;
use crate::postgres::columns::{micros, parsed, text, timestamp, unsigned};
use crate::postgres::database::Database;
use crate::postgres::fault::{Fault, damaged};
use crate::postgres::metrics::Operation;
use crate::suppression_merge::{do_update, joined};
use crate::words::{self, SUPPRESSIONS_PAGE_MAX, scope_text, soft_bounce_event, soft_bounce_hash};
use crate::{
    Erasing, Return, SoftBounce, StoreError, SuppressedAddress, Suppression, SuppressionQuery,
    SuppressionReason, SuppressionScope,
};

const SUPPRESSION: Operation = Operation::Suppression;
const COLUMNS: &str =
    "address, scope, reason, detail, provider, credential, created_at, expires_at, source";

fn read(row: &Row) -> Result<Suppression, Fault> {
    let expires_at: Option<i64> = row.try_get(7)?;
    let provider: Option<&str> = row.try_get(4)?;
    let credential: Option<&str> = row.try_get(5)?;
    let scope = words::scope(row.try_get(1)?);
    let reason = SuppressionReason::from_word(row.try_get(2)?);
    Ok(Suppression {
        address: parsed(row.try_get(0)?, "suppressed address")?,
        scope: scope.ok_or_else(|| damaged("unreadable scope"))?,
        reason: reason.ok_or_else(|| damaged("unknown reason"))?,
        detail: row.try_get(3)?,
        provider: provider.map(|name| parsed(name, "provider")).transpose()?,
        credential: credential
            .map(|name| parsed(name, "credential"))
            .transpose()?,
        created_at: timestamp(row.try_get(6)?)?,
        expires_at: expires_at.map(timestamp).transpose()?,
        source: row.try_get(8)?,
    })
}

/// For each address, the first suppression in the order of the scopes that stands now.
pub(super) async fn lookup(
    database: &Database,
    (addresses, scopes): (&[EmailAddress], &[SuppressionScope]),
    now: Timestamp,
) -> Result<Vec<Option<Suppression>>, StoreError> {
    let key = &database.key;
    let hashes: Vec<[u8; 16]> = addresses
        .iter()
        .flat_map(|address| {
            let address_key = address.key();
            let hash = move |scope| key.hash(scope_text(scope), &address_key);
            scopes.iter().map(hash).collect::<Vec<_>>()
        })
        .collect();
    let asked: Vec<&[u8]> = hashes.iter().map(|hash| &hash[..]).collect();
    let sql = format!(
        "SELECT {COLUMNS}, hash FROM malote.suppressions
         WHERE hash = ANY($1) AND (expires_at IS NULL OR expires_at > $2)"
    );
    let now = micros(now);
    let params = [(&asked as _, Type::BYTEA_ARRAY), (&now as _, Type::INT8)];
    let rows = database.rows(SUPPRESSION, &sql, &params).await?;
    let mut found = BTreeMap::new();
    for row in &rows {
        let hash: Vec<u8> = row.try_get(9).map_err(Fault::from)?;
        found.insert(hash, read(row)?);
    }
    let of_address = |index: usize| {
        let own = &hashes[index * scopes.len()..][..scopes.len()];
        own.iter().find_map(|hash| found.get(&hash[..]).cloned())
    };
    Ok((0..addresses.len()).map(of_address).collect())
}

/// The entries by their hash, in its order, so that batches at once wait for each other instead of
/// locking each other out; two of one address and scope are joined as they would be one by one.
pub(super) fn by_hash(
    key: &AddressKey,
    entries: Vec<Suppression>,
) -> BTreeMap<[u8; 16], Suppression> {
    let mut sorted = BTreeMap::new();
    for entry in entries {
        let hash = words::suppression_hash(key, &entry.address, &entry.scope);
        let joined = match sorted.remove(&hash) {
            Some(stands) => joined(stands, entry),
            None => entry,
        };
        sorted.insert(hash, joined);
    }
    sorted
}

/// Writes suppressions; which words of one that stands are replaced is [`do_update`]'s.
pub(super) async fn suppress(
    database: &Database,
    entries: &BTreeMap<[u8; 16], Suppression>,
) -> Result<(), StoreError> {
    let all = || entries.values();
    let hashes: Vec<&[u8]> = entries.keys().map(|hash| &hash[..]).collect();
    let addresses: Vec<String> = all().map(|one| one.address.to_string()).collect();
    let scopes: Vec<&str> = all().map(|one| scope_text(&one.scope)).collect();
    let reasons: Vec<&str> = all().map(|one| one.reason.as_str()).collect();
    let details: Vec<String> = all().map(|one| text(&one.detail)).collect();
    let providers: Vec<Option<&str>> = all()
        .map(|one| one.provider.as_ref().map(|name| name.as_str()))
        .collect();
    let credentials: Vec<Option<&str>> = all()
        .map(|one| one.credential.as_ref().map(|name| name.as_str()))
        .collect();
    let created: Vec<i64> = all().map(|one| micros(one.created_at)).collect();
    let expires: Vec<Option<i64>> = all().map(|one| one.expires_at.map(micros)).collect();
    let sources: Vec<String> = all().map(|one| text(&one.source)).collect();
    let sql = format!(
        "INSERT INTO malote.suppressions AS s (hash, address, scope, reason, detail, provider,
            credential, created_at, expires_at, source)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (hash) {}",
        do_update(", written_by = excluded.written_by")
    );
    database
        .execute(
            SUPPRESSION,
            &sql,
            &[
                (&hashes, Type::BYTEA_ARRAY),
                (&addresses, Type::TEXT_ARRAY),
                (&scopes, Type::TEXT_ARRAY),
                (&reasons, Type::TEXT_ARRAY),
                (&details, Type::TEXT_ARRAY),
                (&providers, Type::TEXT_ARRAY),
                (&credentials, Type::TEXT_ARRAY),
                (&created, Type::INT8_ARRAY),
                (&expires, Type::INT8_ARRAY),
                (&sources, Type::TEXT_ARRAY),
            ],
        )
        .await
        .map(drop)
}

/// Lifts an address's suppression in one scope, or in all.
pub(super) async fn unsuppress(
    database: &Database,
    address: &EmailAddress,
    scope: Option<&SuppressionScope>,
) -> Result<u64, StoreError> {
    let given = (&database.key, address.key(), scope.map(scope_text));
    database
        .transaction(SUPPRESSION, &given, |tx, (key, address_key, scope)| {
            Box::pin(async move {
                let scopes = match scope {
                    Some(scope) => vec![(*scope).to_owned()],
                    None => known_scopes(tx).await?,
                };
                let hash = |scope: &String| key.hash(scope, address_key).to_vec();
                let hashes: Vec<Vec<u8>> = scopes.iter().map(hash).collect();
                let sql = "DELETE FROM malote.suppressions
                    WHERE hash = ANY($1) AND (expires_at IS NULL OR expires_at > created_at)";
                Ok(tx
                    .execute_typed(sql, &[(&hashes, Type::BYTEA_ARRAY)])
                    .await?)
            })
        })
        .await
}

/// Every scope that may have entries: the spelling of an address may differ from the kept one, so
/// the entries of an address are found by hash, one look a scope.
async fn known_scopes(tx: &Transaction<'_>) -> Result<Vec<String>, Fault> {
    let rows = tx
        .query_typed(
            "WITH RECURSIVE scopes (scope) AS (
                (SELECT min(scope) FROM malote.suppressions)
                UNION ALL
                SELECT (SELECT min(scope) FROM malote.suppressions s WHERE s.scope > scopes.scope)
                FROM scopes WHERE scopes.scope IS NOT NULL)
             SELECT scope FROM scopes WHERE scope IS NOT NULL",
            &[],
        )
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Lifts what earlier unsubscribes stopped, and keeps the returns.
pub(super) async fn lift_unsubscribes(
    database: &Database,
    returns: &[Return],
) -> Result<(), StoreError> {
    let entries = returns.iter().map(words::returned).collect();
    let entries: Vec<_> = by_hash(&database.key, entries).into_iter().collect();
    let hashes: Vec<&[u8]> = entries.iter().map(|one| &one.0[..]).collect();
    let all = || entries.iter().map(|one| &one.1);
    let addresses: Vec<String> = all().map(|one| one.address.to_string()).collect();
    let scopes: Vec<&str> = all().map(|one| scope_text(&one.scope)).collect();
    let details: Vec<String> = all().map(|one| text(&one.detail)).collect();
    let times: Vec<i64> = all().map(|one| micros(one.created_at)).collect();
    let sources: Vec<String> = all().map(|one| text(&one.source)).collect();
    database
        .execute(
            SUPPRESSION,
            "INSERT INTO malote.suppressions AS s (hash, address, scope, reason, detail, created_at,
                expires_at, source)
             SELECT hash, address, scope, $7, detail, at, at, source
             FROM unnest($1, $2, $3, $4, $5, $6) AS u(hash, address, scope, detail, at, source)
             ON CONFLICT (hash) DO UPDATE SET created_at = excluded.created_at,
                expires_at = excluded.expires_at, written_by = excluded.written_by
             WHERE s.reason = $7 AND s.created_at <= excluded.created_at",
            &[
                (&hashes, Type::BYTEA_ARRAY),
                (&addresses, Type::TEXT_ARRAY),
                (&scopes, Type::TEXT_ARRAY),
                (&details, Type::TEXT_ARRAY),
                (&times, Type::INT8_ARRAY),
                (&sources, Type::TEXT_ARRAY),
                (&SuppressionReason::Unsubscribe.as_str(), Type::TEXT),
            ],
        )
        .await
        .map(drop)
}

/// Leaves of an address's entries what is needed to find them, or counts them.
pub(super) async fn erase(
    database: &Database,
    address: &EmailAddress,
    erasing: Erasing,
) -> Result<u64, StoreError> {
    let given = (&database.key, address, erasing);
    database
        .transaction(SUPPRESSION, &given, |tx, (key, address, erasing)| {
            Box::pin(async move {
                let mut erased = 0;
                for scope in known_scopes(tx).await? {
                    let hash = key.hash(&scope, &address.key());
                    let found = tx
                        .query_typed(
                            "SELECT source FROM malote.suppressions
                             WHERE hash = $1 AND address <> $2 FOR UPDATE",
                            &[
                                (&&hash[..], Type::BYTEA),
                                (&SuppressedAddress::Erased(hash).to_string(), Type::TEXT),
                            ],
                        )
                        .await?;
                    let Some(row) = found.first() else { continue };
                    erased += 1;
                    if *erasing == Erasing::Erase {
                        overwrite(tx, (address, hash), row.try_get(0)?).await?;
                    }
                }
                Ok(erased)
            })
        })
        .await
}

async fn overwrite(
    tx: &Transaction<'_>,
    (address, hash): (&EmailAddress, [u8; 16]),
    source: String,
) -> Result<(), Fault> {
    let source = Needle::new(address, hash).out_of(&source).unwrap_or(source);
    tx.execute_typed(
        "UPDATE malote.suppressions SET address = $2, detail = '', source = $3 WHERE hash = $1",
        &[
            (&&hash[..], Type::BYTEA),
            (&SuppressedAddress::Erased(hash).to_string(), Type::TEXT),
            (&source, Type::TEXT),
        ],
    )
    .await?;
    Ok(())
}

/// A page of the list, in the order of address and scope, without what stood for no time.
pub(super) async fn list(
    database: &Database,
    query: &SuppressionQuery,
) -> Result<Vec<Suppression>, StoreError> {
    let (after, after_scope) = query.after.as_ref().map_or_else(Default::default, |place| {
        (place.0.to_string(), scope_text(&place.1))
    });
    let count_max = i64::from(query.limit.min(SUPPRESSIONS_PAGE_MAX));
    let mut params: Vec<(&(dyn ToSql + Sync), Type)> = vec![
        (&after, Type::TEXT),
        (&after_scope, Type::TEXT),
        (&count_max, Type::INT8),
    ];
    let mut conditions = String::new();
    let owner = query.owner.as_ref().map(|name| name.as_str());
    let scope = query.scope.as_ref().map(scope_text);
    // Each list walks an index of its own order; a condition that is not given is left out.
    for (column, value) in [("credential", &owner), ("scope", &scope)] {
        if let Some(value) = value {
            params.push((value, Type::TEXT));
            conditions.push_str(&format!("{column} = ${} AND ", params.len()));
        }
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM malote.suppressions
         WHERE {conditions}(address, scope) > ($1, $2)
            AND (expires_at IS NULL OR expires_at > created_at)
         ORDER BY address, scope LIMIT $3"
    );
    let rows = database.rows(SUPPRESSION, &sql, &params).await?;
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

/// Notes soft bounces and counts those since a time; older ones are forgotten.
pub(super) async fn count_soft_bounces(
    database: &Database,
    bounces: &[SoftBounce],
    since: Timestamp,
) -> Result<Vec<u32>, StoreError> {
    let key = &database.key;
    let mut rows: Vec<_> = bounces
        .iter()
        .map(|one| {
            let hash = soft_bounce_hash(key, &one.address);
            (hash, micros(one.at), soft_bounce_event(one))
        })
        .collect();
    let asked: Vec<_> = rows.iter().map(|row| row.0).collect();
    // In one order, so that batches at once wait for each other.
    rows.sort_unstable();
    rows.dedup();
    let given = (rows, micros(since));
    let counts = database
        .transaction(SUPPRESSION, &given, |tx, (rows, since)| {
            Box::pin(count_in(tx, rows, *since))
        })
        .await?;
    let count = |hash| counts.get(hash).copied().unwrap_or_default();
    Ok(asked.iter().map(count).collect())
}

/// The soft bounces of each of these addresses, by its hash, these ones included.
async fn count_in(
    tx: &Transaction<'_>,
    rows: &[([u8; 16], i64, [u8; 16])],
    since: i64,
) -> Result<BTreeMap<[u8; 16], u32>, Fault> {
    let hashes: Vec<&[u8]> = rows.iter().map(|row| &row.0[..]).collect();
    let times: Vec<i64> = rows.iter().map(|row| row.1).collect();
    let events: Vec<&[u8]> = rows.iter().map(|row| &row.2[..]).collect();
    tx.execute_typed(
        "INSERT INTO malote.soft_bounces (hash, at, event, n)
         SELECT u.hash, u.at, u.event, 1 FROM unnest($1, $2, $3) AS u(hash, at, event)
         ON CONFLICT DO NOTHING",
        &[
            (&hashes, Type::BYTEA_ARRAY),
            (&times, Type::INT8_ARRAY),
            (&events, Type::BYTEA_ARRAY),
        ],
    )
    .await?;
    tx.execute_typed(
        "DELETE FROM malote.soft_bounces WHERE hash = ANY($1) AND at < $2",
        &[(&hashes, Type::BYTEA_ARRAY), (&since, Type::INT8)],
    )
    .await?;
    let found = tx
        .query_typed(
            "SELECT hash, sum(n)::bigint FROM malote.soft_bounces WHERE hash = ANY($1)
             GROUP BY hash",
            &[(&hashes, Type::BYTEA_ARRAY)],
        )
        .await?;
    let mut counts = BTreeMap::new();
    for row in &found {
        let hash: &[u8] = row.try_get(0)?;
        let hash = hash.try_into().map_err(|_| damaged("an address's hash"))?;
        counts.insert(hash, unsigned(row.try_get(1)?)?);
    }
    Ok(counts)
}
