//! Counts in a window: how many recipients an e-mail number of Mautic had lately (a transactional
//! e-mail that goes to many is a campaign in disguise), and how many DSNs a credential got.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use malote_core::name::{CredentialName, StreamName};
use malote_router::EMAIL_ID_WINDOW_S;

use crate::engine::lock;

/// E-mail numbers remembered at most; beyond, those whose window is over go, then all.
const EMAIL_IDS_MAX: usize = 10_000;
/// Longest e-mail number that is counted.
const EMAIL_ID_BYTES_MAX: usize = 64;
/// How often a campaign is warned of at most.
const WARNING_EVERY: Duration = Duration::from_secs(60);

/// The counts.
#[derive(Default)]
pub(crate) struct Bursts {
    counts: Mutex<HashMap<(CredentialName, String), (Timestamp, u64)>>,
    notices: Mutex<HashMap<CredentialName, (Timestamp, u32)>>,
    /// When a campaign was last warned of.
    warnings: Mutex<HashMap<(StreamName, String), Timestamp>>,
}

impl Bursts {
    /// Adds recipients and returns how many there were in the current window, these included.
    pub(crate) fn add(
        &self,
        credential: &CredentialName,
        email_id: &str,
        recipients: u64,
        now: Timestamp,
    ) -> u64 {
        if email_id.len() > EMAIL_ID_BYTES_MAX {
            return recipients;
        }
        let is_over = |from: Timestamp| {
            now.duration_since(from).unsigned_abs() >= Duration::from_secs(EMAIL_ID_WINDOW_S)
        };
        let mut counts = lock(&self.counts);
        if counts.len() >= EMAIL_IDS_MAX {
            counts.retain(|_, (from, _)| !is_over(*from));
            if counts.len() >= EMAIL_IDS_MAX {
                counts.clear();
            }
        }
        let key = (credential.clone(), email_id.to_owned());
        let (from, count) = counts.entry(key).or_insert((now, 0));
        if is_over(*from) {
            (*from, *count) = (now, 0);
        }
        *count += recipients;
        *count
    }

    /// Whether one more DSN for this credential is within the bound for a minute; counts it.
    pub(crate) fn allows_notice(
        &self,
        credential: &CredentialName,
        per_minute: u32,
        now: Timestamp,
    ) -> bool {
        let mut notices = lock(&self.notices);
        let (from, count) = notices.entry(credential.clone()).or_insert((now, 0));
        if now.duration_since(*from).unsigned_abs() >= Duration::from_secs(60) {
            (*from, *count) = (now, 0);
        }
        *count += 1;
        *count <= per_minute
    }

    /// Whether a campaign of a stream may be warned of again: once a minute.
    pub(crate) fn allows_warning(
        &self,
        stream: &StreamName,
        campaign: &str,
        now: Timestamp,
    ) -> bool {
        let is_over = |at: &Timestamp| now.duration_since(*at).unsigned_abs() >= WARNING_EVERY;
        let mut warnings = lock(&self.warnings);
        let key = (stream.clone(), campaign.to_owned());
        if warnings.get(&key).is_some_and(|at| !is_over(at)) {
            return false;
        }
        if warnings.len() >= EMAIL_IDS_MAX {
            warnings.retain(|_, at| !is_over(at));
        }
        // So many campaigns at a time are told of by the counter alone.
        if warnings.len() >= EMAIL_IDS_MAX {
            return false;
        }
        warnings.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_is_warned_of_once_a_minute() {
        let bursts = Bursts::default();
        let stream = StreamName::try_from("news").unwrap();
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        assert!(bursts.allows_warning(&stream, "7", at(0)));
        assert!(!bursts.allows_warning(&stream, "7", at(59)));
        assert!(bursts.allows_warning(&stream, "8", at(59)));
        assert!(bursts.allows_warning(&stream, "7", at(60)));
    }

    #[test]
    fn recipients_add_up_within_ten_minutes_and_begin_anew_after() {
        let bursts = Bursts::default();
        let credential = CredentialName::try_from("mautic").unwrap();
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        assert_eq!(bursts.add(&credential, "7", 40, at(0)), 40);
        assert_eq!(bursts.add(&credential, "7", 20, at(599)), 60);
        assert_eq!(bursts.add(&credential, "8", 1, at(599)), 1);
        assert_eq!(bursts.add(&credential, "7", 1, at(600)), 1);
    }
}
