//! Promises about the outbox: nothing lost, nothing out of a message's order, all of it bounded.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a broken promise of the engine under test is a panic"
)]

use jiff::Timestamp;
use malote_core::event::{EventKind, State};
use malote_core::feed::FeedCursor;
use malote_core::id::{DeliveryId, MessageId};
use malote_core::outlet::OutletName;

use crate::conformance::mail::{self, at};
use crate::conformance::spool_feed::{everything, page};
use crate::{
    Enqueue, Enqueued, OutboxRow, OutboxSettled, OutboxStep, OutletRecord, QueueFilter, Spool,
};

fn hook() -> OutletName {
    OutletName::kept("shop/webhook-1".into())
}

async fn configured(
    spool: &dyn Spool,
    names: &[OutletName],
    now: Timestamp,
) -> Vec<(OutletName, u64)> {
    spool.keep_outlets(names, now).await.unwrap()
}

async fn record(spool: &dyn Spool) -> OutletRecord {
    spool.outlet(&hook()).await.unwrap().unwrap()
}

/// Accepts a message and cancels it: two events.
async fn two_events(spool: &dyn Spool, recipient: &str) -> MessageId {
    let lane = mail::tx_lane(spool).await;
    let id = mail::accept(spool, mail::message(lane, at(0), &[recipient])).await;
    let filter = QueueFilter {
        message: Some(id),
        ..QueueFilter::default()
    };
    let moved = spool.move_deliveries(&filter, State::Cancelled, "", at(1));
    assert_eq!(moved.await.unwrap().len(), 1);
    id
}

/// Enqueues everything behind the outlet's place.
async fn move_all(spool: &dyn Spool) -> Vec<FeedCursor> {
    let mut query = everything();
    query.after = record(spool).await.cursor;
    let found = page(spool, &query).await;
    let wanted: Vec<_> = found.events.iter().map(|event| event.cursor).collect();
    let wish = Enqueue {
        wanted: wanted.clone(),
        next: Some(found.next),
        waiting_max: 1_000,
        now: at(10),
    };
    let kept = spool.enqueue(&hook(), wish).await.unwrap();
    assert_eq!(kept, Enqueued::Kept(wanted.len() as u64));
    wanted
}

async fn due(spool: &dyn Spool, now: Timestamp) -> Vec<OutboxRow> {
    spool.outbox_due(&hook(), 100, now).await.unwrap()
}

fn places(rows: &[OutboxRow]) -> Vec<FeedCursor> {
    rows.iter().map(|row| row.cursor).collect()
}

async fn settle(spool: &dyn Spool, event: FeedCursor, step: OutboxStep, now: Timestamp) {
    let settled = OutboxSettled {
        failing_since: matches!(step, OutboxStep::Again { .. }).then_some(now),
        steps: vec![(event, step)],
        now,
    };
    spool.outbox_settle(&hook(), settled).await.unwrap();
}

fn again(due_at: Timestamp) -> OutboxStep {
    OutboxStep::Again {
        due_at,
        error: "503".into(),
    }
}

/// What was before it is not told to it; a second one is not disturbed.
pub async fn an_outlet_begins_at_the_end_of_the_feed(spool: &dyn Spool) {
    two_events(spool, "a@x.test").await;
    assert_eq!(configured(spool, &[hook()], at(5)).await, []);
    let first = record(spool).await;
    assert_eq!(first.cursor, page(spool, &everything()).await.next);
    assert_eq!(
        (first.waiting, first.oldest_at, first.disabled),
        (0, None, None)
    );
    two_events(spool, "b@x.test").await;
    let other = OutletName::kept("blog/mautic".into());
    configured(spool, &[hook(), other.clone()], at(6)).await;
    assert_eq!(record(spool).await.cursor, first.cursor);
    let all = spool.outlets().await.unwrap();
    let names: Vec<_> = all.iter().map(|one| one.name.clone()).collect();
    assert_eq!(names, [other.clone(), hook()]);
    assert!(all[0].cursor > first.cursor);
    let unknown = OutletName::kept("no/such".into());
    assert_eq!(spool.outlet(&unknown).await.unwrap(), None);
    assert_eq!(spool.outbox_due(&unknown, 9, at(9)).await.unwrap(), []);
    assert!(!spool.disable_outlet(&unknown, "", at(9)).await.unwrap());
    assert!(!spool.enable_outlet(&unknown, at(9)).await.unwrap());
}

/// Events and place go together; what waits already is not added again.
pub async fn events_and_the_outlet_s_place_are_kept_together(spool: &dyn Spool) {
    configured(spool, &[hook()], at(0)).await;
    two_events(spool, "a@x.test").await;
    let wanted = move_all(spool).await;
    let kept = record(spool).await;
    assert_eq!((kept.waiting, kept.cursor), (2, wanted[1]));
    assert_eq!(kept.oldest_at, Some(at(0)));
    let again = Enqueue {
        wanted: vec![wanted[1], FeedCursor(999_999)],
        next: None,
        waiting_max: 1_000,
        now: at(11),
    };
    assert_eq!(
        spool.enqueue(&hook(), again).await.unwrap(),
        Enqueued::Kept(0)
    );
    assert_eq!(record(spool).await, kept);
    let event = due(spool, at(10)).await.remove(0).event.unwrap();
    assert_eq!(event.cursor, wanted[0]);
    assert_eq!(
        (&event.recipient[..], &event.kind),
        ("a@x.test", &EventKind::Accepted)
    );
}

/// One message's events come one after the other, whatever becomes of the first; messages do not
/// wait for each other.
pub async fn of_each_message_only_the_first_event_is_due(spool: &dyn Spool) {
    configured(spool, &[hook()], at(0)).await;
    two_events(spool, "a@x.test").await;
    two_events(spool, "b@x.test").await;
    let all = move_all(spool).await;
    assert_eq!(due(spool, at(9)).await, []);
    let first = due(spool, at(10)).await;
    assert_eq!(places(&first), [all[0], all[2]]);
    assert_eq!((first[0].attempts, first[0].first_at), (0, None));
    assert_eq!(spool.outbox_due(&hook(), 1, at(10)).await.unwrap().len(), 1);

    settle(spool, all[0], again(at(50)), at(12)).await;
    settle(spool, all[2], OutboxStep::Told, at(13)).await;
    assert_eq!(places(&due(spool, at(49)).await), [all[3]]);
    let later = due(spool, at(50)).await;
    assert_eq!(places(&later), [all[3], all[0]]);
    assert_eq!((later[1].attempts, later[1].first_at), (1, Some(at(12))));
    settle(spool, all[0], again(at(60)), at(51)).await;
    let later = due(spool, at(60)).await;
    assert_eq!((later[1].attempts, later[1].first_at), (2, Some(at(12))));
    settle(spool, all[0], OutboxStep::Dropped("410".into()), at(61)).await;
    assert_eq!(places(&due(spool, at(61)).await), [all[3], all[1]]);
    assert_eq!(record(spool).await.last_error.as_deref(), Some("410"));
    settle(spool, all[0], OutboxStep::Told, at(62)).await;
    assert_eq!(record(spool).await.waiting, 2);
    settle(spool, all[1], OutboxStep::Told, at(62)).await;
    settle(spool, all[3], OutboxStep::Told, at(62)).await;
    assert_eq!(due(spool, at(999)).await, []);
    let end = record(spool).await;
    assert_eq!(
        (end.waiting, end.oldest_at, end.failing_since),
        (0, None, None)
    );
}

/// Full means that the place waits, so nothing is lost.
pub async fn a_full_outbox_leaves_the_place_where_it_is(spool: &dyn Spool) {
    configured(spool, &[hook()], at(0)).await;
    two_events(spool, "a@x.test").await;
    let before = record(spool).await;
    let all = page(spool, &everything()).await;
    let wish = |wanted: &[malote_core::feed::FeedEvent]| Enqueue {
        wanted: wanted.iter().map(|event| event.cursor).collect(),
        next: Some(all.next),
        waiting_max: 1,
        now: at(10),
    };
    let full = spool.enqueue(&hook(), wish(&all.events)).await.unwrap();
    assert_eq!((full, record(spool).await), (Enqueued::Full, before));
    let one = spool
        .enqueue(&hook(), wish(&all.events[..1]))
        .await
        .unwrap();
    assert_eq!(one, Enqueued::Kept(1));
    let nothing = spool.enqueue(&hook(), wish(&[])).await.unwrap();
    assert_eq!(nothing, Enqueued::Kept(0));
}

/// A replayed event goes before a later one of its message that waits.
pub async fn a_replay_keeps_the_order_of_a_message(spool: &dyn Spool) {
    configured(spool, &[hook()], at(0)).await;
    two_events(spool, "a@x.test").await;
    let all = move_all(spool).await;
    settle(spool, all[0], OutboxStep::Told, at(11)).await;
    settle(spool, all[1], again(at(50)), at(12)).await;
    let wish = Enqueue {
        wanted: all.clone(),
        next: None,
        waiting_max: 1_000,
        now: at(20),
    };
    assert_eq!(
        spool.enqueue(&hook(), wish).await.unwrap(),
        Enqueued::Kept(1)
    );
    assert_eq!(places(&due(spool, at(99)).await), [all[0]]);
    // The later one was under way while the replay came.
    settle(spool, all[1], again(at(60)), at(21)).await;
    assert_eq!(places(&due(spool, at(99)).await), [all[0]]);
    settle(spool, all[0], OutboxStep::Told, at(22)).await;
    let last = due(spool, at(22)).await;
    assert_eq!((places(&last), last[0].attempts), (vec![all[1]], 2));
}

/// Until an operator says so, with the first reason; enabled it starts with a clean sheet.
pub async fn an_outlet_stays_disabled_until_it_is_enabled(spool: &dyn Spool) {
    configured(spool, &[hook()], at(0)).await;
    two_events(spool, "a@x.test").await;
    let all = move_all(spool).await;
    settle(spool, all[0], again(at(50)), at(12)).await;
    assert_eq!(record(spool).await.failing_since, Some(at(12)));
    assert!(spool.disable_outlet(&hook(), "gone", at(20)).await.unwrap());
    assert!(
        spool
            .disable_outlet(&hook(), "other", at(30))
            .await
            .unwrap()
    );
    configured(spool, &[hook()], at(31)).await;
    let aside = record(spool).await;
    let disabled = aside.disabled.unwrap();
    assert_eq!((disabled.since, &disabled.reason[..]), (at(20), "gone"));
    assert_eq!(aside.waiting, 2);
    assert!(spool.enable_outlet(&hook(), at(40)).await.unwrap());
    let back = record(spool).await;
    assert_eq!((back.disabled, back.failing_since), (None, None));
    assert_eq!((back.enabled_at, back.waiting), (Some(at(40)), 2));
}

/// Three days; one that comes back in time goes on where it was.
pub async fn an_outlet_that_is_away_keeps_its_events_for_three_days(spool: &dyn Spool) {
    const DAY: i64 = 86_400;
    configured(spool, &[hook()], at(0)).await;
    two_events(spool, "a@x.test").await;
    let all = move_all(spool).await;
    assert_eq!(configured(spool, &[], at(100)).await, []);
    assert_eq!(configured(spool, &[], at(200)).await, []);
    assert_eq!(record(spool).await.absent_since, Some(at(100)));
    assert_eq!(configured(spool, &[hook()], at(2 * DAY)).await, []);
    let back = record(spool).await;
    assert_eq!(
        (back.absent_since, back.waiting, back.cursor),
        (None, 2, all[1])
    );
    configured(spool, &[], at(3 * DAY)).await;
    assert_eq!(configured(spool, &[], at(6 * DAY - 1)).await, []);
    assert_eq!(configured(spool, &[], at(6 * DAY)).await, [(hook(), 2)]);
    assert_eq!(spool.outlet(&hook()).await.unwrap(), None);
    assert_eq!(due(spool, at(9 * DAY)).await, []);
}

/// What retention takes can no longer be told.
pub async fn retention_takes_events_out_of_the_outbox(spool: &dyn Spool) {
    configured(spool, &[hook()], at(0)).await;
    let gone = two_events(spool, "a@x.test").await;
    let lane = mail::tx_lane(spool).await;
    let kept = mail::accept(spool, mail::message(lane, at(0), &["b@x.test"])).await;
    let all = move_all(spool).await;
    assert_eq!(spool.retain(at(2), at(2)).await.unwrap(), (1, 1));
    assert_eq!(spool.view(gone).await.unwrap(), None);
    let left = due(spool, at(10)).await;
    assert_eq!(places(&left), [all[2]]);
    let id = DeliveryId {
        message: kept,
        index: 0,
    };
    assert_eq!(left[0].event.as_ref().unwrap().id.delivery, id);
    assert_eq!(record(spool).await.waiting, 1);
}
