//! From submission to message: classify, check, clean the header, and make it durable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::event::{Blame, EventKind, State};
use malote_core::id::{DeliveryId, MessageId};
use malote_core::intake::{
    Accepted, AcceptedRecipient, Intake, Openness, RecipientStatus, Refusal,
};
use malote_core::message::{Channel, IdempotencyKey, Submission};
use malote_core::name::StreamName;
use malote_core::provider::Reply;
use malote_core::stream::{Class, Stream};
use malote_router::{DeliveryFacts, MessageFacts};
use malote_store::{
    EventRecord, IdempotencyRecord, Lane, LaneId, MessageRecord, NewDelivery, NewMessage,
    StoreError,
};

use crate::asked_fields;
use crate::engine::Engine;
use crate::feedback_id;
use crate::guard;
use crate::idempotency;
use crate::keys::{Keyed, Ready};
use crate::list_unsubscribe;
use crate::notice::{Failed, Failure};
use crate::policy::Policy;
use crate::prepare::{Prepared, prepare};

/// When to come back to a full queue.
const QUEUE_RETRY_AFTER: Duration = Duration::from_secs(60);

#[async_trait]
impl Intake for Engine {
    async fn accept(&self, submission: Submission) -> Result<Accepted, Refusal> {
        let result = self.take(submission).await;
        if let Err(refusal) = &result {
            self.metrics
                .refused
                .with_label_values(&[reason_word(refusal)])
                .inc();
        }
        result
    }

    fn can_accept(&self) -> Result<(), Refusal> {
        if *self.openness.borrow() == Openness::Closed {
            return Err(Refusal::Draining);
        }
        let max = self.policy.load().bounds.queue_bytes_max;
        let is_full = self.queue_bytes.load(Ordering::Relaxed) >= max.saturating_add(max / 10);
        if is_full { Err(queue_full()) } else { Ok(()) }
    }
}

/// What a submission needs besides itself on its way in.
struct Way<'a> {
    policy: &'a Policy,
    stream: &'a Stream,
    facts: &'a MessageFacts<'a>,
    /// What the timeline says of the header.
    note: &'a str,
    now: Timestamp,
    due_at: Timestamp,
    state: State,
}

impl Engine {
    async fn take(&self, mut submission: Submission) -> Result<Accepted, Refusal> {
        let policy = self.policy.load_full();
        // The door took its credential when the message began; after a reload since then the
        // message would be half of the old configuration and half of the new.
        if let Some(credential) = policy.credentials.get(&submission.credential.name) {
            submission.credential = Arc::clone(credential);
        }
        let prepared = prepare(&submission)?;
        let Some(key) = idempotency::key_of(&submission, &prepared) else {
            return self.keep(&policy, &submission, prepared, None).await;
        };
        let credential = &submission.credential.name;
        let in_flight = self.keys_in_flight.enter(credential, &key.key);
        let keyed = Keyed {
            in_flight: in_flight.ok_or(Refusal::InProgress)?,
            key,
        };
        let known = self.spool.idempotent(credential, &keyed.key.key).await;
        match known.map_err(refused)? {
            Some(record) => self.replay(&record, keyed.key.fingerprint).await,
            None => self.keep(&policy, &submission, prepared, Some(keyed)).await,
        }
    }

    async fn keep(
        &self,
        policy: &Policy,
        submission: &Submission,
        mut prepared: Prepared,
        keyed: Option<Keyed>,
    ) -> Result<Accepted, Refusal> {
        let now = self.clock.now();
        let id = MessageId::new(now);
        let facts = self.facts(submission, &prepared, now);
        if let Some(asked) = &submission.stream
            && !submission.credential.may_use(asked)
        {
            return Err(Refusal::StreamNotAllowed(asked.to_string()));
        }
        let decision = policy.router.stream(&facts);
        let reason = decision.in_words();
        let stream = decision.stream.map_err(|_| Refusal::StreamMissing)?;
        let stream = policy.streams.get(&stream).ok_or(Refusal::StreamMissing)?;
        self.check_room(policy, stream.class, prepared.size())?;
        let due_at = submission.send_at.map_or(now, |at| at.max(now));
        let state = match due_at > now {
            true => State::Scheduled,
            false => State::Queued,
        };
        let offer = list_unsubscribe::offer(policy, stream, submission, &prepared);
        let way = Way {
            policy,
            stream,
            facts: &facts,
            note: offer.note,
            now,
            due_at,
            state,
        };
        let (deliveries, recipients, mut lanes) = self.deliveries(submission, &way).await?;
        let record = record(id, submission, &prepared, &way, reason);
        if !is_internal(submission.channel) {
            feedback_id::add(policy, &record, &mut prepared);
        }
        let sent = std::mem::take(&mut prepared.headers);
        let body = list_unsubscribe::finish(policy, prepared, &offer, (id, now));
        let record = MessageRecord {
            size_bytes: body.len() as u64,
            asked_fields: asked_fields::kept(&policy.router, &sent, &body),
            ..record
        };
        let key = keyed.as_ref().map(|keyed| keyed.key.clone());
        let original = (&record, &body);
        let notices = self
            .notices_of_impossible(policy, submission, original, key.as_ref())
            .await?;
        let own = notices.iter().flat_map(|notice| &notice.deliveries);
        lanes.extend(own.map(|delivery| delivery.lane));
        let message = NewMessage {
            record,
            body,
            deliveries,
            idempotency: key.map(|key| kept_key(submission, key, (id, now))),
        };
        let accepted = Accepted {
            id,
            stream: stream.name.clone(),
            recipients,
            is_replay: false,
        };
        let ready = Ready {
            message,
            notices,
            lanes,
        };
        self.commit(submission, ready, accepted, keyed).await
    }

    fn facts<'a>(
        &self,
        submission: &'a Submission,
        prepared: &'a Prepared,
        now: Timestamp,
    ) -> MessageFacts<'a> {
        let mut facts = MessageFacts {
            credential: &submission.credential.name,
            asked_stream: submission.stream.as_ref(),
            sender: Some(&prepared.from),
            headers: &prepared.headers,
            tags: &submission.tags,
            metadata: &submission.metadata,
            size_bytes: prepared.size(),
            email_id_recipients: 0,
            now,
        };
        if let Some(email_id) = facts.email_id() {
            let recipients = submission.recipients.len() as u64;
            facts.email_id_recipients =
                self.bursts
                    .add(&submission.credential.name, email_id, recipients, now);
        }
        facts
    }

    fn check_room(&self, policy: &Policy, class: Class, size: u64) -> Result<(), Refusal> {
        let max = policy.bounds.queue_bytes_max;
        let max = match class {
            Class::Campaign => max,
            Class::Transactional => max.saturating_add(max / 10),
        };
        let bytes = self
            .queue_bytes
            .load(Ordering::Relaxed)
            .saturating_add(size);
        if bytes > max {
            Err(queue_full())
        } else {
            Ok(())
        }
    }

    /// One delivery per recipient, what to answer for each, and the lanes to wake.
    async fn deliveries(
        &self,
        submission: &Submission,
        way: &Way<'_>,
    ) -> Result<(Vec<NewDelivery>, Vec<AcceptedRecipient>, Vec<LaneId>), Refusal> {
        let addresses: Vec<EmailAddress> = submission
            .recipients
            .iter()
            .map(|r| r.address.clone())
            .collect();
        let scopes = way.policy.scopes_of(&way.stream.name, way.stream.class);
        let suppressed = match self.shared.suppressed(&addresses, &scopes, way.now).await {
            // Custody needs the spool alone: each lease is asked for again, and none leaves before
            // it could be.
            Err(StoreError::Unavailable(_)) => vec![None; addresses.len()],
            answered => answered.map_err(refused)?,
        };
        let count = addresses.len() + submission.impossible.len();
        let (mut deliveries, mut answers) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut lanes = Vec::with_capacity(1);
        for (recipient, suppression) in submission.recipients.iter().zip(suppressed) {
            let mut delivery = self.delivery(&recipient.address, way).await?;
            delivery.notify = recipient.notify;
            delivery.orcpt.clone_from(&recipient.orcpt);
            let mut answer = AcceptedRecipient::queued(&recipient.address);
            if let Some(suppression) = suppression {
                delivery.state = State::Suppressed;
                delivery.events.push(event(
                    way.now,
                    EventKind::Suppressed,
                    suppression.reason.blame(),
                    &suppression.detail,
                ));
                answer.status = RecipientStatus::Suppressed;
                self.metrics.settle(
                    &way.stream.name,
                    State::Suppressed.as_str(),
                    delivery.mailbox_provider.as_ref(),
                );
            } else if !lanes.contains(&delivery.lane) {
                lanes.push(delivery.lane);
            }
            deliveries.push(delivery);
            answers.push(answer);
        }
        for impossible in &submission.impossible {
            let lane = self.lane_of(way, way.stream.route.clone()).await?;
            let bounced = event(
                way.now,
                EventKind::Bounced,
                Some(Blame::Recipient),
                &impossible.reason,
            );
            deliveries.push(NewDelivery {
                recipient: impossible.text.clone(),
                notify: impossible.notify,
                orcpt: impossible.orcpt.clone(),
                lane,
                route_reason: "none: the address cannot exist".into(),
                mailbox_provider: None,
                state: State::Bounced,
                due_at: way.now,
                events: vec![event(way.now, EventKind::Accepted, None, ""), bounced],
            });
            self.metrics
                .settle(&way.stream.name, State::Bounced.as_str(), None);
            let status = RecipientStatus::Bounced;
            answers.push(AcceptedRecipient {
                address: impossible.text.clone(),
                status,
            });
        }
        Ok((deliveries, answers, lanes))
    }

    /// What the sender is told of recipients that no mail can be sent to, to be kept together with
    /// the message. A repeat of its key repeats theirs.
    async fn notices_of_impossible(
        &self,
        policy: &Policy,
        submission: &Submission,
        (record, body): (&MessageRecord, &Bytes),
        key: Option<&IdempotencyKey>,
    ) -> Result<Vec<NewMessage>, Refusal> {
        let mut notices = Vec::new();
        let indexes = (0_u16..).skip(submission.recipients.len());
        for (index, impossible) in indexes.zip(&submission.impossible) {
            let id = DeliveryId {
                message: record.id,
                index,
            };
            // RFC 3463 3.2: the address is no address.
            let reply = Reply::new(Some(550), Some("5.1.3".into()), &impossible.reason);
            let failure = Failure {
                record,
                body,
                delivery: Failed {
                    id,
                    recipient: &impossible.text,
                    notify: impossible.notify,
                    orcpt: impossible.orcpt.as_deref(),
                },
                state: State::Bounced,
                reply: Some(&reply),
            };
            let key = match key {
                Some(key) => format!("dsn:{index}:{}", key.key),
                None => format!("dsn:{id}"),
            };
            let notice = self.notice(policy, &failure, key, record.accepted_at);
            notices.extend(notice.await.map_err(refused)?);
        }
        Ok(notices)
    }

    async fn delivery(
        &self,
        address: &EmailAddress,
        way: &Way<'_>,
    ) -> Result<NewDelivery, Refusal> {
        let mailbox_provider = self
            .mx
            .mailbox_provider(&way.policy.router, address.domain())
            .await;
        let decision = way.policy.router.route(&DeliveryFacts {
            message: way.facts,
            stream: &way.stream.name,
            recipient: address,
            mailbox_provider: &mailbox_provider,
        });
        let route = decision.route.unwrap_or_else(|| way.stream.route.clone());
        Ok(NewDelivery {
            recipient: address.to_string(),
            notify: None,
            orcpt: None,
            lane: self.lane_of(way, route).await?,
            route_reason: decision.reason.to_string(),
            mailbox_provider: Some(mailbox_provider),
            state: way.state,
            due_at: way.due_at,
            events: vec![event(way.now, EventKind::Accepted, None, way.note)],
        })
    }

    async fn lane_of(
        &self,
        way: &Way<'_>,
        route: malote_core::name::RouteName,
    ) -> Result<LaneId, Refusal> {
        let lane = Lane {
            class: way.stream.class,
            stream: way.stream.name.clone(),
            route,
        };
        self.lane(&lane).await.map_err(refused)
    }
}

fn kept_key(
    submission: &Submission,
    key: IdempotencyKey,
    (message, created_at): (MessageId, Timestamp),
) -> IdempotencyRecord {
    IdempotencyRecord {
        credential: submission.credential.name.clone(),
        key: key.key,
        fingerprint: key.fingerprint,
        message,
        created_at,
    }
}

fn record(
    id: MessageId,
    submission: &Submission,
    prepared: &Prepared,
    way: &Way<'_>,
    stream_reason: String,
) -> MessageRecord {
    let give_up_after = way.stream.retry.give_up_after;
    MessageRecord {
        id,
        credential: submission.credential.name.clone(),
        channel: submission.channel,
        stream: way.stream.name.clone(),
        class: way.stream.class,
        stream_reason,
        mail_from: submission.mail_from.clone(),
        from: prepared.from.clone(),
        message_id_header: prepared.message_id(id, &way.policy.bounds.hostname),
        campaign: way.facts.campaign().and_then(guard::campaign_name),
        tracking_hash: prepared.tracking_hash.clone(),
        one_click: prepared.one_click.clone(),
        tags: submission.tags.clone(),
        metadata: submission.metadata.clone(),
        tracking: submission.tracking.or(prepared.tracking),
        asked_fields: BTreeMap::new(),
        dsn: submission.dsn.clone(),
        size_bytes: 0,
        accepted_at: way.now,
        expires_at: way
            .due_at
            .checked_add(give_up_after)
            .unwrap_or(Timestamp::MAX),
    }
}

pub(crate) fn event(
    at: Timestamp,
    kind: EventKind,
    blame: Option<Blame>,
    detail: &str,
) -> EventRecord {
    EventRecord {
        at,
        kind,
        blame,
        provider: None,
        detail: detail.to_owned(),
    }
}

fn queue_full() -> Refusal {
    Refusal::QueueFull {
        retry_after: QUEUE_RETRY_AFTER,
    }
}

/// What a peer is told of a fault of the store. The log has the rest.
pub(crate) fn refused(error: StoreError) -> Refusal {
    match error {
        StoreError::Full => Refusal::StorageFull,
        StoreError::Busy => Refusal::QueueFull {
            retry_after: Duration::from_secs(1),
        },
        StoreError::Closed | StoreError::Unavailable(_) => Refusal::Unavailable,
        StoreError::BadCursor | StoreError::Damaged(_) | StoreError::Engine(_) => {
            tracing::error!(%error, "refused a submission: the store failed");
            Refusal::Unavailable
        }
    }
}

const fn reason_word(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::StreamNotAllowed(_) => "stream_not_allowed",
        Refusal::StreamMissing => "stream_missing",
        Refusal::FromNotAllowed { .. } => "from_not_allowed",
        Refusal::Malformed { .. } => "malformed",
        Refusal::TooLarge { .. } => "too_large",
        Refusal::Loop => "loop",
        Refusal::KeyReused => "key_reused",
        Refusal::InProgress => "in_progress",
        Refusal::KeyHeld => "key_held",
        Refusal::KeyUnchecked => "key_unchecked",
        Refusal::Draining => "draining",
        Refusal::QueueFull { .. } => "queue_full",
        Refusal::StorageFull => "storage_full",
        Refusal::Unavailable => "unavailable",
    }
}

/// Whether a submission is the gateway's own.
pub(crate) const fn is_internal(channel: Channel) -> bool {
    match channel {
        Channel::Internal => true,
        Channel::Http(_) | Channel::Smtp(_) => false,
    }
}

/// The stream in which the gateway's own mail (DSNs) to a credential's senders goes.
pub(crate) fn stream_for_notices(policy: &Policy, allowed: &[StreamName]) -> Option<StreamName> {
    let class_of = |name: &StreamName| policy.streams.get(name).map(|stream| stream.class);
    let transactional = allowed
        .iter()
        .find(|name| class_of(name) == Some(Class::Transactional));
    transactional
        .or_else(|| allowed.iter().find(|name| class_of(name).is_some()))
        .cloned()
}
