//! Complaints and unsubscribes that stop every campaign, since the mail they are about is of none.

use malote_core::name::StreamName;
use malote_core::stream::Class;
use malote_store::SuppressionReason;

use crate::engine::Engine;
use crate::metrics::{COMPLAINT, UNSUBSCRIBE};
use crate::policy::Policy;

impl Engine {
    /// Warns where somebody calls mail spam, or leaves a list, that is no campaign's: a rule puts
    /// campaigns into the wrong stream, or a stream is no longer configured. `teller` is the
    /// provider, or the word in its place.
    pub(crate) fn warn_of_spread(
        &self,
        policy: &Policy,
        (stream, teller): (&StreamName, &str),
        reason: SuppressionReason,
    ) {
        let kind = match reason {
            SuppressionReason::Complaint => COMPLAINT,
            SuppressionReason::Unsubscribe => UNSUBSCRIBE,
            SuppressionReason::HardBounce
            | SuppressionReason::MailboxFull
            | SuppressionReason::Manual => return,
        };
        let own = policy.streams.get(stream);
        if own.is_some_and(|own| own.class == Class::Campaign) {
            return;
        }
        let class = own.map_or("none, it is not configured", |own| own.class.as_str());
        tracing::error!(alert = kind, provider = teller, %stream, class, "stopped every campaign stream for a recipient");
        let counter = self.metrics.alerts.with_label_values(&[kind, teller]);
        counter.inc();
    }
}
