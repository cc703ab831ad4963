//! A compiled rule, and what trying it says.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::condition::{Condition, Subject};

/// A compiled rule.
#[derive(Debug)]
pub(crate) struct Rule<T> {
    pub(crate) name: Arc<str>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) then: T,
}

impl<T> Rule<T> {
    pub(crate) fn try_on(&self, subject: &Subject<'_>) -> RuleTrial {
        let failed = self.conditions.iter().find(|c| !c.holds(subject));
        RuleTrial {
            name: Arc::clone(&self.name),
            matched: failed.is_none(),
            first_failed_condition: failed.map(|c| Arc::clone(&c.text)),
        }
    }
}

/// One rule tried on one message or delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleTrial {
    /// The rule's name, or what else was tried.
    pub name: Arc<str>,
    /// Whether it decided.
    pub matched: bool,
    /// The first condition that did not hold, as configured; never a recipient's address.
    pub first_failed_condition: Option<Arc<str>>,
}

impl RuleTrial {
    pub(crate) fn skipped(name: impl Into<Arc<str>>, why: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            matched: false,
            first_failed_condition: Some(why.into()),
        }
    }
}
