//! The command of the README that rehearses two streams over eight services, and the change that
//! moves a stream from one service to another.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use malote_tests::{answered, eventually, free_port, free_ports, program, repository, run, tool};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long everything may take to be up, on a busy machine.
const UP_MAX: Duration = Duration::from_secs(60);
/// How long a webhook may take: they come up to five seconds late, and some are forged.
const TOLD_MAX: Duration = Duration::from_secs(60);
/// How long a program may take.
const COMMAND_MAX: Duration = Duration::from_secs(30);
/// The first of the simulators' ports in config/eight.toml, and how many they take.
const BASE_PORT: u16 = 9000;
const PORTS: u16 = 13;
/// The services of each stream, and where each stands behind the first port.
const TRANSACTIONAL: [(&str, u16); 4] =
    [("ses", 0), ("postmark", 3), ("resend", 9), ("smtp2go", 6)];
const CAMPAIGN: [(&str, u16); 4] = [
    ("mailgun", 1),
    ("sparkpost", 4),
    ("sendgrid", 2),
    ("brevo", 8),
];
/// Campaign mails among which every service has its share; one in ten is the least of them.
const CAMPAIGN_MAILS_MAX: usize = 120;

/// The command of the README, running in a folder of its own, on ports of its own.
struct Rehearsal {
    child: Child,
    folder: TempDir,
    base_port: u16,
    http: SocketAddr,
    smtp: SocketAddr,
    client: reqwest::Client,
}

/// What follows `malote` in the README's command.
fn documented() -> Result<Vec<String>> {
    let readme = std::fs::read_to_string(repository().join("README.md"))?;
    let line = readme
        .lines()
        .find_map(|line| line.strip_prefix("cargo run --release -- sandbox --all"))
        .context("the README has no such command")?;
    let rest = line.split_whitespace().map(str::to_owned);
    Ok(["sandbox", "--all"]
        .map(str::to_owned)
        .into_iter()
        .chain(rest)
        .collect())
}

impl Rehearsal {
    /// Starts it with config/eight.toml after `change`.
    async fn start(change: impl FnOnce(String) -> Result<String>) -> Result<Self> {
        let folder = TempDir::with_prefix("malote-e2e-eight-")?;
        let place = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (http, admin, smtp) = (
            place(free_port()?),
            place(free_port()?),
            place(free_port()?),
        );
        let base_port = free_ports(PORTS)?;
        let moved = |text: String| {
            let mut text = text
                .replace("127.0.0.1:8080", &http.to_string())
                .replace("127.0.0.1:8081", &admin.to_string())
                .replace("127.0.0.1:2525", &smtp.to_string());
            for offset in 0..PORTS {
                let (from, to) = (place(BASE_PORT + offset), place(base_port + offset));
                text = text.replace(&format!("{from}\""), &format!("{to}\""));
            }
            text
        };
        std::fs::create_dir(folder.path().join("config"))?;
        let write =
            |name: &str, text: String| std::fs::write(folder.path().join(name), moved(text));
        write("config/eight.toml", change(example("config/eight.toml")?)?)?;
        write("config/rehearsal.toml", example("config/rehearsal.toml")?)?;
        let child = Command::new(program()?)
            .args(documented()?)
            .args(["--base-port", &base_port.to_string()])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(folder.path().join("stdout"))?)
            .stderr(File::create(folder.path().join("stderr"))?)
            .spawn()?;
        let client = reqwest::Client::builder().no_proxy().build()?;
        let mut rehearsal = Self {
            child,
            folder,
            base_port,
            http,
            smtp,
            client,
        };
        let ready = rehearsal
            .until_ready(&format!("http://{admin}/readyz"))
            .await;
        ready.with_context(|| rehearsal.said())?;
        Ok(rehearsal)
    }

    async fn until_ready(&mut self, url: &str) -> Result<()> {
        eventually("it is up", UP_MAX, async || {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended: {status}");
            }
            let answer = self.client.get(url).send().await;
            Ok(answer
                .is_ok_and(|answer| answer.status().is_success())
                .then_some(()))
        })
        .await
    }

    fn said(&self) -> String {
        let said = |name| std::fs::read_to_string(self.folder.path().join(name));
        ["stdout", "stderr"]
            .map(|name| said(name).unwrap_or_default())
            .join("\n")
    }

    /// Sends by the HTTP API.
    async fn post(&self, stream: &str, recipient: &str) -> Result<()> {
        let message = json!({
            "from": "news@shop.example", "to": [recipient], "subject": "Hello", "text": "Hi.\n",
            "stream": stream,
        });
        let url = format!("http://{}/v1/messages", self.http);
        let request = self.client.post(url).bearer_auth("mk_eight").json(&message);
        answered(request.send().await?, 202).await?;
        Ok(())
    }

    /// Sends by SMTP with swaks; what bears a campaign's mark is of the campaign's stream.
    async fn mail(&self, stream: &str, recipient: &str) -> Result<()> {
        let mut command = Command::new(tool("swaks")?);
        command.args([
            "--server",
            &self.smtp.to_string(),
            "--from",
            "news@shop.example",
        ]);
        command.args(["--to", recipient]);
        if stream == "campaign" {
            command.args(["--header", "X-EMAIL-ID: 7"]);
        }
        run(&mut command, COMMAND_MAX).await?.success()?;
        Ok(())
    }

    /// Sends one by either way in turn.
    async fn send(&self, stream: &str, number: usize) -> Result<String> {
        let recipient = format!("r{number}@{stream}.example");
        match number % 2 {
            0 => self.post(stream, &recipient).await?,
            _ => self.mail(stream, &recipient).await?,
        }
        Ok(recipient)
    }

    /// Who has a simulator's messages.
    async fn taken(&self, (name, offset): (&str, u16)) -> Result<BTreeSet<String>> {
        let port = self.base_port + offset;
        let url = format!("http://127.0.0.1:{port}/_sandbox/messages?limit=1000");
        let answer: Value = self.client.get(url).send().await?.json().await?;
        let messages = answer.as_array().context("no messages")?;
        let mut recipients = BTreeSet::new();
        for message in messages {
            ensure!(message["provider"] == name, "{name}: {message}");
            let own = message["recipients"].as_array().into_iter().flatten();
            recipients.extend(own.filter_map(Value::as_str).map(str::to_owned));
        }
        Ok(recipients)
    }

    /// Waits until a simulator has this recipient's message.
    async fn arrives(&self, service: (&str, u16), recipient: &str) -> Result<()> {
        let what = format!("{recipient} at {}", service.0);
        eventually(&what, COMMAND_MAX, async || {
            Ok(self.taken(service).await?.contains(recipient).then_some(()))
        })
        .await
    }

    /// A simulator's account is suspended from now on: the next target takes over.
    async fn suspend(&self, (_, offset): (&str, u16)) -> Result<()> {
        let port = self.base_port + offset;
        let url = format!("http://127.0.0.1:{port}/_sandbox/behaviour");
        let faults = json!({ "faults": [{ "kind": "suspended", "count": null }] });
        let answer = self.client.post(url).json(&faults).send().await?;
        ensure!(answer.status().is_success(), "{}", answer.text().await?);
        Ok(())
    }

    /// Waits until a webhook of the service that has these stands in a timeline.
    async fn is_told(&self, name: &str, recipients: &BTreeSet<String>) -> Result<()> {
        eventually(&format!("a webhook of {name}"), TOLD_MAX, async || {
            for recipient in recipients {
                let found = self.ask(&format!("?rcpt={recipient}")).await?;
                let id = found["rows"][0]["id"].as_str().context("no such message")?;
                let timeline = self.ask(&format!("/{id}")).await?;
                let state = timeline["deliveries"][0]["state"].as_str();
                if matches!(state, Some("delivered" | "bounced")) {
                    return Ok(Some(()));
                }
            }
            Ok(None)
        })
        .await
    }

    async fn ask(&self, rest: &str) -> Result<Value> {
        let url = format!("http://{}/v1/messages{rest}", self.http);
        answered(
            self.client.get(url).bearer_auth("mk_eight").send().await?,
            200,
        )
        .await
    }

    /// What `malote check` says of the configuration.
    async fn check(&self) -> Result<()> {
        let mut command = Command::new(program()?);
        command.args(["check", "--config", "config/eight.toml"]);
        command.current_dir(self.folder.path());
        run(&mut command, COMMAND_MAX).await?.success().map(drop)
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        // Asked to end it takes its gateway with it; killed, it could not.
        let id = self.child.id().to_string();
        Command::new("kill").arg(id).status().ok();
        for _ in 0..200 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn example(name: &str) -> Result<String> {
    let path = repository().join(Path::new(name));
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

#[tokio::test]
async fn the_readme_s_command_routes_two_streams_over_eight_services() -> Result<()> {
    let rehearsal = Rehearsal::start(Ok).await?;
    rehearsal.check().await?;
    // Each takes over from the one before, in the order of the route.
    for (number, service) in TRANSACTIONAL.into_iter().enumerate() {
        let recipient = rehearsal.send("transactional", number).await?;
        let arrived = rehearsal.arrives(service, &recipient).await;
        arrived.with_context(|| rehearsal.said())?;
        rehearsal.suspend(service).await?;
    }
    let mut silent: BTreeSet<(&str, u16)> = CAMPAIGN.into();
    for number in 0..CAMPAIGN_MAILS_MAX {
        rehearsal.send("campaign", number).await?;
        for service in silent.clone() {
            if !rehearsal.taken(service).await?.is_empty() {
                silent.remove(&service);
            }
        }
        if silent.is_empty() {
            break;
        }
    }
    ensure!(silent.is_empty(), "nothing came to {silent:?}");
    for service in TRANSACTIONAL.into_iter().chain(CAMPAIGN) {
        let taken = rehearsal.taken(service).await?;
        rehearsal.is_told(service.0, &taken).await?;
    }
    Ok(())
}

/// Campaigns leave by SparkPost in the place of Mailgun.
fn by_sparkpost(text: String) -> Result<String> {
    let mailgun = "    { provider = \"mailgun\", weight = 5 },\n";
    let sparkpost = "    { provider = \"sparkpost\", weight = 3 },\n";
    ensure!(text.contains(mailgun) && text.contains(sparkpost));
    let text = text.replace(sparkpost, "");
    Ok(text.replace(mailgun, &sparkpost.replace('3', "5")))
}

/// Lines of either text that are not the other's.
fn lines_changed(old: &str, new: &str) -> usize {
    let missing = |from: &str, of: &str| {
        let mut left: Vec<&str> = of.lines().collect();
        let mut missing = 0;
        for line in from.lines() {
            match left.iter().position(|other| *other == line) {
                Some(at) => drop(left.remove(at)),
                None => missing += 1,
            }
        }
        missing
    };
    missing(old, new) + missing(new, old)
}

#[tokio::test]
async fn a_stream_goes_from_mailgun_to_sparkpost_by_three_lines() -> Result<()> {
    let old = example("config/eight.toml")?;
    let changed = lines_changed(&old, &by_sparkpost(old.clone())?);
    ensure!(changed <= 3, "{changed} lines");
    let rehearsal = Rehearsal::start(by_sparkpost).await?;
    rehearsal.check().await?;
    let [mailgun, sparkpost, sendgrid, brevo] = CAMPAIGN;
    let mut sent = BTreeSet::new();
    for number in 0..16 {
        sent.insert(rehearsal.send("campaign", number).await?);
    }
    eventually("all have arrived", COMMAND_MAX, async || {
        let mut arrived = BTreeSet::new();
        for service in [sparkpost, sendgrid, brevo] {
            arrived.extend(rehearsal.taken(service).await?);
        }
        Ok((arrived == sent).then_some(()))
    })
    .await?;
    ensure!(!rehearsal.taken(sparkpost).await?.is_empty());
    ensure!(rehearsal.taken(mailgun).await?.is_empty());
    Ok(())
}
