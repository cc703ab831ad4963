//! After any history of calls, the counters equal a count of the rows.

use malote_core::event::{EventKind, ProviderEvent, State};
use malote_core::id::DeliveryId;
use proptest::prelude::*;
use rusqlite::Connection;

use super::fresh;
use crate::conformance::mail::{self, at};
use crate::sqlite::fault::Fault;
use crate::{EventBook, LaneId, NodeSession, QueueFilter, Spool, SqliteStore};

struct Player {
    store: SqliteStore,
    lane: LaneId,
    session: NodeSession,
    now: i64,
    leased: Vec<DeliveryId>,
    known: Vec<DeliveryId>,
}

impl Player {
    async fn accept(&mut self, choice: u8) {
        let recipients = ["a@x.test", "b@x.test", "c@x.test"];
        let count = usize::from(choice % 3) + 1;
        let mut message = mail::message(self.lane, at(self.now), &recipients[..count]);
        message.deliveries[0].state = [
            State::Queued,
            State::Scheduled,
            State::Held,
            State::Suppressed,
        ][usize::from(choice / 3 % 4)];
        let message = mail::accept(&self.store, message).await;
        let ids = (0..3)
            .take(count)
            .map(|index| DeliveryId { message, index });
        self.known.extend(ids);
    }

    async fn lease(&mut self, choice: u8) {
        let count = u32::from(choice % 4) + 1;
        let leased = self
            .store
            .lease(self.session, self.lane, count, at(self.now));
        let leased = leased.await.unwrap();
        let ids = leased.iter().flat_map(|one| &one.deliveries);
        self.leased.extend(ids.map(|one| one.id));
    }

    async fn settle(&mut self, choice: u8) {
        let Some(id) = self.leased.pop() else { return };
        let mut settlement = mail::sent(id, "p", at(self.now));
        settlement.next.state = [
            State::Sent,
            State::Deferred,
            State::Bounced,
            State::Unknown,
            State::Quarantined,
        ][usize::from(choice % 5)];
        self.store
            .settle(self.session, vec![settlement])
            .await
            .unwrap();
    }

    async fn shift(&mut self, choice: u8) {
        let Some(id) = self
            .known
            .get(usize::from(choice) % self.known.len().max(1))
        else {
            return;
        };
        let filter = QueueFilter {
            delivery: Some(*id),
            ..QueueFilter::default()
        };
        let to = [State::Queued, State::Held, State::Cancelled, State::Sent];
        let to = to[usize::from(choice / 16 % 4)];
        let moved = self.store.move_deliveries(&filter, to, "", at(self.now));
        moved.await.unwrap();
    }

    async fn tell(&mut self, choice: u8) {
        let Some(id) = self
            .known
            .get(usize::from(choice) % self.known.len().max(1))
        else {
            return;
        };
        let event = ProviderEvent {
            dedup_key: format!("{}", self.now),
            at: at(self.now),
            kind: [EventKind::Delivered, EventKind::Bounced][usize::from(choice / 128)].clone(),
            blame: None,
            delivery: Some(*id),
            provider_message_id: None,
            recipient: None,
            detail: String::new(),
            raw: bytes::Bytes::new(),
        };
        let ses = "ses".parse().unwrap();
        let applied = self.store.apply_events(&ses, vec![event], at(self.now));
        applied.await.unwrap();
    }

    async fn crash(&mut self) {
        let (session, pending) = self.store.open_session(at(self.now)).await.unwrap();
        assert_eq!(pending, []);
        self.session = session;
        self.leased.clear();
    }

    async fn step(&mut self, (action, choice): (u8, u8)) {
        self.now += i64::from(choice);
        match action % 9 {
            0 | 1 => self.accept(choice).await,
            2 | 3 => self.lease(choice).await,
            4 => self.settle(choice).await,
            5 => self.shift(choice).await,
            6 => self.tell(choice).await,
            7 => {
                self.now += i64::from(choice) * 400;
                mail::expire(&self.store, 3, at(self.now)).await;
                let old = at(self.now - 20_000);
                self.store.retain(old, at(self.now - 40_000)).await.unwrap();
            }
            _ => self.crash().await,
        }
    }
}

/// Rows in which a kept count and a count of the rows differ, by any of the kept counts.
fn differences(conn: &Connection) -> Result<Vec<String>, Fault> {
    let mut find = conn.prepare(
        "SELECT 'counter ' || lane || ' ' || state FROM
            (SELECT lane, state, n FROM counters UNION ALL
             SELECT lane, state, -count(*) FROM deliveries GROUP BY lane, state)
            GROUP BY lane, state HAVING sum(n) <> 0
         UNION ALL
         SELECT 'unsettled ' || m.pk FROM messages m WHERE unsettled <> (SELECT count(*)
            FROM deliveries d WHERE d.id / 65536 = m.pk AND d.state IN (0, 1, 2, 5, 6))
            OR (unsettled = 0) <> (settled_at IS NOT NULL)
         UNION ALL
         SELECT 'octets' WHERE (SELECT coalesce(sum(size_bytes), 0) FROM messages
            WHERE unsettled > 0) <> (SELECT coalesce(max(value), 0) FROM meta
            WHERE key = 'body_bytes')
         UNION ALL
         SELECT 'due ' || id FROM deliveries WHERE (state IN (0, 1, 5) AND due_at IS NULL)
            OR (state = 2) <> (session IS NOT NULL)",
    )?;
    let found = find.query_map([], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

async fn play(history: Vec<(u8, u8)>) -> Vec<String> {
    let (store, _kept) = fresh().await;
    let mut player = Player {
        lane: mail::tx_lane(&store).await,
        session: mail::session(&store, at(0)).await,
        now: 0,
        leased: Vec::new(),
        known: Vec::new(),
        store,
    };
    for one in history {
        player.step(one).await;
    }
    player.store.read(differences).await.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn counters_equal_a_count_of_the_rows_after_any_history(
        history in prop::collection::vec(any::<(u8, u8)>(), 1..80)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        prop_assert_eq!(runtime.block_on(play(history)), Vec::<String>::new());
    }
}
