//! From a name to the addresses that may be connected to.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use malote_core::provider::SendError;
use malote_core::web::is_public;
use tokio::time::timeout;

use super::{Endpoint, Protection, is_private, transient, unusable};

/// Most addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 32;

/// Looks names up. A seam, so that tests answer as a name server in trouble does.
#[async_trait]
pub(crate) trait Lookup: fmt::Debug + Send + Sync {
    /// The addresses of a name, or the address itself.
    ///
    /// # Errors
    /// What the resolver said: there is no such name, or it cannot be told now.
    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The system's resolver: hosts file, name server, whatever else the machine is set up for.
#[derive(Debug)]
pub(crate) struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host((host, port)).await?;
        Ok(found.take(ADDRESSES_MAX).collect())
    }
}

/// Which addresses a name may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those of the Internet at large: what a name server answers must not lead inside.
    Public,
    /// Any: the server is meant to be near, or is given by its address.
    Any,
}

impl Endpoint {
    /// The addresses to connect to, in the order of the answer.
    ///
    /// # Errors
    /// Transient if there is no answer in time or none at all; unusable if the answer leads where
    /// the configuration does not allow.
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>, SendError> {
        let look = self.lookup.addresses(&self.host, self.port);
        let found = match timeout(self.timing.connect, look).await {
            Ok(Ok(found)) if found.is_empty() => return Err(transient("the host has no address")),
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(transient(&format!("no address for the host: {error}"))),
            Err(_) => return Err(transient("looking up the host's address took too long")),
        };
        if self.tls == Protection::None && !found.iter().all(|a| is_private(a.ip())) {
            let what = "the host has a public address, and tls = \"none\" is for loopback and private addresses only";
            return Err(unusable(what));
        }
        let allowed = match self.reach {
            Reach::Any => found,
            Reach::Public => found.into_iter().filter(|a| is_public(a.ip())).collect(),
        };
        if allowed.is_empty() {
            let what = "the host's name leads to loopback or private addresses only; if it is meant to, set private_addresses = true";
            return Err(unusable(what));
        }
        Ok(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_knows_addresses_and_this_machine_and_no_nonsense() {
        let found = async |host| SystemLookup.addresses(host, 25).await;
        let literal: SocketAddr = "192.0.2.1:25".parse().unwrap();
        assert_eq!(found("192.0.2.1").await.unwrap(), [literal]);
        let here = found("localhost").await.unwrap();
        assert!(here.iter().all(|a| a.ip().is_loopback() && a.port() == 25));
        assert!(found("a..b").await.is_err());
    }
}
