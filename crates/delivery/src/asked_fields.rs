//! Header fields that route rules ask of: a rule decides at each attempt by what the client sent, not
//! by what intake made of it (fields removed, rewritten and added). Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use malote_router::Router;

use crate::header::Header;

/// Octets of such fields kept with a message; what is beyond is judged as the message has it.
const KEPT_BYTES_MAX: usize = 8 << 10;

/// The client's values of fields that rules ask of, by lower-case name, where the message as it is
/// kept has others.
pub(crate) fn kept(
    router: &Router,
    sent: &[(String, String)],
    body: &Bytes,
) -> BTreeMap<String, Vec<String>> {
    let mut names = router.route_fields().peekable();
    if names.peek().is_none() {
        return BTreeMap::new();
    }
    let Ok(header) = Header::parse(body) else {
        return BTreeMap::new();
    };
    let now: Vec<_> = header
        .iter()
        .map(|(name, value)| (name.to_owned(), value.into_owned()))
        .collect();
    different(names, sent, &now)
}

fn different<'a>(
    names: impl Iterator<Item = &'a str>,
    sent: &[(String, String)],
    now: &[(String, String)],
) -> BTreeMap<String, Vec<String>> {
    let mut fields = BTreeMap::new();
    let mut room = KEPT_BYTES_MAX;
    for name in names {
        let own = values(sent, name);
        let name = name.to_ascii_lowercase();
        if own == values(now, &name) || fields.contains_key(&name) {
            continue;
        }
        let bytes = name.len() + own.iter().map(|value| value.len()).sum::<usize>();
        let Some(left) = room.checked_sub(bytes) else {
            continue;
        };
        room = left;
        fields.insert(name, own.into_iter().map(str::to_owned).collect());
    }
    fields
}

fn values<'a>(fields: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let own = fields
        .iter()
        .filter(|(own, _)| own.eq_ignore_ascii_case(name));
    own.map(|(_, value)| value.as_str()).collect()
}

/// The header as rules are to see it.
pub(crate) fn as_sent(
    asked: &BTreeMap<String, Vec<String>>,
    mut headers: Vec<(String, String)>,
) -> Vec<(String, String)> {
    if asked.is_empty() {
        return headers;
    }
    headers.retain(|(name, _)| !asked.contains_key(&name.to_ascii_lowercase()));
    for (name, values) in asked {
        headers.extend(values.iter().map(|value| (name.clone(), value.clone())));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<(String, String)> {
        let field = |line: &str| {
            line.split_once(": ")
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
        };
        text.split('\n').filter_map(field).collect()
    }

    #[test]
    fn rules_see_again_what_the_client_sent() {
        for (names, sent, now, count) in [
            // Removed, twice there, rewritten, added, as it was.
            (&["X-Malote-Way"][..], "X-Malote-Way: a\nTo: b", "To: b", 1),
            (&["x-pm-tag"], "X-PM-Tag: a\nX-PM-Tag: b", "To: b", 1),
            (&["From"], "From: a", "From: b\nTo: b", 1),
            (
                &["List-Unsubscribe", "X-Y"],
                "To: b",
                "List-Unsubscribe: <u>",
                1,
            ),
            (&["X-Own", "X-own"], "X-Own: a", "x-own: a", 0),
            (&["X-Malote-Way", "X-Malote-WAY"], "X-Malote-Way: a", "", 1),
        ] {
            let (sent, now) = (fields(sent), fields(now));
            let kept = different(names.iter().copied(), &sent, &now);
            assert_eq!(kept.len(), count, "{names:?}");
            let seen = as_sent(&kept, now);
            for name in names {
                assert_eq!(values(&seen, name), values(&sent, name), "{name}");
            }
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_rest_stays_as_it_is() {
        let long = "a".repeat(KEPT_BYTES_MAX);
        let sent = fields(&format!("X-Malote-Long: {long}\nX-Malote-Way: b"));
        let names = ["X-Malote-Long", "X-Malote-Way"];
        let kept = different(names.into_iter(), &sent, &[]);
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["x-malote-way"]);
    }
}
