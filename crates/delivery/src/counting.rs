//! What is counted of an attempt, and which counters of what may come back stand at 0 before it does:
//! Prometheus sees no increase in a series that begins at 1, so a first complaint would not show.
//!
//! Where nobody would tell, nothing stands at 0: it is not known.

use malote_core::event::{Blame, EventKind};
use malote_core::name::{MailboxProvider, TargetName};
use malote_core::provider::{Fault, Verdict};
use malote_core::stream::Class;

use crate::alert::Alert;
use crate::attempt::Carriage;
use crate::engine::Engine;
use crate::guard::reports_complaints;
use crate::metrics::{COMPLAINT, HOSTED, Metrics, REPEAT, REPLAY, UNSUBSCRIBE};
use crate::outcome::Attempt;
use crate::policy::Policy;
use crate::step::Step;

/// What a service may tell of mail that it took, without blame.
const TOLD: [EventKind; 4] = [
    EventKind::Delivered,
    EventKind::Deferred,
    EventKind::Complained,
    EventKind::Unsubscribed,
];
/// The same by mailbox provider; complaints only where somebody may report them.
const TOLD_BY_MAILBOX: [EventKind; 4] = [
    EventKind::Bounced,
    EventKind::Deferred,
    EventKind::Complained,
    EventKind::Unsubscribed,
];

/// Verdicts on one recipient's mail that shares and alerts are made of.
const REFUSALS: [Verdict; 3] = [
    Verdict::Deferred,
    Verdict::Rejected(Fault::Recipient),
    Verdict::Rejected(Fault::Reputation),
];

impl Engine {
    /// Counts one recipient of a call that ended.
    pub(crate) fn count_attempt(
        &self,
        carriage: &Carriage<'_>,
        (target, mailbox): (&TargetName, &MailboxProvider),
        attempt: &Attempt,
        step: &Step,
    ) {
        let word = attempt
            .result
            .as_ref()
            .map_or_else(|e| e.verdict.as_str(), |_| "sent");
        let metrics = &self.metrics;
        let name = &carriage.stream.name;
        let is_first = metrics.attempt(name, (target, Some(mailbox)), word);
        let stream = name.as_str();
        if attempt.result.is_ok() {
            let took = attempt
                .ended_at
                .duration_since(carriage.record.accepted_at)
                .as_secs_f64();
            metrics
                .to_sent
                .with_label_values(&[stream])
                .observe(took.max(0.0));
            if is_first {
                metrics.expect_refusals(stream, target, mailbox);
            }
            if is_first && carriage.policy.hears_of(&target.provider) {
                metrics.expect_from(stream, target.provider.as_str(), mailbox);
            }
        }
        if step.event == EventKind::ResendRisk {
            metrics.duplicate_risk.with_label_values(&[stream]).inc();
        }
    }
}

impl Metrics {
    /// Makes the rare counters of what is configured stand at 0.
    pub(crate) fn begin(&self, policy: &Policy) {
        self.begin_fixed();
        for (stream, own) in &policy.streams {
            let stream_name = stream.as_str();
            self.duplicate_risk.with_label_values(&[stream_name]);
            for class in [Class::Transactional, Class::Campaign] {
                let gauge = self
                    .stream_class
                    .with_label_values(&[stream_name, class.as_str()]);
                gauge.set(i64::from(own.class == class));
            }
            for provider in policy.providers.keys() {
                if !policy.router.reaches(stream, provider) {
                    continue;
                }
                let pair = [stream_name, provider.as_str()];
                self.failovers.with_label_values(&pair);
                if policy.hears_of(provider) {
                    self.expect(pair);
                }
            }
        }
        let alerts = Alert::ALL.iter().map(Alert::as_str);
        let alerts: Vec<&str> = alerts.chain([COMPLAINT, UNSUBSCRIBE]).collect();
        for provider in policy.providers.keys().map(|name| name.as_str()) {
            self.unmatched.with_label_values(&[provider]);
            for reason in [REPEAT, REPLAY] {
                self.repeated.with_label_values(&[provider, reason]);
            }
            for kind in &alerts {
                self.alerts.with_label_values(&[kind, provider]);
            }
        }
        self.alerts.with_label_values(&[UNSUBSCRIBE, HOSTED]);
    }

    /// What a service may tell of a stream's mail.
    fn expect(&self, [stream, provider]: [&str; 2]) {
        for kind in &TOLD {
            let labels = [stream, provider, kind.label(), "none"];
            self.told.with_label_values(&labels);
        }
        for blame in Blame::ALL {
            let labels = [stream, provider, EventKind::Bounced.label(), blame.as_str()];
            self.told.with_label_values(&labels);
        }
    }

    /// What a call may end with whose first time has to show.
    fn expect_refusals(&self, stream: &str, target: &TargetName, mailbox: &MailboxProvider) {
        let (provider, pool) = (target.provider.as_str(), target.pool.as_str());
        for verdict in REFUSALS {
            let labels = [stream, provider, pool, mailbox.as_str(), verdict.as_str()];
            self.attempts.with_label_values(&labels);
        }
    }

    /// What it may tell of mail to this mailbox provider.
    fn expect_from(&self, stream: &str, provider: &str, mailbox: &MailboxProvider) {
        for kind in &TOLD_BY_MAILBOX {
            // Of domains that are in no table some report complaints.
            let may_complain = reports_complaints(mailbox) || *mailbox == MailboxProvider::other();
            if *kind != EventKind::Complained || may_complain {
                let labels = [stream, provider, kind.label(), mailbox.as_str()];
                self.events.with_label_values(&labels);
            }
        }
    }
}
