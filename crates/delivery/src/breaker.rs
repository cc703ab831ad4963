//! The circuit breaker of a target: pure, it takes the time and gives the next state.
//!
//! Closed until failures pile up, then open for a while that doubles, then one probe, then a ramp
//! that doubles the allowed rate every ten seconds, so that a recovered provider is not buried
//! under its own backlog.

use std::time::Duration;

use jiff::Timestamp;
use malote_core::clock::later;
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
    /// When it opened last, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    opened_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum State {
    Closed {
        tally: Tally,
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
        /// A few failures among many calls are no outage, in a ramp as little as before.
        #[serde(default)]
        tally: Tally,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed {
            tally: Tally::default(),
        }
    }
}

/// Counts what calls said.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Tally {
    in_a_row: u32,
    calls: u32,
    failures: u32,
    window_from: Option<Timestamp>,
}

impl Tally {
    /// Takes in one call. Returns whether failures have piled up.
    fn take(&mut self, signal: Signal, now: Timestamp) -> bool {
        if self
            .window_from
            .is_none_or(|from| now >= later(from, WINDOW))
        {
            (self.window_from, self.calls, self.failures) = (Some(now), 0, 0);
        }
        self.calls += 1;
        match signal {
            Signal::Works => {
                self.in_a_row = 0;
                false
            }
            Signal::Fails => {
                self.in_a_row += 1;
                self.failures += 1;
                let is_mostly_failing =
                    self.calls >= WINDOW_CALLS_MIN && self.failures * 2 >= self.calls;
                self.in_a_row >= FAILURES_IN_A_ROW_MAX || is_mostly_failing
            }
        }
    }
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// It may.
    Yes,
    /// It may, as the one probe.
    Probe,
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

/// A call that ended, as far as a breaker is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// What it said.
    pub signal: Signal,
    /// When it began.
    pub started_at: Timestamp,
    /// Whether it was the probe.
    pub is_probe: bool,
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
                ..
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
                    return Pass::Probe;
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

    /// Takes in what a call said. Returns whether the breaker opened just now. A call begun before
    /// the last opening says nothing new, however late it ends, and only the probe ends a rest.
    pub fn record(&mut self, ended: &Ended, now: Timestamp) -> bool {
        if self.opened_since(ended.started_at) {
            return false;
        }
        let signal = ended.signal;
        match (&mut self.state, signal) {
            (State::Closed { tally }, _) => {
                let has_piled_up = tally.take(signal, now);
                if signal == Signal::Works {
                    self.rests = 0;
                }
                if has_piled_up {
                    self.open(now);
                }
                has_piled_up
            }
            (State::HalfOpen { .. }, Signal::Works) if ended.is_probe => {
                self.state = State::Ramp {
                    from: now,
                    second: now.as_second(),
                    passed: 0,
                    tally: Tally::default(),
                };
                false
            }
            (State::HalfOpen { .. }, Signal::Fails) if ended.is_probe => {
                self.open(now);
                true
            }
            (State::Ramp { from, tally, .. }, _) => {
                let is_over = now >= later(*from, RAMP_STEP * RAMP_STEPS);
                let has_piled_up = tally.take(signal, now);
                if has_piled_up {
                    self.open(now);
                } else if is_over && signal == Signal::Works {
                    (self.state, self.rests) = (State::default(), 0);
                }
                has_piled_up
            }
            (State::Open { .. } | State::HalfOpen { .. }, _) => false,
        }
    }

    /// As [`Breaker::record`], for a breaker that no call takes a pass of: once its rest is over,
    /// the first call that goes by is the probe.
    pub fn record_unasked(&mut self, ended: &Ended, now: Timestamp) -> bool {
        if let State::Open { until } = self.state
            && now >= until
            && !self.opened_since(ended.started_at)
        {
            self.state = State::HalfOpen { probe_until: now };
        }
        let ended = Ended {
            is_probe: true,
            ..*ended
        };
        self.record(&ended, now)
    }

    /// Gives a probe back that said nothing of the target, so that another may be made at once.
    pub fn give_back_probe(&mut self, taken_at: Timestamp) {
        if let State::HalfOpen { .. } = self.state
            && !self.opened_since(taken_at)
        {
            self.state = State::Open { until: taken_at };
        }
    }

    /// Leaves the probe to another node, and lets others ask again then.
    pub fn leave_probe(&mut self, until: Timestamp) {
        if let State::HalfOpen { .. } = self.state {
            self.state = State::Open { until };
        }
    }

    /// What another node knows of the target, to be believed here: no longer than any rest lasts,
    /// since its clock may be ahead of ours.
    #[must_use]
    pub fn as_seen_from(mut self, now: Timestamp) -> Self {
        let most = later(now, OPEN_MAX);
        match &mut self.state {
            State::Open { until } | State::HalfOpen { probe_until: until } => {
                *until = (*until).min(most);
            }
            State::Ramp { from, .. } => *from = (*from).min(now),
            State::Closed { .. } => {}
        }
        self.opened_at = self.opened_at.map(|at| at.min(now));
        self
    }

    /// What another node knows of the target, to be believed in place of what was `known` here: it
    /// may have forgotten when the breaker opened, or never known.
    #[must_use]
    pub fn in_place_of(mut self, known: Option<&Self>) -> Self {
        self.opened_at = self.opened_at.max(known.and_then(|known| known.opened_at));
        self
    }

    /// Whether nothing needs to be remembered over a restart.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Whether nothing but a probe may pass.
    #[must_use]
    pub fn rests(&self) -> bool {
        match self.state {
            State::Open { .. } | State::HalfOpen { .. } => true,
            State::Closed { .. } | State::Ramp { .. } => false,
        }
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
        self.opened_at = Some(now);
        self.state = State::Open {
            until: later(now, rest),
        };
    }

    /// Whether it has opened since a call began.
    fn opened_since(&self, started_at: Timestamp) -> bool {
        self.opened_at.is_some_and(|at| started_at <= at)
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

#[cfg(test)]
mod tests;
