//! Prints how a day's quota fares that nodes share in slices: the table of `docs/scaling.md`.
//!
//! `cargo run --release -p malote-delivery --example quota_slices`

mod simulation;

use simulation::{Death, Scenario, percent, run};

/// Any number: another one gives nearly the same table.
const SEED: u64 = 42;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    println!(
        "| nodes | quota a day | wished for | used | overshoot | lost with a node | first wait at | longest wait |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for per_day in [1_000, 50_000] {
        for demand in [per_day / 2, per_day * 3 / 2] {
            for nodes in [1, 5, 20, 50] {
                let scenario = Scenario {
                    nodes,
                    per_day,
                    demand,
                    dies: Some(Death),
                    seed: SEED,
                };
                let outcome = run(&scenario).await?;
                let first = outcome.first_wait_at.map_or("never".to_owned(), |at| {
                    format!("{:.1} %", percent(at, per_day))
                });
                println!(
                    "| {nodes} | {per_day} | {demand} | {:.1} % | {} | {} | {first} | {} s |",
                    outcome.used_percent(&scenario),
                    outcome.overshoot,
                    outcome.lost,
                    outcome.wait_max.as_secs(),
                );
            }
        }
    }
    Ok(())
}
