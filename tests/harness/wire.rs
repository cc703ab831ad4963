//! A TCP proxy before a server: it cuts, delays, swallows and half-closes what goes through.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Octets that go through in one piece.
const PIECE_BYTES: usize = 16 << 10;

/// What the wire does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Everything goes through.
    Through,
    /// Each piece waits so long, either way.
    Delayed(Duration),
    /// Connections end, and new ones end at once.
    Cut,
    /// Connections stay and nothing goes through.
    Silent,
    /// What clients send ends as if they had closed their half; answers still come.
    HalfClosed,
}

/// A running proxy; it ends when dropped.
pub struct Wire {
    /// Where it listens.
    pub address: SocketAddr,
    mood: watch::Sender<Mood>,
    served: JoinHandle<()>,
}

impl Wire {
    /// Starts one to this server.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn to(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (mood, seen) = watch::channel(Mood::Through);
        let served = tokio::spawn(serve(listener, server, seen));
        Ok(Self {
            address,
            mood,
            served,
        })
    }

    /// Changes what it does, for connections that are open as well.
    pub fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.served.abort();
    }
}

async fn serve(listener: TcpListener, server: SocketAddr, mood: watch::Receiver<Mood>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if *mood.borrow() == Mood::Cut {
            continue;
        }
        connections.spawn(connection(client, server, mood.clone()));
    }
}

async fn connection(client: TcpStream, server: SocketAddr, mood: watch::Receiver<Mood>) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut cut = mood.clone();
    tokio::select! {
        _ = cut.wait_for(|mood| *mood == Mood::Cut) => {}
        () = async {
            let there = carry(from_client, to_server, mood.clone(), Some(Mood::HalfClosed));
            let back = carry(from_server, to_client, mood, None);
            tokio::join!(there, back);
        } => {}
    }
}

/// Carries one way until its end, or until the wire is in the mood that ends this way.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut mood: watch::Receiver<Mood>,
    ends_in: Option<Mood>,
) {
    let mut piece = vec![0; PIECE_BYTES];
    let mut ends = mood.clone();
    loop {
        let count = tokio::select! {
            _ = ends.wait_for(|mood| ends_in == Some(*mood)) => 0,
            read = from.read(&mut piece) => read.unwrap_or(0),
        };
        if count == 0 {
            break;
        }
        let now = *mood.borrow_and_update();
        match now {
            Mood::Through | Mood::HalfClosed | Mood::Cut => {}
            Mood::Delayed(by) => tokio::time::sleep(by).await,
            Mood::Silent => {
                if mood.wait_for(|mood| *mood != Mood::Silent).await.is_err() {
                    return;
                }
            }
        }
        if to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
    to.shutdown().await.ok();
}
