//! `[streams.NAME]`: the defaults of each class, and the bounds.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::time::Duration;

use malote_core::fault::ConfigFault;
use malote_core::name::{ProviderName, StreamName};
use malote_core::stream::{
    Class, FailoverPolicy, OnThrottle, OnUnknown, RetryPolicy, Stream, WritePace,
};
use malote_core::suppression::SuppressionScope;
use malote_core::tracking::{Tracking, TrackingSwitches};
use malote_core::units::{ByteSize, Span};

use super::guard;
use super::raw::StreamConfig;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// What a stream of a class does where its table does not say.
struct ClassDefaults {
    retry: RetryPolicy,
    on_unknown: OnUnknown,
    failover: FailoverPolicy,
    reply_wait_max: Duration,
}

/// A password reset is worth nothing tomorrow and must not wait for a provider to recover.
const TRANSACTIONAL: ClassDefaults = ClassDefaults {
    retry: RetryPolicy {
        first: Duration::from_secs(10),
        factor: 2.0,
        max: Duration::from_secs(15 * 60),
        give_up_after: DAY,
    },
    on_unknown: OnUnknown::PreferNoLoss,
    failover: FailoverPolicy {
        transient_after: Duration::ZERO,
        on_throttle: OnThrottle::Next,
    },
    reply_wait_max: MINUTE,
};

/// A newsletter may wait, and must not arrive twice. RFC 5321 4.5.3.2.6 asks for ten minutes of
/// patience after the final dot.
const CAMPAIGN: ClassDefaults = ClassDefaults {
    retry: RetryPolicy {
        first: MINUTE,
        factor: 2.0,
        max: HOUR,
        give_up_after: Duration::from_secs(3 * 86_400),
    },
    on_unknown: OnUnknown::PreferNoDuplicate,
    failover: FailoverPolicy {
        transient_after: Duration::from_secs(5 * 60),
        on_throttle: OnThrottle::Wait,
    },
    reply_wait_max: Duration::from_secs(600),
};

/// A stream with the defaults of its class where the table says nothing. Values out of bounds are
/// noted.
pub(super) fn build(
    name: &StreamName,
    config: &StreamConfig,
    faults: &mut Vec<ConfigFault>,
) -> Stream {
    let class = match config.class {
        Class::Transactional => TRANSACTIONAL,
        Class::Campaign => CAMPAIGN,
    };
    let given = |span: Option<Span>, default: Duration| span.map_or(default, |span| span.0);
    let retry = RetryPolicy {
        first: given(config.retry.first, class.retry.first),
        factor: config.retry.factor.unwrap_or(class.retry.factor),
        max: given(config.retry.max, class.retry.max),
        give_up_after: given(config.retry.give_up_after, class.retry.give_up_after),
    };
    let stream = Stream {
        name: name.clone(),
        class: config.class,
        route: config.route.clone(),
        retry,
        on_unknown: config.on_unknown.unwrap_or(class.on_unknown),
        failover: FailoverPolicy {
            transient_after: given(
                config.failover.transient_after,
                class.failover.transient_after,
            ),
            on_throttle: config
                .failover
                .on_throttle
                .unwrap_or(class.failover.on_throttle),
        },
        write_pace: write_pace(name, config, faults),
        reply_wait_max: given(config.reply_wait_max, class.reply_wait_max),
        tracking: Tracking {
            opens: config.track_opens,
            clicks: config.track_clicks,
        },
        guard: guard::build(name, config, faults),
    };
    check(&stream, faults);
    if name.as_str() == SuppressionScope::Global.as_str() {
        let text = "this word means all streams where suppressions are concerned: use another name";
        faults.push(ConfigFault::error(format!("streams.{name}"), text));
    }
    stream
}

/// The sender's part of Feedback-ID, as Gmail wants it.
pub(super) fn feedback_id(
    name: &StreamName,
    config: &StreamConfig,
    faults: &mut Vec<ConfigFault>,
) -> Option<String> {
    let given = config.feedback_id.clone()?;
    let at = format!("streams.{name}.feedback_id");
    if config.class == Class::Transactional {
        let message = "is added to campaign mail only; take it out";
        faults.push(ConfigFault::error(at, message));
        return None;
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !(5..=15).contains(&given.len()) || !given.chars().all(is_allowed) {
        let message = "must be 5 to 15 letters, digits, - and _, the same in all of your mail";
        faults.push(ConfigFault::error(at, message));
        return None;
    }
    Some(given)
}

/// What a stream wants tracked and a target of its route does not let a message switch: the mail
/// goes there all the same, so the account's settings are what must be right.
pub(super) fn check_tracking<'a>(
    stream: &Stream,
    targets: impl Iterator<Item = (&'a ProviderName, TrackingSwitches)>,
    faults: &mut Vec<ConfigFault>,
) {
    for (provider, switches) in targets {
        for unmet in stream.tracking.unmet(switches) {
            let path = format!("streams.{}.track_{}", stream.name, unmet.what);
            let message = format!("cannot be switched at {provider} message by message: {unmet}");
            faults.push(ConfigFault::warning(path, message));
        }
    }
}

/// The class that `class` is not.
pub(super) const fn other(class: Class) -> Class {
    match class {
        Class::Transactional => Class::Campaign,
        Class::Campaign => Class::Transactional,
    }
}

/// A stream whose class means nothing: only what is out of bounds in both classes is noted.
pub(super) fn build_of_any_class(
    name: &StreamName,
    config: &StreamConfig,
    faults: &mut Vec<ConfigFault>,
) -> Stream {
    let (mut noted, mut others) = (Vec::new(), Vec::new());
    let stream = build(name, config, &mut noted);
    let config = StreamConfig {
        class: other(config.class),
        ..config.clone()
    };
    build(name, &config, &mut others);
    noted.retain(|fault| others.iter().any(|other| other.path == fault.path));
    faults.append(&mut noted);
    stream
}

/// Slowest and fastest pace that may be asked of a provider, octets a second.
const WRITE_RATES: RangeInclusive<u64> = 1024..=1024 * 1024 * 1024;

fn write_pace(
    name: &StreamName,
    config: &StreamConfig,
    faults: &mut Vec<ConfigFault>,
) -> WritePace {
    let mut pace = WritePace::default();
    if let Some(wait) = config.write_wait_max {
        pace.wait_max = wait.0;
    }
    if let Some(rate) = config.write_rate_min {
        match NonZeroU64::new(rate.0).filter(|_| WRITE_RATES.contains(&rate.0)) {
            Some(rate) => pace.bytes_per_second_min = rate,
            None => {
                let (min, max) = (*WRITE_RATES.start(), *WRITE_RATES.end());
                let message = format!("must be from {} to {}", ByteSize(min), ByteSize(max));
                let path = format!("streams.{name}.write_rate_min");
                faults.push(ConfigFault::error(path, message));
            }
        }
    }
    pace
}

fn check(stream: &Stream, faults: &mut Vec<ConfigFault>) {
    let at = format!("streams.{}", stream.name);
    let second = Duration::from_secs(1);
    let retry = &stream.retry;
    let bounds = [
        ("retry.first", retry.first, second, DAY),
        ("retry.max", retry.max, retry.first, DAY),
        ("retry.give_up_after", retry.give_up_after, MINUTE, 14 * DAY),
        (
            "failover.transient_after",
            stream.failover.transient_after,
            Duration::ZERO,
            DAY,
        ),
        (
            "write_wait_max",
            stream.write_pace.wait_max,
            second,
            10 * MINUTE,
        ),
        (
            "reply_wait_max",
            stream.reply_wait_max,
            Duration::from_secs(5),
            Duration::from_secs(1_800),
        ),
    ];
    for (key, value, min, max) in bounds {
        if !(min..=max).contains(&value) {
            let what = if key == "retry.max" { "`first`, " } else { "" };
            let message = format!("must be from {what}\"{}\" to \"{}\"", Span(min), Span(max));
            faults.push(ConfigFault::error(format!("{at}.{key}"), message));
        }
    }
    // NaN is in no range.
    if !(1.0..=10.0).contains(&retry.factor) {
        let message = "must be from 1.0 to 10.0";
        faults.push(ConfigFault::error(format!("{at}.retry.factor"), message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(text: &str) -> (Stream, Vec<ConfigFault>) {
        let mut faults = Vec::new();
        let config: StreamConfig = toml::from_str(text).unwrap();
        let name = "s".try_into().unwrap();
        (build(&name, &config, &mut faults), faults)
    }

    #[test]
    fn a_stream_has_the_defaults_of_its_class() {
        let (tx, _) = stream("class = 'transactional'\nroute = 'r'");
        assert_eq!(tx.on_unknown, OnUnknown::PreferNoLoss);
        assert_eq!(tx.failover.transient_after, Duration::ZERO);
        assert_eq!(tx.reply_wait_max, Duration::from_secs(60));
        let (campaign, faults) = stream("class = 'campaign'\nroute = 'r'");
        assert_eq!(campaign.on_unknown, OnUnknown::PreferNoDuplicate);
        assert_eq!(campaign.failover.transient_after, Duration::from_secs(300));
        assert_eq!(campaign.reply_wait_max, Duration::from_secs(600));
        assert_eq!(faults, []);
    }

    #[test]
    fn of_a_stream_without_a_class_only_what_no_class_allows_is_noted() {
        let mut faults = Vec::new();
        let text = "class = 'transactional'\nroute = 'r'\nreply_wait_max = '1ms'\n\
                    retry = { first = '20m' }";
        let config: StreamConfig = toml::from_str(text).unwrap();
        build_of_any_class(&"s".try_into().unwrap(), &config, &mut faults);
        let keys: Vec<_> = faults.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(keys, ["streams.s.reply_wait_max"]);
        assert_eq!(stream(text).1.len(), 2);
    }

    #[test]
    fn the_sender_of_feedback_id_is_of_campaigns_and_as_gmail_wants_it() {
        let table = |class: &str, id: &str| {
            let text = format!("class = '{class}'\nroute = 'r'\nfeedback_id = '{id}'");
            let config: StreamConfig = toml::from_str(&text).unwrap();
            let mut faults = Vec::new();
            let id = feedback_id(&"s".try_into().unwrap(), &config, &mut faults);
            (id, faults.len())
        };
        assert_eq!(table("campaign", "acme-1"), (Some("acme-1".into()), 0));
        for bad in ["acme", "acme:mail", "sixteen-letters-", "acmé-1"] {
            assert_eq!(table("campaign", bad), (None, 1), "{bad}");
        }
        assert_eq!(table("transactional", "acme-1"), (None, 1));
    }

    #[test]
    fn values_out_of_bounds_are_all_noted() {
        let (_, faults) = stream(
            "class = 'campaign'\nroute = 'r'\nwrite_wait_max = '11m'\nwrite_rate_min = '1B'\nreply_wait_max = '1ms'\n\
             retry = { first = '2h', factor = nan, max = '1h', give_up_after = '15d' }",
        );
        let keys: Vec<_> = faults.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(
            keys,
            [
                "streams.s.write_rate_min",
                "streams.s.retry.max",
                "streams.s.retry.give_up_after",
                "streams.s.write_wait_max",
                "streams.s.reply_wait_max",
                "streams.s.retry.factor"
            ]
        );
    }
}
