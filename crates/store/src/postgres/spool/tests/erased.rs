//! After an erasure no row of any table tells the address.

use tokio_postgres::NoTls;

use super::fresh;
use crate::conformance::mail::{self, at};
use crate::postgres::tests::cluster::TestDatabase;
use crate::{Erasing, Erasure, Outbox, Spool};

/// Rows of each table in which this is, in any spelling.
async fn rows_with(database: &TestDatabase, wanted: &str) -> Vec<(String, i64)> {
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls)
        .await
        .unwrap();
    let task = tokio::spawn(connection);
    let tables = "SELECT c.relname::text FROM pg_class c
        WHERE c.relnamespace = 'malote'::regnamespace AND c.relkind = 'r' ORDER BY 1";
    let mut found = Vec::new();
    for table in client.query(tables, &[]).await.unwrap() {
        let table: String = table.get(0);
        // Octets are written in hex by a row's text.
        let hex: String = wanted.bytes().map(|octet| format!("{octet:02x}")).collect();
        let sql = format!(
            "SELECT count(*) FROM malote.{table} t
             WHERE strpos(lower(t::text), '{wanted}') > 0 OR strpos(t::text, '{hex}') > 0"
        );
        let count: i64 = client.query_one(&sql, &[]).await.unwrap().get(0);
        if count > 0 {
            found.push((table, count));
        }
    }
    drop(client);
    task.await.unwrap().unwrap();
    found
}

#[tokio::test]
async fn no_row_tells_an_erased_address() {
    let (spool, database) = fresh().await;
    let lane = mail::tx_lane(&spool).await;
    let hook = malote_core::outlet::OutletName::kept("shop/webhook-1".into());
    spool.keep_outlets(&[hook], at(0)).await.unwrap();
    for number in 0..90 {
        let own = ["gone@x.test".to_owned(), format!("p{number}@y.test")];
        let to = &own[usize::from(number % 3 > 0)];
        // In a row of its own, and in pieces.
        let size = [10, 400_000][number / 3 % 2];
        let mut mail = mail::message(lane, at(0), &[to]);
        let text = format!("To: {to}\r\n\r\n{to}{}\r\n", "x".repeat(size));
        mail.record.size_bytes = text.len() as u64;
        mail.body = text.into();
        mail.record.tags = vec![format!("to {to}")];
        mail::accept(&spool, mail).await;
    }
    let session = mail::session(&spool, at(0)).await;
    loop {
        let leased = spool.lease(session, lane, 100, at(0)).await.unwrap();
        if leased.is_empty() {
            break;
        }
        for delivery in leased.iter().flat_map(|message| &message.deliveries) {
            let mut done = mail::sent(delivery.id, "p1", at(1));
            done.next.progress = Some(format!("said {}", delivery.recipient));
            done.events[0].detail = format!("250 {} ok", delivery.recipient);
            spool.settle(session, vec![done]).await.unwrap();
        }
    }
    database
        .run("UPDATE malote.outlets SET last_error = '410 Gone%40X.test'")
        .await;
    let before = rows_with(&database, "gone@x.test").await;
    assert!(before.len() > 5, "{before:?}");
    let gone = "gone@X.test".parse().unwrap();
    let counted = spool.erase(&gone, Erasing::Count).await.unwrap();
    assert_eq!(rows_with(&database, "gone@x.test").await, before);
    let erased = spool.erase(&gone, Erasing::Erase).await.unwrap();
    assert_eq!((erased.deliveries, erased.bodies), (30, 30));
    assert_eq!(erased, counted);
    assert_eq!(rows_with(&database, "gone@x.test").await, []);
    assert_eq!(rows_with(&database, "gone%40x.test").await, []);
}
