//! What a node's own store knew goes on in the database, once.

use std::sync::Arc;

use malote_core::clock::FixedClock;
use prometheus::Registry;

use crate::conformance::mail::at;
use crate::postgres::tests::fresh;
use crate::{
    Carried, Erasing, PostgresShared, QuotaRequest, Return, Shared, SqliteConfig, SqliteStore,
    SuppressedAddress, Suppression, SuppressionQuery, SuppressionReason, SuppressionScope, Switch,
    WarmupRecord,
};

async fn listed(shared: &PostgresShared) -> usize {
    let query = SuppressionQuery {
        limit: 2_000,
        ..SuppressionQuery::default()
    };
    shared.suppressions(&query).await.unwrap().len()
}

#[tokio::test]
async fn what_a_store_knew_is_carried_over_once() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(FixedClock(at(0)));
    let config = SqliteConfig::at(dir.path().join("malote.db"));
    let store = SqliteStore::open(config, clock, &Registry::new()).unwrap();
    let entry = |number: u32| Suppression {
        address: format!("a{number}@x.test").parse().unwrap(),
        scope: SuppressionScope::Global,
        reason: SuppressionReason::Unsubscribe,
        detail: String::new(),
        source: "operator".into(),
        provider: None,
        credential: None,
        created_at: at(0),
        expires_at: None,
    };
    let entries: Vec<_> = (0..1_001).map(entry).collect();
    store.suppress(entries.clone()).await.unwrap();
    // Known by a hash of the store's own key only, which would stop nobody by another key.
    let erased = Suppression {
        address: SuppressedAddress::Erased([7; 16]),
        ..entry(0)
    };
    store.suppress(vec![erased]).await.unwrap();
    let paused = Switch::StreamPaused("news".parse().unwrap());
    store.set_switch(paused.clone(), true).await.unwrap();
    let record = WarmupRecord {
        day: "2026-12-01".parse().unwrap(),
        cap: 200,
        used: 9,
    };
    store.set_warmup("ses/tx", record).await.unwrap();
    let request = QuotaRequest {
        account: "ses".into(),
        need: 30,
        want: 30,
        windows: vec![(at(-3_600), 40)],
        now: at(0),
    };
    store.take_quota(request.clone()).await.unwrap();

    let (shared, _database) = fresh().await;
    let carried = Carried {
        suppressions: 1_001,
        returns: 0,
        erased_left: 1,
    };
    assert_eq!(shared.carry_over(&store).await, Ok(carried));
    assert_eq!(listed(&shared).await, 1_001);
    assert_eq!(shared.switches().await, Ok(vec![paused.clone()]));
    assert_eq!(shared.warmup("ses/tx").await, Ok(Some(record)));
    assert_eq!(shared.take_quota(request).await.unwrap().units, 10);

    // What is changed here afterwards is not undone by a restart of the node.
    let back = entries[0].address.known().unwrap();
    shared.unsuppress(back, None).await.unwrap();
    shared.set_switch(paused, false).await.unwrap();
    assert_eq!(shared.carry_over(&store).await, Ok(Carried::default()));
    assert_eq!(listed(&shared).await, 1_000);
    assert_eq!(shared.switches().await, Ok(Vec::new()));
    assert_eq!(shared.quota_used("ses", at(0)).await, Ok(40));
}

#[tokio::test]
async fn who_came_back_is_carried_over_too() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(FixedClock(at(0)));
    let config = SqliteConfig::at(dir.path().join("malote.db"));
    let store = SqliteStore::open(config, clock, &Registry::new()).unwrap();
    let left = |who: String, when: i64| Suppression {
        address: who.parse().unwrap(),
        scope: SuppressionScope::Global,
        reason: SuppressionReason::Unsubscribe,
        detail: String::new(),
        source: "recipient".into(),
        provider: None,
        credential: None,
        created_at: at(when),
        expires_at: None,
    };
    let name = |number: u32| format!("a{number}@x.test");
    let returns = (0..1_001).map(|number| Return {
        address: name(number).parse().unwrap(),
        scope: SuppressionScope::Global,
        at: at(5),
        source: "recipient".into(),
    });
    store.lift_unsubscribes(returns.collect()).await.unwrap();
    let erased = name(0).parse().unwrap();
    let gone = store.erase_suppressions(&erased, Erasing::Erase).await;
    assert_eq!(gone.unwrap(), 1);

    let (shared, _database) = fresh().await;
    let told_before = vec![left(name(1), 4), left(name(2), 6)];
    shared.suppress(told_before).await.unwrap();
    let carried = Carried {
        suppressions: 0,
        returns: 1_000,
        erased_left: 1,
    };
    assert_eq!(shared.carry_over(&store).await, Ok(carried));
    let told_late = vec![left(name(3), 4), left(name(1_000), 6)];
    shared.suppress(told_late).await.unwrap();
    let stopped: Vec<String> = (0..1_001).map(name).collect();
    let addresses: Vec<_> = stopped.iter().map(|who| who.parse().unwrap()).collect();
    let scopes = [SuppressionScope::Global];
    let found = shared.suppressed(&addresses, &scopes, at(9)).await.unwrap();
    let found = stopped.iter().zip(found);
    let stopped: Vec<&str> = found
        .filter(|(_, found)| found.is_some())
        .map(|(who, _)| who.as_str())
        .collect();
    assert_eq!(stopped, ["a2@x.test", "a1000@x.test"]);
}
