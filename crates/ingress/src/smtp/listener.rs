//! One listener as the server uses it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use malote_core::name::CredentialName;
use serde::Deserialize;

use super::network;
use crate::tls::{ReloadingCertificate, TlsFault};

/// Why a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenerFault {
    /// Its certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// A network is not well formed.
    #[error("{0}")]
    Network(String),
}

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Mail of credentials, to be sent.
    #[default]
    Submission,
    /// Mail that comes back to addresses that we signed.
    Bounce,
}

/// A checked `[[smtp.listeners]]` table.
#[derive(Debug, Clone)]
pub struct Listener {
    pub(crate) listen: SocketAddr,
    pub(crate) role: Role,
    pub(crate) tls: ListenerTls,
    pub(crate) is_trusted_plaintext: bool,
    pub(crate) anonymous: Option<Anonymous>,
    pub(crate) proxies: Vec<IpNet>,
}

#[derive(Debug, Clone)]
pub(crate) enum ListenerTls {
    None,
    Starttls(Arc<ReloadingCertificate>),
    Implicit(Arc<ReloadingCertificate>),
}

#[derive(Debug, Clone)]
pub(crate) struct Anonymous {
    pub(crate) credential: CredentialName,
    pub(crate) allow_from: Vec<IpNet>,
}

impl Listener {
    /// Where it wants to be bound.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Its certificate, for reloading.
    #[must_use]
    pub const fn certificate(&self) -> Option<&Arc<ReloadingCertificate>> {
        match &self.tls {
            ListenerTls::None => None,
            ListenerTls::Starttls(certificate) | ListenerTls::Implicit(certificate) => {
                Some(certificate)
            }
        }
    }

    /// Whether connections from here begin with a PROXY protocol header.
    pub(crate) fn is_proxy(&self, ip: IpAddr) -> bool {
        network::holds(&self.proxies, ip)
    }

    /// As whom a client from here acts without a login.
    pub(crate) fn anonymous_for(&self, ip: IpAddr) -> Option<&CredentialName> {
        let anonymous = self.anonymous.as_ref()?;
        network::holds(&anonymous.allow_from, ip).then_some(&anonymous.credential)
    }
}
