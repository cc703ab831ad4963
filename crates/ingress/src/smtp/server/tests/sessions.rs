//! Sessions in clear.

use super::*;

#[tokio::test]
async fn a_pipelined_group_and_a_second_message_are_taken() {
    let rig = Plan::trusted().start();
    let mut client = rig.connect().await;
    client.ask("EHLO x\r\n").await;
    client
        .say("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n")
        .await;
    for start in ["250 2.1.0", "250 2.1.5", "354"] {
        assert!(client.hear().await.starts_with(start));
    }
    // As PHP mailers do: the end of the message is a write of its own.
    client.say("Subject: x\r\n\r\nx").await;
    assert!(client.ask("\r\n.\r\n").await.starts_with("250 2.0.0 "));
    client.send_message().await;
    client.say("QUIT\r\n").await;
    assert_eq!(client.hear_to_end().await, "221 2.0.0 Bye\r\n");
    let kept = std::mem::take(&mut *rig.intake.kept.lock().unwrap());
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[0].channel, Channel::Smtp("127.0.0.1".parse().unwrap()));
    assert_eq!(kept[0].credential.name.as_str(), "shop");
    assert!((rig.metric("malote_smtp_messages_total") - 2.0).abs() < 0.1);
    rig.stop().await;
}

#[tokio::test]
async fn a_client_gone_in_the_middle_of_a_message_leaves_nothing() {
    let rig = Plan::trusted().start();
    for is_half_closed in [false, true] {
        let mut client = rig.connect().await;
        client.ask("EHLO x\r\n").await;
        client.send_envelope().await;
        client.say("Subject: x\r\n\r\nx\r\n.").await;
        if is_half_closed {
            client.stream.get_mut().shutdown().await.unwrap();
            assert_eq!(client.hear_to_end().await, "");
        }
    }
    rig.still_works().await;
    assert_eq!(rig.kept(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_half_closed_client_hears_its_answers() {
    let rig = Plan::trusted().start();
    let mut client = rig.connect().await;
    client.say("EHLO x\r\nNOOP\r\n").await;
    client.stream.get_mut().shutdown().await.unwrap();
    assert!(
        client
            .hear_to_end()
            .await
            .ends_with("250 CHUNKING\r\n250 2.0.0 Ok\r\n")
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_client_that_talks_before_the_banner_is_refused() {
    for plan in [Plan::trusted(), Plan::for_strangers()] {
        let mut early = None;
        let rig = plan.start_after(|address| {
            let mut tcp = std::net::TcpStream::connect(address).unwrap();
            std::io::Write::write_all(&mut tcp, b"EHLO x\r\n").unwrap();
            tcp.set_nonblocking(true).unwrap();
            early = Some(TcpStream::from_std(tcp).unwrap());
        });
        let mut client = Client::over(early.unwrap());
        let heard = client.hear_to_end().await;
        assert_eq!(
            heard,
            "554 5.5.0 You talked before the server greeted you\r\n"
        );
        rig.stop().await;
    }
}

#[tokio::test]
async fn stray_line_ends_are_answered_although_the_client_goes_on_sending() {
    let rig = Plan::trusted().start();
    let mut client = rig.connect().await;
    client.ask("EHLO x\r\n").await;
    client.send_envelope().await;
    let smuggled = format!("a\n.\r\nMAIL FROM:<evil@x.test>\r\n{}", "x".repeat(300_000));
    client.say(smuggled).await;
    assert_eq!(client.hear().await, "550 5.6.11 bare CR or LF");
    assert_eq!(client.hear_to_end().await, "");
    drop(client);
    assert_eq!(rig.kept(), 0);
    rig.still_works().await;
    rig.stop().await;
}

#[tokio::test]
async fn more_connections_than_one_source_may_have_are_refused_at_once() {
    let mut plan = Plan::for_strangers();
    plan.settings.connections_per_source_max = 2;
    let rig = plan.start();
    let held = (rig.connect().await, rig.connect().await);
    let mut third = rig.connect_silently().await;
    assert_eq!(
        third.hear_to_end().await,
        "421 4.7.0 Too many connections\r\n"
    );
    drop(held);
    // The places are free again when the server has seen both ends.
    let freed = async {
        while rig.connect_silently().await.hear().await.starts_with("421") {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, freed).await.unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn more_connections_than_all_sources_may_have_are_refused_at_once() {
    let mut plan = Plan::trusted();
    plan.settings.connections_max = 1;
    let rig = plan.start();
    let _held = rig.connect().await;
    let mut second = rig.connect_silently().await;
    assert_eq!(
        second.hear_to_end().await,
        "421 4.7.0 Too many connections\r\n"
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_message_beyond_the_memory_for_mail_in_flight_is_deferred() {
    let mut plan = Plan::trusted();
    plan.settings.inflight_bytes_max = 64 * 1024;
    let rig = plan.start();
    let mut client = rig.connect().await;
    client.ask("EHLO x\r\n").await;
    client.send_envelope().await;
    let large = format!("Subject: x\r\n\r\n{}\r\n.\r\n", "x".repeat(400_000));
    assert!(client.ask(&large).await.starts_with("452 4.3.1 "));
    client.send_message().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_session_that_panics_is_no_longer_counted_as_open() {
    let mut plan = Plan::trusted();
    plan.intake.is_broken = true;
    let rig = plan.start();
    let mut client = rig.connect().await;
    client.ask("EHLO x\r\n").await;
    client.send_envelope().await;
    let is_open = || rig.metric("malote_smtp_connections") > 0.0;
    assert!(is_open());
    client.say(MESSAGE).await;
    assert_eq!(client.hear_to_end().await, "");
    let closing = async {
        while is_open() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, closing).await.unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn a_submission_that_repeats_one_under_way_waits_for_it() {
    let plan = Plan::trusted();
    let twice = [Refusal::InProgress, Refusal::InProgress];
    plan.intake.refusals.lock().unwrap().extend(twice);
    let rig = plan.start();
    rig.still_works().await;
    assert_eq!(rig.kept(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_login_whose_password_was_changed_ends_at_its_next_message() {
    let mut plan = Plan::for_strangers();
    plan.listener["trusted_plaintext"] = json!(true);
    let rig = plan.start();
    let mut client = rig.connect().await;
    client.ask("EHLO x\r\n").await;
    assert!(client.ask(LOGIN).await.starts_with("235 "));
    let reloaded = Credentials::new([credential("pw")]);
    rig.credentials.store(Arc::new(reloaded));
    client.send_message().await;
    let changed = Credentials::new([credential("other")]);
    rig.credentials.store(Arc::new(changed));
    client.say("MAIL FROM:<a@x.test>\r\n").await;
    assert_eq!(client.hear_to_end().await, "421 4.7.0 Log in again\r\n");
    rig.stop().await;
}

#[tokio::test]
async fn a_proxys_header_says_who_the_client_is() {
    let mut plan = Plan::trusted();
    plan.listener["proxy_protocol_from"] = json!(["127.0.0.0/8"]);
    let rig = plan.start();
    for (header, heard) in [
        ("PROXY TCP4 127.0.0.1 127.0.0.1 1000 25\r\n", "250 2.1.0 "),
        ("PROXY TCP4 192.0.2.1 127.0.0.1 1000 25\r\n", "530 5.7.0 "),
        ("PROXY UNKNOWN\r\n", "530 5.7.0 "),
    ] {
        let mut client = rig.connect_silently().await;
        client.say(header).await;
        assert!(client.hear().await.starts_with("220 "), "{header}");
        client.ask("EHLO x\r\n").await;
        let said = client.ask("MAIL FROM:<a@x.test>\r\n").await;
        assert!(said.starts_with(heard), "{header}: {said}");
    }
    let mut client = rig.connect_silently().await;
    client.say("EHLO not-a-proxy-header\r\n").await;
    assert_eq!(client.hear_to_end().await, "");
    rig.stop().await;
}

#[tokio::test]
async fn a_stranger_who_does_not_log_in_is_told_that_time_is_over() {
    let mut plan = Plan::for_strangers();
    plan.settings.login_within = Duration::from_millis(100);
    let rig = plan.start();
    let mut client = rig.connect().await;
    client.ask("EHLO x\r\n").await;
    client.say("NOO").await;
    assert_eq!(client.hear_to_end().await, "421 4.4.2 Timeout\r\n");
    rig.stop().await;
}

#[tokio::test]
async fn wrong_passwords_slow_a_source_down_and_do_not_lock_it_out() {
    let mut plan = Plan::for_strangers();
    plan.listener["trusted_plaintext"] = json!(true);
    let rig = plan.start();
    let mut guesser = rig.connect().await;
    guesser.ask("EHLO x\r\n").await;
    for _ in 0..5 {
        let heard = guesser.ask("AUTH PLAIN AHNob3AAbm8=\r\n").await;
        assert!(heard.starts_with("535 5.7.8 "), "{heard}");
    }
    let last = guesser.hear_to_end().await;
    assert_eq!(last, "421 4.7.0 Too many authentication failures\r\n");
    let mut client = rig.connect().await;
    client.ask("EHLO x\r\n").await;
    let started = Instant::now();
    assert!(client.ask(LOGIN).await.starts_with("235 2.7.0 "));
    assert!(started.elapsed() >= Duration::from_millis(900));
    client.send_message().await;
    rig.stop().await;
}
