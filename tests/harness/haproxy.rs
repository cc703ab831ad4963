//! HAProxy before gateways, with the file that operators get.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::config::Doors;
use crate::tools::{free_port, repository, tool};

/// The file, from which only addresses are changed.
const FILE: &str = "config/haproxy.cfg";
/// Where gateways stand in it.
const GATEWAYS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];

/// A running balancer; it is killed when dropped.
pub struct HaProxy {
    /// Where the API is.
    pub http: SocketAddr,
    /// Where SMTP is.
    pub smtp: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl HaProxy {
    /// Starts one before three gateways; it takes connections when this returns.
    ///
    /// # Errors
    /// When it is not installed, or does not take the file.
    pub fn start(gateways: [Doors; 3]) -> Result<Self> {
        let path = repository().join(FILE);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let (http, smtp) = (loopback(free_port()?), loopback(free_port()?));
        let mut changes = vec![
            ("127.0.0.1:8080".to_owned(), http.to_string()),
            ("127.0.0.1:2525".to_owned(), smtp.to_string()),
        ];
        for (machine, doors) in GATEWAYS.iter().zip(gateways) {
            for (port, door) in [(8080, doors.http), (2525, doors.plain)] {
                changes.push((
                    format!("{machine}:{port} port 8081"),
                    format!("{door} port {}", doors.admin.port()),
                ));
            }
        }
        let folder = TempDir::with_prefix("malote-haproxy-")?;
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, replaced(text, &changes)?)?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let mut child = Command::new(tool("haproxy")?)
            .args(["-db", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let is_up = || std::net::TcpStream::connect(http).is_ok();
        while !is_up() {
            let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            ensure!(child.try_wait()?.is_none(), "it ended: {}", log());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Ok(Self {
            http,
            smtp,
            child,
            _folder: folder,
        })
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        // What cannot be killed any more has ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn replaced(mut text: String, changes: &[(String, String)]) -> Result<String> {
    for (from, to) in changes {
        ensure!(
            text.matches(from).count() == 1,
            "{from} is not in {FILE} once"
        );
        text = text.replace(from, to);
    }
    Ok(text)
}
