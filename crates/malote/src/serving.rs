//! `malote serve` as a process of its own: started, looked at, ended in order.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a gateway may take to stop.
const STOP_MAX: Duration = Duration::from_secs(20);
/// Pause between two looks.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A gateway's process. Killed when dropped, so that who fails leaves none behind.
pub(crate) struct Serving {
    child: Child,
}

impl Serving {
    /// Starts one by these configuration files; it writes where this process does, or to `log`.
    pub(crate) fn start(
        configs: impl IntoIterator<Item = impl AsRef<Path>>,
        log: Option<File>,
    ) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg("--config").stdin(Stdio::null());
        for config in configs {
            command.arg(config.as_ref());
        }
        if let Some(log) = log {
            command.stdout(log.try_clone()?).stderr(log);
        }
        let child = command.spawn()?;
        Ok(Self { child })
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until it ends by itself.
    pub(crate) async fn end(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Sends SIGTERM, by the system's own `kill`, and waits for the end.
    pub(crate) async fn stop(&mut self) {
        if !matches!(self.ended(), Ok(None)) {
            return;
        }
        let told = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        if told.is_err() {
            return;
        }
        let deadline = Instant::now() + STOP_MAX;
        while Instant::now() < deadline && matches!(self.ended(), Ok(None)) {
            sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let child = &mut self.child;
        if matches!(child.try_wait(), Ok(None)) && child.kill().is_ok() && child.wait().is_err() {
            eprintln!("could not wait for the gateway");
        }
    }
}
