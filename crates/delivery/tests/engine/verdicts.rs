//! What each verdict does to the delivery, its timeline and the target.

use std::time::Duration;

use jiff::Timestamp;
use malote_core::clock::{Clock, SystemClock};
use malote_core::event::State;
use malote_core::provider::{Fault, Verdict};
use malote_core::stream::Class;

use crate::rig::{Rig, Setup, events, mail, outcomes};
use crate::script::{Act, Scripted};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_transient_failure_goes_to_the_next_target_at_once_and_the_timeline_says_so() {
    let (a, b) = (Scripted::new("a"), Scripted::new("b"));
    let rig = Rig::start(&Setup::new(&[&a, &b], &[])).await;
    a.then([Act::Fail(Verdict::Transient)]);
    let id = rig.submit(mail("tx", &["r@x.example"])).await.id;
    let view = rig.wait_for(id, State::Sent).await;
    let delivery = &view.deliveries[0];
    assert_eq!(outcomes(delivery), ["a: transient", "b: sent"]);
    assert_eq!(events(delivery), ["accepted", "failed_over", "sent"]);
    assert_eq!(delivery.provider_message_id.as_deref(), Some("b-1"));
    assert!(
        delivery.attempts[1]
            .reason
            .contains("passed over: transient"),
        "{}",
        delivery.attempts[1].reason
    );
    let gap = delivery.attempts[1].started_at - delivery.attempts[0].started_at;
    assert!(gap.get_seconds() < 1, "at once, not {gap}");
}

/// One verdict, the state in the end, the outcomes, and what else: the target that gave it is
/// `down`, or the address is `suppressed`.
type Row = (Verdict, State, &'static str, &'static str);

fn rows(until: Option<Timestamp>) -> [Row; 13] {
    use Fault::{Message, MessageHere, NotPermitted, Recipient, Reputation};
    use State::{Bounced, Sent, Suppressed};
    use Verdict::{
        Deferred, PoolUnusable, ProviderUnusable, QuotaSpent, Rejected, SenderUnusable, Throttled,
        Unknown,
    };
    let after = Some(HOUR);
    [
        (Throttled { after }, Sent, "a: throttled, b: sent", "down"),
        (Deferred, Sent, "a: deferred, a: sent", ""),
        (
            QuotaSpent { until },
            Sent,
            "a: quota_spent, b: sent",
            "down",
        ),
        (
            ProviderUnusable,
            Sent,
            "a: provider_unusable, b: sent",
            "down",
        ),
        (PoolUnusable, Sent, "a: pool_unusable, b: sent", "down"),
        (SenderUnusable, Sent, "a: sender_unusable, b: sent", ""),
        (Verdict::Suppressed, Suppressed, "a: suppressed", ""),
        (
            Rejected(Recipient),
            Bounced,
            "a: rejected_recipient",
            "suppressed",
        ),
        (Rejected(Message), Bounced, "a: rejected_message", ""),
        (
            Rejected(MessageHere),
            Sent,
            "a: rejected_message_here, b: sent",
            "",
        ),
        (
            Rejected(Reputation),
            Sent,
            "a: rejected_reputation, b: sent",
            "",
        ),
        (
            Rejected(NotPermitted),
            Bounced,
            "a: rejected_not_permitted",
            "",
        ),
        (Unknown, Sent, "a: unknown, a: sent", ""),
    ]
}

#[tokio::test]
async fn every_verdict_has_the_consequence_that_it_names() {
    let until = Some(SystemClock::start().now() + HOUR);
    for (verdict, state, expected, also) in rows(until) {
        let (a, b) = (Scripted::new("a"), Scripted::new("b"));
        let rig = Rig::start(&Setup::new(&[&a, &b], &[])).await;
        a.then([Act::Fail(verdict.clone())]);
        let id = rig.submit(mail("tx", &["r@x.example"])).await.id;
        let view = rig.wait_for(id, state).await;
        let outcomes = outcomes(&view.deliveries[0]).join(", ");
        assert_eq!(outcomes, expected, "{verdict:?}");
        assert_eq!(rig.target(&a).0, also != "down", "{verdict:?}");
        let is_suppressed = rig.is_suppressed("r@x.example", "tx", Class::Transactional);
        assert_eq!(is_suppressed.await, also == "suppressed", "{verdict:?}");
    }
}

#[tokio::test]
async fn a_sender_that_one_provider_does_not_take_goes_by_the_other_from_then_on() {
    let (a, b) = (Scripted::new("a"), Scripted::new("b"));
    let rig = Rig::start(&Setup::new(&[&a, &b], &[])).await;
    a.then([Act::Fail(Verdict::SenderUnusable)]);
    let ids = rig.submit_many("tx", 2).await;
    rig.wait_for_all(&ids, State::Sent).await;
    let more = rig.submit_many("tx", 3).await;
    rig.wait_for_all(&more, State::Sent).await;
    let at_a: Vec<_> = a.seen();
    assert!(at_a.len() <= 2, "asked again for the same sender: {at_a:?}");
}

#[tokio::test]
async fn what_the_other_provider_may_take_waits_for_it_instead_of_bouncing() {
    let (a, b) = (Scripted::new("a"), Scripted::new("b"));
    let rig = Rig::start(&Setup::new(&[&a, &b], &[])).await;
    let paused = malote_store::Switch::ProviderPaused("b".parse().unwrap());
    rig.engine.set_switch(paused.clone(), true).await.unwrap();
    a.always(Act::Fail(Verdict::Rejected(Fault::Reputation)));
    let id = rig.submit(mail("tx", &["r@x.example"])).await.id;
    rig.wait_for(id, State::Deferred).await;
    rig.engine.set_switch(paused, false).await.unwrap();
    let view = rig.wait_for(id, State::Sent).await;
    assert_eq!(
        outcomes(&view.deliveries[0]),
        ["a: rejected_reputation", "b: sent"]
    );
}

#[tokio::test]
async fn a_group_refused_for_one_recipient_is_sent_one_by_one() {
    let a = Scripted::for_groups("a", 10);
    let rig = Rig::start(&Setup::new(&[&a], &[])).await;
    a.then([Act::Fail(Verdict::Ungroup), Act::Take, Act::Take]);
    let id = rig
        .submit(mail(
            "tx",
            &["r0@x.example", "r1@x.example", "r2@x.example"],
        ))
        .await
        .id;
    rig.wait_for(id, State::Sent).await;
    let sizes: Vec<usize> = a.seen().iter().map(|call| call.recipients.len()).collect();
    assert_eq!(sizes, [3, 1, 1, 1]);
}

#[tokio::test]
async fn each_recipient_of_a_call_has_a_result_of_its_own() {
    let a = Scripted::for_groups("a", 10);
    let rig = Rig::start(&Setup::new(&[&a], &[])).await;
    a.then([Act::Each(vec![
        Ok(()),
        Err(Verdict::Rejected(Fault::Recipient)),
        Err(Verdict::Deferred),
    ])]);
    let id = rig
        .submit(mail(
            "tx",
            &["r0@x.example", "r1@x.example", "r2@x.example"],
        ))
        .await
        .id;
    crate::rig::until("the deferred one is asked for again", || a.calls() == 2).await;
    assert_eq!(a.seen()[1].recipients, ["r2@x.example"]);
    let mut states = Vec::new();
    for _ in 0..1000 {
        states = rig
            .view(id)
            .await
            .deliveries
            .iter()
            .map(|d| d.state)
            .collect();
        if states == [State::Sent, State::Bounced, State::Sent] {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{states:?}");
}
