//! Promises about what operators do to deliveries.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a broken promise of the engine under test is a panic"
)]

use malote_core::event::{EventKind, State};
use malote_core::id::DeliveryId;
use malote_core::stream::Class;

use crate::conformance::mail::{self, at};
use crate::{QueueFilter, Spool};

async fn moved(spool: &dyn Spool, filter: &QueueFilter, to: State) -> Vec<DeliveryId> {
    let done = spool.move_deliveries(filter, to, "by hand", at(100)).await;
    done.unwrap()
}

fn of(message: malote_core::id::MessageId, index: u16) -> DeliveryId {
    DeliveryId { message, index }
}

/// Every condition narrows; what is under way stays; each move is told on the timeline.
pub async fn an_operator_cancels_holds_and_releases(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let news = mail::lane_key(Class::Campaign, "news");
    let news = spool.lane(&news).await.unwrap();
    let session = mail::session(spool, at(0)).await;
    mail::accept(spool, mail::message(lane, at(0), &["leased@x.test"])).await;
    spool.lease(session, lane, 10, at(0)).await.unwrap();
    let two = mail::message(lane, at(0), &["a@x.test", "b@x.test"]);
    let two = mail::accept(spool, two).await;
    let mut other = mail::message(news, at(0), &["A@x.test"]);
    other.record.stream = "news".parse().unwrap();
    other.record.credential = "blog".parse().unwrap();
    let other = mail::accept(spool, other).await;

    let stream = QueueFilter {
        stream: Some("tx".parse().unwrap()),
        ..QueueFilter::default()
    };
    let held = moved(spool, &stream, State::Held).await;
    assert_eq!(held, [of(two, 0), of(two, 1)]);
    assert_eq!(
        spool.lease(session, lane, 10, at(100)).await.unwrap().len(),
        0
    );
    let foreign = QueueFilter {
        message: Some(two),
        owner: Some("blog".parse().unwrap()),
        ..QueueFilter::default()
    };
    assert_eq!(moved(spool, &foreign, State::Cancelled).await, []);
    let recipient = QueueFilter {
        recipient: Some("a@x.test".parse().unwrap()),
        ..QueueFilter::default()
    };
    let cancelled = moved(spool, &recipient, State::Cancelled).await;
    assert_eq!(cancelled, [of(two, 0), of(other, 0)]);
    assert_eq!(moved(spool, &stream, State::Queued).await, [of(two, 1)]);
    let leased = spool.lease(session, lane, 10, at(100)).await.unwrap();
    assert_eq!(mail::recipients(&leased), ["b@x.test"]);

    let view = spool.view(two).await.unwrap().unwrap();
    let kinds = |index: usize| -> Vec<_> {
        let events = view.deliveries[index].events.iter();
        events.map(|event| event.kind.clone()).collect()
    };
    assert_eq!(
        kinds(0),
        [EventKind::Accepted, EventKind::Held, EventKind::Cancelled]
    );
    assert_eq!(
        kinds(1),
        [EventKind::Accepted, EventKind::Held, EventKind::Released]
    );
    assert_eq!(view.deliveries[1].events[1].detail, "by hand");
}

/// "Retry the stream" sends nothing again that has failed for good, or that its recipient may not
/// get; naming it does, while its body is there.
pub async fn settled_mail_is_released_only_when_it_is_named(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = mail::accept(spool, mail::message(lane, at(0), &["a@x.test"])).await;
        ids.push(of(id, 0));
    }
    spool.lease(session, lane, 10, at(0)).await.unwrap();
    let ends = [State::Bounced, State::Bounced, State::Suppressed];
    let bounces = ids.iter().zip(ends).map(|(id, end)| {
        let mut bounced = mail::sent(*id, "p-1", at(1));
        bounced.next.state = end;
        bounced
    });
    spool.settle(session, bounces.collect()).await.unwrap();
    let stream = QueueFilter {
        stream: Some("tx".parse().unwrap()),
        ..QueueFilter::default()
    };
    assert_eq!(moved(spool, &stream, State::Queued).await, []);
    let named = |id: DeliveryId| QueueFilter {
        delivery: Some(id),
        ..QueueFilter::default()
    };
    assert_eq!(moved(spool, &named(ids[0]), State::Queued).await, [ids[0]]);
    assert_eq!(moved(spool, &named(ids[2]), State::Queued).await, [ids[2]]);
    let leased = spool.lease(session, lane, 10, at(100)).await.unwrap();
    let again = &leased[0].deliveries[0];
    assert_eq!((again.attempts, again.calls), (0, 1));
    let dropped = spool.retain(at(50), at(-1)).await.unwrap();
    assert_eq!(dropped, (1, 0), "the released message keeps its body");
    assert_eq!(moved(spool, &named(ids[1]), State::Queued).await, []);
}

/// An operator who knows better settles an unknown outcome, or has it sent again.
pub async fn an_unknown_outcome_is_resolved(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    let message = mail::message(lane, at(0), &["a@x.test", "b@x.test"]);
    let id = mail::accept(spool, message).await;
    spool.lease(session, lane, 10, at(0)).await.unwrap();
    let unknown = [0, 1].map(|index| mail::step(of(id, index), State::Unknown, None));
    spool.settle(session, unknown.into()).await.unwrap();
    let filter = |index: u16| QueueFilter {
        delivery: Some(of(id, index)),
        state: Some(State::Unknown),
        ..QueueFilter::default()
    };
    assert_eq!(moved(spool, &filter(0), State::Sent).await, [of(id, 0)]);
    assert_eq!(moved(spool, &filter(0), State::Sent).await, []);
    assert_eq!(moved(spool, &filter(1), State::Queued).await, [of(id, 1)]);
    assert_eq!(mail::state_of(spool, of(id, 0)).await, State::Sent);
    let filter = filter(1);
    let wrong = spool.move_deliveries(&filter, State::Delivered, "", at(100));
    assert!(wrong.await.is_err());
}

/// No condition means no delivery, not every one.
pub async fn a_filter_without_a_condition_selects_nothing(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    mail::accept(spool, mail::message(lane, at(0), &["a@x.test"])).await;
    let none = QueueFilter::default();
    assert_eq!(moved(spool, &none, State::Cancelled).await, []);
}

/// What the guard held of one campaign goes on without what an operator held, or of another.
pub async fn held_mail_is_released_by_its_campaign_and_the_reason_of_its_hold(spool: &dyn Spool) {
    let lane = mail::tx_lane(spool).await;
    let mut ids = Vec::new();
    for campaign in [Some("42"), Some("42"), Some("43"), None] {
        let mut message = mail::message(lane, at(0), &["a@x.test"]);
        message.record.campaign = campaign.map(str::to_owned);
        ids.push(of(mail::accept(spool, message).await, 0));
    }
    for (index, reason) in ["guard: a", "by hand", "guard: a", "guard: b"]
        .into_iter()
        .enumerate()
    {
        let filter = QueueFilter {
            delivery: Some(ids[index]),
            ..QueueFilter::default()
        };
        let held = spool.move_deliveries(&filter, State::Held, reason, at(50));
        assert_eq!(held.await.unwrap(), [ids[index]]);
    }
    let because = |reason: &str, campaign: Option<&str>| QueueFilter {
        campaign: campaign.map(str::to_owned),
        held_because: Some(reason.to_owned()),
        state: Some(State::Held),
        ..QueueFilter::default()
    };
    let released = moved(spool, &because("guard: ", Some("42")), State::Queued).await;
    assert_eq!(released, [ids[0]]);
    let released = moved(spool, &because("guard: b", None), State::Queued).await;
    assert_eq!(released, [ids[3]]);
    let held_last_by_hand = QueueFilter {
        delivery: Some(ids[2]),
        ..QueueFilter::default()
    };
    let released = moved(spool, &held_last_by_hand, State::Queued).await;
    assert_eq!(released, [ids[2]]);
    let held = moved(spool, &held_last_by_hand, State::Held).await;
    assert_eq!(held, [ids[2]]);
    let released = moved(spool, &because("guard: ", Some("43")), State::Queued).await;
    assert_eq!(released, []);
}
