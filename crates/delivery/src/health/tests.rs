//! What each verdict takes out, and what comes back.

use malote_core::provider::{Fault, Reply};
use malote_store::BreakerChanges;

use super::*;

fn target(pool: &str) -> TargetName {
    TargetName {
        provider: "ses".try_into().unwrap(),
        pool: pool.try_into().unwrap(),
    }
}

fn exclusion(
    registry: &Registry,
    pool: &str,
    domain: &str,
    mailbox: &str,
    now: Timestamp,
) -> Option<Exclusion> {
    let mailbox = MailboxProvider::try_from(mailbox).unwrap();
    registry
        .picture(now)
        .exclusion(&target(pool), domain, &mailbox)
}

fn fail(registry: &Registry, verdict: Verdict, now: Timestamp) -> Option<Alert> {
    let target = target("tx");
    let mailbox_provider = MailboxProvider::try_from("google").unwrap();
    let call = Call {
        target: &target,
        sender_domain: "shop.example",
        mailbox_provider: &mailbox_provider,
        started_at: now,
        chance: 0.0,
    };
    let error = SendError::new(verdict, Reply::none("no"));
    ended(registry, None, [Some(&error)].into_iter(), (now, now)).or(registry.record(
        &call,
        Some(&error),
        now,
    ))
}

/// A whole call to the pool `tx` that began and ended then.
fn ended<'e>(
    registry: &Registry,
    probe: Option<&Probe<'_>>,
    results: impl Iterator<Item = Option<&'e SendError>>,
    (started_at, ended_at): (Timestamp, Timestamp),
) -> Option<Alert> {
    let call = WholeCall {
        target: &target("tx"),
        probe,
        started_at,
        ended_at,
    };
    registry.call_ended(&call, results)
}

#[test]
fn each_verdict_takes_out_what_it_is_about_and_nothing_more() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    for (verdict, out, still_in) in [
        (
            Verdict::ProviderUnusable,
            ("other", "x.example", "yahoo"),
            None,
        ),
        (
            Verdict::PoolUnusable,
            ("tx", "x.example", "yahoo"),
            Some(("other", "x.example", "yahoo")),
        ),
        (
            Verdict::SenderUnusable,
            ("tx", "shop.example", "yahoo"),
            Some(("tx", "x.example", "yahoo")),
        ),
        (
            Verdict::QuotaSpent { until: None },
            ("tx", "x.example", "yahoo"),
            Some(("other", "x.example", "yahoo")),
        ),
        (
            Verdict::Throttled { after: None },
            ("tx", "x.example", "yahoo"),
            Some(("other", "x.example", "yahoo")),
        ),
    ] {
        let registry = Registry::default();
        fail(&registry, verdict.clone(), now);
        assert!(
            exclusion(&registry, out.0, out.1, out.2, now).is_some(),
            "{verdict:?}"
        );
        if let Some(well) = still_in {
            assert_eq!(
                exclusion(&registry, well.0, well.1, well.2, now),
                None,
                "{verdict:?}"
            );
        }
    }
}

#[test]
fn a_reputation_block_counts_for_that_mailbox_provider_only() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let registry = Registry::default();
    for _ in 0..5 {
        fail(&registry, Verdict::Rejected(Fault::Reputation), now);
    }
    assert!(exclusion(&registry, "tx", "shop.example", "google", now).is_some());
    assert_eq!(
        exclusion(&registry, "tx", "shop.example", "yahoo", now),
        None
    );
}

#[test]
fn an_alert_is_told_once() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let registry = Registry::default();
    assert_eq!(
        fail(&registry, Verdict::ProviderUnusable, now),
        Some(Alert::ProviderOut)
    );
    assert_eq!(fail(&registry, Verdict::ProviderUnusable, now), None);
    let check = (now + Duration::from_secs(60), now + Duration::from_secs(61));
    let ses = "ses".try_into().unwrap();
    assert_eq!(registry.provider_is_well(&ses, check), Some(0));
    assert_eq!(exclusion(&registry, "tx", "x", "yahoo", now), None);
}

#[test]
fn the_longest_rest_that_was_asked_for_is_kept() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let at = |seconds| now + Duration::from_secs(seconds);
    let throttled = |after: Option<u64>| Verdict::Throttled {
        after: after.map(Duration::from_secs),
    };
    let spent = |until: Option<u64>| Verdict::QuotaSpent {
        until: until.map(at),
    };
    for (verdicts, rests, is_over) in [
        ([throttled(Some(3_000)), throttled(None)], 2_999, 3_001),
        ([throttled(None), throttled(Some(3_000))], 2_999, 3_001),
        ([spent(Some(9_000)), spent(None)], 8_999, 9_001),
    ] {
        let registry = Registry::default();
        for verdict in verdicts {
            fail(&registry, verdict, now);
        }
        let seen = |when| exclusion(&registry, "tx", "x", "yahoo", at(when));
        assert!(seen(rests).is_some() && seen(is_over).is_none(), "{rests}");
    }
}

#[test]
fn an_open_breaker_survives_being_kept() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let registry = Registry::default();
    let alerts: Vec<_> = (0..5)
        .filter_map(|_| fail(&registry, Verdict::Transient, now))
        .collect();
    assert_eq!(alerts, [Alert::BreakerOpened]);
    let restored = restored(&registry);
    assert!(exclusion(&restored, "tx", "x", "yahoo", now).is_some());
}

/// A registry as the next process has it.
fn restored(registry: &Registry) -> Registry {
    let restored = Registry::default();
    for (key, state) in registry.take_unkept() {
        let mut inner = restored.lock();
        inner.adopt(&key, state.as_deref(), Timestamp::MAX);
    }
    restored
}

#[test]
fn a_reputation_block_survives_a_restart_and_opens_again_after_its_rest() {
    let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
    let registry = Registry::default();
    for _ in 0..5 {
        fail(&registry, Verdict::Rejected(Fault::Reputation), at(0));
    }
    let registry = restored(&registry);
    let is_out = |now| exclusion(&registry, "tx", "shop.example", "google", now).is_some();
    assert!(is_out(at(4)) && !is_out(at(6)));
    fail(&registry, Verdict::Rejected(Fault::Reputation), at(6));
    assert!(is_out(at(15)), "the second rest is longer");
}

#[test]
fn a_call_to_many_is_one_call() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let registry = Registry::default();
    let error = SendError::new(Verdict::Transient, Reply::none("no"));
    let call = |ok: usize| {
        let failed = std::iter::repeat_n(Some(&error), 50);
        let results = failed.chain(std::iter::repeat_n(None, ok));
        ended(&registry, None, results, (now, now))
    };
    for _ in 0..4 {
        assert_eq!(call(0), None);
    }
    assert_eq!(call(1), None, "what it did for one it can do");
    for _ in 0..4 {
        assert_eq!(call(0), None);
    }
    assert_eq!(call(0), Some(Alert::BreakerOpened));
}

#[test]
fn a_probe_without_a_word_makes_room_for_another() {
    let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
    let registry = Registry::default();
    for _ in 0..5 {
        fail(&registry, Verdict::Transient, at(0));
    }
    let pass = || registry.pass(&target("tx"), at(6), Duration::from_secs(600));
    let probe = pass();
    assert!(matches!(probe, Ok(Some(_))));
    assert!(pass().is_err(), "one probe at a time");
    drop(probe);
    assert!(matches!(pass(), Ok(Some(_))));
}

#[test]
fn calls_that_hung_since_before_an_outage_do_not_open_the_breaker_of_the_recovered_target_again() {
    let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
    let error = SendError::new(Verdict::Transient, Reply::none("no"));
    let registry = Registry::default();
    for _ in 0..5 {
        fail(&registry, Verdict::Transient, at(1));
    }
    let hung = |from: &Registry| {
        for _ in 0..20 {
            let call = [Some(&error)].into_iter();
            assert_eq!(ended(from, None, call, (at(0), at(8))), None);
        }
    };
    let pass = registry.pass(&target("tx"), at(7), Duration::from_secs(60));
    let probe = pass.ok().flatten();
    assert!(probe.is_some());
    hung(&registry);
    assert_eq!(registry.breaker_word(&target("tx")), "half_open");
    let taken = [None].into_iter();
    ended(&registry, probe.as_ref(), taken, (at(7), at(8)));
    drop(probe);
    hung(&registry);
    assert_eq!(registry.breaker_word(&target("tx")), "ramp");
    // Nor at a node that was told of it all by another one.
    let other = Registry::default();
    for (epoch, state) in [(1, kept_at(&registry)), (2, None)] {
        let changes = vec![(target_key(&target("tx")), state, epoch)];
        other.follow_breakers(
            BreakerChanges {
                changes,
                next: epoch,
            },
            at(8),
        );
        hung(&other);
    }
    assert_eq!(other.breaker_word(&target("tx")), "closed");
}

/// The breaker of the pool `tx` as other nodes read it.
fn kept_at(registry: &Registry) -> Option<String> {
    let kept = registry.take_unkept().remove(&target_key(&target("tx")));
    kept.flatten()
}

#[test]
fn switches_of_other_nodes_are_followed_unless_one_was_changed_here_meanwhile() {
    let registry = Registry::default();
    let paused = |name: &str| Switch::StreamPaused(name.parse().unwrap());
    let known = registry.switch_changes();
    assert!(registry.follow_switches(known, vec![paused("news")]));
    assert!(!registry.follow_switches(known, vec![paused("news")]));
    assert_eq!(registry.switches(), [paused("news")]);
    // What was read before an operator resumed is older than the operator.
    registry.set_switch(paused("news"), false);
    assert!(!registry.follow_switches(known, vec![paused("news")]));
    assert_eq!(registry.switches(), []);
    assert!(registry.follow_switches(registry.switch_changes(), vec![paused("news")]));
}

#[test]
fn a_breaker_that_another_node_opened_is_open_here_until_its_rest_is_over() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let (elsewhere, here) = (Registry::default(), Registry::default());
    for _ in 0..5 {
        fail(&elsewhere, Verdict::Transient, now);
    }
    let mut kept = elsewhere.take_unkept();
    let (key, state) = kept.pop_first().unwrap();
    let change = |state, epoch| BreakerChanges {
        changes: vec![(key.clone(), state, epoch)],
        next: epoch,
    };
    assert!(here.follow_breakers(change(state.clone(), 7), now));
    assert_eq!(here.breaker_word(&target("tx")), "open");
    assert!(exclusion(&here, "tx", "x.example", "yahoo", now).is_some());
    // It closed by a later change; the earlier one, told again, is old news.
    assert!(here.follow_breakers(change(None, 8), now));
    assert!(!here.follow_breakers(change(state.clone(), 7), now));
    assert_eq!(here.breaker_word(&target("tx")), "closed");
    // What changed here and is not written yet is newer than what others wrote.
    let later = now + Duration::from_secs(1);
    for _ in 0..5 {
        fail(&here, Verdict::Transient, later);
    }
    assert!(!here.follow_breakers(change(None, 9), later));
    assert_eq!(here.breaker_word(&target("tx")), "open");
}
