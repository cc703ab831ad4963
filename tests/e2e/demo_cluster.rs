//! `malote demo --cluster`, run as a user runs it: a killed gateway loses nothing, another sends what
//! it had under way, and nothing is left behind.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use malote_tests::{Postgres, program, run};

use crate::demo_full::{COMMAND_MAX, Demo};

/// What a dead node had under way is another's within this.
const TAKE_OVER_MAX_S: f64 = 15.0;

/// The number before these words.
fn number_before(said: &str, words: &str) -> Result<f64> {
    let before = said.split_once(words).map(|(before, _)| before);
    let number = before.and_then(|before| before.split_whitespace().next_back());
    let number = number.with_context(|| format!("no {words:?}: {said}"))?;
    Ok(number.parse()?)
}

#[tokio::test]
async fn a_killed_gateway_loses_nothing_and_another_sends_what_it_had_under_way() -> Result<()> {
    let path = std::env::var_os("PATH").context("no PATH")?;
    let mut demo = Demo::start(&["demo", "--cluster"], &path)?;
    let said = demo.says("arrived twice").await?;
    let status = demo.ended().await?;
    ensure!(status.success(), "{status} {}", demo.said("stderr"));
    ensure!(said.contains("node2  killed"), "{said}");
    ensure!(number_before(&said, " lost;")? == 0.0, "{said}");
    ensure!(
        number_before(&said, " deliveries that the dead gateway")? >= 1.0,
        "{said}"
    );
    let (_, took) = said.split_once("taken over after ").context("no time")?;
    let took = number_before(took, " s\n")?;
    ensure!(took <= TAKE_OVER_MAX_S, "taken over after {took} s");
    ensure!(!said.contains('\u{1b}'), "colours are for terminals");
    ensure!(demo.left()?.is_empty(), "{:?}", demo.left()?);
    Ok(())
}

#[tokio::test]
async fn a_database_that_is_there_is_used_and_one_of_another_cluster_is_refused() -> Result<()> {
    let path = std::env::var_os("PATH").context("no PATH")?;
    let postgres = Postgres::start()?;
    let url = postgres.url();
    let arguments = ["demo", "--cluster", "--database-url", &url, "--tls", "none"];
    let mut demo = Demo::start(&arguments, &path)?;
    let said = demo.says("arrived twice").await?;
    let status = demo.ended().await?;
    ensure!(status.success(), "{status} {}", demo.said("stderr"));
    ensure!(said.contains("three gateways on the database"), "{said}");
    ensure!(number_before(&said, " lost;")? == 0.0, "{said}");
    ensure!(demo.left()?.is_empty(), "{:?}", demo.left()?);
    let other = "UPDATE malote.meta SET value = 'production' WHERE key = 'cluster'";
    postgres.ask(other).await?;
    let mut command = Command::new(program()?);
    let outcome = run(command.args(arguments), COMMAND_MAX).await?;
    ensure!(outcome.status == Some(1), "{outcome:?}");
    let said = "the database belongs to the cluster \"production\"";
    ensure!(outcome.stderr.contains(said), "{outcome:?}");
    Ok(())
}

#[tokio::test]
async fn without_postgresql_it_says_what_is_missing() -> Result<()> {
    let empty = tempfile::tempdir()?;
    let folder = empty.path().display().to_string();
    for (arguments, status, said) in [
        (
            &["demo", "--cluster", "--bin-dir", &folder][..],
            1,
            "has no initdb",
        ),
        (&["demo", "--bin-dir", &folder], 2, "--cluster"),
        (
            &["demo", "--database-url", "postgresql://m@h/m"],
            2,
            "--cluster",
        ),
        (&["demo", "--cluster", "--full"], 2, "--full"),
    ] {
        let mut command = Command::new(program()?);
        let outcome = run(command.args(arguments), COMMAND_MAX).await?;
        ensure!(outcome.status == Some(status), "{arguments:?}: {outcome:?}");
        ensure!(outcome.stderr.contains(said), "{arguments:?}: {outcome:?}");
    }
    Ok(())
}
