//! How a simulator answers beyond the next fault: its latency, its faults, and the webhooks it
//! posts of its own accord; and scenarios, which change that as time passes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Kind;
use crate::event::EventKind;
use crate::fault::Fault;

/// Longest latency that can be asked for.
const LATENCY_MS_MAX: u64 = 600_000;
/// Most events of one message that can be described.
const EVENTS_MAX: usize = 16;
/// Most steps of one scenario.
const STEPS_MAX: usize = 1_000;
/// Longest delay of a webhook, and the last step's time: a day.
const SECONDS_MAX: f64 = 86_400.0;

/// How a simulator answers, as `POST /_sandbox/behaviour` takes it. What is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Pause before each answer to a send, in milliseconds, up to 600,000. Default 0.
    pub latency_ms: Option<u64>,
    /// The faults for the sends to come, in this order, in place of those that are armed.
    pub faults: Option<Vec<Fault>>,
    /// What is reported of messages taken from now on. Default nothing.
    pub webhooks: Option<Webhooks>,
}

/// The webhooks that a simulator posts of its own accord.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Webhooks {
    /// Where to post: an address of this machine; `{kind}` becomes the simulator's kind.
    pub url: String,
    /// What is reported of each recipient. Each happens by its own share, in this order; after a
    /// bounce nothing more is reported. At most 16.
    #[serde(default)]
    pub events: Vec<Happening>,
    /// The share of webhooks that are posted twice, 0 to 1. Default 0.
    #[serde(default)]
    pub duplicated: f64,
    /// The share of webhooks whose signature is spoilt, 0 to 1. Default 0.
    #[serde(default)]
    pub forged: f64,
    /// Up to how many seconds a webhook comes late, each by chance, so that they come out of
    /// order. Default 0.
    #[serde(default)]
    pub late_s: f64,
    /// The seed of chance: the same messages in the same order have the same fate. Default 0.
    #[serde(default)]
    pub seed: u64,
}

/// One thing that may happen to a message that was taken.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Happening {
    /// What.
    pub event: EventKind,
    /// To which share of the recipients, 0 to 1. Default 1.
    #[serde(default = "all")]
    pub share: f64,
    /// How many seconds after the message was taken. Default 0.
    #[serde(default)]
    pub after_s: f64,
    /// The far server's reply; by default one that fits the event.
    #[serde(default)]
    pub reply: Option<String>,
}

const fn all() -> f64 {
    1.0
}

/// What a simulator is told to do, over time: a file of `malote sandbox --scenario`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What changes when; at most 1,000.
    pub steps: Vec<Step>,
}

/// One change.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// When, in seconds after the start. Default 0.
    #[serde(default)]
    pub after_s: f64,
    /// Which kinds; all of them where none is named.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// What is so from then on.
    #[serde(default)]
    pub latency_ms: Option<u64>,
    /// See [`Behaviour::faults`].
    #[serde(default)]
    pub faults: Option<Vec<Fault>>,
    /// See [`Behaviour::webhooks`].
    #[serde(default)]
    pub webhooks: Option<Webhooks>,
}

/// Why a behaviour or a scenario is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct BadBehaviour {
    /// The field, as in `webhooks.events[2].share`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

fn bad(field: impl Into<String>, reason: impl Into<String>) -> BadBehaviour {
    BadBehaviour {
        field: field.into(),
        reason: reason.into(),
    }
}

impl Behaviour {
    /// Whether every value is in its range.
    ///
    /// # Errors
    /// The first one that is not.
    pub fn check(&self) -> Result<(), BadBehaviour> {
        if self
            .latency_ms
            .is_some_and(|latency| latency > LATENCY_MS_MAX)
        {
            return Err(bad("latency_ms", "must be from 0 to 600000"));
        }
        if let Some(at) = self
            .faults
            .iter()
            .flatten()
            .position(|fault| fault.count == Some(0))
        {
            return Err(bad(format!("faults[{at}].count"), "must be at least 1"));
        }
        self.webhooks.as_ref().map_or(Ok(()), Webhooks::check)
    }
}

impl Webhooks {
    fn check(&self) -> Result<(), BadBehaviour> {
        if self.events.len() > EVENTS_MAX {
            return Err(bad("webhooks.events", "are more than 16"));
        }
        let share = |field: &str, share: f64| match (0.0..=1.0).contains(&share) {
            true => Ok(()),
            false => Err(bad(field, "must be from 0 to 1")),
        };
        share("webhooks.duplicated", self.duplicated)?;
        share("webhooks.forged", self.forged)?;
        seconds("webhooks.late_s", self.late_s)?;
        for (at, happening) in self.events.iter().enumerate() {
            share(&format!("webhooks.events[{at}].share"), happening.share)?;
            seconds(&format!("webhooks.events[{at}].after_s"), happening.after_s)?;
        }
        Ok(())
    }
}

fn seconds(field: &str, seconds: f64) -> Result<(), BadBehaviour> {
    match (0.0..=SECONDS_MAX).contains(&seconds) {
        true => Ok(()),
        false => Err(bad(field, "must be from 0 to 86400 seconds")),
    }
}

impl Scenario {
    /// The steps for this kind in the order of their times.
    ///
    /// # Errors
    /// The first value that is out of range, or name that is no kind's.
    pub fn of(&self, kind: Kind) -> Result<Vec<(Duration, Behaviour)>, BadBehaviour> {
        if self.steps.len() > STEPS_MAX {
            return Err(bad("steps", "are more than 1000"));
        }
        let mut steps = Vec::new();
        for (at, step) in self.steps.iter().enumerate() {
            let within =
                |fault: BadBehaviour| bad(format!("steps[{at}].{}", fault.field), fault.reason);
            seconds("after_s", step.after_s).map_err(within)?;
            let mut is_meant = step.kinds.is_empty();
            for name in &step.kinds {
                let named: Kind = name.parse().map_err(|unknown: crate::UnknownKind| {
                    within(bad("kinds", unknown.to_string()))
                })?;
                is_meant |= named == kind;
            }
            let behaviour = Behaviour {
                latency_ms: step.latency_ms,
                faults: step.faults.clone(),
                webhooks: step.webhooks.clone(),
            };
            behaviour.check().map_err(within)?;
            if is_meant {
                steps.push((Duration::from_secs_f64(step.after_s), behaviour));
            }
        }
        steps.sort_by_key(|(after, _)| *after);
        Ok(steps)
    }
}

/// What is so now, besides the armed faults.
#[derive(Default)]
pub(crate) struct Mood {
    latency_ms: AtomicU64,
    webhooks: Mutex<Option<Arc<Webhooks>>>,
}

impl Mood {
    pub(crate) fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn set_latency_ms(&self, latency_ms: u64) {
        self.latency_ms.store(latency_ms, Ordering::Relaxed);
    }

    pub(crate) fn webhooks(&self) -> Option<Arc<Webhooks>> {
        let webhooks = self.webhooks.lock();
        webhooks.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_webhooks(&self, webhooks: Option<Webhooks>) {
        let mut place = self.webhooks.lock().unwrap_or_else(PoisonError::into_inner);
        *place = webhooks.map(Arc::new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(text: &str) -> Result<Vec<(Duration, Behaviour)>, BadBehaviour> {
        let scenario: Scenario = serde_json::from_str(text).unwrap();
        scenario.of(Kind::Mailgun)
    }

    #[test]
    fn a_scenario_holds_the_steps_of_its_kind_in_the_order_of_time() {
        let steps = scenario(
            r#"{"steps":[
                {"after_s":20,"faults":[]},
                {"kinds":["ses"],"latency_ms":9},
                {"after_s":10,"kinds":["mailgun","ses"],"faults":[{"kind":"500","count":null}]},
                {"latency_ms":80}
            ]}"#,
        );
        let steps = steps.unwrap();
        let times: Vec<u64> = steps.iter().map(|(after, _)| after.as_secs()).collect();
        assert_eq!(times, [0, 10, 20]);
        assert_eq!(steps[0].1.latency_ms, Some(80));
        assert_eq!(steps[1].1.faults.as_ref().map(Vec::len), Some(1));
        assert_eq!(steps[2].1.faults.as_ref().map(Vec::len), Some(0));
    }

    #[test]
    fn what_is_out_of_range_is_told_with_its_place() {
        for (step, field) in [
            (r#"{"after_s":-1}"#, "steps[0].after_s"),
            (r#"{"after_s":1e9}"#, "steps[0].after_s"),
            (r#"{"kinds":["sess"]}"#, "steps[0].kinds"),
            (r#"{"latency_ms":700000}"#, "steps[0].latency_ms"),
            (
                r#"{"faults":[{"kind":"429","count":0}]}"#,
                "steps[0].faults[0].count",
            ),
            (
                r#"{"webhooks":{"url":"x","forged":1.5}}"#,
                "steps[0].webhooks.forged",
            ),
            (
                r#"{"webhooks":{"url":"x","events":[{"event":"delivered","share":-0.1}]}}"#,
                "steps[0].webhooks.events[0].share",
            ),
        ] {
            let told = scenario(&format!(r#"{{"steps":[{step}]}}"#)).unwrap_err();
            assert_eq!(told.field, field);
        }
        assert!(serde_json::from_str::<Scenario>(r#"{"steps":[{"latencyms":1}]}"#).is_err());
    }
}
