//! Outcomes that nobody knows: by the stream's policy a duplicate is worse, or a loss is.

use malote_core::event::State;
use malote_core::provider::Verdict;

use crate::rig::{Rig, Setup, events, mail, outcomes, until};
use crate::script::{Act, Scripted};

#[tokio::test]
async fn where_a_duplicate_is_worse_an_unknown_outcome_is_held_over_a_restart() {
    let (c, d) = (Scripted::new("c"), Scripted::new("d"));
    let setup = Setup::new(&[], &[&c, &d]);
    let rig = Rig::start(&setup).await;
    c.then([Act::Fail(Verdict::Unknown)]);
    let id = rig.submit(mail("news", &["r@x.example"])).await.id;
    rig.wait_for(id, State::Unknown).await;
    let rig = rig.restart(&setup).await;
    let probe = rig.submit(mail("news", &["other@x.example"])).await.id;
    rig.wait_for(probe, State::Sent).await;
    let view = rig.view(id).await;
    assert_eq!(outcomes(&view.deliveries[0]), ["c: unknown"]);
    assert_eq!((c.calls(), d.calls()), (2, 0));
}

#[tokio::test]
async fn where_a_loss_is_worse_the_same_provider_is_asked_again_first_with_the_same_message_id() {
    let (a, b) = (Scripted::new("a"), Scripted::new("b"));
    let rig = Rig::start(&Setup::new(&[&a, &b], &[])).await;
    a.then([Act::Fail(Verdict::Unknown), Act::Fail(Verdict::Unknown)]);
    let id = rig.submit(mail("tx", &["r@x.example"])).await.id;
    let view = rig.wait_for(id, State::Sent).await;
    let delivery = &view.deliveries[0];
    assert_eq!(outcomes(delivery), ["a: unknown", "a: unknown", "b: sent"]);
    assert_eq!(
        events(delivery),
        ["accepted", "resend_risk", "resend_risk", "sent"]
    );
    let message_id = |body: &str| {
        let line = body.lines().find(|line| line.starts_with("Message-ID:"));
        line.map(str::to_owned)
    };
    let first = message_id(&a.seen()[0].body);
    assert!(first.is_some());
    assert_eq!(first, message_id(&a.seen()[1].body));
    assert_eq!(first, message_id(&b.seen()[0].body));
}

#[tokio::test]
async fn a_crash_during_a_journaled_call_leaves_an_unknown_outcome() {
    let c = Scripted::new("c");
    let setup = Setup::new(&[], &[&c]);
    let rig = Rig::start(&setup).await;
    c.then([Act::Hang]);
    let id = rig.submit(mail("news", &["r@x.example"])).await.id;
    until("the call is under way", || c.calls() == 1).await;
    let rig = rig.crash(&setup).await;
    let view = rig.wait_for(id, State::Unknown).await;
    assert_eq!(outcomes(&view.deliveries[0]), ["c: unknown"]);
    assert_eq!(c.calls(), 1);
}

#[tokio::test]
async fn a_crash_during_a_call_is_sent_again_where_a_loss_is_worse() {
    let a = Scripted::new("a");
    let setup = Setup::new(&[&a], &[]);
    let rig = Rig::start(&setup).await;
    a.then([Act::Hang]);
    let id = rig.submit(mail("tx", &["r@x.example"])).await.id;
    until("the call is under way", || a.calls() == 1).await;
    let rig = rig.crash(&setup).await;
    rig.wait_for(id, State::Sent).await;
    assert_eq!(a.calls(), 2);
}

#[tokio::test]
async fn an_operator_settles_an_unknown_outcome_either_way() {
    use malote_delivery::Resolution;
    let c = Scripted::new("c");
    let rig = Rig::start(&Setup::new(&[], &[&c])).await;
    for (resolution, calls) in [(Resolution::Sent, 1), (Resolution::Resend, 3)] {
        c.then([Act::Fail(Verdict::Unknown)]);
        let id = rig.submit(mail("news", &["r@x.example"])).await.id;
        let view = rig.wait_for(id, State::Unknown).await;
        assert!(
            rig.engine
                .resolve(view.deliveries[0].id, resolution)
                .await
                .unwrap()
        );
        rig.wait_for(id, State::Sent).await;
        assert_eq!(c.calls(), calls, "{resolution:?}");
    }
}
