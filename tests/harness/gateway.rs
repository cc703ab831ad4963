//! The real program as a child process: started, killed, started again on the same store.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::config::{Config, Doors, SHOP_KEY};
use crate::tools::repository;
use crate::wait::eventually;

/// How long a start may take; a debug build on a busy machine needs a while.
const START_MAX: Duration = Duration::from_secs(30);
/// How long an orderly stop may take.
const STOP_MAX: Duration = Duration::from_secs(60);
/// How long one answer of the API may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Shorter than the gateway keeps an idle connection: a request into one that is being closed fails.
const CLIENT_IDLE_MAX: Duration = Duration::from_secs(3);
/// Lines of the log shown when something goes wrong.
const LOG_LINES_SHOWN: usize = 60;

/// A gateway with its own folder; it is killed when dropped.
pub struct Gateway {
    child: Option<Child>,
    folder: TempDir,
    config: Config,
    client: reqwest::Client,
}

/// The variable that names a program to test in place of a fresh build, as a package holds it.
const PROGRAM_VARIABLE: &str = "MALOTE_PROGRAM";

/// The program, built once.
///
/// # Errors
/// When it cannot be built.
pub fn program() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os(PROGRAM_VARIABLE) {
        return Ok(given.into());
    }
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.clone().map_err(anyhow::Error::msg)
}

fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--locked", "-p", "malote", "--message-format=json"]);
    // As the tests themselves were built.
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command
        .current_dir(repository())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo does not start")?;
    ensure!(output.status.success(), "the program does not build");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|artifact| {
            artifact["target"]["name"] == "malote" && artifact["executable"].is_string()
        })
        .and_then(|artifact| artifact["executable"].as_str().map(PathBuf::from))
        .context("cargo names no program")
}

impl Gateway {
    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready; the message holds the end of its log.
    pub async fn start(config: Config) -> Result<Self> {
        let folder = TempDir::with_prefix("malote-e2e-")?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names)?;
        std::fs::write(folder.path().join("cert.pem"), cert.pem())?;
        std::fs::write(folder.path().join("key.pem"), signing_key.serialize_pem())?;
        let client = reqwest::Client::builder()
            .timeout(ANSWER_MAX)
            .pool_idle_timeout(CLIENT_IDLE_MAX)
            .build()?;
        let mut gateway = Self {
            child: None,
            folder,
            config,
            client,
        };
        gateway.write_config()?;
        gateway.boot().await?;
        Ok(gateway)
    }

    /// Starts the program on the folder as it is, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn boot(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "it runs already");
        let child = self
            .command(&["serve", "--config", "malote.toml"])?
            .spawn()?;
        self.child = Some(child);
        let url = format!("http://{}/readyz", self.config.doors.admin);
        let client = self.client.clone();
        let child = &mut self.child;
        let ready = eventually("the gateway is ready", START_MAX, async || {
            if let Some(status) = child
                .as_mut()
                .and_then(|child| child.try_wait().transpose())
            {
                bail!("the gateway ended: {:?}", status?);
            }
            let answer = client.get(&url).send().await;
            Ok(answer.ok().filter(|answer| answer.status().is_success()))
        });
        match ready.await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.context(self.log_tail())),
        }
    }

    /// A command of the program in the gateway's folder, with its environment; its output goes to
    /// the log.
    ///
    /// # Errors
    /// When the program cannot be built or the log not be opened.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let log = self.folder.path().join("log");
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = Command::new(program()?);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .envs(self.config.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(command)
    }

    /// Ends it as a power cut would: SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("it does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Whether it has ended by itself; then it can be started again.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn has_ended(&mut self) -> Result<bool> {
        let Some(child) = &mut self.child else {
            return Ok(true);
        };
        let has_ended = child.try_wait()?.is_some();
        if has_ended {
            self.child = None;
        }
        Ok(has_ended)
    }

    /// Waits until it ends by itself; its exit status.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        let mut child = self.child.take().context("it does not run")?;
        let ended = eventually("the gateway ends", within, async || Ok(child.try_wait()?)).await;
        if ended.is_err() {
            self.child = Some(child);
        }
        ended.with_context(|| self.log_tail())
    }

    /// Asks it to end (SIGTERM) and waits for exit status 0.
    ///
    /// # Errors
    /// When it does not end in time, or ends badly.
    pub async fn stop(&mut self) -> Result<()> {
        self.signal("TERM")?;
        let mut child = self.child.take().context("it does not run")?;
        let ended = eventually("the gateway ends", STOP_MAX, async || Ok(child.try_wait()?));
        let status = ended.await.with_context(|| self.log_tail())?;
        ensure!(status.success(), "{status}\n{}", self.log_tail());
        Ok(())
    }

    /// Sends a signal by name.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, name: &str) -> Result<()> {
        let child = self.child.as_ref().context("it does not run")?;
        let status = Command::new("kill")
            .args(["-s", name, &child.id().to_string()])
            .status()?;
        ensure!(status.success(), "no signal was sent");
        Ok(())
    }

    /// Changes the configuration file on disk.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_config(&mut self, change: impl FnOnce(&mut Config) -> Result<()>) -> Result<()> {
        change(&mut self.config)?;
        self.write_config()
    }

    /// Where it listens.
    #[must_use]
    pub fn doors(&self) -> Doors {
        self.config.doors
    }

    /// Its folder: configuration, certificate, store, log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// All it logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A request to the API with this key.
    pub fn request(&self, method: Method, path: &str, key: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.config.doors.http);
        self.client.request(method, url).bearer_auth(key)
    }

    /// A request to the admin listener.
    pub fn admin(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.config.doors.admin);
        self.client.request(method, url)
    }

    /// The value of a counter's series, named with its labels as `/metrics` writes it.
    ///
    /// # Errors
    /// When there is no such series.
    pub async fn sample(&self, series: &str) -> Result<usize> {
        let answer = self.admin(Method::GET, "/metrics").send().await?;
        let text = answer.error_for_status()?.text().await?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(value.with_context(|| format!("no {series}"))?.parse()?)
    }

    /// Sets a stream's switch: `pause` or `resume`.
    ///
    /// # Errors
    /// When the answer is not 200.
    pub async fn switch(&self, stream: &str, action: &str) -> Result<()> {
        let request = self.admin(Method::POST, "/admin/v1/switches");
        let request = request.json(&json!({ "stream": stream, "action": action }));
        answered(request.send().await?, 200).await.map(drop)
    }

    /// Processor time that it has used since its start, in steps of 10 ms.
    ///
    /// # Errors
    /// When it does not run.
    pub fn cpu_time(&self) -> Result<Duration> {
        let child = self.child.as_ref().context("it does not run")?;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
        // The name of the program, in brackets, may hold anything.
        let (_, fields) = stat.rsplit_once(") ").context("no fields")?;
        let mut fields = fields.split(' ');
        let mut ticks = || fields.next().and_then(|field| field.parse::<u32>().ok());
        // utime and stime, fields 14 and 15 of proc_pid_stat(5); a tick is 1/100 s.
        for _ in 3..14 {
            ticks();
        }
        let (own, of_kernel) = ticks().zip(ticks()).context("no times")?;
        Ok(Duration::from_millis(10) * (own + of_kernel))
    }

    /// Posts a message as the credential `shop` and answers its id.
    ///
    /// # Errors
    /// When the answer is not 202.
    pub async fn submit(&self, message: &Value) -> Result<String> {
        let request = self.request(Method::POST, "/v1/messages", SHOP_KEY);
        let answer = answered(request.json(message).send().await?, 202).await?;
        let id = answer["id"].as_str().context("the answer has no id")?;
        Ok(id.to_owned())
    }

    /// A message's timeline, as the credential of this key sees it.
    ///
    /// # Errors
    /// When there is none.
    pub async fn message(&self, id: &str, key: &str) -> Result<Value> {
        let path = format!("/v1/messages/{id}");
        answered(self.request(Method::GET, &path, key).send().await?, 200).await
    }

    /// The timeline of the newest message to this recipient, if there is one.
    ///
    /// # Errors
    /// When the API does not answer as it should.
    pub async fn find(&self, recipient: &str, key: &str) -> Result<Option<Value>> {
        let request = self.request(Method::GET, "/v1/messages", key);
        let answer = request.query(&[("rcpt", recipient)]).send().await?;
        let page = answered(answer, 200).await?;
        match page["rows"][0]["id"].as_str() {
            Some(id) => Ok(Some(self.message(id, key).await?)),
            None => Ok(None),
        }
    }

    /// The timeline of the message to this recipient once its delivery is in one of these states.
    ///
    /// # Errors
    /// When it does not get there in time; the message holds the timeline.
    pub async fn reached(
        &self,
        recipient: &str,
        key: &str,
        states: &[&str],
        within: Duration,
    ) -> Result<Value> {
        let mut last = None;
        let what = format!("the mail to {recipient} is {}", states.join(" or "));
        let seen = eventually(&what, within, async || {
            last = self.find(recipient, key).await?;
            let is_there = last.as_ref().is_some_and(|timeline| {
                let state = timeline["deliveries"][0]["state"].as_str();
                state.is_some_and(|state| states.contains(&state))
            });
            Ok(last.clone().filter(|_| is_there))
        });
        match seen.await {
            Ok(timeline) => Ok(timeline),
            Err(error) => {
                let shown = format!("{:#}\n{}", last.unwrap_or_default(), self.log_tail());
                Err(error.context(shown))
            }
        }
    }

    fn write_config(&self) -> Result<()> {
        let path = self.folder.path().join("malote.toml");
        Ok(std::fs::write(path, &self.config.text)?)
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(LOG_LINES_SHOWN);
        format!(
            "the end of its log:\n{}",
            lines.get(from..).unwrap_or_default().join("\n")
        )
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if self.child.is_some() {
            // What cannot be killed any more has ended.
            self.kill().ok();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
    }
}

/// The body of an answer that must have this status.
///
/// # Errors
/// When the status is another one, or the body is no JSON.
pub async fn answered(answer: Response, status: u16) -> Result<Value> {
    let seen = answer.status().as_u16();
    let body = answer.text().await?;
    ensure!(seen == status, "status {seen}: {body}");
    serde_json::from_str(&body).with_context(|| body.clone())
}
