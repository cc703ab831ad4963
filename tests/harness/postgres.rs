//! A PostgreSQL server of a test's own, that goes with it.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::config::Config;
use crate::tools::repository;

/// The key under which the nodes of a test hash addresses.
const ADDRESS_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A running server; the script that runs it lives as long as its input.
pub struct Postgres {
    port: u16,
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
        let mut child = Command::new(repository().join("scripts/postgres-cluster"))
            .args(settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take();
        let answers = child.stdout.take().context("it has no output")?;
        let mut server = Self {
            port: 0,
            child,
            orders,
            answers: BufReader::new(answers),
        };
        server.port = server.ready()?;
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
        self.ready().map(drop)
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
        config.replace(
            "[store.sqlite]\npath = \"var/malote.db\"",
            &format!(
                "[store.postgres]\nurl = \"postgresql://postgres@{at}/postgres\"\npool = {pool}\n\
                 tls = \"none\"\naddress_key_env = \"ADDRESS_KEY\""
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

    fn ready(&mut self) -> Result<u16> {
        let answer = self.answer()?;
        let mut words = answer.split(' ');
        ensure!(words.next() == Some("ready"), "no PostgreSQL: {answer}");
        let port = words.next().context("it names no port")?;
        Ok(port.parse()?)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.orders.take());
        // It removes its folder before it ends.
        self.child.wait().ok();
    }
}
