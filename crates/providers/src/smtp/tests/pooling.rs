//! When connections are kept, taken again, and given up.

use malote_core::provider::Fault;

use super::server::{ALL, Server, Step, hello, message, say, script, taken};
use super::*;

fn addresses(server: &Server) -> Vec<String> {
    let from = |heard: super::server::Heard| heard.from.unwrap().to_string();
    server.heard().into_iter().map(from).collect()
}

#[tokio::test]
async fn a_connection_carries_message_after_message_without_extra_commands() {
    let one = |id| script([message(), vec![taken(id)]]);
    let server = Server::start(vec![script([hello(&ALL), one("1"), one("2"), one("3")])]).await;
    let provider = provider(server.port);
    for id in ["1", "2", "3"] {
        let report = send(&provider, &outgoing(&["x@x.test"])).await;
        assert_eq!(results(report), [Ok(id.to_owned())]);
    }
    let heard = server.heard();
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].lines.len(), 1 + 3 * 3, "{:?}", heard[0].lines);
}

#[tokio::test]
async fn after_a_failure_the_next_message_begins_with_rset() {
    let failed = vec![
        Step::Hear,
        Step::Hear,
        Step::Hear,
        say("250 a\r\n550 5.1.1 b\r\n503 5.5.1 c\r\n"),
    ];
    let next = vec![
        Step::HearOnce,
        say("250 reset\r\n250 a\r\n250 b\r\n354 c\r\n"),
        Step::HearData,
        taken("Q"),
    ];
    let server = Server::start(vec![script([hello(&ALL), failed, next])]).await;
    let provider = provider(server.port);
    let report = send(&provider, &outgoing(&["no@x.test"])).await;
    assert_eq!(results(report), [Err(Verdict::Rejected(Fault::Recipient))]);
    let report = send(&provider, &outgoing(&["x@x.test"])).await;
    assert_eq!(results(report), [Ok("Q".to_owned())]);
    assert!(server.heard()[0].lines[4].starts_with("RSET\r\nMAIL FROM:"));
}

#[tokio::test]
async fn an_idle_connection_that_the_server_has_closed_costs_nothing() {
    let first = script([hello(&ALL), message(), vec![taken("1")]]);
    let second = script([hello(&ALL), message(), vec![taken("2")]]);
    for last in [
        vec![],
        vec![Step::Hear],
        vec![Step::Hear, say("421 4.4.2 idle too long\r\n")],
    ] {
        let server = Server::start(vec![script([first.clone(), last]), second.clone()]).await;
        let provider = provider(server.port);
        for id in ["1", "2"] {
            let report = send(&provider, &outgoing(&["x@x.test"])).await;
            assert_eq!(results(report), [Ok(id.to_owned())]);
        }
        assert_eq!(server.heard().len(), 2);
    }
}

#[tokio::test]
async fn only_one_new_connection_is_tried_for_a_closed_one() {
    let first = script([hello(&ALL), message(), vec![taken("1"), Step::Hear]]);
    let server = Server::start(vec![first, script([hello(&ALL), vec![Step::Hear]])]).await;
    let provider = provider(server.port);
    send(&provider, &outgoing(&["x@x.test"])).await;
    let report = send(&provider, &outgoing(&["x@x.test"])).await;
    assert_eq!(results(report), [Err(Verdict::Transient)]);
    assert_eq!(server.heard().len(), 2);
}

#[tokio::test]
async fn after_421_the_connection_is_not_used_again() {
    let last = say("421 4.7.0 slow down\r\n");
    let hear = Step::Hear;
    let go = say("250 a\r\n250 b\r\n354 c\r\n");
    let half = vec![
        hear.clone(),
        hear.clone(),
        hear.clone(),
        go,
        Step::HearBytes(4096),
    ];
    let mut large = outgoing(&["x@dest.example"]);
    large.body = Bytes::from([BODY, &"line\r\n".repeat(4 << 20)].concat());
    let small = outgoing(&["x@x.test"]);
    for (place, first, begun) in [
        ("the greeting", vec![last.clone(), Step::Hang], &small),
        (
            "MAIL",
            script([hello(&ALL), vec![hear, last.clone(), Step::Hang]]),
            &small,
        ),
        // It closes, too, while the rest is being written.
        (
            "half of the message",
            script([hello(&["PIPELINING"]), half, vec![last.clone()]]),
            &large,
        ),
        (
            "the message",
            script([hello(&ALL), message(), vec![last, Step::Hang]]),
            &small,
        ),
    ] {
        let second = script([hello(&ALL), message(), vec![taken("2")]]);
        let server = Server::start(vec![first, second]).await;
        let provider = provider(server.port);
        let report = send(&provider, begun).await;
        let throttled = Err(Verdict::Throttled { after: None });
        assert_eq!(results(report), [throttled], "{place}");
        let report = send(&provider, &small).await;
        assert_eq!(results(report), [Ok("2".to_owned())], "{place}");
        let connections = server.heard();
        assert_eq!(connections.len(), 2, "{place}");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_spoils_the_connection() {
    let first = script([
        hello(&ALL),
        message(),
        vec![say("250 ok id=1\r\n250 and more\r\n"), Step::Hang],
    ]);
    let second = script([hello(&ALL), message(), vec![taken("2")]]);
    let server = Server::start(vec![first, second]).await;
    let provider = provider(server.port);
    for id in ["1", "2"] {
        let report = send(&provider, &outgoing(&["x@x.test"])).await;
        assert_eq!(results(report), [Ok(id.to_owned())]);
    }
}

#[tokio::test]
async fn source_addresses_take_turns_and_keep_their_own_connections() {
    let one = |id| script([message(), vec![taken(id)]]);
    let two = script([hello(&ALL), one("a"), one("b"), vec![Step::Hang]]);
    let server = Server::start(vec![two.clone(), two]).await;
    let table = format!("host = '127.0.0.1'\nport = {}\ntls = 'none'", server.port);
    let provider = provider_of(&table, &["127.0.0.2", "127.0.0.3"]);
    for id in ["a", "a", "b", "b"] {
        let report = send(&provider, &outgoing(&["x@x.test"])).await;
        assert_eq!(results(report), [Ok(id.to_owned())]);
    }
    assert_eq!(addresses(&server), ["127.0.0.2", "127.0.0.3"]);
    let mut elsewhere = outgoing(&["x@x.test"]);
    elsewhere.pool = PoolName::try_from("default").unwrap();
    send(&provider, &elsewhere).await;
    assert_eq!(addresses(&server)[2..], ["127.0.0.1"]);
}

#[tokio::test]
async fn a_source_address_of_another_machine_is_the_pools_fault() {
    let server = Server::start(vec![]).await;
    let table = format!("host = '127.0.0.1'\nport = {}\ntls = 'none'", server.port);
    let report = send(
        &provider_of(&table, &["192.0.2.1"]),
        &outgoing(&["x@x.test"]),
    )
    .await;
    assert_eq!(results(report), [Err(Verdict::PoolUnusable)]);
}

#[tokio::test]
async fn classes_never_share_connections_and_the_cap_is_a_cap() {
    let hang = script([hello(&ALL), vec![Step::Hang]]);
    let good = script([hello(&ALL), message(), vec![taken("T")]]);
    let server = Server::start(vec![hang, good]).await;
    let table = format!(
        "host = '127.0.0.1'\nport = {}\ntls = 'none'\nconnections_max = 1",
        server.port
    );
    let mut provider = provider_of(&table, &[]);
    let timing = &mut std::sync::Arc::get_mut(&mut provider.pool)
        .unwrap()
        .endpoint_mut()
        .timing;
    timing.command = Duration::from_secs(3);
    let campaign = outgoing(&["x@x.test"]);
    let mut transactional = outgoing(&["x@x.test"]);
    transactional.class = Class::Transactional;
    let hung = send(&provider, &campaign);
    let others = async {
        while server
            .heard()
            .first()
            .is_none_or(|heard| heard.lines.is_empty())
        {
            tokio::task::yield_now().await;
        }
        let refused = send(&provider, &campaign).await;
        (refused, send(&provider, &transactional).await)
    };
    let (hung, (refused, sent)) = tokio::join!(hung, others);
    assert_eq!(results(hung), [Err(Verdict::Transient)]);
    assert_eq!(results(refused), [Err(Verdict::Throttled { after: None })]);
    assert_eq!(results(sent), [Ok("T".to_owned())]);
}

#[tokio::test]
async fn worn_and_idle_connections_are_closed_with_quit() {
    let once = |id| script([hello(&ALL), message(), vec![taken(id), Step::Hear]]);
    let server = Server::start(vec![once("1"), once("2")]).await;
    let table = format!(
        "host = '127.0.0.1'\nport = {}\ntls = 'none'\nmessages_per_connection_max = 1",
        server.port
    );
    let provider = provider_of(&table, &[]);
    for id in ["1", "2"] {
        let report = send(&provider, &outgoing(&["x@x.test"])).await;
        assert_eq!(results(report), [Ok(id.to_owned())]);
    }
    let said_goodbye = async {
        let last = |heard: &super::server::Heard| heard.lines.last().cloned();
        while server
            .heard()
            .iter()
            .any(|heard| last(heard).as_deref() != Some("QUIT"))
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, said_goodbye)
        .await
        .expect("QUIT on both");
}
