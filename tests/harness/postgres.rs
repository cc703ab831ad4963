//! A PostgreSQL server of a test's own, that goes with it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::config::Config;
use crate::tools::{repository, run};

/// The key under which the nodes of a test hash addresses.
const ADDRESS_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// How a session of the role and database `postgres` begins (PostgreSQL's protocol 3.0).
const SESSION: &[u8] = b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0postgres\0\0";
/// More connections than a server of the tests allows.
const CONNECTIONS_MAX: usize = 1_000;
/// How long one of PostgreSQL's tools may take.
const TOOL_MAX: Duration = Duration::from_secs(60);

/// Runs a tool of the newest PostgreSQL that is there, as the servers of the tests are.
///
/// # Errors
/// When there is none, or its exit status is not 0.
pub async fn postgres_tool(program: &str, arguments: &[&str]) -> Result<String> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")?;
    let versions =
        versions.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let newest = versions.max().context("PostgreSQL is not installed")?;
    let mut command = Command::new(format!("/usr/lib/postgresql/{newest}/bin/{program}"));
    run(command.args(arguments), TOOL_MAX).await?.success()
}

/// A running server; the script that runs it lives as long as its input.
pub struct Postgres {
    port: u16,
    /// Where its socket is, and the pooler's.
    folder: String,
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Postgres {
    /// Starts one. It has the role and the database `postgres`, and asks for no password.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// Starts one with settings of its own, each as `name=value`.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn start_with(settings: &[&str]) -> Result<Self> {
        Self::start_in(&[], settings)
    }

    /// As [`Postgres::start_with`], with these variables in its environment.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn start_in(environment: &[(String, String)], settings: &[&str]) -> Result<Self> {
        let mut child = Command::new(repository().join("scripts/postgres-cluster"))
            .args(settings)
            .envs(environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take();
        let answers = child.stdout.take().context("it has no output")?;
        let mut server = Self {
            port: 0,
            folder: String::new(),
            child,
            orders,
            answers: BufReader::new(answers),
        };
        server.ready()?;
        Ok(server)
    }

    /// Ends it as a crash would.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn kill(&mut self) -> Result<()> {
        self.order("kill")?;
        let answer = self.answer()?;
        ensure!(answer == "killed", "{answer}");
        Ok(())
    }

    /// Starts it again at the same place.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&mut self) -> Result<()> {
        self.order("start")?;
        self.ready()
    }

    /// Ends its sessions and starts it again, as its operator does.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.order("restart")?;
        self.ready()
    }

    /// Puts a PgBouncer in transaction mode before it; answers its URL.
    ///
    /// # Errors
    /// When it does not start.
    pub fn pooler(&mut self) -> Result<String> {
        self.order("pooler")?;
        let answer = self.answer()?;
        ensure!(answer == "pooler", "{answer}");
        let folder = self.folder.replace('/', "%2F");
        Ok(format!("postgresql://postgres@{folder}:6432/postgres"))
    }

    /// Takes all connections that are left; they are free again when dropped.
    ///
    /// # Errors
    /// When it cannot be reached, or refuses none.
    pub fn occupy(&self) -> Result<Vec<TcpStream>> {
        let mut taken = Vec::new();
        while taken.len() < CONNECTIONS_MAX {
            let mut connection = TcpStream::connect(self.address())?;
            connection.write_all(SESSION)?;
            let mut kind = [0];
            connection.read_exact(&mut kind)?;
            if kind == *b"E" {
                return Ok(taken);
            }
            taken.push(connection);
        }
        bail!("it refuses no connection")
    }

    /// What it answers to a statement, as text.
    ///
    /// # Errors
    /// When it does not, or there is no `psql`.
    pub async fn ask(&self, sql: &str) -> Result<String> {
        let url = self.url();
        let answer = postgres_tool("psql", &["-X", "-A", "-t", "-c", sql, &url]).await?;
        Ok(answer.trim_end().to_owned())
    }

    /// Makes a gateway keep what nodes share here.
    pub fn share(&self, config: &mut Config) {
        self.share_as(config, self.address(), "one");
    }

    /// Makes a gateway of this name keep what nodes share here, reached by way of `at`.
    pub fn share_as(&self, config: &mut Config, at: SocketAddr, node: &str) {
        config.add(&format!(
            "[shared.postgres]\nurl = \"postgresql://postgres@{at}/postgres\"\nnode = \"{node}\"\n\
             tls = \"none\"\naddress_key_env = \"ADDRESS_KEY\"\n"
        ));
        let variable = ("ADDRESS_KEY".to_owned(), ADDRESS_KEY.to_owned());
        config.environment.push(variable);
    }

    /// Makes a gateway keep everything here, reached by way of `at`, with so many connections.
    ///
    /// # Errors
    /// When the configuration has no store in files.
    pub fn keep(&self, config: &mut Config, at: SocketAddr, pool: u16) -> Result<()> {
        let url = format!("postgresql://postgres@{at}/postgres");
        self.keep_by(config, &url, pool)
    }

    /// As [`Postgres::keep`], reached by this URL.
    ///
    /// # Errors
    /// As [`Postgres::keep`].
    pub fn keep_by(&self, config: &mut Config, url: &str, pool: u16) -> Result<()> {
        config.replace(
            "[store.sqlite]\npath = \"var/malote.db\"",
            &format!(
                "[store.postgres]\nurl = \"{url}\"\npool = {pool}\ntls = \"none\"\n\
                 address_key_env = \"ADDRESS_KEY\""
            ),
        )?;
        let variable = ("ADDRESS_KEY".to_owned(), ADDRESS_KEY.to_owned());
        config.environment.push(variable);
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn order(&mut self, order: &str) -> Result<()> {
        let orders = self.orders.as_mut().context("it takes no orders")?;
        Ok(writeln!(orders, "{order}")?)
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    fn ready(&mut self) -> Result<()> {
        let answer = self.answer()?;
        let mut words = answer.split(' ');
        ensure!(words.next() == Some("ready"), "no PostgreSQL: {answer}");
        self.port = words.next().context("it names no port")?.parse()?;
        words
            .next()
            .context("it names no folder")?
            .clone_into(&mut self.folder);
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.orders.take());
        // It removes its folder before it ends.
        self.child.wait().ok();
    }
}
