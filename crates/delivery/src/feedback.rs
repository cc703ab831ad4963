//! Providers' events and their consequences: the timeline, suppression within its scope, and word
//! to the sender. All durable before the provider is told 2xx.

mod consequence;
mod count;
mod follow;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use malote_core::event::ProviderEvent;
use malote_core::id::DeliveryId;
use malote_core::name::ProviderName;
use malote_core::webhook::{EventSink, SinkUnavailable, Unread, Webhook};
use malote_store::{
    Applied, FirstTold, LastCall, Leased, MessageRecord, StoreError, Telling, UnreadRecord,
};

use crate::engine::Engine;
use crate::metrics::{REPEAT, REPLAY};

pub(crate) use consequence::campaign_scopes;

/// How long an event that came before its settlement is kept waiting; the strictest service wants
/// an answer within 5 s.
pub(crate) const EARLY_WAIT: Duration = Duration::from_secs(1);

/// Reasons of one request's unreadable parts that the log names.
const REASONS_MAX: usize = 3;

#[async_trait]
impl EventSink for Engine {
    async fn apply(
        &self,
        provider: &ProviderName,
        webhook: Webhook,
    ) -> Result<(), SinkUnavailable> {
        let now = self.clock.now();
        self.apply_webhook(provider, webhook, now)
            .await
            .map_err(|fault| {
                match fault {
                    TakeFault::Store(error) => {
                        tracing::error!(%provider, %error, "could not store a provider's events");
                    }
                    TakeFault::Early => tracing::debug!(%provider, "asked for early events again"),
                }
                SinkUnavailable
            })
    }
}

impl Engine {
    /// Says of each provider when it last told something, as an earlier process or another node
    /// has heard it.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(crate) async fn recall_last_told(&self) -> Result<(), StoreError> {
        let policy = self.policy.load();
        for (provider, at) in self.spool.last_told().await? {
            // A name that is configured no more is no label.
            if policy.providers.contains_key(&provider) {
                let last = self
                    .metrics
                    .last_event
                    .with_label_values(&[provider.as_str()]);
                last.set(at.as_second());
            }
        }
        Ok(())
    }

    /// The newest parts of webhooks that could not be read, newest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn unreadable(&self, limit: u16) -> Result<Vec<UnreadRecord>, StoreError> {
        self.spool.unreadable(limit).await
    }

    pub(crate) async fn apply_webhook(
        &self,
        provider: &ProviderName,
        webhook: Webhook,
        now: Timestamp,
    ) -> Result<(), TakeFault> {
        let Webhook { events, unreadable } = webhook;
        if !events.is_empty() {
            self.take_events(provider, events, now).await?;
        }
        // After what is asked for again as a whole: these would be kept once more with each repeat.
        self.set_unread_aside(provider, &unreadable, now).await?;
        Ok(())
    }

    async fn set_unread_aside(
        &self,
        provider: &ProviderName,
        unreadable: &[Unread],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if unreadable.is_empty() {
            return Ok(());
        }
        let reasons: BTreeSet<&str> = unreadable.iter().map(|own| &*own.reason).collect();
        let reasons: Vec<&str> = reasons.into_iter().take(REASONS_MAX).collect();
        tracing::warn!(%provider, parts = unreadable.len(), reasons = reasons.join("; "), "set unreadable events aside");
        let parts = unreadable.iter().map(Unread::to_string).collect();
        self.spool.keep_unreadable(provider, parts, now).await
    }

    async fn take_events(
        &self,
        provider: &ProviderName,
        events: Vec<ProviderEvent>,
        now: Timestamp,
    ) -> Result<(), TakeFault> {
        let applied = self.apply_each(provider, &events, now).await?;
        self.metrics
            .last_event
            .with_label_values(&[provider.as_str()])
            .set(now.as_second());
        self.ring_outlets();
        let policy = self.policy.load_full();
        let mut told = Vec::with_capacity(events.len());
        let mut is_early = false;
        for (event, about) in events.into_iter().zip(applied) {
            match about {
                About::Delivery(applied) => {
                    told.extend(self.told(provider, (event, *applied), now))
                }
                About::UnderWay => is_early = true,
                About::Nothing => self
                    .metrics
                    .unmatched
                    .with_label_values(&[provider.as_str()])
                    .inc(),
            }
        }
        for one in told.iter().filter(|one| one.is_new) {
            self.count_new(&policy, one);
        }
        self.follow(&policy, (provider, &told), now).await?;
        if is_early {
            return Err(TakeFault::Early);
        }
        Ok(())
    }

    /// What is to be followed; nothing of an event that was, or whose key is another's. What a
    /// repeat says is not believed: not every signature covers it.
    fn told<'a>(
        &self,
        provider: &'a ProviderName,
        (event, applied): (ProviderEvent, Applied),
        now: Timestamp,
    ) -> Option<Told<'a>> {
        let (event, is_new) = match applied.telling {
            Telling::New => (event, true),
            Telling::Unfollowed(first) => {
                self.metrics.repeat(provider, REPEAT);
                let FirstTold { at, blame, detail } = first;
                let event = ProviderEvent {
                    at,
                    blame,
                    detail,
                    ..event
                };
                (event, false)
            }
            Telling::Repeat => {
                self.metrics.repeat(provider, REPEAT);
                return None;
            }
            Telling::Replay => {
                self.metrics.repeat(provider, REPLAY);
                return None;
            }
        };
        Some(Told {
            provider,
            event,
            delivery: applied.delivery,
            message: applied.message,
            call: applied.call,
            is_new,
            now,
        })
    }

    /// Applies events; those that carry our own id and match nothing once more after a moment: a
    /// webhook can be faster than the settlement of the call that caused it.
    async fn apply_each(
        &self,
        provider: &ProviderName,
        events: &[ProviderEvent],
        now: Timestamp,
    ) -> Result<Vec<About>, StoreError> {
        let mut applied = self
            .spool
            .apply_events(provider, events.to_vec(), now)
            .await?;
        let early: Vec<(usize, DeliveryId)> = events
            .iter()
            .zip(&applied)
            .enumerate()
            .filter(|(_, (_, found))| found.is_none())
            .filter_map(|(place, (event, _))| Some((place, event.delivery?)))
            .collect();
        let mut under_way = Vec::new();
        if !early.is_empty() {
            tokio::time::sleep(EARLY_WAIT).await;
            let named = early.iter().map(|(_, id)| *id).collect();
            // Asked before, so that what is settled in between is found.
            under_way = self.spool.under_way(named).await?;
            let again = early.iter().map(|(place, _)| events[*place].clone());
            let again = self.spool.apply_events(provider, again.collect(), now);
            for ((place, _), found) in early.into_iter().zip(again.await?) {
                applied[place] = found;
            }
        }
        let about = |(event, found): (&ProviderEvent, Option<Applied>)| match found {
            Some(applied) => About::Delivery(Box::new(applied)),
            None if event.delivery.is_some_and(|id| under_way.contains(&id)) => About::UnderWay,
            None => About::Nothing,
        };
        Ok(events.iter().zip(applied).map(about).collect())
    }
}

/// Why what was told was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeFault {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is faster than the settlement of its own call, of which nothing is on record yet: it is
    /// to be told again.
    #[error("the call is not on record yet")]
    Early,
}

/// What an event is about.
enum About {
    Delivery(Box<Applied>),
    /// A delivery of which it cannot be said yet whether the provider has it.
    UnderWay,
    Nothing,
}

/// One event of a provider and the delivery it belongs to.
pub(crate) struct Told<'a> {
    provider: &'a ProviderName,
    /// As it was told first.
    pub(crate) event: ProviderEvent,
    /// As [`Applied::delivery`].
    pub(crate) delivery: Leased,
    pub(crate) message: MessageRecord,
    /// The last call by which the provider got it.
    pub(crate) call: Option<LastCall>,
    /// Whether it was told for the first time.
    is_new: bool,
    now: Timestamp,
}
