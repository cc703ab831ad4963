//! Mail that an outlet wants sent: into our own custody first, then to the provider it names.
//!
//! It goes by a route of its own that has this provider alone, in a stream of the credential. It is
//! the gateway's own mail: no event of it is ever told to an outlet, and nobody is told if it fails.

use std::collections::BTreeMap;

use jiff::Timestamp;
use malote_core::feed::FeedEvent;
use malote_core::id::MessageId;
use malote_core::message::{Channel, DsnParameters, has_bare_cr_lf};
use malote_core::name::{RouteName, StreamName};
use malote_core::outlet::{Outlet, OutletMail, Untold};
use malote_core::stream::{Class, Stream};
use malote_core::tracking::Tracking;
use malote_store::{IdempotencyRecord, Lane, MessageRecord, NewMessage, StoreError};

use crate::engine::Engine;
use crate::header::Header;
use crate::policy::Policy;

impl Engine {
    /// Queues the mail, once for each event however often it is told within a day.
    pub(crate) async fn take_outlet_mail(
        &self,
        outlet: &dyn Outlet,
        event: &FeedEvent,
        mail: OutletMail,
    ) -> Result<(), Untold> {
        let policy = self.policy.load_full();
        let (stream, route) = way(&policy, outlet, &mail)?;
        let header = Header::parse(&mail.body).ok();
        let message_id =
            header.and_then(|header| header.first("Message-ID").map(|id| id.into_owned()));
        let Some(message_id) = message_id.filter(|_| !has_bare_cr_lf(&mail.body)) else {
            return Err(Untold::Never {
                why: "the mail is not well formed".into(),
            });
        };
        let now = self.clock.now();
        let lane = Lane {
            class: stream.class,
            stream: stream.name.clone(),
            route,
        };
        let id = MessageId::new(now);
        let reason = format!("for outlet {}", outlet.name());
        let recipient = mail.to.to_string();
        let delivery = self
            .own_delivery(recipient, lane, &reason, now)
            .await
            .map_err(later)?;
        let lane = delivery.lane;
        let message = NewMessage {
            record: MessageRecord {
                stream_reason: format!("for outlet {}, of {}", outlet.name(), event.id),
                message_id_header: message_id.trim().to_owned(),
                ..record(id, stream, &mail, outlet, now)
            },
            body: mail.body,
            deliveries: vec![delivery],
            idempotency: Some(IdempotencyRecord {
                credential: outlet.credential().clone(),
                key: format!("outlet:{}:{}", outlet.name(), event.id),
                fingerprint: None,
                message: id,
                created_at: now,
            }),
        };
        self.spool.accept(vec![message]).await.map_err(later)?;
        self.wake(lane);
        Ok(())
    }
}

fn record(
    id: MessageId,
    stream: &Stream,
    mail: &OutletMail,
    outlet: &dyn Outlet,
    now: Timestamp,
) -> MessageRecord {
    MessageRecord {
        id,
        credential: outlet.credential().clone(),
        channel: Channel::Internal,
        stream: stream.name.clone(),
        class: stream.class,
        stream_reason: String::new(),
        mail_from: None,
        from: mail.from.clone(),
        message_id_header: String::new(),
        campaign: None,
        tracking_hash: None,
        one_click: None,
        tags: Vec::new(),
        metadata: BTreeMap::new(),
        dsn: DsnParameters::default(),
        tracking: Tracking::default(),
        asked_fields: BTreeMap::new(),
        size_bytes: mail.body.len() as u64,
        accepted_at: now,
        expires_at: now
            .checked_add(stream.retry.give_up_after)
            .unwrap_or(Timestamp::MAX),
    }
}

/// The stream and the route: of the credential's streams the first that reaches the provider
/// anyway, transactional ones before others, else the first.
fn way<'p>(
    policy: &'p Policy,
    outlet: &dyn Outlet,
    mail: &OutletMail,
) -> Result<(&'p Stream, RouteName), Untold> {
    let unusable = |why: String| Untold::Unusable { why };
    let route = policy.router.direct_route(&mail.provider).ok_or_else(|| {
        unusable(format!(
            "no provider {} is configured that could carry its mail",
            mail.provider
        ))
    })?;
    let credential = policy.credentials.get(outlet.credential());
    let names: Vec<StreamName> = credential.map_or_else(Vec::new, |c| c.streams.clone());
    let streams = names.iter().filter_map(|name| policy.streams.get(name));
    let rank = |stream: &&Stream| {
        let is_reached = policy.router.reaches(&stream.name, &mail.provider);
        (!is_reached, stream.class != Class::Transactional)
    };
    let stream = streams
        .min_by_key(rank)
        .ok_or_else(|| unusable(format!("credential {} has no stream", outlet.credential())))?;
    Ok((stream, route.clone()))
}

fn later(error: StoreError) -> Untold {
    Untold::Later {
        after: None,
        why: format!("the mail could not be kept: {error}"),
    }
}
