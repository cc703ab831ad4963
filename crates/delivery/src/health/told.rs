//! What services tell later of a mailbox provider's opinion of a target.
//!
//! A service takes a message whatever the mailbox provider thinks of it; only its events say. So
//! they have breakers of their own, which a call that is taken does not close.

use jiff::Timestamp;
use malote_core::event::{Blame, EventKind, ProviderEvent};
use malote_core::name::{MailboxProvider, ProviderName};
use malote_store::LastCall;

use super::{MEMORY_MAX, Registry, kept};
use crate::breaker::{Ended, Signal};

/// What an event says of the target at the recipient's mailbox provider: a block speaks against
/// it, a delivery for it. A receiver's outage, a full mailbox or a refused content say nothing.
pub(crate) fn signal_of_event(event: &ProviderEvent) -> Option<Signal> {
    let is_block = event.kind == EventKind::Bounced && event.blame == Some(Blame::Reputation);
    if is_block {
        return Some(Signal::Fails);
    }
    (event.kind == EventKind::Delivered).then_some(Signal::Works)
}

impl Registry {
    /// Whether anything was told against a target of this provider at this mailbox provider: only
    /// then do deliveries matter.
    pub(crate) fn is_doubted(&self, provider: &ProviderName, mailbox: &MailboxProvider) -> bool {
        let inner = self.lock();
        let mut doubted = inner.told.keys();
        doubted.any(|(target, at)| target.provider == *provider && at == mailbox)
    }

    /// Takes in what an event said of what this call had sent.
    pub(crate) fn told(
        &self,
        call: &LastCall,
        mailbox: &MailboxProvider,
        signal: Signal,
        now: Timestamp,
    ) {
        let mut inner = self.lock();
        let key = (call.target.clone(), mailbox.clone());
        if signal == Signal::Works && !inner.told.contains_key(&key) {
            return;
        }
        if inner.told.len() >= MEMORY_MAX {
            inner.told.retain(|_, breaker| !breaker.is_at_rest());
        }
        if inner.told.len() >= MEMORY_MAX {
            inner.told.clear();
        }
        let breaker = inner.told.entry(key).or_default();
        let word = breaker.word();
        let ended = Ended {
            signal,
            started_at: call.started_at,
            is_probe: false,
        };
        breaker.record_unasked(&ended, now);
        let change = (breaker.word() != word).then(|| kept(breaker));
        if let Some(state) = change {
            inner
                .unkept
                .insert(format!("told:{}:{mailbox}", call.target), state);
        }
        inner.picture = None;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use malote_core::name::TargetName;

    use super::*;

    fn event(kind: EventKind, blame: Option<Blame>) -> ProviderEvent {
        ProviderEvent {
            dedup_key: "1".into(),
            at: Timestamp::UNIX_EPOCH,
            kind,
            blame,
            delivery: None,
            provider_message_id: None,
            recipient: None,
            detail: String::new(),
            raw: Bytes::new(),
        }
    }

    #[test]
    fn only_a_block_speaks_against_a_target_and_only_a_delivery_for_it() {
        for blame in Blame::ALL {
            let signal = signal_of_event(&event(EventKind::Bounced, Some(blame)));
            let expected = (blame == Blame::Reputation).then_some(Signal::Fails);
            assert_eq!(signal, expected, "{blame:?}");
        }
        let delivered = event(EventKind::Delivered, None);
        assert_eq!(signal_of_event(&delivered), Some(Signal::Works));
        let deferred = event(EventKind::Deferred, Some(Blame::Reputation));
        assert_eq!(signal_of_event(&deferred), None);
    }

    #[test]
    fn blocks_told_later_take_the_target_out_for_that_mailbox_provider_until_it_delivers() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let registry = Registry::default();
        let target = TargetName {
            provider: "ses".try_into().unwrap(),
            pool: "tx".try_into().unwrap(),
        };
        let microsoft = MailboxProvider::try_from("microsoft").unwrap();
        let google = MailboxProvider::try_from("google").unwrap();
        let told = |mailbox: &MailboxProvider, signal, second| {
            let call = LastCall {
                target: target.clone(),
                started_at: at(second),
                is_last: true,
            };
            registry.told(&call, mailbox, signal, at(second));
        };
        told(&google, Signal::Works, 0);
        assert!(!registry.is_doubted(&target.provider, &google));
        for _ in 0..5 {
            told(&microsoft, Signal::Fails, 0);
        }
        let is_out = |mailbox: &MailboxProvider, now| {
            let picture = registry.picture(now);
            picture
                .exclusion(&target, "shop.example", mailbox)
                .is_some()
        };
        assert!(is_out(&microsoft, at(1)) && !is_out(&google, at(1)));
        assert!(registry.is_doubted(&target.provider, &microsoft));
        assert!(!registry.is_doubted(&"mailgun".try_into().unwrap(), &microsoft));
        // A call that the service takes says nothing: only a delivery ends it.
        let call = super::super::Call {
            target: &target,
            sender_domain: "shop.example",
            mailbox_provider: &microsoft,
            started_at: at(1),
            chance: 0.0,
        };
        registry.record(&call, None, at(1));
        assert!(is_out(&microsoft, at(2)));
        told(&microsoft, Signal::Works, 6);
        assert!(!is_out(&microsoft, at(6)));
        let keys: Vec<String> = registry.take_unkept().into_keys().collect();
        assert_eq!(keys, ["told:ses/tx:microsoft"]);
    }
}
