//! A PostgreSQL server for the tests of this crate, one for all of them, and a database for each.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio_postgres::NoTls;

use crate::{PostgresConfig, PostgresSettings};

/// An address key, the same on every node of a test.
pub(crate) const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A server that ends with the process: the script that runs it lives as long as its input.
pub(crate) struct Cluster {
    port: u16,
    /// Where its socket is, and the pooler's.
    folder: String,
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    databases: AtomicU32,
}

impl Cluster {
    /// The one server of the tests that do not end it.
    pub(crate) fn of_all() -> &'static Self {
        static ONE: OnceLock<Cluster> = OnceLock::new();
        ONE.get_or_init(|| Self::start(&[]))
    }

    /// A server of one's own, with settings.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut child = Command::new(root.join("scripts/postgres-cluster"))
            .args(settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut cluster = Self {
            port: 0,
            folder: String::new(),
            child,
            orders,
            answers,
            databases: AtomicU32::new(0),
        };
        cluster.ready();
        cluster
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ready(&mut self) {
        let answer = self.answer();
        let words: Vec<&str> = answer.split(' ').collect();
        assert_eq!(words[0], "ready", "no PostgreSQL: {answer}");
        self.port = words[1].parse().unwrap();
        words[2].clone_into(&mut self.folder);
    }

    fn order(&mut self, order: &str) {
        let orders = self.orders.as_mut().unwrap();
        writeln!(orders, "{order}").unwrap();
    }

    /// Ends the server as a crash would.
    pub(crate) fn kill(&mut self) {
        self.order("kill");
        assert_eq!(self.answer(), "killed");
    }

    /// Puts a pooler in transaction mode before it; answers where.
    pub(crate) fn pooler(&mut self) -> String {
        self.order("pooler");
        assert_eq!(self.answer(), "pooler");
        format!(
            "postgresql://postgres@{}:6432",
            self.folder.replace('/', "%2F")
        )
    }

    /// Starts it again at the same place.
    pub(crate) fn start_again(&mut self) {
        self.order("start");
        self.ready();
    }

    /// An empty database of its own.
    pub(crate) async fn database(&self) -> TestDatabase {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        let port = self.port;
        let server = TestDatabase {
            port,
            name: "postgres".into(),
        };
        server.run(&format!("CREATE DATABASE {name}")).await;
        TestDatabase { port, name }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.orders.take());
        self.child.wait().unwrap();
    }
}

/// A database of one test.
pub(crate) struct TestDatabase {
    port: u16,
    name: String,
}

impl TestDatabase {
    /// Where it is.
    pub(crate) fn url(&self) -> String {
        self.url_for("postgres")
    }

    /// Where it is, for another role.
    pub(crate) fn url_for(&self, role: &str) -> String {
        format!("postgresql://{role}@127.0.0.1:{}/{}", self.port, self.name)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What an engine needs to open it.
    pub(crate) fn settings(&self) -> PostgresSettings {
        settings(&self.url(), KEY)
    }

    /// Runs statements as the server's owner.
    pub(crate) async fn run(&self, sql: &str) {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await.unwrap();
        let task = tokio::spawn(connection);
        client.batch_execute(sql).await.unwrap();
        drop(client);
        task.await.unwrap().unwrap();
    }
}

/// What an engine needs to open a database in clear.
pub(crate) fn settings(url: &str, key: &str) -> PostgresSettings {
    settings_in(url, key, "malote")
}

/// As [`settings`], of a node of this cluster.
pub(crate) fn settings_in(url: &str, key: &str, cluster: &str) -> PostgresSettings {
    let table = serde_json::json!({
        "url": url, "address_key": key, "tls": "none", "pool": 4, "cluster": cluster,
    });
    let config: PostgresConfig = serde_json::from_value(table).unwrap();
    config.build("shared.postgres", &mut Vec::new()).unwrap()
}
