//! Suppressions, looked up by a keyed hash of address and scope, and soft bounces.

use jiff::Timestamp;
use malote_core::address::EmailAddress;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::address_key::AddressKey;
use crate::hash_filter::HashFilter;
use crate::needle::Needle;
use crate::sqlite::columns::{damaged, micros, parsed, timestamp, unsigned};
use crate::sqlite::fault::Fault;
use crate::sqlite::rows::{opt_str, str_of};
use crate::sqlite::writer::Tx;
use crate::suppression_merge::do_update;
use crate::words::{
    self, SUPPRESSIONS_PAGE_MAX, scope_text, soft_bounce_event, soft_bounce_hash, suppression_hash,
};
use crate::{
    Return, SoftBounce, SuppressedAddress, Suppression, SuppressionQuery, SuppressionReason,
    SuppressionScope,
};

const COLUMNS: &str =
    "address, scope, reason, detail, provider, credential, created_at, expires_at, source";

fn read(row: &Row<'_>) -> Result<Suppression, Fault> {
    let reason = SuppressionReason::from_word(str_of(row, 2)?);
    Ok(Suppression {
        address: parsed(str_of(row, 0)?, "suppressed address")?,
        scope: words::scope(str_of(row, 1)?).ok_or_else(|| damaged("unreadable scope"))?,
        reason: reason.ok_or_else(|| damaged("unknown reason"))?,
        detail: row.get(3)?,
        provider: opt_str(row, 4)?
            .map(|name| parsed(name, "provider"))
            .transpose()?,
        credential: opt_str(row, 5)?
            .map(|name| parsed(name, "credential"))
            .transpose()?,
        created_at: timestamp(row.get(6)?)?,
        expires_at: row.get::<_, Option<i64>>(7)?.map(timestamp).transpose()?,
        source: row.get(8)?,
    })
}

/// What may be suppressed: a filter of every entry, on disk or about to be.
pub(crate) fn filter(conn: &Connection) -> Result<HashFilter, Fault> {
    let filter = HashFilter::new();
    let mut find = conn.prepare("SELECT hash FROM suppressions")?;
    let mut rows = find.query([])?;
    while let Some(row) = rows.next()? {
        filter.add(&row.get(0)?);
    }
    Ok(filter)
}

/// For each address, the first suppression in the order of the scopes that stands now.
pub(crate) fn lookup(
    conn: &Connection,
    key: &AddressKey,
    (addresses, scopes): (&[EmailAddress], &[SuppressionScope]),
    now: Timestamp,
) -> Result<Vec<Option<Suppression>>, Fault> {
    let sql = format!(
        "SELECT {COLUMNS} FROM suppressions
         WHERE hash = ?1 AND (expires_at IS NULL OR expires_at > ?2)"
    );
    let mut find = conn.prepare_cached(&sql)?;
    let mut found = Vec::with_capacity(addresses.len());
    for address in addresses {
        let address_key = address.key();
        let mut stopped = None;
        for scope in scopes {
            let hash = key.hash(scope_text(scope), &address_key);
            let mut rows = find.query(params![&hash[..], micros(now)])?;
            if let Some(row) = rows.next()? {
                stopped = Some(read(row)?);
                break;
            }
        }
        found.push(stopped);
    }
    Ok(found)
}

/// Writes suppressions; which words of one that stands are replaced is [`do_update`]'s. They are in the
/// filter before the commit: whoever is told of them finds them.
pub(crate) fn suppress(
    tx: &mut Tx<'_>,
    (key, filter): (&AddressKey, &HashFilter),
    entries: &[Suppression],
) -> Result<(), Fault> {
    let sql = format!(
        "INSERT INTO suppressions AS s (hash, address, scope, reason, detail, provider,
            credential, created_at, expires_at, source)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (hash) {}",
        do_update("")
    );
    for entry in entries {
        let scope = scope_text(&entry.scope);
        let hash = suppression_hash(key, &entry.address, &entry.scope);
        filter.add(&hash);
        tx.conn.prepare_cached(&sql)?.execute(params![
            &hash[..],
            entry.address.to_string(),
            scope,
            entry.reason.as_str(),
            entry.detail,
            entry.provider.as_ref().map(|name| name.as_str()),
            entry.credential.as_ref().map(|name| name.as_str()),
            micros(entry.created_at),
            entry.expires_at.map(micros),
            entry.source,
        ])?;
    }
    Ok(())
}

/// Lifts an address's suppression in one scope, or in all.
pub(crate) fn unsuppress(
    tx: &mut Tx<'_>,
    key: &AddressKey,
    address: &EmailAddress,
    scope: Option<&SuppressionScope>,
) -> Result<u64, Fault> {
    let scopes = match scope {
        Some(scope) => vec![scope_text(scope).to_owned()],
        None => known_scopes(tx.conn)?,
    };
    let mut lifted = 0;
    for scope in scopes {
        let hash = key.hash(&scope, &address.key());
        lifted += tx
            .conn
            .prepare_cached(
                "DELETE FROM suppressions
                 WHERE hash = ?1 AND (expires_at IS NULL OR expires_at > created_at)",
            )?
            .execute([&hash[..]])? as u64;
    }
    Ok(lifted)
}

/// Leaves of an address's entries what is needed to find them.
pub(crate) fn erase(
    conn: &Connection,
    key: &AddressKey,
    address: &EmailAddress,
) -> Result<u64, Fault> {
    let mut erased = 0;
    for scope in known_scopes(conn)? {
        let hash = key.hash(&scope, &address.key());
        let left = SuppressedAddress::Erased(hash).to_string();
        let source: Option<String> = conn
            .prepare_cached("SELECT source FROM suppressions WHERE hash = ?1 AND address <> ?2")?
            .query_row(params![&hash[..], left], |row| row.get(0))
            .optional()?;
        let Some(source) = source else { continue };
        let source = Needle::new(address, hash).out_of(&source).unwrap_or(source);
        erased += conn
            .prepare_cached(
                "UPDATE suppressions SET address = ?2, detail = '', source = ?3 WHERE hash = ?1",
            )?
            .execute(params![&hash[..], left, source])? as u64;
    }
    Ok(erased)
}

/// Lifts what earlier unsubscribes stopped, and keeps the returns.
pub(crate) fn lift_unsubscribes(
    tx: &mut Tx<'_>,
    key: &AddressKey,
    returns: &[Return],
) -> Result<(), Fault> {
    let mut lift = tx.conn.prepare_cached(
        "INSERT INTO suppressions (hash, address, scope, reason, detail, created_at, expires_at,
            source)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7)
         ON CONFLICT (hash) DO UPDATE SET created_at = ?6, expires_at = ?6
         WHERE reason = ?4 AND created_at <= ?6",
    )?;
    for one in returns {
        let entry = words::returned(one);
        lift.execute(params![
            &suppression_hash(key, &entry.address, &entry.scope)[..],
            entry.address.to_string(),
            scope_text(&entry.scope),
            entry.reason.as_str(),
            entry.detail,
            micros(one.at),
            entry.source,
        ])?;
    }
    Ok(())
}

/// Returns that are kept behind the one of this hash, each with its own.
pub(crate) fn returns(
    conn: &Connection,
    after: Option<[u8; 16]>,
    count_max: u32,
) -> Result<Vec<([u8; 16], Return)>, Fault> {
    let sql = format!(
        "SELECT {COLUMNS}, hash FROM suppressions
         WHERE hash > ?1 AND reason = ?2 AND expires_at <= created_at ORDER BY hash LIMIT ?3"
    );
    let after = after.as_ref().map_or(&[][..], |hash| &hash[..]);
    let mut find = conn.prepare_cached(&sql)?;
    let reason = SuppressionReason::Unsubscribe.as_str();
    let mut rows = find.query(params![after, reason, count_max])?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        let entry = read(row)?;
        let one = Return {
            address: entry.address,
            scope: entry.scope,
            at: entry.created_at,
            source: entry.source,
        };
        page.push((row.get(9)?, one));
    }
    Ok(page)
}

/// Every scope that may have entries: the spelling of an address may differ from the kept one, so
/// the entries of an address are found by hash, one look a scope.
fn known_scopes(conn: &Connection) -> Result<Vec<String>, Fault> {
    let mut find = conn.prepare_cached(
        "WITH RECURSIVE scopes (scope) AS (
            SELECT min(scope) FROM suppressions
            UNION ALL
            SELECT (SELECT min(scope) FROM suppressions s WHERE s.scope > scopes.scope)
            FROM scopes WHERE scopes.scope IS NOT NULL)
         SELECT scope FROM scopes WHERE scope IS NOT NULL",
    )?;
    let found = find.query_map([], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// A page of the list, in the order of address and scope, without what stood for no time.
pub(crate) fn list(conn: &Connection, query: &SuppressionQuery) -> Result<Vec<Suppression>, Fault> {
    // Each list walks an index of its own order; a condition that is not given is left out, or
    // SQLite would plan without that index.
    let owner = if query.owner.is_some() {
        "credential = ?4 AND "
    } else {
        ""
    };
    let scope = if query.scope.is_some() {
        "scope = ?5 AND "
    } else {
        ""
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM suppressions WHERE {owner}{scope}(address, scope) > (?1, ?2)
            AND (expires_at IS NULL OR expires_at > created_at)
         ORDER BY address, scope LIMIT ?3"
    );
    let (after, after_scope) = query.after.as_ref().map_or_else(Default::default, |place| {
        (place.0.to_string(), scope_text(&place.1))
    });
    let count_max = query.limit.min(SUPPRESSIONS_PAGE_MAX);
    let mut find = conn.prepare_cached(&sql)?;
    let wanted = find.parameter_count();
    let owner = query.owner.as_ref().map(|name| name.as_str());
    let scope = query.scope.as_ref().map(scope_text);
    let given = params![after, after_scope, count_max, owner, scope];
    let mut rows = find.query(&given[..wanted])?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        page.push(read(row)?);
    }
    Ok(page)
}

/// Notes soft bounces and counts those since a time; older ones are forgotten.
pub(crate) fn count_soft_bounces(
    tx: &mut Tx<'_>,
    key: &AddressKey,
    bounces: &[SoftBounce],
    since: Timestamp,
) -> Result<Vec<u32>, Fault> {
    for bounce in bounces {
        let hash = soft_bounce_hash(key, &bounce.address);
        let event = soft_bounce_event(bounce);
        tx.conn
            .prepare_cached(
                "INSERT INTO soft_bounces (hash, at, event, n) VALUES (?1, ?2, ?3, 1)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![&hash[..], micros(bounce.at), &event[..]])?;
        tx.conn
            .prepare_cached("DELETE FROM soft_bounces WHERE hash = ?1 AND at < ?2")?
            .execute(params![&hash[..], micros(since)])?;
    }
    let mut count = tx
        .conn
        .prepare_cached("SELECT coalesce(sum(n), 0) FROM soft_bounces WHERE hash = ?1")?;
    let mut counts = Vec::with_capacity(bounces.len());
    for bounce in bounces {
        let hash = soft_bounce_hash(key, &bounce.address);
        counts.push(unsigned(count.query_row([&hash[..]], |row| row.get(0))?)?);
    }
    Ok(counts)
}
