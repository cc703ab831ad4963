//! What has become of messages, as the API shows it.

use std::collections::BTreeMap;

use malote_core::event::{Blame, State};
use malote_core::ledger::{
    AttemptView, Cancelled, DeliveryView, EventView, MessageView, SearchPage, SearchRow,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

use super::messages::written;

/// A message and everything that happened to it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Message)]
pub(crate) struct MessageBody {
    /// Its id.
    #[schema(example = "0192b3a0-0000-7000-8000-000000000000")]
    id: String,
    /// The stream it goes out on.
    stream: String,
    /// What put it into that stream: a rule's name, or the built-in reason.
    stream_reason: String,
    /// MAIL FROM; `null` is `<>`.
    mail_from: Option<String>,
    /// Size in octets.
    size_bytes: u64,
    /// When the gateway took custody.
    #[schema(format = DateTime)]
    accepted_at: String,
    /// Its tags.
    tags: Vec<String>,
    /// Its metadata.
    metadata: BTreeMap<String, String>,
    /// One for each recipient, in the envelope's order.
    deliveries: Vec<DeliveryBody>,
}

/// The message to one recipient.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct DeliveryBody {
    /// Its id.
    id: String,
    /// The recipient.
    recipient: String,
    /// Where it is in its life. `deferred`: our own retry is pending. `sent`: a provider has it.
    #[schema(schema_with = state_schema)]
    state: &'static str,
    /// The provider of the last attempt.
    provider: Option<String>,
    /// The pool of the last attempt.
    pool: Option<String>,
    /// The provider's id of it.
    provider_message_id: Option<String>,
    /// The route it takes.
    route: Option<String>,
    /// What put it on that route: a rule's name, or the stream.
    route_reason: String,
    /// Who runs the mailbox.
    mailbox_provider: Option<String>,
    /// When the next attempt is due.
    #[schema(format = DateTime)]
    due_at: Option<String>,
    /// Calls to providers, oldest first.
    attempts: Vec<AttemptBody>,
    /// What happened, oldest first.
    events: Vec<EventBody>,
}

/// One call to one provider.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub(crate) struct AttemptBody {
    /// Counted from 1.
    number: u32,
    /// When the call began.
    #[schema(format = DateTime)]
    started_at: String,
    /// When its outcome was known.
    #[schema(format = DateTime)]
    ended_at: Option<String>,
    /// The provider called.
    provider: String,
    /// The pool used.
    pool: String,
    /// `sent`, or what the failure means; `null` while it is under way.
    outcome: Option<String>,
    /// What the provider answered.
    reply: Option<ReplyBody>,
    /// Why this provider, and why others were passed over.
    reason: String,
}

/// What a provider answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reply)]
pub(crate) struct ReplyBody {
    /// HTTP status or SMTP reply code.
    code: Option<u16>,
    /// Enhanced status code, or the provider's own error code.
    enhanced: Option<String>,
    /// Its words.
    text: String,
}

/// One fact about a delivery.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct EventBody {
    /// When it happened.
    #[schema(format = DateTime)]
    at: String,
    /// What happened.
    #[schema(example = "delivered")]
    kind: String,
    /// By whose fault, where something failed.
    #[schema(example = "recipient")]
    class: Option<&'static str>,
    /// The provider that told.
    provider: Option<String>,
    /// In words.
    detail: String,
}

/// One page of a search.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SearchPage)]
pub(crate) struct SearchBody {
    /// Deliveries, newest message first.
    rows: Vec<SearchRowBody>,
    /// Give this as `cursor` for the next page; `null` on the last.
    next_cursor: Option<String>,
}

/// One delivery found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SearchRow)]
pub(crate) struct SearchRowBody {
    /// The message's id.
    #[schema(example = "0192b3a0-0000-7000-8000-000000000000")]
    id: String,
    /// The delivery's id.
    delivery: String,
    /// When the gateway took custody.
    #[schema(format = DateTime)]
    accepted_at: String,
    /// The stream.
    stream: String,
    /// The recipient.
    recipient: String,
    /// Where it is in its life.
    #[schema(schema_with = state_schema)]
    state: &'static str,
    /// The provider of the last attempt.
    provider: Option<String>,
    /// The last thing a provider said of it.
    last_reply: Option<String>,
}

/// How many deliveries a cancel reached.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cancelled)]
pub(crate) struct CancelledBody {
    /// Taken back.
    cancelled: u32,
    /// Already gone, or settled.
    too_late: u32,
}

fn state_schema() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(State::ALL.map(State::as_str)))
        .build()
}

impl From<MessageView> for MessageBody {
    fn from(view: MessageView) -> Self {
        Self {
            id: view.id.to_string(),
            stream: view.stream.into(),
            stream_reason: view.stream_reason,
            mail_from: view.mail_from,
            size_bytes: view.size_bytes,
            accepted_at: written(view.accepted_at),
            tags: view.tags,
            metadata: view.metadata,
            deliveries: view.deliveries.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<DeliveryView> for DeliveryBody {
    fn from(view: DeliveryView) -> Self {
        Self {
            id: view.id.into(),
            recipient: view.recipient,
            state: view.state.as_str(),
            provider: view.provider.map(Into::into),
            pool: view.pool.map(Into::into),
            provider_message_id: view.provider_message_id,
            route: view.route.map(Into::into),
            route_reason: view.route_reason,
            mailbox_provider: view.mailbox_provider.map(Into::into),
            due_at: view.due_at.map(written),
            attempts: view.attempts.into_iter().map(Into::into).collect(),
            events: view.events.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<AttemptView> for AttemptBody {
    fn from(view: AttemptView) -> Self {
        Self {
            number: view.number,
            started_at: written(view.started_at),
            ended_at: view.ended_at.map(written),
            provider: view.provider.into(),
            pool: view.pool.into(),
            outcome: view.outcome,
            reply: view.reply.map(|reply| ReplyBody {
                code: reply.code,
                text: reply.text().to_owned(),
                enhanced: reply.enhanced,
            }),
            reason: view.reason,
        }
    }
}

impl From<EventView> for EventBody {
    fn from(view: EventView) -> Self {
        Self {
            at: written(view.at),
            kind: view.kind.as_str().to_owned(),
            class: view.blame.map(Blame::as_str),
            provider: view.provider.map(Into::into),
            detail: view.detail,
        }
    }
}

impl From<SearchPage> for SearchBody {
    fn from(page: SearchPage) -> Self {
        Self {
            rows: page.rows.into_iter().map(Into::into).collect(),
            next_cursor: page.next_cursor,
        }
    }
}

impl From<SearchRow> for SearchRowBody {
    fn from(row: SearchRow) -> Self {
        Self {
            id: row.message.to_string(),
            delivery: row.delivery.into(),
            accepted_at: written(row.accepted_at),
            stream: row.stream.into(),
            recipient: row.recipient,
            state: row.state.as_str(),
            provider: row.provider.map(Into::into),
            last_reply: row.last_reply,
        }
    }
}

impl From<Cancelled> for CancelledBody {
    fn from(cancelled: Cancelled) -> Self {
        Self {
            cancelled: cancelled.cancelled,
            too_late: cancelled.too_late,
        }
    }
}
