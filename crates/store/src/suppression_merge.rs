//! Which words an entry keeps when another one comes for the same address and scope: the part of
//! the statement that both engines share.
//!
//! One row stands for both, so whoever may lift the one must not lift the other with it: an app what
//! it put in, and a recipient who comes back an unsubscribe. A row is an app's to lift by its source,
//! and undone by coming back by its reason.

use malote_core::suppression::SOURCE_APP_PREFIX;

use crate::{Suppression, SuppressionReason};

/// The columns that tell where an entry comes from.
const WORDS: [&str; 3] = ["detail", "provider", "source"];

/// Whether the row of this name is an app's own word.
fn is_app(row: &str) -> String {
    let length = SOURCE_APP_PREFIX.len();
    format!("substr({row}.source, 1, {length}) = '{SOURCE_APP_PREFIX}'")
}

/// `DO UPDATE ...` of an insert into suppressions `AS s`; `more` is set as well.
///
/// The longer one counts, whole. An app's word gives way to anybody else's whichever is longer, an
/// unsubscribe to any other reason, and then the entry ends with the later of both. Of two apps the
/// longer one's words count, and the credential is nobody's. Of two unsubscribes the time of the later
/// is kept. Somebody's return (an entry that stood for no time) gives way to no earlier unsubscribe.
pub(crate) fn do_update(more: &str) -> String {
    let longer = "(s.expires_at IS NOT NULL
        AND (excluded.expires_at IS NULL OR excluded.expires_at > s.expires_at))";
    let (old_app, new_app) = (is_app("s"), is_app("excluded"));
    // What had ended when the new one came, or stood for no time, says nothing any more.
    let ended = "(s.expires_at IS NOT NULL
        AND (s.expires_at <= excluded.created_at OR s.expires_at <= s.created_at))";
    let (old_wish, new_wish) = (
        "s.reason = 'unsubscribe'",
        "excluded.reason = 'unsubscribe'",
    );
    let outweighs = format!("({old_wish} AND NOT {new_wish})");
    // Another reason stays under a recipient's wish, with which it would be undone; with its words,
    // unless these would make it an app's to lift.
    let stays = format!("(NOT {old_wish} AND {new_wish} AND NOT {ended})");
    let counts = format!(
        "({ended} OR ({old_app} AND NOT {new_app})
            OR ({longer} AND ({old_app} OR NOT ({new_app} OR {stays})))
            OR ({outweighs} AND NOT {new_app}))"
    );
    let are_two_apps = format!(
        "(NOT {ended} AND {old_app} AND {new_app}
            AND (s.credential IS NULL OR s.credential <> excluded.credential))"
    );
    let no_later_return = "(s.expires_at IS NULL OR s.expires_at > s.created_at
            OR s.reason <> excluded.reason OR s.created_at <= excluded.created_at)";
    let are_two_wishes = format!("({old_wish} AND {new_wish} AND NOT {ended})");
    let words = WORDS.map(|column| {
        format!("{column} = CASE WHEN {counts} THEN excluded.{column} ELSE s.{column} END")
    });
    let words = words.join(", ");
    let later = "s.created_at < excluded.created_at";
    format!(
        "DO UPDATE SET address = excluded.address, {words},
            created_at = CASE WHEN {are_two_wishes}
                THEN CASE WHEN {later} THEN excluded.created_at ELSE s.created_at END
                WHEN {counts} THEN excluded.created_at ELSE s.created_at END,
            reason = CASE WHEN {stays} THEN s.reason
                WHEN {counts} OR {outweighs} THEN excluded.reason ELSE s.reason END,
            credential = CASE WHEN {are_two_apps} THEN NULL
                WHEN {counts} THEN excluded.credential ELSE s.credential END,
            expires_at = CASE WHEN {ended} OR {longer} THEN excluded.expires_at
                ELSE s.expires_at END{more}
         WHERE ({counts} OR {longer} OR {outweighs} OR ({are_two_wishes} AND {later})
                OR ({are_two_apps} AND s.credential IS NOT NULL))
            AND {no_later_return}"
    )
}

/// What [`do_update`] makes of an entry that stands and a new one: one statement of PostgreSQL cannot
/// update a row twice. The conformance suite holds both to the same table.
pub(crate) fn joined(stands: Suppression, new: Suppression) -> Suppression {
    let is_app = |entry: &Suppression| entry.source.starts_with(SOURCE_APP_PREFIX);
    let is_wish = |entry: &Suppression| entry.reason == SuppressionReason::Unsubscribe;
    let (old_app, new_app) = (is_app(&stands), is_app(&new));
    let is_longer = match (stands.expires_at, new.expires_at) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(old), Some(new)) => new > old,
    };
    let begin = stands.created_at;
    let is_return = stands.expires_at.is_some_and(|end| end <= begin);
    if is_return && stands.reason == new.reason && begin > new.created_at {
        return stands;
    }
    if is_return || stands.expires_at.is_some_and(|end| end <= new.created_at) {
        return new;
    }
    let outweighs = is_wish(&stands) && !is_wish(&new);
    let stays = !is_wish(&stands) && is_wish(&new);
    let counts = (old_app && !new_app)
        || (is_longer && (old_app || !(new_app || stays)))
        || (outweighs && !new_app);
    let reason = match (stays, counts || outweighs) {
        (true, _) | (false, false) => stands.reason,
        (false, true) => new.reason,
    };
    let are_two_apps =
        old_app && new_app && (stands.credential.is_none() || stands.credential != new.credential);
    let expires_at = if is_longer {
        new.expires_at
    } else {
        stands.expires_at
    };
    let words = if counts { &new } else { &stands };
    let credential = words.credential.clone().filter(|_| !are_two_apps);
    let created_at = match is_wish(&stands) && is_wish(&new) {
        true => stands.created_at.max(new.created_at),
        false => words.created_at,
    };
    Suppression {
        address: new.address.clone(),
        reason,
        credential,
        created_at,
        expires_at,
        ..words.clone()
    }
}
