//! The bounds of `[delivery]`, `[retention]` and `[log]`.

use std::time::Duration;

use malote_core::fault::ConfigFault;
use malote_core::units::Span;

use super::raw::RawConfig;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Notes every value out of bounds.
pub(super) fn check(raw: &RawConfig, faults: &mut Vec<ConfigFault>) {
    let delivery = &raw.delivery;
    let mut error = |path: &str, message: String| faults.push(ConfigFault::error(path, message));
    for (path, number, max) in [
        ("delivery.workers", u64::from(delivery.workers), 10_000),
        (
            "delivery.campaign_burst",
            delivery.campaign_burst,
            1_000_000,
        ),
        (
            "delivery.crashes_max",
            u64::from(delivery.crashes_max),
            1_000,
        ),
        (
            "delivery.soft_bounces_max",
            u64::from(delivery.soft_bounces_max),
            1_000,
        ),
        (
            "delivery.dsn_per_minute",
            u64::from(delivery.dsn_per_minute),
            10_000,
        ),
    ] {
        if !(1..=max).contains(&number) {
            error(path, format!("must be from 1 to {max}"));
        }
    }
    if !(0.0..=0.9).contains(&delivery.transactional_reserve) {
        let message = "must be from 0.0 to 0.9".to_owned();
        error("delivery.transactional_reserve", message);
    }
    if delivery.queue_bytes_max.0 < 1 << 20 {
        let message = "must be at least \"1MiB\"".to_owned();
        error("delivery.queue_bytes_max", message);
    }
    let retention = &raw.retention;
    let (zero, longest) = (Duration::ZERO, 3_650 * DAY);
    let notice = delivery.drain_notice;
    for (path, span, min, max) in [
        ("delivery.drain", delivery.drain, zero, 10 * MINUTE),
        ("delivery.drain_notice", notice, zero, 5 * MINUTE),
        (
            "delivery.soft_bounce_window",
            delivery.soft_bounce_window,
            HOUR,
            90 * DAY,
        ),
        (
            "delivery.soft_bounce_suppression",
            delivery.soft_bounce_suppression,
            HOUR,
            longest,
        ),
        ("retention.bodies", retention.bodies, zero, 365 * DAY),
        ("retention.messages", retention.messages, DAY, longest),
    ] {
        if !(min..=max).contains(&span.0) {
            let message = format!("must be from \"{}\" to \"{}\"", Span(min), Span(max));
            error(path, message);
        }
    }
    if crate::logging::parse_level(&raw.log.level).is_none() {
        let message = "must be error, warn, info, debug or trace, or a list such as \
                       \"info,malote_delivery=debug\"";
        error("log.level", message.to_owned());
    }
}
