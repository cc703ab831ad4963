//! Refused content: counted by stream, and told once a minute with the campaign it came from.

use jiff::Timestamp;
use malote_store::MessageRecord;

use crate::engine::Engine;

impl Engine {
    /// A receiver refused a message for its content, size or form. A refusal that is reported
    /// twice is counted twice.
    pub(crate) fn warn_of_content(&self, record: &MessageRecord, now: Timestamp) {
        self.metrics
            .content_refused
            .with_label_values(&[record.stream.as_str()])
            .inc();
        let campaign = record.campaign.as_deref().unwrap_or_default();
        if self.bursts.allows_warning(&record.stream, campaign, now) {
            tracing::warn!(
                stream = %record.stream,
                campaign,
                message.id = %record.id,
                "a receiver refused content"
            );
        }
    }
}
