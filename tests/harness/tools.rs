//! Other people's programs: found, run with a deadline, and read.

use std::fs::File;
use std::io::{Read, Seek};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Pause between two looks at a running program.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a program left behind.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// What it said.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Outcome {
    /// What it said, when it ended well.
    ///
    /// # Errors
    /// When its exit status is not 0.
    pub fn success(self) -> Result<String> {
        match self.status {
            Some(0) => Ok(self.stdout),
            status => bail!("exit status {status:?}\n{}\n{}", self.stdout, self.stderr),
        }
    }
}

/// The folder that holds the workspace.
#[must_use]
pub fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// Where a program is: with the tests' own tools, on the `PATH`, or in `/usr/sbin`.
///
/// # Errors
/// When it is nowhere; the message says how to get it.
pub fn tool(name: &str) -> Result<PathBuf> {
    let own = repository().join("target/test-tools/venv/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = PathBuf::from("/usr/sbin");
    std::iter::once(own)
        .chain(std::env::split_paths(&path))
        .chain(std::iter::once(system))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .with_context(|| {
            format!("{name} is not installed: scripts/test installs what the tests run against")
        })
}

/// Below the range from which systems take ports for outgoing connections (32,768 on Linux).
const FIRST_PORT: u16 = 15_000;
const PORTS: u16 = 15_000;
/// What stands in the contract, whose ports are replaced one after the other.
const IN_CONTRACT: [u16; 4] = [18_080, 18_081, 18_501, 18_502];

/// A port on which nothing listens now, and that is given to nobody else in this process.
///
/// # Errors
/// When no port can be bound.
pub fn free_port() -> Result<u16> {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    // Two test runs at once begin at different places.
    let start = || AtomicU16::new(u16::try_from(std::process::id() % 200 * 64).unwrap_or(0));
    let next = NEXT.get_or_init(start);
    for _ in 0..PORTS {
        let offset = next.fetch_add(1, Ordering::Relaxed) % PORTS;
        let port = FIRST_PORT + offset;
        if !IN_CONTRACT.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free")
}

/// The first of so many ports in a row, each as [`free_port`] gives it.
///
/// # Errors
/// When there are none.
pub fn free_ports(count: u16) -> Result<u16> {
    let mut first = free_port()?;
    let mut last = first;
    for _ in 0..PORTS {
        if last - first + 1 == count {
            return Ok(first);
        }
        let next = free_port()?;
        if next != last + 1 {
            first = next;
        }
        last = next;
    }
    bail!("no {count} ports in a row are free")
}

/// Runs a program to its end, at most `within`.
///
/// # Errors
/// When it cannot be started, or had to be killed at the deadline.
pub async fn run(command: &mut Command, within: Duration) -> Result<Outcome> {
    let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(err.try_clone()?)
        .spawn()
        .with_context(|| format!("{command:?} does not start"))?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > within {
            child.kill()?;
            child.wait()?;
            bail!(
                "{command:?} took more than {within:?}\n{}{}",
                text(&mut out)?,
                text(&mut err)?
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    Ok(Outcome {
        status: status.code(),
        stdout: text(&mut out)?,
        stderr: text(&mut err)?,
    })
}

fn text(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
