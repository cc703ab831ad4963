//! Three gateways on one queue, one relay, and the server that keeps the queue.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use malote_sandbox::{Behaviour, Kind};

use super::Database;
use super::server::Server;
use crate::demo::cast::Actor;
use crate::demo::process::{Gateway, free_address, new_folder};

/// The configuration of one gateway; `{names}` are filled in.
const CONFIG: &str = include_str!("cluster.toml");
/// Any key will do that all have.
const ADDRESS_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
/// How long the relay thinks about each message: a node that dies has some under way.
const LATENCY_MS: u64 = 300;
/// Counts the deliveries that a gateway has taken over from dead ones.
const TAKEN_OVER: &str = "malote_postgres_leases_taken_over_total";
/// How long an answer of the admin listener may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// One gateway.
pub(super) struct Node {
    pub(super) name: &'static str,
    pub(super) http: SocketAddr,
    admin: SocketAddr,
    /// `None` once it was killed.
    gateway: Option<Gateway>,
}

/// Where gateways find the database.
struct Store {
    url_file: PathBuf,
    tls: &'static str,
}

/// All of them.
pub(super) struct Nodes {
    pub(super) nodes: Vec<Node>,
    relay: Actor,
    client: reqwest::Client,
    /// The demo's own, if it has one.
    server: Option<Server>,
    folder: PathBuf,
}

impl Nodes {
    /// Starts everybody and waits until all gateways are ready.
    pub(super) async fn gather(database: Database) -> anyhow::Result<Self> {
        let folder = new_folder()?;
        let gathered = Self::gather_in(&folder, database).await;
        if gathered.is_err() {
            // What went wrong is told; a folder that stays tells nothing more.
            fs::remove_dir_all(&folder).ok();
        }
        gathered
    }

    async fn gather_in(folder: &Path, database: Database) -> anyhow::Result<Self> {
        let (server, url, tls) = match database {
            Database::Own(programs) => {
                let below = folder.to_owned();
                let start = move || Server::start(&below, programs.as_deref());
                let server = tokio::task::spawn_blocking(start).await??;
                let url = server.url();
                (Some(server), url, "none")
            }
            Database::At { url, tls } => (None, url, tls),
        };
        let store = Store {
            url_file: folder.join("database-url"),
            tls,
        };
        // It may hold a password.
        let mut file = OpenOptions::new();
        let file = file.write(true).create_new(true).mode(0o600);
        file.open(&store.url_file)?.write_all(url.as_bytes())?;
        let relay = Actor::enter(Kind::Smtp).await?;
        relay.sandbox.behave(&Behaviour {
            latency_ms: Some(LATENCY_MS),
            ..Behaviour::default()
        })?;
        let mut nodes = Vec::new();
        for name in ["node1", "node2", "node3"] {
            nodes.push(Node::start(name, folder, &store, relay.address.port()).await?);
        }
        let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_MAX);
        Ok(Self {
            nodes,
            relay,
            client: client.build()?,
            server,
            folder: folder.to_owned(),
        })
    }

    /// How often each recipient's mail has reached the relay.
    pub(super) fn delivered(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for taken in self.relay.sandbox.messages() {
            for recipient in taken.recipients {
                *counts.entry(recipient).or_default() += 1;
            }
        }
        counts
    }

    /// Deliveries that those who live have taken over from one who died.
    pub(super) async fn taken_over(&self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for node in self.nodes.iter().filter(|node| node.is_up()) {
            let url = format!("http://{}/metrics", node.admin);
            let text = self.client.get(url).send().await?.text().await?;
            let value = text.lines().find_map(|line| line.strip_prefix(TAKEN_OVER));
            sum += value
                .and_then(|value| value.trim().parse().ok())
                .unwrap_or(0);
        }
        Ok(sum)
    }

    /// Ends all in order and removes what they left.
    pub(super) async fn leave(self) {
        for gateway in self.nodes.into_iter().filter_map(|node| node.gateway) {
            gateway.leave().await;
        }
        drop(self.server);
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("left {} behind: {error}", self.folder.display());
        }
    }
}

impl Node {
    async fn start(
        name: &'static str,
        folder: &Path,
        store: &Store,
        relay_port: u16,
    ) -> anyhow::Result<Self> {
        let (http, admin) = (free_address().await?, free_address().await?);
        let folder = folder.join(name);
        fs::create_dir(&folder)?;
        let config = CONFIG
            .replace("{http}", &http.to_string())
            .replace("{admin}", &admin.to_string())
            .replace("{database}", &store.url_file.display().to_string())
            .replace("{tls}", store.tls)
            .replace("{address_key}", ADDRESS_KEY)
            .replace("{node}", name)
            .replace("{relay_port}", &relay_port.to_string());
        Ok(Self {
            name,
            http,
            admin,
            gateway: Some(Gateway::start(folder, &config, admin).await?),
        })
    }

    /// Whether it was not killed.
    pub(super) const fn is_up(&self) -> bool {
        self.gateway.is_some()
    }

    /// Ends it as a crash would: SIGKILL.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut gateway) = self.gateway.take() {
            gateway.kill()?;
        }
        Ok(())
    }
}
