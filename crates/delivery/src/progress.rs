//! What the engine remembers of a delivery between attempts, kept with it as one line of JSON.

use jiff::Timestamp;
use malote_core::name::TargetName;
use serde::{Deserialize, Serialize};

/// Notes between attempts. A *pass* is one walk through the plan; when it is through without
/// success, the delivery backs off and the next pass begins with all targets again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Passes that ended without success; sets the back-off.
    #[serde(skip_serializing_if = "is_zero")]
    pub passes: u32,
    /// Targets that this pass has used up, with the verdict's word.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub used_up: Vec<(TargetName, String)>,
    /// Targets that refused it for good by a rule of their own, with the verdict's word: no pass
    /// asks them again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused_by: Vec<(TargetName, String)>,
    /// Since when each target has been failing transiently for this delivery.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failing_since: Vec<(TargetName, Timestamp)>,
    /// The target whose outcome nobody knows and which is asked again first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask_again: Option<TargetName>,
    /// The target that it stays with although it failed: greylisting servers want the same sender
    /// back, and a stream may be patient with a target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stay_with: Option<TargetName>,
    /// Whether it must be sent in a call of its own.
    #[serde(skip_serializing_if = "is_false")]
    pub is_single: bool,
    /// How often in a row no target could take it; sets the wait, and only the first is told on the
    /// timeline.
    #[serde(skip_serializing_if = "is_zero")]
    pub waits: u32,
    /// Whether it was told that its campaign is slowed, and whether a turn was given to it.
    #[serde(skip_serializing_if = "is_false")]
    pub was_slowed: bool,
    /// See `was_slowed`.
    #[serde(skip_serializing_if = "is_false")]
    pub has_turn: bool,
    /// Panics of an adapter over this delivery.
    #[serde(skip_serializing_if = "is_zero")]
    pub panics: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_false(b: &bool) -> bool {
    !*b
}

impl Progress {
    /// Reads the notes; notes of another version count as none.
    #[must_use]
    pub fn read(text: Option<&str>) -> Self {
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }

    /// Writes the notes; `None` if there are none.
    #[must_use]
    pub fn write(&self) -> Option<String> {
        if *self == Self::default() {
            return None;
        }
        serde_json::to_string(self).ok()
    }

    /// Whether this pass has used the target up, or the target refused for good.
    #[must_use]
    pub fn has_used_up(&self, target: &TargetName) -> bool {
        let mut gone = self.used_up.iter().chain(&self.refused_by);
        gone.any(|(used, _)| used == target)
    }

    /// Marks the target as used up in this pass.
    pub fn use_up(&mut self, target: &TargetName, verdict: &str) {
        if !self.has_used_up(target) {
            self.used_up.push((target.clone(), verdict.to_owned()));
        }
        self.ask_again = None;
        self.stay_with = None;
    }

    /// Marks the target as one that refused for good.
    pub fn refuse(&mut self, target: &TargetName, verdict: &str) {
        self.use_up(target, verdict);
        self.used_up.retain(|(used, _)| used != target);
        self.refused_by.push((target.clone(), verdict.to_owned()));
    }

    /// Since when the target has been failing; notes `now` if it began just now.
    pub fn failing_since(&mut self, target: &TargetName, now: Timestamp) -> Timestamp {
        if let Some((_, since)) = self
            .failing_since
            .iter()
            .find(|(failing, _)| failing == target)
        {
            return *since;
        }
        self.failing_since.push((target.clone(), now));
        now
    }

    /// Ends the pass: all targets are open again but those that refused for good.
    pub fn end_pass(&mut self) {
        self.passes = self.passes.saturating_add(1);
        self.used_up.clear();
        self.ask_again = None;
    }
}
