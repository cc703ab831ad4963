//! What an event asks for besides its place on the timeline. Pure.

use malote_core::event::{Blame, EventKind, ProviderEvent};
use malote_core::name::StreamName;
use malote_core::stream::Class;
use malote_store::{SuppressionReason, SuppressionScope};

use crate::policy::Policy;

/// What an event asks for besides its place on the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Consequence {
    None,
    Suppress {
        scopes: Vec<SuppressionScope>,
        reason: SuppressionReason,
    },
    /// Lift what an unsubscribe stopped.
    Lift(Vec<SuppressionScope>),
    CountSoftBounce,
}

/// What an event asks for. Among bounces only the recipient's own fault suppresses at once; an
/// unsubscribe or complaint reaches the campaign stream it came from, and from anywhere else every
/// campaign stream; transactional mail is stopped by neither.
pub(super) fn consequence(
    policy: &Policy,
    event: &ProviderEvent,
    stream: &StreamName,
) -> Consequence {
    match (&event.kind, event.blame) {
        (EventKind::Bounced, Some(Blame::Recipient)) => Consequence::Suppress {
            scopes: vec![SuppressionScope::Global],
            reason: SuppressionReason::HardBounce,
        },
        (EventKind::Bounced, Some(Blame::MailboxFull)) => Consequence::CountSoftBounce,
        (EventKind::Complained, _) => Consequence::Suppress {
            scopes: campaign_scopes(policy, stream),
            reason: SuppressionReason::Complaint,
        },
        (EventKind::Unsubscribed, _) => Consequence::Suppress {
            scopes: campaign_scopes(policy, stream),
            reason: SuppressionReason::Unsubscribe,
        },
        (EventKind::Resubscribed, _) => Consequence::Lift(campaign_scopes(policy, stream)),
        (
            EventKind::Bounced
            | EventKind::Accepted
            | EventKind::Sent
            | EventKind::Delivered
            | EventKind::Deferred
            | EventKind::FailedOver
            | EventKind::Opened
            | EventKind::Clicked
            | EventKind::Suppressed
            | EventKind::Rejected
            | EventKind::Held
            | EventKind::Released
            | EventKind::Expired
            | EventKind::Cancelled
            | EventKind::Unknown
            | EventKind::ResendRisk
            | EventKind::Quarantined
            | EventKind::Other(_),
            _,
        ) => Consequence::None,
    }
}

pub(crate) fn campaign_scopes(policy: &Policy, stream: &StreamName) -> Vec<SuppressionScope> {
    let is_campaign = |name: &StreamName| {
        policy
            .streams
            .get(name)
            .is_some_and(|s| s.class == Class::Campaign)
    };
    if is_campaign(stream) {
        return vec![SuppressionScope::Stream(stream.clone())];
    }
    let campaigns = policy.streams.keys().filter(|name| is_campaign(name));
    campaigns.cloned().map(SuppressionScope::Stream).collect()
}
