//! A store that holds a row of everything, in every state.

use malote_core::address::EmailAddress;
use malote_core::event::{Blame, EventKind, ProviderEvent, State};
use malote_core::feed::FeedCursor;
use malote_core::id::DeliveryId;
use malote_core::outlet::OutletName;
use malote_core::stream::Class;

use crate::conformance::mail::{self, at};
use crate::conformance::spool_feed::{everything, page};
use crate::{
    BreakerRecord, Enqueue, Erasing, GuardCount, GuardKey, GuardRecord, GuardState, GuardTally,
    IdempotencyRecord, LaneId, NewMessage, NodeSession, OutboxSettled, OutboxStep, QuotaRequest,
    Return, Shared, SoftBounce, Spool, SuppressedAddress, Suppression, SuppressionReason,
    SuppressionScope, Switch, WarmupRecord,
};

/// Small messages that wait: more than a page of them.
pub(super) const WAITING: usize = 1_050;
const DAY: i64 = 86_400;

pub(super) fn hook() -> OutletName {
    OutletName::kept("shop/webhook-1".into())
}

/// Fills a new store. The last deliveries stay under way.
pub(super) async fn everything_of(spool: &dyn Spool, shared: &dyn Shared) {
    spool.keep_outlets(&[hook()], at(0)).await.unwrap();
    let lane = mail::tx_lane(spool).await;
    let session = mail::session(spool, at(0)).await;
    gone_messages(spool, session, lane).await;
    bodies(spool, lane).await;
    rich_message(spool, lane).await;
    every_state(spool, session, lane).await;
    told_events(spool, session, lane).await;
    outbox(spool).await;
    erased(spool, session, lane).await;
    limits(shared).await;
    suppressions(shared).await;
    guard(shared).await;
    let waiting = (0..WAITING).map(|number| {
        let due = at(1_000 + i64::try_from(number).unwrap());
        let mut message = mail::message(lane, at(0), &["waits@x.test"]);
        message.deliveries[0].due_at = due;
        message
    });
    spool.accept(waiting.collect()).await.unwrap();
    under_way(spool, session).await;
}

async fn lease_one(
    spool: &dyn Spool,
    session: NodeSession,
    lane: LaneId,
    message: NewMessage,
) -> DeliveryId {
    let id = mail::accept(spool, message).await;
    let leased = spool.lease(session, lane, 1, at(0)).await.unwrap();
    assert_eq!(leased[0].record.id, id);
    leased[0].deliveries[0].id
}

/// What retention takes leaves gaps in the numbers.
async fn gone_messages(spool: &dyn Spool, session: NodeSession, lane: LaneId) {
    for time in [-9 * DAY, -9 * DAY + 1, -2 * DAY] {
        let message = mail::message(lane, at(time), &["old@x.test"]);
        let id = lease_one(spool, session, lane, message).await;
        spool
            .settle(session, vec![mail::sent(id, "old", at(time))])
            .await
            .unwrap();
    }
    let gone = spool.retain(at(-DAY), at(-8 * DAY)).await.unwrap();
    assert_eq!(gone, (3, 2));
}

/// Empty, small, at the bound, a piece and a bit, several pieces.
async fn bodies(spool: &dyn Spool, lane: LaneId) {
    for size in [0, 1, 64 << 10, (64 << 10) + 1, 256 << 10, 700_001] {
        let mut message = mail::message(lane, at(0), &["body@x.test"]);
        message.body = (0..size).map(|octet: usize| (octet % 251) as u8).collect();
        message.record.size_bytes = size as u64;
        message.deliveries[0].due_at = at(5_000);
        mail::accept(spool, message).await;
    }
}

async fn rich_message(spool: &dyn Spool, lane: LaneId) {
    let mut message = mail::message(lane, at(0), &["a@x.test", "b@x.test"]);
    let record = &mut message.record;
    record.mail_from = None;
    record.campaign = Some("42".into());
    record.tracking_hash = Some("5f00".into());
    record.one_click = Some("https://x.test/u".into());
    record.tags = vec!["é".into(), "red".into()];
    record.metadata.insert("order".into(), "7\u{1f600}".into());
    message.deliveries[0].orcpt = Some("rfc822;a@x.test".into());
    message.deliveries[0].notify = Some(malote_core::message::Notify {
        success: true,
        failure: false,
        delay: true,
    });
    message.deliveries[1].mailbox_provider = Some("gmail".parse().unwrap());
    message.deliveries[1].due_at = at(9_000);
    message.deliveries[0].due_at = at(9_001);
    message.idempotency = Some(IdempotencyRecord {
        credential: "shop".parse().unwrap(),
        key: "order-7".into(),
        fingerprint: Some([9; 32]),
        message: message.record.id,
        created_at: at(0),
    });
    mail::accept(spool, message).await;
    let campaign = mail::lane_key(Class::Campaign, "news");
    let lane = spool.lane(&campaign).await.unwrap();
    let mut message = mail::message(lane, at(0), &["c@x.test", "d@x.test"]);
    message.deliveries[0].state = State::Scheduled;
    message.deliveries[0].due_at = at(99_999);
    message.deliveries[1].state = State::Suppressed;
    mail::accept(spool, message).await;
}

/// A delivery in every state that a settlement can give.
async fn every_state(spool: &dyn Spool, session: NodeSession, lane: LaneId) {
    for state in State::ALL {
        if matches!(state, State::Scheduled | State::Sending) {
            continue;
        }
        let message = mail::message(lane, at(0), &["state@x.test"]);
        let id = lease_one(spool, session, lane, message).await;
        let mut settled = mail::sent(id, &format!("p-{state:?}"), at(1));
        settled.next.state = state;
        settled.next.due_at = matches!(state, State::Deferred | State::Queued).then(|| at(7_777));
        settled.next.progress = Some(format!("notes of {state:?}"));
        spool.settle(session, vec![settled]).await.unwrap();
    }
}

fn told(id: DeliveryId, kind: EventKind) -> ProviderEvent {
    ProviderEvent {
        dedup_key: format!("{id} {}", kind.as_str()),
        at: at(5),
        blame: (kind == EventKind::Bounced).then_some(Blame::MailboxFull),
        kind,
        delivery: Some(id),
        provider_message_id: None,
        recipient: None,
        detail: "552 full".into(),
        raw: bytes::Bytes::from_static(b"{\"told\":\0}"),
    }
}

async fn told_events(spool: &dyn Spool, session: NodeSession, lane: LaneId) {
    let provider = "ses".parse().unwrap();
    let message = mail::message(lane, at(0), &["told@x.test"]);
    let id = lease_one(spool, session, lane, message).await;
    spool
        .settle(session, vec![mail::sent(id, "p-told", at(1))])
        .await
        .unwrap();
    let kinds = [EventKind::Delivered, EventKind::Opened, EventKind::Bounced];
    let events = kinds.map(|kind| told(id, kind)).to_vec();
    spool.apply_events(&provider, events, at(60)).await.unwrap();
    let own = vec![told(id, EventKind::Unsubscribed)];
    spool.apply_own_events(own, at(61)).await.unwrap();
    spool
        .keep_unreadable(&provider, vec!["{".into(), "[".into()], at(60))
        .await
        .unwrap();
}

/// Some wait, one was told, one is told again later.
async fn outbox(spool: &dyn Spool) {
    let found = page(spool, &everything()).await;
    let wanted: Vec<FeedCursor> = found.events.iter().map(|event| event.cursor).collect();
    let wish = Enqueue {
        next: Some(found.next),
        waiting_max: 10_000,
        now: at(70),
        wanted,
    };
    spool.enqueue(&hook(), wish).await.unwrap();
    let due = spool.outbox_due(&hook(), 2, at(70)).await.unwrap();
    let settled = OutboxSettled {
        steps: vec![
            (due[0].cursor, OutboxStep::Told),
            (
                due[1].cursor,
                OutboxStep::Again {
                    due_at: at(500),
                    error: "503".into(),
                },
            ),
        ],
        failing_since: Some(at(71)),
        now: at(71),
    };
    spool.outbox_settle(&hook(), settled).await.unwrap();
    let other = OutletName::kept("blog/mautic".into());
    let both = [hook(), other.clone()];
    spool.keep_outlets(&both, at(72)).await.unwrap();
    spool.disable_outlet(&other, "410", at(73)).await.unwrap();
}

/// One recipient of two is erased while the other one waits.
async fn erased(spool: &dyn Spool, session: NodeSession, lane: LaneId) {
    let gone: EmailAddress = "gone@x.test".parse().unwrap();
    let mut message = mail::message(lane, at(0), &["gone@x.test", "stays@x.test"]);
    message.deliveries[1].due_at = at(8_000);
    let id = lease_one(spool, session, lane, message).await;
    spool
        .settle(session, vec![mail::sent(id, "p-gone", at(1))])
        .await
        .unwrap();
    let erased = spool.erase(&gone, Erasing::Erase).await.unwrap();
    assert_eq!((erased.deliveries, erased.bodies_later), (1, 1));
}

async fn limits(shared: &dyn Shared) {
    for account in ["ses", "ses/tx"] {
        let request = QuotaRequest {
            account: account.into(),
            need: 17,
            want: 17,
            windows: vec![(at(-3_600), 100)],
            now: at(0),
        };
        shared.take_quota(request).await.unwrap();
    }
    let record = WarmupRecord {
        day: "2026-11-22".parse().unwrap(),
        cap: 500,
        used: 499,
    };
    shared.set_warmup("ses", record).await.unwrap();
    let breaker = BreakerRecord {
        key: "ses/default".into(),
        state: "{\"open\":1}".into(),
    };
    shared
        .set_breaker(&breaker.key, Some(breaker.state))
        .await
        .unwrap();
    for switch in [
        Switch::StreamPaused("news".parse().unwrap()),
        Switch::ProviderDrained("ses".parse().unwrap()),
    ] {
        shared.set_switch(switch, true).await.unwrap();
    }
}

async fn suppressions(shared: &dyn Shared) {
    let entry = |address: &str, scope: SuppressionScope| Suppression {
        address: SuppressedAddress::Known(address.parse().unwrap()),
        scope,
        reason: SuppressionReason::HardBounce,
        detail: "550".into(),
        source: "provider:ses".into(),
        provider: Some("ses".parse().unwrap()),
        credential: Some("shop".parse().unwrap()),
        created_at: at(0),
        expires_at: None,
    };
    let stream = SuppressionScope::Stream("news".parse().unwrap());
    let mut ends = entry("ends@x.test", stream.clone());
    ends.expires_at = Some(at(9_999_999));
    let entries = vec![
        entry("Stopped@x.test", SuppressionScope::Global),
        entry("stopped@x.test", stream),
        entry("gone@x.test", SuppressionScope::Global),
        ends,
    ];
    shared.suppress(entries).await.unwrap();
    let gone: EmailAddress = "gone@x.test".parse().unwrap();
    let erased = shared.erase_suppressions(&gone, Erasing::Erase).await;
    assert_eq!(erased.unwrap(), 1);
    let back = Return {
        address: SuppressedAddress::Known("back@x.test".parse().unwrap()),
        scope: SuppressionScope::Global,
        at: at(5),
        source: "recipient".into(),
    };
    shared.lift_unsubscribes(vec![back]).await.unwrap();
    let soft: EmailAddress = "soft@x.test".parse().unwrap();
    let bounces = [(1, "1"), (1, "2"), (2, "2")].map(|(second, event)| SoftBounce {
        address: soft.clone(),
        at: at(second),
        event: event.into(),
    });
    let counted = shared.count_soft_bounces(bounces.to_vec(), at(0)).await;
    assert_eq!(counted.unwrap(), [3, 3, 3]);
}

async fn guard(shared: &dyn Shared) {
    let tally = GuardTally {
        sends: 10,
        reported: 9,
        bounces: 3,
        complaints: 1,
    };
    let counts = ["", "42"].map(|campaign| GuardCount {
        stream: "news".parse().unwrap(),
        campaign: campaign.into(),
        at: at(0),
        tally,
    });
    shared.add_guard_counts(counts.to_vec()).await.unwrap();
    let key = GuardKey {
        stream: "news".parse().unwrap(),
        campaign: Some("42".into()),
    };
    let record = GuardRecord {
        key: key.clone(),
        state: GuardState::Slowed,
        since: at(7),
        reason: "3 hard bounces of 10 sends".into(),
        pace: 0.1 + 0.2,
        tally,
    };
    shared.set_guard_record(&key, Some(record)).await.unwrap();
}

/// Leased, once without a start, once with one, and once with a provider that was faster.
async fn under_way(spool: &dyn Spool, session: NodeSession) {
    let key = mail::lane_key(Class::Transactional, "busy");
    let lane = spool.lane(&key).await.unwrap();
    for name in ["leased", "started", "told"] {
        let message = mail::message(lane, at(0), &[&format!("{name}@x.test")]);
        let id = lease_one(spool, session, lane, message).await;
        if name != "leased" {
            let start = mail::start(id, 1, at(3));
            spool.start_attempts(vec![start]).await.unwrap();
        }
        if name == "told" {
            let event = told(id, EventKind::Delivered);
            let provider = "ses".parse().unwrap();
            let applied = spool.apply_events(&provider, vec![event], at(60)).await;
            assert!(applied.unwrap()[0].is_some());
        }
    }
}
