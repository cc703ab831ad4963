//! What the guard counts: each recipient of an attempt when it ends, each event when it is new.

use malote_core::event::{Blame, EventKind, State};
use malote_core::name::{MailboxProvider, TargetName};
use malote_store::GuardTally;

use crate::attempt::Carriage;
use crate::engine::Engine;
use crate::feedback::Told;
use crate::intake::is_internal;
use crate::policy::Policy;
use crate::step::Step;

/// Mailbox providers that report their users' complaints one by one: Yahoo's Complaint Feedback
/// Loop, Microsoft's Junk Mail Reporting Program, Mail.ru's and Seznam's own, and those of the
/// Universal Feedback Loop. Google and Apple are not among them.
const REPORTING: [&str; 10] = [
    "fastmail",
    "libero",
    "locaweb",
    "mail_ru",
    "microsoft",
    "seznam",
    "terra",
    "uol",
    "yahoo",
    "yandex",
];

/// Whether this mailbox provider tells services who complains.
pub(crate) fn reports_complaints(mailbox: &MailboxProvider) -> bool {
    REPORTING.contains(&mailbox.as_str())
}

impl Engine {
    /// Counts one recipient of a call that ended. What nobody knows counts as sent.
    pub(crate) fn count_send(
        &self,
        carriage: &Carriage<'_>,
        (target, mailbox): (&TargetName, &MailboxProvider),
        step: &Step,
    ) {
        let is_taken = step.state == State::Sent;
        let is_over = is_taken || step.suppress || step.state == State::Unknown;
        let record = carriage.record;
        if carriage.stream.guard.is_none() || is_internal(record.channel) || !is_over {
            return;
        }
        let provider = carriage.policy.providers.get(&target.provider);
        let is_told = provider.is_some_and(|entry| entry.tells_events);
        let tally = GuardTally {
            sends: 1,
            reported: u64::from(is_taken && is_told && reports_complaints(mailbox)),
            bounces: u64::from(step.suppress),
            complaints: 0,
        };
        let campaign = record.campaign.as_deref();
        self.guard.count(&carriage.stream.name, campaign, &tally);
    }

    /// Counts a bounce or a complaint that was told later, the first time it is told, and a bounce
    /// only of a delivery that had not bounced before. What is told of mail from before a resume no
    /// longer counts.
    pub(crate) fn count_told(&self, policy: &Policy, told: &Told<'_>) {
        let Some(tally) = tally_of(told) else {
            return;
        };
        let stream = &told.delivery.stream;
        let is_guarded = |name| policy.streams.get(name).is_some_and(|s| s.guard.is_some());
        if !is_guarded(stream) || is_internal(told.message.channel) {
            return;
        }
        let campaign = told.message.campaign.as_deref();
        let is_from_before = |since| {
            told.call
                .as_ref()
                .is_some_and(|call| call.started_at < since)
        };
        if self
            .guard
            .resumed_at(stream, campaign)
            .is_some_and(is_from_before)
        {
            return;
        }
        self.guard.count(stream, campaign, &tally);
    }
}

fn tally_of(told: &Told<'_>) -> Option<GuardTally> {
    let had_not_bounced = matches!(
        told.delivery.state,
        State::Sending | State::Sent | State::Unknown | State::Delivered
    );
    match (&told.event.kind, told.event.blame) {
        (EventKind::Bounced, Some(Blame::Recipient)) if had_not_bounced => Some(GuardTally {
            bounces: 1,
            ..GuardTally::default()
        }),
        (EventKind::Complained, _) => Some(GuardTally {
            complaints: 1,
            ..GuardTally::default()
        }),
        _ => None,
    }
}
