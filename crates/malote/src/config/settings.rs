//! The bounds of `[delivery]`, `[retention]` and `[log]`.

use std::time::Duration;

use malote_core::fault::ConfigFault;
use malote_core::units::Span;

use super::raw::RawConfig;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// Notes every value out of bounds.
pub(super) fn check(raw: &RawConfig, faults: &mut Vec<ConfigFault>) {
    let delivery = &raw.delivery;
    let mut error = |path: &str, message: String| faults.push(ConfigFault::error(path, message));
    if !(1..=10_000).contains(&delivery.workers) {
        error("delivery.workers", "must be from 1 to 10000".to_owned());
    }
    if !(0.0..=0.9).contains(&delivery.transactional_reserve) {
        let message = "must be from 0.0 to 0.9".to_owned();
        error("delivery.transactional_reserve", message);
    }
    if delivery.queue_bytes_max.0 < 1 << 20 {
        let message = "must be at least \"1MiB\"".to_owned();
        error("delivery.queue_bytes_max", message);
    }
    if !(1..=1_000_000).contains(&delivery.campaign_burst) {
        let message = "must be from 1 to 1000000".to_owned();
        error("delivery.campaign_burst", message);
    }
    for (path, span, min, max) in [
        (
            "delivery.drain",
            delivery.drain,
            Duration::ZERO,
            10 * MINUTE,
        ),
        (
            "retention.bodies",
            raw.retention.bodies,
            Duration::ZERO,
            365 * DAY,
        ),
        (
            "retention.messages",
            raw.retention.messages,
            DAY,
            3_650 * DAY,
        ),
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
