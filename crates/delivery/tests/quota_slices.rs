//! What ADR 0002 promises of quotas taken in slices, with many nodes at one account.

#[path = "../examples/quota_slices/simulation.rs"]
mod simulation;

use malote_store::QUOTA_SHARES;
use simulation::{Death, Scenario, percent, run};

/// Largest slice of a quota, at most 100.
fn slice(per_day: u64) -> u64 {
    (per_day / QUOTA_SHARES).clamp(1, 100)
}

#[tokio::test]
async fn fifty_nodes_never_take_more_than_the_quota_and_a_death_loses_one_slice() {
    for (per_day, demand) in [(500, 1_500), (2_000, 1_000), (20_000, 30_000)] {
        for dies in [None, Some(Death)] {
            let scenario = Scenario {
                nodes: 50,
                per_day,
                demand,
                dies,
                seed: 7,
            };
            let outcome = run(&scenario).await.unwrap();
            assert_eq!(outcome.overshoot, 0, "{scenario:?}: {outcome:?}");
            let lost_max = dies.map_or(0, |_| slice(per_day));
            assert!(outcome.lost <= lost_max, "{scenario:?}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn what_is_below_the_quota_is_admitted_whole() {
    let scenario = Scenario {
        nodes: 50,
        per_day: 20_000,
        demand: 10_000,
        dies: None,
        seed: 7,
    };
    let outcome = run(&scenario).await.unwrap();
    assert_eq!((outcome.admitted, outcome.first_wait_at), (10_000, None));
}

#[tokio::test]
async fn a_node_is_told_to_wait_only_once_all_but_what_is_in_hand_is_used() {
    let scenario = Scenario {
        nodes: 50,
        per_day: 20_000,
        demand: 30_000,
        dies: None,
        seed: 7,
    };
    let outcome = run(&scenario).await.unwrap();
    let in_hand = 49 * slice(scenario.per_day);
    let first = outcome.first_wait_at.unwrap();
    assert!(first + in_hand >= scenario.per_day, "{outcome:?}");
    assert!(outcome.used_percent(&scenario) >= percent(first, scenario.per_day));
}

#[tokio::test]
async fn the_same_seed_gives_the_same_day() {
    let scenario = Scenario {
        nodes: 5,
        per_day: 300,
        demand: 400,
        dies: Some(Death),
        seed: 9,
    };
    assert_eq!(run(&scenario).await.unwrap(), run(&scenario).await.unwrap());
}
