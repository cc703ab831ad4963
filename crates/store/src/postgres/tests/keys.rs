//! Idempotency keys of two stores and one database.

use malote_core::id::MessageId;
use malote_core::intake::RecipientStatus;

use crate::conformance::mail::at;
use crate::postgres::tests::cluster::{Cluster, TestDatabase};
use crate::postgres::tests::{fresh, stop_clock, try_open};
use crate::{
    CompletedKey, Forgotten, KeyBook, KeyClaim, KeyRecord, KeyWish, NodeReport, NodeState, Nodes,
    OwnedKey, PostgresShared,
};

fn owned(key: &str) -> OwnedKey {
    OwnedKey {
        credential: "shop".try_into().unwrap(),
        key: key.into(),
    }
}

fn wish(key: &str, home: &str) -> KeyWish {
    KeyWish {
        key: owned(key),
        home: home.into(),
        fingerprint: Some([7; 32]),
    }
}

fn completed(key: &str, message: MessageId) -> CompletedKey {
    CompletedKey {
        key: owned(key),
        message,
        stream: "tx".try_into().unwrap(),
        statuses: vec![
            RecipientStatus::Queued,
            RecipientStatus::Suppressed,
            RecipientStatus::Bounced,
        ],
    }
}

async fn claim(node: &PostgresShared, key: &str, home: &str) -> KeyClaim {
    node.reserve_key(&wish(key, home)).await.unwrap()
}

fn is_held(claim: &KeyClaim) -> bool {
    matches!(claim, KeyClaim::Held { .. })
}

async fn nodes() -> (PostgresShared, PostgresShared, TestDatabase) {
    let (one, database) = fresh().await;
    let other = try_open(&database.settings()).await.unwrap();
    (one, other, database)
}

#[tokio::test]
async fn a_reserved_key_is_one_store_s_until_it_is_completed() {
    let (one, other, _database) = nodes().await;
    a_key_is_reserved_completed_and_told(&one, &other).await;
}

pub(super) async fn a_key_is_reserved_completed_and_told(
    one: &PostgresShared,
    other: &PostgresShared,
) {
    assert_eq!(claim(one, "k", "a").await, KeyClaim::Ours);
    assert!(is_held(&claim(other, "k", "b").await));
    // Another's key, and another credential's of the same name.
    assert_eq!(claim(other, "l", "b").await, KeyClaim::Ours);
    let mut foreign = wish("k", "b");
    foreign.key.credential = "crm".try_into().unwrap();
    assert_eq!(other.reserve_key(&foreign).await, Ok(KeyClaim::Ours));
    let message = MessageId::new(at(0));
    one.complete_keys("a", &[completed("k", message)])
        .await
        .unwrap();
    let done = KeyClaim::Done(KeyRecord {
        message,
        fingerprint: Some([7; 32]),
        stream: "tx".try_into().unwrap(),
        statuses: completed("k", message).statuses,
    });
    assert_eq!(claim(other, "k", "b").await, done);
    // Its own store may have forgotten it.
    assert_eq!(claim(one, "k", "a").await, done);
}

#[tokio::test]
async fn a_key_that_was_released_is_free_and_a_completed_one_is_not() {
    let (one, other, _database) = nodes().await;
    let all = [owned("k"), owned("l")];
    for key in ["k", "l"] {
        assert_eq!(claim(&one, key, "a").await, KeyClaim::Ours);
    }
    assert_eq!(one.open_keys("a").await.unwrap(), all);
    assert_eq!(one.open_keys("b").await.unwrap(), []);
    let message = MessageId::new(at(0));
    one.complete_keys("a", &[completed("l", message)])
        .await
        .unwrap();
    // Nobody releases for another.
    other.release_keys("b", &all).await.unwrap();
    assert!(is_held(&claim(&other, "k", "b").await));
    one.release_keys("a", &all).await.unwrap();
    assert_eq!(one.open_keys("a").await.unwrap(), []);
    assert_eq!(claim(&other, "k", "b").await, KeyClaim::Ours);
    assert!(matches!(
        claim(&other, "l", "b").await,
        KeyClaim::Done(record) if record.message == message
    ));
}

#[tokio::test]
async fn a_store_that_said_nothing_gets_its_key_again_and_what_it_says_late_is_heard() {
    let (before, after, _database) = nodes().await;
    assert_eq!(claim(&before, "k", "a").await, KeyClaim::Ours);
    assert_eq!(claim(&after, "k", "a").await, KeyClaim::Ours);
    let (first, second) = (MessageId::new(at(0)), MessageId::new(at(1)));
    after
        .complete_keys("a", &[completed("k", second)])
        .await
        .unwrap();
    before
        .complete_keys("a", &[completed("k", first)])
        .await
        .unwrap();
    assert!(matches!(
        claim(&before, "k", "b").await,
        KeyClaim::Done(record) if record.message == second
    ));
}

#[tokio::test]
async fn a_key_stands_for_a_day_and_expires() {
    let (one, other, database) = nodes().await;
    for key in ["k", "l", "m"] {
        assert_eq!(claim(&one, key, "a").await, KeyClaim::Ours);
    }
    let message = MessageId::new(at(0));
    one.complete_keys("a", &[completed("l", message)])
        .await
        .unwrap();
    let age = |key: &str, seconds: i64| {
        format!(
            "UPDATE malote.keys SET reserved_at = reserved_at - {seconds}::bigint * 1000000
             WHERE key = '{key}'"
        )
    };
    for key in ["k", "l"] {
        database.run(&age(key, 86_399)).await;
        assert_ne!(claim(&other, key, "b").await, KeyClaim::Ours, "{key}");
        database.run(&age(key, 1)).await;
        assert_eq!(claim(&other, key, "b").await, KeyClaim::Ours, "{key}");
    }
    database.run(&age("m", 86_400)).await;
    assert_eq!(one.expire_keys().await, Ok(1));
    assert_eq!(one.expire_keys().await, Ok(0));
    assert_eq!(one.open_keys("a").await.unwrap(), []);
}

#[tokio::test]
async fn an_operator_has_a_node_forgotten_that_does_not_live_and_its_keys() {
    let (one, other, database) = nodes().await;
    let report = NodeReport {
        name: "a".into(),
        version: "0.1.0".into(),
        configuration: "c0ffee".into(),
        state: NodeState::Serving,
    };
    one.beat(&report).await.unwrap();
    assert_eq!(claim(&one, "k", "a").await, KeyClaim::Ours);
    let KeyClaim::Held { node, .. } = claim(&other, "k", "b").await else {
        panic!("not held");
    };
    assert_eq!(node.as_deref(), Some("a"));
    let nothing = Ok(Forgotten {
        processes: 0,
        keys: 0,
    });
    assert_eq!(other.forget_node("a").await, nothing, "it lives");
    database
        .run("UPDATE malote.nodes SET beat_at = beat_at - 16000000")
        .await;
    assert_eq!(other.forget_node("b").await, nothing, "another's");
    assert_eq!(other.list().await.unwrap().len(), 1);
    let all = Forgotten {
        processes: 1,
        keys: 1,
    };
    assert_eq!(other.forget_node("a").await, Ok(all));
    assert_eq!(other.list().await.unwrap(), []);
    assert_eq!(claim(&other, "k", "b").await, KeyClaim::Ours);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_stores_that_want_a_key_at_once_one_gets_it() {
    let database = Cluster::of_all().database().await;
    let mut nodes = Vec::new();
    for _ in 0..4 {
        nodes.push(try_open(&database.settings()).await.unwrap());
    }
    stop_clock(&database).await;
    for round in 0..20 {
        let mut claims = tokio::task::JoinSet::new();
        for (number, node) in nodes.iter().enumerate() {
            let (node, wish) = (
                node.clone(),
                wish(&format!("k{round}"), &format!("h{number}")),
            );
            claims.spawn(async move { node.reserve_key(&wish).await.unwrap() });
        }
        let claims = claims.join_all().await;
        let ours = claims.iter().filter(|claim| **claim == KeyClaim::Ours);
        assert_eq!(ours.count(), 1, "{claims:?}");
        assert_eq!(claims.iter().filter(|claim| is_held(claim)).count(), 3);
    }
}
