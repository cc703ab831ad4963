//! Which targets are tried for a delivery, in which order, and why the others are not.

use std::collections::BTreeSet;

use jiff::Timestamp;
use malote_core::name::{RouteName, StreamName, TargetName};
use malote_core::provider::Capabilities;
use serde::{Deserialize, Serialize};

use crate::config::Strategy;
use crate::facts::PlanFacts;
use crate::health::{Exclusion, Health};
use crate::order::{Route, Target};
use crate::router::Router;

/// The chance and the order of events that strategies need, given from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Draw {
    /// Counts a route's plans, for `round_robin`.
    pub turn: u64,
    /// Any number, another for each plan, for `weighted`.
    pub seed: u64,
}

/// Where a delivery goes: every target of the route, and of the routes it falls back to, is either
/// planned or excluded, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The route that was planned: the one asked for, or the stream's if that one is gone.
    pub route: RouteName,
    /// The strategy of that route; `None` if neither is configured.
    pub strategy: Option<Strategy>,
    /// The targets in the order in which to try them.
    pub targets: Vec<PlannedTarget>,
    /// The targets that cannot take it now, in the order written.
    pub excluded: Vec<(TargetName, Exclusion)>,
}

/// One target of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedTarget {
    /// The target.
    pub target: TargetName,
    /// Why it has this place.
    pub why: String,
}

impl Plan {
    /// When the first of the excluded targets may be asked again; `None` if none is excluded for a
    /// known time.
    #[must_use]
    pub fn retry_at(&self) -> Option<Timestamp> {
        self.excluded.iter().filter_map(|(_, e)| e.retry_at()).min()
    }

    /// Whether no target can ever carry the message: there are some, and each one's capabilities
    /// exclude it.
    #[must_use]
    pub fn fits_nowhere(&self) -> bool {
        self.targets.is_empty()
            && !self.excluded.is_empty()
            && self.excluded.iter().all(|(_, e)| e.is_by_capability())
    }
}

impl Router {
    /// Plans a delivery on `route`: its targets by its strategy, then those of its fallback. The
    /// same arguments give the same plan.
    #[must_use]
    pub fn plan(
        &self,
        route: &RouteName,
        facts: &PlanFacts<'_>,
        health: &Health,
        draw: Draw,
    ) -> Plan {
        let Some((name, first)) = self.planned_route(route, facts.stream) else {
            return Plan {
                route: route.clone(),
                strategy: None,
                targets: Vec::new(),
                excluded: Vec::new(),
            };
        };
        let mut plan = Plan {
            route: name.clone(),
            strategy: Some(first.strategy),
            targets: Vec::with_capacity(first.targets.len()),
            excluded: Vec::new(),
        };
        let mut seen = BTreeSet::new();
        for (index, (name, route)) in self.chain(name).enumerate() {
            let mut usable = Vec::with_capacity(route.targets.len());
            for target in route.targets.iter().filter(|t| seen.insert(&t.name)) {
                match exclusion(target, facts, health) {
                    Some(why) => plan.excluded.push((target.name.clone(), why)),
                    None => usable.push(target),
                }
            }
            let ordered = route.order(usable, facts, draw);
            plan.targets
                .extend(ordered.into_iter().map(|placed| PlannedTarget {
                    target: placed.target.name.clone(),
                    why: if index == 0 {
                        placed.why
                    } else {
                        format!("by fallback to route {name}, {}", placed.why)
                    },
                }));
        }
        plan
    }

    /// The route itself, or the stream's if it is no longer configured.
    pub(crate) fn planned_route<'s>(
        &'s self,
        route: &RouteName,
        stream: &StreamName,
    ) -> Option<(&'s RouteName, &'s Route)> {
        self.route_of(route).or_else(|| {
            let stream = self.streams.get(stream)?;
            self.routes.get_key_value(&stream.route)
        })
    }

    fn route_of<'s>(&'s self, route: &RouteName) -> Option<(&'s RouteName, &'s Route)> {
        let configured = self.routes.get_key_value(route);
        configured.or_else(|| self.direct.get_key_value(route))
    }

    /// A route and the routes it falls back to. Compiling refused cycles, so this ends.
    pub(crate) fn chain<'s>(
        &'s self,
        route: &'s RouteName,
    ) -> impl Iterator<Item = (&'s RouteName, &'s Route)> {
        let first = self.route_of(route);
        std::iter::successors(first, |(_, route)| {
            self.routes.get_key_value(route.fallback.as_ref()?)
        })
    }
}

/// Why a target cannot take this delivery; what it can never carry comes before what it cannot
/// take now.
fn exclusion(target: &Target, facts: &PlanFacts<'_>, health: &Health) -> Option<Exclusion> {
    cannot_carry(&target.capabilities, facts)
        .or_else(|| health.exclusion(&target.name, facts.sender_domain, facts.mailbox_provider))
}

fn cannot_carry(able: &Capabilities, facts: &PlanFacts<'_>) -> Option<Exclusion> {
    if facts.size_bytes > able.message_bytes_max {
        return Some(Exclusion::TooLarge {
            max: able.message_bytes_max,
        });
    }
    let is_beyond_ascii = facts.needs_smtputf8 && !able.smtputf8;
    is_beyond_ascii.then_some(Exclusion::NoSmtpUtf8)
}

#[cfg(test)]
mod tests;
