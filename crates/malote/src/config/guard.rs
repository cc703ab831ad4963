//! `[streams.NAME.guard]`: the reputation guard's limits and their bounds.

use std::time::Duration;

use malote_core::fault::ConfigFault;
use malote_core::guard::GuardPolicy;
use malote_core::name::StreamName;
use malote_core::stream::Class;

use super::raw::{GuardConfig, StreamConfig};

const HOUR: Duration = Duration::from_secs(3_600);
const WINDOW_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Smallest share that means anything: one in a hundred thousand.
const SHARE_MIN: f64 = 0.00001;

/// The guard of a stream; `None` for transactional mail, and where it is switched off. Values out of
/// bounds are noted.
pub(super) fn build(
    name: &StreamName,
    config: &StreamConfig,
    faults: &mut Vec<ConfigFault>,
) -> Option<GuardPolicy> {
    let at = format!("streams.{name}.guard");
    if config.class == Class::Transactional {
        if config.guard.is_some() {
            let message = "guards campaign streams only: transactional mail is never slowed or \
                           paused; take the table out";
            faults.push(ConfigFault::error(at, message));
        }
        return None;
    }
    let given = config.guard.clone().unwrap_or_default();
    let policy = policy(&given);
    check(&at, &policy, faults);
    given.enabled.unwrap_or(true).then_some(policy)
}

fn policy(given: &GuardConfig) -> GuardPolicy {
    let default = GuardPolicy::default();
    let bounce_pause = given.bounce_pause.unwrap_or(default.bounce_pause);
    let complaint_pause = given.complaint_pause.unwrap_or(default.complaint_pause);
    GuardPolicy {
        window: given.window.map_or(default.window, |span| span.0),
        min_sends: given.min_sends.unwrap_or(default.min_sends),
        // A lower limit to pause takes the default to slow with it.
        bounce_slow: given
            .bounce_slow
            .unwrap_or_else(|| default.bounce_slow.min(bounce_pause)),
        bounce_pause,
        complaint_slow: given
            .complaint_slow
            .unwrap_or_else(|| default.complaint_slow.min(complaint_pause)),
        complaint_pause,
        slow_to: given.slow_to.unwrap_or(default.slow_to),
    }
}

fn check(at: &str, policy: &GuardPolicy, faults: &mut Vec<ConfigFault>) {
    let mut fault = |key: &str, message: String| {
        faults.push(ConfigFault::error(format!("{at}.{key}"), message));
    };
    if !(HOUR..=WINDOW_MAX).contains(&policy.window) {
        fault("window", "must be from \"1h\" to \"7d\"".to_owned());
    }
    if !(10..=1_000_000).contains(&policy.min_sends) {
        fault("min_sends", "must be from 10 to 1000000".to_owned());
    }
    // NaN is in no range.
    for (key, share, max, up_to) in [
        (
            "bounce_slow",
            policy.bounce_slow,
            policy.bounce_pause,
            "`bounce_pause`",
        ),
        ("bounce_pause", policy.bounce_pause, 1.0, "1.0"),
        (
            "complaint_slow",
            policy.complaint_slow,
            policy.complaint_pause,
            "`complaint_pause`",
        ),
        ("complaint_pause", policy.complaint_pause, 1.0, "1.0"),
    ] {
        if !(SHARE_MIN..=max).contains(&share) {
            fault(
                key,
                format!("must be from 0.00001 to {up_to}, as in 0.05 for 5 %"),
            );
        }
    }
    if !(0.01..=0.9).contains(&policy.slow_to) {
        fault("slow_to", "must be from 0.01 to 0.9".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(text: &str) -> (Option<GuardPolicy>, Vec<String>) {
        let config: StreamConfig = toml::from_str(text).unwrap();
        let mut faults = Vec::new();
        let guard = build(&"s".try_into().unwrap(), &config, &mut faults);
        (guard, faults.into_iter().map(|fault| fault.path).collect())
    }

    #[test]
    fn campaigns_are_guarded_unless_the_table_says_no() {
        let (guarded, faults) = guard("class = 'campaign'\nroute = 'r'");
        assert_eq!((guarded, faults.len()), (Some(GuardPolicy::default()), 0));
        let off = "class = 'campaign'\nroute = 'r'\nguard = { enabled = false }";
        assert_eq!(guard(off), (None, Vec::new()));
    }

    #[test]
    fn transactional_mail_has_no_guard() {
        assert_eq!(
            guard("class = 'transactional'\nroute = 'r'"),
            (None, Vec::new())
        );
        let (guarded, faults) = guard("class = 'transactional'\nroute = 'r'\nguard = {}");
        assert_eq!(
            (guarded, faults),
            (None, vec!["streams.s.guard".to_owned()])
        );
    }

    #[test]
    fn a_lower_limit_to_pause_lowers_the_default_to_slow() {
        let (guarded, faults) =
            guard("class = 'campaign'\nroute = 'r'\nguard = { bounce_pause = 0.02 }");
        assert!((guarded.unwrap().bounce_slow - 0.02).abs() < 1e-9);
        assert!(faults.is_empty());
    }

    #[test]
    fn values_out_of_bounds_are_all_noted() {
        let (_, faults) = guard(
            "class = 'campaign'\nroute = 'r'\n[guard]\nwindow = '59m'\nmin_sends = 9\n\
             bounce_slow = 0.2\nbounce_pause = 0.1\ncomplaint_slow = 0.0\n\
             complaint_pause = nan\nslow_to = 1.0",
        );
        let keys: Vec<_> = faults
            .iter()
            .map(|path| path.rsplit('.').next().unwrap())
            .collect();
        assert_eq!(
            keys,
            [
                "window",
                "min_sends",
                "bounce_slow",
                "complaint_slow",
                "complaint_pause",
                "slow_to"
            ]
        );
    }
}
