//! `malote demo --full`: the real gateway between eight simulated services and a relay, a Mautic and
//! an app. Things come back; the demo says whom mail is not sent to any more, who was told, and
//! compares each with what was expected.

mod app;
mod company;
mod desk;
mod findings;
mod mailer;
mod mautic;
mod ordinary;
mod returns;
mod service;
mod verdicts;
mod wait;

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::time::{sleep, timeout};

use crate::cli;
use crate::demo::process::asked_to_end;
use company::Company;
use findings::{Chapter, Finding, Paint, table};

/// How long everything but the hold may take; on a machine with nothing else to do it is 25 seconds.
const PLAY_MAX: Duration = Duration::from_secs(120);
/// Longest hold.
pub(crate) const HOLD_MAX: Duration = Duration::from_secs(3600);

/// Runs the full demo, about 25 seconds, and keeps everything up for `hold`, at most
/// an hour, so that one can look. Ctrl-C and SIGTERM end it in order.
///
/// # Errors
/// If somebody cannot be started, the play takes more than two minutes, or a finding is a fault.
pub async fn run(hold: Duration) -> anyhow::Result<()> {
    println!("starting a gateway, eight services, an SMTP relay, a Mautic and an app on loopback");
    let company = Company::gather().await?;
    let played = perform(&company, hold.min(HOLD_MAX)).await;
    company.leave().await;
    let faults = faults(&played?);
    ensure!(
        faults == 0,
        "{faults} of the findings are faults: please report this output"
    );
    Ok(())
}

async fn perform(company: &Company, hold: Duration) -> anyhow::Result<Vec<Chapter>> {
    println!("{}", company.mailer.describe());
    println!("metrics: {}/metrics", company.desk.admin);
    let chapters = tokio::select! {
        played = timeout(PLAY_MAX, play(company)) => {
            played.context("the demo took more than two minutes")??
        }
        ended = asked_to_end() => {
            ended?;
            bail!("ended before it was over");
        }
    };
    let paint = match cli::is_coloured() {
        true => Paint::Colours,
        false => Paint::Plain,
    };
    println!("\nfindings");
    print!("{}", table(&chapters, paint));
    let count: usize = chapters.iter().map(|own| own.findings.len()).sum();
    println!("{count} findings, {} faults", faults(&chapters));
    if !hold.is_zero() {
        stay_up(company, hold);
        tokio::select! {
            () = sleep(hold) => {}
            ended = asked_to_end() => ended?,
        }
    }
    Ok(chapters)
}

fn faults(chapters: &[Chapter]) -> usize {
    let all = chapters.iter().flat_map(|chapter| &chapter.findings);
    all.filter(|finding| finding.is_fault()).count()
}

async fn play(company: &Company) -> anyhow::Result<Vec<Chapter>> {
    let mut chapters = Vec::new();
    let mut keep = |title, findings: Vec<Finding>| chapters.push(Chapter { title, findings });
    scene(
        1,
        "Mautic sends a campaign, a shop password resets: both streams at eight services and the relay",
        "each mail once by its own service; delivered, as the services tell, each of them twice",
    );
    keep("1. ordinary mail", ordinary::both_streams(company).await?);
    scene(
        2,
        "a hard bounce, an IP block, a full mailbox, a complaint and an unsubscribe come back, and a \
         forged bounce; mail to the same people waits in the queue",
        "the dead address gets nothing more; the complaint and the unsubscribe stop campaigns, not \
         password resets; the block, the full mailbox and the forgery stop nothing",
    );
    keep("2. what comes back", returns::five_things(company).await?);
    scene(
        3,
        "all eight services report the same IP block",
        "a block is the sender's trouble: nobody is suppressed, Mautic hears nothing",
    );
    keep(
        "3. the same IP block everywhere",
        returns::the_same_block(company).await?,
    );
    scene(
        4,
        "the relay refuses an address during the call",
        "what no webhook tells has the same consequences: suppressed, and Mautic knows",
    );
    keep(
        "4. a refusal in the call",
        returns::refused_in_the_call(company).await?,
    );
    keep(
        "after all of it: the suppressions, Mautic, the app and the metrics",
        verdicts::all(company).await?,
    );
    Ok(chapters)
}

fn scene(number: u8, what: &str, expected: &str) {
    println!("\n{number}. {what}\n   expected: {expected}");
}

fn stay_up(company: &Company, hold: Duration) {
    let admin = &company.desk.admin;
    let dead = company.services.first().map(|ses| ses.person("gone"));
    let dead = dead.unwrap_or_default();
    println!(
        "\neverything stays up for {} s; Ctrl-C ends it",
        hold.as_secs()
    );
    println!("  admin    {admin}");
    println!("  metrics  {admin}/metrics");
    for command in [
        &format!("log --rcpt {dead}"),
        "log --state bounced",
        "suppressions list",
        "outlets",
        "providers",
    ] {
        println!("  malote {command} --admin {admin}");
    }
}
