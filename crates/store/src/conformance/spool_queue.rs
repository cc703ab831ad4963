//! Promises of the queue: due mail, each delivery to one holder, and what a crash leaves.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a broken promise of the engine under test is a panic"
)]

use jiff::SignedDuration;
use malote_core::event::{EventKind, State};
use malote_core::id::DeliveryId;
use malote_core::stream::Class;

use crate::conformance::mail::{self, at};
use crate::{LaneId, NodeSession, QueueFilter, Spool};

async fn lease(spool: &dyn Spool, session: NodeSession, lane: LaneId, now: i64) -> Vec<String> {
    let leased = spool.lease(session, lane, 100, at(now)).await.unwrap();
    mail::recipients(&leased)
}

/// Mail is leased in the order it became due, once, and only from its own lane.
pub async fn only_what_is_due_is_leased_and_nothing_twice(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let news = mail::lane_key(Class::Campaign, "news");
    let news = spool.lane(&news).await.unwrap();
    let session = mail::session(spool, at(0)).await;
    for (recipient, due) in [("late@x.test", 60), ("b@x.test", 2), ("a@x.test", 1)] {
        mail::accept(spool, mail::message(lane, at(due), &[recipient])).await;
    }
    assert_eq!(spool.next_due(lane).await.unwrap(), Some(at(1)));
    let nothing: [&str; 0] = [];
    assert_eq!(lease(spool, session, news, 10).await, nothing);
    let due = ["a@x.test", "b@x.test"];
    assert_eq!(lease(spool, session, lane, 10).await, due);
    assert_eq!(lease(spool, session, lane, 10).await, nothing);
    assert_eq!(spool.next_due(lane).await.unwrap(), Some(at(60)));
    assert_eq!(spool.next_due(news).await.unwrap(), None);
    assert_eq!(lease(spool, session, lane, 60).await, ["late@x.test"]);
}

/// A backlog of deferred mail does not block new mail, nor new mail the backlog.
pub async fn new_mail_and_backlog_are_leased_in_turn(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    for number in 0..4 {
        let recipient = format!("old{number}@x.test");
        mail::accept(spool, mail::message(lane, at(number), &[&recipient])).await;
    }
    let leased = spool.lease(session, lane, 10, at(10)).await.unwrap();
    let deferred = leased
        .iter()
        .map(|one| mail::step(one.deliveries[0].id, State::Deferred, Some(at(11))));
    spool.settle(session, deferred.collect()).await.unwrap();
    for number in 0..4 {
        let recipient = format!("new{number}@x.test");
        mail::accept(spool, mail::message(lane, at(20 + number), &[&recipient])).await;
    }
    for _ in 0..2 {
        let leased = spool.lease(session, lane, 2, at(30)).await.unwrap();
        let states: Vec<_> = leased.iter().map(|one| one.deliveries[0].state).collect();
        assert!(states.contains(&State::Queued) && states.contains(&State::Deferred));
    }
    let mut single = Vec::new();
    for _ in 0..2 {
        let leased = spool.lease(session, lane, 1, at(30)).await.unwrap();
        single.extend(leased.iter().map(|one| one.deliveries[0].state));
    }
    assert!(single.contains(&State::Queued) && single.contains(&State::Deferred));
}

/// Recipients of one message are leased in one piece, in parts only if they fit no lease.
pub async fn deliveries_of_a_message_are_leased_together(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let three = ["a@x.test", "b@x.test", "c@x.test"];
    mail::accept(spool, mail::message(lane, at(0), &["first@x.test"])).await;
    mail::accept(spool, mail::message(lane, at(1), &three)).await;
    let leased = spool.lease(session, lane, 3, at(5)).await.unwrap();
    assert_eq!(mail::recipients(&leased), ["first@x.test"]);
    let leased = spool.lease(session, lane, 3, at(5)).await.unwrap();
    assert_eq!((leased.len(), leased[0].deliveries.len()), (1, 3));
    mail::accept(spool, mail::message(lane, at(6), &three)).await;
    let part = spool.lease(session, lane, 2, at(6)).await.unwrap();
    assert_eq!((part[0].deliveries.len(), part[0].deliveries_total), (2, 3));
    let rest = spool.lease(session, lane, 2, at(6)).await.unwrap();
    assert_eq!(mail::recipients(&rest), ["c@x.test"]);
}

/// State, due time, lane, attempts, calls and the engine's notes are all kept.
pub async fn a_settlement_says_where_a_delivery_goes_from_here(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let other = mail::lane_key(Class::Transactional, "other");
    let other = spool.lane(&other).await.unwrap();
    let session = mail::session(spool, at(0)).await;
    let id = mail::accept(spool, mail::message(lane, at(0), &["a@x.test"])).await;
    let delivery = DeliveryId {
        message: id,
        index: 0,
    };
    lease(spool, session, lane, 0).await;
    let mut deferred = mail::sent(delivery, "p-1", at(1));
    deferred.next.state = State::Deferred;
    deferred.next.due_at = Some(at(30));
    deferred.next.progress = Some("tried ses".into());
    deferred.next.lane = Some(other);
    spool.settle(session, vec![deferred]).await.unwrap();

    assert_eq!(spool.next_due(lane).await.unwrap(), None);
    assert_eq!(spool.next_due(other).await.unwrap(), Some(at(30)));
    let leased = spool.lease(session, other, 10, at(30)).await.unwrap();
    let again = &leased[0].deliveries[0];
    assert_eq!(again.state, State::Deferred);
    assert_eq!((again.attempts, again.calls, again.crashes), (1, 1, 0));
    assert_eq!(again.progress.as_deref(), Some("tried ses"));
    let back = mail::step(delivery, State::Queued, Some(at(31)));
    spool.settle(session, vec![back.clone()]).await.unwrap();
    assert_eq!(mail::state_of(spool, delivery).await, State::Queued);
    // Settled already: dropped, not an error.
    spool.settle(session, vec![back]).await.unwrap();
}

/// Only the session that leases a delivery may settle it.
pub async fn a_settlement_by_an_old_session_is_dropped(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let old = mail::session(spool, at(0)).await;
    let id = mail::accept(spool, mail::message(lane, at(0), &["a@x.test"])).await;
    let delivery = DeliveryId {
        message: id,
        index: 0,
    };
    lease(spool, old, lane, 0).await;
    let new = mail::session(spool, at(1)).await;
    let sent = mail::sent(delivery, "p-1", at(2));
    spool.settle(old, vec![sent.clone()]).await.unwrap();
    assert_eq!(mail::state_of(spool, delivery).await, State::Queued);
    lease(spool, new, lane, 2).await;
    spool.settle(old, vec![sent]).await.unwrap();
    assert_eq!(mail::state_of(spool, delivery).await, State::Sending);
}

/// A lease without a journaled start goes back as it was, and the crash is counted.
pub async fn a_crash_gives_leases_back_and_counts(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    mail::accept(spool, mail::message(lane, at(0), &["a@x.test"])).await;
    for crashes in 0..3 {
        let session = mail::session(spool, at(crashes)).await;
        let leased = spool.lease(session, lane, 10, at(10)).await.unwrap();
        assert_eq!(i64::from(leased[0].deliveries[0].crashes), crashes);
        assert_eq!(leased[0].deliveries[0].state, State::Queued);
    }
}

/// A journaled start without an outcome is told to the next session, and belongs to it.
pub async fn an_attempt_without_outcome_is_pending_after_a_crash(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let id = mail::accept(spool, mail::message(lane, at(0), &["a@x.test"])).await;
    let delivery = DeliveryId {
        message: id,
        index: 0,
    };
    let start = mail::start(delivery, 1, at(1));
    let early = spool.start_attempts(vec![start.clone()]).await;
    assert!(early.is_err(), "only what is leased can be attempted");
    lease(spool, session, lane, 0).await;
    spool.start_attempts(vec![start.clone()]).await.unwrap();

    let (session, pending) = spool.open_session(at(9)).await.unwrap();
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0].attempt, start);
    let unclear = &pending[0].delivery;
    assert_eq!((unclear.id, unclear.state), (delivery, State::Queued));
    assert_eq!((unclear.calls, unclear.crashes), (1, 1));
    assert_eq!(mail::state_of(spool, delivery).await, State::Sending);
    let mut unknown = mail::sent(delivery, "p-1", at(10));
    unknown.next.state = State::Unknown;
    unknown.attempt.as_mut().unwrap().provider_message_id = None;
    spool.settle(session, vec![unknown]).await.unwrap();
    assert_eq!(mail::state_of(spool, delivery).await, State::Unknown);
    mail::session(spool, at(11)).await;
}

/// A start that was journaled and then not made is no call under way of the next lease.
pub async fn a_settlement_without_an_attempt_ends_what_was_journaled(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let message = mail::accept(spool, mail::message(lane, at(0), &["a@x.test"])).await;
    let id = DeliveryId { message, index: 0 };
    lease(spool, session, lane, 0).await;
    let start = mail::start(id, 1, at(1));
    spool.start_attempts(vec![start]).await.unwrap();
    let back = mail::step(id, State::Queued, Some(at(2)));
    spool.settle(session, vec![back]).await.unwrap();
    let view = spool.view(message).await.unwrap().unwrap();
    let attempts = &view.deliveries[0].attempts;
    assert_eq!(attempts[0].outcome.as_deref(), Some("unknown"));
    assert_eq!(lease(spool, session, lane, 3).await.len(), 1);
    mail::session(spool, at(4)).await;
    assert_eq!(mail::state_of(spool, id).await, State::Queued);
}

/// `send_at` holds a delivery back until its time, with or without an expiry pass.
pub async fn scheduled_mail_is_leased_when_it_is_due(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    for due in [50, 60] {
        let mut message = mail::message(lane, at(0), &["a@x.test"]);
        message.deliveries[0].state = State::Scheduled;
        message.deliveries[0].due_at = at(due);
        mail::accept(spool, message).await;
    }
    assert_eq!(spool.next_due(lane).await.unwrap(), Some(at(50)));
    assert_eq!(lease(spool, session, lane, 49).await.len(), 0);
    assert_eq!(lease(spool, session, lane, 50).await.len(), 1);
    assert_eq!(mail::expire(spool, 100, at(60)).await, []);
    let stats = spool.stats(at(60)).await.unwrap();
    let queued = stats.by_state.get(&("tx".parse().unwrap(), State::Queued));
    assert_eq!(queued, Some(&1));
    assert_eq!(lease(spool, session, lane, 60).await.len(), 1);
}

/// Old mail expires with an event; leased and held mail is left alone, and hides none behind it.
pub async fn what_waits_too_long_expires_and_what_is_held_does_not(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let mut held = mail::message(lane, at(0), &["held@x.test"]);
    held.deliveries[0].state = State::Held;
    let held = mail::accept(spool, held).await;
    mail::accept(spool, mail::message(lane, at(1), &["leased@x.test"])).await;
    lease(spool, session, lane, 1).await;
    let old = mail::message(lane, at(2), &["a@x.test", "b@x.test"]);
    let over = old.record.expires_at;
    let old = mail::accept(spool, old).await;
    let fresh = mail::message(lane, at(1_000), &["fresh@x.test"]);
    mail::accept(spool, fresh).await;

    let mut expired = Vec::new();
    for pass in 0..4 {
        let now = over
            .saturating_add(SignedDuration::from_secs(pass))
            .unwrap();
        expired.extend(mail::expire(spool, 2, now).await);
    }
    let ids: Vec<_> = expired.iter().map(|one| one.id.message).collect();
    assert_eq!(ids, [old, old]);
    assert_eq!(expired[0].state, State::Queued);
    let view = spool.view(old).await.unwrap().unwrap();
    assert_eq!(view.deliveries[1].state, State::Expired);
    assert_eq!(view.deliveries[1].due_at, None);
    let last = view.deliveries[1].events.last().unwrap();
    assert_eq!(last.kind, EventKind::Expired);

    // Released after its time, it has its whole time again.
    let filter = QueueFilter {
        message: Some(held),
        ..QueueFilter::default()
    };
    let released = spool.move_deliveries(&filter, State::Queued, "operator", over);
    assert_eq!(released.await.unwrap().len(), 1);
    let later = over.saturating_add(SignedDuration::from_hours(1)).unwrap();
    assert_eq!(
        mail::expire(spool, 10, later).await.len(),
        1,
        "the fresh one"
    );
    assert_eq!(
        spool.message(held).await.unwrap().unwrap().expires_at,
        over.saturating_add(SignedDuration::from_hours(24)).unwrap()
    );
}

/// What is overdue is listed before it ends, so that who is told of it is told first; only what was
/// listed ends.
pub async fn what_is_overdue_is_known_before_it_expires(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let message = mail::message(lane, at(0), &["a@x.test", "b@x.test"]);
    let over = message.record.expires_at;
    let message = mail::accept(spool, message).await;
    let [first, second] = [0, 1].map(|index| DeliveryId { message, index });
    let overdue = async |count_max| {
        let overdue = spool.overdue(count_max, over).await.unwrap();
        overdue.iter().map(|one| one.id).collect::<Vec<_>>()
    };
    assert_eq!(spool.overdue(9, at(1)).await.unwrap(), []);
    assert_eq!(overdue(1).await, [first]);
    for _ in 0..2 {
        assert_eq!(overdue(9).await, [first, second]);
        assert_eq!(mail::state_of(spool, first).await, State::Queued);
    }
    let expired = spool.expire(&[second], 9, over).await.unwrap();
    assert_eq!((expired.len(), expired[0].id), (1, second));
    assert_eq!(mail::state_of(spool, first).await, State::Queued);
    // What left in between does not end.
    assert_eq!(lease(spool, session, lane, 1).await.len(), 1);
    assert_eq!(spool.expire(&[first], 9, over).await.unwrap(), []);
    assert_eq!(mail::state_of(spool, first).await, State::Sending);
}

/// A message to hundreds expires in parts, each of what was listed and no more, however much waits
/// beside it; one of which nothing waits comes back later and keeps no other from its end.
pub async fn what_expires_is_what_was_listed_however_much_waits_beside_it(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let recipients: Vec<String> = (0..250).map(|n| format!("r{n}@x.test")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let mut held = mail::message(lane, at(0), &["held@x.test"]);
    held.deliveries[0].state = State::Held;
    mail::accept(spool, held).await;
    let large = mail::message(lane, at(1), &recipients);
    let over = large.record.expires_at;
    let large = mail::accept(spool, large).await;
    let last = DeliveryId {
        message: large,
        index: 249,
    };
    let expired = spool.expire(&[last], 1, over).await.unwrap();
    assert_eq!((expired.len(), expired[0].id), (1, last));
    let waiting = async || {
        let view = spool.view(large).await.unwrap().unwrap();
        let states = view.deliveries.iter().map(|own| own.state);
        states.filter(|state| *state == State::Queued).count()
    };
    assert_eq!(waiting().await, 249);
    for left in [149, 49, 0] {
        mail::expire(spool, 100, over).await;
        assert_eq!(waiting().await, left);
    }
    assert_eq!(mail::expire(spool, 100, over).await, []);
}
