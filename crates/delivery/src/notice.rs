//! After custody somebody must be told of a final failure (RFC 5321 6.1): delivery status
//! notifications for credentials that hear of it in no other way.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use malote_core::credential::OnFinalFailure;
use malote_core::event::{EventKind, State};
use malote_core::id::{DeliveryId, MessageId};
use malote_core::message::{Channel, DsnParameters, Notify};
use malote_core::returned::ReturnPath;
use malote_core::stream::Stream;
use malote_store::{
    IdempotencyRecord, Lane, LaneId, Leased, MessageRecord, NewDelivery, NewMessage, StoreError,
};

use crate::dsn::{self, DsnInput};
use crate::engine::Engine;
use crate::intake::{event, stream_for_notices};
use crate::policy::Policy;

/// The delivery that failed.
#[derive(Clone, Copy)]
pub(crate) struct Failed<'a> {
    pub(crate) id: DeliveryId,
    /// As the client wrote it, if it is no address.
    pub(crate) recipient: &'a str,
    pub(crate) notify: Option<Notify>,
    pub(crate) orcpt: Option<&'a str>,
}

impl<'a> From<&'a Leased> for Failed<'a> {
    fn from(delivery: &'a Leased) -> Self {
        Self {
            id: delivery.id,
            recipient: delivery.recipient.as_str(),
            notify: delivery.notify,
            orcpt: delivery.orcpt.as_deref(),
        }
    }
}

/// A delivery that has failed for good, and what was said of it last.
pub(crate) struct Failure<'a> {
    pub(crate) record: &'a MessageRecord,
    pub(crate) body: &'a Bytes,
    pub(crate) delivery: Failed<'a>,
    pub(crate) state: State,
    pub(crate) reply: Option<&'a malote_core::provider::Reply>,
}

impl Engine {
    /// Queues a DSN for a final failure if the credential wants one. Done before the failure is
    /// settled, under a key of its own: a crash in between makes no second one.
    pub(crate) async fn notify_failure(
        &self,
        policy: &Policy,
        failure: &Failure<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = format!("dsn:{}", failure.delivery.id);
        let Some(notice) = self.notice(policy, failure, key, now).await? else {
            return Ok(());
        };
        let lanes: Vec<LaneId> = notice.deliveries.iter().map(|own| own.lane).collect();
        self.spool.accept(vec![notice]).await?;
        self.metrics.dsns.with_label_values(&["queued"]).inc();
        lanes.into_iter().for_each(|lane| self.wake(lane));
        Ok(())
    }

    /// A DSN for a final failure if the credential wants one, to be kept once under its key.
    pub(crate) async fn notice(
        &self,
        policy: &Policy,
        failure: &Failure<'_>,
        key: String,
        now: Timestamp,
    ) -> Result<Option<NewMessage>, StoreError> {
        let Some(to) = failure.record.mail_from.clone() else {
            return Ok(None);
        };
        if !is_notice_wanted(policy, failure.record, failure.delivery.notify) {
            return Ok(None);
        }
        // What came back makes no mail to an address at which mail comes back.
        let comes_back = |path: &ReturnPath| path.domain == to.domain();
        if policy.return_path.as_ref().is_some_and(comes_back) {
            return Ok(None);
        }
        let credential = policy.credentials.get(&failure.record.credential);
        let Some(credential) = credential else {
            return Ok(None);
        };
        let stream = stream_for_notices(policy, &credential.streams);
        let Some(stream) = stream.and_then(|name| policy.streams.get(&name)) else {
            return Ok(None);
        };
        if !self
            .bursts
            .allows_notice(&credential.name, policy.bounds.dsn_per_minute, now)
        {
            self.metrics.dsns.with_label_values(&["over_rate"]).inc();
            return Ok(None);
        }
        let id = MessageId::new(now);
        let input = DsnInput {
            id,
            now,
            reporting_mta: &policy.bounds.hostname,
            record: failure.record,
            body: failure.body,
            recipient: failure.delivery.recipient,
            orcpt: failure.delivery.orcpt,
            state: failure.state,
            reply: failure.reply,
        };
        let Some(notice) = dsn::compose(&input) else {
            return Ok(None);
        };
        let lane = Lane {
            class: stream.class,
            stream: stream.name.clone(),
            route: stream.route.clone(),
        };
        let reason = "delivery status notification";
        let delivery = self.own_delivery(to.to_string(), lane, reason, now).await?;
        Ok(Some(NewMessage {
            record: notice_record(id, failure, stream, &notice, now),
            body: notice.body,
            deliveries: vec![delivery],
            idempotency: Some(IdempotencyRecord {
                credential: credential.name.clone(),
                key,
                fingerprint: None,
                message: id,
                created_at: now,
            }),
        }))
    }

    /// A delivery of the gateway's own mail.
    pub(crate) async fn own_delivery(
        &self,
        recipient: String,
        lane: Lane,
        reason: &str,
        now: Timestamp,
    ) -> Result<NewDelivery, StoreError> {
        let lane = self.lane(&lane).await?;
        Ok(NewDelivery {
            recipient,
            notify: None,
            orcpt: None,
            lane,
            route_reason: reason.to_owned(),
            mailbox_provider: None,
            state: State::Queued,
            due_at: now,
            events: vec![event(now, EventKind::Accepted, None, "")],
        })
    }
}

/// Whether the sender of a message wants a notice where this delivery fails.
pub(crate) fn is_notice_wanted(
    policy: &Policy,
    record: &MessageRecord,
    notify: Option<Notify>,
) -> bool {
    let credential = policy.credentials.get(&record.credential);
    credential.is_some_and(|own| own.on_final_failure == OnFinalFailure::Dsn)
        && record.mail_from.is_some()
        && notify.is_none_or(|notify| notify.failure)
        && record.channel != Channel::Internal
}

fn notice_record(
    id: MessageId,
    failure: &Failure<'_>,
    stream: &Stream,
    notice: &dsn::Dsn,
    now: Timestamp,
) -> MessageRecord {
    MessageRecord {
        id,
        credential: failure.record.credential.clone(),
        channel: Channel::Internal,
        stream: stream.name.clone(),
        class: stream.class,
        stream_reason: format!("delivery status notification of {}", failure.delivery.id),
        mail_from: None,
        from: notice.from.clone(),
        message_id_header: notice.message_id.clone(),
        campaign: None,
        tracking_hash: None,
        one_click: None,
        tags: Vec::new(),
        metadata: BTreeMap::new(),
        tracking: malote_core::tracking::Tracking::default(),
        asked_fields: BTreeMap::new(),
        dsn: DsnParameters::default(),
        size_bytes: notice.body.len() as u64,
        accepted_at: now,
        expires_at: now
            .checked_add(stream.retry.give_up_after)
            .unwrap_or(Timestamp::MAX),
    }
}
