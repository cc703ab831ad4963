//! Promises about reading: timelines, search, counters, and what retention takes.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a broken promise of the engine under test is a panic"
)]

use malote_core::event::{EventKind, State};
use malote_core::id::{DeliveryId, MessageId};
use malote_core::ledger::Search;
use malote_core::stream::Class;

use crate::conformance::mail::{self, at};
use crate::{LaneId, Spool, StoreError};

fn everything() -> Search {
    Search {
        limit: 200,
        ..Search::default()
    }
}

async fn found(spool: &dyn Spool, query: Search) -> Vec<String> {
    let page = spool.search(&query).await.unwrap();
    assert_eq!(page.next_cursor, None);
    page.rows.into_iter().map(|row| row.recipient).collect()
}

/// Deliveries, attempts and events in their order, with what the last attempt came to.
pub async fn a_view_tells_the_whole_story(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let mut message = mail::message(lane, at(0), &["a@x.test", "not an address"]);
    message.deliveries[1].state = State::Bounced;
    message.record.tags = vec!["welcome".into()];
    let id = mail::accept(spool, message).await;
    let leased = spool.lease(session, lane, 10, at(0)).await.unwrap();
    assert_eq!(mail::recipients(&leased), ["a@x.test"]);
    let delivery = leased[0].deliveries[0].id;
    let mut first = mail::sent(delivery, "p-1", at(1));
    first.next.state = State::Deferred;
    first.next.due_at = Some(at(2));
    let attempt = first.attempt.as_mut().unwrap();
    attempt.outcome = "transient".into();
    attempt.provider_message_id = None;
    first.events = vec![mail::event(at(1), EventKind::Deferred)];
    spool.settle(session, vec![first]).await.unwrap();
    spool.lease(session, lane, 10, at(2)).await.unwrap();
    let mut second = mail::sent(delivery, "p-2", at(3));
    let attempt = second.attempt.as_mut().unwrap();
    attempt.start.number = 2;
    attempt.start.target = mail::target("relay");
    spool.settle(session, vec![second]).await.unwrap();

    let view = spool.view(id).await.unwrap().unwrap();
    assert_eq!((view.id, &view.tags[..]), (id, &["welcome".to_owned()][..]));
    assert_eq!(view.mail_from.as_deref(), Some("bounce@shop.test"));
    let one = &view.deliveries[0];
    assert_eq!((one.state, one.due_at), (State::Sent, None));
    assert_eq!(one.provider, Some("relay".parse().unwrap()));
    assert_eq!(one.pool, Some("default".parse().unwrap()));
    assert_eq!(one.provider_message_id.as_deref(), Some("p-2"));
    let outcomes: Vec<_> = one.attempts.iter().map(|a| a.outcome.as_deref()).collect();
    assert_eq!(outcomes, [Some("transient"), Some("sent")]);
    assert_eq!(one.attempts[1].reply.as_ref().unwrap().text(), "ok");
    let kinds: Vec<_> = one.events.iter().map(|event| &event.kind).collect();
    assert_eq!(
        kinds,
        [&EventKind::Accepted, &EventKind::Deferred, &EventKind::Sent]
    );
    assert_eq!(view.deliveries[1].recipient, "not an address");
    assert_eq!(spool.view(MessageId::new(at(0))).await.unwrap(), None);
}

async fn three_messages(spool: &dyn Spool) -> LaneId {
    let lane = mail::tx_lane(spool).await;
    let mut first = mail::message(lane, at(0), &["Ann@x.test"]);
    first.record.tags = vec!["welcome".into()];
    mail::accept(spool, first).await;
    let mut second = mail::message(lane, at(3_600), &["bob@x.test", "ann@x.test"]);
    second.record.stream = "news".parse().unwrap();
    second.deliveries[0].state = State::Held;
    mail::accept(spool, second).await;
    let mut third = mail::message(lane, at(7_200), &["carl@x.test"]);
    third.record.credential = "blog".parse().unwrap();
    third.record.tags = vec!["welcome".into(), "blog".into()];
    mail::accept(spool, third).await;
    lane
}

/// Each condition alone, and together.
pub async fn a_search_finds_by_every_condition(spool: &dyn Spool) {
    three_messages(spool).await;
    let all = ["carl@x.test", "ann@x.test", "bob@x.test", "Ann@x.test"];
    assert_eq!(found(spool, everything()).await, all);
    let mut query = everything();
    query.recipient = Some("ANN@x.test".parse().unwrap());
    assert_eq!(
        found(spool, query.clone()).await,
        ["ann@x.test", "Ann@x.test"]
    );
    query.tag = Some("welcome".into());
    assert_eq!(found(spool, query).await, ["Ann@x.test"]);
    let mut query = everything();
    query.tag = Some("welcome".into());
    assert_eq!(
        found(spool, query.clone()).await,
        ["carl@x.test", "Ann@x.test"]
    );
    query.owner = Some("shop".parse().unwrap());
    assert_eq!(found(spool, query).await, ["Ann@x.test"]);
    for (state, wanted) in [(State::Held, "bob@x.test"), (State::Sent, "")] {
        let mut query = everything();
        query.state = Some(state);
        let wanted: Vec<_> = Some(wanted).filter(|w| !w.is_empty()).into_iter().collect();
        assert_eq!(found(spool, query).await, wanted);
    }
    let mut query = everything();
    query.stream = Some("news".parse().unwrap());
    assert_eq!(found(spool, query).await, ["ann@x.test", "bob@x.test"]);
    let mut query = everything();
    query.since = Some(at(7_200));
    assert_eq!(found(spool, query).await, ["carl@x.test"]);
}

/// Pages follow each other without gap or repeat; a foreign cursor is refused.
pub async fn a_search_is_paged_newest_first(spool: &dyn Spool) {
    three_messages(spool).await;
    let mut query = everything();
    query.limit = 1;
    let mut rows = Vec::new();
    for _ in 0..4 {
        let page = spool.search(&query).await.unwrap();
        rows.extend(page.rows.into_iter().map(|row| row.recipient));
        query.cursor = page.next_cursor;
    }
    assert_eq!(query.cursor, None, "four rows are four pages");
    let all = ["carl@x.test", "ann@x.test", "bob@x.test", "Ann@x.test"];
    assert_eq!(rows, all);
    for cursor in ["", "x", "' OR 1", &"f".repeat(35), &"é".repeat(18)] {
        query.cursor = Some(cursor.to_owned());
        let refused = spool.search(&query).await;
        assert!(matches!(refused, Err(StoreError::BadCursor)), "{cursor}");
    }
}

/// Depths, states and octets are right after every change.
pub async fn counters_follow_every_change(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let news = mail::lane_key(Class::Campaign, "news");
    spool.lane(&news).await.unwrap();
    let session = mail::session(spool, at(0)).await;
    let count = async |state: State| {
        let stats = spool.stats(at(10)).await.unwrap();
        let key = ("tx".parse().unwrap(), state);
        stats.by_state.get(&key).copied().unwrap_or(0)
    };
    let message = mail::message(lane, at(0), &["a@x.test", "b@x.test", "c@x.test"]);
    let octets = message.record.size_bytes;
    let id = mail::accept(spool, message).await;
    let stats = spool.stats(at(10)).await.unwrap();
    assert_eq!((count(State::Queued).await, stats.body_bytes), (3, octets));
    assert_eq!(
        stats.oldest_due_at.get(&"tx".parse().unwrap()),
        Some(&at(0))
    );
    let depths = spool.lanes(at(10)).await.unwrap();
    assert_eq!(
        (depths[0].waiting, depths[0].oldest_due_at),
        (3, Some(at(0)))
    );
    assert_eq!((depths[1].waiting, depths[1].oldest_due_at), (0, None));
    spool.lease(session, lane, 3, at(0)).await.unwrap();
    assert_eq!(count(State::Queued).await, 0);
    let of = |index: u16| DeliveryId { message: id, index };
    let batch = vec![
        mail::sent(of(0), "p-1", at(1)),
        mail::step(of(1), State::Deferred, Some(at(20))),
        mail::step(of(2), State::Unknown, None),
    ];
    spool.settle(session, batch).await.unwrap();
    assert_eq!(count(State::Deferred).await, 1);
    assert_eq!(count(State::Unknown).await, 1);
    let depths = spool.lanes(at(10)).await.unwrap();
    assert_eq!((depths[0].waiting, depths[0].oldest_due_at), (1, None));
    assert_eq!(spool.stats(at(10)).await.unwrap().body_bytes, octets);
    spool.lease(session, lane, 3, at(20)).await.unwrap();
    let mut last = mail::sent(of(1), "p-2", at(21));
    last.attempt.as_mut().unwrap().start.number = 2;
    spool.settle(session, vec![last]).await.unwrap();
    let stats = spool.stats(at(30)).await.unwrap();
    assert_eq!((stats.body_bytes, stats.oldest_due_at.len()), (0, 0));
    assert_eq!(stats.by_state.len(), 1, "only the unknown one is left");
}

/// Bodies go first, timelines later, what is not settled never.
pub async fn retention_drops_bodies_then_messages(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let mut ids = Vec::new();
    for (recipient, size) in [("a@x.test", 10), ("b@x.test", 100_000)] {
        let mut message = mail::message(lane, at(0), &[recipient]);
        message.body = vec![b'x'; size].into();
        message.record.size_bytes = size as u64;
        message.record.tags = vec!["t".into()];
        ids.push(mail::accept(spool, message).await);
    }
    let leased = spool.lease(session, lane, 10, at(0)).await.unwrap();
    let settled = leased
        .iter()
        .map(|one| mail::sent(one.deliveries[0].id, "p", at(10)));
    spool.settle(session, settled.collect()).await.unwrap();
    let waits = mail::accept(spool, mail::message(lane, at(0), &["c@x.test"])).await;

    assert_eq!(spool.retain(at(10), at(10)).await.unwrap(), (0, 0));
    assert_eq!(spool.retain(at(11), at(0)).await.unwrap(), (2, 0));
    for id in &ids {
        assert_eq!(spool.body(*id).await.unwrap(), None);
        let view = spool.view(*id).await.unwrap().unwrap();
        assert_eq!(view.deliveries[0].attempts.len(), 1);
    }
    assert_eq!(spool.retain(at(11), at(11)).await.unwrap(), (0, 2));
    assert_eq!(spool.view(ids[0]).await.unwrap(), None);
    assert_eq!(found(spool, everything()).await, ["c@x.test"]);
    assert!(spool.body(waits).await.unwrap().is_some());
}
