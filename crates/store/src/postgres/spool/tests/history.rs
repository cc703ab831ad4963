//! What is kept, and how it goes.

use malote_core::event::{EventKind, State};
use malote_core::id::DeliveryId;

use super::{fresh, open};
use crate::conformance::mail::{self, at};
use crate::postgres::tests::cluster::Cluster;
use crate::{Spool, StoreError};

#[tokio::test]
async fn a_day_goes_as_a_whole_once_none_of_its_messages_is_left() {
    const DAY: i64 = 86_400;
    let database = Cluster::of_all().database().await;
    // A plan that older servers choose by themselves: names of all tables are looked at.
    let plan = format!(
        "ALTER DATABASE {} SET enable_nestloop = off",
        database.name()
    );
    database.run(&plan).await;
    let spool = open(&database.settings()).await.spool;
    let lane = mail::tx_lane(&spool).await;
    let session = mail::session(&spool, at(0)).await;
    for time in [-9 * DAY, -8 * DAY] {
        mail::accept(&spool, mail::message(lane, at(time), &["a@x.test"])).await;
    }
    let days = async || {
        let (client, connection) = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls)
            .await
            .unwrap();
        let task = tokio::spawn(connection);
        let sql = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'malote.events'::regclass";
        let count: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        drop(client);
        task.await.unwrap().unwrap();
        count
    };
    assert_eq!(days().await, 6, "today, three to come, and two old ones");
    let leased = spool.lease(session, lane, 1, at(0)).await.unwrap();
    let sent = mail::sent(leased[0].deliveries[0].id, "p-1", at(-9 * DAY));
    spool.settle(session, vec![sent]).await.unwrap();
    assert_eq!(spool.retain(at(-DAY), at(-DAY)).await.unwrap(), (1, 1));
    assert_eq!(days().await, 5, "the other one still waits");
    mail::accept(&spool, mail::message(lane, at(-9 * DAY), &["a@x.test"])).await;
}

#[tokio::test]
async fn a_text_that_the_database_has_no_place_for_does_not_stop_a_settlement() {
    let (spool, _database) = fresh().await;
    let lane = mail::tx_lane(&spool).await;
    let session = mail::session(&spool, at(0)).await;
    mail::accept(&spool, mail::message(lane, at(0), &["a@x.test"])).await;
    let leased = spool.lease(session, lane, 1, at(0)).await.unwrap();
    let id = leased[0].deliveries[0].id;
    let mut sent = mail::sent(id, "p\0-1", at(1));
    sent.next.progress = Some("no\0te".into());
    sent.events[0].detail = "told\0".into();
    spool.settle(session, vec![sent]).await.unwrap();
    let view = spool.view(id.message).await.unwrap().unwrap();
    let event = view.deliveries[0].events.last().unwrap();
    assert_eq!(
        (&event.kind, &event.detail[..]),
        (&EventKind::Sent, "told\u{fffd}")
    );
}

#[tokio::test]
async fn a_damaged_body_is_told_and_its_message_is_leased_with_what_is_wrong() {
    let (spool, database) = fresh().await;
    let lane = mail::tx_lane(&spool).await;
    let session = mail::session(&spool, at(0)).await;
    let id = mail::accept(&spool, mail::message(lane, at(0), &["a@x.test"])).await;
    database
        .run("UPDATE malote.bodies SET body = body || 'x'")
        .await;
    assert!(matches!(spool.body(id).await, Err(StoreError::Damaged(_))));
    let leased = spool.lease(session, lane, 1, at(0)).await.unwrap();
    assert!(leased[0].deliveries[0].damaged.is_some());
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_quarantined_and_the_others_go_on() {
    let (spool, database) = fresh().await;
    let lane = mail::tx_lane(&spool).await;
    let session = mail::session(&spool, at(0)).await;
    let bad = mail::accept(&spool, mail::message(lane, at(0), &["a@x.test"])).await;
    mail::accept(&spool, mail::message(lane, at(1), &["b@x.test"])).await;
    database
        .run("UPDATE malote.deliveries SET recipient = 'nobody' WHERE recipient = 'a@x.test'")
        .await;
    let leased = spool.lease(session, lane, 9, at(1)).await.unwrap();
    assert_eq!(mail::recipients(&leased), ["b@x.test"]);
    let id = DeliveryId {
        message: bad,
        index: 0,
    };
    let state = mail::state_of(&spool, id).await;
    assert_eq!(state, State::Quarantined);
}

#[tokio::test]
async fn what_is_overdue_and_cannot_be_read_is_set_aside_so_many_at_once() {
    let (spool, database) = fresh().await;
    let lane = mail::tx_lane(&spool).await;
    let recipients: Vec<String> = (0..300).map(|n| format!("r{n}@x.test")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let message = mail::message(lane, at(0), &recipients);
    let over = message.record.expires_at;
    let message = mail::accept(&spool, message).await;
    database
        .run("UPDATE malote.deliveries SET recipient = 'nobody' WHERE idx < 299")
        .await;
    let count = async |state: State| {
        let stats = spool.stats(at(1)).await.unwrap();
        let key = ("tx".parse().unwrap(), state);
        stats.by_state.get(&key).copied().unwrap_or_default()
    };
    let index = 299;
    let last = DeliveryId { message, index };
    let expired = spool.expire(&[last], 500, over).await.unwrap();
    assert_eq!(expired.len(), 1);
    assert_eq!(
        count(State::Queued).await,
        299,
        "it looks at what it is given"
    );
    assert_eq!(spool.overdue(200, over).await.unwrap(), []);
    assert_eq!(count(State::Quarantined).await, 200);
    assert_eq!(spool.overdue(200, over).await.unwrap(), []);
    assert_eq!(count(State::Queued).await, 0);
}
