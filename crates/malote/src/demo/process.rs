//! The gateway as a program of its own, in a temporary folder: started, waited for, ended in order.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

/// How long the gateway may take to be ready.
const READY_MAX: Duration = Duration::from_secs(40);
/// How long it may take to stop.
const STOP_MAX: Duration = Duration::from_secs(20);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The gateway's process and its folder. Killed when dropped, so that a demo that fails leaves none
/// behind.
pub(super) struct Gateway {
    child: Child,
    folder: PathBuf,
}

/// A new temporary folder for one demo.
pub(super) fn new_folder() -> io::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("malote-demo-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// An address that nothing listens on, found by listening on it for a moment.
pub(super) async fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0").await?.local_addr()
}

/// Waits until somebody wants the demo to end, by Ctrl-C or SIGTERM.
pub(super) async fn asked_to_end() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        asked = tokio::signal::ctrl_c() => asked,
        _ = terminate.recv() => Ok(()),
    }
}

impl Gateway {
    /// Starts one by this configuration, whose admin listener is `admin`, and waits until it is
    /// ready. Its log is the file `log` in the folder.
    pub(super) async fn start(
        folder: PathBuf,
        config: &str,
        admin: SocketAddr,
    ) -> anyhow::Result<Self> {
        let file = folder.join("demo.toml");
        std::fs::write(&file, config)?;
        let log = std::fs::File::create(folder.join("log"))?;
        let child = Command::new(std::env::current_exe()?)
            .args(["serve", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("the gateway")?;
        let mut gateway = Self { child, folder };
        match gateway.wait_until_ready(admin).await {
            Ok(()) => Ok(gateway),
            Err(error) => {
                gateway.leave().await;
                Err(error)
            }
        }
    }

    /// Its folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    async fn wait_until_ready(&mut self, admin: SocketAddr) -> anyhow::Result<()> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let deadline = Instant::now() + READY_MAX;
        let url = format!("http://{admin}/readyz");
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            let answer = client.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            sleep(LOOK_EVERY).await;
        }
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        bail!("the gateway did not get ready:\n{log}")
    }

    /// Ends it as a crash would.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Ends it in order and removes what it left.
    pub(super) async fn leave(mut self) {
        self.stop().await;
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("left {} behind: {error}", self.folder.display());
        }
    }

    /// Sends SIGTERM, by the system's own `kill`, and waits for the end.
    async fn stop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let told = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        if told.is_err() {
            return;
        }
        let deadline = Instant::now() + STOP_MAX;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let child = &mut self.child;
        if matches!(child.try_wait(), Ok(None)) && child.kill().is_ok() && child.wait().is_err() {
            eprintln!("could not wait for the gateway");
        }
    }
}
