//! The windows of quotas: when each begins, and what it holds. Pure.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use malote_core::limits::{DayRule, Limits};
use malote_core::stream::Class;

use super::{earlier, scaled};

/// The start and cap of each quota window. Campaign streams see caps without the reserve.
#[must_use]
pub fn quota_windows(limits: &Limits, class: Class, now: Timestamp) -> Vec<(Timestamp, u64)> {
    let windows = named_windows(limits, class, now).into_iter();
    windows.map(|(_, since, cap)| (since, cap)).collect()
}

/// The name, start and cap of each quota window.
pub(super) fn named_windows(
    limits: &Limits,
    class: Class,
    now: Timestamp,
) -> Vec<(&'static str, Timestamp, u64)> {
    let reserve = match class {
        Class::Transactional => 0.0,
        Class::Campaign => limits.transactional_reserve.unwrap_or(0.0),
    };
    let mut windows = Vec::with_capacity(3);
    if let Some(cap) = limits.per_hour {
        let since = earlier(now, Duration::from_secs(3600));
        windows.push(("hour", since, scaled(cap, 1.0 - reserve)));
    }
    if let Some(cap) = limits.per_day {
        let since = match &limits.day {
            DayRule::Rolling => earlier(now, Duration::from_secs(24 * 3600)),
            DayRule::Utc => day_start(&TimeZone::UTC, now),
            DayRule::Zone(zone) => day_start(zone, now),
        };
        windows.push(("day", since, scaled(cap, 1.0 - reserve)));
    }
    windows
}

pub(super) fn day_start(zone: &TimeZone, now: Timestamp) -> Timestamp {
    now.to_zoned(zone.clone())
        .start_of_day()
        .map_or(now, |start| start.timestamp())
}

pub(super) fn day_end(zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    let tomorrow = now.to_zoned(zone.clone()).tomorrow().ok()?;
    Some(tomorrow.start_of_day().ok()?.timestamp())
}
