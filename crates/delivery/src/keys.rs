//! Idempotency keys under way: in this process, and at other nodes that have queues of their own.
//!
//! A key is reserved among the nodes before its message goes into the store, and completed after
//! that: whatever dies in between, no two stores take a message under one key. What a node left
//! open it settles itself, since its store alone knows what became of it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use malote_core::address::EmailAddress;
use malote_core::intake::{Accepted, AcceptedRecipient, Refusal};
use malote_core::message::{IdempotencyKey, Submission};
use malote_core::name::CredentialName;
use malote_store::{
    AcceptOutcome, CompletedKey, KeyBook, KeyClaim, KeyRecord, KeyWish, LaneId, NewMessage,
    OwnedKey, StoreError,
};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, lock};
use crate::intake::refused;
use crate::outbox;

/// How often a node looks for what it left open.
const SETTLE_EVERY: Duration = Duration::from_secs(5);
/// For so long another node's open key is a submission under way; beyond, its node may be gone.
const UNDER_WAY_MAX: Duration = Duration::from_secs(20);
/// Completed keys that wait to be told; one over the bound is settled later.
const UNTOLD_MAX: usize = 10_000;
/// How often in a row keys older than a day are dropped.
const EXPIRE_ROUNDS_MAX: u32 = 50;

/// Keys whose first submission is under way in this process. A second one is told to wait.
#[derive(Clone, Default)]
pub(crate) struct KeysInFlight(Arc<Mutex<HashSet<String>>>);

/// The right to be the only one here that has a key.
pub(crate) struct KeyInFlight {
    keys: KeysInFlight,
    key: String,
}

impl KeysInFlight {
    pub(crate) fn enter(&self, credential: &CredentialName, key: &str) -> Option<KeyInFlight> {
        let key = format!("{credential}\n{key}");
        let is_first = lock(&self.0).insert(key.clone());
        is_first.then(|| KeyInFlight {
            keys: self.clone(),
            key,
        })
    }
}

impl Drop for KeyInFlight {
    fn drop(&mut self) {
        lock(&self.keys.0).remove(&self.key);
    }
}

/// A submission's key.
pub(crate) struct Keyed {
    pub(crate) key: IdempotencyKey,
    pub(crate) in_flight: KeyInFlight,
}

/// A message ready to be kept, and the lanes in which there is something due then.
pub(crate) struct Ready {
    pub(crate) message: NewMessage,
    /// What its sender is told of recipients that no mail can be sent to.
    pub(crate) notices: Vec<NewMessage>,
    pub(crate) lanes: Vec<LaneId>,
}

/// What a store may do with a key.
enum Right {
    /// Take a message: no other node shares keys with it, or none can be asked and that is no harm.
    Unasked,
    /// Take a message: no other node does.
    Reserved,
    /// Nothing: another node took this one.
    Taken(KeyRecord),
}

/// Keys whose messages are in the store, on their way to the other nodes.
#[derive(Default)]
pub(crate) struct Untold {
    keys: Mutex<Vec<CompletedKey>>,
    bell: Notify,
}

impl Untold {
    fn push(&self, key: CompletedKey) {
        let mut keys = lock(&self.keys);
        if keys.len() < UNTOLD_MAX {
            keys.push(key);
            self.bell.notify_one();
        }
    }

    fn take(&self) -> Vec<CompletedKey> {
        std::mem::take(&mut lock(&self.keys))
    }
}

impl Engine {
    /// Makes a message durable, under its key if it has one. Returns `accepted`, or what the first
    /// submission under the key was answered.
    pub(crate) async fn commit(
        &self,
        submission: &Submission,
        ready: Ready,
        accepted: Accepted,
        keyed: Option<Keyed>,
    ) -> Result<Accepted, Refusal> {
        let Some(Keyed { key, in_flight }) = keyed else {
            self.write(ready, None).await?;
            return Ok(accepted);
        };
        let owned = OwnedKey {
            credential: submission.credential.name.clone(),
            key: key.key,
        };
        let is_reserved = match self.reserve(&owned, key.fingerprint).await? {
            Right::Unasked => false,
            Right::Reserved => true,
            Right::Taken(record) => return repeat_of(submission, record, key.fingerprint),
        };
        match self.write(ready, Some(in_flight)).await? {
            Some(AcceptOutcome::Repeat(earlier)) => self.replay(&earlier, key.fingerprint).await,
            Some(AcceptOutcome::Kept) | None => {
                if is_reserved {
                    self.untold.push(completed(owned, &accepted));
                }
                Ok(accepted)
            }
        }
    }

    /// Writes a message and says that it is there; what became of it.
    ///
    /// In a task of its own: were the caller gone in the middle of the commit, the mail would wait
    /// until somebody looks by himself, and a key would look as if nothing were under way under it.
    async fn write(
        &self,
        ready: Ready,
        in_flight: Option<KeyInFlight>,
    ) -> Result<Option<AcceptOutcome>, Refusal> {
        let Ready {
            message,
            notices,
            lanes,
        } = ready;
        let stream = message.record.stream.as_str();
        let accepted = self.metrics.accepted.with_label_values(&[stream]);
        let told = self.metrics.dsns.with_label_values(&["queued"]);
        let notice_count = notices.len() as u64;
        let batch = std::iter::once(message).chain(notices).collect();
        let lanes: Vec<_> = lanes.into_iter().map(|lane| self.bell(lane)).collect();
        let (spool, feed) = (Arc::clone(&self.spool), self.feed_bell.clone());
        let writing = tokio::spawn(async move {
            let outcome = spool.accept(batch).await?.into_iter().next();
            drop(in_flight);
            if !matches!(outcome, Some(AcceptOutcome::Repeat(_))) {
                accepted.inc();
                told.inc_by(notice_count);
                outbox::ring(&feed);
                lanes.iter().for_each(|bell| bell.notify_one());
            }
            Ok(outcome)
        });
        let outcome = writing.await.map_err(|_| Refusal::Unavailable)?;
        outcome.map_err(refused)
    }

    /// The other nodes' keys and the name of this one's store, where each has a store of its own.
    fn key_book(&self) -> Option<(&dyn KeyBook, &str)> {
        let nodes = self.shared.nodes()?;
        Some((nodes, self.spool.home()?))
    }

    async fn reserve(
        &self,
        key: &OwnedKey,
        fingerprint: Option<[u8; 32]>,
    ) -> Result<Right, Refusal> {
        let Some((book, home)) = self.key_book() else {
            return Ok(Right::Unasked);
        };
        let wish = KeyWish {
            key: key.clone(),
            home: home.to_owned(),
            fingerprint,
        };
        match book.reserve_key(&wish).await {
            Ok(KeyClaim::Ours) => Ok(Right::Reserved),
            Ok(KeyClaim::Done(record)) => Ok(Right::Taken(record)),
            Ok(KeyClaim::Held { age, .. }) if age < UNDER_WAY_MAX => Err(Refusal::InProgress),
            Ok(KeyClaim::Held { node, age }) => {
                let (node, age_s) = (node.unwrap_or_default(), age.as_secs());
                tracing::warn!(node, age_s, "refused a key that another node left open");
                Err(Refusal::KeyHeld)
            }
            // A key that nobody gave, such as Mautic's, is no promise: the mail matters more.
            Err(StoreError::Unavailable(_) | StoreError::Busy) if fingerprint.is_none() => {
                Ok(Right::Unasked)
            }
            Err(StoreError::Unavailable(_) | StoreError::Busy) => Err(Refusal::KeyUnchecked),
            Err(error) => Err(refused(error)),
        }
    }

    /// Tells the other nodes of completed keys, and settles what was left open, until `shutdown`.
    pub(crate) async fn keep_keys(self: Arc<Self>, shutdown: CancellationToken) {
        if self.key_book().is_none() {
            return;
        }
        let mut ticks = tokio::time::interval(SETTLE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_over = false;
        while !is_over {
            let done = tokio::select! {
                () = self.untold.bell.notified() => self.tell_keys().await,
                _ = ticks.tick() => self.settle_keys().await,
                () = shutdown.cancelled() => {
                    is_over = true;
                    self.tell_keys().await
                }
            };
            if let Err(error) = done {
                tracing::debug!(%error, "could not tell other nodes of keys, it comes again");
            }
        }
    }

    async fn tell_keys(&self) -> Result<(), StoreError> {
        let Some((book, home)) = self.key_book() else {
            return Ok(());
        };
        book.complete_keys(home, &self.untold.take()).await
    }

    /// Says of every key that this node left open what its store knows of it.
    async fn settle_keys(&self) -> Result<(), StoreError> {
        let Some((book, home)) = self.key_book() else {
            return Ok(());
        };
        let (mut done, mut free, mut held) = (Vec::new(), Vec::new(), Vec::new());
        for key in book.open_keys(home).await? {
            // One that is under way is its submission's. The others are ours to the end, so that
            // none comes under way in between.
            let Some(in_flight) = self.keys_in_flight.enter(&key.credential, &key.key) else {
                continue;
            };
            held.push(in_flight);
            let known = self.spool.idempotent(&key.credential, &key.key).await?;
            let Some(record) = known else {
                free.push(key);
                continue;
            };
            if let Ok(accepted) = self.replay(&record, None).await {
                done.push(completed(key, &accepted));
            }
        }
        book.complete_keys(home, &done).await?;
        book.release_keys(home, &free).await?;
        drop(held);
        for _ in 0..EXPIRE_ROUNDS_MAX {
            if book.expire_keys().await? == 0 {
                break;
            }
        }
        Ok(())
    }
}

fn completed(key: OwnedKey, accepted: &Accepted) -> CompletedKey {
    let recipients = accepted.recipients.iter();
    CompletedKey {
        key,
        message: accepted.id,
        stream: accepted.stream.clone(),
        statuses: recipients.map(|recipient| recipient.status).collect(),
    }
}

/// What the first submission was answered, which another node took. It had the same recipients: in
/// the same order under a key of the API, and one of the message itself is mostly answered over SMTP,
/// which tells none of them.
fn repeat_of(
    submission: &Submission,
    record: KeyRecord,
    fingerprint: Option<[u8; 32]>,
) -> Result<Accepted, Refusal> {
    if let (Some(first), Some(this)) = (record.fingerprint, fingerprint)
        && first != this
    {
        return Err(Refusal::KeyReused);
    }
    let written = |address: &EmailAddress| address.to_string();
    let recipients = submission
        .recipients
        .iter()
        .map(|one| written(&one.address));
    let impossible = submission.impossible.iter().map(|one| one.text.clone());
    let recipients = recipients.chain(impossible).zip(record.statuses);
    Ok(Accepted {
        id: record.message,
        stream: record.stream,
        recipients: recipients
            .map(|(address, status)| AcceptedRecipient { address, status })
            .collect(),
        is_replay: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_s_key_is_under_way_once_until_it_is_let_go() {
        let keys = KeysInFlight::default();
        let [shop, crm] = ["shop", "crm"].map(|name| name.parse().unwrap());
        let first = keys.enter(&shop, "k");
        assert!(first.is_some());
        assert!(keys.enter(&shop, "k").is_none());
        assert!(keys.enter(&shop, "l").is_some());
        assert!(keys.enter(&crm, "k").is_some());
        drop(first);
        assert!(keys.enter(&shop, "k").is_some());
    }
}
