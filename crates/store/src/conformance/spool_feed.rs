//! Promises about the feed: every event once, in the order of commits, for those who may see it.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a broken promise of the engine under test is a panic"
)]

use bytes::Bytes;
use malote_core::event::{Blame, EventKind, ProviderEvent};
use malote_core::feed::{FeedCursor, FeedPage, FeedQuery};
use malote_core::id::{DeliveryId, MessageId};
use malote_core::message::Channel;

use crate::conformance::mail::{self, at};
use crate::{LaneId, NodeSession, Spool};

/// Everything behind the beginning.
#[must_use]
pub fn everything() -> FeedQuery {
    FeedQuery {
        limit: 1_000,
        ..FeedQuery::default()
    }
}

/// Reads one page.
pub async fn page(spool: &dyn Spool, query: &FeedQuery) -> FeedPage {
    spool.feed(query).await.unwrap()
}

/// Recipient and word of each event of a page.
#[must_use]
pub fn told(page: &FeedPage) -> Vec<(&str, &str)> {
    let events = page.events.iter();
    events
        .map(|event| (event.recipient.as_str(), event.kind.as_str()))
        .collect()
}

async fn tell(spool: &dyn Spool, id: DeliveryId, kind: EventKind, raw: &'static [u8]) {
    let event = ProviderEvent {
        dedup_key: format!("{id} {}", kind.as_str()),
        at: at(5),
        blame: (kind == EventKind::Bounced).then_some(Blame::MailboxFull),
        kind,
        delivery: Some(id),
        provider_message_id: None,
        recipient: None,
        detail: "552 full".into(),
        raw: Bytes::from_static(raw),
    };
    let provider = "ses".parse().unwrap();
    let applied = spool.apply_events(&provider, vec![event], at(60)).await;
    assert!(applied.unwrap()[0].is_some());
}

async fn lane(spool: &dyn Spool) -> (NodeSession, LaneId) {
    (
        mail::session(spool, at(0)).await,
        mail::tx_lane(spool).await,
    )
}

/// Accepts, leases and settles as sent by `ses` what `change` makes of a message.
async fn sent(
    spool: &dyn Spool,
    (session, lane): (NodeSession, LaneId),
    recipients: &[&str],
    change: impl FnOnce(&mut crate::NewMessage),
) -> Vec<DeliveryId> {
    let mut message = mail::message(lane, at(0), recipients);
    change(&mut message);
    mail::accept(spool, message).await;
    let leased = spool.lease(session, lane, 100, at(0)).await.unwrap();
    let ids: Vec<_> = leased[0].deliveries.iter().map(|one| one.id).collect();
    let settlements = ids.iter().map(|id| mail::sent(*id, "p-1", at(1)));
    spool.settle(session, settlements.collect()).await.unwrap();
    ids
}

/// Accept, settlement, a provider's word and an operator's hand: each is one place further on.
pub async fn every_event_of_a_timeline_is_in_the_feed_in_the_order_of_commits(spool: &dyn Spool) {
    assert_eq!(
        page(spool, &everything()).await,
        FeedPage {
            events: Vec::new(),
            next: FeedCursor(0),
            is_end: true
        }
    );
    let way = lane(spool).await;
    let ids = sent(spool, way, &["a@x.test"], |_| {}).await;
    tell(spool, ids[0], EventKind::Delivered, b"").await;
    let waits = mail::accept(spool, mail::message(way.1, at(0), &["b@x.test"])).await;
    let filter = crate::QueueFilter {
        message: Some(waits),
        ..crate::QueueFilter::default()
    };
    let to = malote_core::event::State::Cancelled;
    spool
        .move_deliveries(&filter, to, "no", at(9))
        .await
        .unwrap();
    let all = page(spool, &everything()).await;
    assert_eq!(
        told(&all),
        [
            ("a@x.test", "accepted"),
            ("a@x.test", "sent"),
            ("a@x.test", "delivered"),
            ("b@x.test", "accepted"),
            ("b@x.test", "cancelled"),
        ]
    );
    assert!(all.is_end && all.events.is_sorted_by_key(|event| event.cursor));
    assert_eq!(all.next, all.events[4].cursor);
    let seqs: Vec<_> = all.events.iter().map(|event| event.id.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 1, 2]);
}

/// What a reader has to know without asking again.
pub async fn an_event_of_the_feed_tells_its_message_and_attempt(spool: &dyn Spool) {
    let way = lane(spool).await;
    let ids = sent(spool, way, &["Ann@x.test"], |message| {
        message.record.tags = vec!["welcome".into()];
        message.record.metadata.insert("order".into(), "7".into());
        message.record.campaign = Some("42".into());
        message.record.tracking_hash = Some("0123456789abc".into());
        message.record.one_click = Some("https://m.test/u/1".into());
    })
    .await;
    tell(spool, ids[0], EventKind::Bounced, b"").await;
    let all = page(spool, &everything()).await;
    let [accepted, _, bounced] = &all.events[..] else {
        panic!("{all:?}");
    };
    assert_eq!(
        (accepted.provider.as_ref(), accepted.pool.as_ref()),
        (None, None)
    );
    assert_eq!(accepted.provider_message_id, None);
    assert_eq!(
        bounced.id,
        malote_core::feed::EventId {
            delivery: ids[0],
            seq: 3
        }
    );
    assert_eq!(bounced.blame, Some(Blame::MailboxFull));
    assert_eq!((bounced.at, bounced.reply.as_str()), (at(5), "552 full"));
    assert_eq!(bounced.credential, "shop".parse().unwrap());
    assert_eq!(bounced.stream, "tx".parse().unwrap());
    assert_eq!(bounced.recipient, "Ann@x.test");
    assert_eq!(bounced.mail_from, Some("bounce@shop.test".parse().unwrap()));
    assert_eq!(bounced.provider, Some("ses".parse().unwrap()));
    assert_eq!(bounced.pool, Some("default".parse().unwrap()));
    assert_eq!(bounced.provider_message_id.as_deref(), Some("p-1"));
    assert_eq!(bounced.tags, ["welcome"]);
    assert_eq!(bounced.metadata["order"], "7");
    assert_eq!(bounced.campaign.as_deref(), Some("42"));
    assert_eq!(bounced.tracking_hash.as_deref(), Some("0123456789abc"));
    assert_eq!(bounced.one_click.as_deref(), Some("https://m.test/u/1"));
    let record = spool.message(ids[0].message).await.unwrap().unwrap();
    assert_eq!(record.one_click.as_deref(), Some("https://m.test/u/1"));
}

/// Each condition alone, and together; a condition never hides that there was more to look at.
pub async fn a_feed_is_filtered_by_every_condition(spool: &dyn Spool) {
    let way = lane(spool).await;
    let first = sent(spool, way, &["Ann@x.test", "bob@x.test"], |_| {}).await;
    let second = sent(spool, way, &["ann@x.test"], |message| {
        message.record.credential = "blog".parse().unwrap();
    })
    .await;
    tell(spool, first[1], EventKind::Opened, b"").await;
    let with = async |change: &dyn Fn(&mut FeedQuery)| {
        let mut query = everything();
        change(&mut query);
        let found = page(spool, &query).await;
        assert!(found.is_end);
        let told = told(&found).into_iter();
        (
            told.map(|(to, word)| format!("{to} {word}"))
                .collect::<Vec<_>>(),
            found.next,
        )
    };
    let (all, end) = with(&|_| {}).await;
    assert_eq!(all.len(), 7);
    let (theirs, next) = with(&|query| query.owner = Some("blog".parse().unwrap())).await;
    assert_eq!(theirs, ["ann@x.test accepted", "ann@x.test sent"]);
    assert_eq!(next, end);
    let ann = |query: &mut FeedQuery| query.recipient = Some("ANN@x.test".parse().unwrap());
    let (hers, next) = with(&ann).await;
    assert_eq!(
        hers,
        [
            "Ann@x.test accepted",
            "Ann@x.test sent",
            "ann@x.test accepted",
            "ann@x.test sent"
        ]
    );
    assert_eq!(next, end);
    let of_message = |query: &mut FeedQuery| query.message = Some(second[0].message);
    assert_eq!(with(&of_message).await, (theirs, end));
    let (opened, next) = with(&|query| query.kinds = vec![EventKind::Opened]).await;
    assert_eq!(
        (&opened[..], next),
        (&["bob@x.test opened".to_owned()][..], end)
    );
    let both = |query: &mut FeedQuery| {
        ann(query);
        query.kinds = vec![EventKind::Sent, EventKind::Opened];
        query.message = Some(first[0].message);
        query.owner = Some("shop".parse().unwrap());
    };
    assert_eq!(with(&both).await.0, ["Ann@x.test sent"]);
    let nobody = |query: &mut FeedQuery| query.message = Some(MessageId::new(at(0)));
    assert_eq!(with(&nobody).await, (Vec::new(), end));
    let (late, _) = with(&|query| query.since = Some(at(2))).await;
    assert_eq!(
        late, opened,
        "by when it became durable, not by the service's clock"
    );
    let (early, _) = with(&|query| query.until = Some(at(0))).await;
    assert!(early.len() == 3 && early.iter().all(|one| one.ends_with("accepted")));
}

/// Pages of one, while others write between any two of them.
pub async fn a_reader_that_goes_on_misses_nothing_and_sees_nothing_twice(spool: &dyn Spool) {
    let (_, lane) = lane(spool).await;
    let mut query = everything();
    query.limit = 1;
    query.owner = Some("shop".parse().unwrap());
    let (mut written, mut read) = (Vec::new(), Vec::new());
    for round in 0..20 {
        let recipient = format!("r{round}@x.test");
        let mut message = mail::message(lane, at(0), &[&recipient]);
        if round % 3 == 0 {
            message.record.credential = "blog".parse().unwrap();
        } else {
            written.push(recipient.clone());
        }
        mail::accept(spool, message).await;
        let found = page(spool, &query).await;
        assert!(found.next >= query.after && found.events.len() <= 1);
        read.extend(found.events.into_iter().map(|event| event.recipient));
        query.after = found.next;
    }
    for _ in 0..20 {
        let found = page(spool, &query).await;
        read.extend(found.events.into_iter().map(|event| event.recipient));
        query.after = found.next;
    }
    assert_eq!(read, written);
    let ahead = FeedQuery {
        after: FeedCursor(1 << 50),
        ..everything()
    };
    assert_eq!(page(spool, &ahead).await.next, ahead.after);
}

/// Notifications and mail of outlets must not make events that make mail.
pub async fn the_gateway_s_own_mail_is_not_in_the_feed(spool: &dyn Spool) {
    let (_, lane) = lane(spool).await;
    let mut message = mail::message(lane, at(0), &["a@x.test"]);
    message.record.channel = Channel::Internal;
    let id = mail::accept(spool, message).await;
    let all = page(spool, &everything()).await;
    assert_eq!((all.events.len(), all.next), (0, FeedCursor(1)));
    let own = FeedQuery {
        message: Some(id),
        ..everything()
    };
    assert_eq!(page(spool, &own).await.events, []);
}

/// A message takes its events with it, and a reader's place stays one.
pub async fn retention_takes_events_out_of_the_feed_and_never_gives_a_place_twice(
    spool: &dyn Spool,
) {
    let way = lane(spool).await;
    let first = sent(spool, way, &["a@x.test"], |_| {}).await;
    tell(spool, first[0], EventKind::Delivered, b"{}").await;
    let seen = page(spool, &everything()).await;
    assert_eq!(seen.events.len(), 3);
    assert_eq!(spool.retain(at(70), at(70)).await.unwrap(), (1, 1));
    let gone = page(spool, &everything()).await;
    assert_eq!(gone.events, []);
    sent(spool, way, &["b@x.test"], |_| {}).await;
    let query = FeedQuery {
        after: seen.next,
        ..everything()
    };
    let new = page(spool, &query).await;
    assert_eq!(told(&new), [("b@x.test", "accepted"), ("b@x.test", "sent")]);
}

/// To the octet; nothing is made up for events without it.
pub async fn what_a_service_told_is_kept_beside_the_event(spool: &dyn Spool) {
    let way = lane(spool).await;
    let ids = sent(spool, way, &["a@x.test", "b@x.test"], |_| {}).await;
    tell(spool, ids[1], EventKind::Delivered, b"{\"event\":\"\xff\"}").await;
    tell(spool, ids[1], EventKind::Opened, b"").await;
    let raw = spool.raw_events(ids[1].message).await.unwrap();
    let found: Vec<_> = raw
        .iter()
        .map(|one| (one.id.to_string(), &one.raw[..]))
        .collect();
    let id = format!("evt_{}_1_3", ids[1].message.simple());
    assert_eq!(found, [(id, &b"{\"event\":\"\xff\"}"[..])]);
    let unknown = MessageId::new(at(0));
    assert_eq!(spool.raw_events(unknown).await.unwrap(), []);
}

/// Whatever came of it, and nothing that the gateway wrote itself.
pub async fn it_is_known_when_each_provider_last_told_something(spool: &dyn Spool) {
    assert_eq!(spool.last_told().await.unwrap(), []);
    let way = lane(spool).await;
    let ids = sent(spool, way, &["a@x.test", "b@x.test"], |_| {}).await;
    assert_eq!(spool.last_told().await.unwrap(), []);
    tell(spool, ids[0], EventKind::Delivered, b"{}").await;
    let told = spool.last_told().await.unwrap();
    assert_eq!(told, [("ses".parse().unwrap(), at(60))]);
    tell(spool, ids[1], EventKind::Opened, b"").await;
    assert_eq!(spool.last_told().await.unwrap(), told);
}
