//! `malote demo --full`, run as a user runs it: every finding is good, and while it stays up a real
//! Prometheus finds what the dashboard of feedback asks for.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use malote_tests::{Door, Prometheus, eventually, program, queries, repository, run, tool};
use tempfile::TempDir;

/// How long the program may take to say something, on a busy machine.
const SAID_MAX: Duration = Duration::from_secs(120);
/// How long Prometheus may take to have seen everything.
const DATA_MAX: Duration = Duration::from_secs(60);
/// How long it may take to end.
const END_MAX: Duration = Duration::from_secs(40);
pub(crate) const COMMAND_MAX: Duration = Duration::from_secs(30);
/// Longer than the whole run, so that what came back is in it.
const RATE_INTERVAL: &str = "5m";
/// What is looked at, in this order; a finding that is gone is a fault of its own.
const EXPECTED: [&str; 27] = [
    "both streams, every service",
    "timelines of ordinary mail",
    "Mautic's own password reset",
    "webhooks of five services",
    "hard bounce at Amazon SES",
    "IP block at Mailgun",
    "full mailbox at SendGrid",
    "complaint at Postmark",
    "unsubscribe at SparkPost",
    "forged bounce at SMTP2GO",
    "queued mail",
    "password reset after the complaint",
    "new mail to the dead address",
    "the same IP block at all eight",
    "refusal in the call at the relay",
    "suppressed addresses",
    "suppressed for the IP block",
    "requests to Mautic",
    "requests to Mautic for the IP block",
    "contacts that Mautic will not write to",
    "signatures of the app's webhooks",
    "the app failed once",
    "events that the app was told",
    "their order",
    "metrics: bounces by whose fault",
    "metrics: suppressions by reason",
    "metrics: the forged webhook",
];

/// Panels of feedback.json, and how many of their lines are above 0: what happened once shows.
const SHOWN: [(&str, usize); 6] = [
    // A dead address, a full mailbox, and a block at each of the eight.
    ("Bounces told, by provider and whose fault", 10),
    // The eight and the relay.
    ("Bounce share, by stream, provider and mailbox provider", 9),
    (
        "Complaint share, by stream, provider and mailbox provider (Gmail: unknown)",
        1,
    ),
    ("Unsubscribed, by stream and provider", 1),
    // Dead addresses, the complaint, the unsubscribe.
    ("Suppression growth, by reason", 3),
    // The forgery.
    ("Webhooks refused, by reason", 1),
];

/// The running program; it is asked to end, and else killed, when dropped.
pub(crate) struct Demo {
    child: Child,
    folder: TempDir,
}

impl Demo {
    pub(crate) fn start(arguments: &[&str], path: &OsStr) -> Result<Self> {
        let folder = TempDir::with_prefix("malote-e2e-demo-")?;
        // PostgreSQL may have to run as somebody else.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let child = Command::new(program()?)
            .args(arguments)
            .env("PATH", path)
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(folder.path().join("stdout"))?)
            .stderr(File::create(folder.path().join("stderr"))?)
            .spawn()?;
        Ok(Self { child, folder })
    }

    pub(crate) fn said(&self, stream: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(stream)).unwrap_or_default()
    }

    /// Waits until it has said this, and answers all that it said.
    pub(crate) async fn says(&mut self, words: &str) -> Result<String> {
        let seen = eventually(words, SAID_MAX, async || {
            let ended = self.child.try_wait()?;
            let said = self.said("stdout");
            if said.contains(words) {
                return Ok(Some(said));
            }
            match ended {
                Some(status) => bail!("it ended: {status}"),
                None => Ok(None),
            }
        });
        let seen = seen.await;
        seen.with_context(|| format!("{}\n{}", self.said("stdout"), self.said("stderr")))
    }

    fn ask_to_end(&self) -> Result<()> {
        let id = self.child.id().to_string();
        Command::new("kill").arg(id).status()?;
        Ok(())
    }

    pub(crate) async fn ended(&mut self) -> Result<ExitStatus> {
        eventually("it ends", END_MAX, async || Ok(self.child.try_wait()?)).await
    }

    /// What it left in the folder for temporary files.
    pub(crate) fn left(&self) -> Result<Vec<PathBuf>> {
        let mut left = Vec::new();
        for entry in std::fs::read_dir(self.folder.path())? {
            left.push(entry?.path());
        }
        left.retain(|path| path.is_dir());
        Ok(left)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Asked to end it takes its gateway with it; killed, it could not.
        if matches!(self.child.try_wait(), Ok(None)) && self.ask_to_end().is_ok() {
            for _ in 0..100 {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The findings as word and subject.
fn findings(said: &str) -> Vec<(&str, &str)> {
    let table = said
        .split_once("\nfindings\n")
        .map_or("", |(_, table)| table);
    let rows = table.lines().map_while(|line| line.strip_prefix("  "));
    rows.filter_map(|row| {
        let (word, rest) = row.split_once("  ")?;
        let subject = rest
            .trim_start()
            .split_once("  ")
            .map_or(rest, |(subject, _)| subject);
        Some((word, subject.trim()))
    })
    .collect()
}

/// Waits until the panels show what happened.
async fn ensure_shown(prometheus: &Prometheus, panels: &[(String, String)]) -> Result<()> {
    for (title, lines) in SHOWN {
        let own: Vec<_> = panels.iter().filter(|(own, _)| own == title).collect();
        let [(_, query)] = own.as_slice() else {
            bail!("{title}: {} queries", own.len());
        };
        let above = format!("({query}) > 0");
        let mut seen = None;
        let shown = eventually(title, DATA_MAX, async || {
            seen = prometheus.series(&above).await?;
            Ok((seen == Some(lines)).then_some(()))
        });
        shown
            .await
            .with_context(|| format!("{title}: {seen:?} lines above 0, not {lines}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn what_comes_back_is_heeded_told_and_shown() -> Result<()> {
    let path = std::env::var_os("PATH").context("no PATH")?;
    let door = Door::open().await?;
    let prometheus = Prometheus::start(&door.address.to_string())?;
    eventually("Prometheus scrapes", DATA_MAX, async || {
        let series = prometheus.series("up").await?;
        Ok((series == Some(1)).then_some(()))
    })
    .await?;
    let mut demo = Demo::start(&["demo", "--full", "--hold", "10m"], &path)?;
    let said = demo.says("/metrics\n").await?;
    ensure!(said.contains("sent by Symfony Mailer"), "{said}");
    let metrics = said
        .lines()
        .find_map(|line| line.strip_prefix("metrics: http://"));
    let admin = metrics.and_then(|url| url.strip_suffix("/metrics"));
    door.lead(admin.with_context(|| said.clone())?.parse()?)?;

    let said = demo.says("providers --admin").await?;
    let found = findings(&said);
    ensure!(found.iter().all(|(word, _)| *word == "ok"), "{said}");
    let subjects: Vec<&str> = found.iter().map(|(_, subject)| *subject).collect();
    ensure!(subjects == EXPECTED, "{subjects:#?}");
    ensure!(!said.contains('\u{1b}'), "colours are for terminals");

    let dashboard = repository().join("dashboards/feedback.json");
    let mut waiting = queries(&dashboard, RATE_INTERVAL)?;
    let seen = eventually("every panel has data", DATA_MAX, async || {
        waiting = prometheus.silent(std::mem::take(&mut waiting)).await?;
        Ok(waiting.is_empty().then_some(()))
    });
    let seen = seen.await;
    seen.with_context(|| format!("silent: {waiting:#?}"))?;
    ensure_shown(&prometheus, &queries(&dashboard, RATE_INTERVAL)?).await?;
    let blocks = "malote_feedback_events_total{kind=\"bounced\", class=\"reputation\"} > 0";
    let by_provider = format!("sum by (provider) ({blocks})");
    eventually("a block at each service is counted", DATA_MAX, async || {
        let series = prometheus.series(&by_provider).await?;
        Ok((series == Some(8)).then_some(()))
    })
    .await?;

    let commands = said
        .lines()
        .filter_map(|line| line.strip_prefix("  malote "));
    let commands: Vec<&str> = commands.collect();
    ensure!(commands.len() == 5, "{said}");
    for line in commands {
        let mut command = Command::new(program()?);
        command.args(line.split(' '));
        run(&mut command, COMMAND_MAX)
            .await?
            .success()
            .context(line.to_owned())?;
    }
    demo.ask_to_end()?;
    let status = demo.ended().await?;
    ensure!(status.success(), "{status} {}", demo.said("stderr"));
    ensure!(demo.left()?.is_empty(), "{:?}", demo.left()?);
    Ok(())
}

#[tokio::test]
async fn without_php_the_same_play_is_given_and_it_says_so() -> Result<()> {
    // What ends the gateway is there, PHP is not.
    let folder = tempfile::tempdir()?;
    std::os::unix::fs::symlink(tool("kill")?, folder.path().join("kill"))?;
    let mut demo = Demo::start(&["demo", "--full"], folder.path().as_os_str())?;
    let said = demo.says(" faults\n").await?;
    let says_so = "PHP with Symfony Mailer is not installed here";
    ensure!(said.contains(says_so), "{said}");
    let found = findings(&said);
    ensure!(found.len() == EXPECTED.len(), "{said}");
    ensure!(found.iter().all(|(word, _)| *word == "ok"), "{said}");
    let status = demo.ended().await?;
    ensure!(status.success(), "{status} {}", demo.said("stderr"));
    Ok(())
}

#[tokio::test]
async fn a_hold_without_the_full_demo_or_longer_than_an_hour_is_refused() -> Result<()> {
    for arguments in [
        &["demo", "--hold", "1s"][..],
        &["demo", "--full", "--hold", "61m"],
        &["demo", "--full", "--hold", "soon"],
    ] {
        let mut command = Command::new(program()?);
        let outcome = run(command.args(arguments), COMMAND_MAX).await?;
        ensure!(outcome.status == Some(2), "{arguments:?}: {outcome:?}");
        ensure!(outcome.stderr.contains("--hold") || outcome.stderr.contains("--full"));
    }
    Ok(())
}
