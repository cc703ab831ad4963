//! Panics, crashes and the end of the process.

use std::time::Duration;

use malote_core::event::State;

use crate::rig::{Rig, Setup, mail, until};
use crate::script::{Act, Scripted};

#[tokio::test]
async fn a_message_over_which_an_adapter_panics_is_set_aside_and_the_others_flow() {
    let a = Scripted::new("a");
    let rig = Rig::start(&Setup::new(&[&a], &[])).await;
    let poison = rig.submit(mail("tx", &["poison@x.example"])).await.id;
    let others = rig.submit_many("tx", 5).await;
    rig.wait_for_all(&others, State::Sent).await;
    let view = rig.wait_for(poison, State::Quarantined).await;
    assert_eq!(view.deliveries[0].attempts.len(), 3);
}

#[tokio::test]
async fn the_end_of_the_process_waits_for_calls_under_way() {
    let a = Scripted::new("a");
    let setup = Setup::new(&[&a], &[]);
    let rig = Rig::start(&setup).await;
    a.always(Act::TakeAfter(Duration::from_millis(300)));
    let ids = rig.submit_many("tx", 3).await;
    until("the calls are under way", || a.calls() == 3).await;
    let rig = rig.restart(&setup).await;
    assert_eq!(rig.count(&ids, State::Sent).await, 3);
    assert_eq!(a.calls(), 3, "nothing was sent twice");
}

#[tokio::test]
async fn a_call_that_hangs_does_not_hold_the_end_of_the_process_for_longer_than_the_drain() {
    let a = Scripted::new("a");
    let mut setup = Setup::new(&[&a], &[]);
    setup.bounds.drain_max = Duration::from_millis(200);
    let rig = Rig::start(&setup).await;
    a.then([Act::Hang]);
    let id = rig.submit(mail("tx", &["r@x.example"])).await.id;
    until("the call is under way", || a.calls() == 1).await;
    let started = tokio::time::Instant::now();
    let rig = rig.restart(&setup).await;
    assert!(started.elapsed() < Duration::from_secs(5));
    rig.wait_for(id, State::Sent).await;
}

#[tokio::test]
async fn after_several_crashes_what_was_under_way_is_carried_alone_and_all_of_it_arrives() {
    let a = Scripted::new("a");
    let setup = Setup::new(&[&a], &[]);
    let mut rig = Rig::start(&setup).await;
    a.always(Act::Hang);
    let ids = rig.submit_many("tx", 4).await;
    for crash in 1..=2 {
        until("all are under way", || a.calls() == 4 * crash).await;
        rig = rig.crash(&setup).await;
    }
    until("all are under way", || a.calls() == 12).await;
    assert_eq!(a.most_under_way(), 4, "two crashes say nothing");
    let well = Scripted::new("a");
    well.always(Act::TakeAfter(Duration::from_millis(50)));
    let rig = rig.crash(&Setup::new(&[&well], &[])).await;
    rig.wait_for_all(&ids, State::Sent).await;
    assert_eq!((well.calls(), well.most_under_way()), (4, 1));
}

#[tokio::test]
async fn what_was_under_way_in_too_many_crashes_is_set_aside() {
    let a = Scripted::new("a");
    let mut setup = Setup::new(&[&a], &[]);
    setup.bounds.crashes_max = 2;
    let mut rig = Rig::start(&setup).await;
    a.always(Act::Hang);
    let id = rig.submit(mail("tx", &["r@x.example"])).await.id;
    for crash in 1..=2 {
        until("it is under way", || a.calls() == crash).await;
        rig = rig.crash(&setup).await;
    }
    rig.wait_for(id, State::Quarantined).await;
    assert_eq!(a.calls(), 2);
}
