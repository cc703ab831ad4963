//! The feed of stores that were not new: brought up from an older version, reopened, restored.

use malote_core::event::Blame;
use malote_core::feed::{FeedCursor, FeedQuery};
use rusqlite::Connection;

use super::{config, fresh, open};
use crate::conformance::mail::{self, at};
use crate::conformance::spool_feed::{everything, page, told};
use crate::{Spool, SqliteConfig, restore};

/// A store of version 1 with three events, one of them blamed in the words of then.
const OLD: &str = "
    INSERT INTO lanes VALUES (1, 'transactional', 'tx', 'tx');
    INSERT INTO messages VALUES (1, x'0192b3a0000070008000000000000001', 'shop', 'internal', 'tx',
        'transactional', '', NULL, 'a@shop.test', '<1@shop.test>', NULL, NULL, NULL, 0, 0, 0, 0, 1,
        1, NULL, 0, 0);
    INSERT INTO messages VALUES (2, x'0192b3a0000070008000000000000002', 'shop',
        'smtp 192.0.2.1', 'tx', 'transactional', '', NULL, 'a@shop.test', '<2@shop.test>', NULL,
        NULL, NULL, 0, 0, 0, 0, 1, 1, NULL, 0, 0);
    INSERT INTO deliveries (id, lane, state, recipient, recipient_hash, route_reason) VALUES
        (65536, 1, 7, 'own@x.test', 0, ''), (131072, 1, 7, 'a@x.test', 0, '');
    INSERT INTO events VALUES (65536, 1, 1000000, 'accepted', NULL, NULL, ''),
        (131072, 1, 2000000, 'accepted', NULL, NULL, ''),
        (131072, 2, 4000000, 'bounced', 'message', 'ses', 'too large'),
        (131072, 3, 3000000, 'deferred', 'provider', 'ses', ''),
        (131072, 4, 5000000, 'bounced', 'unclear', 'ses', ''),
        (131072, 5, 6000000, 'bounced', 'recipient', 'ses', '');
    PRAGMA application_id = 0x4D414C4F;
    PRAGMA user_version = 1;";

#[tokio::test]
async fn events_of_an_older_store_are_in_the_feed_by_their_time_and_blamed_in_today_s_words() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    std::fs::create_dir_all(config.directory()).unwrap();
    let old = Connection::open(&config.path).unwrap();
    old.execute_batch(include_str!("../schema_1.sql")).unwrap();
    old.execute_batch(OLD).unwrap();
    drop(old);
    let store = open(&config);
    let all = page(&store, &everything()).await;
    let words: Vec<_> = all.events.iter().map(|e| (e.id.seq, e.blame)).collect();
    assert_eq!(
        words,
        [
            (1, None),
            (3, Some(Blame::Infrastructure)),
            (2, Some(Blame::Content)),
            (4, Some(Blame::Unknown)),
            (5, Some(Blame::Recipient)),
        ]
    );
    assert_eq!(all.next, FeedCursor(6));
    let lane = mail::tx_lane(&store).await;
    mail::accept(&store, mail::message(lane, at(0), &["b@x.test"])).await;
    let query = FeedQuery {
        after: all.next,
        ..everything()
    };
    assert_eq!(
        told(&page(&store, &query).await),
        [("b@x.test", "accepted")]
    );
}

#[tokio::test]
async fn a_reopened_store_gives_no_place_of_the_feed_twice() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let mut query = everything();
    for round in 0..3 {
        let store = open(&config);
        let session = mail::session(&store, at(0)).await;
        let lane = mail::tx_lane(&store).await;
        let recipient = format!("r{round}@x.test");
        let id = mail::accept(&store, mail::message(lane, at(0), &[&recipient])).await;
        let delivery = malote_core::id::DeliveryId {
            message: id,
            index: 0,
        };
        store.lease(session, lane, 1, at(0)).await.unwrap();
        let sent = mail::sent(delivery, "p", at(1));
        store.settle(session, vec![sent]).await.unwrap();
        let found = page(&store, &query).await;
        assert_eq!(
            told(&found),
            [(&recipient[..], "accepted"), (&recipient[..], "sent")]
        );
        query.after = found.next;
        store.retain(at(2), at(2)).await.unwrap();
        store.close().await;
    }
}

#[tokio::test]
async fn a_reader_of_before_a_restore_is_told_of_everything_since() {
    let (store, dir) = fresh().await;
    let lane = mail::tx_lane(&store).await;
    mail::accept(&store, mail::message(lane, at(0), &["a@x.test"])).await;
    let backup = dir.path().join("backup");
    store.backup(&backup).await.unwrap();
    for n in 0..9 {
        let recipient = format!("lost{n}@x.test");
        mail::accept(&store, mail::message(lane, at(1), &[&recipient])).await;
    }
    let mut query = everything();
    query.after = page(&store, &query).await.next;
    let to = SqliteConfig::at(dir.path().join("new/malote.db"));
    restore(&backup, &to, at(50)).unwrap();
    let store = open(&to);
    mail::accept(&store, mail::message(lane, at(60), &["b@x.test"])).await;
    let found = page(&store, &query).await;
    assert_eq!(
        told(&found),
        [("a@x.test", "held"), ("b@x.test", "accepted")]
    );
}

#[tokio::test]
async fn a_time_is_found_in_a_long_feed_with_gaps() {
    let (store, _dir) = fresh().await;
    let lane = mail::tx_lane(&store).await;
    for hour in 0..40 {
        let now = at(hour * 3_600);
        let mut message = mail::message(lane, now, &["a@x.test"]);
        if hour % 3 == 0 {
            message.deliveries[0].state = malote_core::event::State::Bounced;
            message.record.accepted_at = now;
        }
        mail::accept(&store, message).await;
    }
    store.retain(at(20 * 3_600), at(20 * 3_600)).await.unwrap();
    let mut query = everything();
    for (since, until) in [(0, 40), (7, 9), (19, 22), (39, 39), (40, 50)] {
        query.since = Some(at(since * 3_600));
        query.until = Some(at(until * 3_600));
        let found = page(&store, &query).await;
        let hours: Vec<i64> = found
            .events
            .iter()
            .map(|e| (e.at.as_second() - at(0).as_second()) / 3_600)
            .collect();
        let kept = |hour: &i64| *hour >= 20 || hour % 3 != 0;
        let wanted: Vec<i64> = (since..=until.min(39)).filter(kept).collect();
        assert_eq!((hours, found.is_end), (wanted, true));
    }
}
