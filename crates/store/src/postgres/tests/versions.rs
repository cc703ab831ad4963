//! Two versions of the tables: what old and new nodes may do side by side, and what not.

use std::time::Duration;

use tokio_postgres::NoTls;

use crate::address_key::{AddressKey, of_text};
use crate::conformance::mail::at;
use crate::conformance::{shared, suppressions};
use crate::postgres::database::Opening;
use crate::postgres::fault::Fault;
use crate::postgres::schema::{BASE, Owner, Part, SHARED, Step, bring_up_parts};
use crate::postgres::tests::cluster::{Cluster, KEY, TestDatabase};
use crate::postgres::tests::{fresh, refusal, stop_clock, try_open};
use crate::words::soft_bounce_hash;
use crate::{QuotaRequest, Rate, RateRequest, Shared, SoftBounce};

/// In seconds.
const DAY: i64 = 24 * 3_600;

/// The next release: it adds something.
const EXPANDED: Part = Part {
    name: "shared",
    steps: &[
        SHARED.steps[0],
        SHARED.steps[1],
        SHARED.steps[2],
        SHARED.steps[3],
        SHARED.steps[4],
        Step {
            name: "notes on switches",
            sql: "ALTER TABLE malote.switches ADD COLUMN note text NOT NULL DEFAULT '';
                  CREATE TABLE malote.notes (id bigint PRIMARY KEY)",
            needs: 1,
        },
    ],
};

/// The one after it: it takes away what the present release needs.
const CONTRACTED: Part = Part {
    name: "shared",
    steps: &[
        EXPANDED.steps[0],
        EXPANDED.steps[1],
        EXPANDED.steps[2],
        EXPANDED.steps[3],
        EXPANDED.steps[4],
        EXPANDED.steps[5],
        Step {
            name: "switches by id",
            sql: "ALTER TABLE malote.switches RENAME COLUMN name TO target",
            needs: 7,
        },
    ],
};

fn key() -> AddressKey {
    AddressKey::new(&of_text(KEY).unwrap()).unwrap()
}

/// What another release does at its start.
async fn start(database: &TestDatabase, part: Part) -> Result<(), String> {
    let parts = [BASE, part];
    let key = key();
    let manager = deadpool_postgres::Manager::new(database.url().parse().unwrap(), NoTls);
    let pool = deadpool_postgres::Pool::builder(manager).build().unwrap();
    let mut client = pool.get().await.unwrap();
    let owner = Owner {
        key: &key,
        cluster: None,
    };
    let done = bring_up_parts(&mut client, &parts, Opening::Migrate, owner).await;
    done.map_err(|fault| match fault {
        Fault::Conflict => "conflict".to_owned(),
        Fault::Refused(error) => error.to_string(),
    })
}

#[tokio::test]
async fn nodes_of_this_release_work_beside_a_next_one_that_only_adds() {
    let (old, database) = fresh().await;
    start(&database, EXPANDED).await.unwrap();
    // One that runs goes on, and one that starts again, after a crash or to go back, does too.
    shared::warm_up_breakers_and_switches_are_kept(&old).await;
    let again = try_open(&database.settings()).await.unwrap();
    stop_clock(&database).await;
    suppressions::a_suppression_stops_an_address_in_its_scope(&again).await;
    suppressions::soft_bounces_are_counted_in_their_window(&again).await;
    start(&database, EXPANDED).await.unwrap();
}

/// The tables of an earlier release.
const EARLIER: Part = Part {
    name: "shared",
    steps: SHARED.steps.split_at(2).0,
};

const BOUNCER: &str = "ann@x.test";

/// What the server answers a node of the earlier release.
async fn answer(database: &TestDatabase, sql: &str) -> i64 {
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls)
        .await
        .unwrap();
    let task = tokio::spawn(connection);
    let answer = client.query_one(sql, &[]).await.unwrap().get(0);
    drop(client);
    task.await.unwrap().unwrap();
    answer
}

/// Units that the earlier release gets, of 100 in a day.
async fn take_earlier(database: &TestDatabase, want: u64) -> i64 {
    let (now, since) = (at(0).as_microsecond(), at(-DAY).as_microsecond());
    let sql = format!(
        "SELECT units FROM malote.take_quota('ses', {want}, {now}, {now},
            ARRAY[{since}::bigint], ARRAY[100::bigint])"
    );
    answer(database, &sql).await
}

/// Soft bounces of [`BOUNCER`] that the earlier release counts, a new one among them.
async fn count_earlier(database: &TestDatabase, bounced: i64) -> i64 {
    let hash = soft_bounce_hash(&key(), &BOUNCER.parse().unwrap());
    let hash: String = hash.iter().map(|octet| format!("{octet:02x}")).collect();
    let (bounced, since) = (at(bounced).as_microsecond(), at(0).as_microsecond());
    let sql = format!("SELECT malote.count_soft_bounce('\\x{hash}', {bounced}, {since})");
    answer(database, &sql).await
}

#[tokio::test]
async fn an_earlier_release_and_this_one_count_in_one_sum() {
    let database = Cluster::of_all().database().await;
    start(&database, EARLIER).await.unwrap();
    stop_clock(&database).await;
    assert_eq!(take_earlier(&database, 10).await, 10);
    assert_eq!(count_earlier(&database, 1).await, 1);

    let new = try_open(&database.settings()).await.unwrap();
    let take = async |need: u64| {
        let request = QuotaRequest {
            account: "ses".to_owned(),
            need,
            want: need,
            windows: vec![(at(-DAY), 100)],
            now: at(0),
        };
        new.take_quota(request).await.unwrap().units
    };
    assert_eq!(take(40).await, 40);
    assert_eq!(take_earlier(&database, 30).await, 30);
    assert_eq!(take(40).await, 20, "what is left of 100");
    assert_eq!(take_earlier(&database, 1).await, 0);
    assert_eq!(new.quota_used("ses", at(-DAY)).await, Ok(100));

    let count = async |bounced: i64, event: &str| {
        let bounce = SoftBounce {
            address: BOUNCER.parse().unwrap(),
            at: at(bounced),
            event: event.to_owned(),
        };
        let counted = new.count_soft_bounces(vec![bounce], at(0)).await;
        counted.unwrap()[0]
    };
    assert_eq!(count(1, "ses/1").await, 2);
    assert_eq!(count(1, "ses/1").await, 2, "told again");
    assert_eq!(count_earlier(&database, 1).await, 3);
    assert_eq!(count_earlier(&database, 2).await, 4);
    assert_eq!(count(2, "ses/2").await, 5);
}

/// Units of a rate that the earlier release gets, of one in 20 ms, two of them at once.
async fn rate_earlier(database: &TestDatabase, account: &str) -> i64 {
    let sql = format!("SELECT units FROM malote.take_rate('{account}', 9, 20000000, 2)");
    answer(database, &sql).await
}

#[tokio::test]
async fn an_earlier_release_and_this_one_take_of_one_rate() {
    let database = Cluster::of_all().database().await;
    start(&database, EARLIER).await.unwrap();
    stop_clock(&database).await;
    assert_eq!(rate_earlier(&database, "ses").await, 2);

    let new = try_open(&database.settings()).await.unwrap();
    let take = async |want| {
        let rate = Rate {
            account: "ses".to_owned(),
            period: Duration::from_millis(20),
        };
        let request = RateRequest {
            rates: vec![rate],
            want,
            ahead: Duration::from_millis(100),
        };
        let grant = new.nodes().unwrap().take_rates(request).await.unwrap();
        (grant.units, (grant.first_ns - grant.clock_ns) / 1_000_000)
    };
    assert_eq!(take(2).await, (2, 20), "behind what the earlier one took");
    assert_eq!(
        rate_earlier(&database, "ses").await,
        0,
        "all is taken up to 40 ms ahead"
    );
    assert_eq!(take(9).await, (3, 60));
    // What was kept free is part of the one rate now.
    assert_eq!(rate_earlier(&database, "ses reserve").await, 0);
}

#[tokio::test]
async fn a_step_that_takes_away_waits_until_older_nodes_have_gone() {
    let (old, database) = fresh().await;
    start(&database, EXPANDED).await.unwrap();
    old.switches().await.unwrap();
    let said = start(&database, CONTRACTED).await.unwrap_err();
    assert!(said.contains("stop every older node"), "{said}");
    old.switches().await.unwrap();
    old.close();
    drop(old);
    // Its connections end by themselves.
    while start(&database, CONTRACTED).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let said = refusal(&database.settings()).await;
    assert!(said.contains("needs a malote that knows 7"), "{said}");
    assert!(said.contains("start the newer malote"), "{said}");
}

#[tokio::test]
async fn new_tables_are_made_with_every_step() {
    let database = Cluster::of_all().database().await;
    start(&database, CONTRACTED).await.unwrap();
    let said = refusal(&database.settings()).await;
    assert!(said.contains("needs a malote that knows 7"), "{said}");
}
