//! The gateway as a program of its own, in a temporary folder: started, waited for, ended in order.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use crate::serving::{LOOK_EVERY, Serving};

/// How long the gateway may take to be ready.
const READY_MAX: Duration = Duration::from_secs(40);

/// The gateway's process and its folder.
pub(super) struct Gateway {
    serving: Serving,
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
        let serving = Serving::start([&file], Some(log)).context("the gateway")?;
        let mut gateway = Self { serving, folder };
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
        while Instant::now() < deadline && matches!(self.serving.ended(), Ok(None)) {
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
        self.serving.kill()
    }

    /// Ends it in order and removes what it left.
    pub(super) async fn leave(mut self) {
        self.serving.stop().await;
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("left {} behind: {error}", self.folder.display());
        }
    }
}
