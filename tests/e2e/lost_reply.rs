//! SIGKILL between the commit and the reply: who never got the answer asks again with the same
//! key, gets the same message, and it is sent once.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use malote_tests::{SHOP_KEY, World, answered};
use reqwest::Response;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::{SENT_MAX, order};

/// Clients whose replies are lost in one kill.
const CLIENTS: usize = 8;
/// Kills, each with keys of its own.
const KILLS: usize = 3;
/// How long a reply may take to reach the proxy.
const REPLY_MAX: Duration = Duration::from_secs(30);

/// Passes requests on and keeps the replies, which nobody gets to see but the test.
struct Withholding {
    address: SocketAddr,
    replies: mpsc::Receiver<String>,
    _served: JoinSet<()>,
}

impl Withholding {
    async fn start(gateway: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (told, replies) = mpsc::channel(CLIENTS);
        let mut served = JoinSet::new();
        served.spawn(async move {
            let mut calls = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                calls.spawn(withhold(client, gateway, told.clone()));
            }
        });
        Ok(Self {
            address,
            replies,
            _served: served,
        })
    }

    /// The reply that the gateway has written, body and all.
    async fn reply(&mut self) -> Result<String> {
        let reply = tokio::time::timeout(REPLY_MAX, self.replies.recv()).await?;
        reply.context("the proxy ended")
    }
}

/// Ends when the gateway does, and only then lets the client go.
async fn withhold(mut client: TcpStream, gateway: SocketAddr, told: mpsc::Sender<String>) {
    let Ok(mut upstream) = TcpStream::connect(gateway).await else {
        return;
    };
    let (mut from_client, _to_client) = client.split();
    let (mut from_gateway, mut to_gateway) = upstream.split();
    let requests = async {
        tokio::io::copy(&mut from_client, &mut to_gateway)
            .await
            .ok();
    };
    let replies = async {
        let mut reply = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = from_gateway.read(&mut chunk).await {
            reply.extend_from_slice(chunk.get(..count).unwrap_or_default());
            let text = String::from_utf8_lossy(&reply).into_owned();
            if is_complete(&text) && told.send(text).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = replies => {}
        () = async { tokio::join!(requests, std::future::pending::<()>()); } => {}
    }
    client.shutdown().await.ok();
}

fn is_complete(reply: &str) -> bool {
    reply
        .split_once("\r\n\r\n")
        .is_some_and(|(_, body)| serde_json::from_str::<Value>(body).is_ok())
}

fn recipient(kill: usize, client: usize) -> String {
    format!("kill{kill}-client{client}@one.example")
}

async fn post(door: SocketAddr, kill: usize, client: usize) -> reqwest::Result<Response> {
    // A connection of its own: the next client's must not be one that was cut.
    let request = reqwest::Client::new().post(format!("http://{door}/v1/messages"));
    let request = request.bearer_auth(SHOP_KEY);
    let request = request.header("idempotency-key", format!("order-{kill}-{client}"));
    request.json(&order(&recipient(kill, client))).send().await
}

/// Posts whose replies are all lost; answers the ids that stood in them.
async fn lose(world: &mut World, kill: usize) -> Result<Vec<(usize, String)>> {
    let door = world.gateway.doors().http;
    let mut proxy = Withholding::start(door).await?;
    let mut posts = JoinSet::new();
    for client in 0..CLIENTS {
        let address = proxy.address;
        posts.spawn(async move { (client, post(address, kill, client).await.is_ok()) });
    }
    let mut ids = Vec::new();
    for _ in 0..CLIENTS {
        let reply = proxy.reply().await?;
        ensure!(reply.starts_with("HTTP/1.1 202 "), "{reply}");
        let (_, body) = reply.split_once("\r\n\r\n").context("no body")?;
        let body: Value = serde_json::from_str(body)?;
        let address = body["recipients"][0]["email"].as_str();
        let address = address.context("no recipient")?;
        let client = (0..CLIENTS).find(|client| recipient(kill, *client) == address);
        let id = body["id"].as_str().context("no id")?;
        ids.push((client.context("of nobody")?, id.to_owned()));
    }
    world.gateway.kill()?;
    while let Some(joined) = posts.join_next().await {
        let (client, was_answered) = joined?;
        if was_answered {
            bail!("client {client} has its reply");
        }
    }
    world.gateway.boot().await?;
    Ok(ids)
}

#[tokio::test]
async fn a_retry_with_the_same_key_after_a_kill_is_the_same_message() -> Result<()> {
    let mut world = World::start().await?;
    // A call cut by the kill is a risk of its own, and kill_nine.rs has it; here nothing is sent
    // before the last retry.
    world.gateway.switch("transactional", "pause").await?;
    for kill in 0..KILLS {
        let door = world.gateway.doors().http;
        for (client, id) in lose(&mut world, kill).await? {
            for _ in 0..2 {
                let answer = answered(post(door, kill, client).await?, 202).await?;
                ensure!(answer["id"] == id.as_str(), "{answer}, not {id}");
            }
        }
    }
    world.gateway.switch("transactional", "resume").await?;
    let everybody = || (0..KILLS).flat_map(|kill| (0..CLIENTS).map(move |c| recipient(kill, c)));
    for recipient in everybody() {
        let gateway = &world.gateway;
        let reached = gateway.reached(&recipient, SHOP_KEY, &["sent"], SENT_MAX);
        reached.await?;
    }
    // Mail posted after all that has left means that nothing older is on its way twice.
    crate::send_order(&world, "last@one.example").await?;
    for recipient in everybody() {
        // What SES is too slow for, by its rate, the relay takes.
        let count = world.ses.count_to(&recipient) + world.relay.count_to(&recipient);
        ensure!(count == 1, "{count} to {recipient}");
    }
    Ok(())
}
