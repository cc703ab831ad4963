//! Nothing that is suppressed is ever taken for free, whatever came before.

use std::collections::BTreeMap;

use jiff::Timestamp;
use malote_core::address::EmailAddress;
use proptest::prelude::*;

use super::{config, open};
use crate::conformance::mail::at;
use crate::{Shared, SqliteStore, Suppression, SuppressionReason, SuppressionScope};

/// What is done to a store, with numbers of addresses, scopes and seconds.
#[derive(Debug, Clone)]
enum Act {
    Suppress(u8, u8, Option<i64>),
    Lift(u8, Option<u8>),
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    let until = prop::option::of(1..100_i64);
    prop_oneof![
        5 => (0..6_u8, 0..3_u8, until).prop_map(|(who, scope, until)| Act::Suppress(who, scope, until)),
        2 => (0..6_u8, prop::option::of(0..3_u8)).prop_map(|(who, scope)| Act::Lift(who, scope)),
        1 => Just(Act::Reopen),
    ]
}

fn address(number: u8) -> EmailAddress {
    format!("Person{number}@x.test").parse().unwrap()
}

fn scope(number: u8) -> SuppressionScope {
    match number {
        0 => SuppressionScope::Global,
        1 => SuppressionScope::Stream("news".parse().unwrap()),
        _ => SuppressionScope::Stream("offers".parse().unwrap()),
    }
}

fn entry(who: u8, of: u8, until: Option<i64>) -> Suppression {
    Suppression {
        address: address(who).into(),
        scope: scope(of),
        reason: SuppressionReason::Manual,
        detail: String::new(),
        source: "operator".into(),
        provider: None,
        credential: None,
        created_at: at(0),
        expires_at: until.map(at),
    }
}

/// What stands, by address and scope: for ever, or until a second.
type Standing = BTreeMap<(u8, u8), Option<i64>>;

fn note(standing: &mut Standing, key: (u8, u8), until: Option<i64>) {
    let kept = standing.entry(key).or_insert(until);
    let is_longer = kept.is_some_and(|kept| until.is_none_or(|until| until > kept));
    if is_longer {
        *kept = until;
    }
}

async fn check(store: &SqliteStore, standing: &Standing, second: i64) {
    let asked: Vec<EmailAddress> = (0..6)
        .map(|who| address(who).as_str().to_uppercase().parse().unwrap())
        .collect();
    let now: Timestamp = at(second);
    for of in 0..3 {
        let found = store.suppressed(&asked, &[scope(of)], now).await.unwrap();
        for (who, found) in (0..6).zip(found) {
            let until = standing.get(&(who, of));
            let stands = until.is_some_and(|until| until.is_none_or(|until| until > second));
            assert_eq!(found.is_some(), stands, "{who} in {of} at {second}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_suppressed_is_found_after_any_history(acts in prop::collection::vec(act(), 0..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let mut store = open(&config(&dir));
            let mut standing = Standing::new();
            for act in acts {
                match act {
                    Act::Suppress(who, of, until) => {
                        store.suppress(vec![entry(who, of, until)]).await.unwrap();
                        note(&mut standing, (who, of), until);
                    }
                    Act::Lift(who, of) => {
                        let lifted = of.map(scope);
                        store.unsuppress(&address(who), lifted.as_ref()).await.unwrap();
                        standing.retain(|key, _| key.0 != who || of.is_some_and(|of| of != key.1));
                    }
                    Act::Reopen => {
                        store.close().await;
                        drop(store);
                        store = open(&config(&dir));
                    }
                }
                check(&store, &standing, 0).await;
                check(&store, &standing, 50).await;
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_told_of_a_suppression_finds_it_while_others_write() {
    let (store, _dir) = super::fresh().await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8_u8 {
        let store = store.clone();
        tasks.spawn(async move {
            for round in 0..25 {
                let who: EmailAddress = format!("p{task}.{round}@x.test").parse().unwrap();
                let one = Suppression {
                    address: who.clone().into(),
                    ..entry(0, 0, None)
                };
                store.suppress(vec![one]).await.unwrap();
                let asked = [who.clone()];
                let scopes = [SuppressionScope::Global];
                let found = store.suppressed(&asked, &scopes, at(0)).await.unwrap();
                assert!(found[0].is_some(), "{task} {round}");
                assert_eq!(store.unsuppress(&who, None).await.unwrap(), 1);
                let found = store.suppressed(&asked, &scopes, at(0)).await.unwrap();
                assert!(found[0].is_none(), "{task} {round}");
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}
