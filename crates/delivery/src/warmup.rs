//! The warm-up schedule of a pool: pure.

use jiff::civil::Date;
use malote_core::limits::Warmup;
use malote_store::WarmupRecord;

/// The record for `today`: carried on if it is today's, else the next step of the schedule. A day
/// that used at least half of its cap lets the cap grow; an idle day repeats it. `None` before the
/// schedule's start (nothing may be sent) is a cap of 0.
#[must_use]
pub fn record_for(schedule: &Warmup, last: Option<WarmupRecord>, today: Date) -> WarmupRecord {
    if today < schedule.start {
        return WarmupRecord {
            day: today,
            cap: 0,
            used: 0,
        };
    }
    let fresh = |cap| WarmupRecord {
        day: today,
        cap,
        used: 0,
    };
    match last {
        Some(last) if last.day >= today => last,
        Some(last) if last.cap > 0 => {
            let has_grown = last.used.saturating_mul(2) >= last.cap;
            fresh(if has_grown {
                grown(schedule, last.cap)
            } else {
                last.cap
            })
        }
        Some(_) | None => fresh(schedule.day_1.min(schedule.until)),
    }
}

/// Whether the warm-up is over: caps no longer bind.
#[must_use]
pub const fn is_over(schedule: &Warmup, record: &WarmupRecord) -> bool {
    record.cap >= schedule.until
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "caps are far below 2^52 and growth is 1.0 to 10.0, checked by the configuration"
)]
fn grown(schedule: &Warmup, cap: u64) -> u64 {
    let next = (cap as f64 * schedule.growth).floor() as u64;
    // A small cap times a small growth is the same cap again: it would stand still for ever.
    let least = if schedule.growth > 1.0 { cap + 1 } else { cap };
    next.max(least).min(schedule.until)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const SCHEDULE: Warmup = Warmup {
        start: date(2026, 12, 1),
        day_1: 200,
        growth: 1.5,
        until: 1000,
    };

    fn record(day: i8, cap: u64, used: u64) -> WarmupRecord {
        WarmupRecord {
            day: date(2026, 12, day),
            cap,
            used,
        }
    }

    #[test]
    fn it_grows_only_after_days_that_used_half_of_the_cap() {
        for (last, today, cap) in [
            (None, 1, 200),
            (Some(record(1, 200, 100)), 2, 300),
            (Some(record(1, 200, 99)), 2, 200),
            (Some(record(1, 200, 200)), 5, 300),
            (Some(record(3, 900, 900)), 4, 1000),
            (Some(record(3, 450, 10)), 3, 450),
        ] {
            assert_eq!(
                record_for(&SCHEDULE, last, date(2026, 12, today)).cap,
                cap,
                "{last:?}"
            );
        }
    }

    #[test]
    fn the_smallest_cap_grows_with_every_growth_and_stays_without_one() {
        for (growth, cap, next) in [
            (1.5, 1, 2),
            (1.01, 1, 2),
            (1.01, 50, 51),
            (1.5, 2, 3),
            (1.01, 1000, 1000),
            (1.0, 1, 1),
            (1.0, 200, 200),
        ] {
            let schedule = Warmup { growth, ..SCHEDULE };
            let last = Some(record(1, cap, cap));
            let today = record_for(&schedule, last, date(2026, 12, 2));
            assert_eq!(today.cap, next, "{cap} by {growth}");
        }
    }

    #[test]
    fn nothing_leaves_before_the_first_day() {
        assert_eq!(record_for(&SCHEDULE, None, date(2026, 11, 30)).cap, 0);
        let yesterday = WarmupRecord {
            day: date(2026, 11, 30),
            cap: 0,
            used: 0,
        };
        assert_eq!(
            record_for(&SCHEDULE, Some(yesterday), date(2026, 12, 1)).cap,
            200
        );
    }
}
