//! A real Prometheus that scrapes one gateway, and the queries of the dashboards.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};

use anyhow::{Result, anyhow, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::tools::{free_port, repository, tool};

/// A door that leads nowhere until it is told where. Prometheus waits 5 s after its start before it
/// scrapes, and what is quick has happened by then: started before, it sees how counters begin.
pub struct Door {
    /// Where it listens.
    pub address: SocketAddr,
    to: Arc<OnceLock<SocketAddr>>,
    served: JoinHandle<()>,
}

impl Door {
    /// Opens one.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn open() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let to = Arc::new(OnceLock::new());
        let served = tokio::spawn(serve(listener, Arc::clone(&to)));
        Ok(Self {
            address,
            to,
            served,
        })
    }

    /// From now on it leads there.
    ///
    /// # Errors
    /// When it leads somewhere already.
    pub fn lead(&self, to: SocketAddr) -> Result<()> {
        let set = self.to.set(to);
        set.map_err(|_| anyhow!("it leads somewhere already"))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.served.abort();
    }
}

async fn serve(listener: TcpListener, to: Arc<OnceLock<SocketAddr>>) {
    let mut connections = JoinSet::new();
    while let Ok((mut outer, _)) = listener.accept().await {
        let Some(to) = to.get().copied() else {
            continue;
        };
        connections.spawn(async move {
            if let Ok(mut inner) = TcpStream::connect(to).await {
                // Either side may close whenever it likes.
                copy_bidirectional(&mut outer, &mut inner).await.ok();
            }
        });
    }
}

/// A running Prometheus; it ends when dropped.
pub struct Prometheus {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes `target`, `HOST:PORT`, each second, and minds the alert rules.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn start(target: &str) -> Result<Self> {
        let (folder, port) = (tempfile::tempdir()?, free_port()?);
        let config = folder.path().join("prometheus.yml");
        let rules = repository().join("dashboards/alerts.yml");
        let text = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [rules],
            "scrape_configs": [
                { "job_name": "malote", "static_configs": [{ "targets": [target] }] },
            ],
        });
        // JSON is YAML.
        std::fs::write(&config, text.to_string())?;
        let child = Command::new(tool("prometheus")?)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().display()))
            .arg("--storage.tsdb.retention.time=1h")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            child,
            port,
            _folder: folder,
        })
    }

    /// How many series with a number a query returns; `None` while Prometheus does not answer.
    ///
    /// # Errors
    /// When the query is not one.
    pub async fn series(&self, query: &str) -> Result<Option<usize>> {
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.port);
        let request = reqwest::Client::new().get(url).query(&[("query", query)]);
        let Ok(answer) = request.send().await else {
            return Ok(None);
        };
        // It is not ready yet, and says so in plain text.
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            return Ok(None);
        }
        let body: Value = answer.json().await?;
        ensure!(body["status"] == "success", "{query}: {body}");
        let is_number = |series: &&Value| {
            let value = series["value"][1].as_str();
            let value = value.and_then(|value| value.parse::<f64>().ok());
            value.is_some_and(f64::is_finite)
        };
        let series = body["data"]["result"].as_array();
        Ok(series.map(|series| series.iter().filter(is_number).count()))
    }

    /// Those of these queries, panel title and expression, that return no number yet.
    ///
    /// # Errors
    /// When one is no query.
    pub async fn silent(&self, queries: Vec<(String, String)>) -> Result<Vec<(String, String)>> {
        let mut silent = Vec::new();
        for (title, query) in queries {
            if self.series(&query).await?.unwrap_or_default() == 0 {
                silent.push((title, query));
            }
        }
        Ok(silent)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The files of all dashboards.
///
/// # Errors
/// When their folder cannot be read.
pub fn dashboards() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(repository().join("dashboards"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            found.push(path);
        }
    }
    Ok(found)
}

/// What the alert rules read, as rule file and query for the series that have the labels which the
/// rules choose by: a rule whose metric is called otherwise would never fire, and nobody would know.
///
/// # Errors
/// When the file cannot be read, or reads nothing.
pub fn read_by_rules() -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(repository().join("dashboards/alerts.yml"))?;
    let found: BTreeSet<String> = text
        .match_indices("malote_")
        .map(|(at, _)| series_at(&text[at..]))
        .collect();
    ensure!(!found.is_empty(), "the rules read nothing");
    Ok(found
        .into_iter()
        .map(|query| ("alerts.yml".to_owned(), query))
        .collect())
}

/// `count(name{label!=""})` for the selector with which a text begins: a value may be infinite.
fn series_at(text: &str) -> String {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    let matchers = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
    let labels = matchers
        .into_iter()
        .flat_map(|(matchers, _)| matchers.split(','));
    let labels = labels.filter_map(|one| one.split(['=', '!']).next());
    let wanted: Vec<String> = labels
        .map(|label| format!("{}!=\"\"", label.trim()))
        .collect();
    format!("count({name}{{{}}})", wanted.join(","))
}

/// The queries of all panels of a dashboard, as panel title and expression; `rate_interval` stands
/// for Grafana's `$__rate_interval`.
///
/// # Errors
/// When the file is no dashboard, or asks nothing.
pub fn queries(dashboard: &PathBuf, rate_interval: &str) -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(dashboard)?;
    let found = queries_in(&serde_json::from_str(&text)?, rate_interval);
    ensure!(!found.is_empty(), "{} asks nothing", dashboard.display());
    Ok(found)
}

fn queries_in(value: &Value, rate_interval: &str) -> Vec<(String, String)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for panel in list(&value["panels"]) {
        let title = panel["title"].as_str().unwrap_or("untitled");
        for target in list(&panel["targets"]) {
            if let Some(query) = target["expr"].as_str() {
                let query = query.replace("$__rate_interval", rate_interval);
                found.push((title.to_owned(), query));
            }
        }
        found.extend(queries_in(&panel, rate_interval));
    }
    found
}
