//! What is counted of events, each once, in memory: metrics, alerts, what is thought of targets. A
//! crash takes no more of it than of anything else that is counted there.

use malote_core::event::{Blame, EventKind};
use malote_core::name::MailboxProvider;

use crate::breaker::Signal;
use crate::engine::Engine;
use crate::feedback::Told;
use crate::feedback::consequence::{Consequence, consequence};
use crate::health::signal_of_event;
use crate::policy::Policy;

impl Engine {
    /// Counts an event that was told for the first time.
    pub(super) fn count_new(&self, policy: &Policy, told: &Told<'_>) {
        let stream = &told.delivery.stream;
        if let Consequence::Suppress { reason, .. } = consequence(policy, &told.event, stream) {
            self.warn_of_spread(policy, (stream, told.provider.as_str()), reason);
        }
        self.count_event(told);
        self.count_told(policy, told);
        self.heed_reputation(told);
        if told.event.kind == EventKind::Bounced && told.event.blame == Some(Blame::Content) {
            self.warn_of_content(&told.message, told.now);
        }
    }

    fn count_event(&self, told: &Told<'_>) {
        let Told {
            provider,
            event,
            delivery,
            message,
            now,
            ..
        } = told;
        let stream = delivery.stream.as_str();
        let mailbox = delivery.mailbox_provider.as_ref();
        let mailbox = mailbox.map_or("other", MailboxProvider::as_str);
        self.metrics
            .events
            .with_label_values(&[stream, provider.as_str(), event.kind.label(), mailbox])
            .inc();
        self.metrics.tell(provider, &delivery.stream, event, *now);
        if event.kind == EventKind::Delivered {
            let accepted_at = message.accepted_at;
            let at = event.at.clamp(accepted_at, accepted_at.max(*now));
            self.metrics
                .to_delivered
                .with_label_values(&[stream, provider.as_str(), mailbox])
                .observe(at.duration_since(accepted_at).as_secs_f64());
        }
    }

    /// A block counts against the target at that mailbox provider, a delivery for it.
    fn heed_reputation(&self, told: &Told<'_>) {
        let signal = signal_of_event(&told.event);
        let (Some(signal), Some(mailbox)) = (signal, &told.delivery.mailbox_provider) else {
            return;
        };
        if signal == Signal::Works && !self.registry.is_doubted(told.provider, mailbox) {
            return;
        }
        if let Some(call) = &told.call {
            self.registry.told(call, mailbox, signal, told.now);
        }
    }
}
