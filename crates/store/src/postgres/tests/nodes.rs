//! What several nodes see of each other through one database.

use std::time::Duration;

use malote_core::address::EmailAddress;
use malote_core::clock::{Clock, FixedClock, SystemClock};
use prometheus::Registry;
use tokio::time::{Instant, sleep};

use crate::conformance::mail::at;
use crate::postgres::metrics::Operation;
use crate::postgres::tests::cluster::{Cluster, TestDatabase};
use crate::postgres::tests::fresh;
use crate::{
    NodeRecord, NodeReport, NodeState, NodeWish, Nodes, PostgresShared, QuotaRequest, Rate,
    RateRequest, Shared, StoreError, SuppressedAddress, Suppression, SuppressionReason,
    SuppressionScope,
};

async fn node(database: &TestDatabase) -> PostgresShared {
    let clock = std::sync::Arc::new(SystemClock::start());
    let settings = database.settings();
    PostgresShared::open(&settings, clock, &Registry::new())
        .await
        .unwrap()
}

fn complaint(address: &str) -> Suppression {
    Suppression {
        address: address.parse().unwrap(),
        scope: SuppressionScope::Global,
        reason: SuppressionReason::Complaint,
        detail: "said\0so".into(),
        source: "operator".into(),
        provider: None,
        credential: None,
        created_at: at(0),
        expires_at: None,
    }
}

async fn is_stopped(shared: &PostgresShared, address: &str) -> Result<bool, StoreError> {
    let addresses: [EmailAddress; 1] = [address.parse().unwrap()];
    let found = shared
        .suppressed(&addresses, &[SuppressionScope::Global], at(0))
        .await?;
    Ok(found[0].is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suppression_of_one_node_stops_the_other_within_a_second() {
    let database = Cluster::of_all().database().await;
    let (one, other) = (node(&database).await, node(&database).await);
    for round in 0..5 {
        let address = format!("ann{round}@x.test");
        assert_eq!(is_stopped(&other, &address).await, Ok(false));
        one.suppress(vec![complaint(&address)]).await.unwrap();
        let written = Instant::now();
        assert_eq!(is_stopped(&one, &address).await, Ok(true));
        while !is_stopped(&other, &address).await.unwrap() {
            assert!(written.elapsed() < Duration::from_secs(1), "round {round}");
            sleep(Duration::from_millis(5)).await;
        }
    }
    // A node that starts later knows all of them from its first moment.
    let later = node(&database).await;
    assert_eq!(is_stopped(&later, "ann0@x.test").await, Ok(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suppression_whose_transaction_ends_late_is_not_missed() {
    let database = Cluster::of_all().database().await;
    let (one, other) = (node(&database).await, node(&database).await);
    one.suppress(vec![complaint("first@x.test")]).await.unwrap();
    // The row of a transaction that began early and ends after later ones were seen.
    let (mut client, connection) = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let slow = client.transaction().await.unwrap();
    let hash = crate::words::suppression_hash(
        &database.settings().key,
        &"slow@x.test".parse::<SuppressedAddress>().unwrap(),
        &SuppressionScope::Global,
    );
    slow.execute(
        "INSERT INTO malote.suppressions (hash, address, scope, reason, detail, created_at,
            source)
         VALUES ($1, 'slow@x.test', '', 'manual', '', 0, 'operator')",
        &[&&hash[..]],
    )
    .await
    .unwrap();
    one.suppress(vec![complaint("quick@x.test")]).await.unwrap();
    while !is_stopped(&other, "quick@x.test").await.unwrap() {
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(is_stopped(&other, "slow@x.test").await, Ok(false));
    slow.commit().await.unwrap();
    let committed = Instant::now();
    while !is_stopped(&other, "slow@x.test").await.unwrap() {
        assert!(committed.elapsed() < Duration::from_secs(1));
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_use_a_quota_fully_and_never_more() {
    let database = Cluster::of_all().database().await;
    let mut takers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let shared = node(&database).await;
        for _ in 0..4 {
            let shared = shared.clone();
            takers.spawn(async move {
                let mut taken = 0;
                loop {
                    let now = SystemClock::start().now();
                    let request = QuotaRequest {
                        account: "ses".into(),
                        need: 1,
                        want: 100,
                        windows: vec![(now - jiff::SignedDuration::from_hours(24), 1_000)],
                        now,
                    };
                    let grant = shared.take_quota(request).await.unwrap();
                    if grant.units == 0 {
                        assert!(grant.free_at.is_some_and(|free_at| free_at > now));
                        return taken;
                    }
                    taken += grant.units;
                }
            });
        }
    }
    assert_eq!(takers.join_all().await.iter().sum::<u64>(), 1_000);
}

#[tokio::test]
async fn a_node_whose_clock_is_wrong_counts_as_the_others_do() {
    let (one, database) = fresh().await;
    let wrong = at(2 * 3_600);
    let clock = std::sync::Arc::new(FixedClock(wrong));
    let settings = database.settings();
    let registry = Registry::new();
    let other = PostgresShared::open(&settings, clock, &registry);
    let other = other.await.unwrap();
    let hour = |now: jiff::Timestamp| QuotaRequest {
        account: "ses".into(),
        need: 10,
        want: 10,
        windows: vec![(now - jiff::SignedDuration::from_hours(1), 10)],
        now,
    };
    assert_eq!(one.take_quota(hour(at(0))).await.unwrap().units, 10);
    let grant = other.take_quota(hour(wrong)).await.unwrap();
    assert_eq!(grant.units, 0);
    // By its own clock.
    let free_at = grant.free_at.unwrap();
    assert!(free_at > wrong && free_at <= wrong + jiff::SignedDuration::from_hours(2));
    other.give_back_quota("ses", wrong, 4).await.unwrap();
    assert_eq!(one.quota_used("ses", at(0)).await, Ok(6));
    assert_eq!(other.quota_used("ses", wrong).await, Ok(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_database_is_an_error_until_it_is_back_and_loses_nothing() {
    let mut cluster = Cluster::start(&[]);
    let database = cluster.database().await;
    let shared = node(&database).await;
    shared
        .suppress(vec![complaint("ann@x.test")])
        .await
        .unwrap();
    cluster.kill();
    let died = Instant::now();
    // What is in the filter is asked of the database, at once in vain.
    let refused = is_stopped(&shared, "ann@x.test").await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
    // What is not is believed not to be suppressed for a second, and no longer.
    loop {
        match is_stopped(&shared, "bob@x.test").await {
            Ok(is_stopped) => assert!(!is_stopped && died.elapsed() < Duration::from_secs(2)),
            Err(StoreError::Unavailable(_)) => break,
            Err(other) => panic!("{other:?}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
    let written = shared.suppress(vec![complaint("eve@x.test")]).await;
    assert!(
        matches!(written, Err(StoreError::Unavailable(_))),
        "{written:?}"
    );
    cluster.start_again();
    let back = Instant::now();
    while is_stopped(&shared, "bob@x.test").await.is_err() {
        assert!(back.elapsed() < Duration::from_secs(10));
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(is_stopped(&shared, "ann@x.test").await, Ok(true));
    shared
        .suppress(vec![complaint("eve@x.test")])
        .await
        .unwrap();
    assert_eq!(is_stopped(&shared, "eve@x.test").await, Ok(true));
}

/// Of a rate: its period in milliseconds.
fn rate(account: &str, period_ms: u64) -> Rate {
    Rate {
        account: account.into(),
        period: Duration::from_millis(period_ms),
    }
}

fn units(rates: &[Rate], want: u32) -> RateRequest {
    RateRequest {
        rates: rates.to_vec(),
        want,
        ahead: Duration::from_millis(100),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_share_one_rate() {
    let database = Cluster::of_all().database().await;
    let begun = Instant::now();
    let mut takers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let shared = node(&database).await;
        takers.spawn(async move {
            let mut times = Vec::new();
            while begun.elapsed() < Duration::from_secs(2) {
                let request = units(&[rate("ses", 20)], 3);
                let grant = shared.take_rates(request).await.unwrap();
                assert!(grant.first_ns >= grant.clock_ns);
                times.extend(
                    (0..grant.units).map(|one| grant.first_ns + i64::from(one) * 20_000_000),
                );
                sleep(grant.wait).await;
            }
            times
        });
    }
    let mut times: Vec<i64> = takers.join_all().await.into_iter().flatten().collect();
    times.sort_unstable();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.min() >= Some(20_000_000), "{times:?}");
    assert!(times.len() >= 80, "{} in two seconds", times.len());
}

#[tokio::test]
async fn units_have_times_a_while_ahead_at_most_that_all_their_rates_leave_free() {
    let (shared, _database) = fresh().await;
    let now_ns = at(0).as_microsecond() * 1_000;
    let take = async |rates: &[Rate], want| {
        let grant = shared.take_rates(units(rates, want)).await.unwrap();
        assert_eq!(grant.clock_ns, now_ns);
        let first = (grant.first_ns - now_ns) / 1_000_000;
        (grant.units, first, grant.wait.as_millis())
    };
    let (all, campaigns, other) = (
        rate("ses", 20),
        rate("ses campaigns", 25),
        rate("other", 60),
    );
    assert_eq!(take(std::slice::from_ref(&all), 2).await, (2, 0, 0));
    // At 40, 65 and 90.
    let both = [campaigns.clone(), all.clone()];
    assert_eq!(take(&both, 9).await, (3, 40, 15));
    assert_eq!(take(&both, 1).await, (0, 115, 15));
    assert_eq!(take(std::slice::from_ref(&all), 1).await, (0, 110, 10));
    assert_eq!(take(&[other], 9).await, (2, 0, 20));
    let slow = [rate("slow", 10_000)];
    assert_eq!(take(&slow, 9).await, (1, 100, 10_000));
    assert_eq!(take(&slow, 1).await, (0, 10_100, 10_000));
}

#[tokio::test]
async fn a_clock_that_is_set_back_holds_a_rate_up_for_no_longer_than_its_units_reach() {
    let (shared, database) = fresh().await;
    let rates = [rate("ses", 20)];
    let first = shared.take_rates(units(&rates, 1)).await.unwrap();
    assert_eq!(first.units, 1);
    let back = "CREATE OR REPLACE FUNCTION malote.clock() RETURNS bigint LANGUAGE sql VOLATILE
        AS $$ SELECT 3600000000::bigint $$";
    database.run(back).await;
    let later = shared.take_rates(units(&rates, 1)).await.unwrap();
    assert_eq!((later.units, later.wait), (0, Duration::from_millis(20)));
}

#[tokio::test]
async fn a_breaker_s_changes_reach_the_others_once_and_one_node_probes() {
    let database = Cluster::of_all().database().await;
    let (one, other) = (node(&database).await, node(&database).await);
    let key = "target:ses/tx";
    one.set_breaker(key, Some("open".into())).await.unwrap();
    let seen = other.breaker_changes(0).await.unwrap();
    let expected = [(key.to_owned(), Some("open".to_owned()), seen.next)];
    assert_eq!(seen.changes, expected);
    let own = one.breaker_changes(0).await.unwrap();
    assert_eq!((own.changes, own.next), (Vec::new(), seen.next));

    let hold = Duration::from_secs(60);
    assert!(one.claim_probe(key, hold).await.unwrap());
    assert!(!other.claim_probe(key, hold).await.unwrap());
    one.release_probe(key).await.unwrap();
    assert!(other.claim_probe(key, hold).await.unwrap());
    // What a probe said ends it.
    other.set_breaker(key, None).await.unwrap();
    assert!(one.claim_probe(key, hold).await.unwrap());
    assert!(!one.claim_probe("target:unheard/of", hold).await.unwrap());

    assert_eq!(one.breakers().await.unwrap(), []);
    let closed = one.breaker_changes(seen.next).await.unwrap();
    assert!(closed.next > seen.next);
    assert_eq!(closed.changes, [(key.to_owned(), None, closed.next)]);
}

#[tokio::test]
async fn nodes_are_told_apart_and_known_to_be_gone_or_lost() {
    let database = Cluster::of_all().database().await;
    let (one, other) = (node(&database).await, node(&database).await);
    let report = |name: &str, state| NodeReport {
        name: name.into(),
        version: "0.1.0".into(),
        configuration: "c0ffee".into(),
        state,
    };
    one.beat(&report("b", NodeState::Serving)).await.unwrap();
    other.beat(&report("a", NodeState::Serving)).await.unwrap();
    other.beat(&report("a", NodeState::Draining)).await.unwrap();
    let states = |nodes: Vec<NodeRecord>| -> Vec<(String, NodeState, bool)> {
        let of = |node: NodeRecord| (node.report.name, node.report.state, node.is_this);
        nodes.into_iter().map(of).collect()
    };
    assert_eq!(
        states(one.list().await.unwrap()),
        [
            ("a".into(), NodeState::Draining, false),
            ("b".into(), NodeState::Serving, true)
        ]
    );
    database
        .run("UPDATE malote.nodes SET state = 'resting' WHERE name = 'a'")
        .await;
    let newer = states(one.list().await.unwrap());
    assert_eq!(newer[0], ("a".into(), NodeState::Other, false));
    other.leave().await.unwrap();
    assert_eq!(one.wish("a", NodeWish::Drain).await, Ok(0), "it has gone");
    database
        .run("UPDATE malote.nodes SET beat_at = beat_at - 16000000 WHERE name = 'b'")
        .await;
    assert_eq!(
        states(one.list().await.unwrap()),
        [
            ("a".into(), NodeState::Gone, false),
            ("b".into(), NodeState::Lost, true)
        ]
    );
    database
        .run("UPDATE malote.nodes SET beat_at = 0 WHERE name = 'a'")
        .await;
    one.beat(&report("b", NodeState::Serving)).await.unwrap();
    let left = one.list().await.unwrap();
    assert_eq!(left.len(), 1);
    assert!(left[0].clock_ahead_ms.abs() < 1_000, "{left:?}");
}

#[tokio::test]
async fn a_node_hears_what_is_asked_of_it_by_its_name() {
    let database = Cluster::of_all().database().await;
    let (one, other) = (node(&database).await, node(&database).await);
    let report = |name: &str| NodeReport {
        name: name.into(),
        version: "0.1.0".into(),
        configuration: "c0ffee".into(),
        state: NodeState::Serving,
    };
    assert_eq!(one.beat(&report("a")).await, Ok(None));
    assert_eq!(other.beat(&report("b")).await, Ok(None));
    assert_eq!(one.wish("c", NodeWish::Drain).await, Ok(0));
    assert_eq!(one.wish("b", NodeWish::Drain).await, Ok(1));
    assert_eq!(one.beat(&report("a")).await, Ok(None));
    let first = other.beat(&report("b")).await.unwrap().unwrap();
    assert_eq!(first.wish, NodeWish::Drain);
    assert_eq!(other.beat(&report("b")).await, Ok(Some(first)));
    assert_eq!(one.wish("b", NodeWish::Drain).await, Ok(1));
    let again = other.beat(&report("b")).await.unwrap().unwrap();
    assert_eq!(again.wish, NodeWish::Drain);
    assert_ne!(again.by, first.by);
}

#[tokio::test]
async fn a_node_goes_by_the_database_s_clock_and_tells_how_far_its_own_is_ahead() {
    let (_shared, database) = fresh().await;
    let clock = std::sync::Arc::new(SystemClock::start());
    let settings = database.settings();
    let registry = Registry::new();
    let node = PostgresShared::open(&settings, clock.clone(), &registry);
    let node = node.await.unwrap();
    // The database's clock stands still, the node's goes on from there.
    let since = clock.now().duration_since(at(0)).as_secs();
    assert!((0..60).contains(&since), "{since}");
    let report = NodeReport {
        name: "a".into(),
        version: "1".into(),
        configuration: "c".into(),
        state: NodeState::Serving,
    };
    node.beat(&report).await.unwrap();
    let told_ms = node.list().await.unwrap()[0].clock_ahead_ms;
    let apart_ms = i128::from(told_ms) - clock.machine_ahead().as_millis();
    assert!((0..60_000).contains(&apart_ms), "{told_ms}: {apart_ms}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_nobody_needs_go_back_to_the_server() {
    let database = Cluster::of_all().database().await;
    let shared = node(&database).await;
    let mut takers = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let shared = shared.clone();
        takers.spawn(async move { shared.quota_used("ses", at(0)).await.unwrap() });
    }
    takers.join_all().await;
    let connections = async || -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()";
        let rows = shared.reading().rows(Operation::Read, sql, &[]).await;
        rows.unwrap()[0].get(0)
    };
    assert!(connections().await > 2);
    let begun = Instant::now();
    // One asks here, one for what is suppressed.
    while connections().await > 2 {
        assert!(begun.elapsed() < Duration::from_secs(10), "they stay");
        shared.reading().trim();
        sleep(Duration::from_millis(20)).await;
    }
}
