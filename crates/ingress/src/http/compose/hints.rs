//! What goes with a message without being part of it: stream, tags, metadata, time.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use malote_core::name::StreamName;
use malote_core::tracking::Tracking;

use super::{CONTROL_DETAIL, has_control};
use crate::http::json;
use crate::http::problem_rfc9457::{Faults, ProblemKind};
use crate::http::request::MessageRequest;

const TAGS_MAX: usize = 10;
const TAG_BYTES_MAX: usize = 128;
const METADATA_PAIRS_MAX: usize = 20;
const METADATA_NAME_BYTES_MAX: usize = 64;
const METADATA_VALUE_BYTES_MAX: usize = 1024;
/// How far ahead mail may be scheduled.
const SEND_AT_AHEAD_MAX: Duration = Duration::from_secs(7 * 86_400);

/// What goes with a message.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Hints {
    /// The stream asked for.
    pub(crate) stream: Option<StreamName>,
    /// Tags.
    pub(crate) tags: Vec<String>,
    /// Metadata.
    pub(crate) metadata: BTreeMap<String, String>,
    /// What is to be tracked.
    pub(crate) tracking: Tracking,
    /// When to send; `None` is now.
    pub(crate) send_at: Option<Timestamp>,
}

/// Reads the hints of a JSON request, noting every fault.
pub(super) fn read(request: &MessageRequest, now: Timestamp, faults: &mut Faults) -> Hints {
    let tags = request.tags.clone().unwrap_or_default();
    check_tags(&tags, "/tags", faults);
    let metadata = request.metadata.clone().unwrap_or_default();
    check_metadata(&metadata, "/metadata", faults);
    let stream = request.stream.as_deref();
    let stream = stream.and_then(|text| parse_stream(text, "/stream", faults));
    let send_at = request.send_at.as_deref();
    let send_at = send_at.and_then(|text| parse_send_at(text, now, ("/send_at", faults)));
    Hints {
        stream,
        tags,
        metadata,
        tracking: request
            .tracking
            .as_ref()
            .map_or_else(Tracking::default, Into::into),
        send_at,
    }
}

/// The stream of this name; a fault is noted at `pointer`.
pub(crate) fn parse_stream(text: &str, pointer: &str, faults: &mut Faults) -> Option<StreamName> {
    let name = StreamName::try_from(text);
    name.map_err(|fault| faults.push(ProblemKind::InvalidValue, pointer, fault.to_string()))
        .ok()
}

/// Notes every fault of tags.
pub(crate) fn check_tags(tags: &[String], pointer: &str, faults: &mut Faults) {
    if tags.len() > TAGS_MAX {
        let text = format!("at most {TAGS_MAX} tags are taken");
        faults.push(ProblemKind::TooMany, pointer, text);
        return;
    }
    for (index, tag) in tags.iter().enumerate() {
        let pointer = format!("{pointer}/{index}");
        if has_control(tag) {
            faults.push(ProblemKind::ControlCharacter, pointer, CONTROL_DETAIL);
        } else if !(1..=TAG_BYTES_MAX).contains(&tag.len()) {
            let text = format!("a tag is 1 to {TAG_BYTES_MAX} octets");
            faults.push(ProblemKind::TooLong, pointer, text);
        }
    }
}

/// Notes every fault of metadata.
pub(crate) fn check_metadata(
    metadata: &BTreeMap<String, String>,
    pointer: &str,
    faults: &mut Faults,
) {
    if metadata.len() > METADATA_PAIRS_MAX {
        let text = format!("at most {METADATA_PAIRS_MAX} pairs are taken");
        faults.push(ProblemKind::TooMany, pointer, text);
        return;
    }
    for (name, value) in metadata {
        let pointer = format!("{pointer}/{}", json::escape(name));
        if has_control(name) || has_control(value) {
            faults.push(ProblemKind::ControlCharacter, pointer, CONTROL_DETAIL);
        } else if !(1..=METADATA_NAME_BYTES_MAX).contains(&name.len())
            || value.len() > METADATA_VALUE_BYTES_MAX
        {
            let text = format!(
                "a name is 1 to {METADATA_NAME_BYTES_MAX} octets, a value at most \
                 {METADATA_VALUE_BYTES_MAX}"
            );
            faults.push(ProblemKind::TooLong, pointer, text);
        }
    }
}

/// A future time; `None` for now. A fault is noted where the second argument says.
pub(crate) fn parse_send_at(
    text: &str,
    now: Timestamp,
    (pointer, faults): (&str, &mut Faults),
) -> Option<Timestamp> {
    let Ok(at) = text.parse::<Timestamp>() else {
        let text = "not a time such as 2026-12-01T08:00:00Z (RFC 3339)";
        faults.push(ProblemKind::InvalidSendAt, pointer, text);
        return None;
    };
    let latest = now.checked_add(SEND_AT_AHEAD_MAX).unwrap_or(Timestamp::MAX);
    if at > latest {
        let text = "more than 7 days ahead";
        faults.push(ProblemKind::InvalidSendAt, pointer, text);
        return None;
    }
    (at > now).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_times_are_now_and_far_or_broken_ones_are_refused() {
        let now: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
        let read = |text: &str| {
            let mut faults = Faults::default();
            let at = parse_send_at(text, now, ("/send_at", &mut faults));
            faults.none_or(at).map_err(|problem| problem.kind())
        };
        assert_eq!(read("1970-01-01T00:00:00Z"), Ok(None));
        let soon = "2026-11-23T02:00:00+02:00";
        assert_eq!(
            read(soon),
            Ok(Some("2026-11-23T00:00:00Z".parse().unwrap()))
        );
        for bad in [
            "9999-01-01T00:00:00Z",
            "2026-13-01",
            "2026-12-22T00:00:00Z",
            "tomorrow",
            "",
        ] {
            assert_eq!(read(bad), Err(ProblemKind::InvalidSendAt), "{bad}");
        }
    }

    #[test]
    fn tags_and_metadata_are_bounded_and_free_of_controls() {
        let tags = |tags: &[&str]| {
            let tags: Vec<_> = tags.iter().map(|tag| (*tag).to_owned()).collect();
            let mut faults = Faults::default();
            check_tags(&tags, "/tags", &mut faults);
            faults.none_or(()).map_err(|problem| problem.kind())
        };
        assert_eq!(tags(&["a", "b c", "é"]), Ok(()));
        assert_eq!(tags(&["a\"}\n"]), Err(ProblemKind::ControlCharacter));
        assert_eq!(tags(&["x"; 11]), Err(ProblemKind::TooMany));
        assert_eq!(tags(&[""]), Err(ProblemKind::TooLong));

        let metadata = |pairs: Vec<(String, String)>| {
            let mut faults = Faults::default();
            check_metadata(&pairs.into_iter().collect(), "/metadata", &mut faults);
            faults.none_or(()).map_err(|problem| problem.kind())
        };
        let many = (0..1000).map(|n| (n.to_string(), String::new())).collect();
        assert_eq!(metadata(many), Err(ProblemKind::TooMany));
        let large = vec![("k".to_owned(), "x".repeat(1 << 20))];
        assert_eq!(metadata(large), Err(ProblemKind::TooLong));
    }
}
