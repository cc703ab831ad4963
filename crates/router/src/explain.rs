//! Decisions as text: each rule tried with the condition that failed, the plan, and each excluded
//! target with its reason.

use std::fmt;

use malote_core::name::MailboxProvider;
use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::route::RouteDecision;
use crate::rule::RuleTrial;
use crate::stream::StreamDecision;

/// Why a message went, or would go, where it goes. `Display` writes it for people, serde for
/// machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Its stream.
    pub stream: StreamDecision,
    /// Whether an operator paused that stream, so that its mail waits.
    #[serde(default)]
    pub is_paused: bool,
    /// Its deliveries, in the envelope's order; none without a stream.
    pub deliveries: Vec<ExplainedDelivery>,
}

/// Why one delivery goes where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedDelivery {
    /// The recipient.
    pub recipient: String,
    /// Who runs the mailbox.
    pub mailbox_provider: MailboxProvider,
    /// Its route.
    pub route: RouteDecision,
    /// Its targets; `None` without a route.
    pub plan: Option<Plan>,
}

impl ExplainedDelivery {
    /// Why it waits, a line for each excluded target; empty if a target takes it now.
    #[must_use]
    pub fn why_it_waits(&self) -> Vec<String> {
        let plan = self.plan.as_ref().filter(|plan| plan.targets.is_empty());
        let excluded = plan.into_iter().flat_map(|plan| &plan.excluded);
        excluded
            .map(|(target, why)| format!("{target}: {why}"))
            .collect()
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stream.fmt(f)?;
        if let (true, Ok(stream)) = (self.is_paused, &self.stream.stream) {
            writeln!(
                f,
                "  waits for stream {stream}, which is paused (`malote queue resume --stream {stream}`)"
            )?;
        }
        for delivery in &self.deliveries {
            delivery.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for StreamDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stream {
            Ok(stream) => writeln!(f, "stream {stream}: {}", self.reason)?,
            Err(fault) => writeln!(f, "{fault}")?,
        }
        write_trace(f, &self.trace, "  ")
    }
}

impl fmt::Display for ExplainedDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (to, mailbox) = (&self.recipient, &self.mailbox_provider);
        writeln!(f, "to {to} (mailbox provider {mailbox})")?;
        match &self.route.route {
            Some(route) => writeln!(f, "  route {route}: {}", self.route.reason)?,
            None => writeln!(f, "  no route: its stream is not configured")?,
        }
        write_trace(f, &self.route.trace, "    ")?;
        self.plan.as_ref().map_or(Ok(()), |plan| plan.fmt(f))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.strategy {
            Some(strategy) => writeln!(f, "  plan of route {} ({strategy})", self.route)?,
            None => writeln!(f, "  no plan: route {} is not configured", self.route)?,
        }
        for (index, planned) in self.targets.iter().enumerate() {
            let (number, target) = (index + 1, &planned.target);
            writeln!(f, "    {number}. {target}: {}", planned.why)?;
        }
        for (target, why) in &self.excluded {
            writeln!(f, "    excluded {target}: {why}")?;
        }
        if let (true, Some(at)) = (self.targets.is_empty(), self.retry_at()) {
            writeln!(f, "    no target is left, next look at {at}")?;
        }
        Ok(())
    }
}

fn write_trace(f: &mut fmt::Formatter<'_>, trace: &[RuleTrial], indent: &str) -> fmt::Result {
    for trial in trace {
        let name = &trial.name;
        match &trial.first_failed_condition {
            Some(failed) => writeln!(
                f,
                "{indent}tried {name:?}: no, as this does not hold: {failed}"
            )?,
            None => writeln!(f, "{indent}tried {name:?}: yes")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
