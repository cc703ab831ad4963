//! Stopping: nothing that was received to its end goes without its answer.

use super::*;

#[tokio::test]
async fn idle_sessions_are_told_and_nobody_new_is_accepted() {
    let rig = Plan::trusted().start();
    let mut idle = rig.connect().await;
    idle.ask("EHLO x\r\n").await;
    rig.shutdown.cancel();
    assert_eq!(
        idle.hear_to_end().await,
        "421 4.3.2 Service is stopping\r\n"
    );
    let address = rig.address;
    rig.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_message_under_way_may_be_finished() {
    let rig = Plan::trusted().start();
    let mut client = rig.connect().await;
    client.ask("EHLO x\r\n").await;
    client.send_envelope().await;
    client.say("Subject: x\r\n").await;
    rig.shutdown.cancel();
    client.say("\r\nx\r\n.\r\n").await;
    assert!(client.hear().await.starts_with("250 2.0.0 "));
    assert_eq!(
        client.hear_to_end().await,
        "421 4.3.2 Service is stopping\r\n"
    );
    assert_eq!(rig.kept(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_message_that_is_never_finished_is_cut_when_the_time_is_over() {
    let mut plan = Plan::trusted();
    plan.settings.drain_max = Duration::from_millis(50);
    let rig = plan.start();
    let mut client = rig.connect().await;
    client.ask("EHLO x\r\n").await;
    client.send_envelope().await;
    client.say("Subject: x\r\n").await;
    rig.shutdown.cancel();
    assert_eq!(
        client.hear_to_end().await,
        "421 4.3.2 Service is stopping\r\n"
    );
    let intake = Arc::clone(&rig.intake);
    rig.stop().await;
    assert!(intake.kept.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_message_with_the_engine_is_answered_however_late() {
    let gate = Arc::new(Notify::new());
    let mut plan = Plan::trusted();
    plan.settings.drain_max = Duration::ZERO;
    plan.intake.gate = Some(Arc::clone(&gate));
    let rig = plan.start();
    let mut client = rig.connect().await;
    client.ask("EHLO x\r\n").await;
    client.send_envelope().await;
    client.say(MESSAGE).await;
    timeout(PATIENCE, rig.intake.entered.notified())
        .await
        .unwrap();
    rig.shutdown.cancel();
    assert!(!rig.server.is_finished());
    gate.notify_one();
    assert!(client.hear().await.starts_with("250 2.0.0 Ok: queued as "));
    rig.stop().await;
}

#[tokio::test]
async fn a_drain_ends_sessions_between_messages_and_takes_the_one_under_way() {
    let rig = Plan::trusted().start();
    let (mut idle, mut busy) = (rig.connect().await, rig.connect().await);
    for client in [&mut idle, &mut busy] {
        client.ask("EHLO x\r\n").await;
    }
    busy.send_envelope().await;
    rig.openness.send_replace(Openness::Closing);
    // Until balancers have turned away, all is as before.
    rig.still_works().await;
    idle.send_message().await;
    rig.openness.send_replace(Openness::Closed);
    let goodbye = "421 4.3.2 Service is stopping\r\n";
    assert_eq!(idle.hear_to_end().await, goodbye);
    let heard = busy.ask(MESSAGE).await;
    assert!(heard.starts_with("250 2.0.0 Ok: queued as "), "{heard}");
    assert_eq!(busy.hear_to_end().await, goodbye);
    assert_eq!(rig.connect_silently().await.hear_to_end().await, goodbye);
    assert_eq!(rig.kept(), 3);
    rig.openness.send_replace(Openness::Open);
    rig.still_works().await;
    rig.stop().await;
}
