//! Two versions of the tables: what old and new nodes may do side by side, and what not.

use tokio_postgres::NoTls;

use crate::Shared;
use crate::address_key::{AddressKey, of_text};
use crate::conformance::{shared, suppressions};
use crate::postgres::database::Opening;
use crate::postgres::fault::Fault;
use crate::postgres::schema::{BASE, Owner, Part, SHARED, Step, bring_up_parts};
use crate::postgres::tests::cluster::{Cluster, KEY, TestDatabase};
use crate::postgres::tests::{fresh, refusal, stop_clock, try_open};

/// The next release: it adds something.
const EXPANDED: Part = Part {
    name: "shared",
    steps: &[
        SHARED.steps[0],
        SHARED.steps[1],
        SHARED.steps[2],
        SHARED.steps[3],
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
        Step {
            name: "switches by id",
            sql: "ALTER TABLE malote.switches RENAME COLUMN name TO target",
            needs: 6,
        },
    ],
};

/// What another release does at its start.
async fn start(database: &TestDatabase, part: Part) -> Result<(), String> {
    let parts = [BASE, part];
    let key = AddressKey::new(&of_text(KEY).unwrap()).unwrap();
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
    assert!(said.contains("needs a malote that knows 6"), "{said}");
    assert!(said.contains("start the newer malote"), "{said}");
}

#[tokio::test]
async fn new_tables_are_made_with_every_step() {
    let database = Cluster::of_all().database().await;
    start(&database, CONTRACTED).await.unwrap();
    let said = refusal(&database.settings()).await;
    assert!(said.contains("needs a malote that knows 6"), "{said}");
}
