//! The circuit breaker of a target: pure, it takes the time and gives the next state.
//!
//! Closed until failures pile up, then open for a while that doubles, then one probe, then a ramp
//! that doubles the allowed rate every ten seconds, so that a recovered provider is not buried
//! under its own backlog.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Failures in a row that open a breaker.
const FAILURES_IN_A_ROW_MAX: u32 = 5;
/// Calls in a window before a share of failures says anything.
const WINDOW_CALLS_MIN: u32 = 20;
/// The window in which a share is counted.
const WINDOW: Duration = Duration::from_secs(10);
/// First rest.
const OPEN_FIRST: Duration = Duration::from_secs(5);
/// Longest rest.
const OPEN_MAX: Duration = Duration::from_secs(120);
/// Calls a second with which a ramp begins.
const RAMP_FIRST_PER_S: f64 = 5.0;
/// How often a ramp doubles.
const RAMP_STEP: Duration = Duration::from_secs(10);
/// Steps after which the ramp is over.
const RAMP_STEPS: u32 = 6;

/// A breaker.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Breaker {
    state: State,
    /// Rests in a row without a success in between; sets the length of the next.
    rests: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum State {
    Closed {
        in_a_row: u32,
        calls: u32,
        failures: u32,
        window_from: Option<Timestamp>,
    },
    Open {
        until: Timestamp,
    },
    HalfOpen {
        probe_until: Timestamp,
    },
    Ramp {
        from: Timestamp,
        second: i64,
        passed: u32,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed {
            in_a_row: 0,
            calls: 0,
            failures: 0,
            window_from: None,
        }
    }
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// It may.
    Yes,
    /// Not before this time.
    NotUntil(Timestamp),
}

/// What a call said about the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// It works, whatever it thinks of the message.
    Works,
    /// It does not.
    Fails,
}

impl Breaker {
    /// Whether a call could pass now, without taking the probe.
    #[must_use]
    pub fn peek(&self, now: Timestamp) -> Pass {
        match self.state {
            State::Open { until } | State::HalfOpen { probe_until: until } if now < until => {
                Pass::NotUntil(until)
            }
            State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. } => Pass::Yes,
            State::Ramp {
                from,
                second,
                passed,
            } => ramp_pass(from, second, passed, now),
        }
    }

    /// Takes a pass. In half-open state only one caller gets it; `call_max` is how long its call
    /// may take before another probe is let through.
    pub fn pass(&mut self, now: Timestamp, call_max: Duration) -> Pass {
        let pass = self.peek(now);
        if pass == Pass::Yes {
            match &mut self.state {
                State::Closed { .. } => {}
                State::Open { .. } | State::HalfOpen { .. } => {
                    self.state = State::HalfOpen {
                        probe_until: later(now, call_max),
                    };
                }
                State::Ramp { second, passed, .. } => {
                    if *second == now.as_second() {
                        *passed += 1;
                    } else {
                        (*second, *passed) = (now.as_second(), 1);
                    }
                }
            }
        }
        pass
    }

    /// Takes in what a call said. Returns whether the breaker opened just now.
    pub fn record(&mut self, signal: Signal, now: Timestamp) -> bool {
        match (&mut self.state, signal) {
            (
                State::Closed {
                    in_a_row,
                    calls,
                    failures,
                    window_from,
                },
                _,
            ) => {
                if window_from.is_none_or(|from| now >= later(from, WINDOW)) {
                    (*window_from, *calls, *failures) = (Some(now), 0, 0);
                }
                *calls += 1;
                if signal == Signal::Works {
                    *in_a_row = 0;
                    self.rests = 0;
                    return false;
                }
                *in_a_row += 1;
                *failures += 1;
                let has_piled_up = *in_a_row >= FAILURES_IN_A_ROW_MAX;
                let is_mostly_failing = *calls >= WINDOW_CALLS_MIN && *failures * 2 >= *calls;
                if has_piled_up || is_mostly_failing {
                    self.open(now);
                }
                has_piled_up || is_mostly_failing
            }
            (State::HalfOpen { .. }, Signal::Works) => {
                self.state = State::Ramp {
                    from: now,
                    second: now.as_second(),
                    passed: 0,
                };
                false
            }
            (State::HalfOpen { .. } | State::Ramp { .. }, Signal::Fails) => {
                self.open(now);
                true
            }
            (State::Ramp { from, .. }, Signal::Works) => {
                if now >= later(*from, RAMP_STEP * RAMP_STEPS) {
                    *self = Self::default();
                }
                false
            }
            // Calls that were under way when it opened; they say nothing new.
            (State::Open { .. }, _) => false,
        }
    }

    /// Whether nothing needs to be remembered over a restart.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// The word for metrics: closed, open, half_open or ramp.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.state {
            State::Closed { .. } => "closed",
            State::Open { .. } => "open",
            State::HalfOpen { .. } => "half_open",
            State::Ramp { .. } => "ramp",
        }
    }

    fn open(&mut self, now: Timestamp) {
        let rest = OPEN_FIRST
            .saturating_mul(1 << self.rests.min(10))
            .min(OPEN_MAX);
        self.rests = self.rests.saturating_add(1);
        self.state = State::Open {
            until: later(now, rest),
        };
    }
}

fn ramp_pass(from: Timestamp, second: i64, passed: u32, now: Timestamp) -> Pass {
    let steps = now.duration_since(from).unsigned_abs().as_secs() / RAMP_STEP.as_secs();
    let steps = u32::try_from(steps).unwrap_or(RAMP_STEPS);
    if steps >= RAMP_STEPS || now.as_second() != second {
        return Pass::Yes;
    }
    let allowed = RAMP_FIRST_PER_S * f64::from(1_u32 << steps);
    if f64::from(passed) < allowed {
        Pass::Yes
    } else {
        Pass::NotUntil(Timestamp::from_second(second + 1).unwrap_or(now))
    }
}

fn later(from: Timestamp, by: Duration) -> Timestamp {
    from.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL_MAX: Duration = Duration::from_secs(60);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn opened(now: Timestamp) -> Breaker {
        let mut breaker = Breaker::default();
        let opened = (0..FAILURES_IN_A_ROW_MAX).filter(|_| breaker.record(Signal::Fails, now));
        assert_eq!(opened.count(), 1, "opens once, at the last failure");
        breaker
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_a_success_between_them_does_not() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            assert!(!breaker.record(Signal::Fails, at(0)));
        }
        breaker.record(Signal::Works, at(0));
        assert!(!breaker.record(Signal::Fails, at(0)));
        assert_eq!(opened(at(0)).peek(at(1)), Pass::NotUntil(at(5)));
    }

    #[test]
    fn half_the_calls_failing_opens_it_too() {
        let mut breaker = Breaker::default();
        let opened = (0..40).any(|n| {
            breaker.record(
                if n % 2 == 0 {
                    Signal::Works
                } else {
                    Signal::Fails
                },
                at(0),
            )
        });
        assert!(opened);
    }

    #[test]
    fn after_the_rest_one_probe_passes_and_the_others_wait_for_it() {
        let mut breaker = opened(at(0));
        assert_eq!(breaker.pass(at(5), CALL_MAX), Pass::Yes);
        assert_eq!(breaker.pass(at(5), CALL_MAX), Pass::NotUntil(at(65)));
        assert_eq!(
            breaker.pass(at(66), CALL_MAX),
            Pass::Yes,
            "a lost probe does not block for ever"
        );
    }

    #[test]
    fn a_failed_probe_doubles_the_rest_up_to_two_minutes() {
        let mut breaker = opened(at(0));
        let mut now = at(0);
        for rest in [5, 10, 20, 40, 80, 120, 120] {
            assert_eq!(
                breaker.peek(now),
                Pass::NotUntil(later(now, Duration::from_secs(rest)))
            );
            now = later(now, Duration::from_secs(rest));
            assert_eq!(breaker.pass(now, CALL_MAX), Pass::Yes);
            assert!(breaker.record(Signal::Fails, now));
        }
    }

    #[test]
    fn a_recovered_target_ramps_up_instead_of_getting_everything_at_once() {
        let mut breaker = opened(at(0));
        breaker.pass(at(5), CALL_MAX);
        breaker.record(Signal::Works, at(5));
        let passed_in = |breaker: &mut Breaker, second| {
            (0..1000)
                .filter(|_| breaker.pass(at(second), CALL_MAX) == Pass::Yes)
                .count()
        };
        assert_eq!(passed_in(&mut breaker, 6), 5);
        assert_eq!(passed_in(&mut breaker, 7), 5);
        assert_eq!(passed_in(&mut breaker, 16), 10);
        assert_eq!(passed_in(&mut breaker, 26), 20);
        breaker.record(Signal::Works, at(66));
        assert!(breaker.is_at_rest());
    }
}
