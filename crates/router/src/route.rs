//! Which route a delivery takes, and why.

use std::fmt;
use std::sync::Arc;

use malote_core::name::{RouteName, StreamName};
use serde::{Deserialize, Serialize};

use crate::condition::Subject;
use crate::facts::DeliveryFacts;
use crate::router::Router;
use crate::rule::RuleTrial;

/// The route of a delivery, with every rule that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteDecision {
    /// The route; `None` only if the stream is not configured (any more).
    pub route: Option<RouteName>,
    /// What decided.
    pub reason: RouteReason,
    /// The rules tried, in order, up to the one that decided.
    pub trace: Vec<RuleTrial>,
}

/// What put a delivery on its route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "name", rename_all = "snake_case")]
pub enum RouteReason {
    /// The operator's rule of this name.
    Rule(Arc<str>),
    /// The `route` of this stream.
    Stream(StreamName),
}

impl fmt::Display for RouteReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(name) => f.write_str(name),
            Self::Stream(stream) => write!(f, "the route of stream {stream}"),
        }
    }
}

impl Router {
    /// Which route a delivery takes: the first route rule that matches, else its stream's.
    #[must_use]
    pub fn route(&self, facts: &DeliveryFacts<'_>) -> RouteDecision {
        let subject = Subject::delivery(facts);
        let mut trace = Vec::new();
        for rule in &self.route_rules {
            let trial = rule.try_on(&subject);
            let matched = trial.matched;
            trace.push(trial);
            if matched {
                return RouteDecision {
                    route: Some(rule.then.clone()),
                    reason: RouteReason::Rule(Arc::clone(&rule.name)),
                    trace,
                };
            }
        }
        RouteDecision {
            route: self.streams.get(facts.stream).map(|s| s.route.clone()),
            reason: RouteReason::Stream(facts.stream.clone()),
            trace,
        }
    }
}
