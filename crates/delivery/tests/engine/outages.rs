//! Providers that refuse us: how often they are asked, how often a human is, and what a reload changes.

use std::time::Duration;

use malote_core::event::State;
use malote_core::provider::Verdict;

use crate::rig::{Rig, Setup, mail, until};
use crate::script::{Act, Scripted};

/// A little less than a rest.
const NEARLY: Duration = Duration::from_secs(5);

/// Waits until the engine has looked which checks are due since now; `polled` is checked each time.
async fn has_looked(polled: &Scripted) {
    let checks = polled.checks();
    until("it looked twice", || polled.checks() >= checks + 2).await;
}

async fn send(rig: &Rig) {
    let id = rig.submit(mail("tx", &["r@x.example"])).await.id;
    rig.wait_for(id, State::Sent).await;
}

#[tokio::test]
async fn a_provider_that_its_check_calls_good_and_that_refuses_mail_is_asked_ever_more_rarely_and_told_of_once()
 {
    let (a, b) = (Scripted::new("a"), Scripted::new("b"));
    b.be_polled();
    let mut rig = Rig::start(&Setup::new(&[&a, &b], &[])).await;
    rig.keep_house();
    has_looked(&b).await;
    a.always(Act::Fail(Verdict::ProviderUnusable));
    send(&rig).await;
    for (trial, rest_s) in (1..).zip([60, 120, 240]) {
        rig.clock.advance(Duration::from_secs(rest_s) - NEARLY);
        has_looked(&b).await;
        assert!(!rig.target(&a).0, "it was put in again too early");
        rig.clock.advance(NEARLY);
        until("it is put in again", || rig.target(&a).0).await;
        assert_eq!(a.calls(), trial);
        send(&rig).await;
        assert_eq!(a.calls(), trial + 1);
        assert!(!rig.target(&a).0);
    }
    assert_eq!(rig.alerts("provider_out"), 1);
    a.always(Act::Take);
    rig.clock.advance(Duration::from_secs(480));
    until("it is put in again", || rig.target(&a).0).await;
    send(&rig).await;
    assert_eq!(rig.alerts("provider_out"), 1);
    a.always(Act::Fail(Verdict::ProviderUnusable));
    send(&rig).await;
    assert_eq!(rig.alerts("provider_out"), 2, "it had been well meanwhile");
}

#[tokio::test]
async fn what_an_adapter_is_told_after_a_reload_says_nothing_of_the_one_in_its_place() {
    for verdict in [Verdict::ProviderUnusable, Verdict::Transient] {
        let (old, new) = (Scripted::new("a"), Scripted::new("a"));
        let b = Scripted::new("b");
        let rig = Rig::start(&Setup::new(&[&old, &b], &[])).await;
        let answer = Duration::from_millis(500);
        old.always(Act::FailAfter(answer, verdict.clone()));
        let ids = rig.submit_many("tx", 10).await;
        until("they are under way", || old.calls() == 10).await;
        rig.engine.reload(Setup::new(&[&new, &b], &[]).policy());
        rig.wait_for_all(&ids, State::Sent).await;
        assert_eq!(rig.target(&new), (true, "closed"), "{verdict:?}");
        assert_eq!(rig.alerts("provider_out"), 0);
    }
}

#[tokio::test]
async fn a_reload_checks_the_providers_that_it_replaces_and_those_that_are_out() {
    let (kept, old, new) = (Scripted::new("a"), Scripted::new("b"), Scripted::new("b"));
    let (out, polled) = (Scripted::new("c"), Scripted::new("d"));
    polled.be_polled();
    let all = |b| Setup::new(&[&out, &kept, b, &polled], &[]);
    let mut rig = Rig::start(&all(&old)).await;
    rig.keep_house();
    has_looked(&polled).await;
    out.always(Act::Fail(Verdict::ProviderUnusable));
    send(&rig).await;
    assert!(!rig.target(&out).0);
    let before = (kept.checks(), out.checks());
    rig.engine.reload(all(&new).policy());
    until("the new one is checked", || new.checks() > 0).await;
    until("the one that is out is checked", || out.checks() > before.1).await;
    has_looked(&polled).await;
    assert_eq!(kept.checks(), before.0);
}

#[tokio::test]
async fn a_target_whose_probe_is_due_is_not_up_and_its_route_has_none() {
    let (a, other) = (Scripted::new("a"), Scripted::new("other"));
    let mut rig = Rig::start(&Setup::new(&[&a], &[&other])).await;
    rig.keep_house();
    let up = |rig: &Rig, route: &str| rig.counted("malote_route_targets_up", route);
    until("it is counted", || up(&rig, "tx") == 1.0).await;
    a.always(Act::Fail(Verdict::Transient));
    rig.submit_many("tx", 10).await;
    until("it opened", || rig.target(&a) == (false, "open")).await;
    let paused = malote_store::Switch::StreamPaused("tx".parse().unwrap());
    rig.engine.set_switch(paused, true).await.unwrap();
    rig.clock.advance(Duration::from_secs(300));
    until("nothing is under way", || rig.target(&a).1 == "open").await;
    let targets = rig.engine.targets();
    let of_a = targets.iter().find(|t| t.target == "a/default").unwrap();
    let why = of_a.why.as_deref();
    assert_eq!(
        (of_a.is_up, why),
        (
            false,
            Some("its breaker is open, the next mail is the probe")
        )
    );
    until("its route has none", || up(&rig, "tx") == 0.0).await;
    assert_eq!(up(&rig, "news"), 1.0);
}
