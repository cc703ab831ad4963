//! No second holds more than a rate, and next to all of it is used.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep_until;

use super::super::ledger::Ledger;
use super::super::rate::{AHEAD, LATE_MAX, period};
use super::super::skew::Skew;
use super::*;

const SECOND: Duration = Duration::from_secs(1);
/// Rates that are spread over what the configuration allows, and some that are no whole number.
const RATES: [f64; 12] = [
    0.01, 0.3, 1.0, 1.5, 3.0, 14.0, 49.9, 50.0, 333.0, 7_777.7, 99_999.0, 100_000.0,
];

fn rate(account: &str, per_second: f64) -> malote_store::Rate {
    malote_store::Rate {
        account: account.into(),
        period: period(per_second),
    }
}

/// Most of these times in any second.
fn busiest(mut used: Vec<Instant>) -> usize {
    used.sort_unstable();
    let mut end = 0;
    let within = |(first, at): (usize, &Instant)| {
        while used.get(end).is_some_and(|other| *other < *at + SECOND) {
            end += 1;
        }
        end - first
    };
    used.iter().enumerate().map(within).max().unwrap_or(0)
}

fn whole(per_second: f64) -> usize {
    let whole = format!("{:.0}", per_second.ceil());
    whole.parse().unwrap()
}

/// Late for a while, then punctual for a while: what was late comes close to what is not.
struct Lateness {
    lots: StdRng,
    /// Units of a while, at most: what comes in 50 ms.
    while_max: usize,
    left: usize,
    is_late: bool,
}

impl Lateness {
    fn new(seed: u64, per_second: f64) -> Self {
        Self {
            lots: StdRng::seed_from_u64(seed),
            while_max: whole(per_second) / 20 + 2,
            left: 0,
            is_late: true,
        }
    }

    fn next(&mut self) -> Duration {
        if self.left == 0 {
            self.left = self.lots.random_range(1..=self.while_max);
            self.is_late = !self.is_late;
        }
        self.left -= 1;
        if self.is_late {
            LATE_MAX - Duration::from_nanos(1)
        } else {
            Duration::ZERO
        }
    }
}

#[test]
fn no_second_holds_more_than_the_rate_however_late_units_are_used() {
    for (seed, per_second) in (0..).zip(RATES) {
        let (began, rates) = (Instant::now(), [rate("a", per_second)]);
        let ledger = Ledger::new(began);
        let mut late = Lateness::new(seed, per_second);
        let (mut now, mut used) = (began, Vec::new());
        let takes_per_second = whole(per_second) / 50 + 1;
        while used.len() < 6 * whole(per_second) + 20 {
            let given = ledger.take(&rates, late.lots.random_range(1..100), now);
            let times = (0..given.units).map(|unit| given.first + rates[0].period * unit);
            used.extend(times.map(|time| time + late.next()));
            now = match given.units {
                0 => given.first - AHEAD,
                // Now and then nobody wants any.
                _ if late.lots.random_range(0..4 * takes_per_second) == 0 => now + SECOND / 3,
                _ => now,
            };
        }
        let most = busiest(used);
        assert!(most <= whole(per_second), "{most} of {per_second}");
    }
}

#[test]
fn next_to_all_of_a_rate_is_given() {
    for per_second in RATES {
        let (began, rates) = (Instant::now(), [rate("a", per_second)]);
        let ledger = Ledger::new(began);
        let (mut now, mut count) = (began, 0);
        let lasts = Duration::from_secs_f64((100.0 / per_second).max(3.0));
        while now < began + lasts {
            let given = ledger.take(&rates, u32::MAX, now);
            count += given.units;
            now = (given.first - AHEAD).max(now + Duration::from_nanos(1));
        }
        let part = f64::from(count) / per_second / lasts.as_secs_f64();
        assert!((0.97..1.04).contains(&part), "{part} of {per_second}");
    }
}

#[test]
fn units_of_several_rates_keep_all_of_them() {
    let began = Instant::now();
    let ledger = Ledger::new(began);
    let (all, some) = (rate("a", 50.0), rate("a campaigns", 40.0));
    let later = began + SECOND;
    let campaigns = ledger.take(&[all.clone(), some.clone()], 3, later);
    assert_eq!((campaigns.units, campaigns.first), (3, later));
    let others = ledger.take(std::slice::from_ref(&all), 1, later);
    let expected = later + some.period * 2 + all.period;
    assert_eq!((others.units, others.first), (1, expected));
}

#[test]
fn who_finds_nothing_takes_nothing() {
    let (began, rates) = (Instant::now(), [rate("a", 2.0)]);
    let ledger = Ledger::new(began);
    let idle = began + SECOND;
    let given = ledger.take(&rates, 1, idle);
    assert_eq!((given.units, given.first), (1, idle + AHEAD));
    for ms in [0, 200, 300] {
        let given = ledger.take(&rates, 1, idle + Duration::from_millis(ms));
        let free_at = idle + AHEAD + rates[0].period;
        assert_eq!((given.units, given.first), (0, free_at));
    }
    assert_eq!(ledger.take(&rates, 5, idle + SECOND).units, 1);
}

#[test]
fn a_unit_that_is_long_the_last_one_comes_well_before_its_time() {
    let began = Instant::now();
    let rates = [rate("a", 1.0)];
    let ms = Duration::from_millis;
    let free_at = began + SECOND * 5 + AHEAD + rates[0].period;
    // Idle; in use, and asked for in time; and nearly idle.
    for (now, first) in [
        (free_at + SECOND, free_at + SECOND + AHEAD),
        (free_at, free_at + AHEAD),
        (free_at - AHEAD / 3, free_at - AHEAD / 3 + AHEAD),
        (free_at - AHEAD + ms(40), free_at),
        (free_at - AHEAD, free_at),
    ] {
        let ledger = Ledger::new(began);
        assert_eq!(ledger.take(&rates, 1, began + SECOND * 5).units, 1);
        let given = ledger.take(&rates, 9, now);
        assert_eq!((given.units, given.first), (1, first));
    }
}

#[test]
fn fifty_nodes_keep_a_rate_by_the_database_s_clock() {
    const PER_SECOND: f64 = 200.0;
    let began = Instant::now();
    let (ledger, rates) = (Ledger::new(began), [rate("a", PER_SECOND)]);
    let clock_ns = |at: Instant| i64::try_from((at - began).as_nanos()).unwrap();
    let mut lots = StdRng::seed_from_u64(7);
    let mut nodes: Vec<Skew> = (0..50).map(|_| Skew::new(began)).collect();
    let (mut used, mut now) = (Vec::new(), began + SECOND);
    while now < began + 21 * SECOND {
        now += Duration::from_micros(lots.random_range(100..4_000));
        // The way there and the way back, now and then a slow one.
        let slowest = if lots.random_ratio(1, 20) {
            60_000
        } else {
            4_000
        };
        let mut way = || Duration::from_micros(lots.random_range(50..slowest));
        let (asked_at, answered_at) = (now - way(), now + way());
        let given = ledger.take(&rates, 5, now);
        let one = lots.random_range(0..nodes.len());
        nodes[one].narrow(asked_at, answered_at, clock_ns(now));
        let first = nodes[one].unit(clock_ns(given.first));
        for unit in 0..given.units {
            let is_late = lots.random_ratio(1, 2);
            let at = if is_late {
                first.until - Duration::from_nanos(1)
            } else {
                first.from
            };
            used.push(at + rates[0].period * unit);
        }
    }
    let count = used.len();
    let most = busiest(used);
    assert!(most <= whole(PER_SECOND), "{most}");
    assert!(count > 19 * whole(PER_SECOND), "{count}");
}

#[test]
fn one_slow_answer_tells_no_less_and_a_clock_that_was_set_is_believed() {
    let origin = Instant::now();
    let at = |ms: u64| origin + Duration::from_millis(ms);
    let mut skew = Skew::new(origin);
    // The database's clock began 5 s before.
    skew.narrow(at(1_000), at(1_002), 6_001_000_000);
    let unit = skew.unit(6_100_000_000);
    let exact = Duration::from_micros(1);
    assert_eq!(unit.from, at(1_101) + exact);
    assert_eq!(unit.until, at(1_099) - exact + LATE_MAX);
    skew.narrow(at(1_100), at(1_400), 6_390_000_000);
    let unit = skew.unit(6_400_000_000);
    assert!(unit.from - at(1_401) < Duration::from_micros(200));
    assert!(unit.until > unit.from + LATE_MAX * 4 / 5);
    // It is set back by an hour: what it says now is true.
    skew.narrow(at(2_000), at(2_002), 1_000_000_000);
    assert_eq!(skew.unit(1_010_000_000).from, at(2_012) + exact);
    // Too far away to tell better: some of the time remains.
    skew.narrow(at(3_000), at(3_100), 9_000_000_000);
    let unit = skew.unit(9_000_000_000);
    assert_eq!(unit.until, unit.from + LATE_MAX / 2);
}

fn limits(per_second: f64, reserve: Option<f64>) -> Limits {
    Limits {
        per_second: Some(per_second),
        transactional_reserve: reserve,
        concurrency: Some(64),
        ..Limits::default()
    }
}

fn limiters(account: Limits, pool: Option<Limits>, previous: Option<&Limiters>) -> Limiters {
    let (shared, _dir) = alone();
    let pools = pool.map(|pool| (target(), (pool, None)));
    let account = AccountLimits {
        provider: target().provider,
        limits: account,
        pools: pools.into_iter().collect(),
        is_shared_by_classes: false,
    };
    Limiters::new(shared, &[account], previous)
}

/// Admits so many calls of a class one after another, and lets each go once `gate` has passed.
async fn go(limiters: &Limiters, class: Class, count: u32, gate: Instant) {
    let target = target();
    let wish = Wish {
        patience: Duration::from_secs(60),
        ..wish(&target, class, 1)
    };
    let mut permits = Vec::new();
    for _ in 0..count {
        let Admission::Go(permit) = limiters.admit(&wish).await.unwrap() else {
            panic!("it was not admitted");
        };
        permits.push(permit);
    }
    sleep_until(gate).await;
    for mut permit in permits {
        while !permit.is_due().await {
            permit.take_another().await.unwrap();
        }
    }
}

/// The shortest time from the first of so many units to the last.
fn span(per_second: f64, count: u32) -> Duration {
    period(per_second) * (count - 1)
}

#[tokio::test]
async fn calls_that_are_held_up_after_their_turn_wait_for_another_one() {
    let limiters = limiters(limits(100.0, None), None, None);
    let gate = Instant::now() + Duration::from_millis(500);
    go(&limiters, Class::Campaign, 20, gate).await;
    assert!(gate.elapsed() >= span(100.0, 20), "{:?}", gate.elapsed());
}

#[tokio::test]
async fn campaigns_leave_their_reserve_of_a_rate_and_both_keep_it_together() {
    let limiters = limiters(limits(100.0, Some(0.5)), None, None);
    let began = Instant::now();
    go(&limiters, Class::Campaign, 20, began).await;
    assert!(began.elapsed() >= span(50.0, 20), "{:?}", began.elapsed());

    let began = Instant::now();
    tokio::join!(
        go(&limiters, Class::Campaign, 20, began),
        go(&limiters, Class::Transactional, 30, began),
    );
    assert!(began.elapsed() >= span(100.0, 50), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_pool_s_rate_and_its_account_s_hold_both() {
    for (account, pool) in [(1_000.0, 50.0), (50.0, 1_000.0)] {
        let limiters = limiters(limits(account, None), Some(limits(pool, None)), None);
        let began = Instant::now();
        go(&limiters, Class::Campaign, 20, began).await;
        assert!(began.elapsed() >= span(50.0, 20), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_rate_that_changes_goes_on_from_its_last_unit() {
    let before = limiters(limits(100.0, None), None, None);
    let after = limiters(limits(101.0, None), None, Some(&before));
    let began = Instant::now();
    tokio::join!(
        go(&before, Class::Campaign, 20, began),
        go(&after, Class::Campaign, 20, began),
    );
    assert!(began.elapsed() >= span(101.0, 40), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_call_that_needs_more_units_than_come_while_it_waits_goes_in_the_end() {
    let limiters = limiters(limits(100.0, None), None, None);
    let (began, target) = (Instant::now(), target());
    let wish = Wish {
        patience: Duration::from_millis(50),
        ..wish(&target, Class::Campaign, 50)
    };
    while !matches!(limiters.admit(&wish).await.unwrap(), Admission::Go(_)) {
        assert!(began.elapsed() < Duration::from_secs(10), "it never goes");
    }
    assert!(
        began.elapsed() + AHEAD >= span(100.0, 50),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn who_is_ready_goes_with_the_unit_of_a_call_that_is_held_up() {
    for _ in 0..20 {
        let began = Instant::now();
        let limiters = limiters(limits(20.0, None), None, None);
        let target = target();
        let wish = Wish {
            patience: SECOND,
            ..wish(&target, Class::Campaign, 1)
        };
        let held_up = limiters.admit(&wish).await.unwrap();
        let Admission::Go(ready) = limiters.admit(&wish).await.unwrap() else {
            panic!("it was not admitted");
        };
        assert!(ready.is_due().await);
        drop(held_up);
        // A machine that stands still lets the first one pass.
        if began.elapsed() < period(20.0) * 2 {
            return;
        }
    }
    panic!("it always waits for its own");
}

#[tokio::test]
async fn the_first_call_of_a_slow_rate_that_is_idle_goes_though_it_takes_a_while() {
    let limiters = limiters(limits(0.1, None), None, None);
    // A process before this one may have used it up to here.
    tokio::time::sleep(SECOND + LATE_MAX).await;
    let (began, target) = (Instant::now(), target());
    let admission = limiters.admit(&wish(&target, Class::Campaign, 1)).await;
    let Ok(Admission::Go(permit)) = admission else {
        panic!("it was not admitted");
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(permit.is_due().await, "{:?}", began.elapsed());
    assert!(began.elapsed() >= AHEAD);
}

#[tokio::test]
async fn a_call_of_many_that_is_held_up_waits_for_one_more_unit_only() {
    let limiters = limiters(limits(20.0, None), None, None);
    let target = target();
    let wish = Wish {
        patience: Duration::from_secs(60),
        ..wish(&target, Class::Campaign, 40)
    };
    let Admission::Go(mut permit) = limiters.admit(&wish).await.unwrap() else {
        panic!("it was not admitted");
    };
    tokio::time::sleep(AHEAD * 2).await;
    let began = Instant::now();
    while !permit.is_due().await {
        permit.take_another().await.unwrap();
    }
    assert!(began.elapsed() < span(20.0, 20), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_call_that_is_not_made_gives_its_quota_back() {
    let account = Limits {
        per_day: Some(10),
        ..limits(100.0, None)
    };
    let limiters = limiters(account, Some(Limits::default()), None);
    let target = target();
    let wish = Wish {
        patience: Duration::from_secs(60),
        ..wish(&target, Class::Campaign, 7)
    };
    let left = async || limiters.quotas(wish.now).await.unwrap()[0].left;
    let Admission::Go(permit) = limiters.admit(&wish).await.unwrap() else {
        panic!("it was not admitted");
    };
    assert_eq!(left().await, 3);
    permit.unspend().await;
    assert_eq!(left().await, 10);
}
