//! A simulated service in this process, on a port of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use malote_core::clock::{Clock, SystemClock};
use malote_sandbox::{Kind, Sandbox, SandboxConfig};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A running simulator; it stops when dropped.
pub struct Service {
    /// What it took, and the faults it plays.
    pub sandbox: Sandbox,
    /// Where it listens.
    pub address: SocketAddr,
    stop: DropGuard,
    served: JoinHandle<std::io::Result<()>>,
}

impl Service {
    /// Starts one with the accounts of the contract.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(kind: Kind) -> Result<Self> {
        Self::start_on(kind, ([127, 0, 0, 1], 0).into(), |_| {}).await
    }

    /// Starts one on this address with an account changed by `adapt`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start_on(
        kind: Kind,
        address: SocketAddr,
        adapt: impl FnOnce(&mut SandboxConfig),
    ) -> Result<Self> {
        let clock = SystemClock::start();
        let mut config = SandboxConfig::new(Arc::new(move || clock.now()));
        adapt(&mut config);
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let sandbox = Sandbox::new(kind, config);
        let shutdown = CancellationToken::new();
        let (served, token) = (sandbox.clone(), shutdown.clone());
        let served = tokio::spawn(async move { served.serve(listener, None, token).await });
        Ok(Self {
            sandbox,
            address,
            stop: shutdown.drop_guard(),
            served,
        })
    }

    /// Ends it as when a service dies: connections are cut, the port is closed.
    ///
    /// # Errors
    /// When it had not served well.
    pub async fn stop(self) -> Result<()> {
        drop(self.stop);
        Ok(self.served.await??)
    }

    /// How many messages it took for this recipient.
    #[must_use]
    pub fn count_to(&self, recipient: &str) -> usize {
        self.sandbox.messages_to(recipient).len()
    }
}
