//! Promises of what nodes share: quotas, warm-up, breakers and switches.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a broken promise of the engine under test is a panic"
)]

use crate::conformance::mail::at;
use crate::{BreakerRecord, QuotaRequest, Shared, Switch, WarmupRecord};

const HOUR: i64 = 3_600;

fn wish(want: u64, now: i64, windows: &[(i64, u64)]) -> QuotaRequest {
    QuotaRequest {
        account: "ses".into(),
        need: want,
        want,
        windows: windows
            .iter()
            .map(|(since, cap)| (at(*since), *cap))
            .collect(),
        now: at(now),
    }
}

/// The tightest window decides; units leave a rolling window with their hour.
pub async fn a_quota_is_never_exceeded_in_any_window(shared: &dyn Shared) {
    let day = |now: i64| (now - 24 * HOUR, 100);
    let hour = |now: i64| (now - HOUR, 40);
    let take = async |want: u64, now: i64| {
        let request = wish(want, now, &[day(now), hour(now)]);
        shared.take_quota(request).await.unwrap()
    };
    let full = take(30, 0).await;
    assert_eq!((full.units, full.free_at), (30, None));
    let part = take(30, 60).await;
    assert_eq!(part.units, 10);
    assert!(part.free_at.is_some_and(|free_at| free_at > at(60)));
    assert_eq!(take(1, 90).await.units, 0);
    assert_eq!(take(100, 3 * HOUR).await.units, 40);
    assert_eq!(take(100, 6 * HOUR).await.units, 20);
    assert_eq!(take(100, 9 * HOUR).await.units, 0);
    assert_eq!(shared.quota_used("ses", at(0)).await.unwrap(), 100);
    assert_eq!(shared.quota_used("ses", at(5 * HOUR)).await.unwrap(), 20);
    assert_eq!(shared.quota_used("ses/tx", at(0)).await.unwrap(), 0);
    assert_eq!(take(100, 26 * HOUR).await.units, 40);
    let unlimited = shared.take_quota(wish(7, 0, &[])).await.unwrap();
    assert_eq!(unlimited.units, 7);
}

/// What is taken ahead of use is a share of what is left, and the last unit is for whoever needs it.
pub async fn less_of_a_quota_is_taken_ahead_the_less_is_left(shared: &dyn Shared) {
    let take = async |need: u64| {
        let request = QuotaRequest {
            need,
            ..wish(100, 0, &[(-HOUR, 1_000_000), (-24 * HOUR, 1_000)])
        };
        let grant = shared.take_quota(request).await.unwrap();
        (grant.units, grant.free_at.is_some())
    };
    assert_eq!(take(1).await, (5, false));
    assert_eq!(take(95).await, (95, false));
    assert_eq!(take(1).await, (4, false));
    assert_eq!(take(500).await, (500, false));
    assert_eq!(take(1).await, (1, false));
    assert_eq!(take(394).await, (394, false));
    assert_eq!(take(3).await, (1, true));
    assert_eq!(take(1).await, (0, true));
}

/// Sixteen takers at once never get more than there is.
pub async fn concurrent_takers_share_one_quota(shared: &dyn Shared) {
    let takers = (0..16).map(|_| shared.take_quota(wish(10, 0, &[(-24 * HOUR, 100)])));
    let mut granted = 0;
    for grant in futures_of(takers).await {
        granted += grant.unwrap().units;
    }
    assert_eq!(granted, 100);
}

/// Polls all at once, as many tasks would.
async fn futures_of<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut is_done = true;
        for (future, output) in &mut pending {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(ready) => *output = Some(ready),
                    std::task::Poll::Pending => is_done = false,
                }
            }
        }
        if is_done {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    pending
        .into_iter()
        .filter_map(|(_, output)| output)
        .collect()
}

/// What is given back is free at once, and never more than was taken.
pub async fn units_given_back_can_be_taken_again(shared: &dyn Shared) {
    let windows = [(-24 * HOUR, 10)];
    let take = async |want| {
        shared
            .take_quota(wish(want, 0, &windows))
            .await
            .unwrap()
            .units
    };
    assert_eq!(take(10).await, 10);
    shared.give_back_quota("ses", at(0), 4).await.unwrap();
    assert_eq!(take(10).await, 4);
    shared.give_back_quota("ses", at(0), 1_000).await.unwrap();
    assert_eq!(take(100).await, 10);
    shared.give_back_quota("other", at(0), 5).await.unwrap();
    assert_eq!(shared.quota_used("other", at(0)).await.unwrap(), 0);
}

/// The small records are kept as written, replaced, and removed.
pub async fn warm_up_breakers_and_switches_are_kept(shared: &dyn Shared) {
    assert_eq!(shared.warmup("ses/tx").await.unwrap(), None);
    for used in [1, 2] {
        let record = WarmupRecord {
            day: "2026-12-01".parse().unwrap(),
            cap: 200,
            used,
        };
        shared.set_warmup("ses/tx", record).await.unwrap();
        assert_eq!(shared.warmup("ses/tx").await.unwrap(), Some(record));
    }
    for state in ["open", "half-open"] {
        let written = shared.set_breaker("ses/tx", Some(state.into())).await;
        written.unwrap();
        let record = BreakerRecord {
            key: "ses/tx".into(),
            state: state.into(),
        };
        assert_eq!(shared.breakers().await.unwrap(), [record]);
    }
    shared.set_breaker("ses/tx", None).await.unwrap();
    assert_eq!(shared.breakers().await.unwrap(), []);
    let mut switches = vec![
        Switch::StreamPaused("news".parse().unwrap()),
        Switch::ProviderPaused("ses".parse().unwrap()),
        Switch::ProviderDrained("ses".parse().unwrap()),
    ];
    for switch in switches.iter().chain(&switches) {
        shared.set_switch(switch.clone(), true).await.unwrap();
    }
    let mut on = shared.switches().await.unwrap();
    on.sort();
    switches.sort();
    assert_eq!(on, switches);
    shared.set_switch(switches.remove(1), false).await.unwrap();
    let mut on = shared.switches().await.unwrap();
    on.sort();
    assert_eq!(on, switches);
}
